//! Messages that journald has not stored as they were sent.

use super::{FAILED, HEAD, rule};
use crate::{
    core::{
        filter::{Filter, FilterText},
        record::{FieldId, Fields},
    },
    testing,
};

#[test]
fn a_message_is_read_as_it_was_sent() {
    let pam = rule("pam", "failure", "pam: <USER> <ADDR> ") + "class = 'auth'\n";
    let mut fields = Fields::default();
    let text = FilterText::new("x.toml", format!("{HEAD}{FAILED}{pam}"));
    let filter = Filter::load("x", &[text], &mut fields).unwrap();
    let read = |raw: &str, message: &str| {
        let mut record = testing::message(&fields, message);
        record.set(FieldId::RAW, raw.as_bytes());
        filter.read(&record).map(|sighting| sighting.address.map(|address| address.to_string()))
    };
    let is = |address: &str| Some(Some(address.to_owned()));
    let head = "<30>Nov 25 07:38:24 x[7]: ";
    let failed = "failed x from 203.0.113.7";
    assert_eq!(read(&format!("{head}{failed}\n"), failed), is("203.0.113.7"), "a program that ends its messages");
    assert_eq!(read(&format!("{head}pam: x 203.0.113.7 "), "pam: x 203.0.113.7"), is("203.0.113.7"));
    // What is no more than blanks behind a forged end may have been cut off there.
    assert_eq!(read(&format!("{head}{failed}  "), failed), Some(None));
    assert_eq!(read(&format!("{head}{failed}\n\n"), failed), Some(None));
    assert_eq!(read(&format!("{head}{failed}\0 and more"), failed), Some(None), "a zero byte ends it");
    assert_eq!(read("", failed), Some(None));
    let long = format!("failed {} from 203.0.113.7", "x".repeat(34));
    assert_eq!(read(&format!("{head}{long}\n"), &long), is("203.0.113.7"));
    let long = format!("failed {} from 203.0.113.7", "x".repeat(35));
    assert_eq!((long.len(), read(&format!("{head}{long}\n"), &long)), (59, Some(None)), "60 bytes were sent");
}

#[test]
fn a_line_break_at_the_end_changes_neither_the_rule_nor_the_user() {
    let rules = [
        rule("empty", "nothing", "login <ADDR>: none") + "over = ['named']\n",
        rule("named", "failure", "login <ADDR>: <USER>") + "class = 'auth'\n",
        rule("broken", "failure", "login <ADDR>: x\\ny\\n") + "class = 'auth'\nover = ['named']\n",
    ];
    let mut fields = Fields::default();
    let text = FilterText::new("x.toml", format!("{HEAD}{}", rules.concat()));
    let filter = Filter::load("x", &[text], &mut fields).unwrap();
    let read = |end: &str, stripped: &str| {
        let message = format!("login 203.0.113.7: {end}");
        let mut record = testing::message(&fields, &message);
        if !stripped.is_empty() {
            record.set(FieldId::RAW, format!("<30>x[7]: {message}{stripped}").as_bytes());
        }
        let sighting = filter.read(&record).unwrap();
        let user = sighting.user.map(|user| String::from_utf8_lossy(user).into_owned());
        (filter.rule(sighting.rule).name.to_string(), user, sighting.address.is_some())
    };
    let named = |user: &str| ("named".to_owned(), Some(user.to_owned()), true);
    for stripped in ["", "\n"] {
        assert_eq!(read("none", stripped), ("empty".to_owned(), None, true), "{stripped:?}");
        assert_eq!(read("root", stripped), named("root"), "{stripped:?}");
    }
    assert_eq!(read("none", "\n\n"), named("none\n"), "one line break is the program's, the other is not");
    assert_eq!(read("none", " "), named("none "));
    assert_eq!(read("x\ny", "\n"), ("broken".to_owned(), None, true), "a rule may ask for the line break");
}
