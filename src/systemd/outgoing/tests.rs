//! The connection on a real bus, with strangers on it.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proptest::prelude::*;
use tokio::time::sleep;
use zbus::names::BusName;

use super::{head::Head, *};
use crate::stand_in::Bus;

const NAME: &str = "org.freedesktop.login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";
const PATH: &str = "/org/freedesktop/login1";

/// A connection that counts the sessions it hears of.
async fn listening(bus: &Bus) -> (Outgoing, Arc<AtomicU64>) {
    let outgoing = bus.outgoing().await;
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    outgoing
        .listen(NAME, INTERFACE, "SessionNew", move |signal| {
            assert_eq!(signal.body().deserialize::<&str>().unwrap(), "7");
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .await
        .unwrap();
    (outgoing, heard)
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}

#[tokio::test]
async fn signals_of_strangers_are_dropped_and_hold_no_answer_up() {
    let bus = Bus::start();
    let (outgoing, heard) = listening(&bus).await;
    let (logind, stranger) = (bus.connect().await, bus.connect().await);
    logind.request_name(NAME).await.unwrap();
    until(|| outgoing.heard.follow(NAME).0.borrow().is_some()).await;
    let target = BusName::from(outgoing.connection().unique_name().unwrap().to_owned());
    let own = outgoing.clone();
    let flood = tokio::spawn(async move {
        for _ in 0..20_000 {
            stranger.emit_signal(Some(target.clone()), PATH, INTERFACE, "SessionNew", &"7").await.unwrap();
            // Nobody listens to these, whoever they are from.
            stranger
                .emit_signal(Some(target.clone()), PATH, BUS, "NameOwnerChanged", &(NAME, "", ":1.1"))
                .await
                .unwrap();
        }
    });
    let mut answers = 0;
    while !flood.is_finished() {
        within(Duration::from_secs(10), own.ask_bus("GetId", &())).await.unwrap();
        answers += 1;
    }
    flood.await.unwrap();
    assert!(answers > 0);
    logind.emit_signal(None::<BusName<'_>>, PATH, INTERFACE, "SessionNew", &"7").await.unwrap();
    until(|| heard.load(Ordering::Relaxed) == 1).await;
    until(|| outgoing.dropped() >= 40_000).await;
    assert_eq!(heard.load(Ordering::Relaxed), 1);
    assert_eq!(outgoing.heard.follow(NAME).0.borrow().as_deref(), logind.unique_name().map(|name| name.as_str()));

    outgoing.ping();
    until(|| outgoing.answers() == 1).await;
    assert_eq!(outgoing.silence(), Duration::ZERO);
}

#[tokio::test]
async fn the_owner_of_a_name_is_followed_until_the_connection_ends() {
    let bus = Bus::start();
    let outgoing = bus.outgoing().await;
    let first = bus.connect().await;
    first.request_name(NAME).await.unwrap();
    let mut owner = outgoing.follow(NAME).await.unwrap();
    assert_eq!(owner.borrow_and_update().as_deref(), first.unique_name().map(|name| name.as_str()));
    first.release_name(NAME).await.unwrap();
    owner.changed().await.unwrap();
    assert_eq!(*owner.borrow_and_update(), None);
    first.request_name(NAME).await.unwrap();
    owner.changed().await.unwrap();
    assert!(owner.borrow_and_update().is_some());
    drop(bus);
    assert!(owner.changed().await.is_err());
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let never = within(Duration::from_millis(10), std::future::pending::<zbus::Result<()>>());
    assert!(is_timeout(&never.await.unwrap_err()));
}

/// Whoever opens a stream of signals on this connection waits in vain, and on another one would
/// have to read it at all times.
#[test]
fn nobody_opens_a_stream_of_signals() {
    fn look(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Here it is done by hand, and tests play the other side.
                if !path.ends_with("outgoing") {
                    look(&path);
                }
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for word in ["MessageStream", ".receive_owner_changed(", ".receive_all_signals(", ".receive_signal("] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
    for folder in ["bus", "cut", "daemon", "firewalld", "systemd"] {
        look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder));
    }
}

#[test]
fn the_head_of_a_signal_says_who_sent_what() {
    let signal = Message::signal(PATH, INTERFACE, "SessionNew").sender(":1.77");
    let signal = signal.build(&("7", "more")).unwrap();
    let bytes = signal.data();
    let end = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    assert_eq!(Head::read(&bytes[..end]), Some(Head { sender: ":1.77", interface: INTERFACE, member: "SessionNew" }));
    let nobody = Message::signal(PATH, INTERFACE, "SessionNew").build(&"7").unwrap();
    assert_eq!(Head::read(nobody.data()), None);
}

proptest! {
    #[test]
    fn no_head_brings_the_reader_down(mut bytes in prop::collection::vec(any::<u8>(), 0..200), big in any::<bool>()) {
        if let Some(first) = bytes.first_mut() {
            *first = if big { b'B' } else { b'l' };
        }
        let _ = Head::read(&bytes);
        // As a flipped byte of a real one.
        let real = Message::signal(PATH, INTERFACE, "SessionNew").sender(":1.77").build(&"7").unwrap();
        let mut real = real.data().to_vec();
        for (at, byte) in bytes.chunks_exact(2).map(|pair| (pair[0], pair[1])).take(4) {
            let place = usize::from(at) % real.len();
            real[place] = byte;
        }
        let _ = Head::read(&real);
    }
}
