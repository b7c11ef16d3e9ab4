//! The wider networks against a reference that keeps every failure.

use proptest::prelude::*;

use super::*;
use crate::core::{cursor::Cursor, failure::Kind};

const WIDTHS: [Width; 2] = [Width { prefix: 56, times: 4 }, Width { prefix: 48, times: 16 }];
const RULES: Rules<'_> = Rules { widths: &WIDTHS, maxretry: 2, findtime: 40, most: 24 };

fn source(number: u8) -> IpNet {
    // Four /56 in each of two /48.
    let (site, part, host) = (u16::from(number >> 4 & 1), u16::from(number >> 2 & 3), u16::from(number & 3));
    let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, site, part << 8 | host, 0, 0, 0, 7);
    IpNet::new(address.into(), 64).unwrap().trunc()
}

fn failure(source: IpNet, time: Usec) -> Failure {
    let IpAddr::V6(network) = source.network() else { unreachable!() };
    let address = std::net::Ipv6Addr::from(u128::from(network) | u128::from(time % 3));
    Failure {
        address: address.into(),
        time,
        rule: "r".into(),
        user: None,
        cursor: Cursor::from("c"),
        kind: Kind::Attempt,
    }
}

/// What the table should hold, by looking at all failures each time.
#[derive(Default)]
struct Plain(Vec<(IpNet, Entry)>);

impl Plain {
    fn of(&self, source: IpNet) -> Vec<Entry> {
        let mut own: Vec<Entry> = self.0.iter().filter(|(of, _)| *of == source).map(|(_, entry)| *entry).collect();
        own.sort_by_key(|entry| entry.time);
        own
    }

    fn drop_oldest(&mut self, among: impl Fn(IpNet) -> bool) {
        let all = self.0.iter().enumerate().filter(|(_, (source, _))| among(*source));
        let oldest = all.min_by_key(|(_, (source, entry))| (entry.time, *source)).map(|(at, _)| at);
        oldest.map(|at| self.0.remove(at));
    }

    fn add(&mut self, source: IpNet, failure: &Failure, at: Usec) {
        self.0.retain(|(_, entry)| entry.time + RULES.findtime >= at);
        if failure.time + RULES.findtime < at {
            return;
        }
        self.0.push((source, Entry { time: failure.time, address: failure.address, spent: 0 }));
        if self.of(source).len() > 20 {
            self.drop_oldest(|other| other == source);
        }
        if self.0.len() > RULES.most {
            self.drop_oldest(|_| true);
        }
    }

    fn weight(&self, network: IpNet, level: usize) -> u64 {
        let mut sources: Vec<IpNet> = self.0.iter().map(|(source, _)| *source).collect();
        sources.sort();
        sources.dedup();
        sources.retain(|source| network.contains(source));
        sources.iter().map(|source| RULES.weigh(self.of(*source).iter(), level)).sum()
    }
}

#[derive(Clone, Debug)]
enum Event {
    Add(u8, Usec),
    TakeBack(u8),
    Spend(u8, usize),
    Clear(u8),
    Shift(i64),
    Reload,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0u8..32, 0u64..6).prop_map(|(source, late)| Event::Add(source, late)),
        2 => (0u8..32).prop_map(Event::TakeBack),
        1 => (0u8..32, 0usize..2).prop_map(|(source, level)| Event::Spend(source, level)),
        1 => (0u8..32).prop_map(Event::Clear),
        1 => (-3i64..9).prop_map(Event::Shift),
        1 => Just(Event::Reload),
    ]
}

proptest! {
    #[test]
    fn what_networks_weigh_agrees_with_a_table_that_looks_at_every_failure(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let (mut subnets, mut plain, mut now) = (Subnets::default(), Plain::default(), 1_000);
        for event in events {
            match event {
                Event::Add(number, late) => {
                    now += 7;
                    let (source, failure) = (source(number), failure(source(number), now - 3 * late));
                    subnets.add(source, &failure, now, RULES);
                    plain.add(source, &failure, now);
                }
                Event::TakeBack(number) => {
                    let Some(entry) = plain.of(source(number)).last().copied() else { continue };
                    let known = |(of, known): &(IpNet, Entry)| *of == source(number) && known.time == entry.time;
                    let place = plain.0.iter().position(known).unwrap();
                    plain.0.remove(place);
                    subnets.take_back(source(number), &failure(source(number), entry.time), RULES);
                }
                Event::Spend(number, level) => {
                    let network = wider(source(number), WIDTHS[level]);
                    subnets.spend(network, RULES);
                    for (_, entry) in plain.0.iter_mut().filter(|(source, _)| network.contains(source)) {
                        entry.spent = entry.spent.max(u8::try_from(level + 1).unwrap());
                    }
                }
                Event::Clear(number) => {
                    let network = wider(source(number), WIDTHS[0]);
                    subnets.clear(network, RULES);
                    plain.0.retain(|(source, _)| !network.contains(source));
                }
                Event::Shift(by) => {
                    now = now.saturating_add_signed(by);
                    subnets.shift(by);
                    plain.0.iter_mut().for_each(|(_, entry)| entry.time = entry.time.saturating_add_signed(by));
                }
                Event::Reload => {
                    let saved = serde_json::to_string(&subnets.save()).unwrap();
                    let _: Vec<(Usec, IpAddr, u8)> = serde_json::from_str(&saved).unwrap();
                    subnets = Subnets::load(&serde_json::from_str(&saved).unwrap(), RULES.most);
                    subnets.adapt(RULES, |address| Some(IpNet::new(address, 64).unwrap().trunc()));
                }
            }
            prop_assert_eq!(subnets.entries, plain.0.len());
            for number in 0..32 {
                let held: Vec<Entry> = subnets.sources.get(&source(number)).iter().flat_map(|it| it.iter()).collect();
                prop_assert_eq!(held, plain.of(source(number)));
                for (level, width) in WIDTHS.iter().enumerate() {
                    let network = wider(source(number), *width);
                    prop_assert_eq!(subnets.weight(network, level, RULES), plain.weight(network, level));
                }
            }
            prop_assert!(subnets.queue.len() <= 2 * subnets.sources.len() + SLACK);
        }
    }
}

#[test]
fn a_source_that_is_alone_takes_little_space() {
    let mut subnets = Subnets::default();
    let rules = Rules { most: 1000, findtime: 1 << 40, ..RULES };
    for number in 0..4 {
        let time = 1_795_412_957_978_061 + number * 100_000_000;
        let failure = Failure { time, ..failure(source(0), 0) };
        subnets.add(source(0), &failure, time, rules);
    }
    assert!(subnets.weights.is_empty());
    let packed = subnets.sources.values().next().unwrap().0.len();
    assert!(packed <= 48, "{packed}");
}
