use proptest::prelude::*;

use super::*;

fn cursor() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u128..3, any::<u32>(), 0u128..2, any::<u32>(), any::<u64>()).prop_map(|(s, i, b, m, x)| {
            format!("s={s:032x};i={i:x};b={b:032x};m={m:x};t=660eb2795ddcd;x={x:x}")
        }),
        1 => Just("s=1;i=2".to_owned()),
        1 => Just("s=00;i=2;b=3;m=4;t=5;x=6".to_owned()),
        1 => ".{0,12}",
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    let address = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    let time = prop_oneof![Just(0x0006_60eb_2795_ddcd), any::<u64>(), 0u64..5];
    let rule = prop_oneof![Just("failed-password".to_owned()), ".{0,20}"];
    let user = proptest::option::of(prop_oneof![Just("root".to_owned()), ".{0,40}"]);
    let kind = prop::sample::select(vec![Kind::Attempt, Kind::Refusal, Kind::Ban]);
    (address, time, rule, user, cursor(), kind).prop_map(|(address, time, rule, user, cursor, kind)| Failure {
        address,
        time,
        rule: rule.into(),
        user: user.map(Into::into),
        cursor: Cursor::from(cursor),
        kind,
    })
}

#[test]
fn what_has_been_counted_is_named_as_what_it_is() {
    let words = |kinds: &[Kind]| {
        let all = kinds.iter().map(|kind| Failure { kind: *kind, ..Failure::sample(0) });
        all.collect::<Vec<_>>().iter().collect::<Failures>().words()
    };
    assert_eq!(words(&[Kind::Attempt]), "1 failure");
    assert_eq!(words(&[Kind::Ban; 3]), "3 bans");
    assert_eq!(words(&[Kind::Attempt, Kind::Attempt, Kind::Ban]), "2 failures and 1 ban");
    assert_eq!(words(&[Kind::Attempt, Kind::Refusal]), "1 failure and 1 refused connection");
}

#[test]
fn a_further_attempt_of_the_same_kind_takes_little_space() {
    let at = |number: u64| Failure {
        address: [203, 0, 113, 7].into(),
        time: 1_795_412_957_978_061 + number * 2_000_000,
        rule: "failed-password".into(),
        user: Some("root".into()),
        cursor: Cursor::from(format!(
            "s=28444e2dcb874e5c9b78c69e2373aee2;i={:x};b=2f912356a2424dec8328a1f012cbcb78;m={:x};t={:x};x=4d22aba33f9e4886",
            0xf2 + number * 7,
            0x6eca_7496 + number * 2_000_000,
            1_795_412_957_978_061 + number * 2_000_000,
        )),
        kind: Kind::Attempt,
    };
    let all: Vec<Failure> = (0..5).map(at).collect();
    let (one, five) = (all[..1].iter().collect::<Failures>(), all.iter().collect::<Failures>());
    assert!(one.0.len() < 90, "{}", one.0.len());
    assert!(five.0.len() - one.0.len() <= 4 * 20, "{}", five.0.len() - one.0.len());
}

proptest! {
    #[test]
    fn what_is_packed_comes_out_as_it_was(all in proptest::collection::vec(failure(), 0..12)) {
        let mut list = Failures::default();
        for failure in &all {
            list.push(failure);
        }
        prop_assert_eq!(&list, &all.iter().collect::<Failures>());
        prop_assert_eq!(list.iter().collect::<Vec<_>>(), all.clone());
        let saved = serde_json::to_string(&list).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Failures>(&saved).unwrap(), &list);
        prop_assert_eq!(list.pop(), all.last().cloned());
        prop_assert_eq!(list.len(), all.len().saturating_sub(1));
    }

    #[test]
    fn a_clock_that_was_set_moves_the_times_and_not_the_cursors(
        all in proptest::collection::vec(failure(), 0..6), by in -1_000_000i64..1_000_000,
    ) {
        let mut list: Failures = all.iter().collect();
        list.shift(by);
        for (moved, failure) in list.iter().zip(&all) {
            prop_assert_eq!(moved.time, failure.time.saturating_add_signed(by));
            prop_assert_eq!(moved.cursor, failure.cursor.clone());
        }
    }

    #[test]
    fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(list) = Failures::unpack(bytes) {
            let all: Vec<Failure> = list.iter().collect();
            prop_assert_eq!(all.iter().collect::<Failures>().len(), all.len());
        }
    }
}
