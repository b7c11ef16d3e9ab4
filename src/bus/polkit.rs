//! Who may change something: root, the daemon's own user, and whoever polkit says.
//!
//! Where polkit is not on the bus only root may, as firewalld does it. The own user is the unit's:
//! `ExecReload=` runs wardenctl as it, and whoever is this user could steer the daemon anyway.
//!
//! The bus lets a connection wait for 128 answers at most, and the firewall asks over the same one. So
//! callers stand in queues here: a flood of calls, or of questions for a password that nobody
//! answers, must not keep a single ban from firewalld. Root stands in no queue but that in which it
//! is found out who is root.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;
use zbus::{
    Connection,
    message::{Flags, Header},
};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::{
    caller::caller,
    queue::{Queue, Turn},
    socket::Load,
};
use crate::contract::error::Error;

/// The number of callers that are looked up at a time; the others wait for some milliseconds.
const LOOKUPS: usize = 16;
/// The number of concurrent polkit checks that need no password.
const CHECKS: usize = 16;
/// The number of queued calls that expect no reply: the bus only limits the others.
const SILENT: usize = 128;
/// The most orders in one call that waits for a password.
const LONG_LIST: usize = 1000;
/// The number of concurrent password prompts, per user and in total.
const QUESTIONS: usize = 4;
const ALL_QUESTIONS: usize = 32;

/// The queue, and the open questions of each user.
#[derive(Debug)]
pub(super) struct Authority {
    own: Option<Connection>,
    load: Arc<Load>,
    lookups: Queue,
    checks: Queue,
    silent: Semaphore,
    questions: Mutex<HashMap<u32, usize>>,
}

/// An open question; it ends with this.
struct Question<'a> {
    authority: &'a Authority,
    user: u32,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut open = self.authority.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

impl Authority {
    /// Who may do what is asked over this connection.
    pub(super) fn new(own: Option<Connection>, load: &Arc<Load>) -> Self {
        let (lookups, checks) = (Queue::new(LOOKUPS, Arc::clone(load)), Queue::new(CHECKS, Arc::clone(load)));
        Self {
            own,
            load: Arc::clone(load),
            lookups,
            checks,
            silent: Semaphore::new(SILENT),
            questions: Mutex::default(),
        }
    }

    /// Checks that the caller may do `action` (`org.wardend1.ban`, …), and returns their user ID. polkit's
    /// rules see the details.
    pub(super) async fn check(
        &self,
        header: &Header<'_>,
        action: &str,
        details: &[(&str, &str)],
    ) -> Result<u32, Error> {
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        self.authorize(header, action, details, interactive).await
    }

    /// As [`Self::check`], for many orders in one call. A long list takes much memory, so it does not wait
    /// for somebody to find the password.
    pub(super) async fn check_many(
        &self,
        header: &Header<'_>,
        action: &str,
        details: &[(&str, &str)],
        orders: usize,
    ) -> Result<u32, Error> {
        if orders <= LONG_LIST {
            return self.check(header, action, details).await;
        }
        match self.authorize(header, action, details, false).await {
            Err(Error::NotAuthorized(text)) => Err(Error::NotAuthorized(format!(
                "{text} A list of more than {LONG_LIST} entries does not wait for a password."
            ))),
            outcome => outcome,
        }
    }

    /// Whether the caller may do `action`, without asking anybody for a password.
    pub(super) async fn allows(&self, header: &Header<'_>, action: &str) -> bool {
        self.authorize(header, action, &[], false).await.is_ok()
    }

    async fn authorize(
        &self,
        header: &Header<'_>,
        action: &str,
        details: &[(&str, &str)],
        interactive: bool,
    ) -> Result<u32, Error> {
        let sender = header.sender().ok_or_else(|| Error::NotAuthorized("The call has no sender.".to_owned()))?;
        let _silent = if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            let full = |_| Error::LimitsExceeded("Too many calls wait that want no answer.".to_owned());
            Some(self.silent.try_acquire().map_err(full)?)
        } else {
            None
        };
        let own = self.own.as_ref().ok_or_else(|| {
            Error::NotAuthorized("Authorization can't be checked: there is no bus connection.".to_owned())
        })?;
        let turn = self.lookups.wait(header).await?;
        // In boxes: thousands may wait in the queue, and what comes later needs room only then.
        let (user, may_do_all) = Box::pin(caller(own, sender.clone())).await?;
        drop(turn);
        if may_do_all {
            return Ok(user);
        }
        // Somebody may take minutes to answer, and shall not hold up those in the queue.
        let _waits: (Option<Question<'_>>, Option<Turn>) = if interactive {
            let question = self.question(user)?;
            self.load.lighten(header);
            (Some(question), None)
        } else {
            (None, Some(self.checks.wait(header).await?))
        };
        Box::pin(ask_polkit(own, header, action, details, interactive)).await?;
        Ok(user)
    }

    fn question(&self, user: u32) -> Result<Question<'_>, Error> {
        let mut open = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= ALL_QUESTIONS || open.get(&user).copied().unwrap_or(0) >= QUESTIONS {
            return Err(Error::LimitsExceeded(
                "Too many calls wait for somebody to authenticate; answer or cancel those first.".to_owned(),
            ));
        }
        *open.entry(user).or_default() += 1;
        Ok(Question { authority: self, user })
    }
}

async fn ask_polkit(
    own: &Connection,
    header: &Header<'_>,
    action: &str,
    details: &[(&str, &str)],
    interactive: bool,
) -> Result<(), Error> {
    let flags =
        if interactive { CheckAuthorizationFlags::ALLOW_USER_INTERACTION } else { CheckAuthorizationFlags::empty() };
    let subject = Subject::new_for_message_header(header).map_err(|error| Error::NotAuthorized(format!("{error}.")))?;
    let authority = AuthorityProxy::new(own).await?;
    let details: HashMap<&str, &str> = details.iter().copied().collect();
    match authority.check_authorization(&subject, action, &details, flags, "").await.map_err(zbus::fdo::Error::from) {
        Ok(result) if result.is_authorized => Ok(()),
        Ok(result) if result.is_challenge => Err(Error::NotAuthorized(format!(
            "Authentication as an administrator is needed for {action}; run the command as root or with sudo."
        ))),
        Ok(_) => Err(Error::NotAuthorized(format!("You are not authorized for {action}; run the command as root."))),
        Err(zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_)) => Err(Error::NotAuthorized(
            format!("Without polkit only root is authorized for {action}; run the command as root or with sudo."),
        )),
        Err(error) => Err(Error::NotAuthorized(format!("polkit could not be asked about {action}: {error}."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_take_all_questions_for_themselves() {
        let authority = Authority::new(None, &Arc::default());
        let mut open: Vec<Question<'_>> = (0..QUESTIONS).map(|_| authority.question(1000).ok().unwrap()).collect();
        assert!(matches!(authority.question(1000), Err(Error::LimitsExceeded(_))));
        open.extend(
            (1001..1008)
                .flat_map(|user| (0..QUESTIONS).map(move |_| user))
                .map(|user| authority.question(user).ok().unwrap()),
        );
        assert_eq!(open.len(), ALL_QUESTIONS);
        assert!(authority.question(2000).is_err());
        open.clear();
        assert!(authority.question(1000).is_ok());
        assert!(authority.questions.lock().unwrap().is_empty(), "an answered question is forgotten");
    }
}
