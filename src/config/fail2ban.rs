//! What settings of fail2ban are called here, for people whose fingers know them.

/// What to do instead of a setting of fail2ban that doesn't exist here, as the end of a sentence.
pub(super) fn instead_of(key: &str) -> Option<&'static str> {
    Some(match key {
        "logpath" | "backend" | "journalmatch" | "logencoding" | "datepattern" | "maxlines" | "systemd_if_nologs" => {
            "wardend reads no log files: it reads the journal, and the [records] of a filter say whose records"
        }
        "failregex" | "ignoreregex" | "prefregex" | "filter_options" => {
            "rules are in a filter, which is proven when it is loaded; see wardend.filter(5)"
        }
        "port" => "write ports = [\"ssh\"] with services of firewalld or numbers, or ports = \"all\"",
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
        _ => return None,
    })
}
