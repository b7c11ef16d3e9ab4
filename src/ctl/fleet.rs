//! `wardenctl fleet`: what wardend-fleet knows and does, and the configuration of a broker.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::json;
use zbus::{Connection, fdo::DBusProxy, names::BusName, proxy, proxy::CacheProperties};

use super::{
    bus::Refused,
    metrics::FleetNumbers,
    output::{Cell, Json, Style, Table, closing, line, print_json, relative, when},
    time::duration,
};
use crate::{
    contract::{
        bus::INFINITY,
        fleet::{BrokerRow, FleetExplanation, FleetStatus, MachineRow, NAME, VoiceRow},
    },
    util::text::count,
};

/// The longest name of a machine.
const LONGEST_NAME: usize = 64;
/// For how long a pardon holds by default.
const PARDON: &str = "1day";

/// Verbs of `fleet`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Fleet {
    /// Show the brokers and the other machines
    Status {
        #[command(flatten)]
        json: Json,
    },
    /// Show which machines ban an address, and what follows here
    Explain {
        /// An address
        address: String,
        #[command(flatten)]
        json: Json,
    },
    /// Print the configuration of a broker for these machines
    Acl {
        /// The broker's program
        #[arg(long, value_enum, default_value_t)]
        broker: Program,
        /// The names of the machines, as their certificates have them
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Have no ban of an address by other machines count, here and where this machine is trusted
    Pardon {
        /// An address
        address: String,
        /// How long: "1h", "1day"
        #[arg(long = "for", value_name = "TIME", default_value = PARDON)]
        duration: String,
    },
    /// Take the bans of this machine back everywhere, and end those of others here
    Leave,
}

/// Programs that can be the broker.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Program {
    /// Nats-server, all of its configuration
    #[default]
    Nats,
    /// Mosquitto, the file with what each machine may do
    Mosquitto,
}

#[proxy(interface = "org.wardend1.Fleet", default_service = "org.wardend1.Fleet", default_path = "/org/wardend1/fleet")]
trait Agent {
    fn status(&self) -> zbus::Result<(FleetStatus, Vec<BrokerRow>, Vec<MachineRow>)>;
    fn explain(&self, address: &str) -> zbus::Result<(FleetExplanation, Vec<VoiceRow>)>;
    fn pardon(&self, address: &str, for_usec: u64) -> zbus::Result<()>;
    fn leave(&self) -> zbus::Result<()>;
}

pub(super) async fn fleet(verb: &Fleet) -> anyhow::Result<()> {
    match verb {
        Fleet::Acl { broker, names } => line(acl(*broker, names)?.trim_end()),
        Fleet::Status { json } => status(*json).await,
        Fleet::Explain { address, json } => explain(address, *json).await,
        Fleet::Pardon { address, duration } => pardon(address, duration).await,
        Fleet::Leave => leave().await,
    }
}

async fn agent() -> anyhow::Result<AgentProxy<'static>> {
    let connection = Connection::system()
        .await
        .map_err(|error| anyhow::anyhow!("The system bus can't be reached ({error}); see that dbus.service runs."))?;
    if !DBusProxy::new(&connection).await?.name_has_owner(BusName::try_from(NAME)?).await? {
        bail!(
            "wardend-fleet is not running; set it up (wardend-fleet(8)) and start it with `systemctl start wardend-fleet`."
        );
    }
    Ok(AgentProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?)
}

fn sentence(error: zbus::Error) -> anyhow::Error {
    match error {
        zbus::Error::MethodError(name, _, _) if name.as_str() == "org.freedesktop.DBus.Error.AccessDenied" => {
            Refused::NotAuthorized("Only root may do this; run the command as root or with sudo.".to_owned()).into()
        }
        zbus::Error::MethodError(_, Some(text), _) => anyhow::anyhow!(text),
        error => anyhow::Error::new(error).context("The bus call failed"),
    }
}

/// wardend-fleet, if it runs.
async fn running(connection: &Connection) -> Option<AgentProxy<'static>> {
    let name = BusName::try_from(NAME).ok()?;
    if !DBusProxy::new(connection).await.ok()?.name_has_owner(name).await.ok()? {
        return None;
    }
    AgentProxy::builder(connection).cache_properties(CacheProperties::No).build().await.ok()
}

/// How the fleet is.
pub(super) type State = (FleetStatus, Vec<BrokerRow>, Vec<MachineRow>);

/// What wardend-fleet says, if it runs.
pub(super) async fn state(connection: &Connection) -> Option<State> {
    running(connection).await?.status().await.ok()
}

/// What it counts, if it runs.
pub(super) async fn numbers(connection: &Connection) -> Option<FleetNumbers> {
    let (status, brokers, machines) = state(connection).await?;
    let mut by_state = BTreeMap::new();
    for machine in machines {
        *by_state.entry(machine.state).or_default() += 1;
    }
    let connected = brokers.iter().filter(|broker| broker.state == "connected").count() as u64;
    Some(FleetNumbers { status, connected, machines: by_state })
}

/// What the fleet says of an address, as lines for `explain`; none where it says nothing.
pub(super) async fn told(connection: &Connection, address: &str) -> Vec<String> {
    let Some(agent) = running(connection).await else { return Vec::new() };
    agent.explain(address).await.map_or_else(|_| Vec::new(), |(known, voices)| lines_of(&known, &voices))
}

fn lines_of(known: &FleetExplanation, voices: &[VoiceRow]) -> Vec<String> {
    if voices.is_empty() && known.pardoned_by.is_empty() {
        return Vec::new();
    }
    let voice = |row: &VoiceRow| {
        let until = if row.refusal.is_empty() {
            format!("counts until {}", when(row.until_usec))
        } else {
            "does not count".to_owned()
        };
        format!("            {}, in jail {}: heard of {}, {until}", row.machine, row.jail, when(row.heard_usec))
    };
    let first = format!("     Fleet: {}", what_follows(known, voices));
    std::iter::once(first).chain(voices.iter().map(voice)).collect()
}

async fn status(json: Json) -> anyhow::Result<()> {
    let (status, brokers, machines) = agent().await?.status().await.map_err(sentence)?;
    if let Some(mode) = json.mode() {
        let brokers: Vec<_> = brokers
            .iter()
            .map(|row| json!({ "broker": row.broker, "state": row.state, "since_usec": row.since_usec, "problem": row.problem }))
            .collect();
        let machines: Vec<_> = machines
            .iter()
            .map(|row| {
                json!({
                    "machine": row.machine, "state": row.state, "last_usec": row.last_usec, "epoch": row.epoch,
                    "number": row.number, "digest": row.digest, "voices": row.voices, "refused": row.refused,
                    "problem": row.problem, "clock_seconds": row.clock_seconds,
                    "muted_until_usec": (row.muted_until_usec > 0).then_some(row.muted_until_usec),
                })
            })
            .collect();
        return print_json(
            &json!({
                "machine": status.machine, "state": status.state, "problem": status.problem, "epoch": status.epoch,
                "number": status.number, "digest": status.digest, "sent": status.sent, "left_out": status.left_out,
                "bans": status.bans, "suspects": status.suspects, "voices": status.voices, "sources": status.sources,
                "gaps": status.gaps,
                "refused": status.refused_by_reason().collect::<BTreeMap<_, _>>(), "latency_usec": status.latency_usec,
                "latency_count": status.latency_count, "quorum": status.quorum, "brokers": brokers, "machines": machines,
            }),
            mode,
        );
    }
    let left = if status.state == "left" { ", which has left the fleet" } else { "" };
    line(&format!("This machine: {}{left}", status.machine))?;
    if !status.problem.is_empty() {
        line(&Style::Bad.paint(&status.problem))?;
    }
    line(&format!(
        "Sent: {}{}",
        count(status.sent as usize, "ban", "bans"),
        if status.left_out > 0 {
            format!(", {} have no place in the document", status.left_out)
        } else {
            String::new()
        }
    ))?;
    line(&format!(
        "From others: {} in force, {} suspected (quorum {})",
        count(status.bans as usize, "ban", "bans"),
        count(status.suspects as usize, "source", "sources"),
        status.quorum
    ))?;
    let refused: Vec<String> = status.refused_by_reason().map(|(why, number)| format!("{number} {why}")).collect();
    if !refused.is_empty() {
        line(&format!("Did not count: {}", refused.join(", ")))?;
    }
    line("")?;
    let mut table = Table::new(["BROKER", "STATE", "SINCE", "PROBLEM"]);
    for row in &brokers {
        let style = if row.state == "connected" { Style::Good } else { Style::Bad };
        table.row([
            Cell::from(&row.broker),
            Cell::from(&row.state).in_style(style),
            Cell::from(relative(row.since_usec)),
            Cell::from(&row.problem),
        ]);
    }
    table.print()?;
    line("")?;
    let mut table = Table::new(["MACHINE", "STATE", "LAST WORD", "VOICES", "REFUSED", "PROBLEM"]);
    for row in &machines {
        let style = match row.state.as_str() {
            "in-step" => Style::Good,
            "muted" => Style::Bad,
            _ => Style::Warning,
        };
        let until =
            if row.muted_until_usec > 0 { format!(" until {}", when(row.muted_until_usec)) } else { String::new() };
        table.row([
            Cell::from(&row.machine),
            Cell::from(format!("{}{until}", row.state)).in_style(style),
            Cell::from(relative(row.last_usec)),
            Cell::from(row.voices.to_string()),
            Cell::from(row.refused.to_string()),
            Cell::from(&row.problem),
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(machines.len(), "other machine", "other machines")))
}

async fn explain(address: &str, json: Json) -> anyhow::Result<()> {
    let (known, voices) = agent().await?.explain(address).await.map_err(sentence)?;
    let some = |usec: u64| (usec > 0).then_some(usec);
    if let Some(mode) = json.mode() {
        let voices: Vec<_> = voices
            .iter()
            .map(|row| {
                json!({
                    "machine": row.machine, "jail": row.jail, "heard_usec": row.heard_usec,
                    "claimed_until_usec": row.claimed_until_usec, "until_usec": row.until_usec, "count": row.count,
                    "refusal": row.refusal,
                })
            })
            .collect();
        return print_json(
            &json!({
                "source": known.source, "decision": known.decision, "until_usec": some(known.until_usec),
                "banned_until_usec": some(known.banned_until_usec),
                "suspected_until_usec": some(known.suspected_until_usec), "own_jail": known.own_jail,
                "pardoned_by": known.pardoned_by, "pardoned_until_usec": some(known.pardoned_until_usec),
                "refusal": known.refusal, "quorum": known.quorum, "voices": voices,
            }),
            mode,
        );
    }
    line(&what_follows(&known, &voices))?;
    if !known.own_jail.is_empty() {
        line(&format!("Jail {} of this machine has banned it, which counts as one voice.", known.own_jail))?;
    }
    if !known.refusal.is_empty() {
        line(&Style::Warning.paint(&format!("wardend has refused the ban: {}", known.refusal)))?;
    }
    line("")?;
    let mut table = Table::new(["MACHINE", "JAIL", "BAN", "HEARD", "COUNTS UNTIL"]);
    for row in &voices {
        let until = match row.refusal.as_str() {
            "" => Cell::from(when(row.until_usec)),
            "network" => Cell::from("never: wider than a source").in_style(Style::Warning),
            "jail" => Cell::from("never: the jail is not in 'jails'").in_style(Style::Warning),
            _ => Cell::from("never: a broker, a gateway or a resolver").in_style(Style::Warning),
        };
        table.row([
            Cell::from(&row.machine),
            Cell::from(&row.jail),
            Cell::from(format!("#{}", row.count)),
            Cell::from(relative(row.heard_usec)),
            until,
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(voices.len(), "voice", "voices")))
}

/// One sentence about what follows for a source.
fn what_follows(known: &FleetExplanation, voices: &[VoiceRow]) -> String {
    let source = &known.source;
    if !known.pardoned_by.is_empty() {
        return format!("{source} is pardoned by {} until {}.", known.pardoned_by, when(known.pardoned_until_usec));
    }
    let counted =
        voices.iter().filter(|voice| voice.refusal.is_empty()).count() + usize::from(!known.own_jail.is_empty());
    let needed = format!("{} of {} voices", counted, known.quorum);
    match known.decision.as_str() {
        "ban" if known.banned_until_usec > 0 => {
            format!("{source} is banned here until {} ({needed}).", when(known.banned_until_usec))
        }
        "ban" => format!("{source} is to be banned here until {} ({needed}).", when(known.until_usec)),
        "suspect" => {
            format!("The first failure of {source} here results in a ban ({needed}), until {}.", when(known.until_usec))
        }
        _ if voices.is_empty() => format!("No other machine bans {source}."),
        _ => format!("{source} is not banned here by the fleet ({needed})."),
    }
}

async fn pardon(address: &str, words: &str) -> anyhow::Result<()> {
    let usec = duration(words)?;
    if usec == INFINITY {
        bail!("A pardon has an end; write a span of time such as \"1day\", or put the address into ignoreip.");
    }
    agent().await?.pardon(address, usec).await.map_err(sentence)?;
    line(&format!("Pardoned {address} for {words}; machines that have this one in pardon-from release it too."))
}

async fn leave() -> anyhow::Result<()> {
    agent().await?.leave().await.map_err(sentence)?;
    line("Left the fleet. To stay away after a restart: systemctl disable --now wardend-fleet")
}

/// What lets each of these machines write its own subjects at a broker, and read all.
fn acl(broker: Program, names: &[String]) -> anyhow::Result<String> {
    for name in names {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
            bail!(
                "'{name}' is not a valid name of a machine; write it as its certificate has it, such as web1.example."
            );
        }
    }
    Ok(match broker {
        Program::Nats => nats(names),
        Program::Mosquitto => mosquitto(names),
    })
}

/// mosquitto's file of access rights.
fn mosquitto(names: &[String]) -> String {
    let users = names.iter().map(|name| {
        let machine = name.to_ascii_lowercase();
        format!(
            "\nuser {name}\ntopic write wardend/1/new/{machine}\ntopic write wardend/1/doc/{machine}\ntopic readwrite wardend/1/mark/{machine}\ntopic read wardend/1/new/+\ntopic read wardend/1/doc/+\n"
        )
    });
    let head = "# /etc/mosquitto/wardend.acl: each machine writes its own topics, and reads all.\n".to_owned();
    std::iter::once(head).chain(users).collect()
}

/// The configuration of a NATS server.
fn nats(names: &[String]) -> String {
    let mut users = Vec::new();
    for name in names {
        let machine = name.to_ascii_lowercase().replace('.', "_");
        users.push(format!(
            r#"    {{ user: "{name}", permissions: {{
      publish: ["wardend.1.new.{machine}", "wardend.1.doc.{machine}",
        "$JS.API.STREAM.CREATE.WARDEND", "$JS.API.STREAM.INFO.WARDEND", "$JS.API.DIRECT.GET.WARDEND.>"],
      subscribe: ["wardend.1.new.*", "_INBOX.{machine}.>"] }} }}"#
        ));
    }
    let users = users.join("\n");
    format!(
        r#"# /etc/nats-server.conf: each machine writes its own two subjects, and reads all.
port: 4222
jetstream {{ store_dir: "/var/lib/nats" }}
tls {{
  cert_file: "/etc/nats/broker.pem"
  key_file: "/etc/nats/broker-key.pem"
  ca_file: "/etc/nats/ca.pem"
  verify_and_map: true
}}
authorization {{
  users: [
{users}
  ]
}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_may_write_its_own_subjects_and_no_others() {
        let names = ["Web1.example".to_owned(), "web2".to_owned()];
        let text = acl(Program::Nats, &names).unwrap();
        assert!(text.contains(r#"user: "Web1.example""#) && text.contains(r#""wardend.1.doc.web1_example""#));
        assert_eq!(text.matches("wardend.1.new.*").count(), 2, "only to read");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        let text = acl(Program::Mosquitto, &names).unwrap();
        let first = text.split("\n\n").nth(1).unwrap();
        assert!(first.starts_with("user Web1.example\ntopic write wardend/1/new/web1.example\n"), "{first}");
        assert!(first.lines().all(|line| !line.contains("write") || line.ends_with("/web1.example")), "{first}");
        assert_eq!(text.matches("\nuser ").count(), 2);
        for name in ["", "a b", "*", "a.>", "a_b", "a\"", "a/+", "a\ntopic #", &"x".repeat(65)] {
            assert!(
                acl(Program::Mosquitto, &[name.to_owned()]).unwrap_err().to_string().contains("not a valid name"),
                "{name}"
            );
        }
    }

    #[test]
    fn one_sentence_says_what_follows() {
        let voice = VoiceRow { machine: "a".into(), ..VoiceRow::default() };
        let known = FleetExplanation { source: "203.0.113.7".into(), quorum: 2, ..FleetExplanation::default() };
        assert_eq!(what_follows(&known, &[]), "No other machine bans 203.0.113.7.");
        let refused = VoiceRow { refusal: "jail".into(), ..voice.clone() };
        assert_eq!(what_follows(&known, &[refused]), "203.0.113.7 is not banned here by the fleet (0 of 2 voices).");
        let suspected = FleetExplanation { decision: "suspect".into(), until_usec: 9, ..known.clone() };
        assert!(
            what_follows(&suspected, std::slice::from_ref(&voice))
                .starts_with("The first failure of 203.0.113.7 here results in a ban (1 of 2")
        );
        let pardoned = FleetExplanation { pardoned_by: "boss".into(), pardoned_until_usec: 9, ..suspected };
        assert!(what_follows(&pardoned, &[voice]).starts_with("203.0.113.7 is pardoned by boss until "));
    }
}
