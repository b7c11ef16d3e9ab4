//! What is decided is entered in wardend: the difference between that and what is held there.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use super::{Agent, MOST_REFUSED};
use crate::{
    core::{Seconds, fleet::Decision},
    events,
    wardend::{MOST_IN_A_CALL, Orders, Results, now},
};

/// How long what wardend has refused is not tried again.
const REFUSED_FOR: Seconds = 300;
/// The most sources that are suspected: wardend keeps 4096, and administrators need some.
const MOST_SUSPECTED: usize = 3000;
/// How long to wait after wardend could not be asked.
const PAUSE: Duration = Duration::from_secs(5);

impl Agent {
    /// Everything that is held is decided again.
    pub(super) fn compare(&mut self) {
        let held: Vec<IpNet> = self.held.keys().chain(self.suspected.keys()).copied().collect();
        self.fleet.touch(held);
    }

    /// Hands over what is decided and not held yet, if wardend has carried out what was ordered before.
    pub(super) fn enter(&mut self) {
        let (time, instant) = (now(), Instant::now());
        if self.busy || self.wardend.is_some() || instant < self.pause_until {
            return;
        }
        // What others say is known as a whole, or not at all: half of it would be decided wrongly.
        let knows_others = self.settled_at.is_some();
        if !knows_others && !self.left && self.fleet.pardons().is_empty() {
            return;
        }
        let settled = self.left || self.settled_at.is_some_and(|at| instant >= at);
        let mut later = Vec::new();
        let mut orders = Orders::default();
        for source in self.fleet.take_touched(MOST_IN_A_CALL) {
            let decision = if self.left { Decision::Nothing } else { self.fleet.decide(&source, time) };
            let refused = self.refused.get(&source).is_some_and(|(_, until)| *until > time);
            // An agent that has just started does not release for want of voices; the comparison comes back to it.
            let releases = settled || self.fleet.pardon_of(&source, time).is_some();
            if !knows_others && !releases {
                later.push(source);
                continue;
            }
            if releases && !matches!(decision, Decision::Ban(_)) && self.held.contains_key(&source) {
                orders.unban.push(source);
                self.expected.insert(source, instant);
            }
            if releases && !matches!(decision, Decision::Suspect(_)) && self.suspected.contains_key(&source) {
                orders.unsuspect.push(source);
            }
            match decision {
                Decision::Ban(until) if !refused && self.held.get(&source).is_none_or(|held| until > held + 1) => {
                    orders.ban.push((source, until, self.reason(&source)));
                }
                Decision::Suspect(until)
                    if !refused
                        && self.suspected.get(&source).is_none_or(|held| until > held + 60)
                        && self.suspected.len() + orders.suspect.len() < MOST_SUSPECTED =>
                {
                    orders.suspect.push((source, until, self.reason(&source)));
                }
                _ => {
                    self.heard.remove(&source);
                }
            }
        }
        self.fleet.touch(later);
        if !orders.is_empty() && self.orders.try_send(orders).is_ok() {
            self.busy = true;
        }
    }

    /// Who says so, for people.
    fn reason(&self, source: &IpNet) -> String {
        let voices = self.fleet.voices(source);
        let names: Vec<&str> =
            voices.iter().filter(|voice| voice.refusal.is_none()).map(|voice| &*voice.machine).collect();
        match names[..] {
            [] => "banned by the fleet".to_owned(),
            [one] => format!("banned by {one}"),
            [one, two] => format!("banned by {one} and {two}"),
            [one, two, ref more @ ..] => format!("banned by {one}, {two} and {} more machines", more.len()),
        }
    }

    pub(super) fn results(&mut self, results: Results) {
        self.busy = false;
        let time = now();
        for (source, until) in results.banned {
            self.held.insert(source, until);
            if let Some(since) = self.heard.remove(&source) {
                let usec = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.latency = (self.latency.0.saturating_add(usec), self.latency.1 + 1);
            }
        }
        for source in results.unbanned {
            self.held.remove(&source);
        }
        self.suspected.extend(results.suspected);
        for source in results.unsuspected {
            self.suspected.remove(&source);
        }
        for (source, why) in results.refused {
            self.heard.remove(&source);
            if self.refused.len() < MOST_REFUSED {
                self.refused.insert(source, (why, time.saturating_add(REFUSED_FOR)));
            }
        }
        if let Some(why) = &results.failed {
            if self.failed.as_ref() != Some(why) {
                events::not_entered(why);
            }
            // What is held is not known any more; the next comparison finds out.
            self.pause_until = Instant::now() + PAUSE;
            self.fleet.touch_all();
            self.compare();
        }
        self.failed = results.failed;
    }
}
