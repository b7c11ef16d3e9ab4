//! `org.wardend1.Jail` at `/org/wardend1/jail/NAME`: a jail's settings and counters.

use std::collections::HashMap;

use tokio::sync::watch;
use zbus::{OwnedObjectPath, OwnedVariant, interface, message::Header};

use super::{Core, JailCounts, QueuedAnswer, options};
use crate::contract::{
    bus::{BanRow, INFINITY, JailRow, PATH},
    error::Error,
};
use crate::core::net::text_of;
use crate::core::{jail::JailSettings, listing::Listing};

/// The object path of a jail: bytes that a path can't hold are written as `_xx`
/// (sd_bus_path_encode(3)).
pub(crate) fn path_of(jail: &str) -> OwnedObjectPath {
    let mut path = format!("{PATH}/jail/");
    for (index, byte) in jail.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    // Nothing but letters, digits and '_' was put in.
    OwnedObjectPath::try_from(path).unwrap_or_default()
}

pub(crate) struct Jail {
    pub(super) name: String,
    /// As the core last published them: a reload must not wait for the lock on this object, which a
    /// method holds that waits for the core.
    pub(super) settings: watch::Receiver<JailSettings>,
    pub(super) core: Core,
}

impl Jail {
    /// The counters, as the core last published them. A getter must not ask the core: zbus reads
    /// all properties while an object is put on the bus, when the core does not answer yet.
    fn row(&self) -> Option<JailRow> {
        self.core.status.borrow().jails.iter().find(|jail| jail.name == self.name).cloned()
    }

    fn counts(&self) -> JailCounts {
        let status = self.core.status.borrow();
        status.counted.jails.get(self.name.as_str()).copied().unwrap_or_default()
    }
}

#[interface(name = "org.wardend1.Jail", proxy(default_service = "org.wardend1"))]
impl Jail {
    /// The name of the jail.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.clone()
    }

    /// The name of its filter.
    #[zbus(property)]
    fn filter(&self) -> String {
        self.settings.borrow().filter.name.clone()
    }

    /// The classes of rules that are counted.
    #[zbus(property)]
    fn classes(&self) -> Vec<String> {
        self.settings.borrow().classes.clone()
    }

    /// The number of failures within `FindTimeUSec` that results in a ban.
    #[zbus(property)]
    fn max_retry(&self) -> u32 {
        self.settings.borrow().maxretry
    }

    /// The time window in µs.
    #[zbus(property, name = "FindTimeUSec")]
    fn find_time_usec(&self) -> u64 {
        self.settings.borrow().findtime
    }

    /// The duration of a first ban in µs; 2⁶⁴−1 for permanent.
    #[zbus(property, name = "BanTimeUSec")]
    fn ban_time_usec(&self) -> u64 {
        self.settings.borrow().bantime.unwrap_or(INFINITY)
    }

    /// The factor by which each further ban is longer than the previous one.
    #[zbus(property)]
    fn ban_time_factor(&self) -> u32 {
        self.settings.borrow().bantime_factor
    }

    /// The upper limit for ban durations extended in this way, in µs; 2⁶⁴−1 for no limit.
    #[zbus(property, name = "BanTimeMaxUSec")]
    fn ban_time_max_usec(&self) -> u64 {
        self.settings.borrow().bantime_max.unwrap_or(INFINITY)
    }

    /// The maximum random extension of a ban, in µs.
    #[zbus(property, name = "BanTimeJitterUSec")]
    fn ban_time_jitter_usec(&self) -> u64 {
        self.settings.borrow().bantime_jitter
    }

    /// The time without a ban after which the ban history of a source is forgotten, in µs.
    #[zbus(property, name = "ForgetUSec")]
    fn forget_usec(&self) -> u64 {
        self.settings.borrow().forget
    }

    /// The number of networks and host names that are never banned, besides loopback and the machine's own.
    #[zbus(property, name = "NIgnoreIP")]
    fn n_ignore_ip(&self) -> u32 {
        let settings = self.settings.borrow();
        u32::try_from(settings.ignoreip.len() + settings.names.len()).unwrap_or(u32::MAX)
    }

    /// The prefixes of the administrator's own translators, whose addresses each represent an IPv4 host.
    #[zbus(property, name = "NAT64Prefixes")]
    fn nat64_prefixes(&self) -> Vec<String> {
        self.settings.borrow().translators.own().iter().map(ToString::to_string).collect()
    }

    /// The time in µs after a login during which its source is not banned; 0 if disabled, 2⁶⁴−1 for no
    /// limit.
    #[zbus(property, name = "SpareLoginsUSec")]
    fn spare_logins_usec(&self) -> u64 {
        self.settings.borrow().spare_logins.unwrap_or(0)
    }

    /// The number of failures within an hour (or `FindTimeUSec`, if that is longer) after which a
    /// spared source is banned nevertheless, for names that have not logged in from there; for any
    /// names, five times that number. 0 for no limit.
    #[zbus(property)]
    fn spare_max_retry(&self) -> u32 {
        self.settings.borrow().spare_maxretry.unwrap_or(0)
    }

    /// The number of leading bits of an IPv4 address that make up a source.
    #[zbus(property, name = "IPv4Prefix")]
    fn ipv4_prefix(&self) -> u8 {
        self.settings.borrow().prefixes.ipv4
    }

    /// The number of leading bits of an IPv6 address that make up a source.
    #[zbus(property, name = "IPv6Prefix")]
    fn ipv6_prefix(&self) -> u8 {
        self.settings.borrow().prefixes.ipv6
    }

    /// The number of banned or failing sources at which their network is banned, and the prefix
    /// lengths of an IPv4 and an IPv6 network; all 0 if disabled.
    #[zbus(property)]
    fn subnet(&self) -> (u32, u8, u8) {
        self.settings
            .borrow()
            .subnet
            .map_or((0, 0, 0), |subnet| (subnet.maxretry, subnet.prefixes.ipv4, subnet.prefixes.ipv6))
    }

    /// The wider IPv6 networks that are banned when one host hops through their sources: the length
    /// of the prefix, and the limit of their failures as a multiple of `MaxRetry`.
    #[zbus(property, name = "IPv6Hopping")]
    fn ipv6_hopping(&self) -> Vec<(u8, u32)> {
        self.settings.borrow().hopping.iter().map(|width| (width.prefix, width.times)).collect()
    }

    /// Whether the open connections of a source are closed when it is banned.
    #[zbus(property)]
    fn cut(&self) -> bool {
        self.settings.borrow().cut
    }

    /// Whether records are read immediately at all times.
    #[zbus(property)]
    fn low_latency(&self) -> bool {
        self.settings.borrow().low_latency
    }

    /// The services and ports that its bans block; `all` for all ports.
    #[zbus(property)]
    fn ports(&self) -> Vec<String> {
        let ports: Vec<String> = self.settings.borrow().scope.ports().iter().map(ToString::to_string).collect();
        if ports.is_empty() { vec!["all".to_owned()] } else { ports }
    }

    /// What happens to packets of a banned source: `drop` or `reject`.
    #[zbus(property)]
    fn action(&self) -> String {
        if self.settings.borrow().scope.rejects() { "reject" } else { "drop" }.to_owned()
    }

    /// The maximum number of sources that are tracked at a time.
    #[zbus(property)]
    fn max_sources(&self) -> u64 {
        self.settings.borrow().max_sources as u64
    }

    /// The time in µs until which the jail is paused: it counts failures, but bans nobody. 0 if it is not
    /// paused, 2⁶⁴−1 if that has no end.
    #[zbus(property, name = "PausedUntilUSec")]
    fn paused_until_usec(&self) -> u64 {
        self.row().and_then(|row| row.more.paused_until_usec).unwrap_or(0)
    }

    /// Whether the jail is paused.
    #[zbus(property)]
    fn paused(&self) -> bool {
        self.row().is_some_and(|row| row.more.paused)
    }

    /// The reason that was given for pausing the jail; empty if there is none.
    #[zbus(property)]
    fn pause_reason(&self) -> String {
        self.row().and_then(|row| row.more.pause_reason).unwrap_or_default()
    }

    /// Bans in force.
    #[zbus(property, name = "NBans")]
    fn n_bans(&self) -> u32 {
        self.row().map_or(0, |row| row.bans)
    }

    /// Sources with failures that count.
    #[zbus(property, name = "NFailing")]
    fn n_failing(&self) -> u32 {
        self.row().map_or(0, |row| row.failing)
    }

    /// Open sessions.
    #[zbus(property, name = "NSessions")]
    fn n_sessions(&self) -> u32 {
        self.row().map_or(0, |row| row.sessions)
    }

    /// Failures counted since the daemon started.
    #[zbus(property, name = "NFailures")]
    fn n_failures(&self) -> u64 {
        self.counts().failures
    }

    /// Bans begun since the daemon started.
    #[zbus(property, name = "NBansTotal")]
    fn n_bans_total(&self) -> u64 {
        self.counts().bans
    }

    /// The number of those bans that were ordered, by an administrator or by a list for example.
    #[zbus(property, name = "NBansOrdered")]
    fn n_bans_ordered(&self) -> u64 {
        self.counts().ordered
    }

    /// Sources spared since the daemon started, because somebody had logged in from there.
    #[zbus(property, name = "NSpared")]
    fn n_spared(&self) -> u64 {
        self.counts().spared
    }

    /// The networks and then the host names that are never banned, besides loopback.
    #[zbus(name = "ListIgnoreIP", out_args("entries"))]
    async fn list_ignore_ip(&self, #[zbus(header)] header: Header<'_>) -> Result<QueuedAnswer<Vec<String>>, Error> {
        let turn = self.core.answers.wait_for_answer(&header).await?;
        let settings = self.settings.borrow();
        let networks = settings.ignoreip.iter().map(|ignored| text_of(ignored.network));
        let entries = networks.chain(settings.names.iter().map(|host| host.name.clone())).collect();
        Ok(QueuedAnswer::new(entries, turn))
    }

    /// The bans of this jail that are in force, as in `ListBans` of the manager.
    #[zbus(out_args("bans", "total", "generation"))]
    async fn list_bans(
        &self,
        #[zbus(header)] header: Header<'_>,
        what: HashMap<String, OwnedVariant>,
        offset: u32,
        limit: u32,
    ) -> Result<(QueuedAnswer<Vec<BanRow>>, u32, u64), Error> {
        let listing = Listing { jail: Some(self.name.clone()), ..options::listing(&what, offset, limit)? };
        self.core.bans(&header, listing).await
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_path_is_written_as_sd_bus_writes_it() {
        assert_eq!(path_of("sshd").as_str(), "/org/wardend1/jail/sshd");
        assert_eq!(path_of("postfix-sasl").as_str(), "/org/wardend1/jail/postfix_2dsasl");
        assert_eq!(path_of("2nd").as_str(), "/org/wardend1/jail/_32nd");
    }
}
