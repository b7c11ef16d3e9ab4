//! fail2ban's actions: which of them ban, which report, and what does the same here.

use super::call::{Call, calls};

/// What an action is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Closes ports of this machine.
    Ban,
    /// Closes all ports of this machine, or routes to them.
    BanAll,
    /// Blocks somewhere else.
    BanElsewhere,
    Mail,
    Chat,
    /// Reports to a list of others.
    Report,
    Nothing,
    /// An administrator's own, or one that is not known.
    Other,
}

/// By the beginnings of their names.
const KINDS: [(&str, Kind); 46] = [
    ("iptables", Kind::Ban),
    ("ip6tables", Kind::Ban),
    ("nftables", Kind::Ban),
    ("firewallcmd", Kind::Ban),
    ("firewalld", Kind::Ban),
    ("pf", Kind::Ban),
    ("ipfw", Kind::Ban),
    ("bsd-ipfw", Kind::Ban),
    ("npf", Kind::Ban),
    ("ipfilter", Kind::Ban),
    ("osx-", Kind::Ban),
    ("ufw", Kind::BanAll),
    ("route", Kind::BanAll),
    ("shorewall", Kind::BanAll),
    ("apf", Kind::BanAll),
    ("hostsdeny", Kind::BanAll),
    ("symbiosis-blacklist", Kind::BanAll),
    ("cloudflare", Kind::BanElsewhere),
    ("mikrotik", Kind::BanElsewhere),
    ("netscaler", Kind::BanElsewhere),
    ("nginx-block-map", Kind::BanElsewhere),
    ("nsupdate", Kind::BanElsewhere),
    ("sendmail", Kind::Mail),
    ("mail", Kind::Mail),
    ("mutt", Kind::Mail),
    ("msmtp", Kind::Mail),
    ("smtp.py", Kind::Mail),
    ("complain", Kind::Report),
    ("xarf", Kind::Report),
    ("abuseipdb", Kind::Report),
    ("blocklist", Kind::Report),
    ("badips", Kind::Report),
    ("dshield", Kind::Report),
    ("mynetwatchman", Kind::Report),
    ("ipthreat", Kind::Report),
    ("apprise", Kind::Chat),
    ("telegram", Kind::Chat),
    ("slack", Kind::Chat),
    ("discord", Kind::Chat),
    ("matrix", Kind::Chat),
    ("ntfy", Kind::Chat),
    ("gotify", Kind::Chat),
    ("pushover", Kind::Chat),
    ("rocketchat", Kind::Chat),
    ("mattermost", Kind::Chat),
    ("dummy", Kind::Nothing),
];

/// An action of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) call: Call,
    pub(crate) kind: Kind,
}

impl Action {
    fn new(call: Call) -> Self {
        let name = call.name.to_lowercase();
        let known = KINDS.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, kind)| *kind);
        let named =
            || KINDS.iter().find(|(part, kind)| *kind == Kind::Chat && name.contains(part)).map(|(_, kind)| *kind);
        let kind = known.or_else(named).unwrap_or(Kind::Other);
        let all = kind == Kind::Ban
            && (name.contains("allports")
                || call.option("type").is_some_and(|kind| kind.eq_ignore_ascii_case("allports")));
        Self { call, kind: if all { Kind::BanAll } else { kind } }
    }

    /// Whether it keeps somebody out of this machine, as far as is known.
    pub(crate) fn may_ban(&self) -> bool {
        matches!(self.kind, Kind::Ban | Kind::BanAll | Kind::Other)
    }

    /// What to do instead, as the end of a sentence; nothing for what wardend does itself.
    pub(crate) fn remedy(&self) -> Option<String> {
        let name = &self.call.name;
        let follow = "set up a handler that does (wardend-notify(8))";
        Some(match self.kind {
            Kind::Ban | Kind::BanAll | Kind::Nothing => return None,
            Kind::Mail => format!(
                "'{name}' sends a mail for each ban, which wardend itself does not; write settings.to = \"ADDRESS\" into /etc/wardend/notify.d/mail.toml (wardend-notify(8))"
            ),
            Kind::Chat => format!(
                "'{name}' sends a message for each ban, which wardend itself does not; set up a web service (wardend-notify(8))"
            ),
            Kind::Report => format!("'{name}' reports each ban to others, which wardend itself does not; {follow}"),
            Kind::BanElsewhere => {
                format!(
                    "'{name}' blocks at another place than this machine, which wardend does not; {follow}, or leave the jail to fail2ban"
                )
            }
            Kind::Other => format!("'{name}' is an action of your own, which wardend does not run; {follow}"),
        })
    }
}

/// The actions that a value names.
pub(crate) fn actions(text: &str) -> Vec<Action> {
    calls(text).into_iter().map(Action::new).collect()
}

/// Whether `blocktype` refuses; none if that can't be determined.
pub(crate) fn refuses(blocktype: &str) -> Option<bool> {
    let word = blocktype.trim().to_ascii_lowercase();
    match word.split_whitespace().next().unwrap_or_default() {
        "drop" | "deny" | "blackhole" => Some(false),
        first if first.starts_with("reject") => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_by_its_name() {
        for (text, kind) in [
            ("iptables-multiport", Kind::Ban),
            ("nftables[type=multiport]", Kind::Ban),
            ("nftables[type=allports]", Kind::BanAll),
            ("firewallcmd-allports", Kind::BanAll),
            ("iptables-ipset-proto6-allports", Kind::BanAll),
            ("ufw", Kind::BanAll),
            ("sendmail-whois-lines[name=x]", Kind::Mail),
            ("my-telegram", Kind::Chat),
            ("abuseipdb", Kind::Report),
            ("cloudflare-token", Kind::BanElsewhere),
            ("own", Kind::Other),
        ] {
            assert_eq!(actions(text)[0].kind, kind, "{text}");
        }
        for (text, expected) in [
            ("DROP", Some(false)),
            ("REJECT --reject-with icmp-port-unreachable", Some(true)),
            ("reject", Some(true)),
            ("<x>", None),
            ("", None),
        ] {
            assert_eq!(refuses(text), expected, "{text}");
        }
    }
}
