//! The loader refuses what does not fit together, and reads what does as it says.

use std::path::Path;

mod framing;
mod kinds;
mod sent;

use super::{Counts, Filter, FilterError, FilterText, Why, Withheld, load::load_within, proof::Work, records::Kinds};
use crate::{
    core::record::{Cursor, FieldId, Fields, Record},
    testing,
};

const HEAD: &str =
    "[records]\n_UID = ['0']\n[message]\nsession = ['_PID']\ntruncated-at = 60\n[modes]\nnormal = ['auth']\n";
const FAILED: &str =
    "[[rule]]\nname = 'failed'\nclass = 'auth'\ncounts = 'failure'\npattern = 'failed <USER> from <ADDR>'\n";

fn load(texts: &[&str]) -> Result<Filter, FilterError> {
    let name = |index: usize| if index == 0 { "x.toml".to_owned() } else { format!("x.d/{index}.toml") };
    let texts: Vec<FilterText> =
        texts.iter().enumerate().map(|(index, text)| FilterText::new(name(index), *text)).collect();
    Filter::load("x", &texts, &mut Fields::default())
}

fn rule(name: &str, counts: &str, pattern: &str) -> String {
    format!("[[rule]]\nname = '{name}'\ncounts = '{counts}'\npattern = '{pattern}'\n")
}

#[test]
fn the_shipped_filter_is_proven_and_reads_its_examples() {
    let text = FilterText::new("filters/sshd.toml", include_str!("../../../../filters/sshd.toml"));
    let filter = Filter::load("sshd", &[text], &mut Fields::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(filter.rules().count(), 39);
    for rule in filter.rules() {
        assert!(rule.class.is_some() || !rule.counts.has_class(), "{}", rule.name);
    }
    assert_eq!(filter.mode("normal").unwrap(), ["auth"]);
}

#[test]
fn each_mistake_is_reported_with_file_line_and_mend() {
    let with = |more: &str| format!("{HEAD}{more}");
    let failed_and = |more: &str| format!("{HEAD}{FAILED}{more}");
    for (text, line, says) in [
        (with("[[rules]]\n"), 8, "unknown field `rules`; did you mean 'rule'?"),
        (with(FAILED) + "patern = 'x'\n", 13, "unknown field `patern`; did you mean 'pattern'?"),
        ("[records]\n_UID = ['0']\n".to_owned(), 1, "missing field `modes`"),
        (with(""), 1, "has no [[rule]]"),
        (with(FAILED).replace("_UID", "_uid"), 1, "'_uid' is not a journal field"),
        (with(FAILED).replace("['0']", "[]"), 1, "_UID has no value"),
        (with(FAILED).replace("_UID", "MESSAGE"), 1, "no trusted field"),
        (
            with(&FAILED.replace("'auth'", "'oath'")),
            10,
            "no mode counts the class 'oath'; name it in [modes] or use one of: auth.",
        ),
        (with(&FAILED.replace("class = 'auth'\n", "")), 9, "needs a class"),
        (failed_and(&rule("in", "success", "in <ADDR>")) + "class = 'auth'\n", 17, "has no class; drop the line"),
        (with(&FAILED.replace("failure", "failing")), 11, "unknown variant `failing`; there are: failure, evidence"),
        (failed_and(FAILED), 14, "a rule 'failed' already, in x.toml"),
        (with(&FAILED.replace("'failed'", "'Failed it'")), 9, "is not a valid rule name"),
        (with(&FAILED.replace("<USER>", "(")), 12, "unclosed group"),
        (with(&FAILED.replace("<USER>", "a)|(b")), 12, "unopened group"),
        (with(&FAILED.replace("<USER>", "<HOSTS>")), 12, "unknown token <HOSTS>; there are <ADDR>"),
        (with(&FAILED.replace("<USER>", "(?:(?:a{900}){900}){900}")), 12, "fewer counted repetitions"),
        (with(&FAILED.replace("<USER>", r"\buser")), 12, "look-around"),
        (with(&FAILED.replace("<ADDR>", "(?:<ADDR>)?")), 12, "can match without its address"),
        (with(&FAILED.replace("<ADDR>", "[<ADDR>]")), 12, "names <ADDR> where it can't match"),
        (with(&FAILED.replace("<ADDR>", "[v1.<ADDR6>]")), 12, "names <ADDR6> where it can't match"),
        (with(&FAILED.replace(" from <ADDR>", "")) + "standalone = true\n", 12, "no session to take an address from"),
        (
            with(&FAILED.replace("failure", "evidence")) + "standalone = true\n",
            9,
            "the rule is standalone; let it count as failure",
        ),
        (
            with(&FAILED.replace("failure", "evidence")).replace("session = ['_PID']\n", ""),
            8,
            "[message] names no session",
        ),
        (with(FAILED) + "standalone = true\nends-session = true\n", 9, "can't end one"),
        (with(&FAILED.replace("failure", "refusal")), 9, "before there is a session; add standalone = true."),
        (
            with(&FAILED.replace("failure", "pending")) + "standalone = true\n",
            9,
            "the rule is standalone; let it count as failure",
        ),
        (with(FAILED) + "gives-up = true\n", 9, "does not end it; add ends-session = true"),
        (with(FAILED) + "after-login = true\n", 9, "has after-login, which is for the evidence of sessions"),
        (
            failed_and(&rule("in", "success", "in <ADDR>")) + "attempt = 'x'\n",
            17,
            "only failures can be views of one attempt",
        ),
        (with(FAILED) + "over = ['failed']\n", 13, "can't go before itself"),
        (with(FAILED) + "over = ['gone']\n", 13, "there is no rule 'gone'; there are: failed."),
        (with(FAILED) + "match = [{ message = 'failed x' }]\n", 13, "is matched by no rule"),
        (with(FAILED) + "match = [{ message = 'failed x from 1.2.3.4' }]\n", 13, "names 1.2.3.4, not nothing"),
        (
            with(FAILED) + "match = [{ message = 'failed x from 1.2.3.4', address = '1.2.3.4', user = 'y' }]\n",
            13,
            "names the user x, not y",
        ),
        (with(FAILED) + "ignore = ['failed x from 1.2.3.4']\n", 13, "which it says it ignores"),
    ] {
        let error = load(&[&text]).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(error.what.contains(says), "{text}\n{error}");
        assert_eq!((error.file.as_str(), error.line), ("x.toml", line), "{text}\n{error}");
        assert!(error.what.ends_with(['.', '?']), "no sentence: {error}");
    }
}

/// What loading takes, in steps, and how it ends.
fn cost(rules: &str) -> (usize, Result<Filter, FilterError>) {
    let mut work = Work::new();
    let text = FilterText::new("x.toml", format!("{HEAD}{rules}"));
    let outcome = load_within("x", &[text], &mut Fields::default(), &mut work);
    (work.spent(), outcome)
}

#[test]
fn the_shipped_filter_takes_a_small_part_of_the_work_that_a_filter_may_take() {
    let mut work = Work::new();
    let text = FilterText::new("filters/sshd.toml", include_str!("../../../../filters/sshd.toml"));
    load_within("sshd", &[text], &mut Fields::default(), &mut work).unwrap();
    println!("{} steps", work.spent());
    assert!((100_000..4_000_000).contains(&work.spent()), "{} steps", work.spent());
}

#[test]
fn a_filter_that_would_take_long_to_prove_is_refused() {
    let large = |index: usize| rule(&format!("r{index}"), "nothing", &format!("{index}: (?:x{{0,30}}y){{0,40}}"));
    let rules: String = (0..40).map(large).collect();
    let error = load(&[&format!("{HEAD}{rules}")]).unwrap_err();
    assert!(error.what.contains("is too large to prove"), "{error}");
    let rules: String = (0..201).map(|index| rule(&format!("r{index}"), "nothing", &format!("{index}:"))).collect();
    let error = load(&[&format!("{HEAD}{rules}")]).unwrap_err();
    assert!(error.what.starts_with("a filter has at most 200 rules"), "{error}");
}

/// Each is small by every other measure.
#[test]
fn what_all_rules_take_together_is_bounded_by_the_steps_and_not_only_by_pairs() {
    let class =
        |first: usize| (first..256).step_by(2).map(|byte| format!("\\x{byte:02x}")).collect::<Vec<_>>().concat();
    let (even, odd) = (class(0), class(1));
    let family = |count: usize, one: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|index| rule(&format!("r{index}"), "nothing", &one(index))).collect()
    };
    for (name, rules) in [
        // Classes of 128 ranges that meet in one byte.
        ("classes", {
            let first = family(6, &|index| format!("{index}..(?:[{even}]+){{200}}X"));
            first + &family(6, &|index| format!("..{index}(?:[{odd}\\x00]+){{200}}Y")).replace("'r", "'s")
        }),
        ("pairs", family(60, &|index| format!("(?:.?){{200}}{index}x"))),
        ("fans", family(150, &|index| format!("{index}: (?:a?){{300}}"))),
        ("texts", family(150, &|index| format!("{index}: [{}]", "acegikmoqsuwy".repeat(700)))),
        ("examples", rule("one", "nothing", "(?:a|b|.c){600}") + &format!("ignore = ['{}']\n", "ab".repeat(300_000))),
    ] {
        let (steps, outcome) = cost(&rules);
        let error = outcome.err().unwrap_or_else(|| panic!("{name}: accepted after {steps} steps"));
        println!("{name}: {error} ({steps} steps)");
        assert!(
            ["too large to prove", "proof of the whole filter takes too long", "too long to check"]
                .iter()
                .any(|what| error.what.contains(what)),
            "{name}: {error}"
        );
        assert!(error.line > 8 && error.what.contains("rule") && error.what.ends_with('.'), "{name}: {error}");
    }
}

#[test]
fn lists_that_are_looked_at_again_and_again_are_bounded() {
    let many = |count: usize| (0..count).map(|index| format!("'{index}'")).collect::<Vec<_>>().join(", ");
    for (text, line, says) in [
        (HEAD.replace("['0']", &format!("[{}]", many(1001))), 1, "[records] has 1001 values"),
        (HEAD.replace("['auth']", &format!("[{}]", many(1001))), 6, "[modes] has 1001 values"),
    ] {
        let error = load(&[&format!("{text}{FAILED}")]).unwrap_err();
        assert!(error.what.starts_with(says), "{error}");
        assert_eq!(error.line, line, "{error}");
    }
    // Two hundred rules that all go before each other, each named a thousand times.
    let over = |index: usize| {
        let names: Vec<String> =
            (0..1000).map(|name| format!("'r{}'", index + 1 + name % (200 - index).max(1))).collect();
        if index == 199 {
            String::new()
        } else {
            format!("over = [{}]\n", names.join(", ").replace("'r200'", "'r199'"))
        }
    };
    let rules: String =
        (0..200).map(|index| rule(&format!("r{index}"), "nothing", &format!("{index}:")) + &over(index)).collect();
    let filter = load(&[&format!("{HEAD}{rules}")]).unwrap();
    assert!(filter.rules().map(|rule| rule.name.to_string()).eq((0..200).map(|index| format!("r{index}"))));
}

#[test]
fn a_message_that_fools_and_is_very_long_is_shown_without_its_middle() {
    let text = HEAD.to_owned() + &FAILED.replace("<USER> from <ADDR>'", "x{1500}<USER> from <ADDR>(?: .*)?'");
    let error = load(&[&text]).unwrap_err().to_string();
    assert!(error.contains("can be fooled: the message \"failed xxx") && error.contains(" bytes) … "), "{error}");
    assert!(error.len() < 1500, "{} bytes", error.len());
}

#[test]
fn a_glob_matches_as_far_as_its_pieces_fit() {
    for (glob, text, matches) in [
        ("ssh.service", "ssh.service", true),
        ("ssh.service", "ssh.service2", false),
        ("ssh@*.service", "ssh@7-10.0.0.1:22.service", true),
        ("ssh@*.service", "ssh@.service", true),
        ("ssh@*.service", "ssh@.socket", false),
        ("*", "", true),
        ("*", "x", true),
        ("a*a", "a", false),
        ("a*b*c", "abbc", true),
        ("a*bc*c", "abc", false),
        ("*a**b", "xaxb", true),
        ("", "", true),
        ("", "x", false),
    ] {
        assert_eq!(super::records::glob_matches(glob.as_bytes(), text.as_bytes()), matches, "{glob} {text}");
    }
    let stars = "a*".repeat(100) + "b";
    assert!(!super::records::glob_matches(stars.as_bytes(), "a".repeat(255).as_bytes()));
}

#[test]
fn a_filter_that_can_be_fooled_is_refused_with_the_message_that_does_it() {
    let alone = HEAD.to_owned() + &FAILED.replace("<ADDR>'", "<ADDR>(?: .*)?'");
    let error = load(&[&alone]).unwrap_err().to_string();
    assert!(error.starts_with("x.toml:12: rule 'failed' is refused because it can be fooled: the message \"failed "));
    assert!(error.contains("\"192.0.2.1\"") && error.contains("\"198.51.100.2\""), "{error}");

    let other = rule("other", "failure", "failed root from <ADDR> from .*") + "class = 'auth'\n";
    let error = load(&[&format!("{HEAD}{FAILED}{other}")]).unwrap_err().to_string();
    assert!(
        error.starts_with("x.toml:16: rules 'failed' and 'other' are refused because together they can be fooled: "),
        "{error}"
    );
}

#[test]
fn rules_that_overlap_must_mean_the_same_or_say_which_goes_first() {
    let git = rule("git", "nothing", "failed git from <ADDR>");
    let error = load(&[&format!("{HEAD}{FAILED}"), &git]).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("x.d/1.toml", 4));
    assert!(error.what.contains("both match the message \"failed git from "), "{error}");
    assert!(error.what.ends_with("if 'git' is to go first there, give it over = [\"failed\"]."), "{error}");

    let first = git.clone() + "over = ['failed']\n";
    let filter = load(&[&format!("{HEAD}{FAILED}"), &first]).unwrap();
    let reading = |message: &'static str| filter.examine(message.as_bytes(), false).unwrap().rule.name.to_string();
    assert_eq!(reading("failed git from 203.0.113.7"), "git");
    assert_eq!(reading("failed root from 203.0.113.7"), "failed");

    let same = rule("same", "failure", "failed git from <ADDR>") + "class = 'auth'\n";
    load(&[&format!("{HEAD}{FAILED}"), &same]).unwrap();

    let circle = format!("{HEAD}{FAILED}over = ['git']\n");
    let error = load(&[&circle, &first]).unwrap_err();
    assert!(error.what.contains("failed, git each go before another in a circle"), "{error}");
}

#[test]
fn a_drop_in_adds_rules_and_masks_single_ones() {
    let main = format!("{HEAD}{FAILED}");
    let extra = rule("extra", "failure", "refused <ADDR>") + "class = 'auth'\n";
    let names = |filter: &Filter| filter.rules().map(|rule| rule.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&load(&[&main, &extra]).unwrap()), ["failed", "extra"]);
    let replace = format!("mask = ['failed']\n{}class = 'auth'\n", rule("failed", "evidence", "gone <ADDR>"));
    let filter = load(&[&main, &replace]).unwrap();
    assert_eq!(filter.rules().next().unwrap().counts, Counts::Evidence);
    assert_eq!(names(&load(&[&main, &extra, "mask = ['extra']\n"]).unwrap()), ["failed"]);

    for (drop_in, line, says) in [
        ("mask = ['faild']\n".to_owned(), 1, "there is no rule 'faild'; did you mean 'failed'?"),
        ("description = 'x'\n".to_owned(), 1, "unknown field `description`"),
        (
            FAILED.to_owned(),
            2,
            "a rule 'failed' already, in x.toml; give this one another name, or mask the other first.",
        ),
        (rule("more", "failure", "failed <USER> from <ADDR> .*") + "class = 'auth'\n", 4, "can be fooled"),
        (
            "mask = ['failed']\n".to_owned() + &rule("in", "success", "in <ADDR>") + "ignore = ['in 1.2.3.4']\n",
            6,
            "says it ignores",
        ),
    ] {
        let error = load(&[&main, &drop_in]).unwrap_err();
        assert!(error.what.contains(says), "{error}");
        assert_eq!((error.file.as_str(), error.line), ("x.d/1.toml", line), "{error}");
    }
    assert!(load(&[&main, "mask = ['failed']\n"]).unwrap_err().what.contains("has no [[rule]]"));
}

#[test]
fn a_message_that_may_have_been_cut_off_gives_no_address_behind_attacker_text() {
    let safe = rule("safe", "failure", "drop <ADDR>: <TEXT>") + "class = 'auth'\n";
    let short = rule("short", "failure", "short <USER> from <ADDR>") + "class = 'auth'\ntruncated-at = 30\n";
    let mut fields = Fields::default();
    let text = FilterText::new("x.toml", format!("{HEAD}{FAILED}{safe}{short}"));
    let filter = Filter::load("x", &[text], &mut fields).unwrap();
    let read = |message: &str, raw: bool| {
        let mut record = testing::of_filter(&filter, &fields, message);
        if raw {
            record.set(FieldId::RAW, b"as it was sent");
        }
        filter.read(&record).unwrap().address.is_some()
    };
    let long =
        |head: &str, tail: &str, length: usize| format!("{head}{}{tail}", "x".repeat(length - head.len() - tail.len()));
    assert!(read(&long("failed ", " from 203.0.113.7", 59), false));
    assert!(!read(&long("failed ", " from 203.0.113.7", 60), false));
    assert!(!read("failed x from 203.0.113.7", true), "what was sent is something else");
    assert!(read(&long("drop 203.0.113.7: ", "", 60), true), "the address stands before all attacker text");
    assert!(read(&long("short ", " from 203.0.113.7", 29), false));
    assert!(!read(&long("short ", " from 203.0.113.7", 30), false), "a rule can have a shorter length");
    let examined = filter.examine(b"failed x from 203.0.113.7", true).unwrap();
    assert!(matches!(examined.withheld, Some(Withheld::Cut(_))));
}

#[test]
fn what_matcher_and_proof_read_is_the_same_language() {
    // Any byte is a character, and no line break ends anything, in either.
    let filter = load(&[&format!("{HEAD}{FAILED}")]).unwrap();
    for user in [&b"a\nb"[..], b"\xff\xfe", b"\r\n", b"\0", "\u{fc}".as_bytes(), b""] {
        let message = [b"failed ", user, b" from 203.0.113.7"].concat();
        let reading = filter.examine(&message, false).unwrap();
        assert_eq!(reading.user, Some(user));
        let pattern = super::pattern::Pattern::expand(reading.rule.pattern(), &super::ClientText::default()).unwrap();
        assert_eq!(pattern.automaton(&mut Work::new()).unwrap().reach(&message), message.len());
    }
}

#[test]
fn a_message_that_no_rule_reads_names_what_is_in_its_way() {
    let text = FilterText::new("sshd", include_str!("../../../../filters/sshd.toml"));
    let filter = Filter::load("sshd", &[text], &mut Fields::default()).unwrap();
    let nearest = |message: &'static str| {
        assert!(filter.examine(message.as_bytes(), false).is_none());
        filter.nearest(message.as_bytes()).map(|nearest| (&*nearest.rule.name, nearest.why))
    };
    for (message, rule, why) in [
        ("Failed password for root from host.example port 1 ssh2", "failed-password", Why::Address(b"host.example")),
        (
            "Nov 23 h sshd[1]: Invalid user x from 1.2.3.4 port 1",
            "invalid-user",
            Why::Surplus(b"Nov 23 h sshd[1]: ", b""),
        ),
        ("Invalid user x from 1.2.3.4 port 1 twice", "invalid-user", Why::Surplus(b"", b" twice")),
        ("Connection opened by 1.2.3.4 port 1", "closed-invalid-user", Why::From(b"opened by 1.2.3.4 port 1")),
        ("Failed password for root", "failed-password", Why::Unfinished),
    ] {
        let (name, reason) = nearest(message).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(reason, why, "{message}");
        assert!(name == rule || matches!(why, Why::From(_)), "{message}: {name}");
    }
    assert!(nearest("Hello").is_none());
}

#[test]
fn the_rules_of_a_directory_are_not_needed_to_read_a_text() {
    let error = FilterText::new(Path::new("/a/b.toml"), "one\ntwo").error(4, "here.");
    assert_eq!(error.to_string(), "/a/b.toml:2: here.");
}

#[test]
fn a_record_without_a_unit_must_prove_whose_it_is() {
    let text = "[records]\n_UID = ['0']\nunits = ['ssh.service']\nsame = ['SYSLOG_PID', '_PID']\n[modes]\nnormal = ['auth']\n[[rule]]\nname = 'a'\nclass = 'auth'\ncounts = 'failure'\npattern = 'from <ADDR>'\n";
    let mut fields = Fields::default();
    let filter = Filter::load("x", &[FilterText::new("x.toml", text)], &mut fields).unwrap();
    let reads = |more: &[(&str, &str)]| {
        let values = [("MESSAGE", "from 203.0.113.7"), ("_UID", "0")].iter().chain(more).copied();
        filter.records.matches(&Record::with(&fields, 0, Cursor::from("c"), values))
    };
    let (unit, pid) = (("_SYSTEMD_UNIT", "ssh.service"), ("_PID", "7"));
    assert!(reads(&[pid, ("SYSLOG_PID", "7")]));
    assert!(reads(&[unit, pid, ("SYSLOG_PID", "7")]));
    assert!(reads(&[unit, pid]));
    assert!(!reads(&[pid]), "logger(1) gives no process number");
    assert!(!reads(&[unit, pid, ("SYSLOG_PID", "8")]));
    assert!(!reads(&[("_SYSTEMD_UNIT", "session-1.scope"), pid, ("SYSLOG_PID", "7")]));
}

fn with_advice(advice: &str) -> Result<Filter, String> {
    let text = format!(
        "{advice}[records]\n_UID = ['0']\n[modes]\nnormal = ['auth']\n[[rule]]\nname = 'a'\nclass = 'auth'\n\
         counts = 'failure'\npattern = 'a <ADDR>'\n"
    );
    Filter::load("x", &[FilterText::new("x.toml", text)], &mut Fields::default()).map_err(|error| error.to_string())
}

#[test]
fn a_filter_names_the_ports_of_its_service_and_how_its_log_comes_into_the_journal() {
    let filter =
        with_advice("ports = ['http', '8443/tcp']\nsetup = 'log = syslog in /etc/x'\nfiles = ['/var/log/x']\n")
            .unwrap();
    assert_eq!(filter.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http", "8443/tcp"]);
    assert_eq!((filter.setup.as_deref(), filter.files.len()), (Some("log = syslog in /etc/x"), 1));
    for (advice, line, what) in [
        ("\nports = ['80']\n", 2, "ports: '80' is neither a service"),
        ("port = ['http']\n", 1, "did you mean 'ports'?"),
        ("setup = ''\n", 1, "write one line of text"),
        ("setup = \"a\\nb\"\n", 1, "write one line of text"),
        ("files = [\n'/x',\n'y']\n", 3, "'y' is not an absolute path"),
    ] {
        let error = with_advice(advice).unwrap_err();
        assert!(error.starts_with(&format!("x.toml:{line}: ")) && error.contains(what), "{advice}: {error}");
    }
}

#[test]
fn in_text_files_the_address_is_taken_that_is_ahead_of_whatever_a_client_writes() {
    let load = |name: &str, text: &str| {
        let texts = [FilterText::new(format!("{name}.toml"), text)];
        Filter::load(name, &texts, &mut Fields::default()).unwrap_or_else(|error| panic!("{error}"))
    };
    let nginx = load("nginx", include_str!("../../../../filters/nginx.toml"));
    let apache = load("apache", include_str!("../../../../filters/apache.toml"));
    let address = |filter: &Filter, message: &str| {
        let (rule, tokens) = filter.find(message.as_bytes(), Kinds::ALL)?;
        let address = filter.address(rule, &tokens, message.len(), false)?.to_string();
        Some((filter.rule(rule).name.to_string(), address))
    };
    let found = |rule: &str| Some((rule.to_owned(), "203.0.113.7".to_owned()));
    let date = "[25/Nov/2026:07:46:14 +0000]";
    for name in ["alice", "", "- - ", "x 10.66.0.1", "10.66.0.1 - x", &format!("- {date}"), "-- [x]"] {
        let line = format!("203.0.113.7 - {name} {date} \"GET / HTTP/1.1\" 401 172 \"-\" \"-\"");
        assert_eq!(address(&nginx, &line), found("unauthorized"), "{line}");
        let line = format!(
            "[Wed Nov 25 07:31:48.123456 2026] [auth_basic:error] [pid 9:tid 8] [client 203.0.113.7:4] AH01618: user {name} \
             not found: /"
        );
        assert_eq!(address(&apache, &line), found("no-such-user"), "{line}");
    }
    let line = format!("203.0.113.7 - - {date} \"GET / HTTP/1.1\" 401 172 \"-\" \"-\"");
    assert_eq!(address(&nginx, &line), found("no-name"), "every browser's first request");
}
