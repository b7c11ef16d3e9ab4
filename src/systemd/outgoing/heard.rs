//! What is listened to, and whose word counts.
//!
//! The bus says who has sent a signal by the unique name, which nobody can choose. So the owners of
//! the followed names are kept here, as the bus tells of them, and a signal counts if it is from one
//! of them. Nothing here waits: it runs while the connection is read.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use zbus::Message;

use super::{BUS, Owner, head::Head};

type Hear = Box<dyn Fn(&Message) + Send + Sync>;

struct Ear {
    interface: &'static str,
    member: &'static str,
    hear: Hear,
}

struct Followed {
    owner: watch::Sender<Owner>,
    /// The bus has told of a change, so an answer of before is out of date.
    told: bool,
    ears: Vec<Ear>,
}

/// The followed names, with what is listened to.
#[derive(Default)]
pub(super) struct Heard {
    names: Mutex<HashMap<&'static str, Followed>>,
    dropped: AtomicU64,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names().keys()).finish()
    }
}

impl Heard {
    fn names(&self) -> MutexGuard<'_, HashMap<&'static str, Followed>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner of a name; and whether nobody has followed it before.
    pub(super) fn follow(&self, name: &'static str) -> (watch::Receiver<Owner>, bool) {
        let mut names = self.names();
        let new = !names.contains_key(name);
        let followed = names.entry(name).or_insert_with(|| Followed {
            owner: watch::channel(None).0,
            told: false,
            ears: Vec::new(),
        });
        (followed.owner.subscribe(), new)
    }

    /// What the bus has answered when it was asked for the owner.
    pub(super) fn found(&self, name: &str, owner: &Owner) {
        if let Some(followed) = self.names().get_mut(name).filter(|followed| !followed.told) {
            followed.owner.send_if_modified(|known| std::mem::replace(known, owner.clone()) != *owner);
        }
    }

    pub(super) fn listen(&self, name: &str, interface: &'static str, member: &'static str, hear: Hear) {
        if let Some(followed) = self.names().get_mut(name) {
            followed.ears.push(Ear { interface, member, hear });
        }
    }

    /// Whether a signal is to be read at all.
    pub(super) fn wants(&self, head: &Head<'_>) -> bool {
        let wanted = if head.sender == BUS {
            head.interface == BUS && head.member == "NameOwnerChanged"
        } else {
            self.names().values().any(|followed| followed.hears(head))
        };
        if !wanted {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        wanted
    }

    /// Takes in a signal that is wanted.
    pub(super) fn hear(&self, message: &Message) {
        let header = message.header();
        let (Some(sender), Some(interface), Some(member)) = (header.sender(), header.interface(), header.member())
        else {
            return;
        };
        let head = Head { sender: sender.as_str(), interface: interface.as_str(), member: member.as_str() };
        if head.sender == BUS {
            if let Ok((name, _, new)) = message.body().deserialize::<(&str, &str, &str)>()
                && let Some(followed) = self.names().get_mut(name)
            {
                followed.told = true;
                followed.owner.send_replace((!new.is_empty()).then(|| new.to_owned()));
            }
            return;
        }
        for followed in self.names().values().filter(|followed| followed.hears(&head)) {
            for ear in followed.ears.iter().filter(|ear| ear.is_for(&head)) {
                (ear.hear)(message);
            }
        }
    }

    /// Nothing more will be heard: the connection is gone.
    pub(super) fn close(&self) {
        self.names().clear();
    }

    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Followed {
    fn hears(&self, head: &Head<'_>) -> bool {
        self.owner.borrow().as_deref() == Some(head.sender) && self.ears.iter().any(|ear| ear.is_for(head))
    }
}

impl Ear {
    fn is_for(&self, head: &Head<'_>) -> bool {
        self.interface == head.interface && self.member == head.member
    }
}
