//! How a program makes records of its messages, and the proof that no client's text makes one.
//!
//! The proof of patterns and pairs speaks of messages. But who writes lines to standard output makes a
//! record of each *line*: a user name with a line break in it makes records of its own, which look in
//! every way like true ones. And who cuts long messages up makes records of the pieces, of which all but
//! the first may begin wherever an attacker likes. So a filter says how its program makes records
//! (`framing`), and here it is proven that no rule reads a piece of a message, or of any text of
//! clients, as a record with another address than the message has.
//!
//! Of messages that no rule is about nothing is known but that they may hold clients' text: all of a
//! record that clients' text makes by itself is looked at, whatever message it stands in.

use super::{
    FilterError,
    checked::{Checked, Written},
    file::{Condition, Counts, FramingWord, KindTable, MessageTable},
    pattern::{Pattern, PatternError},
    proof::{self, Automaton, Cuts, Embedded, Piece, ProofError, Work},
    records::RecordMatch,
    tokens::{Claimed, ClientText, TokenError},
};

/// The length at which journald cuts lines of standard output, if `LineMax=` in journald.conf(5) is not
/// set. The first piece has a field that tells; the others have none.
const LINE_MAX: usize = 48 << 10;

/// How a program makes records.
pub(super) enum Framing {
    Datagrams,
    Lines,
    /// Pieces of this length at most, each but the first with this mark.
    Chunks(usize, Option<Mark>),
}

/// What all pieces but the first begin with.
pub(super) struct Mark {
    pattern: String,
    automaton: Automaton,
}

/// What a filter says of its records, resolved.
pub(super) struct Declared {
    /// The name of the kind of records.
    kind: String,
    pub(super) framing: Framing,
    /// As the filter says it, if it does.
    pub(super) said: Option<FramingWord>,
    pub(super) clients: ClientText,
    /// Lines of standard output are not read: nothing was said of them.
    pub(super) no_lines: bool,
    /// From this length on a record may have been cut.
    pub(super) cut_at: Option<usize>,
    /// From this length on the program drops what is behind.
    pub(super) truncated_at: Option<usize>,
    /// The same, if it is said of this kind alone.
    own_truncated_at: Option<usize>,
}

/// Why what a filter says of its records can't be used: a sentence each.
#[derive(Debug, thiserror::Error)]
pub(super) enum FramingError {
    #[error("{0}.")]
    ClientText(TokenError),
    #[error(
        "with forgeable-lines the lines of standard output are not believed, and framing is about all other records; \
         drop one of the two."
    )]
    ForgeableLines,
    #[error(
        "framing is \"datagrams\", but _TRANSPORT has \"stdout\", and journald makes a record of each line of that; \
         write framing = \"lines\", or drop \"stdout\"."
    )]
    LinesOfDatagrams,
    #[error("chunk-size and chunk-mark are for framing = \"chunks\"; add it, or drop them.")]
    NoChunks,
    #[error("framing is \"chunks\" without chunk-size; say from how many bytes on a message is cut up.")]
    NoSize,
    #[error("chunk-mark {0}.")]
    Mark(MarkError),
}

/// What a filter says of how a kind of records is made: in its table, or else in `[message]`. With the
/// places in the file.
pub(super) struct Said<'t> {
    pub(super) framing: Option<FramingWord>,
    at: usize,
    chunk_size: Option<usize>,
    chunk_mark: Option<(&'t str, usize)>,
    client_text: Option<(&'t str, usize)>,
    own_truncated_at: Option<usize>,
}

impl<'t> Said<'t> {
    /// `at`: where `[records]` stands.
    pub(super) fn of(table: &'t MessageTable, kind: Option<&'t KindTable>, at: usize) -> Self {
        let client_text = table.client_text.as_ref().map(|text| (text.get_ref().as_str(), text.span().start));
        let own = kind.and_then(|kind| Some((kind.client_text.as_deref()?, at)));
        let client_text = own.or(client_text);
        let own_truncated_at = kind.and_then(|kind| kind.truncated_at);
        match kind {
            Some(kind) if kind.framing.is_some() || kind.chunk_size.is_some() || kind.chunk_mark.is_some() => Self {
                framing: kind.framing,
                at,
                chunk_size: kind.chunk_size,
                chunk_mark: kind.chunk_mark.as_deref().map(|mark| (mark, at)),
                client_text,
                own_truncated_at,
            },
            _ => Self {
                framing: table.framing.as_ref().map(|framing| *framing.get_ref()),
                at: table.framing.as_ref().map_or(0, |framing| framing.span().start),
                chunk_size: table.chunk_size,
                chunk_mark: table.chunk_mark.as_ref().map(|mark| (mark.get_ref().as_str(), mark.span().start)),
                client_text,
                own_truncated_at,
            },
        }
    }
}

impl Declared {
    /// Reads the description of a kind of records. The error has the place in the file.
    pub(super) fn of(
        table: &MessageTable,
        said: &Said<'_>,
        records: &RecordMatch,
        work: &mut Work,
    ) -> Result<Self, (usize, FramingError)> {
        let clients = match said.client_text {
            None => ClientText::default(),
            Some((text, at)) => ClientText::parse(text).map_err(|what| (at, FramingError::ClientText(what)))?,
        };
        let (at, declared) = (said.at, said.framing);
        let transports = records.fields.iter().find(|(name, ..)| name == "_TRANSPORT").map(|(_, _, values)| values);
        let asks_for_lines = transports.is_some_and(|values| values.iter().any(|value| value == "stdout"));
        if table.forgeable_lines && declared.is_some_and(|declared| declared != FramingWord::Datagrams) {
            return Err((at, FramingError::ForgeableLines));
        }
        if declared == Some(FramingWord::Datagrams) && asks_for_lines && !table.forgeable_lines {
            return Err((at, FramingError::LinesOfDatagrams));
        }
        if declared != Some(FramingWord::Chunks) && (said.chunk_size.is_some() || said.chunk_mark.is_some()) {
            return Err((at, FramingError::NoChunks));
        }
        let framing = match declared {
            Some(FramingWord::Lines) => Framing::Lines,
            Some(FramingWord::Chunks) => {
                let Some(size) = said.chunk_size else {
                    return Err((at, FramingError::NoSize));
                };
                let mark = said
                    .chunk_mark
                    .map(|(mark, at)| Mark::of(mark, work).map_err(|what| (at, FramingError::Mark(what))));
                Framing::Chunks(size, mark.transpose()?)
            }
            None if asks_for_lines && !table.forgeable_lines => Framing::Lines,
            None | Some(FramingWord::Datagrams) => Framing::Datagrams,
        };
        let no_lines = transports.is_none() && matches!(framing, Framing::Datagrams) && !table.forgeable_lines;
        let limit = match framing {
            Framing::Datagrams => None,
            Framing::Lines => Some(LINE_MAX),
            Framing::Chunks(size, _) => Some(size),
        };
        let own_truncated_at = said.own_truncated_at;
        let truncated_at = own_truncated_at.or(table.truncated_at);
        let cut_at = [limit, truncated_at].into_iter().flatten().min();
        Ok(Self {
            kind: records.name.clone(),
            framing,
            said: declared,
            clients,
            no_lines,
            cut_at,
            truncated_at,
            own_truncated_at,
        })
    }
}

impl Declared {
    /// What is said of how the program makes these records, as far as the proof has to believe it.
    pub(super) fn framing_claims(&self) -> Vec<Claimed> {
        let says = |token: &str, what: String| match self.kind.as_str() {
            "" => Claimed { token: token.to_owned(), what },
            kind => Claimed { token: format!("{token} of records.{kind}"), what },
        };
        let framing = match &self.framing {
            Framing::Datagrams => says("framing", "makes one record of each message".to_owned()),
            Framing::Lines => says("framing", "makes a record of each line".to_owned()),
            Framing::Chunks(size, None) => {
                says("framing", format!("cuts messages into records of {size} bytes, without a mark"))
            }
            Framing::Chunks(size, Some(mark)) => says(
                "framing",
                format!(
                    "cuts messages into records at {size} bytes or at line breaks, all but the first with the mark {}",
                    mark.pattern
                ),
            ),
        };
        let by_default = if self.said.is_some() { "" } else { ", by default" };
        let framing = Claimed { token: framing.token + by_default, ..framing };
        let clients = self.clients.claim().map(|claim| says(&claim.token, claim.what));
        let length = self.own_truncated_at.map(|length| says("truncated-at", dropped(length)));
        [Some(framing), clients, length].into_iter().flatten().collect()
    }

    /// What `[message]` says of the program whatever kind of records it writes.
    pub(super) fn claims(table: &MessageTable) -> Vec<Claimed> {
        let says = |token: &str, what: String| Claimed { token: token.to_owned(), what };
        let length = table.truncated_at.map(|length| says("truncated-at", dropped(length)));
        let lines =
            table.forgeable_lines.then(|| says("forgeable-lines", "may write any line to standard output".to_owned()));
        let address = match &table.address_if {
            None => says(
                if table.address.is_some() { "address" } else { "address, by default" },
                "writes an address, and no name, where one stands".to_owned(),
            ),
            Some(condition) => {
                let Condition { file, line } = condition.get_ref();
                says(
                    "address-if",
                    format!("writes no names for addresses while {} has the line '{line}'", file.display()),
                )
            }
        };
        [length, lines, Some(address)].into_iter().flatten().collect()
    }
}

fn dropped(length: usize) -> String {
    format!("drops what is behind {length} bytes")
}

/// Why a mark can't be used: the end of a sentence that begins with the mark.
#[derive(Debug, thiserror::Error)]
pub(super) enum MarkError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("is refused: {0}")]
    Unproven(ProofError),
    /// The token, as written.
    #[error("has <{0}>; a mark is the program's own, and no address")]
    Address(&'static str),
}

impl Mark {
    fn of(pattern: &str, work: &mut Work) -> Result<Self, MarkError> {
        let all = Pattern::expand(&format!("(?:{pattern})(?s-u:.*)"), &ClientText::default())?;
        let automaton = all.automaton(work).map_err(MarkError::Unproven)?;
        if let Some(token) = all.address {
            return Err(MarkError::Address(token));
        }
        Ok(Self { pattern: pattern.to_owned(), automaton })
    }
}

/// Proves that no rule reads a record that clients' text has made, begun or ended.
pub(super) fn prove(
    declared: &Declared,
    rules: &[&Written<'_>],
    checked: &[&Checked],
    work: &mut Work,
) -> Result<(), FilterError> {
    if matches!(declared.framing, Framing::Datagrams) {
        return Ok(());
    }
    let text = Pattern::expand("<TEXT>", &declared.clients)
        .map_err(|error| error.to_string())
        .and_then(|text| text.automaton(work).map_err(|error| error.to_string()));
    let size = match declared.framing {
        Framing::Chunks(size, None) => Some(size),
        Framing::Lines => Some(LINE_MAX),
        _ => None,
    };
    // Who never writes that much is never cut.
    let size = size.filter(|size| declared.truncated_at.is_none_or(|length| length >= *size));
    let mut far = Vec::new();
    for (rule, sound) in rules.iter().zip(checked) {
        let of = size.map(|size| sound.broad().far(size, work)).transpose();
        far.push(of.map_err(|error| {
            rule.pattern_error(format!("rule '{}' is refused: {error}.", rule.table.name.get_ref()))
        })?);
    }
    let proof = Proof { declared, size, far, rules, checked };
    for (index, rule) in rules.iter().enumerate() {
        // What is known and has no address makes no difference.
        if rule.table.counts == Counts::Nothing && checked[index].pattern.address.is_none() {
            continue;
        }
        let text = text.as_ref().map_err(|what| rule.pattern_error(format!("client-text can't be used: {what}.")))?;
        let unproven = |error: ProofError| {
            rule.pattern_error(format!("rule '{}' is refused: {error}.", rule.table.name.get_ref()))
        };
        if let Some(what) = proof.of(index, text, work).map_err(unproven)? {
            return Err(rule.pattern_error(what));
        }
    }
    Ok(())
}

/// Whether a rule reads the first piece of a message as it reads the whole, wherever that is cut. Only where the
/// other pieces have a mark, so that it reads none of these.
pub(super) fn reads_first_pieces(
    declared: &Declared,
    index: usize,
    checked: &[&Checked],
    work: &mut Work,
) -> Result<bool, ProofError> {
    let Framing::Chunks(_, Some(_)) = declared.framing else { return Ok(false) };
    let rule = &checked[index].automaton;
    for other in checked {
        let message = other.broad();
        let anywhere = vec![true; message.states()];
        if proof::embedded(message, rule, Cuts::Anywhere(&anywhere), Piece::First, work)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Proof<'p, 't> {
    declared: &'p Declared,
    /// The length at which messages are cut without a mark.
    size: Option<usize>,
    /// For each rule, where its messages can be as long as that.
    far: Vec<Option<Vec<bool>>>,
    rules: &'p [&'p Written<'t>],
    checked: &'p [&'p Checked],
}

impl Proof<'_, '_> {
    /// What makes a rule read what it should not.
    fn of(&self, index: usize, text: &Automaton, work: &mut Work) -> Result<Option<String>, ProofError> {
        let rule = &self.checked[index].automaton;
        let name = self.rules[index].table.name.get_ref();
        if let Framing::Chunks(_, Some(mark)) = &self.declared.framing
            && let Some(record) = proof::overlap(rule, &mark.automaton, work)?
        {
            return Ok(Some(format!(
                "rule '{name}' is refused because it reads pieces of longer messages, which begin wherever a client \
                 likes: the record \"{}\" has the mark of one, '{}'. Let the pattern begin with what only the first \
                 piece has.",
                proof::shown(&record),
                mark.pattern
            )));
        }
        let lines = !matches!(self.declared.framing, Framing::Chunks(..));
        if lines && let Some(found) = proof::embedded(text, rule, Cuts::Lines, Piece::Later, work)? {
            return Ok(Some(Self::line(name, None, text, rule, found)));
        }
        // Where a first piece ends, too: only at the maximum length can that be told from the record.
        for (other_index, other) in self.checked.iter().enumerate() {
            let message = other.broad();
            if !message.reads_byte(b'\n') {
                continue;
            }
            let other_name = Some(self.rules[other_index].table.name.get_ref().as_str());
            for which in [Piece::First, Piece::Later] {
                if (lines || which == Piece::First)
                    && let Some(found) = proof::embedded(message, rule, Cuts::Lines, which, work)?
                {
                    return Ok(Some(Self::line(name, other_name, message, rule, found)));
                }
            }
        }
        self.size.map_or(Ok(None), |size| self.cut(index, size, text, work))
    }

    /// Whether the rule reads what is left of a message that was cut at this length.
    fn cut(&self, index: usize, size: usize, text: &Automaton, work: &mut Work) -> Result<Option<String>, ProofError> {
        let rule = &self.checked[index].automaton;
        let name = self.rules[index].table.name.get_ref();
        let anywhere = vec![true; text.states()];
        if let Some(found) = proof::embedded(text, rule, Cuts::Anywhere(&anywhere), Piece::Later, work)? {
            return Ok(Some(self.piece(name, None, size, text, rule, found)));
        }
        for (other_index, other) in self.checked.iter().enumerate() {
            let Some(far) = &self.far[other_index] else { continue };
            let message = other.broad();
            if let Some(found) = proof::embedded(message, rule, Cuts::Anywhere(far), Piece::Later, work)? {
                let other = Some(self.rules[other_index].table.name.get_ref().as_str());
                return Ok(Some(self.piece(name, other, size, message, rule, found)));
            }
        }
        Ok(None)
    }

    /// A line that a client's text has made.
    fn line(name: &str, of: Option<&str>, message: &Automaton, rule: &Automaton, found: Embedded) -> String {
        let found = found.plainer(message, rule);
        let records: Vec<String> =
            found.message.split(|byte| *byte == b'\n').map(|line| format!("\"{}\"", proof::shown(line))).collect();
        let whose = match of {
            Some(of) if of == name => "a message of its own".to_owned(),
            Some(of) => format!("a message of rule '{of}'"),
            None => "a client's text".to_owned(),
        };
        format!(
            "rule '{name}' is refused because it can be fooled: each line is a record, and {whose} may hold line \
             breaks, so \"{}\" becomes the records {}, of which it reads \"{}\"{}. If the program escapes line \
             breaks in all that clients send, say so with client-text = '<TEXT without \"\\n\">' in [message]; if it \
             does not, no filter can tell its records from those of an attacker.",
            proof::shown(&found.message),
            records.join(" and "),
            proof::shown(&found.message[found.record.clone()]),
            found.address(),
        )
    }

    /// The rest of a message that was cut.
    fn piece(
        &self,
        name: &str,
        of: Option<&str>,
        size: usize,
        message: &Automaton,
        rule: &Automaton,
        found: Embedded,
    ) -> String {
        let found = found.plainer(message, rule);
        let whose = match of {
            Some(of) => format!("a message of rule '{of}'"),
            None => "a client's text".to_owned(),
        };
        let (ahead, rest) = found.message.split_at(found.record.start);
        let why = if matches!(self.declared.framing, Framing::Lines) {
            "journald cuts lines at LineMax= (48 KiB), and the rest is a record without a mark".to_owned()
        } else {
            format!("messages are cut at {size} bytes, and the rest is a record without a mark")
        };
        format!(
            "rule '{name}' is refused because it can be fooled: {why}. So {whose} may become the records \
             \"{}…\" (filled up to {size} bytes) and \"{}\", of which it reads \"{}\"{}. If the program never writes \
             as much as that, say at which length it stops with truncated-at in [message]; else only a pattern helps \
             that needs what the program escapes, with that said by client-text.",
            proof::shown(ahead),
            proof::shown(rest),
            proof::shown(&found.message[found.record.clone()]),
            found.address(),
        )
    }
}

impl Embedded {
    /// The address that is read, for a sentence.
    fn address(&self) -> String {
        if self.place.is_empty() {
            return String::new();
        }
        format!(" with the address \"{}\"", proof::shown(&self.message[self.place.clone()]))
    }

    /// The same with a whole address (of the blocks for examples) in place of the shortest text that could
    /// be one, if that is still so.
    fn plainer(self, message: &Automaton, rule: &Automaton) -> Self {
        if self.place.is_empty() {
            return self;
        }
        let Embedded { message: bytes, record, place } = &self;
        let mut plain = bytes[..place.start].to_vec();
        plain.extend_from_slice(b"198.51.100.2");
        let new = place.start..plain.len();
        plain.extend_from_slice(&bytes[place.end..]);
        let grown = plain.len() - bytes.len();
        let moved = Self { record: record.start..record.end + grown, place: new.clone(), message: plain };
        let inner = new.start - record.start..new.end - record.start;
        let holds = message.matches(&moved.message) && rule.reads(&moved.message[moved.record.clone()], &inner);
        if holds { moved } else { self }
    }
}
