mod all_messages;

use regex::bytes::Regex;

use super::*;
use crate::core::filter::file::{FilterFile, RuleTable};
use crate::core::filter::pattern::Pattern;
use crate::core::filter::tokens::ClientText;

fn alone(pattern: &Automaton) -> Result<Option<Fooled>, ProofError> {
    super::alone(pattern, &mut Work::new())
}

fn together(a: &Automaton, b: &Automaton) -> Result<Option<Fooled>, ProofError> {
    super::together(a, b, &mut Work::new())
}

fn overlap(a: &Automaton, b: &Automaton) -> Result<Option<Vec<u8>>, ProofError> {
    super::overlap(a, b, &mut Work::new())
}

const ADDR: &str = r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z_.-]+)?";

/// Fills in the tokens of a pattern, `address` for `<ADDR>`.
fn fill(pattern: &str, address: &str) -> String {
    pattern
        .replace("<ADDR>", address)
        .replace("<USER>", "(?P<USER>(?s-u:.*))")
        .replace("<ACCOUNT>", "(?P<USER>[^ ]+)")
        .replace("<TEXT>", "(?s-u:.*)")
        .replace("<PORT>", "[0-9]{1,5}")
        .replace("<PRINT>", "(?:SHA256:[A-Za-z0-9+/]{43}|MD5:[0-9a-f:]{47})")
        .replace("<KEY>", "[A-Z0-9-]+ (?:SHA256:[A-Za-z0-9+/]{43}|MD5:[0-9a-f:]{47})")
}

fn automaton(pattern: &str) -> Automaton {
    let filled = fill(pattern, &format!("(?P<ADDR>{ADDR})"));
    Automaton::new(&filled, &mut Work::new()).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

/// Asks the `regex` crate whether a pattern reads a message with the address at a place: what
/// stands before and after `<ADDR>` must match what stands before and after the place. Only for
/// patterns whose address is in no group.
fn reads(pattern: &str, message: &[u8], place: &Range<usize>) -> bool {
    let whole = |part: &str, text: &[u8]| {
        let part = format!(r"(?s-u)\A(?:{})\z", fill(part, ADDR));
        Regex::new(&part).unwrap().is_match(text)
    };
    let (before, after) = pattern.split_once("<ADDR>").unwrap();
    whole(pattern, message)
        && whole(before, &message[..place.start])
        && whole("<ADDR>", &message[place.clone()])
        && whole(after, &message[place.end..])
}

/// The patterns of the rules that are shipped for sshd.
fn rules() -> Vec<(String, Automaton)> {
    let file: FilterFile = toml::from_str(include_str!("../../../../../filters/sshd.toml")).unwrap();
    let of = |rule: &RuleTable| {
        let pattern = Pattern::expand(rule.pattern.get_ref(), &ClientText::default()).unwrap();
        (rule.name.get_ref().clone(), pattern.automaton(&mut Work::new()).unwrap())
    };
    file.rules.iter().map(of).collect()
}

/// What sshd writes, as its sources have it: `<HOST>` is where the address of the peer stands,
/// which may also be a name or `UNKNOWN`. Those without are here because a rule that has an
/// address must not read one out of them.
const FORMATS: &[&str] = &[
    r"Failed (?:password|none|gssapi-with-mic|keyboard-interactive(?:/[a-z]+)?) for (?:invalid user )?<USER> from <HOST> port <PORT> ssh2",
    r"Failed publickey for (?:invalid user )?<USER> from <HOST> port <PORT> ssh2(?:: <KEY>)?",
    r"Failed publickey for invalid user <USER> from <HOST> port <PORT> ssh2: [A-Z0-9-]+(?: <PRINT>)? ID <TEXT> \(serial [0-9]+\) CA <KEY>",
    r"Failed publickey for <ACCOUNT> from <HOST> port <PORT> ssh2: [A-Z0-9-]+(?: <PRINT>)? ID <TEXT> \(serial [0-9]+\) CA <KEY>",
    r"Failed hostbased for invalid user <USER> from <HOST> port <PORT> ssh2: <TEXT>",
    r"Failed hostbased for <ACCOUNT> from <HOST> port <PORT> ssh2: <TEXT>",
    r"Invalid user <USER> from <HOST>(?: port <PORT>)?",
    r"input_userauth_request: invalid user <USER> \[preauth\]",
    r"error: maximum authentication attempts exceeded for (?:invalid user )?<USER> from <HOST> port <PORT> ssh2 \[preauth\]",
    r"Disconnecting (?:(?:authenticating|invalid) user <USER> )?<HOST> port <PORT>: <TEXT> \[preauth\]",
    r"Disconnecting: <TEXT>(?: \[preauth\])?",
    r"(?:Connection (?:closed|reset) by|Disconnected from) (?:(?:authenticating |invalid )?user <USER> )?<HOST> port <PORT>(?: \[preauth\])?",
    r"Connection from (?:(?:authenticating |invalid )?user <USER> )?<HOST> port <PORT> timed out(?: \[preauth\])?",
    r"(?:error: )?Received disconnect from <HOST> port <PORT>:[0-9]+: <TEXT>(?: \[preauth\])?",
    r"User <ACCOUNT> from <HOST> not allowed because <TEXT>",
    r"User <ACCOUNT> not allowed because <TEXT>",
    r"ROOT LOGIN REFUSED FROM <HOST>(?: port <PORT>)?(?: \[preauth\])?",
    r"error: PAM: [A-Za-z ;*/()_-]+ for (?:illegal user )?<USER> from <HOST>",
    r"fatal: Access denied for user <USER> by PAM account configuration \[preauth\]",
    r"Postponed [a-z-]+ for (?:invalid user )?<USER> from <HOST> port <PORT> ssh2 \[preauth\]",
    r"Partial [a-z-]+ for <ACCOUNT> from <HOST> port <PORT> ssh2(?:: <TEXT>)?",
    r"drop connection #[0-9]+ from \[<HOST>\]:<PORT> on \[[^]]*\]:<PORT> [A-Za-z: ]+",
    r"(?:error: )?(?:beginning|in|exited) MaxStartups throttling<TEXT>",
    r"srclimit_penalise: (?:ipv[46]: new )?<HOST>/[0-9]+<TEXT>",
    r"fatal: Timeout before authentication for <HOST> port <PORT>",
    r"Timeout before authentication for connection from <HOST> to [^ ]+, pid = [0-9]+(?: [ ()a-z]+)?",
    r"session process [0-9]+ for connection from <HOST> to [^ ]+ killed by signal [0-9]+[^ ]*",
    r"Session process [0-9]+ unpriv child crash for connection from <HOST> to [^ ]+",
    r"administratively prohibited connection for (?:invalid user )?<USER> from <HOST> port <PORT>",
    r"error: public key <TEXT> signature for (?:invalid user )?<USER> from <HOST> port <PORT> rejected: <TEXT>",
    r"/[^ ]*:[0-9]+: Authentication tried for <ACCOUNT> with correct key but not from a permitted host <TEXT>",
    r"Authentication refused: <TEXT>",
    r"error: (?:Authentication key|Certificate invalid|Refused by key options)<TEXT>",
    r"userauth_pubkey: <TEXT>",
    r"refusing previously-used <TEXT>",
    r"refused connect from <TEXT> \(<HOST>\)",
    r"reverse mapping checking getaddrinfo for <TEXT> \[<HOST>\] failed\.",
    r"Address <HOST> maps to <TEXT>, but this does not map back to the address\.",
    r#"Nasty PTR record "<TEXT>" is set up for <HOST>, ignoring"#,
    r"Did not receive identification string from <HOST> port <PORT>",
    r"Bad protocol version identification '<TEXT>' from <HOST> port <PORT>",
    r"Protocol major versions differ for <HOST> port <PORT>: <TEXT>",
    r"banner exchange: Connection from <HOST> port <PORT>: [A-Za-z ]+(?: \[preauth\])?",
    r"(?:error: )?kex_exchange_identification: <TEXT>",
    r"(?:error: )?kex_protocol_error: <TEXT>",
    r"error: (?:Bad remote protocol version identification|Protocol major versions differ): <TEXT>",
    r"(?:probed|scanned) from <HOST> port <PORT> with <TEXT>\.  Don't panic\.",
    r"(?:fatal: )?Unable to negotiate with <HOST> port <PORT>: no matching [A-Za-z ]+ found\. Their offer: <TEXT>(?: \[preauth\])?",
    r"ssh_dispatch_run_fatal: Connection from (?:(?:authenticating |invalid )?user <USER> )?<HOST> port <PORT>: [A-Za-z ]+(?: \[preauth\])?",
    r"(?:Bad packet length [0-9]+|Corrupted MAC on input|padding error<TEXT>)\.?(?: \[preauth\])?",
    r"fatal: userauth_finish: <TEXT>",
    r"dispatch_protocol_error: type [0-9]+ seq [0-9]+<TEXT>",
    r"Connection from <HOST> port <PORT> on [^ ]+ port <PORT>(?: rdomain <TEXT>)?",
    r"pam_[a-z]+\(sshd:[a-z]+\): (?:check pass; user \(<TEXT>\) unknown|username \[<TEXT>\] obtained|requirement <TEXT>)",
    r"pam_[a-z]+\(sshd:auth\): authentication failure; logname=[a-z]* uid=0 euid=0 tty=ssh ruser= rhost=<HOST>(?: ? user=<TEXT>)?",
    r"pam_unix\(sshd:session\): session (?:opened|closed) for user <TEXT>",
    r#"WARNING: connection from <HOST> port <PORT> is not using a post-quantum key exchange algorithm: "[a-z0-9@.-]+" \[preauth\]"#,
    r"PAM <TEXT>",
    r"Accepted [a-z-]+(?:/[a-z]+)? for <ACCOUNT> from <HOST> port <PORT> ssh2(?:: <TEXT>)?",
    r"Accepted (?:key|certificate) <TEXT>",
    r"Closing connection to <HOST> port <PORT>",
    r"Starting session: <TEXT>",
    r"Close session: <TEXT>",
    r"User child is on pid [0-9]+",
];

fn told(answer: Result<Option<Fooled>, ProofError>) -> String {
    answer.unwrap().map(|fooled| fooled.to_string()).unwrap_or_default()
}

#[test]
fn no_rule_for_sshd_can_be_fooled() {
    let rules = rules();
    for (at, (name, rule)) in rules.iter().enumerate() {
        assert_eq!(told(alone(rule)), "", "{name}");
        for (other_name, other) in &rules[..at] {
            assert_eq!(told(together(rule, other)), "", "{name}, {other_name}");
            // Of these the first goes over the second.
            let ordered = [
                ("pam-error", "pam-error-other"),
                ("pam-error", "pam-error-name"),
                ("pam-error-other", "pam-error-name"),
                ("pam-failure", "pam-failure-name"),
                ("pam-failure-by-hand", "pam-failure-name"),
                ("penalty-login", "penalty-drop"),
            ];
            if ordered.contains(&(other_name.as_str(), name.as_str())) {
                continue;
            }
            let both = overlap(rule, other).unwrap();
            assert_eq!(both.map(|it| it.escape_ascii().to_string()), None, "{name}, {other_name}");
        }
    }
}

#[test]
fn no_rule_reads_a_message_of_sshd_otherwise_than_sshd_wrote_it() {
    let rules = rules();
    for format in FORMATS {
        let written = written(format);
        for (name, rule) in &rules {
            if written.has_address() {
                assert_eq!(told(together(rule, &written)), "", "{name}, {format}");
            } else if rule.has_address() {
                assert_eq!(overlap(rule, &written), Ok(None), "{name}, {format}");
            }
        }
    }
}

/// Sound, but not of use: either another line says the same, or they speak of the innocent.
const SPARE: &[&str] = &[
    r"(?:error: )?Received disconnect from <ADDR> port <PORT>:[0-9]+: <TEXT>",
    r"srclimit_penalise: (?:ipv[46]: new )?<ADDR>/(?:32|128) <TEXT>",
    r"drop connection #[0-9]+ from \[<ADDR>\]:<PORT> on \[[^]]*\]:<PORT> (?:past )?Max[Ss]tartups",
    r"User <ACCOUNT> from <ADDR> not allowed because <TEXT>",
    r"Postponed [a-z-]+ for (?:invalid user )?<USER> from <ADDR> port <PORT> ssh2 \[preauth\]",
    r"Disconnected from user <ACCOUNT> <ADDR> port <PORT>",
    r"Address <ADDR> maps to <TEXT>, but this does not map back to the address\.",
    r"reverse mapping checking getaddrinfo for <TEXT> \[<ADDR>\] failed\.",
    r#"Nasty PTR record "<TEXT>" is set up for <ADDR>, ignoring"#,
];

fn written(format: &str) -> Automaton {
    let filled = fill(format, "").replace("<HOST>", "(?P<ADDR>[^ ]+)");
    Automaton::new(&filled, &mut Work::new()).unwrap_or_else(|error| panic!("{format}: {error}"))
}

#[test]
fn spare_patterns_are_sound_as_well() {
    let formats: Vec<_> = FORMATS.iter().map(|format| (format, written(format))).collect();
    for pattern in SPARE {
        let rule = automaton(pattern);
        assert_eq!(told(alone(&rule)), "", "{pattern}");
        for (format, written) in &formats {
            assert_eq!(told(together(&rule, written)), "", "{pattern}, {format}");
        }
    }
}

#[test]
fn a_sound_pattern_can_still_misread_what_sshd_writes() {
    // Each is proven alone. But sshd has a format of which they know only a part, and in the
    // rest the attacker can write what they look for.
    for (pattern, format) in [
        (
            r"Disconnecting (?:authenticating|invalid) user <USER> <ADDR> port <PORT>: Too many authentication failures \[preauth\]",
            r"Disconnecting (?:(?:authenticating|invalid) user <USER> )?<HOST> port <PORT>: <TEXT> \[preauth\]",
        ),
        (
            r"Failed (?:password|hostbased) for (?:invalid user )?<USER> from <ADDR> port <PORT> ssh2",
            r"Failed hostbased for <ACCOUNT> from <HOST> port <PORT> ssh2: <TEXT>",
        ),
        (
            r"pam_unix\(sshd:auth\): authentication failure; [^<]* rhost=<ADDR>(?:  user=[^ ]*)?",
            r"pam_unix\(sshd:auth\): authentication failure; [a-z=0-9 ]+ rhost=<HOST>  user=<TEXT>",
        ),
    ] {
        let (rule, written) = (automaton(pattern), written(format));
        assert_eq!(told(alone(&rule)), "", "{pattern}");
        assert_ne!(told(together(&rule, &written)), "", "{pattern}");
    }
}

#[test]
fn classic_mistakes_are_refused() {
    for pattern in [
        r".*from <ADDR>.*",
        r".*<ADDR>",
        r"Failed \S+ for .*? from <ADDR>(?: .*)?",
        r"Failed publickey for <USER> from <ADDR> port <PORT> ssh2(?:: .*)?",
        r"Invalid user <USER> from <ADDR>(?: port .*)?",
        r"Invalid user <USER> ?<ADDR>",
        r"User <USER> from <ADDR> not allowed because .*",
        r"Disconnecting (?:authenticating|invalid) user <USER> <ADDR> port <PORT>: <TEXT> \[preauth\]",
        r"pam_unix\(sshd:auth\): authentication failure; .*rhost=<ADDR>(?:\s+user=.*)?",
        r"Bad protocol version identification '<TEXT>' from <ADDR>(?: port <PORT>.*)?",
        r"\[client <ADDR>(?::[0-9]+)?\] denied",
        r"login from <ADDR>[0-9.]*",
        r"lost connection from .*\[?<ADDR>\]?",
        r"login failed, user=<USER>, ip=<ADDR>, agent=<TEXT>",
        r"(?i)login failed for <USER> from <ADDR>(?:,|;|:| ).*",
        r"from <ADDR>(?:%[a-z]+[0-9]*)?",
        r"(?s-u:.)*<ADDR>(?s-u:.)*$",
    ] {
        let fooled = alone(&automaton(pattern)).unwrap();
        let fooled = fooled.unwrap_or_else(|| panic!("{pattern} was proven"));
        assert_ne!(fooled.first, fooled.second, "{pattern}: {fooled}");
        for place in [&fooled.first, &fooled.second] {
            assert!(reads(pattern, &fooled.message, place), "{pattern}: {fooled}");
        }
    }
}

#[test]
fn two_rules_that_contradict_each_other_are_refused() {
    for (one, other) in [
        (r"Failed password for <USER> from <ADDR> port <PORT> ssh2", r"Failed password for root from <ADDR> port .*"),
        (r"Connection closed by .* <ADDR>", r"Connection closed by <ADDR> .*"),
        (r"error: PAM: [a-z ]+ for <USER> from <ADDR>", r"error: PAM: user <ACCOUNT> from <ADDR>: .*"),
        (r"from <ADDR>", r"from [0-9]*<ADDR>"),
    ] {
        let (a, b) = (automaton(one), automaton(other));
        let fooled = together(&a, &b).unwrap().unwrap_or_else(|| panic!("{one}, {other}"));
        assert_ne!(fooled.first, fooled.second);
        assert!(reads(one, &fooled.message, &fooled.first), "{one}, {other}: {fooled}");
        assert!(reads(other, &fooled.message, &fooled.second), "{one}, {other}: {fooled}");
        let back = together(&b, &a).unwrap().unwrap();
        assert!(reads(other, &back.message, &back.first), "{one}, {other}: {back}");
    }
}

#[test]
fn the_author_reads_plain_words() {
    let publickey = r"Failed publickey for <USER> from <ADDR> port <PORT> ssh2(?:: .*)?";
    let fooled = alone(&automaton(publickey)).unwrap().unwrap();
    assert_eq!(
        fooled.to_string(),
        "the message \"Failed publickey for  from 192.0.2.1 port 0 ssh2: from 198.51.100.2 port 0 ssh2\" \
         can be read with the address \"192.0.2.1\" (byte 27) or \"198.51.100.2\" (byte 55)",
    );
}

#[test]
fn what_the_proof_does_not_cover_is_refused() {
    for (pattern, error) in [
        (r"from <ADDR>\b", ProofError::LookAround),
        (r"from \B<ADDR>", ProofError::LookAround),
        (r"(?m)from <ADDR>$", ProofError::LookAround),
        (r"from (?m:^)<ADDR>", ProofError::LookAround),
        (r"from(?: <ADDR>)+", ProofError::Repeated),
        (r"from(?: <ADDR>)*", ProofError::Missing),
        (r"from (?:<ADDR>,){2}", ProofError::Repeated),
        (r"from(?: <ADDR>)?", ProofError::Missing),
        (r"from (?:<ADDR>|UNKNOWN)", ProofError::Missing),
        (r"(?:.{0,200}){0,200}<ADDR>", ProofError::TooLarge),
        (r"(?:[a ]{0,70}){0,70} <ADDR>", ProofError::TooLarge),
        (r"(?:[a ]{0,30}){0,30} <ADDR>", ProofError::TooLarge),
    ] {
        let filled = fill(pattern, &format!("(?P<ADDR>{ADDR})"));
        let answer = Automaton::new(&filled, &mut Work::new()).and_then(|it| alone(&it));
        assert_eq!(answer, Err(error.clone()), "{pattern}");
        assert!(error.to_string().starts_with("the "));
    }
    for broken in ["a)|(?:b", "(", "a{2,1}", "(?P<ADDR>a)(?P<ADDR>b)", r"\p{Greek}"] {
        let error = Automaton::new(broken, &mut Work::new()).unwrap_err();
        assert!(matches!(error, ProofError::Pattern(_)), "{broken}: {error}");
    }
}

#[test]
fn anchors_are_exact() {
    for pattern in [
        r"^from <ADDR>$",
        r"\Afrom <ADDR>\z",
        // What follows the end or precedes the beginning can't match and so can't fool.
        r"from <ADDR>(?:$.*)?",
        r"(?:.*^)?from <ADDR>",
        r"from <ADDR>(?:$| .*)",
    ] {
        assert_eq!(alone(&automaton(pattern)), Ok(None), "{pattern}");
    }
    // A group that can't take part is none.
    assert!(!automaton("from (?:<ADDR>){0}").has_address());
    let empty = Automaton::new("^$", &mut Work::new()).unwrap();
    assert_eq!(overlap(&empty, &Automaton::new("$^", &mut Work::new()).unwrap()), Ok(Some(Vec::new())));
    assert_eq!(overlap(&empty, &Automaton::new("a", &mut Work::new()).unwrap()), Ok(None));
}

#[test]
fn alternatives_with_a_common_prefix_are_all_kept() {
    // The `regex` crate prefers the first alternative; the proof must see the second as well.
    let fooled = |pattern| alone(&Automaton::new(pattern, &mut Work::new()).unwrap()).unwrap().is_some();
    assert!(fooled("(?:a|ab)(?P<ADDR>b?c)"));
    assert!(fooled("(?:sam|samwise)(?P<ADDR>[a-z]+)"));
    assert!(fooled("(?:|x)(?P<ADDR>x?)x?"));
    assert!(!fooled("(?:a|b)(?P<ADDR>c)"));
}
