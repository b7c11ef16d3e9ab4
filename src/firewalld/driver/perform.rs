//! One call, and what its reply means for what is known.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Driver, LONGEST_PAUSE, Over,
    phase::{Pause, Phase},
};
use crate::firewalld::{
    State,
    call::{Call, Edit},
    client::{Firewalld, Trouble},
    entry::text,
    messages::{self, NotRight},
};

/// The pause after a failure, doubled each time.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_IF_DENIED: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) async fn perform(&mut self, firewalld: &Firewalld, call: &Call) -> Result<(), Over> {
        let junk = self.plan.is_junk(call);
        self.edited.insert(call.ipset.clone());
        let reply = self.call(firewalld.perform(call)).await?;
        if self.phase.is_stale() {
            // The reply may be from before or after the loss. The resync will tell.
            self.plan.forget();
            return Ok(());
        }
        let trouble = match reply {
            Ok(()) => {
                self.changes += 1;
                self.suspects.remove(&call.subject());
                let news = self.plan.done(self.ms());
                self.report(news);
                return Ok(());
            }
            Err(error) => Trouble::from(&error),
        };
        let trouble = match (trouble, &call.edit) {
            // It may be this entry alone that the kernel does not have.
            (Trouble::Flushed(text), Edit::Remove(_)) => Trouble::Other(text),
            (trouble, _) => trouble,
        };
        match (&trouble, &call.edit) {
            (Trouble::Already, _) => {
                // An entry that is listed but can't be found is still in force: look again.
                if junk {
                    self.phase.doubt();
                }
                let news = self.plan.done(self.ms());
                self.report(news);
                Ok(())
            }
            // The first time it may be our idea of the set that is out of date, or of a whole
            // list a single entry, which comes to light when they are entered one by one.
            (Trouble::Refused(_), _) if self.suspects.insert(call.subject()) => {
                self.plan.failed();
                self.phase.doubt();
                Ok(())
            }
            (Trouble::Refused(reason), Edit::Add(net)) => {
                self.tell(messages::refused(&text(net), reason));
                let news = self.plan.refused();
                self.report(news);
                Ok(())
            }
            (Trouble::Missing | Trouble::Denied | Trouble::Gone | Trouble::Silent, _) => {
                self.plan.forget();
                self.trouble(firewalld, trouble).await
            }
            _ => {
                self.plan.failed();
                self.trouble(firewalld, trouble).await
            }
        }
    }

    pub(super) async fn trouble(&mut self, firewalld: &Firewalld, trouble: Trouble) -> Result<(), Over> {
        if trouble == Trouble::Missing {
            self.phase = Phase::Unknown;
            return self.bootstrap(firewalld).await;
        }
        self.fail(&trouble);
        Ok(())
    }

    /// Down, and for how long nothing is tried.
    pub(super) fn fail(&mut self, trouble: &Trouble) {
        self.phase.lose();
        let is_firm = *trouble == Trouble::Denied;
        let pause =
            if is_firm { PAUSE_IF_DENIED } else { (PAUSE * 2u32.pow(self.failures.min(10))).min(LONGEST_PAUSE) };
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(Pause { until: Instant::now() + pause, is_firm });
        // The bus is about to say who owns firewalld's name, and systemd why nobody does.
        if *trouble == Trouble::Gone && self.failures == 1 {
            return;
        }
        self.enter(State::Down(messages::down(trouble)));
        self.synced(&Err(NotRight::Down(messages::down(trouble))));
    }
}
