//! The tokens of patterns: each is a claim about what the program writes in its place.
//!
//! Some can't be wrong to anybody's harm: what is at `<ADDR>` is parsed, `<PORT>` is digits.
//! `<USER>` and `<TEXT>` claim nothing: any bytes, as an attacker likes them. The others say that
//! the program keeps something out of its text, and the proof takes their word for it; so each has a
//! name that can be looked up in a manual, and `wardenctl verify` lists them ([`Claimed`]). A class of
//! the author's own, such as `[^"]*`, says the same without a name, and is not believed.

use regex::bytes::{Captures, Regex};

use super::MOST_TIMES;

/// Name of the capture group of `<ADDR>`.
pub(super) const ADDR: &str = "ADDR";
/// Name of the capture group of `<USER>` and `<ACCOUNT>`.
pub(super) const USER: &str = "USER";
/// Name of the capture group of `<PID>`.
pub(super) const PID: &str = "PID";
/// Name of the capture group of the first `<PORT>`, the client's.
pub(super) const PORT: &str = "PORT";
/// Name of the capture group of `<COUNT>`.
pub(super) const COUNT: &str = "COUNT";
/// Name of the capture group of `<SESSION>`.
pub(super) const SESSION: &str = "SESSION";

/// What a message has in a group.
pub(super) fn what(group: &str) -> &'static str {
    match group {
        ADDR => "address",
        USER => "user",
        PID => "process",
        PORT => "port",
        COUNT => "number of failures",
        _ => "session",
    }
}

/// A token of a pattern: its name between the angle brackets, and what it stands for.
struct Token {
    name: &'static str,
    group: Option<&'static str>,
    stands: Stands,
    /// What it says of the program, as the end of a sentence.
    claim: Option<&'static str>,
}

/// What stands at a token.
enum Stands {
    /// This, whoever has chosen it.
    Own(&'static str),
    /// This, and clients choose it.
    Chosen(&'static str),
    /// The text of clients, of which the author may leave bytes out.
    Text,
}

/// A key's fingerprint, spelt out so that nothing can be hidden in it.
macro_rules! print {
    () => {
        "(?:SHA256:[A-Za-z0-9+/]{43}|MD5(?::[0-9a-f]{2}){16})"
    };
}

/// An address with what may follow it, its scope.
macro_rules! scoped {
    ($address:literal) => {
        concat!($address, "(?:%[0-9A-Za-z_.-]+)?")
    };
}

/// The tokens. `<ADDR>` takes any run of address characters: more than an IP parser accepts,
/// so what is proven of it holds for real addresses. `<ACCOUNT>` is the name of an account that
/// exists, so no attacker has chosen it.
const TOKENS: [Token; 16] = [
    Token { name: "ADDR", group: Some(ADDR), stands: Stands::Own(scoped!("[0-9A-Fa-f:.]+")), claim: None },
    Token { name: "ADDR4", group: Some(ADDR), stands: Stands::Own("[0-9]{1,3}(?:\\.[0-9]{1,3}){3}"), claim: None },
    Token {
        name: "ADDR6",
        group: Some(ADDR),
        stands: Stands::Own(scoped!("[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")),
        claim: None,
    },
    Token { name: "USER", group: Some(USER), stands: Stands::Text, claim: None },
    Token {
        name: "ACCOUNT",
        group: Some(USER),
        stands: Stands::Own("[^ ]+"),
        claim: Some("writes only names of accounts that exist, none with a blank in it"),
    },
    Token { name: "TEXT", group: None, stands: Stands::Text, claim: None },
    Token {
        name: "WORD",
        group: None,
        stands: Stands::Chosen("[^\\x00-\\x20\\x7f]+"),
        claim: Some("writes no blank and no control character"),
    },
    Token {
        name: "QUOTED",
        group: None,
        stands: Stands::Chosen("(?:[^\"\\\\\\x00-\\x1f]|\\\\[^\\x00-\\x1f])*"),
        claim: Some("escapes quotation marks, backslashes and control characters"),
    },
    Token {
        name: "HOST",
        group: None,
        stands: Stands::Chosen("[0-9A-Za-z._:-]+"),
        claim: Some("writes only letters, digits and the characters '.', '_', ':' and '-'"),
    },
    Token { name: "PORT", group: Some(PORT), stands: Stands::Own("[0-9]{1,5}"), claim: None },
    Token { name: "PID", group: Some(PID), stands: Stands::Own("[0-9]{1,10}"), claim: None },
    Token { name: "COUNT", group: Some(COUNT), stands: Stands::Own("[0-9]{1,6}"), claim: None },
    Token { name: "SESSION", group: Some(SESSION), stands: Stands::Own("[0-9A-Za-z+/=_-]{1,64}"), claim: None },
    Token { name: "NUM", group: None, stands: Stands::Own("[0-9]+"), claim: None },
    Token { name: "PRINT", group: None, stands: Stands::Own(print!()), claim: None },
    Token { name: "KEY", group: None, stands: Stands::Own(concat!("[A-Z0-9-]+ ", print!())), claim: None },
];

/// What a filter says of its program by using a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claimed {
    /// The token, as written.
    pub(crate) token: String,
    /// The end of a sentence that begins with the program.
    pub(crate) what: String,
}

/// Why a token can't be used: the end of a sentence that begins with the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("has the unknown token <{0}>; there are {known} (write a plain '<' as \\x3c)", known = all())]
    Unknown(String),
    #[error("has <{0}>, but only <USER> and <TEXT> can be without something")]
    NotText(String),
    #[error("has <{0}>; write what it is without in quotation marks, as in <TEXT without \":\\n\">")]
    Without(String),
    /// A sentence of its own.
    #[error("client-text is one token of clients' text, as <TEXT>, <WORD>, <QUOTED> or <TEXT without \"\\n\">")]
    NotClientText,
}

/// All tokens, for a sentence.
fn all() -> String {
    TOKENS.iter().map(|token| format!("<{}>", token.name)).collect::<Vec<_>>().join(", ")
}

/// A token as it is used.
pub(super) struct Used {
    pub(super) name: &'static str,
    pub(super) group: Option<&'static str>,
    pub(super) expression: String,
    /// Clients choose what stands there.
    pub(super) chosen: bool,
    /// Whatever bytes they choose.
    pub(super) anything: bool,
    pub(super) claim: Option<Claimed>,
}

/// What a filter says of all text of clients in its program's messages: that some bytes are never in it,
/// or that it is of the form of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientText {
    form: Option<&'static str>,
    without: Vec<u8>,
    /// As written.
    pub(super) written: Option<String>,
}

impl ClientText {
    /// Reads `[message] client-text`.
    pub(super) fn parse(text: &str) -> Result<Self, TokenError> {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let (name, without) = inner.ok_or(TokenError::NotClientText).and_then(split)?;
        let form = match TOKENS.iter().find(|token| token.name == name) {
            Some(Token { stands: Stands::Text, group: None, .. }) => None,
            Some(Token { stands: Stands::Chosen(form), .. }) if without.is_empty() => Some(*form),
            _ => return Err(TokenError::NotClientText),
        };
        Ok(Self { form, without, written: Some(text.to_owned()) })
    }

    /// It may be anything.
    pub(super) fn is_anything(&self) -> bool {
        self.form.is_none() && self.without.is_empty()
    }

    /// The expression of text that leaves out these bytes as well.
    pub(super) fn expression(&self, without: &[u8]) -> String {
        match self.form {
            Some(form) => form.to_owned(),
            None if self.without.is_empty() && without.is_empty() => "(?s-u:.*)".to_owned(),
            None => {
                let bytes = self.without.iter().chain(without).map(|byte| format!("\\x{byte:02x}"));
                format!("[^{}]*", bytes.collect::<String>())
            }
        }
    }

    /// What it says of the program.
    pub(super) fn claim(&self) -> Option<Claimed> {
        let token = self.written.clone().filter(|_| !self.is_anything())?;
        let known = TOKENS.iter().find(|token| matches!(token.stands, Stands::Chosen(form) if Some(form) == self.form));
        let what = match known.and_then(|token| token.claim) {
            Some(claim) => format!("{claim} in any text of clients"),
            None => format!("never writes {} in any text of clients", listed(&self.without)),
        };
        Some(Claimed { token, what })
    }
}

/// The token that is written between angle brackets.
pub(super) fn find(inner: &str, clients: &ClientText) -> Result<Used, TokenError> {
    let (name, without) = split(inner)?;
    let Some(token) = TOKENS.iter().find(|token| token.name == name) else {
        return Err(TokenError::Unknown(name.to_owned()));
    };
    let is_text = matches!(token.stands, Stands::Text);
    if !is_text && !without.is_empty() {
        return Err(TokenError::NotText(inner.to_owned()));
    }
    let written = format!("<{inner}>");
    let claim = match token.claim {
        Some(claim) => Some(Claimed { token: written, what: claim.to_owned() }),
        None if without.is_empty() => None,
        None => Some(Claimed { token: written, what: format!("never writes {}", listed(&without)) }),
    };
    Ok(Used {
        name: token.name,
        group: token.group,
        expression: match token.stands {
            Stands::Own(expression) | Stands::Chosen(expression) => expression.to_owned(),
            Stands::Text => clients.expression(&without),
        },
        chosen: !matches!(token.stands, Stands::Own(_)),
        anything: is_text && without.is_empty() && clients.is_anything(),
        claim,
    })
}

/// Where the token that begins behind a '<' ends: the next '>' outside of quotation marks.
pub(super) fn end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if at > 0 => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The name of a token, and the bytes that it is without.
fn split(inner: &str) -> Result<(&str, Vec<u8>), TokenError> {
    let Some((name, bytes)) = inner.split_once(" without ") else { return Ok((inner, Vec::new())) };
    let quoted = bytes.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|bytes| !bytes.is_empty());
    let mistake = || TokenError::Without(inner.to_owned());
    let mut without = Vec::new();
    let mut rest = quoted.ok_or_else(mistake)?.bytes();
    while let Some(byte) = rest.next() {
        without.push(match byte {
            b'\\' => match rest.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(plain @ (b'\\' | b'"')) => plain,
                _ => return Err(mistake()),
            },
            0..=127 => byte,
            _ => return Err(mistake()),
        });
    }
    Ok((name, without))
}

fn listed(bytes: &[u8]) -> String {
    let named = |byte: &u8| match byte {
        b'\n' => "line breaks".to_owned(),
        b' ' => "blanks".to_owned(),
        byte => format!("'{}'", byte.escape_ascii()),
    };
    bytes.iter().map(named).collect::<Vec<_>>().join(", ")
}

/// What the tokens of a rule took from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tokens<'m> {
    pub(super) address: Option<&'m [u8]>,
    pub(super) user: Option<&'m [u8]>,
    pub(super) pid: Option<&'m [u8]>,
    pub(super) port: Option<&'m [u8]>,
    pub(super) count: Option<&'m [u8]>,
    pub(super) session: Option<&'m [u8]>,
}

impl<'m> Tokens<'m> {
    /// In the order of the groups: a group that is asked for by its name is looked up by a hash of it, which
    /// takes as long as the match.
    pub(super) fn of(regex: &Regex, captures: &Captures<'m>) -> Self {
        let mut tokens = Self { address: None, user: None, pid: None, port: None, count: None, session: None };
        for (name, token) in regex.capture_names().zip(captures.iter()).skip(1) {
            let place = match name {
                Some(ADDR) => &mut tokens.address,
                Some(USER) => &mut tokens.user,
                Some(PID) => &mut tokens.pid,
                Some(PORT) => &mut tokens.port,
                Some(COUNT) => &mut tokens.count,
                Some(SESSION) => &mut tokens.session,
                _ => continue,
            };
            *place = token.map(|token| token.as_bytes());
        }
        tokens
    }

    /// The number of failures: one, if the message doesn't say.
    pub(super) fn times(&self) -> u32 {
        let Some(count) = self.count else { return 1 };
        std::str::from_utf8(count)
            .ok()
            .and_then(|count| count.parse().ok())
            .map_or(1, |count: u32| count.min(MOST_TIMES))
    }

    pub(super) fn port(&self) -> Option<u16> {
        std::str::from_utf8(self.port?).ok()?.parse().ok()
    }
}
