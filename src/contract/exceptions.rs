//! Exceptions on the bus, each a dictionary: addresses that are ignored or suspected, jails that are paused.

use zbus::{DeserializeDict, SerializeDict, Type};

use super::{bus::INFINITY, error::Error};
use crate::core::{
    Exception, ExceptionKind,
    engine::{IgnoredEntry, IgnoredWhat},
    net::text_of,
};

/// An exception, or why there is none: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct ExceptionRow {
    /// The address or network, as the caller wrote it; only in an answer to that.
    pub(crate) address: Option<String>,
    /// `ignored`, `unignored`, `suspected`, `unsuspected`, `paused`, `resumed` or `refused`; only in an answer.
    pub(crate) result: Option<String>,
    /// The address or network.
    pub(crate) source: Option<String>,
    /// The jail; none for all.
    pub(crate) jail: Option<String>,
    #[zbus(rename = "SinceUSec")]
    pub(crate) since_usec: Option<u64>,
    /// [`INFINITY`] if it has no end.
    #[zbus(rename = "UntilUSec")]
    pub(crate) until_usec: Option<u64>,
    /// It has no end.
    pub(crate) permanent: Option<bool>,
    pub(crate) reason: Option<String>,
    pub(crate) origin: Option<String>,
    /// The user ID of who ordered it.
    #[zbus(rename = "UID")]
    pub(crate) uid: Option<u32>,
    /// The name of the error.
    pub(crate) error: Option<String>,
    /// Its sentence.
    pub(crate) message: Option<String>,
}

impl From<&Exception> for ExceptionRow {
    fn from(exception: &Exception) -> Self {
        let words = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            source: words(&exception.source()),
            jail: exception.jail.as_deref().map(str::to_owned),
            since_usec: Some(exception.since),
            until_usec: Some(exception.until.unwrap_or(INFINITY)),
            permanent: Some(exception.until.is_none()),
            reason: words(&exception.reason),
            origin: words(&exception.origin),
            uid: exception.uid,
            ..Self::default()
        }
    }
}

impl ExceptionRow {
    /// What came of an order.
    pub(crate) fn answer(address: Option<&str>, result: &str, exception: &Exception) -> Self {
        let (address, result) = (address.map(str::to_owned), Some(result.to_owned()));
        Self { address, result, ..Self::from(exception) }
    }

    /// Nothing came of it.
    pub(crate) fn refusal(address: &str, error: &Error) -> Self {
        let (error, message) = error.in_words();
        Self {
            address: Some(address.to_owned()),
            result: Some("refused".to_owned()),
            error: Some(error),
            message: Some(message),
            ..Self::default()
        }
    }
}

/// The words for what came of an order, and of the order that ends it.
pub(crate) fn words(kind: ExceptionKind) -> (&'static str, &'static str) {
    match kind {
        ExceptionKind::Ignored => ("ignored", "unignored"),
        ExceptionKind::Paused => ("paused", "resumed"),
        ExceptionKind::Suspected => ("suspected", "unsuspected"),
    }
}

/// Who is never banned: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct IgnoredRow {
    /// An address or network.
    pub(crate) source: Option<String>,
    /// A name, in the configuration.
    pub(crate) name: Option<String>,
    /// What the name means now.
    pub(crate) addresses: Option<Vec<String>>,
    /// The jails; empty for all.
    pub(crate) jails: Vec<String>,
    /// `command` or `configuration`.
    pub(crate) origin: String,
    #[zbus(rename = "SinceUSec")]
    pub(crate) since_usec: Option<u64>,
    /// [`INFINITY`] if it has no end.
    #[zbus(rename = "UntilUSec")]
    pub(crate) until_usec: Option<u64>,
    /// It has no end.
    pub(crate) permanent: bool,
    pub(crate) reason: Option<String>,
    /// The user ID of who ordered it.
    #[zbus(rename = "UID")]
    pub(crate) uid: Option<u32>,
    /// Where the configuration says so.
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
}

impl From<&Exception> for IgnoredRow {
    fn from(exception: &Exception) -> Self {
        let row = ExceptionRow::from(exception);
        Self {
            source: row.source,
            jails: row.jail.into_iter().collect(),
            origin: "command".to_owned(),
            since_usec: row.since_usec,
            until_usec: row.until_usec,
            permanent: exception.until.is_none(),
            reason: row.reason,
            uid: row.uid,
            ..Self::default()
        }
    }
}

impl IgnoredRow {
    /// An entry of the configuration, which has `all` jails.
    pub(crate) fn configured(entry: &IgnoredEntry, all: usize) -> Self {
        let mut row = Self {
            jails: if entry.jails.len() == all { Vec::new() } else { entry.jails.clone() },
            origin: "configuration".to_owned(),
            permanent: true,
            ..Self::default()
        };
        match &entry.what {
            IgnoredWhat::Network(network) => row.source = Some(text_of(*network)),
            IgnoredWhat::Name(name, addresses) => {
                row.name = Some(name.clone());
                row.addresses = Some(addresses.iter().map(ToString::to_string).collect());
            }
        }
        if let Some((file, line)) = place(&entry.because) {
            (row.file, row.line) = (Some(file.to_owned()), Some(line));
        }
        row
    }
}

/// The file and the line in `FILE:LINE: …`.
fn place(because: &str) -> Option<(&str, u32)> {
    let (place, _) = because.split_once(": ")?;
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_configuration_is_found() {
        let because = "/etc/wardend/wardend.conf.d/local.conf:12: ignoreip has \"home.example: x\"";
        assert_eq!(place(because), Some(("/etc/wardend/wardend.conf.d/local.conf", 12)));
        assert_eq!(place("ignoreip"), None);
        assert_eq!(place("built in: ignoreip"), None);
    }
}
