//! `org.wardend1.Manager` at `/org/wardend1`.

use std::collections::HashMap;

use ipnet::IpNet;
use zbus::{OwnedVariant, interface, message::Header, object_server::SignalEmitter};

use super::{Command, Core, QueuedAnswer, explain, polkit::Authority};
use crate::{
    contract::{
        bus::{BanRow, INFINITY, JailRow, ProblemRow, SetRow},
        error::Error,
    },
    core::{engine::Duration, net::parse_network},
    util::suggest,
};

pub(crate) struct Manager {
    core: Core,
    authority: Authority,
}

impl Manager {
    pub(super) fn new(core: Core) -> Self {
        let authority = Authority::new(core.own.clone(), &core.load);
        Self { core, authority }
    }
}

fn network(text: &str) -> Result<IpNet, Error> {
    parse_network(text).map_err(Error::InvalidAddress)
}

#[interface(name = "org.wardend1.Manager", proxy(default_service = "org.wardend1", default_path = "/org/wardend1"))]
impl Manager {
    /// All bans in force: jail, source, since and until (µs since the epoch, 2⁶⁴−1 for permanent),
    /// which ban of the source it is (1 is the first), failures that led to it, rule, reason.
    #[zbus(out_args("bans"))]
    async fn list_bans(&self, #[zbus(header)] header: Header<'_>) -> Result<QueuedAnswer<Vec<BanRow>>, Error> {
        self.core.bans(&header).await
    }

    /// All jails: name, bans in force, sources with failures that count, open sessions, object.
    #[zbus(out_args("jails"))]
    async fn list_jails(&self, #[zbus(header)] header: Header<'_>) -> Result<QueuedAnswer<Vec<JailRow>>, Error> {
        let turn = self.core.answers.wait_for_answer(&header).await?;
        Ok(QueuedAnswer::new(self.core.ask(Command::ListJails).await?, turn))
    }

    /// The object of a jail.
    #[zbus(out_args("jail"))]
    async fn get_jail(&self, name: &str) -> Result<zbus::OwnedObjectPath, Error> {
        let jails = self.core.ask(Command::ListJails).await?;
        jails.iter().find(|jail| jail.name == name).map(|jail| jail.path.clone()).ok_or_else(|| {
            let instead = suggest::instead(name, jails.iter().map(|jail| jail.name.as_str()));
            Error::NoSuchJail(format!("There is no jail '{name}'; {instead}"))
        })
    }

    /// Bans an address or network in a jail. `usec` is the duration in µs: 0 for the jail's own,
    /// 2⁶⁴−1 for permanent. The ban is on disk when the call returns.
    #[zbus(out_args("source", "until_usec"), proxy(allow_interactive_auth))]
    async fn ban(
        &self,
        #[zbus(header)] header: Header<'_>,
        address: &str,
        jail: &str,
        usec: u64,
        reason: &str,
    ) -> Result<(String, u64), Error> {
        let network = network(address)?;
        if reason.len() > 1024 {
            return Err(Error::InvalidArgument("The reason is longer than 1024 bytes; make it shorter.".to_owned()));
        }
        let details = [("address", address), ("jail", jail)];
        self.authority.check(&header, "org.wardend1.ban", &details).await?;
        let duration = match usec {
            0 => Duration::OfJail,
            INFINITY => Duration::Forever,
            usec => Duration::Usec(usec),
        };
        let (jail, reason) = (jail.to_owned(), reason.to_owned());
        let row = self.core.ask(|reply| Command::Ban { network, jail, duration, reason, reply }).await??;
        Ok((row.source, row.until_usec))
    }

    /// Ends the ban of an address or network in a jail, or in all jails if the name is empty,
    /// and clears its counters. Returns the bans that ended.
    #[zbus(out_args("bans"), proxy(allow_interactive_auth))]
    async fn unban(&self, #[zbus(header)] header: Header<'_>, address: &str, jail: &str) -> Result<Vec<BanRow>, Error> {
        let network = network(address)?;
        let details = [("address", address), ("jail", jail)];
        self.authority.check(&header, "org.wardend1.unban", &details).await?;
        let jail = (!jail.is_empty()).then(|| jail.to_owned());
        self.core.ask(|reply| Command::Unban { network, jail, reply }).await?
    }

    /// Ends all bans. Returns their number.
    #[zbus(out_args("count"), proxy(allow_interactive_auth))]
    async fn unban_all(&self, #[zbus(header)] header: Header<'_>) -> Result<u32, Error> {
        self.authority.check(&header, "org.wardend1.unban", &[]).await?;
        self.core.ask(Command::UnbanAll).await?
    }

    /// What each jail knows about an address, as one dictionary per jail: `Jail`, `Source` (what the
    /// address is counted as), `State` (`banned`, `counting`, `ignored`, `spared`, `clear`),
    /// `Because` (one sentence), `BanCount`; `Attempts` (time in µs, rule, user, address, journal
    /// cursor of each failure that counts or has led to the ban); of a ban also `Ban` (what is
    /// banned), `SinceUSec`, `UntilUSec` and `Reason`; of a spared one `LoginUSec`. The users of the
    /// attempts are empty for callers that are not authorized for org.wardend1.inspect, because people
    /// accidentally type passwords at the login prompt.
    #[zbus(out_args("jails"))]
    async fn explain(
        &self,
        #[zbus(header)] header: Header<'_>,
        address: &str,
    ) -> Result<QueuedAnswer<Vec<HashMap<String, OwnedVariant>>>, Error> {
        let network = network(address)?;
        if network.prefix_len() != network.max_prefix_len() {
            return Err(Error::InvalidAddress(format!("{address} is a network; name one address of it.")));
        }
        let users = self.authority.allows(&header, "org.wardend1.inspect").await;
        let turn = self.core.answers.wait_for_answer(&header).await?;
        let known = self.core.ask(|reply| Command::Explain(network.addr(), reply)).await?;
        let dictionary = |jail| explain::dictionary(jail, users).map_err(|error| Error::Failed(format!("{error}.")));
        Ok(QueuedAnswer::new(known.iter().map(dictionary).collect::<Result<_, Error>>()?, turn))
    }

    /// Reloads the configuration. If it is invalid, an error is returned, and nothing changes.
    #[zbus(proxy(allow_interactive_auth))]
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, "org.wardend1.reload", &[]).await?;
        self.core.ask(Command::Reload).await?.map_err(Error::InvalidConfiguration)
    }

    /// Compares what firewalld holds with what it should hold: the state (`starting`, `up`, `down`) with a
    /// sentence if it is down, or if something is accepted before the policy is evaluated; the policy
    /// (`right`, `bypassed` in that case, `other-rules`, `missing`, `unknown` if firewalld can't be
    /// queried); and of the ipsets for each address family and choice of ports the name of
    /// the first, how many of them hold anything, how many entries they should hold and do, which
    /// are missing, and which are not wardend's.
    #[zbus(out_args("state", "message", "policy", "sets"))]
    async fn firewall_status(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(String, String, String, QueuedAnswer<Vec<SetRow>>), Error> {
        // firewalld shall have time for bans.
        let turn = self.core.looks.wait_for_answer(&header).await?;
        let status = self.core.ask(Command::FirewallStatus).await?;
        Ok((status.state, status.message, status.policy, QueuedAnswer::new(status.sets, turn)))
    }

    /// Compares what firewalld holds with what it should hold, corrects the differences, and
    /// returns when that is done, with a sentence for each correction.
    #[zbus(out_args("done"), proxy(allow_interactive_auth))]
    async fn sync_firewall(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<String>, Error> {
        self.authority.check(&header, "org.wardend1.reload", &[]).await?;
        self.core.ask(Command::SyncFirewall).await?.map_err(Error::Failed)
    }

    /// Removes wardend's policy and ipsets from firewalld, before wardend is uninstalled. A restart
    /// of wardend adds them again.
    #[zbus(proxy(allow_interactive_auth))]
    async fn remove_firewall(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, "org.wardend1.unban", &[]).await?;
        self.core.ask(Command::RemoveFirewall).await?.map_err(Error::Failed)
    }

    /// The version of wardend.
    #[zbus(property(emits_changed_signal = "const"))]
    #[allow(clippy::unused_self, reason = "a property is read from an object")]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    /// `running`, or `degraded` while there is a problem.
    #[zbus(property)]
    fn state(&self) -> String {
        self.core.status.borrow().state.to_owned()
    }

    /// `starting`, `up` or `down`.
    #[zbus(property)]
    fn firewall_state(&self) -> String {
        self.core.status.borrow().firewall_state.to_owned()
    }

    /// The reason why the firewall is down, and the remedy; empty if it is not down.
    #[zbus(property)]
    fn firewall_message(&self) -> String {
        self.core.status.borrow().firewall_message.clone()
    }

    /// The functions that wardend can't provide at the moment: the kind of problem (`firewall`: bans are
    /// not in force; `bypass`: firewalld accepts something before it evaluates bans; `journal`: the
    /// journal can't be read, or only in part; `records`: what a watched service writes is not read;
    /// `state`: the state can't be saved; `nameless`: failed logins can't be attributed, because their
    /// records contain no address; `addresses`: the machine's own addresses are not known), a sentence,
    /// and the remedy as another sentence, which is empty if the first one contains it. Empty if there
    /// is no problem.
    #[zbus(property)]
    fn problems(&self) -> Vec<ProblemRow> {
        self.core.status.borrow().problems.clone()
    }

    /// The number of known addresses of this machine, without loopback.
    #[zbus(property, name = "NOwnAddresses")]
    fn n_own_addresses(&self) -> u32 {
        self.core.status.borrow().own
    }

    /// The cursor of the last journal record that was read.
    #[zbus(property(emits_changed_signal = "false"))]
    fn journal_cursor(&self) -> String {
        self.core.status.borrow().cursor.clone()
    }

    /// The number of bans in force.
    #[zbus(property, name = "NBans")]
    fn n_bans(&self) -> u32 {
        self.core.status.borrow().bans
    }

    /// The number of failures counted since the saved state was created.
    #[zbus(property, name = "NFailures")]
    fn n_failures(&self) -> u64 {
        self.core.status.borrow().failures
    }

    /// How often a banned source has reached the service nevertheless, since the daemon started.
    #[zbus(property, name = "NLeaks")]
    fn n_leaks(&self) -> u64 {
        self.core.status.borrow().counted.leaks
    }

    /// How often a source was not banned because somebody had logged in from there, since the
    /// daemon started.
    #[zbus(property, name = "NSpared")]
    fn n_spared(&self) -> u64 {
        self.core.status.borrow().counted.jails.values().map(|jail| jail.spared).sum()
    }

    /// The number of journal records read since the daemon started.
    #[zbus(property(emits_changed_signal = "false"), name = "NRecords")]
    fn n_records(&self) -> u64 {
        self.core.status.borrow().counted.records
    }

    /// The number of records of the watched units that journald has dropped since the daemon started.
    #[zbus(property, name = "NLost")]
    fn n_lost(&self) -> u64 {
        self.core.status.borrow().counted.lost
    }

    /// The age in µs of the oldest journal record not yet read, as last measured.
    #[zbus(property(emits_changed_signal = "false"), name = "JournalLagUSec")]
    fn journal_lag_usec(&self) -> u64 {
        self.core.status.borrow().lag_usec
    }

    /// A histogram of the time from the record's timestamp to firewalld's reply: the number of bans
    /// that took up to 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10 s, and longer; and the sum in µs.
    #[zbus(property(emits_changed_signal = "false"))]
    fn ban_latency(&self) -> (Vec<u64>, u64) {
        let status = self.core.status.borrow();
        (status.counted.latency.counts.to_vec(), status.counted.latency.sum_usec)
    }

    /// A ban has begun. `until_usec` is 2⁶⁴−1 if it is permanent; `count` is 1 for the first ban of
    /// the source.
    #[zbus(signal)]
    pub(crate) async fn banned(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        until_usec: u64,
        count: u32,
    ) -> zbus::Result<()>;

    /// A ban has ended: `expired`, `command`, `jail-gone`, `ignored`, `own` (it is or contains an
    /// address of this machine), `widened` (a network that contains it is banned now) or `crowded` (there
    /// were too many).
    #[zbus(signal)]
    pub(crate) async fn unbanned(emitter: &SignalEmitter<'_>, jail: &str, source: &str, why: &str) -> zbus::Result<()>;

    /// A failure was counted. At most ten a second are sent individually; `omitted` is the number of
    /// failures between the last one sent and this one. `NFailures` counts them all.
    #[zbus(signal)]
    pub(crate) async fn failure(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        address: &str,
        rule: &str,
        time_usec: u64,
        omitted: u32,
    ) -> zbus::Result<()>;

    /// A banned source has reached the service nevertheless. Sent at most once a minute per ban;
    /// `NLeaks` counts them all.
    #[zbus(signal)]
    pub(crate) async fn leak(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        address: &str,
        rule: &str,
    ) -> zbus::Result<()>;

    /// A source was not banned despite its number of failures, because somebody had logged in from
    /// there at `login_usec`. Sent at most once a minute per source; `NSpared` counts them all.
    #[zbus(signal)]
    pub(crate) async fn spared(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        login_usec: u64,
        failures: u32,
    ) -> zbus::Result<()>;
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn what_is_no_address_is_told_with_the_mend() {
        assert!(matches!(network("2001:db8::1"), Ok(net) if net.addr() == "2001:db8::1".parse::<IpAddr>().unwrap()));
        for text in ["", "localhost", "203.0.113.7/33", "0.0.0.0/0", "::/0", "203.0.113.7 ", "fe80::1%lo"] {
            assert!(matches!(network(text), Err(Error::InvalidAddress(_))), "{text}");
        }
    }
}
