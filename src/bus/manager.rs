//! `org.wardend1.Manager` at `/org/wardend1`.
//!
//! The methods check nothing and do nothing by themselves: [`super::orders`] and [`super::exceptions`] do. The file is
//! long because an interface is one block, with the doc comments that become its documentation on the bus.

#![allow(clippy::too_many_arguments, reason = "a signal has as many as its interface says")]

use zbus::{interface, message::Header, object_server::SignalEmitter};

use super::{
    Command, Core, QueuedAnswer, explain,
    options::{self, Given},
    orders::Caller,
    polkit::Authority,
};
use crate::{
    contract::{
        bus::{BanRow, Details, JailRow, Outcome, ProblemRow, SetRow},
        error::Error,
        exceptions::{ExceptionRow, IgnoredRow},
        history::{HistoryRow, TopRow},
    },
    core::ExceptionKind,
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

    fn caller<'c>(&'c self, header: &'c Header<'c>, action: &'static str) -> Caller<'c> {
        Caller { core: &self.core, authority: &self.authority, header, action }
    }
}

#[interface(name = "org.wardend1.Manager", proxy(default_service = "org.wardend1", default_path = "/org/wardend1"))]
impl Manager {
    /// The bans in force: jail, source, since and until (µs since the epoch, 2⁶⁴−1 for permanent), which ban
    /// of the source it is (1 is the first), failures that led to it, rule, reason, and a dictionary:
    /// `Origin` (`jail`, `admin`, `import`, `fleet` or another word), `ByHand` (it was ordered), `InForce`
    /// (firewalld has confirmed it), `Permanent`, `LoginUSec` (somebody had logged in from there), `Counted`
    /// (what led to it, `failures` or `bans`).
    /// `what` selects and orders them: `Jail`, `Origin`, `Match` (an address, a network, or the beginning of
    /// a source), `Since` (µs since the epoch), `Order` (`source`, `since`, `until` or `failures`),
    /// `Descending`. Of these, the reply contains `limit` bans (0 for all) after the first `offset`; `total`
    /// is the number of all of them, and `generation` the number of the last change that they show.
    #[zbus(out_args("bans", "total", "generation"))]
    async fn list_bans(
        &self,
        #[zbus(header)] header: Header<'_>,
        what: Given,
        offset: u32,
        limit: u32,
    ) -> Result<(QueuedAnswer<Vec<BanRow>>, u32, u64), Error> {
        self.core.bans(&header, options::listing(&what, offset, limit)?).await
    }

    /// All jails: name, bans in force, sources with failures that count, open sessions, object, and a
    /// dictionary: `Filter`, `MaxRetry`, `FindTimeUSec`, `BanTimeUSec`; since the daemon started `Failures`,
    /// `BansTotal`, `Ordered` (those of the bans that were ordered), `Spared`; `Paused`, and of a paused one
    /// `PausedUntilUSec` (2⁶⁴−1 for no end) and `PauseReason`.
    #[zbus(out_args("jails"))]
    async fn list_jails(&self, #[zbus(header)] header: Header<'_>) -> Result<QueuedAnswer<Vec<JailRow>>, Error> {
        let turn = self.core.answers.wait_for_answer(&header).await?;
        Ok(QueuedAnswer::new(self.core.ask(Command::ListJails).await?, turn))
    }

    /// The object of a jail.
    #[zbus(out_args("jail"))]
    async fn get_jail(&self, name: &str) -> Result<zbus::OwnedObjectPath, Error> {
        self.core.path_of(name).await
    }

    /// Bans an address or network in a jail. If the name of the jail is empty, it is banned from everything
    /// that is watched: in the first jail that closes all ports, or else in each jail that watches a service;
    /// then `ban` also has `Outcomes`, with a dictionary of its form for each of these jails, of which it is
    /// itself the first that was not refused. The options: `For` (a string such as "2weeks" or "infinity") or
    /// `ForUSec` for the duration, by default the jail's own; `Reason`; `Origin` (by default `admin`);
    /// `Spare` (refuse if somebody is or was logged in from there, by default only if the origin is not
    /// `admin`); `Cut` (close its open connections, by default as the jail does). If the source is banned
    /// already, only a later end changes anything. The ban is on disk when the call returns. `ban` has
    /// `Result` (`banned`, `extended` or `unchanged`), `Address`, `Jail`, `Source`, `SinceUSec`,
    /// `UntilUSec`, `Permanent`, `Count`, `Origin`, `ByHand` and `InForce`.
    #[zbus(out_args("source", "until_usec", "ban"), proxy(allow_interactive_auth))]
    async fn ban(
        &self,
        #[zbus(header)] header: Header<'_>,
        address: &str,
        jail: &str,
        options: Given,
    ) -> Result<(String, u64, Outcome), Error> {
        Box::pin(self.caller(&header, "org.wardend1.ban").ban(address, jail, &options)).await
    }

    /// Bans many addresses and networks at once, with a single write of the state. Each entry has `Address`
    /// and may have `Jail`, `For`, `ForUSec` or `UntilUSec`, `SinceUSec` and `Count` (of a ban that began
    /// elsewhere), `Reason` and `Origin`; the options are those of `Ban` and `Jail`, for all entries that
    /// do not say otherwise, but `Cut` is false by default. `outcomes` has a dictionary for each entry, in
    /// their order, as `Ban` returns, and for an entry without a jail one for each jail that `Ban` would
    /// choose; where an entry was refused, `Result` is `refused`, with `Error` (the name) and `Message` (a
    /// sentence).
    #[zbus(out_args("outcomes"), proxy(allow_interactive_auth))]
    async fn ban_many(
        &self,
        #[zbus(header)] header: Header<'_>,
        bans: Vec<Given>,
        options: Given,
    ) -> Result<Vec<Outcome>, Error> {
        Box::pin(self.caller(&header, "org.wardend1.ban").ban_many(bans, &options)).await
    }

    /// Ends the ban of an address or network in a jail, or in all jails if the name is empty,
    /// and clears its counters. Returns the bans that ended, as in `ListBans`.
    #[zbus(out_args("bans"), proxy(allow_interactive_auth))]
    async fn unban(&self, #[zbus(header)] header: Header<'_>, address: &str, jail: &str) -> Result<Vec<BanRow>, Error> {
        self.caller(&header, "org.wardend1.unban").unban(address, jail).await
    }

    /// As `Unban`, for many addresses and networks at once, with a single write of the state. With the
    /// option `Origin`, only bans of this origin end. `outcomes` has a dictionary for each address, in their
    /// order: `Address`, `Result` (`unbanned`, or `refused` with `Error` and `Message`), `Bans` (those that
    /// ended, as in `ListBans`).
    #[zbus(out_args("outcomes"), proxy(allow_interactive_auth))]
    async fn unban_many(
        &self,
        #[zbus(header)] header: Header<'_>,
        addresses: Vec<String>,
        jail: &str,
        options: Given,
    ) -> Result<Vec<Outcome>, Error> {
        self.caller(&header, "org.wardend1.unban").unban_many(addresses, jail, &options).await
    }

    /// Ends all bans, or with the options `Jail` and `Origin` all of this jail and of this origin. Returns
    /// their number.
    #[zbus(out_args("count"), proxy(allow_interactive_auth))]
    async fn unban_all(&self, #[zbus(header)] header: Header<'_>, options: Given) -> Result<u32, Error> {
        self.caller(&header, "org.wardend1.unban").unban_all(&options).await
    }

    /// Ignores addresses or networks for a time: they are never counted or banned, as if they were in
    /// `ignoreip`, and the bans that contain them end. The options: `For` (a time span) or `ForUSec` (µs),
    /// without which there is no end; `Reason`; `Jail`, without which it holds for all jails. Each address
    /// has an answer: `Address`, `Result` (`ignored` or `refused`), `Source`, `SinceUSec`, `UntilUSec`
    /// (2⁶⁴−1 for no end), `Permanent`; or `Error` and `Message`. It is on disk when the call returns.
    #[zbus(out_args("answers"), proxy(allow_interactive_auth))]
    async fn ignore(
        &self,
        #[zbus(header)] header: Header<'_>,
        addresses: Vec<String>,
        options: Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        let caller = self.caller(&header, "org.wardend1.ignore");
        caller.except(ExceptionKind::Ignored, addresses, &options, &["For", "ForUSec", "Reason", "Jail"]).await
    }

    /// Ends what `Ignore` has ordered: in the jail of the option `Jail`, or everywhere. Each order that
    /// ends has an answer as that of `Ignore` (`Result` is `unignored` or `refused`).
    #[zbus(out_args("answers"), proxy(allow_interactive_auth))]
    async fn unignore(
        &self,
        #[zbus(header)] header: Header<'_>,
        addresses: Vec<String>,
        options: Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        self.caller(&header, "org.wardend1.ignore").end(ExceptionKind::Ignored, addresses, &options).await
    }

    /// Who is never banned, besides loopback and the machine itself: `Source`, or `Name` with `Addresses`
    /// (what the name means now); `Jails` (empty for all); `Origin` (`command` or `configuration`);
    /// `Permanent`; of a command `SinceUSec`, `UntilUSec` (2⁶⁴−1 for no end), `Reason` and `UID` (of who
    /// ordered it); of the configuration `File` and `Line`.
    #[zbus(out_args("entries"))]
    async fn list_ignored(&self, #[zbus(header)] header: Header<'_>) -> Result<QueuedAnswer<Vec<IgnoredRow>>, Error> {
        let turn = self.core.answers.wait_for_answer(&header).await?;
        Ok(QueuedAnswer::new(self.core.ask(Command::ListIgnored).await?, turn))
    }

    /// Suspects addresses or networks for a time: the first failure from there results in a ban. The
    /// options are those of `Ignore`, and `Origin`, a word for whose decision it is; so are the answers
    /// (`Result` is `suspected` or `refused`).
    #[zbus(out_args("answers"), proxy(allow_interactive_auth))]
    async fn suspect(
        &self,
        #[zbus(header)] header: Header<'_>,
        addresses: Vec<String>,
        options: Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        let caller = self.caller(&header, "org.wardend1.ban");
        caller
            .except(ExceptionKind::Suspected, addresses, &options, &["For", "ForUSec", "Reason", "Jail", "Origin"])
            .await
    }

    /// Ends what `Suspect` has ordered: in the jail of the option `Jail`, or everywhere. Each order that ends
    /// has an answer as that of `Ignore` (`Result` is `unsuspected` or `refused`).
    #[zbus(out_args("answers"), proxy(allow_interactive_auth))]
    async fn unsuspect(
        &self,
        #[zbus(header)] header: Header<'_>,
        addresses: Vec<String>,
        options: Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        self.caller(&header, "org.wardend1.ban").end(ExceptionKind::Suspected, addresses, &options).await
    }

    /// Who is suspected: `Source`, `Jail` (not there if in all jails), `SinceUSec`, `UntilUSec` (2⁶⁴−1 for no
    /// end), `Permanent`, `Reason`, `Origin` and `UID` (of who ordered it).
    #[zbus(out_args("entries"))]
    async fn list_suspects(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<QueuedAnswer<Vec<ExceptionRow>>, Error> {
        let turn = self.core.answers.wait_for_answer(&header).await?;
        Ok(QueuedAnswer::new(self.core.ask(Command::ListSuspects).await?, turn))
    }

    /// Pauses a jail, or all jails if the name is empty: it counts failures and logs whom it would have
    /// banned, but bans nobody. Bans in force stay. The options: `For` (a time span) or `ForUSec` (µs),
    /// without which there is no end; `Reason`. Returns for each jail `Jail`, `Result` (`paused`),
    /// `SinceUSec`, `UntilUSec` (2⁶⁴−1 for no end) and `Permanent`. It is on disk when the call returns.
    #[zbus(out_args("answers"), proxy(allow_interactive_auth))]
    async fn pause_jail(
        &self,
        #[zbus(header)] header: Header<'_>,
        jail: &str,
        options: Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        self.caller(&header, "org.wardend1.pause").pause(jail, &options).await
    }

    /// Ends the pause of a jail, or of all that are paused if the name is empty. Returns the pauses that
    /// ended (`Result` is `resumed`).
    #[zbus(out_args("answers"), proxy(allow_interactive_auth))]
    async fn resume_jail(&self, #[zbus(header)] header: Header<'_>, jail: &str) -> Result<Vec<ExceptionRow>, Error> {
        self.caller(&header, "org.wardend1.pause").resume(jail).await
    }

    /// What has happened from `since` to `until` (0 for now), in steps of `step_usec` µs: the beginning of
    /// the step, failures, bans that jails decided, how often a source was spared, and a dictionary:
    /// `Ordered` (bans that were ordered, which are not among those of jails). Steps are multiples
    /// of an hour, for the last 7 days, or of a day, for the last 90, in UTC; 0 for an hour, if they
    /// reach back to `since`, or else a day. A record counts at the time at which it was written.
    #[zbus(out_args("steps"))]
    async fn history(
        &self,
        #[zbus(header)] header: Header<'_>,
        since: u64,
        until: u64,
        step_usec: u64,
    ) -> Result<QueuedAnswer<Vec<HistoryRow>>, Error> {
        let turn = self.core.answers.wait_for_answer(&header).await?;
        let (until, step) = (if until == 0 { u64::MAX } else { until }, step_usec);
        let steps = self.core.ask(|reply| Command::History { since, until, step, reply }).await??;
        Ok(QueuedAnswer::new(steps, turn))
    }

    /// The sources that have failed most in the last 7 days, at most `limit` (0 for all): source, failures,
    /// bans, and when it last failed or was banned; `Banned` says whether it is banned now. The options:
    /// `Since` (µs since the epoch; what happened in that hour is included), `Jail`, `Order` (`failures`,
    /// `bans` or `last`). Up to 1024 sources are remembered; those that have done least are dropped first.
    #[zbus(out_args("sources"))]
    async fn top_sources(
        &self,
        #[zbus(header)] header: Header<'_>,
        what: Given,
        limit: u32,
    ) -> Result<QueuedAnswer<Vec<TopRow>>, Error> {
        let question = options::question(&what, limit)?;
        let turn = self.core.answers.wait_for_answer(&header).await?;
        let sources = self.core.ask(|reply| Command::TopSources(question, reply)).await??;
        Ok(QueuedAnswer::new(sources, turn))
    }

    /// What each jail knows about an address, as one dictionary per jail: `Jail`, `Source` (what the
    /// address is counted as), `State` (`banned`, `counting`, `ignored`, `spared`, `clear`),
    /// `Because` (one sentence), `BanCount`; `Attempts` (time in µs, rule, user, address, journal
    /// cursor of each failure that counts or has led to the ban), and `Counted` (`failures`, or `bans` whose
    /// jails are the rules); of a ban also `Ban` (what is
    /// banned), `SinceUSec`, `UntilUSec`, `Permanent`, `Origin`, `ByHand` and `Reason`; of a spared one
    /// `LoginUSec`. The users of the attempts are empty for callers that are not authorized for org.wardend1.inspect, because people
    /// accidentally type passwords at the login prompt.
    #[zbus(out_args("jails"))]
    async fn explain(
        &self,
        #[zbus(header)] header: Header<'_>,
        address: &str,
    ) -> Result<QueuedAnswer<Vec<Given>>, Error> {
        explain::address(&self.core, &self.authority, &header, address).await
    }

    /// Reloads the configuration. If it is invalid, an error is returned, and nothing changes.
    #[zbus(proxy(allow_interactive_auth))]
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, "org.wardend1.reload", &[]).await?;
        self.core.ask(Command::Reload).await?
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
        self.core.ask(Command::SyncFirewall).await?
    }

    /// Removes wardend's policy and ipsets from firewalld, before wardend is uninstalled. A restart
    /// of wardend adds them again.
    #[zbus(proxy(allow_interactive_auth))]
    async fn remove_firewall(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.check(&header, "org.wardend1.unban", &[]).await?;
        self.core.ask(Command::RemoveFirewall).await?
    }

    /// The version of wardend.
    #[zbus(property(emits_changed_signal = "const"))]
    #[allow(clippy::unused_self, reason = "a property is read from an object")]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    /// The number of the last change of the list of bans: one more with each of the signals `Banned`,
    /// `Extended` and `Unbanned`. It never falls, even if the daemon restarts.
    #[zbus(property)]
    fn generation(&self) -> u64 {
        self.core.status.borrow().counted.generation
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

    /// What wardend does not do at the moment because an administrator has ordered that, in the form of
    /// `Problems` (`paused`: a jail bans nobody). It does not make the state `degraded`.
    #[zbus(property)]
    fn notes(&self) -> Vec<ProblemRow> {
        self.core.status.borrow().notes.clone()
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
    /// the source. Each signal ends with a dictionary that has `Generation`, the value of the property; that
    /// of a ban also has `SinceUSec`, `Permanent`, `Origin`, `ByHand`, and of one that was ordered `Reason`.
    #[zbus(signal)]
    pub(crate) async fn banned(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        until_usec: u64,
        count: u32,
        details: Details,
    ) -> zbus::Result<()>;

    /// A ban that is in force lasts until `until_usec` now.
    #[zbus(signal)]
    pub(crate) async fn extended(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        until_usec: u64,
        count: u32,
        details: Details,
    ) -> zbus::Result<()>;

    /// A ban has ended: `expired`, `command`, `jail-gone`, `ignored`, `own` (it is or contains an
    /// address of this machine), `widened` (a network that contains it is banned now) or `crowded` (there
    /// were too many).
    #[zbus(signal)]
    pub(crate) async fn unbanned(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        why: &str,
        details: Details,
    ) -> zbus::Result<()>;

    /// A failure was counted. At most ten a second are sent individually; `omitted` is the number of
    /// failures between the last one sent and this one. `NFailures` counts them all. In a jail that counts
    /// bans, it is a ban, and `rule` is the jail that has banned; `Counted` says so, `failures` or `bans`.
    #[zbus(signal)]
    pub(crate) async fn failure(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        address: &str,
        rule: &str,
        time_usec: u64,
        omitted: u32,
        details: Details,
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
        details: Details,
    ) -> zbus::Result<()>;

    /// A source was not banned despite its number of failures, because somebody had logged in from
    /// there at `login_usec`. Sent at most once a minute per source; `NSpared` counts them all. `Counted` says
    /// what was counted, `failures` or `bans`.
    #[zbus(signal)]
    pub(crate) async fn spared(
        emitter: &SignalEmitter<'_>,
        jail: &str,
        source: &str,
        login_usec: u64,
        failures: u32,
        details: Details,
    ) -> zbus::Result<()>;
}
