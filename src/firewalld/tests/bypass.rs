//! What is accepted before a ban is asked for.

use super::*;

#[tokio::test]
async fn what_is_accepted_before_a_ban_is_named_until_it_is_gone() {
    const SSH: &str = r#"rule service name="ssh" accept"#;
    let bus = Bus::start();
    let fake = Fake::ready();
    let firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    let early = [
        policy(-15000, "ANY", SSH),
        policy(-32768, "public", "rule accept"),
        policy(-14999, "office", SSH),
        policy(-20000, "ANY", r#"rule family="ipv4" source address="203.0.113.0/24" accept"#),
    ];
    for other in early {
        fake.with(|inner| inner.others.insert("other".to_owned(), other));
        fake.reload(&firewalld).await;
        let found = daemon.until(|report| matches!(report, Report::Bypassed(Some(_)))).await;
        let Report::Bypassed(Some(bypass)) = found else { unreachable!() };
        assert!(bypass.what.contains("policy other (priority -"), "{bypass:?}");
        assert!(bypass.mend.contains("--policy=other"), "{bypass:?}");
        daemon.order(Order::Sync);
        let synced = daemon.until(|report| matches!(report, Report::Synced(_))).await;
        assert!(matches!(synced, Report::Synced(Err(why)) if why.to_string().contains("policy other")));
        fake.with(|inner| inner.others.clear());
        fake.reload(&firewalld).await;
        daemon.until(|report| *report == Report::Bypassed(None)).await;
    }
    fake.with(|inner| inner.forwarded = vec![("2222", "22")]);
    daemon.order(Order::Inspect);
    let seen = daemon.until(|report| matches!(report, Report::Inspected(_))).await;
    let Report::Inspected(inspection) = seen else { unreachable!() };
    let bypass = inspection.bypass.unwrap();
    assert_eq!(inspection.policy, "bypassed");
    assert!(bypass.what.contains("port 2222/tcp to port 22 of this machine (zone public)"), "{bypass:?}");
}

#[tokio::test]
async fn a_backend_with_which_others_may_come_first_is_reported_until_it_is_changed() {
    let bus = Bus::start();
    let fake = Fake::ready();
    fake.with(|inner| inner.iptables = true);
    let firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    let found = daemon.until(|report| matches!(report, Report::Bypassed(Some(_)))).await;
    let Report::Bypassed(Some(bypass)) = found else { unreachable!() };
    assert!(bypass.what.contains("iptables backend"), "{bypass:?}");
    assert!(bypass.mend.contains("FirewallBackend=nftables"), "{bypass:?}");
    fake.with(|inner| inner.iptables = false);
    fake.reload(&firewalld).await;
    daemon.until(|report| *report == Report::Bypassed(None)).await;
}

#[tokio::test]
async fn what_is_accepted_after_a_ban_or_from_friends_or_elsewhere_is_nobodys_business() {
    let bus = Bus::start();
    let fake = Fake::ready();
    fake.with(|inner| {
        let mut disabled = policy(-20000, "ANY", "rule accept");
        disabled.insert("disable".to_owned(), zbus::Variant::from(true).try_to_owned().unwrap());
        let mut to_others = policy(-20000, "ANY", "rule accept");
        to_others.insert("egress_zones".to_owned(), zbus::Variant::from(vec!["ANY"]).try_to_owned().unwrap());
        inner.others = [
            policy(-14998, "ANY", "rule accept"),
            policy(-15000, "ANY", r#"rule family="ipv6" icmp-type name="neighbour-solicitation" accept"#),
            policy(-20000, "dmz", "rule accept"),
            policy(-20000, "ANY", r#"rule family="ipv4" source address="198.51.100.0/24" accept"#),
            policy(-20000, "ANY", r#"rule service name="ssh" drop"#),
            disabled,
            to_others,
        ]
        .into_iter()
        .enumerate()
        .map(|(number, settings)| (format!("other{number}"), settings))
        .collect();
    });
    let _firewalld = fake.serve(&bus).await;
    let mut daemon = Daemon::start(&bus, &["203.0.113.7"]).await;
    daemon.up().await;
    daemon.order(Order::Inspect);
    daemon.until(|report| matches!(report, Report::Inspected(it) if it.policy == "right")).await;
    let bypassed = daemon.seen.iter().any(|report| matches!(report, Report::Bypassed(_)));
    assert!(!bypassed, "{:?}", daemon.seen);
}
