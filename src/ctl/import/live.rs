//! `import fail2ban --bans`: the bans in force there, as wardend's.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, anyhow, bail};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    super::{
        bans::Firewall,
        bus::{ask, steer},
        list::options,
    },
    Partial,
    arguments::{Arguments, DIRECTORY},
    database, located,
};
use crate::{
    contract::bus::Outcome,
    core::net::parse_network,
    fail2ban::{self, Ban, Files, Import, Order, Orders, parse_listing},
    util::{
        text::{count, printable},
        time::now,
    },
};

const CLIENT: &str = "fail2ban-client";
/// Enough of a list to show what it is about.
const MOST_EXAMPLES: usize = 5;

/// The bans of a fail2ban.
pub(super) struct Live {
    /// Where they were found.
    from: String,
    bans: Vec<Ban>,
}

impl Live {
    /// Reads the database, or asks the daemon if it has none.
    pub(super) fn read(files: &dyn Files, arguments: &Arguments, import: &Import) -> anyhow::Result<Self> {
        if let Some(path) = &arguments.database {
            return Self::of_database(path);
        }
        let database = fail2ban::database(files).map_err(|error| located(error, &arguments.directory))?;
        match &database {
            Some(path) if path.exists() || arguments.directory != Path::new(DIRECTORY) => Self::of_database(path),
            _ => Self::of_daemon(&import.jails_with_bans()).with_context(|| match &database {
                Some(path) => format!(
                    "fail2ban's database {} is not there, and fail2ban can't be asked for its bans either",
                    path.display()
                ),
                None => "fail2ban has no database (dbfile), and can't be asked for its bans".to_owned(),
            }),
        }
    }

    fn of_database(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { from: path.display().to_string(), bans: database::read(path)? })
    }

    fn of_daemon(jails: &[&str]) -> anyhow::Result<Self> {
        let mut bans = Vec::new();
        for jail in jails {
            let mut client = Command::new(CLIENT);
            client.args(["get", jail, "banip", "--with-time"]).stdin(Stdio::null());
            let output = client.output().with_context(|| format!("{CLIENT} can't be started"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
                let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed").trim().to_owned();
                bail!("{CLIENT} get {jail} banip: {said}");
            }
            let text = String::from_utf8_lossy(&output.stdout);
            bans.extend(parse_listing(jail, &text, &TimeZone::system()).map_err(|what| anyhow!("{what}."))?);
        }
        Ok(Self { from: CLIENT.to_owned(), bans })
    }

    /// Has wardend ban them, by the settings that are in its files now.
    pub(super) async fn take_over(&self, import: &Import) -> anyhow::Result<Taken> {
        let Orders { given: orders, over, stay, gone } = import.orders(&self.bans, now());
        let daemon = steer().await?;
        let () = daemon.call("Reload", &()).await?;
        let jails = ask(async || daemon.manager().list_jails().await).await?.answer;
        if let Some(missing) = import.names().find(|name| jails.iter().all(|jail| jail.name != *name)) {
            bail!("wardend has no jail '{missing}'; have the drop-in written, too, with --write.");
        }
        let entries = orders.iter().map(|order| {
            options([
                ("Address", Some(order.address.as_str().into())),
                ("Jail", Some(order.jail.as_str().into())),
                ("For", order.until_usec.is_none().then_some("infinity".into())),
                ("UntilUSec", order.until_usec.map(Into::into)),
                ("SinceUSec", Some(order.since_usec.into())),
                ("Count", Some(order.count.into())),
                ("Reason", Some(format!("fail2ban, jail {}", order.theirs).into())),
            ])
        });
        let entries = entries.collect::<zbus::Result<Vec<_>>>()?;
        let outcomes: Vec<Outcome> = if entries.is_empty() {
            Vec::new()
        } else {
            daemon.call("BanMany", &(entries, options([("Origin", Some("import".into()))])?)).await?
        };
        let firewall = daemon.firewall().await?;
        Ok(Taken::new(&self.from, &orders, &outcomes, (over, stay, gone), firewall))
    }
}

/// What became of the bans.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    /// Where they were found.
    from: String,
    jails: Vec<OfJail>,
    /// Networks that are banned in place of single IPv6 addresses.
    widened: Vec<Widened>,
    refused: Vec<RefusedBan>,
    /// Had ended before.
    over: usize,
    /// Jails that fail2ban goes on with, and the number of their bans.
    stay: BTreeMap<String, usize>,
    /// Jails that are not on.
    gone: BTreeMap<String, usize>,
    /// Why they are not in force yet; empty if they are.
    not_in_force: String,
}

/// The bans of a jail of fail2ban's in one of wardend's.
#[derive(Debug, Default, Serialize)]
struct OfJail {
    /// Its name there, and here.
    jail: String,
    name: String,
    banned: usize,
    extended: usize,
    unchanged: usize,
    permanent: usize,
}

/// An address, and the network that is banned.
#[derive(Debug, Serialize)]
struct Widened {
    address: String,
    source: String,
}

/// A ban that wardend did not take.
#[derive(Debug, Serialize)]
struct RefusedBan {
    jail: String,
    address: String,
    message: String,
}

impl Taken {
    fn new(
        from: &str,
        orders: &[Order],
        outcomes: &[Outcome],
        (over, stay, gone): (usize, BTreeMap<String, usize>, BTreeMap<String, usize>),
        firewall: Firewall,
    ) -> Self {
        let mut taken = Self {
            from: from.to_owned(),
            jails: Vec::new(),
            widened: Vec::new(),
            refused: Vec::new(),
            over,
            stay,
            gone,
            not_in_force: firewall.trouble,
        };
        for (order, outcome) in orders.iter().zip(outcomes) {
            if let Some(message) = &outcome.message {
                let (jail, address) = (order.theirs.clone(), order.address.clone());
                taken.refused.push(RefusedBan { jail, address, message: message.clone() });
                continue;
            }
            let known = taken.jails.iter().position(|jail| jail.jail == order.theirs && jail.name == order.jail);
            let at = known.unwrap_or_else(|| {
                taken.jails.push(OfJail { jail: order.theirs.clone(), name: order.jail.clone(), ..OfJail::default() });
                taken.jails.len() - 1
            });
            let jail = &mut taken.jails[at];
            *match outcome.result.as_str() {
                "banned" => &mut jail.banned,
                "extended" => &mut jail.extended,
                _ => &mut jail.unchanged,
            } += 1;
            jail.permanent += usize::from(order.until_usec.is_none());
            let source = outcome.source.as_deref().unwrap_or_default();
            if is_wider(source, &order.address) && taken.widened.iter().all(|known| known.address != order.address) {
                taken.widened.push(Widened { address: order.address.clone(), source: source.to_owned() });
            }
        }
        taken
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("Bans, from {}:\n", self.from);
        if self.jails.is_empty() && self.refused.is_empty() {
            text.push_str("  There is none to take over.\n");
        }
        for jail in &self.jails {
            let _ = write!(
                text,
                "  [{}] to [jail.{}]: {} banned, {} extended, {} already banned",
                printable(&jail.jail),
                jail.name,
                jail.banned,
                jail.extended,
                jail.unchanged
            );
            let permanent = if jail.permanent > 0 { format!("; {} permanent", jail.permanent) } else { String::new() };
            let _ = writeln!(text, "{permanent}.");
        }
        let examples = |list: Vec<String>| -> String {
            let more = list.len().saturating_sub(MOST_EXAMPLES);
            let mut shown = list.into_iter().take(MOST_EXAMPLES).collect::<Vec<_>>().join(", ");
            if more > 0 {
                let _ = write!(shown, " and {more} more");
            }
            shown
        };
        if !self.widened.is_empty() {
            let list = self.widened.iter().map(|one| format!("{} with {}", one.address, one.source)).collect();
            let _ = writeln!(
                text,
                "  {} banned with the network around: {}.",
                count(self.widened.len(), "IPv6 address is", "IPv6 addresses are"),
                examples(list)
            );
        }
        for refused in &self.refused {
            let _ = writeln!(
                text,
                "  - {} in [{}] was not taken over: {}",
                printable(&refused.address),
                printable(&refused.jail),
                printable(&refused.message)
            );
        }
        let numbers = |jails: &BTreeMap<String, usize>| {
            examples(jails.iter().map(|(jail, number)| format!("{number} of {}", printable(jail))).collect())
        };
        if !self.stay.is_empty() {
            let _ = writeln!(text, "  Stay in fail2ban, with their jails: {}.", numbers(&self.stay));
        }
        if !self.gone.is_empty() {
            let _ = writeln!(
                text,
                "  Of jails that are not enabled, so not in force there either: {}.",
                numbers(&self.gone)
            );
        }
        if self.over > 0 {
            let _ = writeln!(text, "  {} over.", count(self.over, "ban is", "bans are"));
        }
        text
    }

    /// Fails if not all of them hold.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.not_in_force.is_empty() {
            bail!(super::super::bus::Refused::WithoutEffect(format!(
                "The bans were taken over, but they are not in force: {}",
                self.not_in_force
            )));
        }
        if !self.refused.is_empty() {
            let number = count(self.refused.len(), "ban was", "bans were");
            bail!(Partial(format!("{number} not taken over.")));
        }
        Ok(())
    }
}

/// Whether the source is more than what was given.
fn is_wider(source: &str, given: &str) -> bool {
    match (parse_network(source), parse_network(given)) {
        (Ok(source), Ok(given)) => source.prefix_len() < given.prefix_len(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(address: &str, until_usec: Option<u64>) -> Order {
        Order {
            theirs: "ssh".to_owned(),
            jail: "sshd".to_owned(),
            address: address.to_owned(),
            since_usec: 1,
            until_usec,
            count: 1,
        }
    }

    fn outcome(result: &str, source: &str, message: Option<&str>) -> Outcome {
        Outcome {
            result: result.to_owned(),
            source: Some(source.to_owned()),
            message: message.map(str::to_owned),
            ..Outcome::default()
        }
    }

    #[test]
    fn what_became_of_each_ban_is_counted_and_what_was_not_taken_is_reported() {
        let orders = [
            order("203.0.113.7", Some(9)),
            order("203.0.113.0/28", None),
            order("2001:db8::7", Some(9)),
            order("2001:db8:1::/48", Some(9)),
            order("a\u{1b}[2Jb", None),
        ];
        let outcomes = [
            outcome("banned", "203.0.113.7", None),
            outcome("unchanged", "203.0.113.0/28", None),
            outcome("extended", "2001:db8::/64", None),
            outcome("banned", "2001:db8:1::/48", None),
            outcome("refused", "", Some("'a\u{1b}[2Jb' is neither an address nor a network.")),
        ];
        let rest = (2, [("other".to_owned(), 3)].into(), BTreeMap::new());
        let taken = Taken::new("file", &orders, &outcomes, rest, Firewall { trouble: String::new() });
        assert_eq!(
            taken.text(),
            "Bans, from file:\n  \
             [ssh] to [jail.sshd]: 2 banned, 1 extended, 1 already banned; 1 permanent.\n  \
             1 IPv6 address is banned with the network around: 2001:db8::7 with 2001:db8::/64.\n  \
             - a\u{fffd}[2Jb in [ssh] was not taken over: 'a\u{fffd}[2Jb' is neither an address nor a network.\n  \
             Stay in fail2ban, with their jails: 3 of other.\n  \
             2 bans are over.\n"
        );
        assert!(taken.check().unwrap_err().is::<Partial>());
    }
}
