//! `org.wardend1.Manager` at `/org/wardend1`.

use std::collections::HashMap;

use ipnet::IpNet;
use zbus::{OwnedVariant, interface, message::Header, object_server::SignalEmitter};

use super::{Command, Core, Held, explain, polkit::Authority};
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
    /// All bans in force: jail, source, since and until (µs since the epoch, 2⁶⁴−1 for ever),
    /// the how manieth ban of the source, failures that led to it, rule, reason.
    #[zbus(out_args("bans"))]
    async fn list_bans(&self, #[zbus(header)] header: Header<'_>) -> Result<Held<Vec<BanRow>>, Error> {
        self.core.bans(&header).await
    }

    /// All jails: name, bans in force, sources with failures that count, open sessions, object.
    #[zbus(out_args("jails"))]
    async fn list_jails(&self, #[zbus(header)] header: Header<'_>) -> Result<Held<Vec<JailRow>>, Error> {
        let place = self.core.answers.wait_for_answer(&header).await?;
        Ok(Held::new(self.core.ask(Command::ListJails).await?, place))
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

    /// Bans an address or network in a jail for so many µs: 0 for as long as the jail would,
    /// 2⁶⁴−1 for ever. The ban is on disk when the call returns.
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

    /// Ends all bans. Returns how many.
    #[zbus(out_args("count"), proxy(allow_interactive_auth))]
    async fn unban_all(&self, #[zbus(header)] header: Header<'_>) -> Result<u32, Error> {
        self.authority.check(&header, "org.wardend1.unban", &[]).await?;
        self.core.ask(Command::UnbanAll).await?
    }

    /// What each jail knows of an address, as one dictionary a jail: `Jail`, `Source` (what the
    /// address is counted as), `State` (`banned`, `counting`, `ignored`, `spared`, `clear`),
    /// `Because` (one sentence), `BanCount`; `Attempts` (time in µs, rule, user, address, journal
    /// cursor of each failure that counts or has led to the ban); of a ban also `Ban` (what is
    /// banned), `SinceUSec`, `UntilUSec` and `Reason`; of a spared one `LoginUSec`. The users of the
    /// attempts are empty for callers who may not know them (polkit's org.wardend1.inspect): people
    /// type passwords at the wrong prompt.
    #[zbus(out_args("jails"))]
    async fn explain(
        &self,
        #[zbus(header)] header: Header<'_>,
        address: &str,
    ) -> Result<Held<Vec<HashMap<String, OwnedVariant>>>, Error> {
        let network = network(address)?;
        if network.prefix_len() != network.max_prefix_len() {
            return Err(Error::InvalidAddress(format!("{address} is a network; name one address of it.")));
        }
        let users = self.authority.allows(&header, "org.wardend1.inspect").await;
        let place = self.core.answers.wait_for_answer(&header).await?;
        let known = self.core.ask(|reply| Command::Explain(network.addr(), reply)).await?;
        let dictionary = |jail| explain::dictionary(jail, users).map_err(|error| Error::Failed(format!("{error}.")));
        Ok(Held::new(known.iter().map(dictionary).collect::<Result<_, Error>>()?, place))
    }

    /// Reads the configuration anew. A mistake in it is the error, and changes nothing.
    #[zbus(proxy(allow_interactive_auth))]
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, "org.wardend1.reload", &[]).await?;
        self.core.ask(Command::Reload).await?.map_err(Error::InvalidConfiguration)
    }

    /// What firewalld holds against what it should: the state (`starting`, `up`, `down`) with a
    /// sentence if it is down, or if something is accepted before the policy is asked; the policy
    /// (`right`, `bypassed` in that case, `other-rules`, `missing`, `unknown` if firewalld can't be
    /// asked); and of the ipsets for each address family and choice of ports the name of
    /// the first, how many of them hold anything, how many entries they should hold and do, which
    /// are missing, and which are not wardend's.
    #[zbus(out_args("state", "message", "policy", "sets"))]
    async fn firewall_status(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(String, String, String, Held<Vec<SetRow>>), Error> {
        // firewalld shall have time for bans.
        let place = self.core.looks.wait_for_answer(&header).await?;
        let status = self.core.ask(Command::FirewallStatus).await?;
        Ok((status.state, status.message, status.policy, Held::new(status.sets, place)))
    }

    /// Compares what firewalld holds with what it should, puts it right, and returns when that is
    /// done: a sentence for each thing that was put right.
    #[zbus(out_args("done"), proxy(allow_interactive_auth))]
    async fn sync_firewall(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<String>, Error> {
        self.authority.check(&header, "org.wardend1.reload", &[]).await?;
        self.core.ask(Command::SyncFirewall).await?.map_err(Error::Failed)
    }

    /// Takes wardend's policy and ipsets out of firewalld, for good: before the package goes. A
    /// restart of wardend puts them back.
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

    /// Why the firewall is down, and what to do; empty if it is up.
    #[zbus(property)]
    fn firewall_message(&self) -> String {
        self.core.status.borrow().firewall_message.clone()
    }

    /// What wardend promises and does not keep at the moment, and why: the kind (`firewall`: bans are
    /// not in force; `bypass`: firewalld accepts something before it looks at bans; `journal`: the
    /// journal can't be read, or not whole; `records`: what a watched service writes is not read;
    /// `state`: the state can't be saved; `nameless`: failed logins count for nobody, because their
    /// records name no address; `addresses`: the machine's own addresses are not known), a sentence,
    /// and the mend as another sentence, which is empty where the first one says it. Empty while all
    /// is well.
    #[zbus(property)]
    fn problems(&self) -> Vec<ProblemRow> {
        self.core.status.borrow().problems.clone()
    }

    /// How many addresses of this machine are known; loopback is not counted.
    #[zbus(property, name = "NOwnAddresses")]
    fn n_own_addresses(&self) -> u32 {
        self.core.status.borrow().own
    }

    /// The last journal record that was read.
    #[zbus(property(emits_changed_signal = "false"))]
    fn journal_cursor(&self) -> String {
        self.core.status.borrow().cursor.clone()
    }

    /// Bans in force.
    #[zbus(property, name = "NBans")]
    fn n_bans(&self) -> u32 {
        self.core.status.borrow().bans
    }

    /// Failures counted since the state was first made.
    #[zbus(property, name = "NFailures")]
    fn n_failures(&self) -> u64 {
        self.core.status.borrow().failures
    }

    /// Banned sources that have reached sshd all the same, since the daemon started.
    #[zbus(property, name = "NLeaks")]
    fn n_leaks(&self) -> u64 {
        self.core.status.borrow().counted.leaks
    }

    /// Sources that would have been banned since the daemon started, if nobody had logged in from
    /// there.
    #[zbus(property, name = "NSpared")]
    fn n_spared(&self) -> u64 {
        self.core.status.borrow().counted.jails.values().map(|jail| jail.spared).sum()
    }

    /// Journal records read since the daemon started.
    #[zbus(property(emits_changed_signal = "false"), name = "NRecords")]
    fn n_records(&self) -> u64 {
        self.core.status.borrow().counted.records
    }

    /// Records of the watched units that journald says it has dropped, since the daemon started.
    #[zbus(property, name = "NLost")]
    fn n_lost(&self) -> u64 {
        self.core.status.borrow().counted.lost
    }

    /// So many µs ago was written what comes next in the journal: how far reading is behind, as of
    /// the last look.
    #[zbus(property(emits_changed_signal = "false"), name = "JournalLagUSec")]
    fn journal_lag_usec(&self) -> u64 {
        self.core.status.borrow().lag_usec
    }

    /// How many bans took how long from the record's time in the journal to firewalld's answer: up
    /// to 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10 s, and longer; and all together in µs.
    #[zbus(property(emits_changed_signal = "false"))]
    fn ban_latency(&self) -> (Vec<u64>, u64) {
        let status = self.core.status.borrow();
        (status.counted.latency.counts.to_vec(), status.counted.latency.sum_usec)
    }

    /// A ban has begun. `until_usec` is 2⁶⁴−1 for ever.
    #[zbus(signal)]
    pub(crate) async fn banned(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        until_usec: u64,
        count: u32,
    ) -> zbus::Result<()>;

    /// A ban has ended: `expired`, `command`, `jail-gone`, `ignored`, `own` (it is, or holds, an
    /// address of this machine), `widened` (its whole network is banned now) or `crowded` (there
    /// were too many).
    #[zbus(signal)]
    pub(crate) async fn unbanned(emitter: &SignalEmitter<'_>, jail: &str, source: &str, why: &str) -> zbus::Result<()>;

    /// A failure was counted. At most ten a second are told one by one; `omitted` failures before
    /// this one, and after the last that was told, were not. `NFailures` counts them all.
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

    /// A banned source has reached sshd all the same. Told once a minute of each ban; `NLeaks`
    /// counts them all.
    #[zbus(signal)]
    pub(crate) async fn leak(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        address: &str,
        rule: &str,
    ) -> zbus::Result<()>;

    /// A source would have been banned after so many failures, but somebody had logged in from
    /// there at `login_usec`. Told once a minute of each source; `NSpared` counts them all.
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
