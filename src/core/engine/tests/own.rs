//! The machine's own addresses.

use super::*;

/// The machine of the lab, as the kernel lists its addresses.
fn own() -> BTreeSet<IpAddr> {
    ["192.0.2.10", "2001:db8:0:1::10", "fe80::10"].map(|address| address.parse().unwrap()).into()
}

#[test]
fn the_machines_own_addresses_are_seen_and_never_banned_and_neighbours_stand_for_themselves() {
    let mut desk = Desk::new(|_| ());
    desk.engine.own(own(), 0, &mut desk.effects);
    for (pid, address) in [(2, "192.0.2.10"), (3, "2001:db8:0:1::10"), (4, "fe80::10%eth0")] {
        for second in 0..20 {
            let effects = desk.wrong_password(second * SECOND, pid, address);
            assert!(matches!(effects[..], [Effect::Failed { ignored: true, .. }]), "{address}: {effects:?}");
        }
    }
    assert_eq!(desk.attack(0, "2001:db8:0:1::20").source, net("2001:db8:0:1::20"));
    assert_eq!(
        desk.attack(2_000 * SECOND, "2001:db8:0:2::20").source,
        net("2001:db8:0:2::/64"),
        "another network is one source"
    );
    let explained = &desk.engine.explain("192.0.2.10".parse().unwrap(), 0)[0];
    assert_eq!(explained.because, "It is never banned: 192.0.2.10 is an address of this machine.");
    for source in ["192.0.2.10", "192.0.2.0/24", "2001:db8::/32", "2001:db8:0:1::10", "fe80::/10"] {
        let refused = desk.engine.ban(&BanOrder::new(net(source), "sshd"), 0, &mut desk.effects).unwrap_err();
        assert!(refused.to_string().contains("is an address of this machine"), "{source}: {refused}");
    }
}

#[test]
fn what_becomes_an_own_address_is_free_again_and_what_it_was_counts_no_more() {
    let mut desk = Desk::new(|_| ());
    let ban = desk.attack(0, "2001:db8:0:1::20");
    assert_eq!(ban.source, net("2001:db8:0:1::/64"), "nobody knows yet");
    for second in 10..14 {
        desk.wrong_password(second * SECOND, 2, "192.0.2.10");
    }
    desk.engine.own(own(), 14 * SECOND, &mut desk.effects);
    let effects = std::mem::take(&mut desk.effects);
    assert!(
        matches!(&effects[..], [Effect::Unbanned(ban, UnbanReason::Own), Effect::Release { .. }] if ban.source == net("2001:db8:0:1::/64"))
    );
    assert!(banned(&desk.wrong_password(15 * SECOND, 2, "192.0.2.10")).is_none());

    // It is in the state: the next start knows before anybody has answered.
    let saved = serde_json::from_slice(&serde_json::to_vec(&desk.engine.save()).unwrap()).unwrap();
    let mut next = Desk::new(|_| ());
    next.engine.load(saved, 20 * SECOND, &mut next.effects);
    let effects = next.wrong_password(20 * SECOND, 2, "192.0.2.10");
    assert!(matches!(effects[..], [Effect::Failed { ignored: true, .. }]));
    // An address that the machine has given back is one like any other.
    next.engine.own(BTreeSet::new(), 21 * SECOND, &mut next.effects);
    assert_eq!(next.attack(2_000 * SECOND, "192.0.2.10").source, net("192.0.2.10"));
    assert_eq!(
        next.engine.jails().map(|jail| jail.source("2001:db8:0:1::20".parse().unwrap())).next(),
        Some(net("2001:db8:0:1::/64"))
    );
}
