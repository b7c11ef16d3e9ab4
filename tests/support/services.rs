//! Many services on one machine: a filter for each, and a journal in which all of them write, among
//! twenty times as many records of programs that no filter asks for.

#![allow(clippy::expect_used, unreachable_pub, dead_code, reason = "shared by crates that use parts of it")]

use std::{
    fs,
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use wardend::testing::{Fields, Filter, FilterText};

pub const SERVICES: [&str; 20] = [
    "sshd", "dovecot", "postfix", "sendmail", "vsftpd", "proftpd", "nginx", "apache", "named", "slapd", "mysqld",
    "mongod", "asterisk", "squid", "openvpn", "cockpit", "gitea", "grafana", "murmurd", "xrdp",
];
/// One of this number of records is a service's.
const SHARE: u64 = 20;
/// From one record to the next, in µs: 2,000 a second.
const STEP: u64 = 500;
const BEGIN: u64 = 1_795_412_957_978_061;

/// The filters of the first services, and the fields that they ask for.
pub fn filters(count: usize) -> (Vec<Arc<Filter>>, Arc<Fields>) {
    let mut fields = Fields::default();
    let filters = SERVICES[..count].iter().map(|name| {
        let text = format!(
            "[records]\n_TRANSPORT = ['syslog']\n_UID = ['0']\n\
             SYSLOG_IDENTIFIER = ['{name}', '{name}-worker', '{name}-auth']\n\
             units = ['{name}.service', '{name}@*.service']\nprograms = ['{name}', '{name}-worker']\n\
             same = ['SYSLOG_PID', '_PID']\n\
             [message]\nsession = ['_BOOT_ID', '_PID']\n[modes]\nnormal = ['auth']\n\
             [[rule]]\nname = 'failed'\nclass = 'auth'\ncounts = 'failure'\n\
             pattern = 'Login of <USER> failed from <ADDR> port <PORT>'\n"
        );
        Arc::new(Filter::load(name, &[FilterText::new("filter.toml", text)], &mut fields).expect("the filter is sound"))
    });
    let filters = filters.collect();
    (filters, Arc::new(fields))
}

/// Makes a journal of `files` files, one behind the other in time, in which the first services write.
pub fn journal(records: u64, files: u64, services: usize, directory: &Path) {
    fs::create_dir_all(directory).expect("the folder can be made");
    for file in 0..files {
        let path = directory.join(format!("file-{file:03}.journal"));
        let mut remote = Command::new("/lib/systemd/systemd-journal-remote")
            .args(["--split-mode=none", "--compress=no", "--output"])
            .args([&path, Path::new("-")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("systemd-journal-remote starts (apt-get install systemd-journal-remote)");
        let mut out = BufWriter::with_capacity(1 << 20, remote.stdin.take().expect("it has an input"));
        for number in records * file / files..records * (file + 1) / files {
            entry(&mut out, number, services as u64);
        }
        drop(out.into_inner().expect("it takes the entries"));
        assert!(remote.wait().expect("it ends").success(), "systemd-journal-remote made {}", path.display());
    }
}

fn entry(out: &mut impl Write, number: u64, services: u64) {
    let (time, monotonic) = (BEGIN + number * STEP, 1_000_000 + number * STEP);
    let (share, pid) = (number / SHARE, 1_000 + number % 30_000);
    let (program, identifier, message) = if number % SHARE == 7 {
        // In an order that repeats only after a long time.
        let name = SERVICES[usize::try_from((share * 7 + share / 20) % services).expect("small")];
        let part = if share % 3 == 0 { "-worker" } else { "" };
        let address = format!("10.{}.{}.7", share / 250 % 250, share % 250);
        (name.to_owned(), format!("{name}{part}"), format!("Login of root failed from {address} port {}", pid % 60_000))
    } else {
        let name = format!("app{}", number % 30);
        (name.clone(), name, format!("GET /item/{} 200 {} ms", number % 10_007, number % 499))
    };
    write!(
        out,
        "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={monotonic}\n_BOOT_ID=2f912356a2424dec8328a1f012cbcb78\n\
         MESSAGE={message}\nPRIORITY=6\nSYSLOG_FACILITY=10\nSYSLOG_IDENTIFIER={identifier}\nSYSLOG_PID={pid}\n\
         _TRANSPORT=syslog\n_UID=0\n_GID=0\n_PID={pid}\n_COMM={program}\n_EXE=/usr/sbin/{program}\n\
         _CMDLINE=/usr/sbin/{program} -D\n_SYSTEMD_UNIT={program}.service\n_SYSTEMD_SLICE=system.slice\n\
         _HOSTNAME=host\n_MACHINE_ID=5a3ae7b6d3f94a5fae3cfbd8e1b0b9d2\n\n"
    )
    .expect("it takes the entries");
}
