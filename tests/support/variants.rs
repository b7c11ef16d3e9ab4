//! Recordings as other machines, other configurations and other clients would have made them: the same attempts, with
//! addresses of the other family, and in other words.

use std::net::IpAddr;

use regex::bytes::{Captures, Regex};
use serde_json::Value;

/// Replaces what the first matches by the second, in messages.
type Words = &'static [(&'static str, &'static str)];

/// Recordings, whether their program writes both families of addresses alike, and other words.
pub(crate) const VARIANTS: [(&str, bool, Words); 26] = [
    (
        "postfix-debian13",
        true,
        &[
            (r"unknown\[", "mail-1.host_a.example["),
            ("SASL (?:PLAIN|LOGIN) auth", "SASL SCRAM-SHA-256 auth"),
            (r"^(warning: [^ ]+\]): SASL", "$1:40123: SASL"),
        ],
    ),
    (
        "postfix-debian12",
        true,
        &[("; from=<", "; from=<x> x=<"), (r"^disconnect from ([^ ]+)", "disconnect from $1:40123")],
    ),
    (
        "dovecot-debian13",
        true,
        &[
            ("method=PLAIN", "method=SCRAM-SHA-256-PLUS"),
            ("^imap-login", "managesieve-login"),
            ("lip=192.0.2.10", "lip=2001:db8:ffff::10"),
            (", TLS, session", ", TLS: read(size=593) failed: Connection reset by peer, session"),
        ],
    ),
    (
        "dovecot-debian12",
        true,
        &[
            ("method=PLAIN", "method=OAUTHBEARER"),
            ("Disconnected: [A-Za-z ]+\\(", "Disconnected ("),
            (
                ", TLS, session",
                ", TLS: SSL_read() failed: error:0A000418:SSL routines::tlsv1 alert unknown ca, session",
            ),
        ],
    ),
    (
        "nginx-debian13",
        true,
        &[
            ("server: , ", "server: www.example.org, "),
            ("/etc/nginx/htpasswd", "/srv/www-1/.users@site"),
            ("\"-\" \"-\"$", "\"-\" \"Mozilla/5.0 (X11; Linux x86_64)\" \"-\""),
            ("^vm nginx", "web-1.example.org nginx"),
        ],
    ),
    (
        "apache-debian13",
        true,
        &[
            (":tid [0-9]+\\]", "]"),
            ("Password Mismatch$", "Password Mismatch, referer: http://server.example/"),
            ("^\\[auth_basic", "[Wed Nov 25 07:31:48.123456 2026] [auth_basic"),
        ],
    ),
    (
        "exim-debian13",
        true,
        &[
            ("plain_server auth", "dovecot_login auth"),
            (r"\]: 535", "]:40123 I=[192.0.2.10]:465 Ci=4711: 535"),
            (r" failed for \(", " failed for host-1.example ("),
            ("^([0-9-]{10} [0-9:]{8}) ", "$1.123 +0100 [4711] "),
        ],
    ),
    ("proftpd-debian13", true, &[("^vm ", "ftp-1.example.org ")]),
    (
        "rsyncd-debian13",
        true,
        &[
            (r"UNKNOWN \(", "host-1.example ("),
            ("no matching rule$", "secret not found"),
            ("module priv", "module back up"),
        ],
    ),
    ("vsftpd-debian13", true, &[(r"^pam_unix\(vsftpd:", "pam_unix(ftp:")]),
    ("cockpit-debian13", true, &[]),
    (
        "haproxy-debian13",
        true,
        &[
            (" f f/<NOSRV> 0/-1/-1/-1/0 ", " https-in~ app/web1 0/0/0/+1/+1 "),
            (" - - LR-- ([0-9/]+)/0 0/0 ", " id=1 - --NI $1/+1 0/12 "),
            (r#"\{\} ""#, "\""),
            ("HTTP/1.1\"$", "HTTP/2.0\" 0/0000000000000000/0/0/0 server.example/TLSv1.3/TLS_AES_256_GCM_SHA384"),
        ],
    ),
    (
        "lighttpd-debian13",
        true,
        &[(r"mod_auth\.c\.862", "mod_auth.c.1010"), (" for /private/ user", " for /a b/ user")],
    ),
    ("dropbear-debian13", true, &[(r"\] Nov 25 ", "] Feb  1 ")]),
    ("samba-debian13", false, &[("\"minor\": [0-9]+", "\"minor\": 2"), ("192.0.2.10:445", "192.0.2.10:139")]),
    (
        "squid-debian13",
        true,
        &[("GET http://192.0.2.10/", "CONNECT server.example:443"), ("TCP_DENIED/407", "TCP_DENIED_ABORTED/407")],
    ),
    ("ejabberd-debian13", true, &[(r"\(tls\|", "(http_bind|"), ("c2s PLAIN", "c2s SCRAM-SHA-512-PLUS")]),
    ("postgresql-debian13", true, &[(r"\[unknown\]@\[unknown\] [0-9A-Fa-f:.]+ LOG", "LOG"), (" UTC ", " CET ")]),
    ("slapd-debian13", false, &[(r"qtime=[0-9.]+ etime=[0-9.]+ ", "")]),
    ("monit-debian13", true, &[]),
    ("tinyproxy-debian13", true, &[("descriptor: [0-9]+", "descriptor: 1024")]),
    // Whose last attempt failed otherwise.
    (
        "dovecot-debian13",
        true,
        &[
            ("auth failed, ([0-9]+) att", "sent invalid base64 in response, $1 att"),
            (r"\(auth_failed\)", "(invalid_base64)"),
        ],
    ),
    // With "option httplog clf", "logformat common" and "logformat combined", and pgBadger's log_line_prefix.
    (
        "haproxy-debian13",
        true,
        &[(
            r#"^([^ ]+):([0-9]+) \[([^]]*)\.[0-9]+\] ([^ ]+) ([^ ]+) ([0-9/+-]+) ([0-9]+) ([0-9]+) - - ([^ ]+) [0-9/]+ [0-9/]+ (?:\{([^}]*)\} )?("(?s:.*)")$"#,
            r#"$1 - - [$3 +0000] $11 $7 $8 "" "" $2 234 "$4" "$5" $6 $9 1 1 0 0 0 0 0 "" "" "$10""#,
        )],
    ),
    (
        "squid-debian13",
        true,
        &[(
            r"^[0-9.]+ +[0-9]+ ([^ ]+) ([A-Z_]+)/([0-9]+) ([0-9]+) ([^ ]+) ([^ ]+) (.*) HIER_NONE/- [^ ]+$",
            r#"$1 - $7 [26/Nov/2026:15:17:05 +0100] "$5 $6 HTTP/1.1" $3 $4 $2:HIER_NONE"#,
        )],
    ),
    (
        "squid-debian13",
        true,
        &[(
            r"^[0-9.]+ +[0-9]+ ([^ ]+) ([A-Z_]+)/([0-9]+) ([0-9]+) ([^ ]+) ([^ ]+) (.*) HIER_NONE/- [^ ]+$",
            r#"$1 - $7 [26/Nov/2026:15:17:05 +0100] "$5 $6 HTTP/1.1" $3 $4 "a "b" c" "x" TCP_DENIED_ABORTED:HIER_NONE"#,
        )],
    ),
    (
        "postgresql-debian13",
        true,
        &[
            (
                r"(\[[0-9]+\]) \[unknown\]@\[unknown\] [0-9A-Fa-f:.]+ LOG",
                "$1: [1-1] user=[unknown],db=[unknown],app=[unknown],client=192.0.2.1 LOG",
            ),
            (
                r"(\[[0-9]+\]) ([^ ]*)@([^ ]*) ([0-9A-Fa-f:.]+ )?FATAL",
                "$1: [2-1] user=$2,db=$3,app=[unknown],client=192.0.2.1 FATAL",
            ),
        ],
    ),
];

/// What makes a variant of a recording, ready to use.
pub(crate) struct Variant {
    attackers: Option<Regex>,
    words: Vec<(Regex, &'static [u8])>,
    header: Regex,
}

impl Variant {
    /// `alike`: of the other family of addresses, too.
    pub(crate) fn new(alike: bool, words: Words) -> Self {
        let attackers = r"(?-u)(?:::ffff:)?198\.51\.100\.(?P<last>[0-9]+)|2001:db8:a:(?P<network>[0-9a-f]+)::1";
        let compiled =
            |(from, to): &(&str, &'static str)| (Regex::new(&format!("(?-u){from}")).unwrap(), to.as_bytes());
        Self {
            attackers: alike.then(|| Regex::new(attackers).unwrap()),
            words: words.iter().map(compiled).collect(),
            header: Regex::new(r"(?-u)^<[0-9]+>(?:[A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} )?[^:\[ ]+(?:\[[0-9]+\])?: ")
                .unwrap(),
        }
    }

    /// The attackers' addresses in a text, each as one of the other family.
    fn readdressed(&self, text: &[u8]) -> Vec<u8> {
        match &self.attackers {
            Some(attackers) => attackers.replace_all(text, other).into_owned(),
            None => text.to_vec(),
        }
    }

    /// An attacker's address in the variant.
    pub(crate) fn address(&self, attacker: &str) -> Option<IpAddr> {
        String::from_utf8(self.readdressed(attacker.as_bytes())).ok()?.parse().ok()
    }

    /// A record of the variant.
    pub(crate) fn record(&self, mut entry: Value) -> Value {
        for field in ["MESSAGE", "SYSLOG_RAW"] {
            let mut text = match entry.get(field) {
                Some(Value::String(text)) => text.clone().into_bytes(),
                Some(Value::Array(bytes)) => {
                    bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
                }
                _ => continue,
            };
            // Of the raw text behind its header, and of that without what journald has stripped.
            let head = if field == "MESSAGE" { 0 } else { self.header.find(&text).map_or(0, |header| header.end()) };
            let mut body = text.split_off(head);
            let end = body.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
            let stripped = body.split_off(end);
            for (from, to) in &self.words {
                body = from.replace_all(&body, *to).into_owned();
            }
            entry[field] = [text, self.readdressed(&body), stripped].concat().into();
        }
        entry
    }
}

/// An address of the other family.
fn other(address: &Captures<'_>) -> Vec<u8> {
    let part = |name: &str| address.name(name).map(|part| String::from_utf8_lossy(part.as_bytes()).into_owned());
    match (part("last"), part("network")) {
        (Some(last), _) => format!("2001:db8:b:{last}:a:b:c:d").into_bytes(),
        (_, Some(network)) => format!("203.0.113.{}", u8::from_str_radix(&network, 16).unwrap()).into_bytes(),
        _ => Vec::new(),
    }
}
