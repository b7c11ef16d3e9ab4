use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::*;
use crate::wardend::Known;

const SOURCE: &str = "203.0.113.7/32";

fn source() -> IpNet {
    SOURCE.parse().unwrap()
}

/// An agent with one broker, whose wardend has this source banned by the fleet, or nothing.
fn agent(held: Option<IpNet>) -> (Agent, mpsc::Receiver<Orders>) {
    let (orders, waiting) = mpsc::channel(1);
    let (to_broker, _) = mpsc::channel(16);
    let link = Link { name: "nats://broker.example".to_owned(), orders: to_broker };
    let mut agent = Agent::new("me", Policy::default(), vec![link], orders, Pardons::default());
    let held = held.into_iter().map(|source| (source, now() + 500)).collect();
    agent.happening(Happening::All(Known { held, ..Known::default() }));
    agent.event(0, Event::Up(BTreeSet::new()));
    (agent, waiting)
}

/// The document of a machine that has banned the source.
fn document() -> Vec<u8> {
    let mut own = Own::new(7);
    own.ban(source(), now() + 500, "sshd", 1);
    own.news(now());
    own.document(now())
}

/// What the agent orders now, as if wardend had carried out all of it.
fn ordered(agent: &mut Agent, waiting: &mut mpsc::Receiver<Orders>) -> Orders {
    agent.busy = false;
    agent.compare();
    agent.enter();
    waiting.try_recv().unwrap_or_default()
}

#[test]
fn an_agent_that_starts_releases_nobody_for_want_of_voices() {
    let (mut agent, mut waiting) = agent(Some(source()));
    assert!(ordered(&mut agent, &mut waiting).is_empty(), "it knows nothing yet");
    // The broker is empty: whoever has a document there is on the way to it.
    agent.event(0, Event::Complete);
    assert!(ordered(&mut agent, &mut waiting).is_empty());
    agent.settled_at = Some(Instant::now());
    assert_eq!(ordered(&mut agent, &mut waiting).unban, [source()]);
}

#[test]
fn an_agent_that_starts_releases_whom_somebody_pardons_and_everybody_when_it_leaves() {
    let (mut first, mut waiting) = agent(Some(source()));
    first.fleet.pardon(source(), now() + 500);
    assert_eq!(ordered(&mut first, &mut waiting).unban, [source()]);

    let (mut second, mut waiting) = agent(Some(source()));
    let (reply, _answer) = oneshot::channel();
    second.request(Request::Leave(reply));
    assert_eq!(ordered(&mut second, &mut waiting).unban, [source()]);
}

#[test]
fn what_all_documents_say_is_decided_at_once() {
    let (mut agent, mut waiting) = agent(None);
    for machine in ["a", "b"] {
        agent.event(0, Event::Document(machine.into(), document()));
        assert!(ordered(&mut agent, &mut waiting).is_empty(), "half of it is known");
    }
    agent.event(0, Event::Complete);
    let orders = ordered(&mut agent, &mut waiting);
    assert_eq!(orders.ban.iter().map(|(source, ..)| *source).collect::<Vec<_>>(), [source()]);
    assert!(orders.suspect.is_empty() && orders.unban.is_empty());
}

#[test]
fn the_time_of_news_is_kept_for_what_they_report_only() {
    let (mut agent, _waiting) = agent(None);
    let mut own = Own::new(7);
    own.ban(source(), now() + 500, "sshd", 1);
    own.news(now());
    agent.event(0, Event::Document("a".into(), own.document(now())));
    assert!(agent.heard.is_empty(), "a document is no news");
    let other: IpNet = "203.0.113.8/32".parse().unwrap();
    own.ban(other, now() + 500, "sshd", 1);
    for news in own.news(now()) {
        agent.event(0, Event::News("a".into(), news));
    }
    assert_eq!(agent.heard.keys().copied().collect::<Vec<_>>(), [other]);
}

#[test]
fn what_is_banned_here_stays_said_when_the_clock_is_set() {
    for by in [3600, -3600] {
        let (mut agent, _waiting) = agent(Some(source()));
        let own: IpNet = "203.0.113.8/32".parse().unwrap();
        let until = now() + 5000;
        agent.happening(Happening::Banned(own, Claim { until, jail: "sshd".into(), count: 1 }));
        agent.clock = Clock::set_by(by);
        agent.tick(Instant::now());
        let shifted = until.saturating_add_signed(by);
        assert_eq!(agent.own.bans()[&own].until, shifted);
        assert_eq!(agent.shared.get(&own).and_then(longest).map(|claim| claim.until), Some(shifted));
        assert!(agent.held[&source()].abs_diff(shifted - 4500) <= 1);
        assert!(agent.own.has_news());
    }
}

#[test]
fn whoever_comes_is_answered_soon_and_no_crowd_is_answered_often() {
    let (mut agent, _waiting) = agent(None);
    let usual = agent.heartbeat_at;
    agent.event(0, Event::Document("a".into(), document()));
    agent.event(0, Event::News("a".into(), Own::new(7).heartbeat(now())));
    assert_eq!(agent.heartbeat_at, usual, "it was there before");
    agent.event(0, Event::News("b".into(), Own::new(7).heartbeat(now())));
    let soon = agent.heartbeat_at;
    assert!(soon <= Instant::now() + ANSWER * 2);
    agent.tick(soon);
    assert!(agent.heartbeat_at > soon + HEARTBEAT / 2, "it has answered");
    agent.event(0, Event::News("c".into(), Own::new(7).heartbeat(now())));
    assert!(agent.heartbeat_at >= soon + ANSWER * 3);
}
