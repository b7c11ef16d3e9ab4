//! firewalld that is not there yet, or no longer.

use super::*;

#[tokio::test]
async fn while_firewalld_is_on_its_way_up_nobody_is_asked_to_start_it() {
    for (state, job) in [("active", ""), ("activating", "start"), ("deactivating", "restart"), ("inactive", "start")] {
        let bus = Bus::start();
        let _systemd = systemd(&bus, state, job).await;
        let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
        sleep(Duration::from_millis(700)).await;
        let fake = Fake::ready();
        let firewalld = fake.serve(&bus).await;
        daemon.up().await;
        assert!(!daemon.seen.iter().any(|r| matches!(r, Report::State(State::Down(_)))), "{state}: {:?}", daemon.seen);
        // And the same at a restart of it.
        drop(firewalld);
        daemon.until(|report| *report == Report::State(State::Starting)).await;
        let _firewalld = fake.serve(&bus).await;
        daemon.up().await;
        assert!(!daemon.seen.iter().any(|r| matches!(r, Report::State(State::Down(_)))), "{state}: {:?}", daemon.seen);
    }
}

#[tokio::test]
async fn a_firewalld_that_nobody_has_started_is_reported_until_it_is_met() {
    for (state, job) in [("inactive", ""), ("failed", ""), ("deactivating", "stop"), ("deactivating", "")] {
        let bus = Bus::start();
        let _systemd = systemd(&bus, state, job).await;
        let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
        assert!(daemon.down().await.contains("systemctl start firewalld"));
        // Whoever asks for it to be right does not wait for it.
        daemon.order(Order::Sync);
        daemon
            .until(|report| matches!(report, Report::Synced(Err(why)) if why.to_string().contains("not running")))
            .await;
        let fake = Fake::ready();
        let _firewalld = fake.serve(&bus).await;
        // It has the bans before it has been looked at closely, and is not down meanwhile.
        daemon.until(|report| *report == Report::State(State::Starting)).await;
        daemon.blocked("203.0.113.7").await;
        daemon.up().await;
    }
}

#[tokio::test]
async fn firewalld_may_start_late_and_restart() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    assert!(daemon.down().await.starts_with("firewalld is not running"));
    daemon.block("203.0.113.8");
    let firewalld = fake.serve(&bus).await;
    daemon.blocked("203.0.113.8").await;
    daemon.up().await;

    firewalld.close().await.unwrap();
    assert!(daemon.down().await.contains("systemctl start firewalld"));
    daemon.block("203.0.113.9");
    daemon.release("203.0.113.8");
    fake.with(Inner::load);
    let firewalld = fake.serve(&bus).await;
    daemon.up().await;
    assert_eq!(fake.entries(), set(&["203.0.113.7", "203.0.113.9"]));

    // And while a call is in flight.
    fake.with(|inner| inner.delay = Duration::from_secs(5));
    daemon.block("203.0.113.10");
    sleep(Duration::from_millis(300)).await;
    firewalld.close().await.unwrap();
    daemon.down().await;
    fake.with(|inner| {
        inner.delay = Duration::ZERO;
        inner.load();
    });
    let _firewalld = fake.serve(&bus).await;
    daemon.up().await;
    assert_eq!(fake.entries(), set(&["203.0.113.7", "203.0.113.9", "203.0.113.10"]));
}

#[tokio::test]
async fn rules_that_are_gone_from_the_kernel_take_a_restart_of_firewalld() {
    let bus = Bus::start();
    let fake = Fake::ready();
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &[]).await;
    daemon.up().await;
    let text = "COMMAND_FAILED: 'python-nftables' failed: internal:0:0-0: Error: No such file or directory\n\nJSON";
    fake.with(|inner| inner.faults.push_back(("addEntry", exception(text))));
    daemon.block("203.0.113.7");
    let why = daemon.down().await;
    assert!(why.contains("systemctl restart firewalld") && !why.contains("JSON"), "{why}");
    daemon.blocked("203.0.113.7").await;
}
