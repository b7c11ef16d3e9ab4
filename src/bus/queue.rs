//! The queue in which callers wait for what is dear: a long answer, a look at firewalld, a look at
//! who they are.
//!
//! Every local user may call, as often as the bus allows, and the bus forwards all of it. So only
//! a few are served at a time, each until its answer has been handed to the bus, and the others
//! wait as bare calls. One connection has one turn in the queue, however many calls it makes: who
//! asks once has to wait for one call of each of the others, and not for thousands of one of them.
//! And a call costs kilobytes while it waits, so no connection may have many of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zbus::{Signature, Type, message::Header, names::UniqueName};

use super::socket::Load;
use crate::contract::error::Error;

/// The number of queued calls of one connection; further ones are refused.
const CALLS: usize = 32;
/// The number of connections beyond which those that wait for nothing are forgotten.
const MANY: usize = 256;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    load: Arc<Load>,
    served: Arc<Semaphore>,
    /// Whose turn it is among the calls of one connection.
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A turn at the head of the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _served: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Queue {
    /// The number that are served at a time.
    pub(super) fn new(served: usize, load: Arc<Load>) -> Self {
        Self { load, served: Arc::new(Semaphore::new(served)), turns: Mutex::default() }
    }

    /// Waits until it is this caller's turn.
    pub(super) async fn wait(&self, header: &Header<'_>) -> Result<Turn, Error> {
        self.wait_as(header.sender().map_or("", UniqueName::as_str)).await
    }

    /// As [`Self::wait`], for whoever wants an answer: without that, there is nothing to do.
    pub(super) async fn wait_for_answer(&self, header: &Header<'_>) -> Result<Turn, Error> {
        if header.primary().flags().contains(zbus::message::Flags::NO_REPLY_EXPECTED) {
            return Err(Error::Failed("Nobody waits for the answer.".to_owned()));
        }
        self.wait(header).await
    }

    async fn wait_as(&self, sender: &str) -> Result<Turn, Error> {
        let stopping = |_| Error::Failed("wardend is stopping.".to_owned());
        let turn = self.turn(sender);
        // Each that waits or is served has a share in it.
        if Arc::strong_count(&turn) > CALLS {
            return Err(Error::LimitsExceeded(format!(
                "{CALLS} calls of this connection wait already; wait for their answers first."
            )));
        }
        let _waiting = self.load.waits();
        let turn = turn.acquire_owned().await.map_err(stopping)?;
        let served = Arc::clone(&self.served).acquire_owned().await.map_err(stopping)?;
        Ok(Turn { _served: served, _turn: turn })
    }

    fn turn(&self, sender: &str) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(sender).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= MANY {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(sender.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// An answer that keeps its turn in the queue until it is sent: zbus drops it then. On the bus it
/// is the bare answer.
#[derive(Debug)]
pub(crate) struct QueuedAnswer<T> {
    pub(crate) answer: T,
    _turn: Option<Turn>,
}

impl<T> QueuedAnswer<T> {
    pub(super) fn new(answer: T, turn: Turn) -> Self {
        Self { answer, _turn: Some(turn) }
    }
}

impl<T: Serialize> Serialize for QueuedAnswer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.answer.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for QueuedAnswer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { answer: T::deserialize(deserializer)?, _turn: None })
    }
}

impl<T: Type> Type for QueuedAnswer<T> {
    const SIGNATURE: &'static Signature = T::SIGNATURE;
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_thousand_calls_of_one_connection_hold_up_nobody_else_for_more_than_one() {
        let queue = Queue::new(1, Arc::default());
        let first = now(queue.wait_as(":1.1")).unwrap().unwrap();
        let mut greedy: Vec<_> = (0..1000).map(|_| Box::pin(queue.wait_as(":1.1"))).collect();
        let mut context = Context::from_waker(Waker::noop());
        let waiting = greedy.iter_mut().filter_map(|call| match call.as_mut().poll(&mut context) {
            Poll::Pending => Some(()),
            Poll::Ready(refused) => {
                assert!(matches!(refused, Err(Error::LimitsExceeded(_))));
                None
            }
        });
        assert_eq!(waiting.count(), CALLS - 1);
        let mut other = pin!(queue.wait_as(":1.2"));
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(first);
        // The next of the many has its turn at most before the other.
        if let Poll::Ready(second) = greedy[0].as_mut().poll(&mut context) {
            drop(second);
        }
        assert!(other.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn an_answer_keeps_its_place_until_it_is_dropped() {
        let queue = Queue::new(1, Arc::default());
        let answer = QueuedAnswer::new(7, now(queue.wait_as(":1.1")).unwrap().unwrap());
        assert!(now(queue.wait_as(":1.2")).is_none());
        drop(answer);
        assert!(now(queue.wait_as(":1.2")).is_some());
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let queue = Queue::new(1, Arc::default());
        for number in 0..10 * MANY {
            drop(now(queue.wait_as(&format!(":1.{number}"))).unwrap());
        }
        assert!(queue.turns.lock().unwrap().len() <= MANY);
    }
}
