//! Errors are reported with their location; valid input is accepted.

use std::{fs, path::PathBuf};

use super::{ConfigError, Settings};

/// Files below a fresh directory, and what is made of them.
fn load(files: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Settings::load(&[directory.path().join("etc"), directory.path().join("usr")])
}

fn load_one(text: &str) -> Result<Settings, ConfigError> {
    load(&[("etc/wardend.conf.d/mine.conf", text)])
}

#[test]
fn without_any_file_the_sshd_jail_runs_with_sane_values() {
    let settings = Settings::load(&[PathBuf::from("/nonexistent")]).unwrap();
    let [jail] = &settings.jails[..] else { panic!("{settings:?}") };
    assert_eq!((jail.name.as_str(), jail.maxretry, jail.findtime), ("sshd", 5, 600_000_000));
    assert_eq!(jail.bantime, Some(600_000_000));
    assert!(jail.ignores("127.0.0.1".parse().unwrap()) && jail.ignores("::1".parse().unwrap()));
}

#[test]
fn drop_ins_are_laid_over_by_name_and_lists_of_ignoreip_add_up() {
    let settings = load(&[
        ("usr/wardend.conf", "[default]\nmaxretry = 1\nignoreip = [\"192.0.2.1\"]\n[jail.sshd]\n"),
        ("usr/wardend.conf.d/50-a.conf", "[default]\nmaxretry = 2\n"),
        ("etc/wardend.conf.d/60-b.conf", "[default]\nmaxretry = 3\nignoreip = [\"192.0.2.2\"]\n"),
        ("usr/wardend.conf.d/60-b.conf", "[default]\nmaxretry = 9\n"),
        ("etc/wardend.conf.d/70-c.conf", "[jail.sshd]\nbantime = \"infinity\"\nignoreip = [\"192.0.2.3\"]\n"),
        ("etc/wardend.conf.d/80-d.disabled", "this is not TOML"),
    ])
    .unwrap();
    let jail = &settings.jails[0];
    assert_eq!((jail.maxretry, jail.bantime), (3, None));
    for ignored in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert!(jail.ignores(ignored.parse().unwrap()), "{ignored}");
    }
    assert!(!jail.ignores("192.0.2.4".parse().unwrap()));
}

#[test]
fn an_empty_ignoreip_starts_again_and_dev_null_hides_a_drop_in() {
    let directory = tempfile::tempdir().unwrap();
    let (etc, usr) = (directory.path().join("etc"), directory.path().join("usr"));
    fs::create_dir_all(etc.join("wardend.conf.d")).unwrap();
    fs::create_dir_all(usr.join("wardend.conf.d")).unwrap();
    fs::write(usr.join("wardend.conf.d/a.conf"), "[default]\nignoreip = [\"192.0.2.1\"]\n").unwrap();
    fs::write(usr.join("wardend.conf.d/b.conf"), "[default]\nmaxretry = 77\n").unwrap();
    fs::write(usr.join("wardend.conf.d/c.conf"), "[default]\nignoreip = []\n").unwrap();
    std::os::unix::fs::symlink("/dev/null", etc.join("wardend.conf.d/b.conf")).unwrap();
    let settings = Settings::load(&[etc, usr]).unwrap();
    assert!(!settings.jails[0].ignores("192.0.2.1".parse().unwrap()));
    assert_eq!(settings.jails[0].maxretry, 5);
}

#[test]
fn what_default_says_holds_for_the_shipped_jail() {
    let settings = load(&[
        ("usr/wardend.conf", include_str!("../../units/wardend.conf")),
        ("etc/wardend.conf.d/mine.conf", "[default]\nmode = \"aggressive\"\nmaxretry = 3\n"),
    ])
    .unwrap();
    assert_eq!(settings.jails[0].classes, ["auth", "probe", "penalty"]);
    assert_eq!(settings.jails[0].maxretry, 3);
}

#[test]
fn spans_are_seconds_or_words() {
    for (text, usec) in [
        ("600", Some(600_000_000)),
        ("\"600\"", Some(600_000_000)),
        ("\"10min\"", Some(600_000_000)),
        ("\"1h 30min\"", Some(5_400_000_000)),
        ("\"1week\"", Some(604_800_000_000)),
        ("\"infinity\"", None),
    ] {
        let settings = load_one(&format!("[default]\nbantime = {text}\n")).unwrap();
        assert_eq!(settings.jails[0].bantime, usec, "{text}");
    }
}

#[test]
fn networks_through_which_one_hops_are_on_by_default_and_can_be_chosen_or_left_out() {
    let widths = |text: &str| {
        let settings = load_one(text).unwrap();
        settings.jails[0].hopping.iter().map(|width| (width.prefix, width.times)).collect::<Vec<_>>()
    };
    assert_eq!(widths(""), [(56, 3), (48, 8)]);
    assert_eq!(widths("[default]\nipv6-hopping = { 32 = 40, 60 = 2 }\n"), [(60, 2), (32, 40)]);
    assert_eq!(widths("[default]\nipv6-hopping = {}\n"), []);
    let old = load(&[("etc/wardend.conf", "[jail.sshd]\n")]).unwrap();
    let shipped = load(&[]).unwrap();
    assert_eq!(old.jails[0].hopping, shipped.jails[0].hopping, "a file of one's own that does not name it");
    assert_eq!(old.jails[0].spare_maxretry, shipped.jails[0].spare_maxretry);
}

#[test]
fn each_mistake_is_reported_with_its_file_its_line_and_the_mend() {
    for (text, line, says) in [
        ("[default]\nmaxretries = 3\n", 2, "unknown field `maxretries`; did you mean 'maxretry'?"),
        ("[jail.sshd]\nlogpath = \"/var/log/auth.log\"\n", 2, "wardend reads no log files"),
        ("[jail.sshd]\n\nport = \"ssh\"\n", 3, "write ports = [\"ssh\"]"),
        ("[default]\nbanaction = \"nftables\"\n", 2, "a setting of fail2ban; bans always go through firewalld"),
        ("\n[defaults]\n", 2, "unknown field `defaults`; did you mean 'default'?"),
        ("[jail.sshd]\nmode = \"strict\"\n", 2, "there are: aggressive, normal."),
        ("[default]\nmaxretry = 0\n", 2, "write a number from 1 to 1000"),
        ("[default]\nmaxretry = \"5\"\n", 2, "maxretry is a number; write it without quotes."),
        ("[default]\nfindtime = \"soon\"\n", 2, "not a valid time span; write it as"),
        ("[default]\nfindtime = \"infinity\"\n", 2, "findtime can't be infinite"),
        ("[default]\nfindtime = true\n", 2, "write whole seconds, or words"),
        ("[default]\nbantime = 1.5\n", 2, "is not a valid time span; write whole seconds"),
        ("[default]\nspare-logins = [1]\n", 2, "neither true nor false nor a span of time"),
        ("[default]\nbantime = -1\n", 2, "write more than zero and less than 100 years"),
        ("[default]\nfindtime = 18446744073709\n", 2, "less than 100 years"),
        ("[default]\nbantime = \"0s\"\n", 2, "write more than zero, or \"infinity\""),
        ("[default]\nignoreip = [\n  \"host.example\",\n  \"192.0.2.700\",\n]\n", 4, "four numbers from 0 to 255"),
        ("[default]\nignoreip = [\"192.0.2.1/33\"]\n", 2, "a length that no network has"),
        ("[default]\nignoreip = [\"198.51.100.7-20\"]\n", 2, "is a range; write networks: 198.51.100.7, "),
        ("[default]\nignoreip = [\"self\"]\n", 2, "loopback is never banned anyway"),
        ("[default]\nignoreip = [\"office\"]\n", 2, "is a single word"),
        ("[default]\nignoreip = [\"::/80\"]\n", 2, "holds all of IPv4"),
        ("[default]\nnat64-prefixes = [\n  \"2001:db8::/33\"]\n", 3, "it is 32, 40, 48, 56, 64 or 96"),
        ("[jail.sshd]\nnat64-prefixes = [\"10.0.0.0/8\"]\n", 2, "is not an IPv6 network"),
        ("[default]\nbantime-jitter = \"infinity\"\n", 2, "bantime-jitter can't be infinite"),
        ("[default]\nsubnet-maxretry = 1\n", 2, "would ban a whole network"),
        ("[default]\nsubnet-ipv4-prefix = 32\n", 2, "write a number from 8 to 31"),
        ("[default]\nspare-logins = \"never\"\n", 2, "not a valid time span"),
        ("[default]\nspare-maxretry = 1001\n", 2, "write a number from 0 to 1000"),
        ("[default]\nipv6-hopping = { 128 = 3 }\n", 2, "'128', which is not a prefix length from 16 to 127"),
        ("[default]\nipv6-hopping = { wide = 3 }\n", 2, "'wide', which is not a prefix length"),
        ("[default]\nipv6-hopping = { 48 = 0 }\n", 2, "/48 0 times maxretry; write a number from 1 to 1000"),
        ("[default]\nipv6-hopping = { 48 = 8, 048 = 8 }\n", 2, "has /48 twice"),
        ("[default]\nipv6-hopping = { 60 = 2, 56 = 3, 52 = 4, 48 = 8, 44 = 9 }\n", 2, "more than 4"),
        ("[default]\nipv6-hopping = 48\n", 2, "invalid type: integer"),
        ("[default]\nignoreip = [\"0.0.0.0/0\"]\n", 2, "is everybody"),
        ("[jail.sshd]\nports = \"some\"\n", 2, "write \"service\", \"all\", or a list"),
        ("[jail.sshd]\nports = 22\n", 2, "nor a list of words; write"),
        ("[jail.sshd]\nports = [22]\n", 2, "nor a list of words; write"),
        ("[jail.sshd]\nports = []\n", 2, "would close nothing"),
        ("[jail.sshd]\nports = [\"ssh\", \"22\"]\n", 2, "'22' is neither a service"),
        ("[jail.sshd]\nports = [\"0/tcp\"]\n", 2, "'0/tcp' is not a valid port"),
        ("[default]\naction = \"refuse\"\n", 2, "write \"drop\" or \"reject\""),
        ("[default]\nipv4-prefix = 33\n", 2, "write a number from 8 to 32"),
        ("[jail.sshd]\nmode = \"agressive\"\n", 2, "did you mean 'aggressive'?"),
        ("[jail.sshd]\nclasses = [\"atuh\"]\n", 2, "has no class 'atuh'"),
        ("[jail.sshd]\nfilter = \"../sshd\"\n", 2, "not a valid filter name"),
        ("[jail.sshd]\nclasses = []\n", 2, "would count nothing"),
        ("[jail.list]\nfilter = \"\"\nclasses = [\"auth\"]\n", 3, "the jail has no filter"),
        ("[jail.web]\nfilter = \"nginx\"\n", 2, "there is no file filters/nginx.toml in "),
        ("\n[jail.\"a b\"]\nfilter = \"sshd\"\n", 2, "not a valid jail name"),
        ("[default\n", 1, "unclosed table"),
    ] {
        let error = load_one(text).unwrap_err().to_string();
        let place = format!("etc/wardend.conf.d/mine.conf:{line}: ");
        assert!(error.contains(&place), "{text:?}: {error}");
        assert!(error.contains(says), "{text:?}: {error}");
        assert!(error.ends_with(['.', '?']), "{text:?}: {error}");
    }
}

#[test]
fn a_jail_without_a_filter_reads_nothing_and_has_settings_of_its_own() {
    let text = "[default]\nmode = \"aggressive\"\n[jail.fleet]\nfilter = \"\"\nbantime = \"1day\"\nports = [\"ssh\"]\n";
    let settings = load_one(text).unwrap();
    let fleet = &settings.jails[0];
    assert_eq!((fleet.name.as_str(), fleet.filter.name.as_str()), ("fleet", ""));
    assert!(fleet.filter.is_none() && fleet.classes.is_empty() && fleet.scope.ports().len() == 1);
    assert!(!fleet.filter.records.may_come_from("ssh.service") && !fleet.filter.records.may_come_from(""));
    assert!(!settings.jails[1].filter.is_none(), "the shipped one");
}

#[test]
fn a_jail_has_ports_and_an_action_and_shares_them_with_its_like() {
    let settings = load_one(
        "[default]\nports = [\"ssh\"]\n[jail.a]\nfilter = \"sshd\"\nports = \"all\"\naction = \"reject\"\n\
         [jail.b]\nfilter = \"sshd\"\nports = [\"2222/tcp\", \"ssh\"]\n[jail.c]\nfilter = \"sshd\"\n",
    )
    .unwrap();
    let scopes: Vec<String> = settings.jails.iter().map(|jail| jail.scope.to_string()).collect();
    assert_eq!(scopes, ["all ports (reject)", "ssh, 2222/tcp", "ssh", "ssh"]);
    assert_eq!(settings.jails[2].scope, settings.jails[3].scope);
}

#[test]
fn with_every_jail_disabled_the_lines_that_say_so_are_named() {
    let error = load_one("[jail.sshd]\nenabled = false\n").unwrap_err().to_string();
    assert!(error.starts_with("No jail is enabled: `enabled = false` holds for "), "{error}");
    assert!(error.contains("[jail.sshd] by ") && error.contains("mine.conf:2; set `enabled = true` there"), "{error}");
    let files = [("usr/wardend.conf", "[default]\nmaxretry = 3\n"), ("etc/wardend.conf.d/a.conf", "")];
    let error = load(&files).unwrap_err().to_string();
    assert!(
        error.starts_with("No jail is enabled: there is no [jail.NAME] in ") && error.contains("a.conf; write one")
    );
    assert!(error.contains("usr/wardend.conf, "), "{error}");
}

#[test]
fn a_file_that_is_not_text_or_is_not_there_is_reported_and_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let etc = directory.path().join("etc");
    let load = || Settings::load(&[etc.clone(), directory.path().join("usr")]).unwrap_err().to_string();
    fs::create_dir_all(etc.join("wardend.conf.d")).unwrap();
    fs::create_dir_all(etc.join("filters")).unwrap();
    fs::write(etc.join("wardend.conf.d/a.conf"), b"[default]\n# M\xfcller\nmaxretry = 3\n").unwrap();
    let error = load();
    assert!(error.ends_with("a.conf:2: the byte 0xfc is not valid UTF-8; save the file as UTF-8."), "{error}");
    fs::remove_file(etc.join("wardend.conf.d/a.conf")).unwrap();
    fs::write(etc.join("filters/sshd.toml"), b"\xff").unwrap();
    let error = load();
    assert!(error.contains("filters/sshd.toml:1: the byte 0xff is not valid UTF-8"), "{error}");
    fs::remove_file(etc.join("filters/sshd.toml")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", etc.join("wardend.conf")).unwrap();
    let error = load();
    assert!(error.contains("etc/wardend.conf: can't be read: ") && error.contains("a link to nothing"), "{error}");
    fs::remove_file(etc.join("wardend.conf")).unwrap();
    fs::create_dir(etc.join("wardend.conf")).unwrap();
    let error = load();
    assert!(error.ends_with("there is to be a file."), "{error}");
}

#[test]
fn more_ports_than_firewalld_can_have_rules_for_are_refused() {
    let ports: Vec<String> = (1..=1001).map(|port| format!("\"{port}/tcp\"")).collect();
    let error = load_one(&format!("[jail.sshd]\nports = [{}]\n", ports.join(", "))).unwrap_err().to_string();
    assert!(error.contains("mine.conf:2: ports has 1001 entries") && error.contains("with ranges"), "{error}");
}

#[test]
fn a_mapped_network_is_an_ipv4_one_and_translators_are_known_by_their_prefixes() {
    let settings = load_one(
        "[default]\nignoreip = [\"::ffff:203.0.113.0/120\"]\nnat64-prefixes = [\"2001:db8:64::/96\"]\n\
         [jail.a]\nfilter = \"sshd\"\n[jail.b]\nfilter = \"sshd\"\nnat64-prefixes = []\n",
    )
    .unwrap();
    let [a, b, _] = &settings.jails[..] else { panic!("{settings:?}") };
    for (address, by_a, by_b) in [
        ("203.0.113.7", true, true),
        ("203.0.114.7", false, false),
        ("64:ff9b::203.0.113.7", true, true),
        ("2001:db8:64::203.0.113.7", true, false),
        ("2001:db8:64::203.0.114.7", false, false),
    ] {
        let address = address.parse().unwrap();
        assert_eq!((a.ignores(address), b.ignores(address)), (by_a, by_b), "{address}");
    }
    let counted = |jail: &crate::core::jail::JailSettings| jail.source("2001:db8:64::1".parse().unwrap()).prefix_len();
    assert_eq!((counted(a), counted(b)), (128, 64));
}

/// A search that looks at each entry, or counts lines from the first for each, would be at it for
/// hours.
#[test]
fn a_hundred_thousand_ignored_addresses_are_shared_by_all_jails_and_keep_their_lines() {
    let mut text = "[default]\nignoreip = [\n".to_owned();
    for number in 0..100_000 {
        text += &format!("\"10.{}.{}.{}\",\n", number >> 16, number >> 8 & 255, number & 255);
    }
    text += "]\n";
    for jail in 0..100 {
        text += &format!("[jail.j{jail}]\nfilter = \"sshd\"\nignoreip = [\"192.0.2.{jail}\"]\n");
    }
    let settings = load_one(&text).unwrap();
    assert_eq!(settings.jails.len(), 101, "and sshd's");
    let jail = settings.jails.iter().find(|jail| jail.name == "j7").unwrap();
    for (address, line) in [("10.0.0.0", 3), ("10.1.134.159", 100_002), ("192.0.2.7", 100_027)] {
        let ignored = jail.ignored(address.parse().unwrap()).unwrap();
        assert!(ignored.because.contains(&format!("mine.conf:{line}: ")), "{address}: {}", ignored.because);
    }
    for address in ["10.1.134.160", "192.0.2.8"] {
        assert_eq!(jail.ignored(address.parse().unwrap()), None, "{address}");
    }
}

#[test]
fn a_jail_closes_the_ports_that_its_filter_names_unless_it_names_its_own() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("filters")).unwrap();
    fs::create_dir_all(root.path().join("wardend.conf.d")).unwrap();
    let filter = "ports = ['http', 'https']\n[records]\n_UID = ['0']\n[modes]\nnormal = ['auth']\n[[rule]]\n\
                  name = 'a'\nclass = 'auth'\ncounts = 'failure'\npattern = 'a <ADDR>'\n";
    fs::write(root.path().join("filters/web.toml"), filter).unwrap();
    let directories = [root.path().to_owned()];
    let scopes = |text: &str| {
        fs::write(root.path().join("wardend.conf.d/mine.conf"), text).unwrap();
        let jails = Settings::load(&directories).unwrap().jails;
        jails.iter().map(|jail| jail.scope.to_string()).collect::<Vec<_>>()
    };
    let jails = "[jail.web]\n[jail.x]\nfilter = 'web'\nports = 'all'\n[jail.y]\nfilter = 'web'\nports = ['http']\n";
    assert_eq!(scopes(jails), ["all ports", "http, https", "all ports", "http"], "sshd's filter names none");
    assert_eq!(scopes(&format!("default.ports = 'all'\n{jails}")), ["all ports", "all ports", "all ports", "http"]);
    let own = "default.ports = 'all'\n[jail.web]\nports = 'service'\n";
    assert_eq!(scopes(own), ["all ports", "http, https"]);
    // A jail can be looked at that is off, or that no file names.
    let one = |name: &str| Settings::load_jail(&directories, name).map(|settings| settings.jails[0].name.clone());
    scopes("[jail.web]\nenabled = false\nmaxretry = 7\n");
    assert_eq!(Settings::load_jail(&directories, "web").unwrap().jails[0].maxretry, 7);
    scopes("");
    assert_eq!(one("web").unwrap(), "web");
    assert_eq!(
        one("wep").unwrap_err().to_string(),
        "There is no jail 'wep', and no filter for one; did you mean 'web'?"
    );
}
