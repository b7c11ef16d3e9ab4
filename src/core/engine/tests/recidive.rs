//! A jail over the bans of all others.

use super::*;
use crate::core::filter::Filter;

/// sshd's jail, in which the first failure bans for 50 s, and one that counts its bans.
fn desk(adjust: impl Fn(&mut JailSettings)) -> Desk {
    let shipped = SHIPPED.jails[0].clone();
    let sshd = JailSettings {
        maxretry: 1,
        bantime: Some(50 * SECOND),
        bantime_factor: 1,
        spare_logins: None,
        ..shipped.clone()
    };
    let mut recidive = JailSettings {
        name: "recidive".to_owned(),
        filter: Arc::new(Filter::bans()),
        classes: vec!["jail".to_owned()],
        maxretry: 3,
        findtime: 1000 * SECOND,
        bantime: Some(400 * SECOND),
        ..sshd.clone()
    };
    adjust(&mut recidive);
    Desk { engine: Engine::new(vec![recidive, sshd]), fields: SHIPPED.fields.clone(), effects: Vec::new() }
}

fn bans(effects: &[Effect]) -> Vec<(String, String)> {
    let ban = |effect: &Effect| match effect {
        Effect::Banned(ban) => Some((ban.jail.to_string(), ban.source.to_string())),
        _ => None,
    };
    effects.iter().filter_map(ban).collect()
}

fn order(engine: &mut Engine, network: &str, now: Usec, out: &mut Vec<Effect>) {
    engine.ban(&BanOrder::new(net(network), "sshd"), now, out).unwrap();
}

#[test]
fn the_third_ban_by_any_jail_closes_all_ports_for_longer() {
    let mut desk = desk(|_| ());
    for (round, bans_now) in [(0, 1), (1, 1), (2, 2)] {
        let effects = desk.wrong_password(round * 100 * SECOND, 1, "203.0.113.7");
        assert_eq!(bans(&effects).len(), bans_now, "{effects:?}");
    }
    let ban = desk.engine.bans().find(|ban| *ban.jail == *"recidive").unwrap().clone();
    let why: Vec<String> = ban.failures.iter().map(|failure| failure.rule.to_string()).collect();
    assert_eq!(why, ["sshd", "sshd", "sshd"], "the bans' jails are what it is banned for");
    assert_eq!(ban.until, Some(600 * SECOND));
    let because = |desk: &Desk| desk.engine.explain("203.0.113.7".parse().unwrap(), 210 * SECOND)[0].because.clone();
    assert_eq!(because(&desk), "3 bans within 3min 20s; maxretry = 3, findtime = 16min 40s.");
    // In the state, too, a ban is no failure.
    let saved = serde_json::to_vec(&desk.engine.save()).unwrap();
    desk.engine = Engine::new(desk.engine.jails().cloned().collect());
    desk.engine.load(serde_json::from_slice(&saved).unwrap(), 210 * SECOND, &mut Vec::new());
    assert_eq!(because(&desk), "3 bans within 3min 20s; maxretry = 3, findtime = 16min 40s.");
    assert_eq!(desk.engine.failure_count(), 3, "a ban is no failure of its own");
}

#[test]
fn what_counts_so_far_is_named_as_what_it_is() {
    let mut desk = desk(|_| ());
    desk.wrong_password(0, 1, "203.0.113.7");
    let known = desk.engine.explain("203.0.113.7".parse().unwrap(), 60 * SECOND);
    assert_eq!(known[0].because, "1 of 3 bans within 16min 40s (maxretry, findtime).");
}

#[test]
fn what_is_ordered_counts_only_if_that_is_asked_for_and_names_one_source() {
    for (classes, wanted) in [(vec!["jail"], 0), (vec!["jail", "admin"], 1)] {
        let mut desk = desk(|jail| {
            jail.classes = classes.iter().map(ToString::to_string).collect();
            jail.maxretry = 1;
        });
        let mut effects = Vec::new();
        order(&mut desk.engine, "203.0.113.7", 0, &mut effects);
        order(&mut desk.engine, "198.51.100.0/24", 0, &mut effects);
        assert_eq!(bans(&effects).iter().filter(|(jail, _)| jail == "recidive").count(), wanted, "{classes:?}");
    }
}

#[test]
fn its_own_bans_do_not_count_and_nobody_polls_for_it() {
    let mut desk = desk(|jail| jail.maxretry = 1);
    let effects = desk.wrong_password(0, 1, "203.0.113.7");
    let both = ["sshd", "recidive"].map(|jail| (jail.to_owned(), "203.0.113.7/32".to_owned()));
    assert_eq!(bans(&effects), both);
    let mut desk = self::desk(|jail| jail.maxretry = 2);
    desk.wrong_password(0, 1, "203.0.113.7");
    let sshd_alone = Engine::new(desk.engine.jails().filter(|jail| jail.name == "sshd").cloned().collect());
    assert_eq!(desk.engine.near_until(), sshd_alone.near_until(), "a ban is no record to wait for");
}

#[derive(Clone, Debug)]
enum Step {
    /// A wrong password, that number of seconds later.
    Line(u64, u8),
    Order(u8),
    Unban(u8),
    Restart,
    Wait(u64),
}

/// The two jails, computed by other means.
#[derive(Default)]
struct Reference {
    now: Usec,
    /// Jail and host, with the end of the ban.
    bans: BTreeMap<(&'static str, u8), Usec>,
    counted: BTreeMap<u8, Vec<Usec>>,
    begun: Vec<(String, String)>,
}

impl Reference {
    fn pass(&mut self, to: Usec) {
        self.now = to;
        self.bans.retain(|_, until| *until > to);
    }

    fn ban(&mut self, jail: &'static str, host: u8, length: Usec) {
        self.bans.insert((jail, host), self.now + length * SECOND);
        self.begun.push((jail.to_owned(), format!("203.0.113.{host}/32")));
    }

    fn fail(&mut self, host: u8) {
        if self.bans.contains_key(&("sshd", host)) {
            return;
        }
        self.ban("sshd", host, 50);
        let times = self.counted.entry(host).or_default();
        times.push(self.now);
        times.retain(|time| time + 1000 * SECOND >= self.now);
        if times.len() >= 3 {
            times.clear();
            if !self.bans.contains_key(&("recidive", host)) {
                self.ban("recidive", host, 400);
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0_u64..200, 1_u8..4).prop_map(|(after, host)| Step::Line(after, host)),
        1 => (1_u8..4).prop_map(Step::Order),
        1 => (1_u8..4).prop_map(Step::Unban),
        2 => Just(Step::Restart),
        1 => (0_u64..1500).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn a_jail_over_bans_bans_as_a_simple_reference(steps in prop::collection::vec(step(), 1..60)) {
        let mut desk = desk(|_| ());
        let mut reference = Reference { now: 1_000_000 * SECOND, ..Reference::default() };
        for step in &steps {
            let mut effects = Vec::new();
            match *step {
                Step::Line(after, host) => {
                    reference.pass(reference.now + after * SECOND + 1);
                    reference.fail(host);
                    effects = desk.wrong_password(reference.now, host.into(), &format!("203.0.113.{host}"));
                }
                Step::Order(host) => {
                    order(&mut desk.engine, &format!("203.0.113.{host}"), reference.now, &mut effects);
                    if !reference.bans.contains_key(&("sshd", host)) {
                        reference.ban("sshd", host, 50);
                    }
                }
                Step::Unban(host) => {
                    let _ = desk.engine.unban(net(&format!("203.0.113.{host}")), None, None, reference.now, &mut effects);
                    reference.bans.retain(|(_, of), _| *of != host);
                    reference.counted.remove(&host);
                }
                Step::Restart => {
                    let saved = serde_json::to_vec(&desk.engine.save()).unwrap();
                    desk.engine = Engine::new(desk.engine.jails().cloned().collect());
                    desk.engine.load(serde_json::from_slice(&saved).unwrap(), reference.now, &mut effects);
                }
                Step::Wait(seconds) => {
                    reference.pass(reference.now + seconds * SECOND);
                    effects = desk.advance(reference.now);
                }
            }
            prop_assert_eq!(bans(&effects), std::mem::take(&mut reference.begun), "{:?}", step);
            let held: Vec<String> = desk.engine.bans().map(|ban| format!("{} {}", ban.jail, ban.source)).collect();
            let wanted: Vec<String> =
                reference.bans.keys().map(|(jail, host)| format!("{jail} 203.0.113.{host}/32")).collect();
            prop_assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), wanted.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
