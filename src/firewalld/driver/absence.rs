//! What the driver does while nobody owns firewalld's name: it waits for an owner, and finds out
//! whether there is anything for an admin to do.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Driver, Over, phase::Wanted};
use crate::firewalld::{
    State,
    client::Firewalld,
    messages::{ABSENT, NAMELESS, NotRight},
};

/// For how long firewalld may be on its way up before that is said to be a trouble.
const START: Duration = Duration::from_secs(60);
/// When systemd is asked again, at first, at most, and when the admin has been told: the bus may
/// know that firewalld is gone before systemd does.
const FIRST: Duration = Duration::from_millis(30);
const SOON: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(60);
/// For how long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Driver {
    /// Waits for an owner, for a while, and says what is true meanwhile.
    pub(super) async fn absent(&mut self, firewalld: &Firewalld) -> Result<(), Over> {
        if let Some(next) = self.next_question.filter(|next| *next > Instant::now()) {
            return self.wait(Some(next)).await;
        }
        let since = *self.absent_since.get_or_insert_with(Instant::now);
        let asked = timeout(PATIENCE, firewalld.is_coming());
        let coming = self.call(async { Ok(asked.await.unwrap_or(false)) }).await?.unwrap_or(false);
        if self.owner.is_some() {
            return Ok(());
        }
        if coming && since.elapsed() < START {
            self.next_question = Some(Instant::now() + since.elapsed().clamp(FIRST, SOON));
            self.enter(State::Starting);
            return Ok(());
        }
        self.next_question = Some(Instant::now() + LATER);
        let sentence = if coming { NAMELESS } else { ABSENT };
        self.enter(State::Down(sentence.to_owned()));
        self.synced(&Err(match self.wanted {
            Wanted::Nothing => NotRight::TakenOut,
            _ => NotRight::Down(sentence.to_owned()),
        }));
        Ok(())
    }
}
