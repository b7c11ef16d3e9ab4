//! How programs write what a client has chosen, to be filled with hostile names.

/// What a program makes of a client's text.
pub(crate) type Escape = fn(&[u8]) -> Vec<u8>;

/// The formats of the programs: the filter, what is ahead of the client's text, behind it, and how it is escaped.
/// `{R}` is the client's address.
pub(crate) const FORMATS: [(&str, &str, &str, Escape); 31] = [
    ("apache", "[auth_basic:error] [pid 944:tid 961] [client {R}:46819] AH01618: user ", " not found: /p/", broken),
    (
        "cockpit",
        "pam_unix(cockpit:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost={R}  user=",
        "",
        raw,
    ),
    (
        "dovecot",
        "imap-login: Login aborted: Logged out (auth failed, 1 attempts in 2 secs) (auth_failed): user=<",
        ">, method=PLAIN, rip={R}, lip=192.0.2.10, TLS, session=<abc>",
        marked,
    ),
    (
        "dovecot",
        "pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=",
        " rhost={R} ",
        raw,
    ),
    (
        "ejabberd",
        "2026-11-25 07:46:26.622+00:00 [warning] (tls|<0.520.0>) Failed c2s PLAIN authentication for ",
        "@localhost from ::ffff:{R}: Invalid username or password",
        at_cut,
    ),
    (
        "exim",
        "2026-11-25 07:31:40 plain_server authenticator failed for (x) [{R}]: 535 Incorrect authentication data (set_id=",
        ")",
        broken,
    ),
    (
        "exim",
        "2026-11-25 07:31:40 plain_server authenticator failed for (",
        ") [{R}]: 535 Incorrect authentication data (set_id=x)",
        word,
    ),
    (
        "haproxy",
        "{R}:40991 [25/Nov/2026:07:44:52.234] f f/<NOSRV> 0/-1/-1/-1/0 401 246 - - LR-- 3/3/0/0/0 0/0 {} \"GET /",
        " HTTP/1.1\"",
        quoted,
    ),
    ("lighttpd", "(mod_auth.c.862) password doesn't match for /private/ username: ", " IP: {R}", raw),
    ("monit", "HttpRequest: access denied -- client [{R}]: unknown user '", "'", raw),
    (
        "nginx",
        "2026/11/25 07:46:14 [error] 398#398: *2 user \"",
        "\": password mismatch, client: {R}, server: , request: \"GET / HTTP/1.1\"",
        colon_cut,
    ),
    (
        "apache",
        "[Wed Nov 25 07:31:48.123456 2026] [auth_basic:error] [pid 944:tid 961] [client {R}:46819] AH01618: user ",
        " not found: /p/",
        broken,
    ),
    ("nginx", "{R} - ", " [25/Nov/2026:07:46:14 +0000] \"GET / HTTP/1.1\" 401 172 \"-\" \"-\"", quoted),
    ("nginx", "{R} - - [25/Nov/2026:07:46:16 +0000] \"GET /", " HTTP/1.1\" 404 146 \"-\" \"-\"", quoted),
    (
        "postfix",
        "warning: unknown[{R}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=",
        "",
        marked,
    ),
    ("postfix", "NOQUEUE: reject: RCPT from unknown[{R}]: 454 4.7.1 <", ">: Relay access denied; from=<x>", marked),
    ("pure-ftpd", "(?@{R}) [WARNING] Authentication failed for user [", "]", raw),
    ("rsyncd", "auth failed on module priv from UNKNOWN ({R}) for ", ": no matching rule", raw),
    ("rsyncd", "unknown module '", "' tried from UNKNOWN ({R})", raw),
    (
        "samba",
        "  {\"timestamp\": \"2026-11-25T07:27:30.430242+0000\", \"type\": \"Authentication\", \"Authentication\": {\"version\": {\"major\": 1, \"minor\": 3}, \"eventId\": 4625, \"logonId\": \"0\", \"logonType\": 3, \"status\": \"NT_STATUS_NO_SUCH_USER\", \"localAddress\": \"ipv4:192.0.2.10:445\", \"remoteAddress\": \"ipv4:{R}:46975\", \"clientAccount\": \"",
        "\"}}",
        quoted,
    ),
    ("squid", "1795591513.662    318 {R} TCP_DENIED/407 3466 GET http://192.0.2.10/ ", " HIER_NONE/- text/html", raw),
    (
        "vsftpd",
        "pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=",
        " rhost={R} ",
        word,
    ),
    (
        "proftpd",
        "vm (host.example[{R}]) - USER ",
        ": no such user found from host.example [{R}] to ::ffff:192.0.2.10:21",
        raw,
    ),
    ("dovecot", "auth(", ",{R},sasl:plain)<04MflS9hnJd/AAAB>: passwd-file: unknown user", no_comma),
    (
        "dovecot",
        "imap-login: Login aborted: Logged out (sent invalid base64 in response, 2 attempts in 0 secs) (invalid_base64): user=<",
        ">, method=PLAIN, rip={R}, lip=192.0.2.10, TLS, session=<abc>",
        marked,
    ),
    ("vsftpd", "[", "] FAIL LOGIN: Client \"{R}\"", unquoted),
    ("apache", "[auth_form:error] [pid 82:tid 103] [client {R}:38954] AH01808: user '", "' not found: /f/l", broken),
    (
        "apache",
        "[auth_digest:error] [pid 82:tid 87] [client {R}:38870] AH01790: user `",
        "' in realm `x' not found: /d/",
        broken,
    ),
    (
        "haproxy",
        "{R} - - [26/Nov/2026:15:15:39 +0000] \"GET /",
        " HTTP/1.1\" 401 246 \"\" \"\" 55128 078 \"f\" \"f\" \"<NOSRV>\" 0 -1 -1 -1 0 LR-- 1 1 0 0 0 0 0 \"\" \"\" \"Basic\" ",
        quoted,
    ),
    (
        "squid",
        "{R} - ",
        " [26/Nov/2026:15:17:05 +0000] \"GET http://e.example/ HTTP/1.1\" 407 3447 \"-\" \"-\" TCP_DENIED:HIER_NONE",
        bracketed,
    ),
    (
        "squid",
        "{R} - x [26/Nov/2026:15:17:05 +0000] \"GET http://e.example/ HTTP/1.1\" 407 3447 \"",
        "\" \"-\" TCP_DENIED:HIER_NONE",
        raw,
    ),
];

fn raw(text: &[u8]) -> Vec<u8> {
    text.to_vec()
}

/// Without blanks and control bytes.
fn word(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte > b' ' && *byte != 0x7f).collect()
}

/// With a mark in the place of each unprintable byte.
fn marked(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if (b' '..0x7f).contains(byte) { *byte } else { b'?' }).collect()
}

/// With escaped line breaks.
fn broken(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|byte| if *byte == b'\n' { b"\\n".to_vec() } else { vec![*byte] }).collect()
}

/// With quotation marks, backslashes and control bytes escaped.
fn quoted(text: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | 0..b' ' | 0x7f.. => format!("\\x{byte:02x}").into_bytes(),
        byte => vec![*byte],
    };
    text.iter().flat_map(escaped).collect()
}

/// Without commas: Dovecot allows fewer characters yet (auth_username_chars).
fn no_comma(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b',').collect()
}

/// Without quotation marks: vsftpd writes them, and its filter doesn't read such a name.
fn unquoted(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b'"').collect()
}

/// With brackets, '%' and all that is not printable as %xx.
fn bracketed(text: &[u8]) -> Vec<u8> {
    let escaped = |byte: &u8| match byte {
        b'[' | b']' | b'%' | 0..b' ' | 0x7f.. => format!("%{byte:02x}").into_bytes(),
        byte => vec![*byte],
    };
    text.iter().flat_map(escaped).collect()
}

/// As far as the first colon.
fn colon_cut(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == b':').next().unwrap_or_default().to_vec()
}

/// As far as the first '@'.
fn at_cut(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == b'@').next().unwrap_or_default().to_vec()
}
