//! What administrators ask and order, and the line for `systemctl status`.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use tokio::{sync::oneshot, time::Instant};
use wardend::shared::{count, text_of};

use super::{Agent, GATHER, longest};
use crate::{
    core::{
        Seconds,
        fleet::{Decision, PeerView, Voice},
        ledger::Claim,
        message::Version,
        own::MOST_PARDONS,
        policy::Policy,
    },
    events,
    wardend::now,
};

/// A question or an order of an administrator.
#[derive(Debug)]
pub(crate) enum Request {
    /// How everything is.
    Status(oneshot::Sender<Report>),
    /// What is known of a source.
    Explain(IpNet, oneshot::Sender<Explanation>),
    /// No voice against the source is to count, here and on machines that trust this one, until then.
    Pardon(IpNet, Seconds, oneshot::Sender<Result<(), NoPardon>>),
    /// Take back everything, and no longer take part.
    Leave(oneshot::Sender<()>),
}

/// Why a source can't be pardoned. The text is a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPardon {
    #[error("This machine has left the fleet; restart wardend-fleet to join it again.")]
    Left,
    #[error("There are {MOST_PARDONS} pardons of this machine already, which is the most; wait until some have ended.")]
    Full,
}

/// How a broker is.
#[derive(Clone, Debug)]
pub(crate) struct BrokerState {
    /// Its address.
    pub(crate) name: String,
    /// There is a connection.
    pub(crate) up: bool,
    /// Since when, in µs.
    pub(crate) since_usec: u64,
    /// Why there is none, or what was last wrong.
    pub(crate) trouble: Option<String>,
}

/// How everything is.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The name of this machine.
    pub(crate) machine: String,
    /// It has left the fleet.
    pub(crate) left: bool,
    /// Why wardend can't be reached.
    pub(crate) wardend: Option<String>,
    /// The brokers.
    pub(crate) brokers: Vec<BrokerState>,
    /// The other machines.
    pub(crate) machines: Vec<PeerView>,
    /// The own version, digest and number of bans that are sent, and how many have no place.
    pub(crate) own: (Version, u64, usize, usize),
    /// The number of bans and of suspected sources that the fleet has here.
    pub(crate) held: (usize, usize),
    /// The number of voices of all machines, and of sources that they are against.
    pub(crate) voices: (usize, usize),
    /// What did not count, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// How often a copy was not in step.
    pub(crate) gaps: u64,
    /// The time from the news of a ban to wardend's word that it is in force, in µs: the sum, and the number.
    pub(crate) latency: (u64, u64),
    /// The policy.
    pub(crate) policy: Policy,
}

/// What is known of a source.
#[derive(Clone, Debug)]
pub(crate) struct Explanation {
    /// What follows.
    pub(crate) decision: Decision,
    /// Until when the fleet has it banned here.
    pub(crate) held: Option<Seconds>,
    /// Until when it is suspected.
    pub(crate) suspected: Option<Seconds>,
    /// Who says so.
    pub(crate) voices: Vec<Voice>,
    /// This machine has banned it itself.
    pub(crate) own: Option<Claim>,
    /// Who pardons it, and until when.
    pub(crate) pardon: Option<(Arc<str>, Seconds)>,
    /// What wardend has said to a ban.
    pub(crate) refused: Option<String>,
    /// The quorum.
    pub(crate) quorum: usize,
}

impl Agent {
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Status(reply) => drop(reply.send(self.describe())),
            Request::Explain(source, reply) => drop(reply.send(self.explain(source))),
            Request::Pardon(source, until, reply) => {
                let outcome = if self.left {
                    Err(NoPardon::Left)
                } else if self.own.pardon(source, until) {
                    self.fleet.pardon(source, until);
                    self.pardons.add(source, until);
                    events::pardoned(&text_of(source), until, "an administrator has ordered it");
                    Ok(())
                } else {
                    Err(NoPardon::Full)
                };
                drop(reply.send(outcome));
            }
            Request::Leave(reply) => {
                self.left = true;
                self.own.replace(&BTreeMap::new());
                self.news_at = Some(Instant::now());
                self.document_at = Some(Instant::now() + GATHER);
                self.compare();
                events::left();
                let _ = reply.send(());
            }
        }
    }

    fn describe(&self) -> Report {
        Report {
            machine: self.name().to_owned(),
            left: self.left,
            wardend: self.wardend.clone(),
            brokers: self.brokers.iter().map(|broker| broker.state.clone()).collect(),
            machines: self.fleet.machines().collect(),
            own: (self.own.version(), self.own.ledger().sum(), self.own.ledger().bans().len(), self.own.left_out()),
            held: (self.held.len(), self.suspected.len()),
            voices: (self.fleet.entries(), self.fleet.sources()),
            refused: self.fleet.refused().clone(),
            gaps: self.fleet.gaps(),
            latency: self.latency,
            policy: self.fleet.policy().clone(),
        }
    }

    fn explain(&self, source: IpNet) -> Explanation {
        let time = now();
        Explanation {
            decision: self.fleet.decide(&source, time),
            held: self.held.get(&source).copied(),
            suspected: self.suspected.get(&source).copied(),
            voices: self.fleet.voices(&source),
            own: self.shared.get(&source).and_then(longest),
            pardon: self.fleet.pardon_of(&source, time),
            refused: self.refused.get(&source).map(|(why, _)| why.clone()),
            quorum: self.fleet.policy().quorum,
        }
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self) -> String {
        if self.left {
            return "This machine has left the fleet.".to_owned();
        }
        match &self.wardend {
            Some(why) if why.is_empty() => return "Waiting for wardend.".to_owned(),
            Some(why) => return why.clone(),
            None => {}
        }
        let up = self.brokers.iter().filter(|broker| broker.state.up).count();
        format!(
            "{} of {} connected, {} known, {} of others in force, {} suspected.",
            up,
            count(self.brokers.len(), "broker", "brokers"),
            count(self.fleet.machines().count(), "other machine", "other machines"),
            count(self.held.len(), "ban", "bans"),
            count(self.suspected.len(), "source", "sources"),
        )
    }
}
