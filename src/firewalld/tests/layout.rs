//! What bans close changes: sets and rules that come and go with the jails.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Daemon, all_ports, replace, set};
use crate::{
    core::scope::Scope,
    firewalld::{
        Order, Report, State,
        layout::{IPSETS, Layout},
    },
    stand_in::{Bus, Fake, network},
};

fn ssh() -> Arc<Scope> {
    Arc::new(Scope::new(vec!["ssh".parse().unwrap()], true))
}

#[tokio::test]
async fn a_scope_gets_sets_and_rules_of_its_own_and_loses_them_when_no_jail_has_it() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    let both = vec![(all_ports(), network("203.0.113.7")), (ssh(), network("203.0.113.8"))];
    daemon.order(Order::Replace { scopes: vec![all_ports(), ssh()], list: both });
    daemon.blocked("203.0.113.8").await;
    daemon.blocked("203.0.113.7").await;
    let (ssh4, ssh6) = ("wardend4-sshrejec-", "wardend6-sshrejec-");
    let names = fake.calls(&["addIPSet"]);
    assert!(names[0].contains(ssh4) && names[IPSETS].contains(ssh6) && names.len() == 2 * IPSETS, "{names:?}");
    let rules = fake.calls(&["update"]);
    assert!(rules.len() == 1 && rules[0].contains("service name=\"ssh\" reject"), "{rules:?}");
    assert_eq!(fake.calls(&["reload"]).len(), 1);

    // The one that is in both stays; the scope that is gone goes policy first, without a reload.
    daemon.order(replace(&["203.0.113.7"]));
    let told = |r: &Report| matches!(r, Report::Told(t) if t.contains("no jail uses any longer") && t.contains("wardend4-ssh"));
    daemon.until(told).await;
    assert_eq!(fake.calls(&["reload"]).len(), 1);
    let layout: BTreeSet<String> = Layout::new(&[all_ports()]).names().into_iter().collect();
    assert_eq!(fake.with(|inner| inner.permanent.clone()), layout);
    let rules = fake.calls(&["setPolicySettings"]);
    assert!(rules.len() == 1 && !rules[0].contains("reject"), "{rules:?}");
}

#[tokio::test]
async fn jails_that_change_while_ipsets_are_created_do_not_wait_for_theirs() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    fake.with(|inner| inner.delay = Duration::from_millis(2));
    let made = || fake.calls(&[""]).len();
    let list = vec![(ssh(), network("203.0.113.7"))];
    let before = made();
    daemon.order(Order::Replace { scopes: vec![ssh()], list: list.clone() });
    daemon.blocked("203.0.113.7").await;
    let all = made() - before;
    for calls in (1..all).step_by(6) {
        daemon.order(replace(&["203.0.113.7"]));
        daemon.until(|report| matches!(report, Report::Blocked { scope, .. } if *scope == all_ports())).await;
        let before = made();
        daemon.order(Order::Replace { scopes: vec![ssh()], list: list.clone() });
        while made() < before + calls {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(!daemon.seen.iter().any(|report| matches!(report, Report::State(State::Down(_)))), "{:#?}", daemon.seen);
}

#[tokio::test]
async fn a_service_that_firewalld_does_not_know_is_named_and_holds_up_nothing() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    let scope = Arc::new(Scope::new(vec!["shh".parse().unwrap(), "22/tcp".parse().unwrap()], false));
    let list = vec![(all_ports(), network("203.0.113.7")), (Arc::clone(&scope), network("203.0.113.8"))];
    daemon.order(Order::Replace { scopes: vec![all_ports(), scope], list });
    let text = daemon.down().await;
    assert!(text.contains("not know a service named shh"), "{text}");
    assert_eq!(fake.entries(), set(&["203.0.113.7", "203.0.113.8"]));
}
