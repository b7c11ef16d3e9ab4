//! wardend, as this program reaches it: over org.wardend1, with the rights of the user wardend-fleet.
//!
//! One task ([`follow`]) says what is banned there and what changes, in order: signals are numbered
//! (`Generation`), and whoever has missed one reads the list again. Another ([`carry_out`]) enters what the
//! fleet has decided, many at a time, because each call is a write to the disk and a batch for firewalld.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures_util::StreamExt;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use wardend::shared::{parse_network, text_of};
use zbus::{Connection, DeserializeDict, Message, OwnedVariant, SerializeDict, Type, proxy, proxy::CacheProperties};

use crate::{
    JAIL,
    core::{Seconds, ledger::Claim},
};

/// The most entries of a call.
pub(crate) const MOST_IN_A_CALL: usize = 5000;
/// How long wardend may take for a call: firewalld may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long to wait until wardend is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// The end of a ban that is permanent: the last second of the year 9999.
const NEVER: Seconds = 253_402_300_799;
const ORIGIN: &str = "fleet";

type Options = HashMap<String, OwnedVariant>;

#[proxy(interface = "org.wardend1.Manager", default_service = "org.wardend1", default_path = "/org/wardend1")]
trait Manager {
    fn list_bans(&self, what: Options, offset: u32, limit: u32) -> zbus::Result<(Vec<BanRow>, u32, u64)>;
    fn ban_many(&self, bans: Vec<Options>, options: Options) -> zbus::Result<Vec<Outcome>>;
    fn unban_many(&self, addresses: Vec<String>, jail: &str, options: Options) -> zbus::Result<Vec<Outcome>>;
    fn suspect(&self, addresses: Vec<String>, options: Options) -> zbus::Result<Vec<ExceptionRow>>;
    fn list_suspects(&self) -> zbus::Result<Vec<ExceptionRow>>;
}

#[derive(Clone, Debug, Serialize, Deserialize, Type)]
struct BanRow {
    jail: String,
    source: String,
    since_usec: u64,
    until_usec: u64,
    count: u32,
    failures: u32,
    rule: String,
    reason: String,
    more: BanMore,
}

#[derive(Clone, Debug, Default, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct BanMore {
    origin: String,
}

#[derive(Clone, Debug, Default, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct Outcome {
    result: String,
    #[zbus(rename = "UntilUSec")]
    until_usec: Option<u64>,
    origin: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Debug, Default, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct ExceptionRow {
    result: Option<String>,
    source: Option<String>,
    jail: Option<String>,
    #[zbus(rename = "UntilUSec")]
    until_usec: Option<u64>,
    origin: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Debug, Default, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct Details {
    generation: u64,
    origin: Option<String>,
}

/// What is so in wardend, or changes there.
#[derive(Debug)]
pub(crate) enum Happening {
    /// All of it, from now on.
    All(Known),
    /// A shared jail has banned a source.
    Banned(IpNet, Claim),
    /// A ban of a shared jail has ended before its time.
    Unbanned(String, IpNet),
    /// A ban of the fleet lasts until then.
    Held(IpNet, Seconds),
    /// A ban of the fleet has ended; whether by an order.
    Released(IpNet, bool),
    /// wardend does not run, or does not answer; the sentence says so.
    Lost(String),
}

/// What is banned and suspected.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The bans of the shared jails, by source; of several, the last to end.
    pub(crate) shared: BTreeMap<IpNet, BTreeMap<String, Claim>>,
    /// The bans of the fleet.
    pub(crate) held: BTreeMap<IpNet, Seconds>,
    /// What the fleet has had suspected.
    pub(crate) suspected: BTreeMap<IpNet, Seconds>,
}

fn seconds(usec: u64) -> Seconds {
    if usec == u64::MAX { NEVER } else { (usec / 1_000_000).min(NEVER) }
}

fn with<const N: usize>(entries: [(&str, OwnedVariant); N]) -> Options {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn word(text: &str) -> OwnedVariant {
    zbus::Str::from(text.to_owned()).into()
}

/// Whose bans are sent: those that a jail or an administrator has decided, not what came from elsewhere.
fn is_own(origin: &str) -> bool {
    origin == "jail" || origin == "admin"
}

/// Follows wardend until the receiver is gone.
pub(crate) async fn follow(bus: Connection, jails: BTreeSet<String>, to: mpsc::Sender<Happening>) {
    loop {
        let why = match session(&bus, &jails, &to).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if to.send(Happening::Lost(why.to_string())).await.is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Until wardend goes, or the receiver does (then it is no error).
async fn session(bus: &Connection, jails: &BTreeSet<String>, to: &mpsc::Sender<Happening>) -> Result<(), DaemonError> {
    let manager = ManagerProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    let mut owners = manager.inner().receive_owner_changed().await?;
    let mut signals = manager.inner().receive_all_signals().await?;
    let mut generation = list(&manager, jails, to).await?;
    loop {
        tokio::select! {
            biased;
            owner = owners.next() => match owner {
                // The owner of now is announced as well.
                Some(Some(_)) => generation = list(&manager, jails, to).await?,
                _ => return Err(DaemonError::NotRunning),
            },
            signal = signals.next() => {
                let Some(signal) = signal else { return Err(DaemonError::Closed) };
                let Some((happening, number)) = read(&signal, jails) else { continue };
                if number <= generation {
                    continue;
                }
                if number > generation + 1 {
                    generation = list(&manager, jails, to).await?;
                    continue;
                }
                generation = number;
                if let Some(happening) = happening
                    && to.send(happening).await.is_err()
                {
                    return Ok(());
                }
            },
            () = to.closed() => return Ok(()),
        }
    }
}

/// Reads everything; returns the number of the last change in it.
async fn list(
    manager: &ManagerProxy<'_>,
    jails: &BTreeSet<String>,
    to: &mpsc::Sender<Happening>,
) -> Result<u64, DaemonError> {
    let asked = timeout(PATIENCE, manager.list_bans(Options::new(), 0, 0)).await;
    let (bans, _, generation) = asked.map_err(|_| DaemonError::Silent)??;
    let suspects = timeout(PATIENCE, manager.list_suspects()).await;
    let suspects = suspects.map_err(|_| DaemonError::Silent)??;
    let mut known = Known::default();
    for ban in bans {
        let Ok(source) = parse_network(&ban.source) else { continue };
        let until = seconds(ban.until_usec);
        if ban.jail == JAIL {
            if ban.more.origin == ORIGIN {
                known.held.insert(source, until);
            }
        } else if jails.contains(&ban.jail) && is_own(&ban.more.origin) {
            let claim = Claim { until, jail: ban.jail.as_str().into(), count: ban.count };
            known.shared.entry(source).or_default().insert(ban.jail, claim);
        }
    }
    for row in suspects {
        if row.origin.as_deref() == Some(ORIGIN)
            && let Some(source) = row.source.as_deref().and_then(|source| parse_network(source).ok())
        {
            known.suspected.insert(source, seconds(row.until_usec.unwrap_or(u64::MAX)));
        }
    }
    let _ = to.send(Happening::All(known)).await;
    Ok(generation)
}

/// What a signal says, and its number; nothing if it is not about a change of the bans.
fn read(signal: &Message, jails: &BTreeSet<String>) -> Option<(Option<Happening>, u64)> {
    let body = signal.body();
    match signal.header().member()?.as_str() {
        "Banned" | "Extended" => {
            let (jail, source, until, count, details): (String, String, u64, u32, Details) = body.deserialize().ok()?;
            let source = parse_network(&source).ok()?;
            let origin = details.origin.as_deref().unwrap_or_default();
            let until = seconds(until);
            let happening = if jail == JAIL {
                (origin == ORIGIN).then_some(Happening::Held(source, until))
            } else if jails.contains(&jail) && is_own(origin) {
                Some(Happening::Banned(source, Claim { until, jail: jail.into(), count }))
            } else {
                None
            };
            Some((happening, details.generation))
        }
        "Unbanned" => {
            let (jail, source, why, details): (String, String, String, Details) = body.deserialize().ok()?;
            let source = parse_network(&source).ok()?;
            let happening = if jail == JAIL {
                Some(Happening::Released(source, why == "command"))
            } else if jails.contains(&jail) && why != "expired" {
                Some(Happening::Unbanned(jail, source))
            } else {
                None
            };
            Some((happening, details.generation))
        }
        _ => None,
    }
}

/// Why wardend can't be asked. The text is a sentence.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    #[error("wardend is not running; start it with `systemctl start wardend`.")]
    NotRunning,
    #[error("wardend has not answered within {} s.", PATIENCE.as_secs())]
    Silent,
    #[error("The system bus has closed the connection.")]
    Closed,
    /// In its own words.
    #[error("{0}")]
    Refused(String),
    #[error("The bus call failed: {0}.")]
    Bus(zbus::Error),
}

impl From<zbus::Error> for DaemonError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, _, _) if name.as_str() == "org.freedesktop.DBus.Error.ServiceUnknown" => {
                Self::NotRunning
            }
            zbus::Error::MethodError(_, Some(text), _) => Self::Refused(text),
            error => Self::Bus(error),
        }
    }
}

fn is_no_jail(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, _, _) if name.as_str() == "org.wardend1.Error.NoSuchJail")
}

/// What is to be entered in wardend.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Bans, each with its end and the reason.
    pub(crate) ban: Vec<(IpNet, Seconds, String)>,
    /// Bans that are to end.
    pub(crate) unban: Vec<IpNet>,
    /// Whom to suspect, each until when and why.
    pub(crate) suspect: Vec<(IpNet, Seconds, String)>,
    /// Who is no longer suspected.
    pub(crate) unsuspect: Vec<IpNet>,
}

impl Orders {
    /// There is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.ban.is_empty() && self.unban.is_empty() && self.suspect.is_empty() && self.unsuspect.is_empty()
    }
}

/// What has come of it.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Bans that are in force, each with its end.
    pub(crate) banned: Vec<(IpNet, Seconds)>,
    /// Bans that have ended, or that there were none of.
    pub(crate) unbanned: Vec<IpNet>,
    /// Who is suspected, and until when.
    pub(crate) suspected: Vec<(IpNet, Seconds)>,
    /// Who is not.
    pub(crate) unsuspected: Vec<IpNet>,
    /// What wardend has refused, with its sentence.
    pub(crate) refused: Vec<(IpNet, String)>,
    /// What could not be asked at all.
    pub(crate) failed: Option<String>,
}

/// Carries out orders, one batch after the other, until there can be no more.
pub(crate) async fn carry_out(
    bus: Connection,
    jails: BTreeSet<String>,
    mut orders: mpsc::Receiver<Orders>,
    results: mpsc::Sender<Results>,
) {
    while let Some(orders) = orders.recv().await {
        let mut result = Results::default();
        match timeout(PATIENCE, enter(&bus, &jails, orders, &mut result)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => result.failed = Some(DaemonError::from(error).to_string()),
            Err(_) => result.failed = Some(DaemonError::Silent.to_string()),
        }
        if results.send(result).await.is_err() {
            return;
        }
    }
}

async fn enter(bus: &Connection, jails: &BTreeSet<String>, orders: Orders, result: &mut Results) -> zbus::Result<()> {
    let manager = ManagerProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    if !orders.unban.is_empty() {
        let addresses = orders.unban.iter().map(|source| text_of(*source)).collect();
        let outcomes = manager.unban_many(addresses, JAIL, with([("Origin", word(ORIGIN))])).await?;
        // One that was refused was not there.
        result.unbanned.extend(orders.unban.iter().take(outcomes.len()));
    }
    if !orders.ban.is_empty() {
        let entry = |(source, until, reason): &(IpNet, Seconds, String)| {
            with([
                ("Address", word(&text_of(*source))),
                ("UntilUSec", until.saturating_mul(1_000_000).into()),
                ("Reason", word(reason)),
            ])
        };
        let options = with([("Jail", word(JAIL)), ("Origin", word(ORIGIN)), ("Spare", true.into())]);
        let outcomes = manager.ban_many(orders.ban.iter().map(entry).collect(), options).await?;
        for ((source, until, _), outcome) in orders.ban.iter().zip(outcomes) {
            match outcome.message {
                None => result.banned.push((*source, outcome.until_usec.map_or(*until, seconds))),
                Some(why) => result.refused.push((*source, why)),
            }
        }
    }
    if orders.suspect.is_empty() && orders.unsuspect.is_empty() {
        return Ok(());
    }
    // What somebody else has ordered for the same source and jail stays as it is.
    let others: BTreeSet<(IpNet, String)> = manager
        .list_suspects()
        .await?
        .into_iter()
        .filter(|row| row.origin.as_deref() != Some(ORIGIN))
        .filter_map(|row| Some((parse_network(row.source.as_deref()?).ok()?, row.jail?)))
        .collect();
    for jail in jails {
        // Unsuspect would end what others have ordered as well, and polkit's rules can't tell; a second can.
        let ended: Vec<String> = orders
            .unsuspect
            .iter()
            .filter(|source| !others.contains(&(**source, jail.clone())))
            .map(|source| text_of(*source))
            .collect();
        if !ended.is_empty() {
            let options = with([
                ("Jail", word(jail)),
                ("Origin", word(ORIGIN)),
                ("ForUSec", 1_000_000u64.into()),
                ("Reason", word("no machine of the fleet bans it any more")),
            ]);
            match manager.suspect(ended, options).await {
                Err(error) if is_no_jail(&error) => continue,
                outcome => outcome?,
            };
        }
        // A call has one duration for all: those that end in the same minute go together.
        let mut by_end: BTreeMap<Seconds, Vec<&(IpNet, Seconds, String)>> = BTreeMap::new();
        for order in orders.suspect.iter().filter(|(source, ..)| !others.contains(&(*source, jail.clone()))) {
            by_end.entry(order.1 / 60).or_default().push(order);
        }
        for (_, together) in by_end {
            let rest = together.iter().map(|(_, until, _)| until.saturating_sub(now())).max().unwrap_or(0).max(1);
            let reason = match together[..] {
                [(_, _, reason)] => reason.as_str(),
                _ => "banned by a machine of the fleet",
            };
            let options = with([
                ("Jail", word(jail)),
                ("Origin", word(ORIGIN)),
                ("ForUSec", rest.saturating_mul(1_000_000).into()),
                ("Reason", word(reason)),
            ]);
            let addresses = together.iter().map(|(source, ..)| text_of(*source)).collect();
            let rows = match manager.suspect(addresses, options).await {
                // Other machines may have jails that this one has not.
                Err(error) if is_no_jail(&error) => break,
                outcome => outcome?,
            };
            for ((source, until, _), row) in together.into_iter().zip(rows) {
                match row.message {
                    None => result.suspected.push((*source, *until)),
                    Some(why) => result.refused.push((*source, why)),
                }
            }
        }
    }
    result.unsuspected.extend(orders.unsuspect);
    Ok(())
}

/// Now, in seconds since the epoch.
pub(crate) fn now() -> Seconds {
    now_usec() / 1_000_000
}

/// Now, in µs since the epoch.
pub(crate) fn now_usec() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
