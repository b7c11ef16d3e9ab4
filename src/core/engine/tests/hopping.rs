//! Hosts that hop through a wide IPv6 network.

use super::*;

/// Wrong passwords one a second, each of a connection of its own; the first ban, if there is one.
fn first_ban(desk: &mut Desk, start: Usec, addresses: impl Iterator<Item = String>) -> Option<Ban> {
    for (number, address) in addresses.enumerate() {
        let pid = u32::try_from(10_000 + start / SECOND + number as u64).unwrap();
        let effects = desk.wrong_password(start + number as u64 * SECOND, pid, &address);
        if let Some(ban) = banned(&effects) {
            return Some(ban.clone());
        }
    }
    None
}

/// A number of guesses from each /64 of a /48, in no order.
fn hopper(times: usize) -> impl Iterator<Item = String> {
    (1..2_000u32)
        .flat_map(move |number| std::iter::repeat_n(format!("2001:db8:bad:{:x}::1", number * 40_503 % 65_536), times))
}

#[test]
fn who_hops_through_a_wide_ipv6_network_is_banned_with_it() {
    // All in one /56, four guesses from each /64.
    let mut desk = Desk::new(|_| ());
    let addresses = (0..64).flat_map(|number| std::iter::repeat_n(format!("2001:db8:bad:a{number:02x}::1"), 4));
    let ban = first_ban(&mut desk, 0, addresses).unwrap();
    assert_eq!((ban.source, ban.since), (net("2001:db8:bad:a00::/56"), 14 * SECOND), "the fifteenth guess");
    assert_eq!(ban.failures.len(), 15);
    let explained = &desk.engine.explain("2001:db8:bad:a77::1".parse().unwrap(), 20 * SECOND)[0];
    assert_eq!(
        explained.because,
        "15 failures of 4 of its sources; ipv6-hopping has 56 = 3, maxretry = 5, findtime = 10min. All sources of 2001:db8:bad::/48: 15 of 40 (ipv6-hopping)."
    );

    // All over the /48, so that no /56 has many.
    let mut desk = Desk::new(|_| ());
    let ban = first_ban(&mut desk, 0, hopper(4)).unwrap();
    assert_eq!((ban.source, ban.since), (net("2001:db8:bad::/48"), 39 * SECOND));
    // One guess from each, which might be anybody's typing mistake.
    let mut desk = Desk::new(|_| ());
    let ban = first_ban(&mut desk, 0, hopper(1)).unwrap();
    assert_eq!((ban.source, ban.since), (net("2001:db8:bad::/48"), 159 * SECOND));
    // Up to the ban of each /64.
    let mut desk = Desk::new(|_| ());
    for (number, address) in hopper(5).take(40).enumerate() {
        assert!(!desk.engine.banned().contains(&net("2001:db8:bad::/48")), "{number} guesses");
        let number = u32::try_from(number).unwrap();
        desk.wrong_password(u64::from(number) * SECOND, 100 + number, &address);
    }
    assert_eq!(desk.engine.banned(), [net("2001:db8:bad::/48")], "in place of the narrower ones");

    // IPv4 has no wider networks by default.
    let mut desk = Desk::new(|_| ());
    assert_eq!(first_ban(&mut desk, 0, (1..=250).map(|host| format!("203.0.113.{host}"))), None);
}

#[test]
fn the_customers_of_an_honest_provider_are_not_banned_for_each_others_mistakes() {
    // One typing mistake each, in one findtime: of 59 customers with a /64 each in one /56, of 159 in
    // one /48, of 159 with a /56 each, and of many with a /48 each.
    let providers: [Vec<String>; 4] = [
        (0..59).map(|number| format!("2001:db8:1:a{number:02x}::1")).collect(),
        (0..159).map(|number| format!("2001:db8:1:{:x}::1", number * 401)).collect(),
        (0..159).map(|number| format!("2001:db8:1:{number:x}00::1")).collect(),
        (0..590).map(|number| format!("2001:db8:{number:x}::1")).collect(),
    ];
    for customers in providers {
        let mut desk = Desk::new(|_| ());
        assert_eq!(first_ban(&mut desk, 0, customers.into_iter()), None);
    }
    // Who gets in is forgiven, so with them there may be any number.
    let mut desk = Desk::new(|_| ());
    for number in 0..2_000u32 {
        let (time, address) = (u64::from(number) * SECOND / 10, format!("2001:db8:1:{number:x}::1"));
        assert!(banned(&desk.wrong_password(time, number, &address)).is_none());
        desk.says(time + 1, number, &format!("Accepted password for alice from {address} port 4242 ssh2"));
    }
    // Somebody there is at work: it takes four times as much, and the ban interrupts nobody.
    let start = 300 * SECOND;
    let guesses = (0x1000..0x1400).flat_map(|number| std::iter::repeat_n(format!("2001:db8:1:{number:x}::1"), 4));
    let ban = first_ban(&mut desk, start, guesses).unwrap();
    assert_eq!(
        (ban.source, ban.since),
        (net("2001:db8:1:1000::/56"), start + 14 * SECOND),
        "nobody has come from there"
    );
    let mut desk = Desk::new(|_| ());
    desk.says(0, 1, "Accepted password for alice from 2001:db8:bad:ffff::1 port 4242 ssh2");
    let ban = first_ban(&mut desk, SECOND, hopper(4)).unwrap();
    assert_eq!((ban.source, ban.since, ban.despite), (net("2001:db8:bad::/48"), 160 * SECOND, Some(0)));
}

#[test]
fn one_source_alone_never_has_its_network_banned_and_no_address_that_stands_for_itself_counts() {
    // The failures of connections that were open before the ban.
    let mut desk = Desk::new(|jail| jail.cut = false);
    let guesses = (0..400).map(|_| "2001:db8:bad:1::1".to_owned());
    for (number, address) in guesses.enumerate() {
        desk.wrong_password(number as u64 * SECOND / 2, 100 + u32::try_from(number).unwrap(), &address);
    }
    assert_eq!(desk.engine.banned(), [net("2001:db8:bad:1::/64")]);
    let mut desk = Desk::new(|_| ());
    assert_eq!(first_ban(&mut desk, 0, (0..200).map(|host| format!("fe80::{host:x}"))), None);
    let mut desk = Desk::new(|jail| jail.ignoreip = vec![net("2001:db8:bad:1::1").into()].into());
    assert_eq!(first_ban(&mut desk, 0, hopper(4).take(400)), None, "the /48 holds an ignored address");
    let elsewhere = (0..64).map(|number| format!("2001:db8:bad:a{number:02x}::1"));
    assert_eq!(first_ban(&mut desk, 400 * SECOND, elsewhere).map(|ban| ban.source), Some(net("2001:db8:bad:a00::/56")));
}
