//! What settings of fail2ban are called here, for people whose fingers know them.

/// A sentence for a mistake on this line, if it is one that people make who know fail2ban: its settings, or
/// the form of its files. `message` is what the parser says.
pub(super) fn mistake(message: &str, line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name.trim()) {
        let foreign = message.starts_with("unknown field") && !section.contains('.') && section != "DEFAULT";
        return foreign.then(|| match section {
            "Definition" | "Init" | "INCLUDES" => {
                format!("[{section}] is a section of fail2ban's filters and actions; filters are written as in wardend.filter(5).")
            }
            _ => format!("there is no section [{section}]; a jail is written as [jail.{section}]."),
        });
    }
    let (key, value) = line.split_once(['=', ':'])?;
    let (key, value) = (key.trim(), value.trim());
    if let Some(instead) = instead_of(key) {
        return Some(format!("'{key}' is a setting of fail2ban; {instead}."));
    }
    if message.starts_with("string values must be quoted") {
        return Some(match value.to_ascii_lowercase().as_str() {
            "yes" | "on" => format!("{key} is neither a number nor a text in quotes; write {key} = true."),
            "no" | "off" => format!("{key} is neither a number nor a text in quotes; write {key} = false."),
            _ if key == "ignoreip" => format!("write a list of texts in quotes: ignoreip = [{}].", quoted(value)),
            _ => format!("text is written in quotes: {key} = \"{}\".", value.replace(['"', '\\'], "")),
        });
    }
    let wanted = message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))?.1;
    Some(match wanted {
        "a sequence" => format!("{key} is a list; write {key} = [{}].", quoted(value.trim_matches(['"', '\'']))),
        "i64" => format!("{key} is a number; write it without quotes."),
        "a boolean" => format!("{key} is true or false, without quotes."),
        _ => return None,
    })
}

/// Words with blanks or commas between them, as a list of texts.
fn quoted(words: &str) -> String {
    let words = words.split([' ', ',']).filter(|word| !word.is_empty());
    words.map(|word| format!("\"{}\"", word.replace(['"', '\\'], ""))).collect::<Vec<_>>().join(", ")
}

/// What to do instead of a setting of fail2ban that doesn't exist here, as the end of a sentence.
pub(super) fn instead_of(key: &str) -> Option<&'static str> {
    Some(match key {
        "logpath" | "backend" | "journalmatch" | "logencoding" | "datepattern" | "maxlines" | "systemd_if_nologs" => {
            "wardend reads no log files: it reads the journal, and the [records] of a filter say whose records"
        }
        "failregex" | "ignoreregex" | "prefregex" | "filter_options" => {
            "rules are in a filter, which is proven when it is loaded; see wardend.filter(5)"
        }
        "port" => "write ports = [\"ssh\"] with services of firewalld or numbers, or ports = \"service\" or \"all\"",
        "protocol" => "write it with the port, such as ports = [\"2222/tcp\"]",
        "banaction" | "banaction_allports" | "actionban" | "actionunban" => {
            "bans always go through firewalld; ports = \"all\" closes all ports, action = \"reject\" answers"
        }
        "blocktype" => "write action = \"drop\" or action = \"reject\"",
        "chain" => "firewalld decides where bans apply; ports published by containers are out of reach, see wardend(8)",
        "usedns" => "nothing is looked up: only addresses that the service itself has written count",
        "ignoreself" => "the addresses of this machine are never banned",
        "ignorecommand" | "ignorecache" => "list addresses, networks and names in ignoreip",
        "dbfile" | "dbpurgeage" | "dbmaxmatches" => {
            "the state is in /var/lib/wardend, and forget says how long bans are remembered"
        }
        "maxmatches" => "explain shows the latest failures of an address",
        "destemail" | "sender" | "sendername" | "mta" => {
            "each ban is a journal record (MESSAGE_ID in wardend.journal-fields(7)), which a program can follow"
        }
        "loglevel" | "logtarget" | "syslogsocket" => {
            "wardend logs to the journal; `systemctl service-log-level wardend debug` makes it say more"
        }
        "bantime.increment" => {
            "bans of a source grow by bantime-factor up to bantime-max; bantime-factor = 1 keeps them equal"
        }
        "bantime.factor" => "write bantime-factor",
        "bantime.formula" | "bantime.multipliers" => {
            "bans grow by bantime-factor, a number by which each is longer than the one before"
        }
        "bantime.maxtime" => "write bantime-max",
        "bantime.rndtime" => "write bantime-jitter",
        "bantime.overalljails" => "each jail has a ban history of its own",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_who_know_fail2ban_is_answered_with_what_to_write_here() {
        const QUOTES: &str = "string values must be quoted, expected literal string";
        for (message, line, says) in [
            ("unknown field `sshd`, expected `default` or `jail`", "[sshd]", "write"),
            ("unknown field `INCLUDES`, expected `default` or `jail`", "[INCLUDES]", "wardend.filter(5)"),
            (QUOTES, "logpath = /var/log/auth.log", "reads no log files"),
            (QUOTES, "backend = systemd", "reads no log files"),
            (QUOTES, "bantime = 10m", "bantime = \"10m\""),
            (QUOTES, "enabled = yes", "enabled = true"),
            (QUOTES, "ignoreip = 127.0.0.1/8 ::1", "ignoreip = [\"127.0.0.1/8\", \"::1\"]"),
            ("this is not a valid time span", "bantime.increment = true", "bantime-factor"),
            ("this is not a valid time span", "bantime.maxtime = \"5w\"", "bantime-max"),
            (
                "invalid type: string \"x\", expected a sequence",
                "ignoreip = \"192.0.2.1 ::1\"",
                "[\"192.0.2.1\", \"::1\"]",
            ),
            ("invalid type: string \"5\", expected i64", "maxretry = \"5\"", "without quotes"),
        ] {
            let said = mistake(message, line).unwrap_or_default();
            assert!(said.contains(says) || says == "write" && said.ends_with("[jail.sshd]."), "{line}: {said}");
        }
        for (message, line) in [
            ("duplicate key", "maxretry = 5"),
            ("unknown field `x`", "x = 1"),
            ("unknown field `DEFAULT`", "[DEFAULT]"),
        ] {
            assert_eq!(mistake(message, line), None, "{line}");
        }
    }
}
