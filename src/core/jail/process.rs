//! Which processes are the service's, and what is known of them.
//!
//! journald looks up the unit and the program of a sender when it reads the message, and a
//! process that has gone by then leaves neither. Such a record says by itself only that a process of
//! root wrote it, and a user who may run one harmless program as root could have written it too. So
//! a record without both is believed only from a process of which another record tells that it is
//! the service's, and is held back until there is one.
//!
//! Where a program writes lines to its standard output and doesn't escape line breaks, a client's
//! text can make a line of its own. There the address of a process is what the service manager
//! says of its socket, or what its very first line says, before any client has had a word.
//!
//! Everything is forgotten after a while, and the table is bounded: entries live in two
//! generations, and the older one goes when the younger one is old or full.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::core::{
    filter::SessionKey,
    record::{Cursor, FieldId, Record},
    session::SILENCE,
    time::Usec,
};

/// The most processes of one generation.
const MOST: usize = 16_384;
/// The most readings that are held back of one process, and of all of one generation.
const MOST_OF_ONE: usize = 8;
const MOST_HELD: usize = 4096;

/// A boot and a process number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ProcessKey {
    boot: u128,
    pid: u32,
}

impl ProcessKey {
    /// The process that wrote a record.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let pid = std::str::from_utf8(record.get(FieldId::PID)?).ok()?.parse().ok()?;
        Some(Self { boot: record.moment?.boot, pid })
    }
}

/// What a rule has read in a record that is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldBack {
    pub(super) rule: Arc<str>,
    pub(super) address: Option<IpAddr>,
    pub(super) user: Option<Box<str>>,
    #[serde(default)]
    pub(super) port: Option<u16>,
    #[serde(default = "once")]
    pub(super) times: u32,
    pub(super) time: Usec,
    pub(super) cursor: Option<Cursor>,
    pub(super) session: Option<SessionKey>,
    #[serde(default)]
    pub(super) forgeable: bool,
}

fn once() -> u32 {
    1
}

/// What is known of a process. Of nearly all there is only that they are the service's, and
/// there are many, so the rest lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedProcess", into = "SavedProcess")]
struct Process {
    /// A record has shown that it is the service's.
    ours: bool,
    /// It has written a line.
    spoke: bool,
    more: Option<Box<More>>,
}

/// What is known of few processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct More {
    /// Whom it serves, where its lines can't be believed about that.
    peer: Option<IpAddr>,
    held: Vec<HeldBack>,
}

impl Process {
    fn held(&self) -> &[HeldBack] {
        self.more.as_ref().map_or(&[], |more| &more.held)
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

/// A process in a snapshot.
#[derive(Serialize, Deserialize)]
struct SavedProcess {
    #[serde(default, skip_serializing_if = "is_false")]
    ours: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    spoke: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held: Vec<HeldBack>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl From<SavedProcess> for Process {
    fn from(SavedProcess { ours, spoke, peer, held }: SavedProcess) -> Self {
        let more = (peer.is_some() || !held.is_empty()).then(|| Box::new(More { peer, held }));
        Self { ours, spoke, more }
    }
}

impl From<Process> for SavedProcess {
    fn from(Process { ours, spoke, more }: Process) -> Self {
        let More { peer, held } = more.map(|more| *more).unwrap_or_default();
        Self { ours, spoke, peer, held }
    }
}

/// Processes by their boot and number: there are few boots and many numbers.
#[derive(Clone, Debug, Default)]
struct Generation {
    boots: BTreeMap<u128, HashMap<u32, Process>>,
    count: usize,
}

impl Generation {
    fn get(&self, key: ProcessKey) -> Option<&Process> {
        self.boots.get(&key.boot)?.get(&key.pid)
    }

    fn get_mut(&mut self, key: ProcessKey) -> Option<&mut Process> {
        self.boots.get_mut(&key.boot)?.get_mut(&key.pid)
    }

    fn entry(&mut self, key: ProcessKey) -> &mut Process {
        let boot = self.boots.entry(key.boot).or_default();
        boot.entry(key.pid).or_insert_with(|| {
            self.count += 1;
            Process::default()
        })
    }

    fn insert(&mut self, key: ProcessKey, process: Process) {
        *self.entry(key) = process;
    }

    fn remove(&mut self, key: ProcessKey) -> Option<Process> {
        let boot = self.boots.get_mut(&key.boot)?;
        let process = boot.remove(&key.pid)?;
        self.count -= 1;
        Some(process)
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.boots.values().flat_map(HashMap::values)
    }

    fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.boots.values_mut().flat_map(HashMap::values_mut)
    }
}

/// All processes of which something is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    young: Generation,
    old: Generation,
    /// When the younger generation began.
    since: Usec,
    /// How many readings are held back in the younger generation.
    held: usize,
}

impl Processes {
    /// The process is the service's. Returns what was held back of it.
    pub(super) fn vouch(&mut self, key: ProcessKey, time: Usec) -> Vec<HeldBack> {
        // Most that speak have spoken lately.
        let is_known = |process: &Process| process.ours && process.more.is_none();
        if time.saturating_sub(self.since) < SILENCE && self.young.get(key).is_some_and(is_known) {
            return Vec::new();
        }
        let process = self.touch(key, time);
        process.ours = true;
        let held = process.more.as_mut().map(|more| std::mem::take(&mut more.held)).unwrap_or_default();
        if process.more.as_ref().is_some_and(|more| more.peer.is_none()) {
            process.more = None;
        }
        self.held = self.held.saturating_sub(held.len());
        held
    }

    /// Whether the process is known to be the service's.
    pub(super) fn is_ours(&mut self, key: ProcessKey, time: Usec) -> bool {
        let known = |generation: &Generation| generation.get(key).is_some_and(|process| process.ours);
        let ours = known(&self.young) || known(&self.old);
        // As long as it speaks it is remembered.
        if ours {
            self.touch(key, time);
        }
        ours
    }

    /// The process is somebody else's. What was held back of it was, too.
    pub(super) fn disown(&mut self, key: ProcessKey) {
        if let Some(more) = self.young.get_mut(key).and_then(|process| process.more.as_mut()) {
            self.held = self.held.saturating_sub(std::mem::take(&mut more.held).len());
        }
        self.old.remove(key);
    }

    /// Holds back what was read in a record of a process that nothing is known of.
    pub(super) fn hold(&mut self, key: ProcessKey, reading: HeldBack) {
        let full = self.held >= MOST_HELD;
        let process = self.touch(key, reading.time);
        if !full && process.held().len() < MOST_OF_ONE {
            process.more().held.push(reading);
            self.held += 1;
        }
    }

    /// A process has written a line, which says by itself that it serves `said`. `accepted` is whom
    /// the service manager has accepted the connection from. Returns whom it serves.
    pub(super) fn peer(
        &mut self,
        key: ProcessKey,
        time: Usec,
        accepted: Option<IpAddr>,
        said: Option<IpAddr>,
    ) -> Option<IpAddr> {
        let process = self.touch(key, time);
        let first = !std::mem::replace(&mut process.spoke, true);
        let known = process.more.as_ref().and_then(|more| more.peer);
        let peer = accepted.or(known).or(said.filter(|_| first));
        if peer != known {
            process.more().peer = peer;
        }
        peer
    }

    fn touch(&mut self, key: ProcessKey, time: Usec) -> &mut Process {
        let is_old = time.saturating_sub(self.since) >= SILENCE;
        if is_old || (self.young.count >= MOST && self.young.get(key).is_none()) {
            self.old = std::mem::take(&mut self.young);
            (self.since, self.held) = (time, 0);
        }
        // Most that speak have spoken lately.
        if self.young.get(key).is_none()
            && let Some(process) = self.old.remove(key)
        {
            self.held += process.held().len();
            self.young.insert(key, process);
        }
        self.young.entry(key)
    }

    /// Moves every time along with a clock that was set.
    pub(super) fn shift(&mut self, by: i64) {
        self.since = self.since.saturating_add_signed(by);
        for process in self.young.processes_mut().chain(self.old.processes_mut()) {
            for held in process.more.iter_mut().flat_map(|more| &mut more.held) {
                held.time = held.time.saturating_add_signed(by);
            }
        }
    }
}

/// The table in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedProcesses {
    since: Usec,
    young: BTreeMap<String, BTreeMap<u32, Process>>,
    old: BTreeMap<String, BTreeMap<u32, Process>>,
}

impl Processes {
    pub(super) fn save(&self) -> SavedProcesses {
        let of = |generation: &Generation| {
            let boots = generation.boots.iter().filter(|(_, processes)| !processes.is_empty());
            let saved = |processes: &HashMap<u32, Process>| {
                processes.iter().map(|(pid, process)| (*pid, process.clone())).collect()
            };
            boots.map(|(boot, processes)| (format!("{boot:032x}"), saved(processes))).collect()
        };
        SavedProcesses { since: self.since, young: of(&self.young), old: of(&self.old) }
    }

    pub(super) fn load(saved: SavedProcesses) -> Self {
        let of = |saved: BTreeMap<String, BTreeMap<u32, Process>>| -> Generation {
            let mut generation = Generation::default();
            let boots =
                saved.into_iter().filter_map(|(boot, list)| Some((u128::from_str_radix(&boot, 16).ok()?, list)));
            let all = boots.flat_map(|(boot, list)| {
                list.into_iter().map(move |(pid, process)| (ProcessKey { boot, pid }, process))
            });
            all.take(MOST).for_each(|(key, process)| generation.insert(key, process));
            generation
        };
        let young = of(saved.young);
        let held = young.processes().map(|process| process.held().len()).sum();
        Self { young, old: of(saved.old), since: saved.since, held }
    }
}

/// Whom the service manager has accepted a connection from, by the name of the unit that it started
/// for it: `sshd@3-192.0.2.10:22-203.0.113.7:4242.service` (systemd.socket(5), Accept=).
pub(super) fn peer_of(unit: &[u8]) -> Option<IpAddr> {
    let unit = std::str::from_utf8(unit).ok()?.strip_suffix(".service")?;
    let (_, instance) = unit.split_once('@')?;
    let (_, peer) = instance.rsplit_once('-')?;
    let (address, port) = peer.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let address: IpAddr = address.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::USEC_PER_SEC;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { boot: 7, pid }
    }

    fn reading(time: Usec) -> HeldBack {
        HeldBack {
            rule: "rule".into(),
            address: None,
            user: None,
            port: None,
            times: 1,
            time,
            cursor: None,
            session: None,
            forgeable: false,
        }
    }

    #[test]
    fn what_is_held_back_counts_as_soon_as_somebody_vouches_for_its_process() {
        let mut processes = Processes::default();
        for time in 1..=20 {
            processes.hold(key(1), reading(time));
        }
        assert!(!processes.is_ours(key(1), 21));
        let held = processes.vouch(key(1), 21);
        assert_eq!(held.iter().map(|held| held.time).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
        assert!(processes.is_ours(key(1), 22) && !processes.is_ours(key(2), 22));
        assert!(processes.vouch(key(1), 23).is_empty());
    }

    #[test]
    fn a_process_that_falls_silent_is_forgotten_and_one_that_speaks_is_not() {
        let mut processes = Processes::default();
        processes.vouch(key(1), 0);
        processes.vouch(key(2), 0);
        for minute in 1..=60 {
            assert!(processes.is_ours(key(1), minute * 60 * USEC_PER_SEC), "{minute}");
        }
        assert!(!processes.is_ours(key(2), 3600 * USEC_PER_SEC), "its number may be another process's by now");
    }

    #[test]
    fn however_many_processes_speak_the_table_is_bounded() {
        let mut processes = Processes::default();
        for pid in 0..100_000 {
            processes.hold(key(pid), reading(1));
        }
        let held = |generation: &Generation| generation.processes().map(|process| process.held().len()).sum::<usize>();
        assert!(processes.young.count <= MOST && processes.old.count <= MOST);
        assert!(held(&processes.young) <= MOST_HELD && held(&processes.old) <= MOST_HELD);
    }

    #[test]
    fn a_snapshot_keeps_what_is_known_and_what_is_held_back() {
        let mut processes = Processes::default();
        processes.vouch(key(1), 5);
        processes.hold(key(2), reading(6));
        processes.peer(key(3), 7, None, Some([203, 0, 113, 7].into()));
        let saved = serde_json::to_string(&processes.save()).unwrap();
        let mut loaded = Processes::load(serde_json::from_str(&saved).unwrap());
        assert!(loaded.is_ours(key(1), 8));
        assert_eq!(loaded.peer(key(3), 8, None, Some([10, 66, 0, 1].into())), Some([203, 0, 113, 7].into()));
        assert_eq!(loaded.vouch(key(2), 8).len(), 1);
    }

    #[test]
    fn only_the_first_line_of_a_process_says_whom_it_serves() {
        let mut processes = Processes::default();
        let (one, two): (IpAddr, IpAddr) = ([203, 0, 113, 7].into(), [10, 66, 0, 1].into());
        assert_eq!(processes.peer(key(1), 1, None, Some(one)), Some(one));
        assert_eq!(processes.peer(key(1), 2, None, Some(two)), Some(one));
        assert_eq!(processes.peer(key(2), 1, None, None), None, "a piece of text came first");
        assert_eq!(processes.peer(key(2), 2, None, Some(two)), None);
        assert_eq!(processes.peer(key(3), 1, Some(one), Some(two)), Some(one), "the service manager knows better");
    }

    #[test]
    fn the_name_of_a_connections_unit_says_whom_it_serves() {
        for (unit, peer) in [
            ("sshd@3-192.0.2.10:22-203.0.113.7:4242.service", Some("203.0.113.7")),
            ("sshd@12-2001:db8::10:22-2001:db8:a::7:4242.service", Some("2001:db8:a::7")),
            ("ssh@0-::ffff:192.0.2.10:22-::ffff:203.0.113.7:4242.service", Some("203.0.113.7")),
            ("sshd@2-77-unknown.service", None),
            ("sshd@2-2:22-5:4242.service", None),
            ("ssh.service", None),
            ("session-3.scope", None),
        ] {
            assert_eq!(peer_of(unit.as_bytes()), peer.map(|peer| peer.parse().unwrap()), "{unit}");
        }
    }
}
