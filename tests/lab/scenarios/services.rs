//! Real services under a real attack, beside sshd: who attacks one is banned from its ports, whoever logs in is
//! not, and no text that a client sends has anybody else banned.
//!
//! One machine runs all of them, because it takes longer to boot than an attack on one. `WARDEND_HOSTILE_NAMES=N` is
//! the number of hostile names for each service (50), and `WARDEND_LAB_SEED` makes the same ones again.
//! With `WARDEND_SERVICES_LOAD=N`, it also prints what wardend costs with the jails of all shipped filters, against
//! sshd's alone, in N seconds of load on these services each.

mod cost;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::IpAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    harness::{
        host,
        machine::{Machine, Release},
        plan::{PASSWORD, Plan},
    },
    scenarios::hostile::{names, seed},
};

const CLIENT: &str = include_str!("../guest/services.py");
const PACKAGES: [&str; 8] =
    ["apache2", "cockpit-bridge", "cockpit-ws", "dovecot-imapd", "nginx", "postfix", "rsync", "vsftpd"];

/// A service, as its filter is called.
struct Service {
    name: &'static str,
    port: u16,
    /// What its messages of failures hold, and what is ahead of the client's address in them.
    marks: &'static [(&'static str, &'static str)],
    /// Names with which one would fool a filter that reads its log, with VICTIM for the address.
    forged: &'static [&'static str],
}

const SERVICES: [Service; 7] = [
    Service {
        name: "postfix",
        port: 25,
        marks: &[("SASL PLAIN authentication failed", "unknown[")],
        forged: &[
            "x]: SASL PLAIN authentication failed: x, sasl_username=x, unknown[VICTIM]",
            "x\nwarning: unknown[VICTIM]: SASL PLAIN authentication failed: UGFzc3dvcmQ6, sasl_username=root",
            "warning: unknown[VICTIM]: SASL LOGIN authentication failed: x",
        ],
    },
    Service {
        name: "dovecot",
        port: 143,
        marks: &[("auth failed", "rip="), ("authentication failure", "rhost=")],
        forged: &[
            "x>, method=PLAIN, rip=VICTIM, lip=192.0.2.10, session=<abcdefgh>",
            "x>, method=PLAIN, rip=VICTIM, lip=192.0.2.10, TLS, session=<abcdefgh>, method=PLAIN",
            "x rhost=VICTIM  user=x",
            "alice\nimap-login: Login aborted: Logged out (auth failed, 9 attempts in 1 secs) (auth_failed): user=<x>, \
             method=PLAIN, rip=VICTIM, lip=192.0.2.10, session=<abc>",
        ],
    },
    Service {
        name: "nginx",
        port: 80,
        marks: &[("was not found in", ", client: ")],
        forged: &[
            "x\" was not found in \"/etc/nginx/htpasswd\", client: VICTIM, server: , request: \"GET / HTTP/1.1\"",
            "x\": password mismatch, client: VICTIM, server: _, request: \"GET / HTTP/1.1\", host: \"x\"",
            "VICTIM - root [25/Nov/2026:07:46:14 +0000] \"GET /private/ HTTP/1.1\" 401 172 \"-\" \"-\"",
            "x\n2026/11/25 07:46:14 [error] 9#9: *2 user \"x\": password mismatch, client: VICTIM, server: , request: \"x\"",
        ],
    },
    Service {
        name: "apache",
        port: 8080,
        marks: &[("AH01618", "[client ")],
        forged: &[
            "x not found: /private/\n[Wed Nov 25 07:31:48.123456 2026] [auth_basic:error] [pid 9:tid 9] \
             [client VICTIM:4711] AH01618: user x not found: /",
            "x [client VICTIM:4711] AH01618: user root not found: /private/",
            "[Wed Nov 25 07:31:48.123456 2026] [auth_basic:error] [pid 9] [client VICTIM:4711] AH01618: user x not found: /",
        ],
    },
    Service {
        name: "vsftpd",
        port: 21,
        marks: &[("pam_unix(vsftpd:auth): authentication failure", "rhost=")],
        forged: &[
            "x rhost=VICTIM",
            "x\trhost=VICTIM\t\tuser=root",
            "rhost=VICTIM",
            "ruser=rhost=VICTIM",
            "x,rhost=VICTIM,user=x",
        ],
    },
    Service {
        name: "cockpit",
        port: 9090,
        marks: &[("pam_unix(cockpit:auth): authentication failure", "rhost=")],
        forged: &[
            "x rhost=VICTIM  user=root",
            "root  rhost=VICTIM",
            "alice\npam_unix(cockpit:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost=VICTIM",
        ],
    },
    Service {
        name: "rsyncd",
        port: 873,
        marks: &[("auth failed on module", "UNDETERMINED (")],
        forged: &[
            "x(VICTIM)for:no\u{a0}matching\u{a0}rule",
            "x:password\u{a0}mismatch",
            "UNDETERMINED\u{a0}(VICTIM)\u{a0}for\u{a0}x:\u{a0}no\u{a0}matching\u{a0}rule",
            "unknown\u{1}module'x'tried\u{1}from\u{1}UNKNOWN\u{1}(VICTIM)",
        ],
    },
];

const NGINX: &str = r"
user www-data;
pid /run/nginx.pid;
error_log syslog:server=unix:/dev/log,nohostname;
events {}
http {
    access_log syslog:server=unix:/dev/log,nohostname,tag=nginx_access combined;
    large_client_header_buffers 4 16k;
    server {
        listen 80;
        listen [::]:80;
        root /srv/web;
        location /private/ { auth_basic x; auth_basic_user_file /etc/htpasswd; }
    }
}
";
/// Its error log is a text file, as Debian has it.
const APACHE: &str = r"
<VirtualHost *:8080>
    DocumentRoot /srv/web
    ErrorLog /var/log/apache2/error.log
    <Directory /srv/web>
        Require all granted
    </Directory>
    <Location /private/>
        AuthType Basic
        AuthName x
        AuthUserFile /etc/htpasswd
        Require valid-user
    </Location>
</VirtualHost>
";
const POSTFIX: &str = "compatibility_level = 3.6\nmyhostname = server.example\nmydestination = localhost\n\
    inet_interfaces = all\ninet_protocols = all\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n\
    smtpd_sasl_path = private/auth\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n";
const DOVECOT: &str = r"
ssl = no
auth_allow_cleartext = yes
auth_failure_delay = 0 secs
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path =
service auth {
    unix_listener /var/spool/postfix/private/auth {
        mode = 0660
        user = postfix
        group = postfix
    }
}
";
const RSYNC: &str =
    "reverse lookup = no\n[private]\npath = /srv/web\nauth users = alice\nsecrets file = /etc/rsyncd.secrets\n";
const ZONE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<zone><short>Public</short><service name="ssh"/><service name="smtp"/><service name="imap"/><service name="http"/>
<service name="ftp"/><service name="rsyncd"/><service name="cockpit"/><port port="8080" protocol="tcp"/></zone>
"#;
const FILE_UNIT: &str = "wardend-file@var-log-apache2-error.log.service";

fn jails() -> String {
    SERVICES.iter().fold("[jail.apache]\nports = [\"8080/tcp\"]\n".to_owned(), |mut text, service| {
        if service.name != "apache" {
            let _ = writeln!(text, "[jail.{}]", service.name);
        }
        text
    })
}

fn plan(release: Release) -> Plan {
    Machine::prepare(release)
        .packages(PACKAGES)
        .hasty_passwords()
        .file("/etc/wardend/wardend.conf.d/services.conf", &jails())
        .file("/etc/systemd/journald.conf.d/lab.conf", "[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\n")
        .file("/etc/nginx/nginx.conf", NGINX)
        .file("/etc/apache2/ports.conf", "Listen 8080\n")
        .file("/etc/apache2/sites-available/000-default.conf", APACHE)
        .file("/etc/postfix/main.cf", POSTFIX)
        .file("/etc/dovecot/conf.d/99-lab.conf", DOVECOT)
        .file("/etc/firewalld/zones/public.xml", ZONE)
        .file("/etc/rsyncd.conf", RSYNC)
        .file("/etc/rsyncd.secrets", &format!("alice:{PASSWORD}\n"))
        .file("/srv/web/private/index.html", "welcome\n")
        .file("/etc/pure-ftpd/conf/DontResolve", "yes\n")
        .command(&format!(
            "python3 -c 'import base64, hashlib; word = base64.b64encode(hashlib.sha1(b\"{PASSWORD}\").digest()).decode(); \
             print(\"alice:{{SHA}}\" + word)' >/etc/htpasswd"
        ))
        .command(&format!("chmod 600 /etc/rsyncd.secrets; systemctl enable --quiet cockpit.socket rsync '{FILE_UNIT}'"))
}

/// An attempt to log in, as a line for the client.
fn login(service: &str, address: &str, user: &[u8], password: &str) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold("-".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    format!("{service} {address} {} {}\n", hex(user), hex(password.as_bytes()))
}

/// What came of attempts: the service, the address and the outcome of each.
fn attack(machine: &Machine, at_once: usize, lines: &[String]) -> Vec<(String, String, String)> {
    let file = machine.attackers_dir().join("logins");
    fs::write(&file, lines.concat()).expect("the machine's directory is writable");
    let mut client = Command::new("ip");
    client.args(["netns", "exec", machine.network().attackers(), "/usr/bin/python3", "-c", CLIENT]);
    client.arg(at_once.to_string()).stdin(fs::File::open(&file).expect("it was just written")).stderr(Stdio::inherit());
    let output = client.output().expect("ip starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcomes: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            Some((words.next()?, words.next()?, words.next()?))
        })
        .collect();
    assert_eq!(outcomes.len(), lines.len(), "the client has ended early");
    outcomes
}

/// The bans: jail and address of each.
fn bans(machine: &Machine) -> BTreeSet<(String, IpAddr)> {
    let list: Value = serde_json::from_str(&machine.run("wardenctl list --json=short")).expect("JSON");
    let text = |ban: &Value, key: &str| ban[key].as_str().expect("text").to_owned();
    let ban = |ban: &Value| {
        let source = text(ban, "source");
        let address = source.split('/').next().expect("a source").parse().expect("an address");
        (text(ban, "jail"), address)
    };
    list.as_array().expect("a list").iter().map(ban).collect()
}

/// The network that is counted.
fn source(address: &str) -> IpAddr {
    let address: IpAddr = address.parse().expect("an address of the test");
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(whole) => {
            let [a, b, c, d, ..] = whole.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Whose failures a service has logged, by its own messages.
fn logged(service: &Service, journal: &str) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for line in journal.lines() {
        for (_, ahead) in service.marks.iter().filter(|(message, _)| line.contains(message)) {
            for (at, _) in line.match_indices(ahead) {
                let rest = &line[at + ahead.len()..];
                let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.')).unwrap_or(rest.len());
                let whole = &rest[..end];
                // Apache writes the port behind it.
                let without_port = whole.rsplit_once(':').map_or(whole, |(address, _)| address);
                let text = if service.name == "apache" { without_port } else { whole };
                all.extend(text.trim_start_matches("::ffff:").parse::<IpAddr>());
            }
        }
    }
    all
}

pub(crate) fn who_attacks_a_service_is_banned_from_it_and_nobody_else(release: Release) {
    let begun = Instant::now();
    let machine = plan(release).boot();
    let attackers = machine.network().attackers();
    // Whole networks of attackers: those that are kept for benchmarks, and half of the one for documentation.
    for route in [
        &["route", "add", "local", "198.18.0.0/15", "dev", "lo"][..],
        &["-6", "route", "add", "local", "2001:db8:8000::/33", "dev", "lo"],
    ] {
        host::run("ip", &[&["-netns", attackers], route].concat()).unwrap_or_else(|error| panic!("{error}"));
    }
    for service in &SERVICES {
        let port = service.port;
        machine.wait_until(&format!("{} listens", service.name), || {
            machine.try_run(&format!("ss -Hltn 'sport = :{port}' | grep -q .")).code == 0
        });
    }
    machine.run(&format!("systemctl is-active wardend '{FILE_UNIT}'"));
    an_attack_is_ended_and_whoever_logs_in_stays(&machine);
    println!("{}: attacked after {:.1} s", release.name(), begun.elapsed().as_secs_f64());
    no_text_of_a_client_has_anybody_else_banned(&machine);
    println!("{}: done after {:.1} s", release.name(), begun.elapsed().as_secs_f64());
    if let Some(seconds) = std::env::var("WARDEND_SERVICES_LOAD").ok().and_then(|seconds| seconds.parse().ok()) {
        cost::what_all_jails_cost(&machine, seconds);
    }
}

/// Five wrong passwords each, all at once, while somebody mistypes theirs once and then gets in.
fn an_attack_is_ended_and_whoever_logs_in_stays(machine: &Machine) {
    let guilty = |index: usize| format!("198.18.0.{}", index + 1);
    let honest = |index: usize| format!("198.18.1.{}", index + 1);
    let mut lines = Vec::new();
    for (index, service) in SERVICES.iter().enumerate() {
        lines.extend((0..5).map(|_| login(service.name, &guilty(index), b"alice", "wrong")));
        lines.push(login(service.name, &honest(index), b"alice", "wrong"));
    }
    let outcomes = attack(machine, lines.len(), &lines);
    // An attacker may be banned before they hear the last answer.
    let heard = outcomes.iter().filter(|(_, address, _)| address.starts_with("198.18.1."));
    let other: Vec<_> = heard.filter(|(.., outcome)| outcome != "denied").collect();
    assert!(other.is_empty(), "{other:?}");
    for (index, service) in SERVICES.iter().enumerate() {
        let address: IpAddr = guilty(index).parse().expect("an address");
        machine.wait_until(&format!("{address} is banned by {}", service.name), || {
            bans(machine).contains(&(service.name.to_owned(), address))
        });
        machine.wait_for_message(&format!("firewalld blocks {address}"));
    }
    let mut lines = Vec::new();
    for (index, service) in SERVICES.iter().enumerate() {
        lines.push(login(service.name, &honest(index), b"alice", PASSWORD));
        lines.push(format!("port:{} {} - -\n", service.port, guilty(index)));
        lines.push(format!("port:22 {} - -\n", guilty(index)));
    }
    for (what, address, outcome) in attack(machine, lines.len(), &lines) {
        let wanted = match what.as_str() {
            "port:22" => "open",
            port if port.starts_with("port:") => "timed out",
            _ => "welcome",
        };
        assert_eq!(outcome, wanted, "{what} for {address}");
    }
    // Postfix asks Dovecot, which counts as well.
    let others: Vec<_> =
        bans(machine).into_iter().filter(|(_, address)| !address.to_string().starts_with("198.18.0.")).collect();
    assert_eq!(others, [], "they did nothing wrong");
    println!(
        "{}: {} services attacked, each attacker banned from its ports, nobody else",
        machine.release().name(),
        SERVICES.len()
    );
}

/// The names for a service, and the attackers who send them.
fn hostile(service: usize, count: usize, seed: u64) -> Vec<(String, Vec<u8>)> {
    let forged = SERVICES[service].forged;
    let name = |(index, (name, victim)): (usize, (Vec<u8>, IpAddr))| {
        let own = forged[index / 2 % forged.len()].replace("VICTIM", &victim.to_string()).into_bytes();
        let some = &name[..name.len().min(index % 97)];
        let name = match index % 8 {
            1 => own,
            3 => [some, own.as_slice()].concat(),
            5 => [own.as_slice(), some].concat(),
            // Around the lengths at which names are cut.
            7 => {
                let length = [80, 100, 127][index / 8 % 3] + index % 5;
                [vec![b'a'; length.saturating_sub(own.len())], own].concat()
            }
            _ => name,
        };
        let address = if index % 3 == 2 {
            format!("2001:db8:{:x}::1", 0x8000 + service * 0x400 + index)
        } else {
            format!("198.19.{}.{}", service * 32 + index / 250, index % 250 + 1)
        };
        (address, name)
    };
    names::names(seed.wrapping_add(service as u64), count).into_iter().enumerate().map(name).collect()
}

/// Each name comes from an address of its own, with one wrong password, which is enough for a ban.
fn no_text_of_a_client_has_anybody_else_banned(machine: &Machine) {
    let count = std::env::var("WARDEND_HOSTILE_NAMES").ok().and_then(|count| count.parse().ok()).unwrap_or(50);
    let seed = seed();
    println!("the names of WARDEND_LAB_SEED={seed}");
    machine.write(
        "/etc/wardend/wardend.conf.d/strict.conf",
        "[default]\nmaxretry = 1\nbantime = \"1h\"\ncut = false\nspare-logins = false\n",
    );
    machine.run("wardenctl unban --all >/dev/null; systemctl reload wardend");
    let all: Vec<Vec<(String, Vec<u8>)>> = (0..SERVICES.len()).map(|service| hostile(service, count, seed)).collect();
    let line = |index: usize| {
        let of = |(service, names): (&Service, &Vec<(String, Vec<u8>)>)| {
            let (address, name) = &names[index];
            login(service.name, address, name, "wrong")
        };
        SERVICES.iter().zip(&all).map(of).collect::<Vec<_>>()
    };
    let lines: Vec<String> = (0..count).flat_map(line).collect();
    let mut outcomes: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (service, _, outcome) in attack(machine, 32, &lines) {
        *outcomes.entry((service, outcome)).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert!(outcomes.keys().all(|(_, outcome)| outcome != "welcome"), "{outcomes:?}");

    // Each service has written all of it.
    let journal = || machine.run("journalctl --boot --output=cat --all --no-pager");
    let (mut text, mut last) = (journal(), 0);
    while last != text.len() {
        last = text.len();
        std::thread::sleep(Duration::from_secs(1));
        text = journal();
    }
    let mut missed = BTreeMap::new();
    let mut written = BTreeMap::new();
    for (service, names) in SERVICES.iter().zip(&all) {
        let logged = logged(service, &text);
        let expected: BTreeSet<IpAddr> = names
            .iter()
            .filter(|(address, _)| logged.contains(&address.parse().expect("an address of the test")))
            .map(|(address, _)| source(address))
            .collect();
        written.insert(service.name, expected);
    }
    machine.wait_until("whoever is logged is banned", || {
        let bans = bans(machine);
        missed = written
            .iter()
            .map(|(service, expected)| {
                let found = |address: &&IpAddr| !bans.contains(&((*service).to_owned(), **address));
                (*service, expected.iter().filter(found).copied().collect::<Vec<_>>())
            })
            .collect();
        missed.values().all(Vec::is_empty)
    });
    let attackers: BTreeSet<IpAddr> = all.iter().flatten().map(|(address, _)| source(address)).collect();
    let others: Vec<_> = bans(machine).into_iter().filter(|(_, address)| !attackers.contains(address)).collect();
    assert_eq!(others, [], "banned in somebody's stead");
    for (service, expected) in &written {
        println!(
            "{}: {service}: {count} hostile names, of which it logged {}; attackers missed {}, others banned 0",
            machine.release().name(),
            expected.len(),
            missed[service].len()
        );
        // vsftpd logs no name with a blank or an unprintable byte in it.
        let enough = if *service == "vsftpd" { count / 10 } else { count / 2 };
        assert!(expected.len() > enough, "{service} logged only {} of {count}", expected.len());
    }
}
