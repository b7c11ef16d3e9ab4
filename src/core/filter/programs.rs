//! What is known of programs that has been seen to fool filters, and that no pattern shows.
//!
//! A filter is about a program by name. Where a program resolves addresses without checking the answer,
//! or is known to cut its messages up, a filter for it must say so: else its author doesn't know, and a
//! proof of what they believe is worth nothing. A filter that names no program is about all of them whose
//! messages its rules read.

use toml::Spanned;

use super::{
    FilterError, FilterText,
    file::{AddressForm, Condition, FramingWord, MessageTable},
    proof::Automaton,
    records::RecordMatch,
};

/// A fact about a program.
#[derive(Debug)]
pub(super) enum Fact {
    /// Where the address stands it prints the name of the client's reverse zone, without asking whether the
    /// name belongs to the address: records that show it, and the setting with which it does not.
    Names(&'static [&'static str], &'static str),
    /// Messages that are long or have line breaks in them become several records: such that an attacker began,
    /// and what to write.
    Chunks(&'static [&'static str], &'static str),
}

impl Fact {
    /// Whether a filter says it of its program.
    fn is_said(&self, form: Option<AddressForm>, framing: Option<FramingWord>) -> bool {
        match self {
            Self::Names(..) => form == Some(AddressForm::MayBeAName),
            Self::Chunks(..) => framing == Some(FramingWord::Chunks),
        }
    }

    fn records(&self) -> &'static [&'static str] {
        match self {
            Self::Names(records, _) | Self::Chunks(records, _) => records,
        }
    }

    /// Why a filter that does not say it is refused: with the record that fools it.
    fn refusal(&self, program: &str, record: &str) -> String {
        match self {
            Self::Names(_, mend) => format!(
                "the filter is refused because it can be fooled: where the address stands, {program} prints whatever \
                 name the client's own reverse zone gives it. A client at 198.51.100.2 whose name there is \
                 \"192.0.2.1\" makes the record \"{record}\". Write address = \"may-be-a-name\" in [message]; {mend}."
            ),
            Self::Chunks(_, mend) => format!(
                "the filter is refused because it can be fooled: {program} makes several records of a long message, and \
                 a client chooses where the second begins, as in \"{record}\". Write framing = \"chunks\" with {mend} \
                 in [message]."
            ),
        }
    }
}

/// Programs, their units, and what is known of them.
static FACTS: [(&[&str], &[&str], Fact); 4] = [
    (
        &["pure-ftpd"],
        &["pure-ftpd"],
        Fact::Names(
            &["(?@192.0.2.1) [WARNING] Authentication failed for user [x]"],
            "with DontResolve set to yes it prints numbers; say so with address-if = { file = \
             \"/etc/pure-ftpd/conf/DontResolve\", line = \"yes\" }",
        ),
    ),
    (
        &["login", "telnetd", "in.telnetd"],
        &["inetutils-inetd", "telnet"],
        Fact::Names(
            &[
                "pam_unix(login:auth): authentication failure; logname= uid=0 euid=0 tty=/dev/pts/0 ruser= rhost=192.0.2.1",
                "pam_unix(login:auth): authentication failure; logname= uid=0 euid=0 tty=/dev/pts/0 ruser= rhost=192.0.2.1  user=x",
                "FAILED LOGIN 1 FROM 192.0.2.1 FOR x, Authentication failure",
            ],
            "no setting changes that, so no filter can tell who it was",
        ),
    ),
    (
        &["exim", "exim4"],
        &["exim", "exim4"],
        Fact::Chunks(
            &["[2/2] 2026-01-01 00:00:00 plain_server authenticator failed for (x) [192.0.2.1]: 535 Incorrect \
               authentication data (set_id=x)"],
            "chunk-size = 870 and chunk-mark = '\\[(?:[2-9]|[1-9][0-9]+)/[0-9]+\\] '",
        ),
    ),
    (
        &["postgres", "postgresql"],
        &["postgresql"],
        Fact::Chunks(
            &["[8-2] x [7-1] 2026-01-01 00:00:00 UTC [7] LOG:  connection received: host=192.0.2.1 port=1"],
            "chunk-size = 900 and chunk-mark = '\\[[0-9]+-(?:[2-9]|[1-9][0-9]+)\\] '",
        ),
    ),
];

/// Why what a filter says of its program can't be believed: a sentence each.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    /// It does not say what is known of the program, which this record shows.
    #[error("{}", fact.refusal(program, record))]
    Unsaid { program: String, fact: &'static Fact, record: &'static str },
    /// The same of a filter that names no program.
    #[error(
        "{} Or name the programs whose records it is about, with SYSLOG_IDENTIFIER or units in [records].",
        fact.refusal(program, record)
    )]
    OfAny { program: &'static str, fact: &'static Fact, record: &'static str },
    #[error(
        "address is \"may-be-a-name\", so whoever owns a reverse zone can have anybody banned: a client at \
         198.51.100.2 whose name there is \"192.0.2.1\" makes a record with the address 192.0.2.1. If a setting of \
         the program makes it print numbers, name the line that sets it with address-if = {{ file = \"…\", line = \
         \"…\" }}; else no filter can tell who it was."
    )]
    MayBeAName,
    #[error("address-if is the condition for address = \"may-be-a-name\"; add that, or drop the line.")]
    NoCondition,
}

/// Whether a filter says what is known of its program, and whether that leaves anything to read. The error has
/// the place in the file.
pub(super) fn check(
    table: &MessageTable,
    framing: Option<FramingWord>,
    records: &RecordMatch,
) -> Result<(), (usize, ProgramError)> {
    let form = table.address.as_ref().map(|form| *form.get_ref());
    let at = table.address.as_ref().map_or(0, |form| form.span().start);
    for (names, units, fact) in &FACTS {
        let Some(program) = about(records, names, units).filter(|_| !fact.is_said(form, framing)) else { continue };
        let at = match fact {
            Fact::Names(..) => at,
            Fact::Chunks(..) => table.framing.as_ref().map_or(0, |it| it.span().start),
        };
        let record = fact.records().first().copied().unwrap_or_default();
        return Err((at, ProgramError::Unsaid { program, fact, record }));
    }
    if form == Some(AddressForm::MayBeAName) && table.address_if.is_none() {
        return Err((at, ProgramError::MayBeAName));
    }
    if let Some(condition) = table.address_if.as_ref().filter(|_| form != Some(AddressForm::MayBeAName)) {
        return Err((condition.span().start, ProgramError::NoCondition));
    }
    Ok(())
}

/// The same of a filter whose records may be any program's: whether a rule, as this automaton reads messages, takes
/// a record of one of these for another's.
pub(super) fn check_rule(
    table: &MessageTable,
    framing: Option<FramingWord>,
    records: &RecordMatch,
    rule: &Automaton,
) -> Result<(), ProgramError> {
    let names_programs = |name: &str| ["SYSLOG_IDENTIFIER", "_COMM", "_EXE", "_SYSTEMD_UNIT"].contains(&name);
    if !records.programs.is_empty()
        || !records.units.is_empty()
        || records.fields.iter().any(|(name, ..)| names_programs(name))
    {
        return Ok(());
    }
    let form = table.address.as_ref().map(|form| *form.get_ref());
    for (names, _, fact) in FACTS.iter().filter(|(.., fact)| !fact.is_said(form, framing)) {
        if let Some(record) = fact.records().iter().find(|record| rule.matches(record.as_bytes())) {
            let program = names.first().copied().unwrap_or_default();
            return Err(ProgramError::OfAny { program, fact, record });
        }
    }
    Ok(())
}

/// A condition, and the error if it doesn't hold.
pub(super) fn condition(text: &FilterText, condition: Spanned<Condition>) -> (Condition, FilterError) {
    let at = condition.span().start;
    let condition = condition.into_inner();
    let error = text.error(
        at,
        format!(
            "{} has no line '{}' here, so the program may print names for addresses: a client at 198.51.100.2 whose \
             name in its own reverse zone is \"192.0.2.1\" would have 192.0.2.1 banned. Set it in the program's \
             configuration, or do without this filter.",
            condition.file.display(),
            condition.line
        ),
    );
    (condition, error)
}

/// The name of the program that a filter is about, if it is one of these.
fn about(records: &RecordMatch, names: &[&str], units: &[&str]) -> Option<String> {
    let of = |wanted: &'static [&'static str]| {
        records.fields.iter().filter(|(name, ..)| wanted.contains(&name.as_str())).flat_map(|(_, _, values)| values)
    };
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut programs = of(&["SYSLOG_IDENTIFIER", "_COMM", "_EXE"]).chain(&records.programs).map(|name| base(name));
    let mut unit_names = of(&["_SYSTEMD_UNIT"]).chain(&records.units).map(|unit| {
        let end = unit.find(['@', '*', '.']).unwrap_or(unit.len());
        unit[..end].to_owned()
    });
    programs
        .find(|name| names.contains(&name.as_str()))
        .or_else(|| unit_names.find(|name| units.contains(&name.as_str())))
}
