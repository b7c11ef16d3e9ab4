//! When what a banned source still has open is closed: never before the ban is in force, or the
//! source would be back at once.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{Duration, Instant},
};
use zbus::Connection;

use super::quiet::Quiet;
use crate::{
    events,
    firewall::{self, Cut},
    jail::text_of,
};

/// How often the same trouble is told.
const SPAN: Duration = Duration::from_secs(3600);

pub(super) struct Cutting {
    sources: UnboundedSender<IpNet>,
    outcomes: UnboundedReceiver<Cut>,
    /// Sources that are to be cut once they are locked out.
    held: HashSet<IpNet>,
    /// Sources that are being cut, and since when.
    begun: HashMap<IpNet, Instant>,
    troubles: Quiet<String>,
}

impl Cutting {
    pub(super) fn new(connection: &Connection) -> Self {
        let (sources, outcomes) = firewall::start_cutting(connection.clone());
        Self { sources, outcomes, held: HashSet::new(), begun: HashMap::new(), troubles: Quiet::new(SPAN) }
    }

    /// The source is to be cut: now, if its ban is in force.
    pub(super) fn cut(&mut self, source: IpNet, in_force: bool) {
        if in_force {
            self.begin(source);
        } else {
            self.held.insert(source);
        }
    }

    /// The ban of the source is in force.
    pub(super) fn in_force(&mut self, source: IpNet) {
        if self.held.remove(&source) {
            self.begin(source);
        }
    }

    /// The source is let in again.
    pub(super) fn forget(&mut self, source: IpNet) {
        self.held.remove(&source);
    }

    fn begin(&mut self, source: IpNet) {
        self.begun.entry(source).or_insert_with(Instant::now);
        // Without the task there is no bus, and then the daemon ends.
        let _ = self.sources.send(source);
    }

    /// What has become of some; never, if nothing is under way.
    pub(super) async fn next(&mut self) -> Cut {
        match self.outcomes.recv().await {
            Some(cut) => cut,
            None => std::future::pending().await,
        }
    }

    pub(super) fn tell(&mut self, cut: &Cut) {
        for source in &cut.sources {
            let begun = self.begun.remove(source);
            match &cut.outcome {
                Ok(()) => events::cut(&text_of(*source), begun.map_or(Duration::ZERO, |begun| begun.elapsed())),
                Err(why) if self.troubles.may_say(why.clone()) => events::not_cut(&text_of(*source), why),
                Err(_) => {}
            }
        }
    }
}
