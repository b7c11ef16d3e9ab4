//! Several kinds of records in one filter, users by name, and what a message says of counts and sessions.

use crate::core::filter::{Filter, FilterError, FilterText};
use crate::core::record::{Cursor, Fields, Record};

const RULES: &str = "[modes]\nnormal = ['auth']\n";

fn load(texts: &[&str], fields: &mut Fields) -> Result<Filter, FilterError> {
    let texts: Vec<FilterText> =
        texts.iter().enumerate().map(|(index, text)| FilterText::new(format!("{index}.toml"), *text)).collect();
    Filter::load("x", &texts, fields)
}

fn refused(text: &str) -> String {
    load(&[text], &mut Fields::default()).map(|filter| format!("{filter:?}")).unwrap_err().to_string()
}

fn rule(name: &str, more: &str, pattern: &str) -> String {
    format!("[[rule]]\nname = '{name}'\nclass = 'auth'\ncounts = 'failure'\n{more}pattern = '{pattern}'\n")
}

fn record(fields: &Fields, values: &[(&str, &str)]) -> Record {
    Record::with(fields, 0, Cursor::from("c"), values.iter().copied())
}

#[test]
fn a_rule_reads_the_kinds_of_records_that_it_names() {
    let text = format!(
        "[records]\n_TRANSPORT = ['syslog']\n[records.main]\n_UID = ['7']\nPRIORITY = ['6']\n[records.pam]\n_UID = \
         ['0']\nSYSLOG_IDENTIFIER = ['auth']\n{RULES}{}{}{}",
        rule("main", "records = ['main']\n", "main <ADDR>"),
        rule("pam", "records = ['pam']\n", "pam <ADDR>"),
        rule("both", "", "both <ADDR>"),
    );
    let mut fields = Fields::default();
    let filter = load(&[&text, "[records.pam]\nSYSLOG_IDENTIFIER = ['auth-worker']\n"], &mut fields).unwrap();
    let read = |values: &[(&str, &str)], message: &str| {
        let mut values = values.to_vec();
        values.extend([("MESSAGE", message), ("_TRANSPORT", "syslog")]);
        let record = record(&fields, &values);
        filter.records.matches(&record).then(|| Some(filter.read(&record)?.address?.to_string()))
    };
    let (main, pam) = ([("_UID", "7"), ("PRIORITY", "6")], [("_UID", "0"), ("SYSLOG_IDENTIFIER", "auth-worker")]);
    let address = Some(Some("192.0.2.1".to_owned()));
    assert_eq!(read(&main, "main 192.0.2.1"), address);
    assert_eq!(read(&main, "pam 192.0.2.1"), Some(None), "what a user of the other kind writes");
    assert_eq!(read(&pam, "pam 192.0.2.1"), address);
    assert_eq!(read(&pam, "main 192.0.2.1"), Some(None));
    assert_eq!((read(&main, "both 192.0.2.1"), read(&pam, "both 192.0.2.1")), (address.clone(), address));
    assert_eq!(read(&[("_UID", "7"), ("PRIORITY", "5")], "main 192.0.2.1"), None, "the same, told once more");
}

/// Where one kind is sure of a record, a kind that has only not been contradicted is not asked.
#[test]
fn what_one_kind_is_certain_of_is_not_read_as_anothers() {
    let text = format!(
        "[records.own]\n_UID = ['7']\n[records.root]\n_UID = ['7', '0']\nunits = ['x.service']\n{RULES}{}",
        rule("root", "records = ['root']\n", "x <ADDR>"),
    );
    let mut fields = Fields::default();
    let filter = load(&[&text], &mut fields).unwrap();
    let read = |values: &[(&str, &str)]| {
        let mut values = values.to_vec();
        values.push(("MESSAGE", "x 192.0.2.1"));
        filter.read(&record(&fields, &values)).is_some()
    };
    assert!(read(&[("_UID", "0"), ("_SYSTEMD_UNIT", "x.service")]));
    assert!(read(&[("_UID", "7"), ("_SYSTEMD_UNIT", "x.service")]));
    assert!(!read(&[("_UID", "7")]), "it may have come from anywhere, and 'own' takes it");
    assert!(read(&[("_UID", "0")]), "held back until the process is known");
}

#[test]
fn a_unit_that_is_asked_for_must_be_there_and_may_have_any_instance() {
    let text = format!("[records]\n_SYSTEMD_UNIT = ['pg@*.service']\n{RULES}{}", rule("a", "", "x <ADDR>"));
    let mut fields = Fields::default();
    let filter = load(&[&text], &mut fields).unwrap();
    let matches = |values: &[(&str, &str)]| filter.records.matches(&record(&fields, values));
    assert!(matches(&[("_SYSTEMD_UNIT", "pg@17-main.service")]));
    assert!(!matches(&[("_SYSTEMD_UNIT", "other@17.service")]) && !matches(&[]));
    assert!(filter.records.may_come_from("pg@17-main.service") && !filter.records.may_come_from("other.service"));
}

#[test]
fn users_are_known_by_their_names_where_they_are_there() {
    let text = format!("[records]\n_UID = ['mailer', 'nobody-has-it', '5']\n{RULES}{}", rule("a", "", "x <ADDR>"));
    let mut fields = Fields::default();
    let mut filter = load(&[&text], &mut fields).unwrap();
    let uid = |filter: &Filter, uid: &str| filter.records.matches(&record(&fields, &[("_UID", uid)]));
    assert!(uid(&filter, "5") && !uid(&filter, "101"));
    filter.know_users(|name| (name == "mailer").then_some(101));
    assert!(uid(&filter, "5") && uid(&filter, "101") && !uid(&filter, "0"));
    let users: Vec<_> = filter.users().iter().map(|(name, number)| (name.as_str(), *number)).collect();
    assert_eq!(users, [("mailer", Some(101)), ("nobody-has-it", None)]);
}

#[test]
fn a_message_tells_how_many_failures_it_is_and_of_which_session() {
    let text = format!(
        "[records]\n_UID = ['0']\n[message]\nsession = ['_PID']\n{RULES}{}{}",
        rule("count", "", "failed <COUNT> times from <ADDR>"),
        rule("session", "", "conn=<SESSION> failed <TEXT>"),
    );
    let mut fields = Fields::default();
    let filter = load(&[&text], &mut fields).unwrap();
    let read = |message: &str| {
        let record = record(&fields, &[("_PID", "9"), ("MESSAGE", message)]);
        let sighting = filter.read(&record).unwrap();
        (sighting.times, sighting.session.unwrap().into_string())
    };
    assert_eq!(read("failed 3 times from 192.0.2.1"), (3, "9".to_owned()));
    assert_eq!(read("failed 0 times from 192.0.2.1").0, 0);
    assert_eq!(read("failed 999999 times from 192.0.2.1").0, 100, "no number bans by itself");
    assert_eq!(read("conn=1000 failed conn=7 failed x"), (1, "9/1000".to_owned()));
}

/// Whoever tries a name that nobody has is banned at the first try, if the rule weighs enough.
#[test]
fn a_rule_can_weigh_more_than_another() {
    let text = format!(
        "[records]\n_UID = ['0']\n{RULES}{}{}",
        rule("failed", "", "failed <USER> from <ADDR>"),
        rule("failed-root", "weight = 5\nover = ['failed']\n", "failed root from <ADDR>"),
    );
    let mut fields = Fields::default();
    let filter = load(&[&text], &mut fields).unwrap();
    let times = |message: &str| filter.read(&record(&fields, &[("MESSAGE", message)])).unwrap().times;
    assert_eq!((times("failed x from 192.0.2.1"), times("failed root from 192.0.2.1")), (1, 5));
}

#[test]
fn mistakes_in_kinds_tokens_and_advice_are_reported_with_their_mend() {
    let records = "[records]\n_UID = ['0']\n";
    let named = "[records.main]\n_UID = ['0']\n";
    for (text, says) in [
        (format!("{records}{RULES}{}", rule("a", "records = ['main']\n", "x <ADDR>")), "write a table [records.NAME]"),
        (
            format!("{named}{RULES}{}", rule("a", "records = ['min']\n", "x <ADDR>")),
            "no records 'min'; there are: main.",
        ),
        (format!("[records.main]\nPRIORITY = ['6']\n{RULES}"), "[records.main]: no trusted field"),
        (format!("[records.Main]\n_UID = ['0']\n{RULES}"), "not a valid name for a kind"),
        (format!("[records]\n_UID = '0'\n{RULES}"), "expected a list of values"),
        (format!("[records]\n_UID = ['-1']\n{RULES}"), "_UID has '-1'; write the number of a user"),
        (
            format!("{records}{RULES}{}", rule("a", "", "<USER> conn=<SESSION> <ADDR>")),
            "name the session of somebody else",
        ),
        (format!("{records}{RULES}{}", rule("a", "", "conn=<SESSION> <ADDR>")), "names no session"),
        (format!("{records}{RULES}{}", rule("a", "attempt = 'x'\n", "x <USER>")), "no session to take an address from"),
        (format!("{records}{RULES}{}", rule("a", "begins-session = true\n", "x <ADDR>")), "can't begin one"),
        (format!("{records}{RULES}{}", rule("a", "weight = 0\n", "x <ADDR>")), "write a number from 1 to 100"),
        (
            format!(
                "{records}{RULES}{}",
                rule("a", "weight = 2\n", "x <ADDR>").replace("failure", "nothing").replace("class = 'auth'\n", "")
            ),
            "only failures have a weight",
        ),
        (format!("ports = ['25/x']\n{records}{RULES}{}", rule("a", "", "x <ADDR>")), "ports: "),
        (format!("maxretry = {{ scan = 3 }}\n{records}{RULES}{}", rule("a", "", "x <ADDR>")), "no mode 'scan'"),
        (format!("maxretry = {{ normal = 0 }}\n{records}{RULES}{}", rule("a", "", "x <ADDR>")), "from 1 to 1000"),
    ] {
        let error = refused(&text);
        assert!(error.contains(says), "{says}: {error}");
        assert!(error.ends_with('.'), "{error}");
    }
    let text = format!("{named}{RULES}{}", rule("a", "", "x <ADDR>"));
    let drop_in = |more: &str| load(&[&text, more], &mut Fields::default()).unwrap_err().to_string();
    assert!(drop_in("[records.mian]\n_UID = ['1']\n").contains("no records 'mian'"));
    assert!(drop_in("[records.main]\nframing = 'lines'\n").contains("can't say how records are made"));
}

/// One kind may escape what another does not; each is proven by its own description.
#[test]
fn each_kind_is_proven_by_its_own_framing() {
    let text = |file: &str, rule_records: &str| {
        format!(
            "[records]\n_UID = ['0']\n[records.daemon]\n_TRANSPORT = ['syslog']\n[records.file]\n_TRANSPORT = \
             ['stdout']\n{file}{RULES}{}{}",
            rule("error", rule_records, "error: user <USER> from <ADDR>"),
            rule("access", "", "<ADDR> \"<QUOTED>\" 401"),
        )
    };
    let error = refused(&text("framing = 'lines'\nclient-text = '<QUOTED>'\n", ""));
    assert!(error.contains("becomes the records"), "{error}");
    let sound = text("framing = 'lines'\nclient-text = '<QUOTED>'\n", "records = ['daemon']\n");
    let filter = load(&[&sound], &mut Fields::default()).unwrap();
    let claims: Vec<_> = filter.claims().map(|(token, what, _)| format!("{what} ({token})")).collect();
    assert!(claims.iter().any(|claim| claim.contains("a record of each line (framing of records.file)")), "{claims:?}");
    assert!(
        claims.iter().any(|claim| claim.contains("each message (framing of records.daemon, by default)")),
        "{claims:?}"
    );
}
