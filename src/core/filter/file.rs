//! Filter files, as written: TOML with strict keys, each value with its place in the text.
//!
//! A filter is `filters/NAME.toml`, taken whole from the first directory that has it, and the
//! drop-ins `filters/NAME.d/*.toml` of all directories, which add rules or mask single ones. This
//! is the raw half of raw-then-resolved: it says what the files say. What they mean, and whether
//! they can be used, is for [`super::load`].

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use toml::Spanned;

use super::FilterError;
use crate::util::suggest::toml_mistake;

/// The text of a filter file or of one of its drop-ins; the path is for messages only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterText {
    /// Where it was read.
    pub(crate) path: PathBuf,
    /// What it says.
    pub text: String,
}

impl FilterText {
    /// A text and its place.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// A mistake at a byte of this text.
    pub(crate) fn error(&self, at: usize, what: impl Into<String>) -> FilterError {
        FilterError { file: self.path.display().to_string(), line: line_of(&self.text, at), what: what.into() }
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, FilterError> {
        toml::from_str(&self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, toml_mistake(&error))
        })
    }
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FilterFile {
    #[serde(default)]
    pub(crate) description: String,
    /// The ports of the service, as in a jail.
    #[serde(default)]
    pub(crate) ports: Vec<Spanned<String>>,
    /// How to make the program log to the journal, if it does not do so by default.
    pub(crate) setup: Option<Spanned<String>>,
    /// The text files that the program writes by itself, and that the filter can read as well.
    #[serde(default)]
    pub(crate) files: Vec<Spanned<PathBuf>>,
    /// Mode name → the number of failures that lead to a ban, where a jail does not say.
    #[serde(default)]
    pub(crate) maxretry: BTreeMap<String, Spanned<u32>>,
    pub(crate) records: Spanned<RecordsTable>,
    #[serde(default)]
    pub(crate) message: MessageTable,
    /// Mode name → classes that a jail in this mode counts.
    pub(crate) modes: Spanned<BTreeMap<String, Vec<String>>>,
    #[serde(rename = "rule", default)]
    pub(crate) rules: Vec<RuleTable>,
}

/// A drop-in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DropIn {
    /// Values to add to those of `[records]`.
    pub(crate) records: Option<Spanned<RecordsTable>>,
    /// Rules that are not to be used: of the filter, or of drop-ins that come earlier.
    #[serde(default)]
    pub(crate) mask: Vec<Spanned<String>>,
    #[serde(rename = "rule", default)]
    pub(crate) rules: Vec<RuleTable>,
}

/// `[records]`: field name → values; `units` is no field but the list of unit names, `programs` that of
/// program names, and `same` a list of fields. And the tables in it: kinds of records, by their names,
/// of which each has what all have in common as well.
#[derive(Debug, Default)]
pub(crate) struct RecordsTable {
    pub(crate) common: BTreeMap<String, Vec<String>>,
    pub(crate) kinds: BTreeMap<String, KindTable>,
}

impl RecordsTable {
    /// The number of values in it.
    pub(crate) fn len(&self) -> usize {
        let own = self.kinds.values().flat_map(|kind| kind.fields.values());
        self.common.values().chain(own).map(Vec::len).sum()
    }
}

/// `[records.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KindTable {
    /// In place of what `[message]` says.
    pub(crate) framing: Option<FramingWord>,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) chunk_mark: Option<String>,
    pub(crate) client_text: Option<String>,
    pub(crate) truncated_at: Option<usize>,
    #[serde(flatten)]
    pub(crate) fields: BTreeMap<String, Vec<String>>,
}

/// A value in `[records]`.
enum Entry {
    Values(Vec<String>),
    Kind(KindTable),
}

impl<'de> Deserialize<'de> for RecordsTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Self::default();
        for (name, entry) in BTreeMap::<String, Entry>::deserialize(deserializer)? {
            match entry {
                Entry::Values(values) => drop(table.common.insert(name, values)),
                Entry::Kind(kind) => drop(table.kinds.insert(name, kind)),
            }
        }
        Ok(table)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of values, or a table with a kind of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Entry, A::Error> {
                Deserialize::deserialize(de::value::SeqAccessDeserializer::new(values)).map(Entry::Values)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Entry, A::Error> {
                Deserialize::deserialize(de::value::MapAccessDeserializer::new(table)).map(Entry::Kind)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `[message]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MessageTable {
    /// The fields whose values together name one connection.
    #[serde(default)]
    pub(crate) session: Vec<String>,
    /// The length at which the program cuts its messages off.
    pub(crate) truncated_at: Option<usize>,
    /// How the program makes records of its messages.
    pub(crate) framing: Option<Spanned<FramingWord>>,
    /// The length at which a message is cut up into several records.
    pub(crate) chunk_size: Option<usize>,
    /// What all of these but the first begin with.
    pub(crate) chunk_mark: Option<Spanned<String>>,
    /// What any text of clients looks like in the program's messages.
    pub(crate) client_text: Option<Spanned<String>>,
    /// What stands where an address should.
    #[serde(default)]
    pub(crate) address: Option<Spanned<AddressForm>>,
    /// What must be so for it to be an address always.
    pub(crate) address_if: Option<Spanned<Condition>>,
    /// The program writes line breaks as they are to its standard output, so that a client's text
    /// can make lines of its own.
    #[serde(default)]
    pub(crate) forgeable_lines: bool,
    /// How messages begin that show that the service is used, and after each of which messages of
    /// its own must come that a rule reads.
    #[serde(default)]
    pub(crate) signs: Vec<String>,
}

/// The word in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FramingWord {
    /// A message is a record, line breaks and all.
    Datagrams,
    /// A line is a record.
    Lines,
    /// A message that is too long is several records.
    Chunks,
}

/// What a program writes where an address should stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AddressForm {
    /// An address, always.
    Number,
    /// The name that the client's reverse zone gives it, which may look like an address.
    MayBeAName,
}

/// A line of a file of the program's, which must be there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// The file's path.
    pub(crate) file: PathBuf,
    /// A line of it, but for blanks around it.
    pub(crate) line: String,
}

/// `[[rule]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub(crate) struct RuleTable {
    pub(crate) name: Spanned<String>,
    /// What a jail may choose to count. Only failures and evidence are counted.
    pub(crate) class: Option<Spanned<String>>,
    pub(crate) counts: Counts,
    pub(crate) pattern: Spanned<String>,
    /// The kinds of records that the rule reads; none for all.
    #[serde(default)]
    pub(crate) records: Vec<Spanned<String>>,
    /// Rules with the same word here are two views of the same attempts: of their counts in a
    /// session, or of an address where there is none, only the largest counts.
    pub(crate) attempt: Option<Spanned<String>>,
    /// The message is the last one of its session.
    #[serde(default)]
    pub(crate) ends_session: bool,
    /// The number of failures that each of the message's counts as.
    pub(crate) weight: Option<Spanned<u32>>,
    /// The message is the first one of its session: whatever was open under the same name is over.
    #[serde(default)]
    pub(crate) begins_session: bool,
    /// The message belongs to no session: the listener wrote it.
    #[serde(default)]
    pub(crate) standalone: bool,
    /// The message may also end a connection on which somebody has logged in, and is of no weight then.
    #[serde(default)]
    pub(crate) after_login: bool,
    /// The program gave the session up, whatever it was doing: an attempt that was pending has
    /// failed.
    #[serde(default)]
    pub(crate) gives_up: bool,
    /// A shorter length for messages of this rule.
    pub(crate) truncated_at: Option<usize>,
    /// Rules that this one goes before where both match.
    #[serde(default)]
    pub(crate) over: Vec<Spanned<String>>,
    #[serde(rename = "match", default)]
    pub(crate) matches: Vec<Spanned<Example>>,
    #[serde(default)]
    pub(crate) ignore: Vec<Spanned<String>>,
}

/// What a message says about the session that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Counts {
    /// One failed attempt, now.
    Failure,
    /// One failed attempt, if the session ends without a counted one and without a success.
    Evidence,
    /// One attempt is being judged, and the next line of the session says what came of it; one
    /// failed attempt, if there is none.
    Pending,
    /// The client was turned away for failures that it had before.
    Refusal,
    /// The client got in: evidence is dropped, and the session's failures are forgiven.
    Success,
    /// The last failure of the session was none: the credential was right.
    Pardon,
    /// Nothing; known, and of no weight.
    Nothing,
}

impl Counts {
    /// Whether a jail can choose to count it, by its class.
    pub(crate) fn has_class(self) -> bool {
        matches!(self, Self::Failure | Self::Evidence | Self::Pending | Self::Refusal)
    }

    /// The word in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Evidence => "evidence",
            Self::Pending => "pending",
            Self::Refusal => "refusal",
            Self::Success => "success",
            Self::Pardon => "pardon",
            Self::Nothing => "nothing",
        }
    }
}

/// One line that a rule must match.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    pub(crate) message: String,
    pub(crate) address: Option<String>,
    pub(crate) user: Option<String>,
}

/// The line, from 1, on which the byte `at` of `text` stands.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}
