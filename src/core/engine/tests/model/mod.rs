//! The engine against a reference that keeps everything and recomputes it.
//!
//! A random history has failures, evidence that comes to light late, logins, records out of
//! order, clocks that are set, reboots, new settings, restarts and mere time in between. The
//! reference thinks in true time and in lists that are never trimmed, and shares no code with the
//! engine but the settings. Both must ban and free the same sources at the same µs.

mod reference;

use proptest::prelude::*;

use self::reference::{Event, Reference};
use super::*;
use crate::core::{
    jail::{Subnet, Width},
    net::Prefixes,
    record::Cursor,
    session::SILENCE,
};

/// A random step; numbers are made sense of when it is taken.
#[derive(Clone, Debug)]
enum Step {
    /// A line of sshd: seconds after the one before, how late it is handed over, process, host.
    Line { after: u64, late: u64, pid: u32, host: u8, what: What },
    /// The clock is set.
    Set(i64),
    /// The machine is rebooted, and its clock is behind by this many seconds.
    Reboot(u64),
    /// Other settings.
    Reload(Choice),
    /// The daemon is killed and goes on from its snapshot.
    Restart,
    /// Time passes, without a record.
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Failed,
    Invalid,
    ClosedInvalid,
    Accepted,
}

/// The settings of a history.
#[derive(Clone, Debug)]
struct Choice {
    maxretry: u32,
    bantime: Option<u64>,
    jitter: u64,
    factor: u32,
    wide: bool,
    ignored: Option<u8>,
    subnet: Option<u32>,
    spare: Option<u64>,
    licence: Option<u32>,
    hopping: Vec<Width>,
}

const FINDTIME: Usec = 100 * SECOND;

impl Choice {
    fn apply(&self, jail: &mut JailSettings) {
        jail.maxretry = self.maxretry;
        jail.findtime = FINDTIME;
        jail.bantime = self.bantime.map(|seconds| seconds * SECOND);
        jail.bantime_factor = self.factor;
        jail.bantime_max = Some(500 * SECOND);
        jail.bantime_jitter = self.jitter * SECOND;
        jail.forget = 400 * SECOND;
        jail.prefixes = Prefixes { ipv4: if self.wide { 31 } else { 32 }, ipv6: if self.wide { 63 } else { 64 } };
        let ignored =
            self.ignored.into_iter().flat_map(|host| [false, true].map(|six| IpNet::from(address(host, six)).into()));
        jail.ignoreip = ignored.collect();
        jail.subnet = self.subnet.map(|maxretry| Subnet { maxretry, prefixes: Prefixes { ipv4: 29, ipv6: 61 } });
        jail.spare_logins = self.spare.map(|seconds| seconds * SECOND);
        jail.spare_maxretry = self.licence;
        jail.hopping.clone_from(&self.hopping);
    }
}

/// The line that tells of a new boot.
const FIRST_LINE: Step = Step::Line { after: 0, late: 0, pid: 99, host: 200, what: What::Accepted };

/// Two networks of eight hosts, or of eight IPv6 customers; the higher bits tell them apart.
fn address(host: u8, six: bool) -> IpAddr {
    if six { IpAddr::from([0x2001, 0xdb8, 0, u16::from(host), 0, 0, 0, 1]) } else { [203, 0, 113, host].into() }
}

/// Who tries to log in.
fn user(pid: u32) -> &'static str {
    if pid.is_multiple_of(3) { "root" } else { "alice" }
}

/// The engine, the reference, and the clock between them.
struct Both {
    desk: Desk,
    reference: Reference,
    /// The wall clock is so far ahead of true time.
    offset: i64,
    /// True time when the machine was started.
    booted: Usec,
    boot: u32,
    /// True time of the latest line.
    time: Usec,
    /// Lines that were written and not handed over yet.
    held: Vec<(Usec, Record, u32, IpAddr, What)>,
    lines: u32,
}

impl Both {
    fn new(choice: &Choice, six: bool) -> Self {
        let desk = Desk::new(|jail| choice.apply(jail));
        let settings = desk.engine.jails().next().unwrap().clone();
        let start = 1_000_000 * SECOND;
        let mut reference = Reference::new(settings, six);
        reference.now = start;
        let mut both =
            Self { desk, reference, offset: 0, booted: start, boot: 1, time: start, held: Vec::new(), lines: 0 };
        both.take(&FIRST_LINE).unwrap();
        both
    }

    /// As the daemon does before it lets time pass.
    fn look_at_the_clock(&mut self) {
        let by = self.offset - self.known();
        if by != 0 {
            self.desk.engine.clock_set(by, &mut self.desk.effects);
        }
        self.reference.ahead = self.offset;
    }

    /// The clock as the engine knows it by now.
    fn known(&self) -> i64 {
        self.desk.engine.clock.now().wrapping_sub(self.reference.now).cast_signed()
    }

    fn wall(&self, time: Usec) -> Usec {
        time.saturating_add_signed(self.offset)
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Line { after, late, pid, host, what } => {
                self.time += after * SECOND + u64::from(self.lines % 7);
                self.lines += 1;
                let (host, mut pid) = (address(*host, self.reference.six), pid + 100 * self.boot);
                if *what == What::Invalid {
                    // As sshd's first line of a session: evidence that is hours old when its
                    // session ends is no matter here.
                    pid = 1_000_000 + self.lines % 4_000 * 12 + pid % 12;
                }
                let user = user(pid);
                let message = match what {
                    What::Failed => format!("Failed password for {user} from {host} port 1 ssh2"),
                    What::Invalid => format!("Invalid user x from {host} port 1"),
                    What::ClosedInvalid => format!("Connection closed by invalid user x {host} port 1 [preauth]"),
                    What::Accepted => format!("Accepted password for {user} from {host} port 1 ssh2"),
                };
                let (wall, monotonic) = (self.wall(self.time), self.time - self.booted);
                let cursor = format!("s=1;i={:x};b={:032x};m={monotonic:x};t={wall:x};x=0", self.lines, self.boot);
                let mut record = self.desk.record(wall, pid, &message);
                let cursor = Cursor::from(cursor);
                (record.moment, record.cursor) = (cursor.moment(), Some(cursor));
                let held = (self.time + late * SECOND, record, pid, host, *what);
                self.held.push(held);
                self.hand_over(self.time)?;
            }
            Step::Wait(seconds) => {
                self.hand_over(Usec::MAX)?;
                self.look_at_the_clock();
                let to = self.reference.now + seconds * SECOND;
                self.time = self.time.max(to);
                self.desk.engine.advance(self.wall(to), &mut self.desk.effects);
                self.reference.pass(to);
            }
            Step::Set(seconds) => {
                // The lines that are on their way were written in the old clock.
                self.offset += seconds * SECOND.cast_signed();
            }
            Step::Reboot(behind) => {
                self.hand_over(Usec::MAX)?;
                self.look_at_the_clock();
                self.boot += 1;
                self.booted = self.time;
                if *behind > 0 {
                    // The clock seems to run backwards, so no time has passed.
                    self.time = self.reference.now - u64::from(self.lines % 7);
                    self.booted = self.time;
                    self.offset -= (behind * SECOND).cast_signed();
                }
                // A line tells of it before anything else does.
                self.take(&FIRST_LINE)?;
            }
            Step::Reload(choice) => {
                let mut jails: Vec<JailSettings> = self.desk.engine.jails().cloned().collect();
                for jail in &mut jails {
                    choice.apply(jail);
                }
                self.reference.reload(jails[0].clone());
                let now = self.desk.engine.clock.now();
                self.desk.engine.reload(jails, now, &mut self.desk.effects);
            }
            Step::Restart => {
                let saved = serde_json::to_vec(&self.desk.engine.save()).unwrap();
                let now = self.desk.engine.clock.now();
                self.desk.engine = Engine::new(self.desk.engine.jails().cloned().collect());
                let saved = serde_json::from_slice(&saved).unwrap();
                self.desk.engine.load(saved, now, &mut self.desk.effects);
            }
        }
        self.compare()
    }

    /// Hands over the lines that are due at the time `to`.
    fn hand_over(&mut self, to: Usec) -> Result<(), TestCaseError> {
        while let Some(at) = (0..self.held.len()).min_by_key(|at| self.held[*at].0)
            && self.held[at].0 <= to
        {
            let (_, record, pid, host, what) = self.held.remove(at);
            let time = self.booted + record.moment.unwrap().monotonic;
            self.desk.engine.record(&record, &mut self.desk.effects);
            let now = self.reference.now.max(time);
            self.reference.ahead = self.desk.engine.clock.now().wrapping_sub(now).cast_signed();
            self.reference.line(time, pid, host, what);
            self.compare()?;
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let mut expected = std::mem::take(&mut self.reference.events).into_iter();
        let known = self.known();
        for effect in std::mem::take(&mut self.desk.effects) {
            match effect {
                Effect::Banned(ban) => {
                    let truly = |time: Usec| time.saturating_add_signed(-known);
                    let (source, since, until, count) = (ban.source, truly(ban.since), ban.until.map(truly), ban.count);
                    prop_assert_eq!(expected.next(), Some(Event::Banned { source, since, until, count }));
                }
                Effect::Unbanned(ban, _) => {
                    prop_assert_eq!(expected.next(), Some(Event::Freed { source: ban.source }));
                }
                _ => {}
            }
        }
        prop_assert_eq!(expected.next(), None, "the engine has not done it");
        let bans: Vec<IpNet> = self.desk.engine.bans().map(|ban| ban.source).collect();
        let mut held: Vec<IpNet> = self.reference.bans.iter().map(|ban| ban.source).collect();
        held.sort_unstable();
        prop_assert_eq!(bans, held);
        Ok(())
    }
}

fn choice() -> impl Strategy<Value = Choice> {
    let bantime = prop_oneof![4 => (50u64..300).prop_map(Some), 1 => Just(None)];
    let ignored = prop::option::weighted(0.2, 0u8..12);
    let jitter = prop_oneof![2 => Just(0), 1 => 1u64..60];
    let subnet = prop::option::weighted(0.4, 2u32..5);
    let spare = prop::option::weighted(0.3, 1u64..300);
    let licence = prop::option::weighted(0.7, 1u32..6);
    // Some of three widths, the narrowest first.
    let width = |prefix| prop::option::weighted(0.6, (1u32..4).prop_map(move |times| Width { prefix, times }));
    let hopping = (width(62), width(61), width(60)).prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect());
    (1u32..5, bantime, 1u32..4, any::<bool>(), ignored, jitter, subnet, (spare, licence, hopping)).prop_map(
        |(maxretry, bantime, factor, wide, ignored, jitter, subnet, (spare, licence, hopping))| Choice {
            maxretry,
            bantime,
            jitter,
            factor,
            wide,
            ignored,
            subnet,
            spare,
            licence,
            hopping,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        6 => Just(What::Failed), 1 => Just(What::Invalid), 1 => Just(What::ClosedInvalid), 1 => Just(What::Accepted),
    ];
    let late = prop_oneof![3 => Just(0u64), 1 => 0u64..60];
    let line = (0u64..40, late, 0u32..12, 0u8..12, what).prop_map(|(after, late, pid, host, what)| Step::Line {
        after,
        late,
        pid,
        host,
        what,
    });
    // Much smaller ones are no set clock.
    let set = prop_oneof![1i64..50, -50i64..0].prop_map(|times| times * 100);
    prop_oneof![
        24 => line,
        1 => set.prop_map(Step::Set),
        1 => prop_oneof![Just(0u64), 2u64..2_000].prop_map(Step::Reboot),
        1 => choice().prop_map(Step::Reload),
        3 => Just(Step::Restart),
        2 => (0u64..400).prop_map(Step::Wait),
    ]
}

/// `WARDEND_HISTORIES` asks for more of them.
fn cases() -> u32 {
    std::env::var("WARDEND_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_engine_bans_as_a_reference_that_keeps_everything(
        choice in choice(), six in any::<bool>(), steps in prop::collection::vec(step(), 1..50),
    ) {
        // Once as it comes, and once with a restart after every step.
        for restless in [false, true] {
            let mut both = Both::new(&choice, six);
            for step in &steps {
                both.take(step)?;
                if restless {
                    both.take(&Step::Restart)?;
                }
            }
            both.take(&Step::Wait(10_000))?;
        }
    }
}
