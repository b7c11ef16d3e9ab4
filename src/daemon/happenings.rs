//! Hands what happens to all who want to know: the counters, the journal and the bus.
//!
//! Counted is everything. What happens again and again is said once in a while, and a ban that had
//! ended before anybody could hear of it is not said at all.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    bus::{Counted, PublisherHandle},
    contract::happening::Happening,
    core::jail::Bound,
    journal::events,
    util::{rate::OncePer, time::now},
};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct Happenings {
    pub(super) publisher: PublisherHandle,
    pub(super) counted: Counted,
    crowds: OncePer<(Arc<str>, Bound)>,
    spared: OncePer<IpNet>,
    withheld: OncePer<(Arc<str>, IpNet)>,
    leaks: OncePer<IpNet>,
    /// Bans found in a backlog that had ended before anybody could be told.
    bygone: HashSet<(Arc<str>, IpNet)>,
}

impl Happenings {
    pub(super) fn new(publisher: PublisherHandle) -> Self {
        Self {
            publisher,
            counted: Counted { generation: now(), ..Counted::default() },
            crowds: OncePer::new(60 * MINUTE),
            spared: OncePer::new(MINUTE),
            withheld: OncePer::new(MINUTE),
            leaks: OncePer::new(MINUTE),
            bygone: HashSet::new(),
        }
    }

    /// Something has happened; `backlog`, if what is read was written before the start. True if it was
    /// said.
    pub(super) fn tell(&mut self, happening: Happening, backlog: bool) -> bool {
        if self.is_bygone(&happening, backlog) {
            return false;
        }
        self.counted.count(&happening);
        let may_say = match &happening {
            Happening::Spared { source, .. } => self.spared.may_say(*source),
            Happening::Withheld(ban) => self.withheld.may_say((Arc::clone(&ban.jail), ban.source)),
            Happening::Leaked { ban, .. } => self.leaks.may_say(*ban),
            Happening::Crowded(jail, bound) => self.crowds.may_say((Arc::clone(jail), *bound)),
            _ => true,
        };
        if may_say {
            events::happened(&happening);
            self.publisher.publish(happening, self.counted.generation);
        }
        may_say
    }

    fn is_bygone(&mut self, happening: &Happening, backlog: bool) -> bool {
        match happening {
            Happening::Banned(ban) if backlog && ban.until.is_some_and(|until| until <= now()) => {
                self.bygone.insert((Arc::clone(&ban.jail), ban.source));
                true
            }
            Happening::Unbanned(ban, _) => self.bygone.remove(&(Arc::clone(&ban.jail), ban.source)),
            _ => false,
        }
    }
}
