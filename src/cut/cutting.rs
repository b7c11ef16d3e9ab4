//! When what a banned source still has open is closed: never before the ban is in force, or the
//! source would be back at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{Duration, Instant},
};

use super::unit::{Cut, CutTarget};
use crate::{core::net::text_of, journal::events, systemd::outgoing::Outgoing, util::rate::OncePer};

/// How often the same trouble is logged.
const SPAN: Duration = Duration::from_secs(3600);

pub(crate) struct Cutting {
    targets: UnboundedSender<CutTarget>,
    outcomes: UnboundedReceiver<Cut>,
    /// What is to be cut once it is locked out.
    held: HashSet<CutTarget>,
    /// What is being cut, and since when.
    begun: HashMap<CutTarget, Instant>,
    troubles: OncePer<String>,
}

impl Cutting {
    pub(crate) fn new(outgoing: &Outgoing) -> Self {
        let (targets, outcomes) = super::start(outgoing.clone());
        Self { targets, outcomes, held: HashSet::new(), begun: HashMap::new(), troubles: OncePer::new(SPAN) }
    }

    /// A source is to be cut: now, if its ban is in force.
    pub(crate) fn cut(&mut self, target: CutTarget, in_force: bool) {
        if in_force {
            self.begin(target);
        } else {
            self.held.insert(target);
        }
    }

    /// The ban of a source is in force.
    pub(crate) fn in_force(&mut self, target: &CutTarget) {
        if let Some(target) = self.held.take(target) {
            self.begin(target);
        }
    }

    /// The source is let in again.
    pub(crate) fn forget(&mut self, target: &CutTarget) {
        self.held.remove(target);
    }

    fn begin(&mut self, target: CutTarget) {
        self.begun.entry(target.clone()).or_insert_with(Instant::now);
        // Without the task there is no bus, and then the daemon ends.
        let _ = self.targets.send(target);
    }

    /// What has become of some; never, if nothing is under way.
    pub(crate) async fn next(&mut self) -> Cut {
        match self.outcomes.recv().await {
            Some(cut) => cut,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn tell(&mut self, cut: &Cut) {
        for source in &cut.sources {
            let begun = self.begun.remove(&(Arc::clone(&cut.scope), *source));
            match &cut.outcome {
                Ok(()) => events::cut(&text_of(*source), begun.map_or(Duration::ZERO, |begun| begun.elapsed())),
                Err(why) => {
                    let why = why.to_string();
                    if self.troubles.may_say(why.clone()) {
                        events::not_cut(&text_of(*source), &why);
                    }
                }
            }
        }
    }
}
