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
    ("dropbear", "port", "ssh"),
    ("proftpd", "port", "ftp,ftp-data,ftps,ftps-data"),
    ("pure-ftpd", "port", "ftp,ftp-data,ftps,ftps-data"),
    ("vsftpd", "port", "ftp,ftp-data,ftps,ftps-data"),
    ("postfix", "port", "smtp,465,submission"),
    ("postfix-sasl", "port", "smtp,465,submission,imap,imaps,pop3,pop3s"),
    ("dovecot", "port", "pop3,pop3s,imap,imaps,submission,465,sieve"),
    ("exim", "port", "smtp,465,submission"),
    ("sendmail-auth", "port", "submission,465,smtp"),
    ("cyrus-imap", "port", "imap,imaps"),
    ("courier-auth", "port", "smtp,465,submission,imap,imaps,pop3,pop3s"),
    ("nginx-http-auth", "port", "http,https"),
    ("apache-auth", "port", "http,https"),
    ("lighttpd-auth", "port", "http,https"),
    ("traefik-auth", "port", "http,https"),
    ("mysqld-auth", "port", "3306"),
    ("named-refused", "port", "domain,953"),
    ("monit", "port", "2812"),
    ("webmin-auth", "port", "10000"),
    ("roundcube-auth", "port", "http,https"),
    ("ejabberd-auth", "port", "5222"),
    ("slapd", "port", "ldap,ldaps"),
    ("squid", "port", "80,443,3128,8080"),
    ("gitlab", "port", "http,https"),
    ("grafana", "port", "http,https"),
    ("bitwarden", "port", "http,https"),
    ("postfix-sasl", "filter", "postfix[mode=auth]"),
    ("recidive", "banaction", "%(banaction_allports)s"),
    ("recidive", "bantime", "1w"),
    ("recidive", "findtime", "1d"),
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

/// The filters that fail2ban brings; a file of another name is an administrator's own.
const FILTERS: &str = "3proxy apache-auth apache-badbots apache-botsearch apache-common apache-fakegooglebot \
    apache-modsecurity apache-nohome apache-noscript apache-overflows apache-pass apache-shellshock assp asterisk \
    bitwarden botsearch-common centreon common counter-strike courier-auth courier-smtp cyrus-imap dante directadmin \
    domino-smtp dovecot dropbear drupal-auth ejabberd-auth exim exim-common exim-spam freeswitch froxlor-auth gitlab \
    grafana groupoffice gssftpd guacamole haproxy-http-auth horde kerio lighttpd-auth mongodb-auth monit monitorix \
    mssql-auth murmur mysqld-auth nagios named-refused nginx-bad-request nginx-botsearch nginx-error-common \
    nginx-forbidden nginx-http-auth nginx-limit-req nsd openhab openvpn openwebmail oracleims pam-generic perdition \
    php-url-fopen phpmyadmin-syslog portsentry postfix postfix-rbl postfix-sasl proftpd proxmox pure-ftpd qmail recidive \
    roundcube-auth routeros-auth scanlogd screensharingd selinux-common selinux-ssh sendmail-auth sendmail-reject \
    sendmail-spam sieve slapd softethervpn sogo-auth solid-pop3d squid squirrelmail sshd sshd-ddos stunnel suhosin \
    tine20 traefik-auth uwimap-auth vaultwarden vsftpd webmin-auth wuftpd xinetd-fail znc-adminlog zoneminder";

pub(super) fn has_filter(name: &str) -> bool {
    FILTERS.split_whitespace().any(|known| known == name)
}
