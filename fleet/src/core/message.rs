//! What machines send: news (what has changed) and documents (all there is), as JSON.
//!
//! News: `{"v":1,"epoch":…,"n":…,"now":…,"add":[["203.0.113.7",1795593040,"sshd",5]],"del":["…"],"sum":"…"}`.
//! A document has `bans` in place of `add` and `del`. `pardon` is in both: `[["203.0.113.9",1795593040]]`.
//! `epoch` and `n` order the messages of a machine, and `sum` is the digest of its ledger after this one.
//! Unknown keys are ignored, so a later version can say more. The name of the machine is not in the text: the
//! broker ties it to the subject. There are no user names in it and no text of a log.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wardend::shared::{AddressError, parse_network, text_of};

use super::{
    Seconds,
    ledger::{Claim, Ledger},
};

/// The version of the protocol.
pub(crate) const VERSION: u64 = 1;
/// The longest news, in bytes.
pub(crate) const LONGEST_NEWS: usize = 4096;
/// The longest document, in bytes.
pub(crate) const LONGEST_DOCUMENT: usize = 65_536;
/// The longest name of a jail, in bytes.
pub(crate) const LONGEST_JAIL: usize = 64;

/// Where a machine is in its own changes: later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// When the agent was started, in µs since the epoch.
    pub(crate) epoch: u64,
    /// The number of the change since then.
    pub(crate) n: u64,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The version of the ledger after this.
    pub(crate) version: Version,
    /// What time it was at the machine.
    pub(crate) now: Seconds,
    /// Bans that have begun or changed; of a document, all.
    pub(crate) bans: Vec<(IpNet, Claim)>,
    /// Bans that were ended.
    pub(crate) ended: Vec<IpNet>,
    /// Pardons that were given; of a document, all.
    pub(crate) pardons: Vec<(IpNet, Seconds)>,
    /// The digest of the ledger after this.
    pub(crate) sum: u64,
    /// It says all that is in the ledger.
    pub(crate) whole: bool,
}

/// Why a message can't be read. The text is the end of a sentence.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// A message that is too long is not read.
    #[error("it has {0} bytes, more than the {1} that are allowed")]
    Long(usize, usize),
    /// It is not the JSON that it should be.
    #[error("it can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A version that this program does not know.
    #[error("it is in version {0} of the protocol, which this version of wardend-fleet does not know")]
    Newer(u64),
    /// A source that is not an address or a network.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// A name that no jail can have.
    #[error("the name of a jail in it is empty, too long, or not printable")]
    Jail,
    /// A digest that is none.
    #[error("its digest is not 16 hexadecimal digits")]
    Sum,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u64,
    epoch: u64,
    n: u64,
    now: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    add: Vec<(String, u64, String, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    del: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bans: Option<Vec<(String, u64, String, u32)>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pardon: Vec<(String, u64)>,
    sum: String,
}

/// Only the version, which a later protocol has as well.
#[derive(Deserialize)]
struct Probe {
    v: u64,
}

fn jail(name: &str) -> Result<Arc<str>, MessageError> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > LONGEST_JAIL || !printable { Err(MessageError::Jail) } else { Ok(name.into()) }
}

fn entry((source, until, name, count): &(String, u64, String, u32)) -> Result<(IpNet, Claim), MessageError> {
    Ok((parse_network(source)?, Claim { until: *until, jail: jail(name)?, count: *count }))
}

impl Message {
    /// Reads news or a document.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is used then.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > LONGEST_DOCUMENT {
            return Err(MessageError::Long(bytes.len(), LONGEST_DOCUMENT));
        }
        let wire: Wire = match serde_json::from_slice(bytes) {
            Ok(wire) => wire,
            Err(error) => {
                return Err(match serde_json::from_slice::<Probe>(bytes) {
                    Ok(Probe { v }) if v > VERSION => MessageError::Newer(v),
                    _ => error.into(),
                });
            }
        };
        if wire.v != VERSION {
            return Err(MessageError::Newer(wire.v));
        }
        let whole = wire.bans.is_some();
        if !whole && bytes.len() > LONGEST_NEWS {
            return Err(MessageError::Long(bytes.len(), LONGEST_NEWS));
        }
        let hex = wire.sum.len() == 16 && wire.sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(Self {
            version: Version { epoch: wire.epoch, n: wire.n },
            now: wire.now,
            bans: wire.bans.as_ref().unwrap_or(&wire.add).iter().map(entry).collect::<Result<_, _>>()?,
            ended: if whole {
                Vec::new()
            } else {
                wire.del.iter().map(|source| parse_network(source)).collect::<Result<_, _>>()?
            },
            pardons: wire
                .pardon
                .iter()
                .map(|(source, until)| Ok((parse_network(source)?, *until)))
                .collect::<Result<_, MessageError>>()?,
            sum: hex.then(|| u64::from_str_radix(&wire.sum, 16).ok()).flatten().ok_or(MessageError::Sum)?,
            whole,
        })
    }

    /// Its text.
    pub fn write(&self) -> Vec<u8> {
        let bans: Vec<_> = self
            .bans
            .iter()
            .map(|(source, claim)| (text_of(*source), claim.until, claim.jail.to_string(), claim.count))
            .collect();
        let (add, bans) = if self.whole { (Vec::new(), Some(bans)) } else { (bans, None) };
        let wire = Wire {
            v: VERSION,
            epoch: self.version.epoch,
            n: self.version.n,
            now: self.now,
            add,
            del: self.ended.iter().map(|source| text_of(*source)).collect(),
            bans,
            pardon: self.pardons.iter().map(|(source, until)| (text_of(*source), *until)).collect(),
            sum: format!("{:016x}", self.sum),
        };
        // It has only numbers, texts and lists of them, which can always be written.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// All of a ledger.
    pub(crate) fn of_all(ledger: &Ledger, version: Version, now: Seconds) -> Self {
        Self {
            version,
            now,
            bans: ledger.bans().iter().map(|(source, claim)| (*source, claim.clone())).collect(),
            ended: Vec::new(),
            pardons: ledger.pardons().iter().map(|(source, until)| (*source, *until)).collect(),
            sum: ledger.sum(),
            whole: true,
        }
    }

    /// The number of entries.
    pub(crate) fn entries(&self) -> usize {
        self.bans.len() + self.ended.len() + self.pardons.len()
    }
}

/// The number of digits of a number.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |power| power as usize + 1)
}

/// The bytes that an entry of a ban takes.
pub(super) fn size_of_ban(source: &IpNet, claim: &Claim) -> usize {
    // ["SOURCE",UNTIL,"JAIL",COUNT], and what JSON puts before '"' and '\' in the name.
    let name = claim.jail.len() + claim.jail.matches(['"', '\\']).count();
    text_of(*source).len() + digits(claim.until) + name + digits(claim.count.into()) + 10
}

/// The bytes that an entry of an ended ban or of a pardon takes at most.
pub(super) fn size_of_source(source: &IpNet) -> usize {
    text_of(*source).len() + 20 + 6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(text: &str) -> Result<Message, String> {
        Message::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn news_is_read_as_documented() {
        let text = r#"{"v":1,"epoch":5,"n":2,"now":100,"add":[["203.0.113.7",200,"sshd",5]],"del":["2001:db8::/64"],"sum":"00000000000000ff","later":{}}"#;
        let message = news(text).unwrap();
        assert_eq!((message.version, message.now, message.sum), (Version { epoch: 5, n: 2 }, 100, 255));
        assert_eq!(
            message.bans,
            [("203.0.113.7/32".parse().unwrap(), Claim { until: 200, jail: "sshd".into(), count: 5 })]
        );
        assert_eq!(message.ended, ["2001:db8::/64".parse().unwrap()]);
        assert!(!message.whole);
        assert_eq!(Message::parse(&message.write()).unwrap(), message);
    }

    #[test]
    fn what_can_not_be_used_is_refused_with_the_reason() {
        let with = |what: &str| format!(r#"{{"v":1,"epoch":5,"n":2,"now":100,{what}}}"#);
        for (text, reason) in [
            (String::new(), "it can't be read: EOF"),
            (with(r#""sum":"ff""#), "its digest is not 16"),
            (with(r#""sum":"+00000000000000f""#), "its digest is not 16"),
            (with(r#""sum":"00000000000000ff","add":[["0.0.0.0",1,"sshd",1]]"#), ""),
            (with(r#""sum":"00000000000000ff","add":[["0.0.0.0/0",1,"sshd",1]]"#), ""),
            (with(r#""sum":"00000000000000ff","add":[["web1.example",1,"sshd",1]]"#), ""),
            (with(r#""sum":"00000000000000ff","add":[["203.0.113.7",1,"",1]]"#), "the name of a jail"),
            (with(r#""sum":"00000000000000ff","add":[["203.0.113.7",1,"a\u001b[2J",1]]"#), "the name of a jail"),
            (
                with(r#""sum":"00000000000000ff","add":[["203.0.113.7",-1,"sshd",1]]"#),
                "it can't be read: invalid value",
            ),
            (r#"{"v":2,"bans":7}"#.to_owned(), "it is in version 2"),
            (format!("[{}", "[".repeat(4000)), "it can't be read: "),
        ] {
            let error = news(&text).unwrap_err();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
        let long = with(&format!(r#""sum":"00000000000000ff","x":"{}""#, "x".repeat(LONGEST_NEWS)));
        assert!(news(&long).unwrap_err().contains("more than the 4096"));
        assert!(news(&" ".repeat(LONGEST_DOCUMENT + 1)).unwrap_err().contains("more than the 65536"));
    }
}
