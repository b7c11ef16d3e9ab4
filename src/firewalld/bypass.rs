//! What firewalld accepts before it asks wardend's policy, so that a ban is without effect there.
//!
//! firewalld asks policies in the order of their priorities, and the first that accepts decides.
//! wardend's has the earliest that does no harm ([`super::objects`]); a policy with that or an
//! earlier one may accept before it. What a zone or a policy forwards to another port of this
//! machine is accepted before any policy. None of that is wardend's to change, so it is reported,
//! with the name of what does it. An accepting rule for some sources is an admin's list of friends
//! as long as none of them is banned. Rules of zones, whatever their priority, come after all
//! policies that count here; and with the nftables backend direct rules can't accept before them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use zbus::{OwnedVariant, Variant};

use super::client::{Firewalld, Trouble};
use super::layout::{Layout, POLICY};
use super::messages::{self, Bypass};
use super::objects::{PRIORITY, list};
use crate::core::scope::Port;

/// How deep services of firewalld may include each other.
const DEPTH: usize = 8;
/// Protocols without ports that no service behind a ban speaks.
const HARMLESS: [&str; 6] = ["icmp", "1", "ipv6-icmp", "58", "igmp", "2"];

/// A bypass that concerns everybody, or these sources alone.
pub(super) type Found = (Bypass, Option<Vec<IpNet>>);

/// First and last port, and protocol.
pub(super) type Range = (u16, u16, String);

/// What a ban closes, of all jails together.
#[derive(Debug, Default)]
struct Reach {
    everything: bool,
    services: BTreeSet<String>,
    ranges: Vec<Range>,
}

/// What is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    All,
    Service(String),
    Ports(Range),
    Protocol(String),
}

/// From whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Anybody,
    Net(IpNet),
    IpsetId(String),
    /// By hardware address: who that is can't be known.
    Machine,
}

/// A forwarded port: port, protocol, port of this machine.
type Forward = (String, String, String);

fn range(ports: &str, protocol: &str) -> Option<Range> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some((first.parse().ok()?, last.parse().ok()?, protocol.to_owned()))
}

fn ranges(settings: &HashMap<String, OwnedVariant>, name: &str) -> Vec<Range> {
    let value = settings.get(name).and_then(|value| value.try_clone().ok());
    let pairs: Vec<(String, String)> = value.and_then(|value| value.try_into().ok()).unwrap_or_default();
    pairs.iter().filter_map(|(ports, protocol)| range(ports, protocol)).collect()
}

fn source(text: &str) -> Source {
    if let Some(set) = text.strip_prefix("ipset:") {
        return Source::IpsetId(set.to_owned());
    }
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_or(Source::Machine, Source::Net)
}

impl Reach {
    fn meets(&self, what: &What, services: &BTreeMap<String, Vec<Range>>) -> bool {
        let any = |range: &Range| self.everything || self.ranges.iter().any(|ours| overlap(ours, range));
        match what {
            What::All => true,
            What::Service(name) if self.services.contains(name) => true,
            What::Service(name) => services.get(name).is_some_and(|ranges| ranges.iter().any(any)),
            What::Ports(range) => any(range),
            What::Protocol(name) if HARMLESS.contains(&name.as_str()) => false,
            What::Protocol(name) => self.everything || self.ranges.iter().any(|(.., ours)| same(ours, name)),
        }
    }
}

pub(super) fn overlap(a: &Range, b: &Range) -> bool {
    a.2 == b.2 && a.0 <= b.1 && b.0 <= a.1
}

/// A protocol may be given by its number.
fn same(protocol: &str, other: &str) -> bool {
    let number = match protocol {
        "tcp" => "6",
        "udp" => "17",
        "sctp" => "132",
        "dccp" => "33",
        _ => "",
    };
    protocol == other || number == other
}

/// The words of a rich rule, without quotes; what is quoted is one word with what it belongs to.
fn words_of(rule: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in rule.chars() {
        match letter {
            '"' | '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a rich rule does, as far as it matters here.
#[derive(Debug, Default)]
struct Rule {
    accepts: bool,
    what: Option<What>,
    source: Option<Source>,
    forward: Option<Forward>,
}

impl Rule {
    fn read(text: &str) -> Self {
        // The element that is being read, and its attributes.
        let mut elements: Vec<(String, BTreeMap<String, String>)> = Vec::new();
        let mut inverted = false;
        for word in words_of(text) {
            match word.split_once('=') {
                Some((name, value)) => {
                    inverted |= name == "invert" && ["yes", "true"].contains(&value.to_lowercase().as_str());
                    if let Some((_, attributes)) = elements.last_mut() {
                        attributes.insert(name.to_owned(), value.to_owned());
                    }
                }
                None if word.eq_ignore_ascii_case("not") => inverted = true,
                None => elements.push((word, BTreeMap::new())),
            }
        }
        let mut rule = Self::default();
        for (element, attributes) in elements {
            let of = |name: &str| attributes.get(name).cloned().unwrap_or_default();
            match element.as_str() {
                "accept" => rule.accepts = true,
                // All but these is nearly everybody.
                "source" if inverted => {}
                "source" if attributes.contains_key("address") => rule.source = Some(source(&of("address"))),
                "source" if attributes.contains_key("ipset") => rule.source = Some(Source::IpsetId(of("ipset"))),
                "source" => rule.source = Some(Source::Machine),
                "service" => rule.what = Some(What::Service(of("name"))),
                "port" => rule.what = range(&of("port"), &of("protocol")).map(What::Ports),
                "protocol" => rule.what = Some(What::Protocol(of("value"))),
                "source-port" => rule.what = Some(What::Protocol(of("protocol"))),
                "icmp-type" | "icmp-block" => rule.what = Some(What::Protocol("icmp".to_owned())),
                "forward-port" if of("to-addr").is_empty() => {
                    rule.forward = Some((of("port"), of("protocol"), of("to-port")));
                }
                _ => {}
            }
        }
        rule
    }
}

/// What these settings accept, and from whom.
pub(super) fn accepted(settings: &HashMap<String, OwnedVariant>) -> Vec<(What, Source)> {
    let target = settings.get("target").and_then(|value| <&str>::try_from(&**value).ok());
    let mut all = Vec::new();
    if target == Some("ACCEPT") {
        all.push(What::All);
    }
    all.extend(list(settings, "services").into_iter().map(What::Service));
    all.extend(ranges(settings, "ports").into_iter().map(What::Ports));
    all.extend(list(settings, "protocols").into_iter().map(What::Protocol));
    all.extend(ranges(settings, "source_ports").into_iter().map(|(.., protocol)| What::Protocol(protocol)));
    let rules = list(settings, "rich_rules").into_iter().map(|rule| Rule::read(&rule)).filter(|rule| rule.accepts);
    let rules = rules.map(|rule| (rule.what.unwrap_or(What::All), rule.source.unwrap_or(Source::Anybody)));
    all.into_iter().map(|what| (what, Source::Anybody)).chain(rules).collect()
}

/// What these settings forward to this machine.
fn forwarded(settings: &HashMap<String, OwnedVariant>) -> Vec<Forward> {
    let value = settings.get("forward_ports").and_then(|value| value.try_clone().ok());
    let ports: Vec<(String, String, String, String)> =
        value.and_then(|value| value.try_into().ok()).unwrap_or_default();
    let ports = ports.into_iter().filter(|(.., address)| address.is_empty());
    let ports = ports.map(|(port, protocol, to, _)| (port, protocol, to));
    ports.chain(list(settings, "rich_rules").iter().filter_map(|rule| Rule::read(rule).forward)).collect()
}

pub(super) fn is(settings: &HashMap<String, OwnedVariant>, name: &str) -> bool {
    settings.get(name).is_some_and(|value| matches!(**value, Variant::Bool(true)))
}

/// Zones that packets go through, each with what puts them there.
type Zones = HashMap<String, HashMap<String, Vec<String>>>;

/// From whom packets come into these zones; none if no packet does.
fn entry(ingress: &[String], zones: &Zones, default: &str) -> Option<Vec<Source>> {
    if ingress.iter().any(|zone| zone == "ANY") {
        return Some(vec![Source::Anybody]);
    }
    let mut sources = Vec::new();
    for (name, bound) in zones.iter().filter(|(name, _)| ingress.contains(name)) {
        let of = |what: &str| bound.get(what).cloned().unwrap_or_default();
        if name == default || !of("interfaces").is_empty() {
            return Some(vec![Source::Anybody]);
        }
        sources.extend(of("sources").iter().map(|text| source(text)));
    }
    (!sources.is_empty()).then_some(sources)
}

impl Firewalld {
    /// All that is accepted before wardend's policy is asked and that a ban of these jails closes.
    pub(crate) async fn bypasses(&self, layout: &Layout) -> zbus::Result<Vec<Found>> {
        let mut services = BTreeMap::new();
        let mut reach = Reach::default();
        for port in layout.pools().iter().flat_map(|pool| pool.scope.ports()) {
            match port {
                Port::Service(name) => {
                    reach.ranges.extend(self.ports_of(name, &mut services).await?);
                    reach.services.insert(name.to_string());
                }
                Port::Numbers(first, last, protocol) => reach.ranges.push((*first, *last, protocol.to_string())),
            }
        }
        reach.everything = layout.pools().iter().any(|pool| pool.scope.ports().is_empty());

        let (zones, default) = (self.zone.get_active_zones().await?, self.main().default_zone().await?);
        let mut all = Vec::new();
        if self.config.firewall_backend().await.is_ok_and(|backend| backend == "iptables") {
            all.push((messages::iptables(), None));
        }
        let mut places = Vec::new();
        for name in self.policy.get_policies().await? {
            let settings = self.policy.get_settings(&name).await?;
            let ingress = list(&settings, "ingress_zones");
            let Some(entry) = entry(&ingress, &zones, &default).filter(|_| !is(&settings, "disable")) else { continue };
            let priority = settings.get("priority").and_then(|value| i32::try_from(&**value).ok()).unwrap_or(0);
            let to_us = list(&settings, "egress_zones").iter().any(|zone| zone == "HOST");
            if name != POLICY && priority <= PRIORITY && to_us {
                let mut sources = Vec::new();
                for (what, source) in accepted(&settings) {
                    if let What::Service(name) = &what {
                        self.ports_of(name, &mut services).await?;
                    }
                    if reach.meets(&what, &services) {
                        if source == Source::Anybody { sources.extend(entry.clone()) } else { sources.push(source) }
                    }
                }
                if !sources.is_empty() {
                    all.push((messages::outranked(&name, priority), self.networks(&sources).await));
                }
            }
            places.push(("policy", name, settings));
        }
        let mut names: BTreeSet<String> = zones.into_keys().collect();
        names.insert(default);
        for name in names {
            let settings = self.zone.get_settings(&name).await?;
            places.push(("zone", name, settings));
        }
        for (kind, name, settings) in &places {
            for forward in forwarded(settings) {
                let to = if forward.2.is_empty() { &forward.0 } else { &forward.2 };
                if range(to, &forward.1).is_some_and(|range| reach.meets(&What::Ports(range), &services)) {
                    all.push((messages::forwarded(kind, name, &forward), None));
                }
            }
        }
        Ok(all)
    }

    /// The networks of these sources; nothing if there is anybody among them.
    async fn networks(&self, sources: &[Source]) -> Option<Vec<IpNet>> {
        let mut all = Vec::new();
        for source in sources {
            match source {
                Source::Anybody => return None,
                Source::Net(net) => all.push(*net),
                Source::IpsetId(name) => {
                    let entries = self.ip_set.get_entries(name).await.unwrap_or_default();
                    all.extend(entries.iter().filter_map(|text| match self::source(text) {
                        Source::Net(net) => Some(net),
                        _ => None,
                    }));
                }
                Source::Machine => {}
            }
        }
        // An entry for everybody.
        (!all.iter().any(|net| net.prefix_len() == 0)).then_some(all)
    }

    /// The ports of a service and of those that it includes.
    pub(super) async fn ports_of(
        &self,
        name: &str,
        known: &mut BTreeMap<String, Vec<Range>>,
    ) -> zbus::Result<Vec<Range>> {
        if let Some(ports) = known.get(name) {
            return Ok(ports.clone());
        }
        let mut names = vec![name.to_owned()];
        let mut ports = Vec::new();
        for _ in 0..DEPTH {
            let mut included = Vec::new();
            for name in names {
                let settings = match self.main().service_settings(&name).await {
                    Ok(settings) => settings,
                    // firewalld or wardend reports it to whoever names it, see messages::unknown.
                    Err(error) if matches!(Trouble::from(&error), Trouble::Missing | Trouble::Other(_)) => continue,
                    Err(error) => return Err(error),
                };
                ports.extend(ranges(&settings, "ports"));
                included.extend(list(&settings, "includes"));
            }
            names = included;
            if names.is_empty() {
                break;
            }
        }
        known.insert(name.to_owned(), ports.clone());
        Ok(ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(ranges: &[Range]) -> Reach {
        Reach { everything: ranges.is_empty(), services: BTreeSet::new(), ranges: ranges.to_vec() }
    }

    fn tcp(first: u16, last: u16) -> Range {
        (first, last, "tcp".to_owned())
    }

    #[test]
    fn a_rule_accepts_what_it_says_from_whom_it_says() {
        let rule = |text: &str| {
            let rule = Rule::read(text);
            rule.accepts.then(|| (rule.what.unwrap_or(What::All), rule.source.unwrap_or(Source::Anybody)))
        };
        let net = |text: &str| Source::Net(text.parse().unwrap());
        let ssh = || What::Service("ssh".to_owned());
        assert_eq!(rule(r#"rule priority="-5" accept"#), Some((What::All, Source::Anybody)));
        assert_eq!(
            rule(r#"rule family="ipv4" source address="192.0.2.0/24" service name="ssh" accept"#),
            Some((ssh(), net("192.0.2.0/24")))
        );
        assert_eq!(
            rule(r#"rule family="ipv6" source address="2001:db8::1" accept"#),
            Some((What::All, net("2001:db8::1/128")))
        );
        assert_eq!(
            rule(r#"rule family="ipv4" source NOT address="192.0.2.1" service name="ssh" accept"#),
            Some((ssh(), Source::Anybody))
        );
        assert_eq!(
            rule(
                r#"rule source ipset="friends" port port="22-23" protocol="tcp" log prefix="no accept" accept limit value="2/m""#
            ),
            Some((What::Ports(tcp(22, 23)), Source::IpsetId("friends".to_owned())))
        );
        for text in [
            r#"rule service name="ssh" drop"#,
            r#"rule service name="accept" reject"#,
            r#"rule service name="ssh" log prefix="to accept " level="info" drop"#,
            r#"rule service name="ssh" mark set="1""#,
        ] {
            assert_eq!(rule(text), None, "{text}");
        }
        let forward = Rule::read(r#"rule family="ipv4" forward-port port="2222" protocol="tcp" to-port="22""#).forward;
        assert_eq!(forward, Some(("2222".to_owned(), "tcp".to_owned(), "22".to_owned())));
        let away = r#"rule family="ipv4" forward-port port="80" protocol="tcp" to-port="80" to-addr="192.0.2.9""#;
        assert_eq!(Rule::read(away).forward, None);
    }

    #[test]
    fn only_what_a_ban_closes_matters() {
        let services = BTreeMap::from([
            ("web".to_owned(), vec![tcp(80, 80), tcp(443, 443)]),
            ("shell".to_owned(), vec![tcp(22, 22)]),
        ]);
        let met = |reach: &Reach, what: &What| reach.meets(what, &services);
        let (all, ssh) = (reach(&[]), reach(&[tcp(22, 22)]));
        let service = |name: &str| What::Service(name.to_owned());
        let protocol = |name: &str| What::Protocol(name.to_owned());
        for what in [What::All, service("shell"), What::Ports(tcp(1, 1024)), protocol("tcp"), protocol("6")] {
            assert!(met(&all, &what) && met(&ssh, &what), "{what:?}");
        }
        for what in [service("web"), What::Ports(tcp(80, 80)), protocol("udp"), protocol("esp")] {
            assert!(met(&all, &what) && !met(&ssh, &what), "{what:?}");
        }
        for what in [protocol("icmp"), protocol("ipv6-icmp"), protocol("58"), protocol("igmp")] {
            assert!(!met(&all, &what) && !met(&ssh, &what), "{what:?}");
        }
        let named = Reach { services: BTreeSet::from(["own".to_owned()]), ..reach(&[tcp(22, 22)]) };
        assert!(met(&named, &service("own")), "the same service, whatever its ports are");
    }

    #[test]
    fn packets_come_into_a_zone_by_its_interfaces_and_sources_and_into_the_default_by_themselves() {
        let bound = |interfaces: &[&str], sources: &[&str]| {
            let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            HashMap::from([("interfaces".to_owned(), own(interfaces)), ("sources".to_owned(), own(sources))])
        };
        let zones: Zones = HashMap::from([
            ("public".to_owned(), bound(&[], &[])),
            ("internal".to_owned(), bound(&["eth1"], &["192.0.2.0/24"])),
            ("office".to_owned(), bound(&[], &["192.0.2.7", "ipset:friends"])),
        ]);
        let of = |name: &str| entry(&[name.to_owned()], &zones, "public");
        for zone in ["ANY", "public", "internal"] {
            assert_eq!(of(zone), Some(vec![Source::Anybody]), "{zone}");
        }
        let office = vec![Source::Net("192.0.2.7/32".parse().unwrap()), Source::IpsetId("friends".to_owned())];
        assert_eq!(of("office"), Some(office));
        for zone in ["HOST", "dmz"] {
            assert_eq!(of(zone), None, "{zone}");
        }
    }
}
