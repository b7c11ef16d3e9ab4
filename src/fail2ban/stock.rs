//! What fail2ban's defaults mean, for set-ups of which only an administrator's own files are there.
//!
//! These lie below all files, so a set-up's own `jail.conf` replaces them.

/// Section (none is `[DEFAULT]`), key and value.
pub(super) const VALUES: &[(&str, &str, &str)] = &[
    ("", "enabled", "false"),
    ("", "mode", "normal"),
    ("", "filter", "%(__name__)s[mode=%(mode)s]"),
    ("", "port", "0:65535"),
    ("", "protocol", "tcp"),
    ("", "banaction", "iptables-multiport"),
    ("", "banaction_allports", "iptables-allports"),
    ("", "action", "%(action_)s"),
    ("", "action_", "%(banaction)s[port=\"%(port)s\", protocol=\"%(protocol)s\"]"),
    ("", "action_mw", "%(action_)s\nsendmail-whois"),
    ("", "action_mwl", "%(action_)s\nsendmail-whois-lines"),
    ("", "action_xarf", "%(action_)s\nxarf-login-attack"),
    ("", "action_cf_mwl", "cloudflare\nsendmail-whois-lines"),
    ("", "action_abuseipdb", "abuseipdb"),
    ("", "action_blocklist_de", "blocklist_de"),
    ("", "action_badips", "badips"),
    ("sshd", "port", "ssh"),
    ("recidive", "banaction", "%(banaction_allports)s"),
    ("recidive", "bantime", "1w"),
];

/// Names that its files of paths define.
pub(super) fn name(key: &str) -> Option<&'static str> {
    Some(match key {
        "sshd_log" | "syslog_authpriv" | "dropbear_log" => "/var/log/auth.log",
        "sshd_backend" | "syslog_backend" | "default_backend" => "auto",
        "fail2ban_version" => "1.1.0",
        "fail2ban_confpath" => "/etc/fail2ban",
        "maxretry" => "5",
        "findtime" | "bantime" => "10m",
        _ => return None,
    })
}
