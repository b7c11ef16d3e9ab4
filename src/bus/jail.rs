//! `org.wardend1.Jail` at `/org/wardend1/jail/NAME`: a jail's settings and counters.

use zbus::{OwnedObjectPath, interface};

use super::{BanRow, Command, Core, Error, INFINITY, JailRow, PATH};
use crate::jail::{JailSettings, text_of};

/// The settings of a jail, as the bus shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JailInfo {
    name: String,
    filter: String,
    classes: Vec<String>,
    maxretry: u32,
    findtime: u64,
    bantime: u64,
    ignoreip: Vec<String>,
}

impl From<&JailSettings> for JailInfo {
    fn from(settings: &JailSettings) -> Self {
        Self {
            name: settings.name.clone(),
            filter: settings.filter.name.clone(),
            classes: settings.classes.clone(),
            maxretry: settings.maxretry,
            findtime: settings.findtime,
            bantime: settings.bantime.unwrap_or(INFINITY),
            ignoreip: settings.ignoreip.iter().map(|ignored| text_of(ignored.network)).collect(),
        }
    }
}

impl JailInfo {
    #[cfg(test)]
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            filter: name.to_owned(),
            classes: Vec::new(),
            maxretry: 5,
            findtime: 0,
            bantime: 0,
            ignoreip: Vec::new(),
        }
    }

    /// The object's path: bytes that a path can't hold are written as `_xx`, as sd-bus does.
    pub(crate) fn path(&self) -> OwnedObjectPath {
        path_of(&self.name)
    }
}

/// The object path of a jail (sd_bus_path_encode(3)).
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
    pub(crate) info: JailInfo,
    pub(crate) core: Core,
}

impl Jail {
    /// The counters, as the core last published them. A getter must not ask the core: zbus reads
    /// all properties while an object is put on the bus, when the core does not answer yet.
    fn row(&self) -> Option<JailRow> {
        self.core.status.borrow().jails.iter().find(|jail| jail.name == self.info.name).cloned()
    }
}

#[interface(name = "org.wardend1.Jail", proxy(default_service = "org.wardend1"))]
impl Jail {
    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.info.name.clone()
    }

    /// The name of its filter.
    #[zbus(property(emits_changed_signal = "const"))]
    fn filter(&self) -> String {
        self.info.filter.clone()
    }

    /// The classes of rules that it counts.
    #[zbus(property(emits_changed_signal = "const"))]
    fn classes(&self) -> Vec<String> {
        self.info.classes.clone()
    }

    /// So many failures within `FindTimeUSec` lead to a ban.
    #[zbus(property(emits_changed_signal = "const"))]
    fn max_retry(&self) -> u32 {
        self.info.maxretry
    }

    /// The window in µs.
    #[zbus(property(emits_changed_signal = "const"), name = "FindTimeUSec")]
    fn find_time_usec(&self) -> u64 {
        self.info.findtime
    }

    /// How long a first ban lasts in µs; 2⁶⁴−1 for ever.
    #[zbus(property(emits_changed_signal = "const"), name = "BanTimeUSec")]
    fn ban_time_usec(&self) -> u64 {
        self.info.bantime
    }

    /// What is never banned, beside loopback.
    #[zbus(property(emits_changed_signal = "const"), name = "IgnoreIP")]
    fn ignore_ip(&self) -> Vec<String> {
        self.info.ignoreip.clone()
    }

    /// Bans in force.
    #[zbus(property(emits_changed_signal = "false"), name = "NBans")]
    fn n_bans(&self) -> u32 {
        self.row().map_or(0, |row| row.bans)
    }

    /// Sources with failures that count.
    #[zbus(property(emits_changed_signal = "false"), name = "NFailing")]
    fn n_failing(&self) -> u32 {
        self.row().map_or(0, |row| row.failing)
    }

    /// Open sessions.
    #[zbus(property(emits_changed_signal = "false"), name = "NSessions")]
    fn n_sessions(&self) -> u32 {
        self.row().map_or(0, |row| row.sessions)
    }

    /// Its bans in force, as in `ListBans` of the manager.
    #[zbus(out_args("bans"))]
    async fn list_bans(&self) -> Result<Vec<BanRow>, Error> {
        let mut bans = self.core.ask(Command::ListBans).await?;
        bans.retain(|ban| ban.jail == self.info.name);
        Ok(bans)
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
