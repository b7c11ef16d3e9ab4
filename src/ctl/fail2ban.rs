//! For fingers that know fail2ban-client: `wardenctl help fail2ban`, and the hint where one of its commands
//! is used.

use std::ffi::OsString;

use super::output::{Cell, Table, line};

/// Commands of fail2ban-client and its kin, and what does the same here.
const COMMANDS: [(&str, &str); 18] = [
    ("start, stop, restart", "systemctl start (stop, restart) wardend"),
    ("reload", "wardenctl reload"),
    ("ping", "wardenctl status"),
    ("status", "wardenctl status"),
    ("status JAIL", "wardenctl list --jail JAIL"),
    ("banned", "wardenctl list"),
    ("banned IP", "wardenctl explain IP"),
    ("set JAIL banip IP", "wardenctl ban IP --jail JAIL"),
    ("set JAIL unbanip IP", "wardenctl unban IP --jail JAIL"),
    ("unban IP", "wardenctl unban IP"),
    ("unban --all", "wardenctl unban --all"),
    ("get JAIL banip", "wardenctl list --jail JAIL"),
    ("get JAIL SETTING", "wardenctl cat-config --jail JAIL"),
    ("set JAIL addignoreip IP", "wardenctl ignore IP --jail JAIL"),
    ("set JAIL delignoreip IP", "wardenctl unignore IP --jail JAIL"),
    ("set JAIL SETTING VALUE", "the setting in /etc/wardend/wardend.conf.d/local.conf, then wardenctl reload"),
    ("set loglevel LEVEL", "systemctl service-log-level wardend LEVEL"),
    ("fail2ban-regex LOG FILTER", "wardenctl test FILTER --journal"),
];

/// Prints the table.
pub(super) fn help() -> anyhow::Result<()> {
    let mut table = Table::new(["FAIL2BAN", "WARDEND"]);
    for (theirs, ours) in COMMANDS {
        table.row([Cell::from(theirs), Cell::from(ours)]);
    }
    table.print()?;
    line("\nSettings have the same names where they mean the same; see wardend.conf(5).")
}

/// What to write instead of a command line that fail2ban-client would understand.
pub(super) fn hint(arguments: &[OsString]) -> Option<String> {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let instead = match *words.as_slice() {
        ["set", jail, "banip", ref sources @ ..] if !sources.is_empty() => {
            format!("wardenctl ban {} --jail {jail}", sources.join(" "))
        }
        ["set", jail, "unbanip", ref sources @ ..] if !sources.is_empty() => {
            format!("wardenctl unban {} --jail {jail}", sources.join(" "))
        }
        ["set", jail, "addignoreip", ref sources @ ..] if !sources.is_empty() => {
            format!("wardenctl ignore {} --jail {jail}", sources.join(" "))
        }
        ["set", jail, "delignoreip", ref sources @ ..] if !sources.is_empty() => {
            format!("wardenctl unignore {} --jail {jail}", sources.join(" "))
        }
        ["set", "loglevel", level, ..] => {
            format!("systemctl service-log-level wardend {}", level.to_lowercase())
        }
        ["status", jail] if !jail.starts_with('-') => format!("wardenctl list --jail {jail}"),
        ["get", jail, "banip" | "banned", ..] => format!("wardenctl list --jail {jail}"),
        ["get", jail, ..] => format!("wardenctl cat-config --jail {jail}"),
        ["banned"] => "wardenctl list".to_owned(),
        ["banned", address, ..] => format!("wardenctl explain {address}"),
        ["start" | "stop" | "restart"] => format!("systemctl {} wardend", words[0]),
        ["ping"] => "wardenctl status".to_owned(),
        ["set" | "add" | "flushlogs" | "echo", ..] => return Some("See `wardenctl help fail2ban`.".to_owned()),
        _ => return None,
    };
    Some(format!("This is how fail2ban-client is used; write `{instead}` (see `wardenctl help fail2ban`)."))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::ctl::Arguments;

    fn hint_for(words: &str) -> String {
        let arguments: Vec<OsString> = format!("wardenctl {words}").split(' ').map(OsString::from).collect();
        hint(&arguments).unwrap_or_default()
    }

    #[test]
    fn commands_of_fail2ban_client_lead_to_ours() {
        for (theirs, ours) in [
            ("set sshd banip 203.0.113.7 203.0.113.8", "`wardenctl ban 203.0.113.7 203.0.113.8 --jail sshd`"),
            ("set sshd unbanip 203.0.113.7", "`wardenctl unban 203.0.113.7 --jail sshd`"),
            ("status sshd", "`wardenctl list --jail sshd`"),
            ("get sshd bantime", "`wardenctl cat-config --jail sshd`"),
            ("set sshd addignoreip 203.0.113.7", "`wardenctl ignore 203.0.113.7 --jail sshd`"),
            ("set sshd delignoreip 203.0.113.7", "`wardenctl unignore 203.0.113.7 --jail sshd`"),
            ("set sshd maxretry 3", "`wardenctl help fail2ban`"),
            ("restart", "`systemctl restart wardend`"),
        ] {
            assert!(hint_for(theirs).contains(ours), "{theirs}: {}", hint_for(theirs));
        }
        assert_eq!(hint_for("list"), "");
        assert_eq!(hint_for("status --json"), "");
    }

    #[test]
    fn the_manual_has_the_same_table() {
        let page = include_str!("../../man/wardend-from-fail2ban.7").replace("\\-", "-");
        for (theirs, ours) in COMMANDS {
            assert!(page.contains(&format!("T{{\n{theirs}\nT}}\tT{{\n{ours}\nT}}")), "{theirs}");
        }
    }

    #[test]
    fn what_the_table_and_the_hints_say_is_understood() {
        let commands = COMMANDS.iter().filter_map(|(_, ours)| ours.strip_prefix("wardenctl "));
        for command in commands {
            let command = command.replace("IP", "203.0.113.7").replace("JAIL", "sshd").replace("FILTER", "sshd");
            let words = std::iter::once("wardenctl").chain(command.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{command}");
        }
    }
}
