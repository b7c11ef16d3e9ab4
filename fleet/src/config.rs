//! fleet.conf and its drop-ins, read as wardend.conf is: every value with its place, a mistake one sentence.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;
use wardend::shared::{ConfigError, Location, Source, instead, layers, parse_span, toml_mistake};

use crate::core::{
    fleet::is_name,
    policy::{Policy, Single},
};

/// What is read where no directory has a fleet.conf: the very file that is installed.
const BUILT_IN: &str = include_str!("../fleet.conf");
/// The most brokers: each message goes over all of them.
const MOST_BROKERS: usize = 8;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Fragment {
    #[serde(default)]
    fleet: Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    brokers: Option<Vec<Spanned<String>>>,
    machine: Option<Spanned<String>>,
    authority: Option<Spanned<String>>,
    certificate: Option<Spanned<String>>,
    jails: Option<Spanned<Vec<Spanned<String>>>>,
    quorum: Option<Spanned<i64>>,
    single: Option<Spanned<String>>,
    single_bantime: Option<Spanned<String>>,
    bantime_max: Option<Spanned<String>>,
    ipv6_prefix: Option<Spanned<i64>>,
    machine_voices: Option<Spanned<i64>>,
    machine_rate: Option<Spanned<i64>>,
    mute: Option<Spanned<String>>,
    voices: Option<Spanned<i64>>,
    machines: Option<Spanned<i64>>,
    pardon_from: Option<Vec<Spanned<String>>>,
}

/// What a broker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// NATS, with JetStream.
    Nats,
    /// MQTT 5.
    Mqtt,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Nats, Self::Mqtt];

    /// What its URL begins with.
    fn scheme(self) -> &'static str {
        match self {
            Self::Nats => "nats://",
            Self::Mqtt => "mqtt://",
        }
    }

    /// The port for connections with TLS.
    fn port(self) -> u16 {
        match self {
            Self::Nats => 4222,
            Self::Mqtt => 8883,
        }
    }
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Broker {
    /// What it speaks.
    pub(crate) kind: Kind,
    /// Its name or address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}[{}]:{}", self.kind.scheme(), self.host, self.port)
        } else {
            write!(f, "{}{}:{}", self.kind.scheme(), self.host, self.port)
        }
    }
}

impl Broker {
    /// Reads a URL that is in no file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(url: &str) -> Result<Self, ConfigError> {
        let source = Source::new("broker", url.to_owned());
        broker(&Spanned::new(0..url.len(), url.to_owned()), &|at| source.place(at))
    }
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The name of this machine in its certificate; empty for the name of the host.
    pub(crate) machine: String,
    /// The brokers.
    pub(crate) brokers: Vec<Broker>,
    /// Whom all trust.
    pub(crate) authority: PathBuf,
    /// The certificate of this machine.
    pub(crate) certificate: PathBuf,
    /// What is believed.
    pub(crate) policy: Policy,
}

/// The name that a machine has in subjects: what a certificate calls it, with `_` for each dot.
pub(crate) fn subject_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('.', "_")
}

impl Settings {
    /// Reads the configuration of `directories`, the one that wins first.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub(crate) fn read(directories: &[PathBuf]) -> Result<Self, ConfigError> {
        let built_in = || Source::new("(built in) fleet.conf", BUILT_IN.to_owned());
        Self::of(&layers("fleet.conf", built_in, directories, None)?)
    }

    fn of(sources: &[Source]) -> Result<Self, ConfigError> {
        let mut settings = Self {
            machine: String::new(),
            brokers: Vec::new(),
            authority: "/etc/wardend/fleet/ca.pem".into(),
            certificate: "/etc/wardend/fleet/certificate.pem".into(),
            policy: Policy::default(),
        };
        let mut bounds = Bounds::default();
        for source in sources {
            let fragment: Fragment = toml::from_str(&source.text)
                .map_err(|error| source.place(error.span().map_or(0, |span| span.start)).error(toml_mistake(&error)))?;
            settings.add(fragment.fleet, &|at| source.place(at), &mut bounds)?;
        }
        bounds.check(&settings.policy)?;
        Ok(settings)
    }

    /// Lays a file over what was read before.
    fn add(&mut self, table: Table, place: &dyn Fn(usize) -> Location, bounds: &mut Bounds) -> Result<(), ConfigError> {
        let policy = &mut self.policy;
        if let Some(brokers) = table.brokers {
            self.brokers = brokers.iter().map(|url| broker(url, place)).collect::<Result<_, _>>()?;
            if let Some(one_more) = brokers.get(MOST_BROKERS) {
                let what = format!("there are more than {MOST_BROKERS} brokers; remove some.");
                return Err(place(one_more.span().start).error(what));
            }
        }
        if let Some(machine) = table.machine {
            if !machine.get_ref().is_empty() {
                check_name("machine", &machine, place)?;
            }
            self.machine = machine.into_inner();
        }
        for (name, value, target) in [
            ("authority", table.authority, &mut self.authority),
            ("certificate", table.certificate, &mut self.certificate),
        ] {
            let Some(value) = value else { continue };
            if !Path::new(value.get_ref()).is_absolute() {
                let what =
                    format!("{name} is '{}', which is not an absolute path; begin it with '/'.", value.get_ref());
                return Err(place(value.span().start).error(what));
            }
            *target = value.into_inner().into();
        }
        if let Some(jails) = table.jails {
            if jails.get_ref().is_empty() {
                return Err(place(jails.span().start)
                    .error("jails is empty, so nothing would be sent or heard; name a jail, such as \"sshd\"."));
            }
            if let Some(own) = jails.get_ref().iter().find(|jail| jail.get_ref() == crate::JAIL) {
                let what = "jails has 'fleet', which holds the bans of others; remove it, or each machine would repeat what it hears.";
                return Err(place(own.span().start).error(what));
            }
            policy.jails = jails.into_inner().into_iter().map(Spanned::into_inner).collect();
        }
        if let Some(word) = table.single {
            let found = Single::ALL.into_iter().find(|single| single.word() == word.get_ref());
            policy.single = found.ok_or_else(|| {
                let words = Single::ALL.into_iter().map(Single::word);
                place(word.span().start).error(format!(
                    "single is '{}'; {}",
                    word.get_ref(),
                    instead(word.get_ref(), words)
                ))
            })?;
        }
        for (name, value, target) in [
            ("single-bantime", table.single_bantime, &mut policy.single_bantime),
            ("bantime-max", table.bantime_max, &mut policy.bantime_max),
            ("mute", table.mute, &mut policy.mute),
        ] {
            let Some(value) = value else { continue };
            let usec = parse_span(value.get_ref())
                .map_err(|what| place(value.span().start).error(format!("{name} is {what}")))?;
            let usec = usec.ok_or_else(|| {
                place(value.span().start)
                    .error(format!("{name} can't be infinite; write a span of time such as \"10min\"."))
            })?;
            *target = (usec / 1_000_000).max(1);
        }
        let number = |name: &str, value: Option<Spanned<i64>>, least: i64, most: i64| match value {
            Some(value) if !(least..=most).contains(value.get_ref()) => {
                let what = format!("{name} is {}; write a number from {least} to {most}.", value.get_ref());
                Err(place(value.span().start).error(what))
            }
            value => Ok(value),
        };
        for (name, value, most, target) in [
            ("quorum", table.quorum, 1000, &mut policy.quorum),
            ("machine-voices", table.machine_voices, 2000, &mut policy.machine_voices),
            ("voices", table.voices, 500_000, &mut policy.voices),
            ("machines", table.machines, 10_000, &mut policy.machines),
        ] {
            if let Some(value) = number(name, value, 1, most)? {
                bounds.see(name, place(value.span().start));
                *target = usize::try_from(value.into_inner()).unwrap_or(1);
            }
        }
        if let Some(value) = number("machine-rate", table.machine_rate, 1, 10_000)? {
            policy.machine_rate = value.into_inner().unsigned_abs();
        }
        if let Some(value) = number("ipv6-prefix", table.ipv6_prefix, 48, 128)? {
            policy.ipv6_prefix = u8::try_from(value.into_inner()).unwrap_or(64);
        }
        if let Some(machines) = table.pardon_from {
            let mut names = BTreeSet::new();
            for machine in &machines {
                check_name("pardon-from", machine, place)?;
                names.insert(subject_name(machine.get_ref()));
            }
            policy.pardon_from = names;
        }
        Ok(())
    }
}

/// Values that have to fit each other, and where they come from.
#[derive(Default)]
struct Bounds {
    quorum: Option<Location>,
    machine_voices: Option<Location>,
}

impl Bounds {
    fn see(&mut self, name: &str, place: Location) {
        match name {
            "quorum" => self.quorum = Some(place),
            "machine-voices" => self.machine_voices = Some(place),
            _ => {}
        }
    }

    fn check(&self, policy: &Policy) -> Result<(), ConfigError> {
        if policy.quorum > policy.machines + 1 {
            let what = format!(
                "quorum is {}, more than the {} machines that are heard; lower it.",
                policy.quorum, policy.machines
            );
            return Err(self.quorum.clone().unwrap_or_default().error(what));
        }
        if policy.machine_voices > policy.voices {
            let what = format!(
                "machine-voices is {}, more than the {} of voices; lower it.",
                policy.machine_voices, policy.voices
            );
            return Err(self.machine_voices.clone().unwrap_or_default().error(what));
        }
        Ok(())
    }
}

fn check_name(setting: &str, name: &Spanned<String>, place: &dyn Fn(usize) -> Location) -> Result<(), ConfigError> {
    if is_name(&subject_name(name.get_ref())) && !name.get_ref().contains('_') {
        return Ok(());
    }
    let what = format!(
        "{setting} has '{}', which is not a valid name of a machine; write it as its certificate has it, such as \"web1.example\".",
        name.get_ref()
    );
    Err(place(name.span().start).error(what))
}

fn broker(url: &Spanned<String>, place: &dyn Fn(usize) -> Location) -> Result<Broker, ConfigError> {
    let text = url.get_ref();
    let wrong = |what: &str| {
        Err(place(url.span().start).error(format!("'{text}' is not a valid broker: {what}; write it as \"nats://broker.example\", \"nats://[2001:db8::1]:4222\" or \"mqtt://broker.example\".")))
    };
    let known = Kind::ALL.into_iter().find_map(|kind| Some((kind, text.strip_prefix(kind.scheme())?)));
    let Some((kind, rest)) = known else { return wrong("it does not begin with nats:// or mqtt://") };
    let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else { return wrong("the bracket is not closed") };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return wrong("what is in brackets is not an IPv6 address");
        }
        if kind == Kind::Mqtt {
            return wrong("brokers of MQTT are known by name; give it one in DNS or /etc/hosts");
        }
        (host, port)
    } else {
        match rest.find(':') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        }
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    if host.is_empty() || !host.bytes().all(fits) {
        return wrong("its host is not a name or an address");
    }
    let port = match port {
        "" => Some(kind.port()),
        port => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port > 0),
    };
    match port {
        Some(port) => Ok(Broker { kind, host: host.to_owned(), port }),
        None => wrong("its port is not a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Settings, String> {
        let built_in = Source::new("fleet.conf", BUILT_IN.to_owned());
        let own = texts.iter().enumerate().map(|(at, text)| Source::new(&format!("{at}.conf"), (*text).to_owned()));
        let sources: Vec<Source> = std::iter::once(built_in).chain(own).collect();
        Settings::of(&sources).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.policy, Policy::default());
        assert_eq!(settings, Settings::of(&[]).unwrap());
        let keys = BUILT_IN.lines().filter_map(|line| line.split_once(" = ")).filter(|(key, _)| !key.starts_with('#'));
        assert_eq!(keys.count(), 16, "it names every setting");
    }

    #[test]
    fn later_files_win() {
        let settings = read(&[
            "[fleet]\nquorum = 3\nbrokers = [\"nats://a.example\"]\nmachine = \"Web1.example\"",
            "fleet.brokers = [\"nats://[2001:db8::1]:4223\", \"nats://192.0.2.1:1\", \"mqtt://b.example\"]\nfleet.bantime-max = \"2h\"",
        ])
        .unwrap();
        assert_eq!((settings.policy.quorum, settings.policy.bantime_max), (3, 7200));
        assert_eq!(
            settings.brokers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["nats://[2001:db8::1]:4223", "nats://192.0.2.1:1", "mqtt://b.example:8883"]
        );
        assert_eq!(subject_name(&settings.machine), "web1_example");
    }

    #[test]
    fn a_mistake_is_a_sentence_with_its_line() {
        for (text, sentence) in [
            ("[fleet]\nquorums = 2", "0.conf:2: unknown field `quorums`; did you mean 'quorum'?"),
            ("[fleet]\nquorum = 0", "0.conf:2: quorum is 0; write a number from 1 to 1000."),
            ("[fleet]\n\nsingle = \"suspekt\"", "0.conf:3: single is 'suspekt'; did you mean 'suspect'?"),
            (
                "[fleet]\nmute = \"infinity\"",
                "0.conf:2: mute can't be infinite; write a span of time such as \"10min\".",
            ),
            (
                "[fleet]\nquorum = 20\nmachines = 5",
                "0.conf:2: quorum is 20, more than the 5 machines that are heard; lower it.",
            ),
            (
                "[fleet]\nvoices = 10\nmachine-voices = 20",
                "0.conf:3: machine-voices is 20, more than the 10 of voices; lower it.",
            ),
            (
                "[fleet]\njails = []",
                "0.conf:2: jails is empty, so nothing would be sent or heard; name a jail, such as \"sshd\".",
            ),
            (
                "[fleet]\ncertificate = \"c.pem\"",
                "0.conf:2: certificate is 'c.pem', which is not an absolute path; begin it with '/'.",
            ),
        ] {
            assert_eq!(read(&[text]).unwrap_err(), sentence);
        }
        for (text, begin) in [
            ("[fleet]\njails = [\n\"sshd\",\n\"fleet\"]", "0.conf:4: jails has 'fleet'"),
            ("[fleet]\nbantime-max = \"soon\"", "0.conf:2: bantime-max is 'soon', which is not a valid time span"),
            (
                "[fleet]\nbrokers = [\"amqp://a\"]",
                "0.conf:2: 'amqp://a' is not a valid broker: it does not begin with nats:// or mqtt://",
            ),
            (
                "[fleet]\nbrokers = [\"mqtt://[2001:db8::1]\"]",
                "0.conf:2: 'mqtt://[2001:db8::1]' is not a valid broker: brokers of MQTT are known by name",
            ),
            ("[fleet]\nbrokers = [\"nats://\"]", "0.conf:2: 'nats://' is not a valid broker: its host"),
            ("[fleet]\nbrokers = [\"nats://a:99999\"]", "0.conf:2: 'nats://a:99999' is not a valid broker: its port"),
            ("[fleet]\nbrokers = [\"nats://u:p@a\"]", "0.conf:2: 'nats://u:p@a' is not a valid broker: its port"),
            ("[fleet]\nbrokers = [\"nats://[::1\"]", "0.conf:2: 'nats://[::1' is not a valid broker: the bracket"),
            ("[fleet]\nmachine = \"a_b\"", "0.conf:2: machine has 'a_b', which is not a valid name"),
            ("[fleet]\npardon-from = [\"a.example\", \"*\"]", "0.conf:2: pardon-from has '*'"),
        ] {
            let error = read(&[text]).unwrap_err();
            assert!(error.starts_with(begin), "{error}");
        }
    }
}
