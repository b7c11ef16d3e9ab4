//! What a handler receives: one of wardend's records as a JSON object, with a key that tells it from all
//! others.
//!
//! Pure: a record goes in, an event comes out. User names are attackers' text, and people type passwords
//! in their place, so an event has them only if the handler asks for them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    contract::{
        event,
        journal::{
            BAD_CONFIG, BAN, FIREWALL_BACK, JOURNAL_GONE, JOURNAL_LOSS, LEAK, LIST_TAKEN, PROBLEM_GONE, REFUSED,
            SPARED, UNBAN,
            fleet::{BROKER_BACK, BROKER_LOST, FLEET_REFUSED, MUTED, REPORTED, UNMUTED},
        },
    },
    core::time::Usec,
    journal::own_records::{FAILED, OwnRecord, STARTED},
};

/// The kind of an event, as a handler asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A source was banned.
    Banned,
    /// A ban has ended.
    Unbanned,
    /// A source was not banned, because somebody logs in from there.
    Spared,
    /// A banned source reached the service.
    Leak,
    /// A list of bans was taken, which is one event.
    Imported,
    /// wardend can't provide a function, or can again.
    Degraded,
    /// Records were lost before they were counted.
    Lost,
    /// The fleet has lost a broker or does not listen to a machine, or that is over.
    Fleet,
    /// What has happened in a day, if wardend-digest.timer is enabled.
    Digest,
}

impl Kind {
    /// All kinds that a handler can ask for.
    pub(crate) const ALL: [Self; 9] = [
        Self::Banned,
        Self::Unbanned,
        Self::Spared,
        Self::Leak,
        Self::Imported,
        Self::Degraded,
        Self::Lost,
        Self::Fleet,
        Self::Digest,
    ];

    /// Its name in a handler's file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::Unbanned => "unbanned",
            Self::Spared => "spared",
            Self::Leak => "leak",
            Self::Imported => "imported",
            Self::Degraded => "degraded",
            Self::Lost => "lost",
            Self::Fleet => "fleet",
            Self::Digest => "digest",
        }
    }

    /// A number of them, for people.
    pub(crate) fn count(self, number: u64) -> String {
        let (one, many) = match self {
            Self::Banned => ("ban", "bans"),
            Self::Unbanned => ("unban", "unbans"),
            Self::Spared => ("source spared", "sources spared"),
            Self::Leak => ("leak", "leaks"),
            Self::Imported => ("list of bans", "lists of bans"),
            Self::Degraded => ("change of wardend's health", "changes of wardend's health"),
            Self::Lost => ("loss of records", "losses of records"),
            Self::Fleet => ("message of the fleet", "messages of the fleet"),
            Self::Digest => ("report", "reports"),
        };
        format!("{number} {}", if number == 1 { one } else { many })
    }
}

/// The problem that wardend does not run.
pub(super) const SERVICE: &str = "service";

/// What a record says to handlers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    /// Tells it from all others: the same event has the same key, however often it is delivered.
    pub(crate) key: String,
    /// The jail; empty, if it does not belong to one.
    pub(crate) jail: String,
    /// Which ban of the source it is.
    pub(crate) count: u64,
    /// The object without what all events have.
    pub(crate) fields: Map<String, Value>,
}

/// What a record means for the handlers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Nothing.
    None,
    Event(Event),
    /// A problem of this kind, and its sentence.
    Problem(String, Event),
    /// The problem of this kind is solved.
    Solved(String, Event),
    /// systemd says that wardend has failed. wardend may have said why.
    Failed(Event),
    /// wardend has started: problems from before may be gone, and this is over.
    Started(Event),
}

/// What a record means.
pub(crate) fn meaning(record: &OwnRecord, users: bool) -> Meaning {
    let id = record.get("MESSAGE_ID");
    if let Some(problem) = event::problem(id, record.get("WARDEND_PROBLEM")) {
        let kind = problem.to_owned();
        return if [PROBLEM_GONE, FIREWALL_BACK].contains(&id) {
            Meaning::Solved(kind, health(record, "healthy", problem))
        } else {
            Meaning::Problem(kind, health(record, "degraded", problem))
        };
    }
    match id {
        BAN => Meaning::Event(ban(record, users)),
        UNBAN => Meaning::Event(unban(record)),
        SPARED | LEAK => Meaning::Event(failing(record, if id == LEAK { Kind::Leak } else { Kind::Spared })),
        LIST_TAKEN => Meaning::Event(imported(record)),
        JOURNAL_LOSS | JOURNAL_GONE => Meaning::Event(lost(record)),
        id if REPORTED.contains(&id) => Meaning::Event(fleet(record, id)),
        REFUSED => Meaning::Problem(SERVICE.to_owned(), health(record, "degraded", SERVICE)),
        FAILED => Meaning::Failed(health(record, "degraded", SERVICE)),
        BAD_CONFIG => Meaning::Event(health(record, "degraded", "configuration")),
        STARTED => Meaning::Started(healthy_or_not(record.time, "healthy", SERVICE, "wardend is running again.")),
        _ => Meaning::None,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn ban(record: &OwnRecord, users: bool) -> Event {
    let (jail, source) = (record.get("WARDEND_JAIL"), record.get("WARDEND_SOURCE"));
    let since = record.number("WARDEND_SINCE").unwrap_or(record.time);
    let count = record.number("WARDEND_BAN_COUNT").unwrap_or(1);
    let rule = record.get("WARDEND_RULE");
    let mut fields = object(json!({
        "event": Kind::Banned.name(), "time_usec": record.time, "jail": jail, "source": source,
        "address": record.get("WARDEND_ADDRESS"), "since_usec": since,
        "until_usec": record.number("WARDEND_UNTIL"), "count": count,
        "failures": record.number("WARDEND_FAILURES").unwrap_or(0), "rule": rule, "evidence": evidence(record),
    }));
    // Without a rule it is somebody's decision, and no user name of an attacker is in the sentence.
    if users || rule.is_empty() {
        fields.insert("message".to_owned(), record.get("MESSAGE").into());
    }
    for (name, field) in [("origin", "WARDEND_ORIGIN"), ("reason", "WARDEND_REASON"), ("counted", "WARDEND_COUNTED")] {
        if !record.get(field).is_empty() {
            fields.insert(name.to_owned(), record.get(field).into());
        }
    }
    Event { kind: Kind::Banned, key: format!("banned/{jail}/{source}/{since}"), jail: jail.to_owned(), count, fields }
}

fn unban(record: &OwnRecord) -> Event {
    let (jail, source) = (record.get("WARDEND_JAIL"), record.get("WARDEND_SOURCE"));
    let since = record.number("WARDEND_SINCE").unwrap_or(record.time);
    let count = record.number("WARDEND_BAN_COUNT").unwrap_or(1);
    let fields = object(json!({
        "event": Kind::Unbanned.name(), "time_usec": record.time, "jail": jail, "source": source,
        "address": record.get("WARDEND_ADDRESS"), "since_usec": since,
        "until_usec": record.number("WARDEND_UNTIL"), "count": count, "message": record.get("MESSAGE"),
    }));
    Event {
        kind: Kind::Unbanned,
        key: format!("unbanned/{jail}/{source}/{since}"),
        jail: jail.to_owned(),
        count,
        fields,
    }
}

fn failing(record: &OwnRecord, kind: Kind) -> Event {
    let (jail, source) = (record.get("WARDEND_JAIL"), record.get("WARDEND_SOURCE"));
    let evidence = evidence(record);
    // Evidence is what a restart repeats to the letter.
    let which = evidence.last().cloned().unwrap_or_else(|| record.time.to_string());
    let fields = object(json!({
        "event": kind.name(), "time_usec": record.time, "jail": jail, "source": source,
        "address": record.get("WARDEND_ADDRESS"), "failures": record.number("WARDEND_FAILURES"),
        "rule": record.get("WARDEND_RULE"), "login_usec": record.number("WARDEND_LOGIN_USEC"),
        "evidence": evidence, "message": record.get("MESSAGE"),
    }));
    let key = format!("{}/{jail}/{source}/{which}", kind.name());
    Event { kind, key, jail: jail.to_owned(), count: u64::MAX, fields }
}

fn evidence(record: &OwnRecord) -> Vec<String> {
    record.get("WARDEND_EVIDENCE").split(' ').filter(|cursor| !cursor.is_empty()).map(str::to_owned).collect()
}

fn imported(record: &OwnRecord) -> Event {
    let fields = object(json!({
        "event": Kind::Imported.name(), "time_usec": record.time, "origin": record.get("WARDEND_ORIGIN"),
        "bans": record.number("WARDEND_BANS"), "message": record.get("MESSAGE"),
    }));
    let key = format!("imported/{}", record.time);
    Event { kind: Kind::Imported, key, jail: String::new(), count: u64::MAX, fields }
}

fn lost(record: &OwnRecord) -> Event {
    let fields = object(json!({
        "event": Kind::Lost.name(), "time_usec": record.time, "unit": record.get("WARDEND_UNIT"),
        "lost": record.number("WARDEND_LOST"), "message": record.get("MESSAGE"),
    }));
    Event { kind: Kind::Lost, key: format!("lost/{}", record.time), jail: String::new(), count: u64::MAX, fields }
}

/// What wardend-fleet says of a broker or of a machine.
fn fleet(record: &OwnRecord, id: &str) -> Event {
    let state = match id {
        MUTED => "muted",
        UNMUTED => "heard",
        BROKER_LOST => "lost",
        BROKER_BACK => "connected",
        FLEET_REFUSED => "failed",
        _ => "other",
    };
    let (machine, broker) = (record.get("WARDEND_MACHINE"), record.get("WARDEND_BROKER"));
    let fields = object(json!({
        "event": Kind::Fleet.name(), "time_usec": record.time, "state": state, "machine": machine, "broker": broker,
        "until_usec": record.number("WARDEND_UNTIL"), "message": record.get("MESSAGE"),
    }));
    let key = format!("fleet/{state}/{machine}{broker}/{}", record.time);
    Event { kind: Kind::Fleet, key, jail: String::new(), count: u64::MAX, fields }
}

fn health(record: &OwnRecord, event: &str, problem: &str) -> Event {
    healthy_or_not(record.time, event, problem, record.get("MESSAGE"))
}

/// wardend has restarted, and a problem from before has not come back.
pub(crate) fn gone_with_restart(problem: &str, time: Usec) -> Event {
    let message = format!("The problem '{problem}' is solved: wardend was restarted, and it has not come back.");
    healthy_or_not(time, "healthy", problem, &message)
}

/// The journal no longer has what should have been read.
pub(crate) fn not_held(message: &str, time: Usec) -> Event {
    let fields = object(json!({ "event": Kind::Lost.name(), "time_usec": time, "message": message }));
    Event { kind: Kind::Lost, key: format!("not-held/{time}"), jail: String::new(), count: u64::MAX, fields }
}

/// What has happened between two times, as `wardenctl report` says it.
pub(crate) fn digest(text: &str, report: &Value, since: Usec, until: Usec) -> Event {
    let fields = object(json!({
        "event": Kind::Digest.name(), "time_usec": until, "since_usec": since, "until_usec": until, "message": text,
        "report": report,
    }));
    Event { kind: Kind::Digest, key: format!("digest/{since}/{until}"), jail: String::new(), count: u64::MAX, fields }
}

/// A made-up ban, for a test of a handler.
pub(crate) fn made_up(time: Usec) -> Event {
    let fields = object(json!({
        "event": Kind::Banned.name(), "test": true, "time_usec": time, "jail": "test", "source": "192.0.2.1",
        "address": "192.0.2.1", "since_usec": time, "until_usec": time, "count": 1, "failures": 0, "rule": "",
        "evidence": [], "message": "This is a test of wardenctl notify test. Nobody was banned.",
    }));
    Event { kind: Kind::Banned, key: format!("test/{time}"), jail: "test".to_owned(), count: 1, fields }
}

fn healthy_or_not(time: Usec, event: &str, problem: &str, message: &str) -> Event {
    let fields = object(json!({ "event": event, "time_usec": time, "problem": problem, "message": message }));
    let key = format!("{event}/{problem}/{time}");
    Event { kind: Kind::Degraded, key, jail: String::new(), count: u64::MAX, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, &str)]) -> OwnRecord {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OwnRecord { time: 1_795_459_200_000_000, fields }
    }

    #[test]
    fn a_user_name_comes_only_where_it_is_asked_for() {
        let ban = record(&[
            ("MESSAGE_ID", BAN),
            ("MESSAGE", "Banned 203.0.113.7 in jail sshd: 5 failures, the last failed-password for user '$(reboot)'."),
            ("WARDEND_JAIL", "sshd"),
            ("WARDEND_SOURCE", "203.0.113.7"),
            ("WARDEND_SINCE", "17"),
            ("WARDEND_UNTIL", "infinity"),
            ("WARDEND_RULE", "failed-password"),
            ("WARDEND_EVIDENCE", "s=1 s=2"),
        ]);
        let Meaning::Event(event) = meaning(&ban, false) else { panic!("it is an event") };
        assert_eq!(event.key, "banned/sshd/203.0.113.7/17");
        assert_eq!(event.fields["evidence"], json!(["s=1", "s=2"]));
        assert_eq!(event.fields["until_usec"], Value::Null);
        assert!(!serde_json::to_string(&event.fields).unwrap().contains("reboot"));
        let Meaning::Event(event) = meaning(&ban, true) else { panic!("it is an event") };
        assert!(event.fields["message"].as_str().unwrap().contains("$(reboot)"));
    }

    #[test]
    fn what_is_wrong_in_the_fleet_is_an_event_and_what_is_not_believed_is_none() {
        let muted = record(&[
            ("MESSAGE_ID", MUTED),
            ("MESSAGE", "Not listening to web2_example until then, because it sends too many messages."),
            ("WARDEND_MACHINE", "web2_example"),
            ("WARDEND_UNTIL", "17"),
        ]);
        let Meaning::Event(event) = meaning(&muted, false) else { panic!("it is an event") };
        assert_eq!((event.kind, &event.fields["state"]), (Kind::Fleet, &json!("muted")));
        assert_eq!((&event.fields["machine"], &event.fields["until_usec"]), (&json!("web2_example"), &json!(17)));
        let lost = record(&[("MESSAGE_ID", BROKER_LOST), ("WARDEND_BROKER", "nats://broker.example")]);
        let Meaning::Event(event) = meaning(&lost, false) else { panic!("it is an event") };
        assert_eq!(event.key, "fleet/lost/nats://broker.example/1795459200000000");
        let names = crate::contract::journal::fleet::NOT_BELIEVED;
        assert_eq!(meaning(&record(&[("MESSAGE_ID", names)]), false), Meaning::None, "a machine could flood people");
    }

    #[test]
    fn one_event_has_one_key_and_another_one_another() {
        let spared = |cursor: &str, time| {
            let mut record = record(&[("MESSAGE_ID", SPARED), ("WARDEND_JAIL", "sshd"), ("WARDEND_EVIDENCE", cursor)]);
            record.time = time;
            match meaning(&record, false) {
                Meaning::Event(event) => event.key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(spared("s=1 s=2", 1), spared("s=1 s=2", 2));
        assert_ne!(spared("s=1 s=2", 1), spared("s=1 s=3", 1));
    }

    #[test]
    fn every_kind_can_be_asked_for_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::from_value::<Kind>(kind.name().into()).unwrap(), kind);
        }
    }
}
