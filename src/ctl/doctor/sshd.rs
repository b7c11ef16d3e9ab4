//! sshd's own settings, as `sshd -T` prints them, which root alone may run.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Finding, Scene};

const CHECK: &str = "sshd";
const PROGRAM: &str = "/usr/sbin/sshd";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What sshd says.
pub(super) enum Sshd {
    /// Nobody but root may ask.
    NotRoot,
    /// There is no sshd.
    Absent,
    /// It can't say; why.
    Silent(String),
    Says(Settings),
}

/// The settings that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) ports: BTreeSet<u16>,
    log_level: String,
    use_dns: bool,
}

impl Settings {
    fn read(text: &str) -> Self {
        let mut settings = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            // OpenSSH 10.6 prints them as in the manual, earlier ones in lower case.
            match key.to_ascii_lowercase().as_str() {
                "port" => settings.ports.extend(value.parse::<u16>()),
                "loglevel" => value.clone_into(&mut settings.log_level),
                "usedns" => settings.use_dns = value == "yes",
                // A port of its own here takes the place of `Port`.
                "listenaddress" => {
                    settings.ports.extend(value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()));
                }
                _ => {}
            }
        }
        settings
    }
}

/// Has sshd print its settings.
pub(super) async fn ask() -> Sshd {
    let (sender, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sshd = Command::new(PROGRAM);
        sshd.arg("-T").env_clear().stdin(Stdio::null());
        drop(sender.send(sshd.output()));
    });
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(output))) if output.status.success() => {
            Sshd::Says(Settings::read(&String::from_utf8_lossy(&output.stdout)))
        }
        Ok(Ok(Ok(output))) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Sshd::Silent(said.lines().next().unwrap_or("it failed").trim_end_matches(['\r', '.']).to_owned())
        }
        Ok(Ok(Err(error))) if error.kind() == std::io::ErrorKind::NotFound => Sshd::Absent,
        Ok(Ok(Err(error))) => Sshd::Silent(error.to_string()),
        Ok(Err(_)) | Err(_) => Sshd::Silent(format!("it gave no answer within {} s", PATIENCE.as_secs())),
    }
}

pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    match &scene.sshd {
        Sshd::NotRoot => {
            vec![Finding::unknown(CHECK, "Its LogLevel and UseDNS are known to root only.", "Run this as root.")]
        }
        Sshd::Absent => vec![Finding::ok(CHECK, format!("There is no {PROGRAM}."))],
        Sshd::Silent(why) => {
            vec![Finding::unknown(
                CHECK,
                format!("`sshd -T` does not print its settings: {why}."),
                "Run it to see more.",
            )]
        }
        Sshd::Says(settings) => judge(settings),
    }
}

fn judge(settings: &Settings) -> Vec<Finding> {
    let level = &settings.log_level;
    let mut found = Vec::new();
    // sshd prints QUIET as SILENT, its other name for it.
    if ["QUIET", "SILENT", "FATAL", "ERROR"].contains(&level.to_ascii_uppercase().as_str()) {
        found.push(Finding::problem(
            CHECK,
            format!("Its LogLevel is {level}, at which it logs no failed login, so nobody is banned."),
            "Set `LogLevel INFO` or `LogLevel VERBOSE` in /etc/ssh/sshd_config or its drop-in, and reload sshd.",
        ));
    }
    if settings.use_dns {
        found.push(Finding::note(
            CHECK,
            "It has `UseDNS yes`, so some of its messages name a host instead of an address, and a name is never believed.",
            "Set `UseDNS no` in /etc/ssh/sshd_config or its drop-in, and reload sshd.",
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, format!("LogLevel is {level}, and UseDNS is no.")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::doctor::State;

    #[test]
    fn what_sshd_prints_is_read_and_judged() {
        let text = "port 22\nport 2222\naddressfamily any\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:2200\nusedns no\nloglevel INFO\n";
        let settings = Settings::read(text);
        assert_eq!(settings.ports.iter().copied().collect::<Vec<_>>(), [22, 2200, 2222]);
        let newer = "Port 22\nListenAddress [::]:2222\nUseDNS yes\nLogLevel QUIET\n";
        let newer = Settings::read(newer);
        assert_eq!(newer.ports.iter().copied().collect::<Vec<_>>(), [22, 2222]);
        let states = |settings: &Settings| judge(settings).iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(&settings), [State::Ok]);
        assert_eq!(states(&newer), [State::Problem, State::Note]);
        assert_eq!(states(&Settings::read("usedns yes\nloglevel SILENT\n")), [State::Problem, State::Note]);
        assert_eq!(states(&Settings::read("usedns no\nloglevel VERBOSE\n")), [State::Ok]);
    }
}
