//! `wardenctl import fail2ban` over small set-ups: what it would write, what it says, and how it ends.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde::Deserialize;

/// A file of set-ups.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

/// A set-up, and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Laid over files that mean what Debian's package means.
    #[serde(default)]
    debian: bool,
    files: BTreeMap<String, String>,
    /// A file of these bytes, as hexadecimal digits, beside them.
    #[serde(default)]
    bytes: BTreeMap<String, String>,
    /// Filters of this source tree that are installed.
    #[serde(default)]
    filters: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
    /// The drop-in without comments and blank lines; none if there is to be none.
    drop_in: Option<String>,
    /// Parts of the output.
    #[serde(default)]
    says: Vec<String>,
    /// What must not be in it.
    #[serde(default)]
    silent: Vec<String>,
    #[serde(default)]
    exit: i32,
}

const DEBIAN: [(&str, &str); 3] = [
    (
        "jail.conf",
        "[INCLUDES]\nbefore = paths-debian.conf\n[DEFAULT]\nenabled = false\nbantime = 10m\nfindtime = 10m\nmaxretry = 5\nmode = normal\n\
         filter = %(__name__)s[mode=%(mode)s]\nport = 0:65535\nprotocol = tcp\nchain = <known/chain>\nbanaction = iptables-multiport\n\
         banaction_allports = iptables-allports\nignorecommand =\n\
         action_ = %(banaction)s[port=\"%(port)s\", protocol=\"%(protocol)s\", chain=\"%(chain)s\"]\n\
         action_mw = %(action_)s\n  sendmail-whois[dest=\"%(destemail)s\"]\ndestemail = root@localhost\naction = %(action_)s\n\
         [sshd]\nport = ssh\nlogpath = %(sshd_log)s\nbackend = %(sshd_backend)s\n\
         [nginx-http-auth]\nport = http,https\nlogpath = /var/log/nginx/error.log\n\
         [recidive]\nlogpath = /var/log/fail2ban.log\nbanaction = %(banaction_allports)s\nbantime = 1w\nfindtime = 1d\n",
    ),
    ("paths-debian.conf", "[DEFAULT]\nsshd_log = /var/log/auth.log\nsshd_backend = systemd\n"),
    (
        "jail.d/defaults-debian.conf",
        "[DEFAULT]\nbanaction = nftables\nbanaction_allports = nftables[type=allports]\n[sshd]\nbackend = systemd\n\
         journalmatch = _SYSTEMD_UNIT=ssh.service + _COMM=sshd\nenabled = true\n",
    ),
];

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}

fn install_filter(ours: &Path, name: &str) {
    let name = format!("filters/{name}.toml");
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name)).expect("it is shipped");
    write(ours, &name, &text);
}

fn import(theirs: &Path, ours: &Path, options: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardenctl"))
        .args(["import", "fail2ban", "--config"])
        .args([ours, theirs])
        .args(options)
        .output()
        .expect("wardenctl runs")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("digits");
    digits.chunks(2).map(byte).collect()
}

/// Without comments and blank lines.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once(" # ").map_or(line, |(line, _)| line).trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    lines.join("\n")
}

/// What is wrong about a case, if anything.
fn mistakes(case: &Case) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (folder.path().join("fail2ban"), folder.path().join("wardend"));
    fs::create_dir_all(&ours).expect("a folder");
    fs::create_dir_all(&theirs).expect("a folder");
    for (name, text) in DEBIAN.iter().filter(|_| case.debian) {
        write(&theirs, name, text.as_bytes());
    }
    for name in &case.filters {
        install_filter(&ours, name);
    }
    for (name, text) in &case.files {
        write(&theirs, name, text.as_bytes());
    }
    for (name, hex) in &case.bytes {
        write(&theirs, name, &unhex(hex));
    }
    let output = import(&theirs, &ours, &case.options);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(format!("{}: {what}\n{said}", case.name));
        }
    };
    check(output.status.code() == Some(case.exit), format!("it ended with {:?}", output.status.code()));
    for part in &case.says {
        check(said.contains(part), format!("it does not say: {part}"));
    }
    for part in &case.silent {
        check(!said.contains(part), format!("it says: {part}"));
    }
    let target = ours.join("wardend.conf.d/50-fail2ban.conf");
    check(!target.exists(), "it wrote without being asked".to_owned());
    // Once more, to be written.
    let options = [case.options.clone(), vec!["--write".to_owned()]].concat();
    let output = import(&theirs, &ours, &options);
    check(output.status.code() == Some(case.exit), format!("with --write it ended with {:?}", output.status.code()));
    let written = fs::read_to_string(&target).ok();
    check(
        written.as_deref().map(plain) == case.drop_in.as_deref().map(plain),
        format!("it wrote {}", written.as_deref().map(plain).unwrap_or_default()),
    );
    // A second run changes nothing.
    if written.is_some() {
        let again = import(&theirs, &ours, &options);
        check(again.status.code() == Some(case.exit), "the second run ends otherwise".to_owned());
        check(fs::read_to_string(&target).ok() == written, "the second run changed something".to_owned());
    }
    wrong
}

#[test]
fn set_ups_become_what_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let (mut wrong, mut number) = (Vec::new(), 0);
    for file in fs::read_dir(folder).expect("a folder").flatten() {
        let text = fs::read_to_string(file.path()).expect("a table");
        let table: Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.path().display()));
        number += table.case.len();
        // Each case starts a few programs, and a machine has more than one core.
        let half = table.case.len().div_ceil(2).max(1);
        std::thread::scope(|scope| {
            let parts =
                table.case.chunks(half).map(|part| scope.spawn(|| part.iter().flat_map(mistakes).collect::<Vec<_>>()));
            for part in parts.collect::<Vec<_>>() {
                wrong.extend(part.join().expect("no case panics"));
            }
        });
    }
    assert!(number >= 60, "{number} set-ups");
    assert!(wrong.is_empty(), "{} mistakes:\n\n{}", wrong.len(), wrong.join("\n----\n"));
}

/// A service is guarded here as soon as there is a filter for it.
#[test]
fn a_jail_converts_if_its_filter_is_installed_and_can_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (folder.path().join("fail2ban"), folder.path().join("wardend"));
    write(
        &theirs,
        "jail.local",
        b"[DEFAULT]\nbantime = 1h\n[proftpd]\nenabled = true\nport = ftp,ftps\nmaxretry = 6\n",
    );
    install_filter(&ours, "proftpd");
    let output = import(&theirs, &ours, &["--write".to_owned()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(ours.join("wardend.conf.d/50-fail2ban.conf")).expect("it is there");
    assert_eq!(
        plain(&text),
        "[jail.proftpd]\nenabled = true\nfilter = \"proftpd\"\nmaxretry = 6\nbantime = \"1h\"\nports = [\"21/tcp\", \"990/tcp\"]"
    );

    let broken = "[records]\n_UID = ['0']\n[modes]\nnormal = ['auth']\n[[rule]]\nname = 'x'\nclass = 'auth'\ncounts = 'failure'\npattern = '.*<ADDR>'\n";
    write(&ours, "filters/proftpd.toml", broken.as_bytes());
    let output = import(&theirs, &ours, &[]);
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("[proftpd] jail.local:3: wardend's filter proftpd can't be used yet: "), "{said}");
}

#[test]
fn a_drop_in_that_differs_is_not_replaced_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (folder.path().join("fail2ban"), folder.path().join("wardend"));
    write(&theirs, "jail.local", b"[sshd]\nenabled = true\nmaxretry = 3\n");
    write(&ours, "wardend.conf.d/50-fail2ban.conf", b"[jail.sshd]\nmaxretry = 4\n");
    let refused = import(&theirs, &ours, &["--write".to_owned()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is there and differs"));
    let target = ours.join("wardend.conf.d/50-fail2ban.conf");
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "[jail.sshd]\nmaxretry = 4\n");
    let done = import(&theirs, &ours, &["--write".to_owned(), "--force".to_owned()]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(fs::read_to_string(&target).expect("it is there").contains("maxretry = 3"));
}

#[test]
fn a_drop_in_that_does_not_fit_the_rest_is_never_in_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (folder.path().join("fail2ban"), folder.path().join("wardend"));
    write(&theirs, "jail.local", b"[sshd]\nenabled = true\nmaxretry = 3\n");
    write(&ours, "wardend.conf.d/90-other.conf", b"[jail.sshd]\nmaxretries = 4\n");
    let refused = import(&theirs, &ours, &["--write".to_owned()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("90-other.conf:2"), "{said}");
    assert!(!ours.join("wardend.conf.d/50-fail2ban.conf").exists());
}

#[test]
fn json_has_the_drop_in_and_the_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (folder.path().join("fail2ban"), folder.path().join("wardend"));
    fs::create_dir_all(&ours).expect("a folder");
    write(&theirs, "jail.local", b"[sshd]\nenabled = true\nbantime = 1d\n[own]\nenabled = true\n");
    let output = import(&theirs, &ours, &["--json".to_owned()]);
    assert_eq!(output.status.code(), Some(5));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["converted"][0]["settings"][0]["value"], "\"1day\"");
    assert_eq!(report["converted"][0]["settings"][0]["from"], "jail.local:3");
    assert_eq!(report["leave_on"], serde_json::json!(["own"]));
    assert_eq!(report["turn_off"], serde_json::json!(["sshd"]));
    assert!(report["drop_in"].as_str().expect("text").contains("bantime = \"1day\""));
}

#[test]
fn a_directory_that_holds_no_set_up_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, says) in [("", "is not a set-up of fail2ban: there is no jail.conf"), ("none", "is not a directory")] {
        let output = import(&folder.path().join(path), folder.path(), &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
}
