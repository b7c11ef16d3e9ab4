//! Why `[records]` can't be used.

use super::MOST_KINDS;

/// A sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::core::filter) enum RecordsError {
    #[error("there are {0} kinds of records; name at most {most}, or make two filters of this one.", most = MOST_KINDS)]
    TooMany(usize),
    #[error(
        "[records.{0}]: '{0}' is not a valid name for a kind of records; use lowercase letters, digits and '-', as in \
         [records.access]."
    )]
    KindName(String),
    /// A mistake of one kind.
    #[error("[records.{0}]: {1}")]
    OfKind(String, Box<RecordsError>),
    #[error("there are no records '{name}'; {mend}.")]
    Unknown { name: String, mend: String },
    #[error("[records.{0}]: a drop-in can't say how records are made; copy the filter to change that.")]
    Framing(String),
    #[error("there are no records '{0}' that a drop-in could add to.")]
    NoKind(String),
    #[error("{0} has no value, so no record could match; name one or drop the line.")]
    NoValue(String),
    #[error("same holds '{0}', which is not a journal field; name two or more fields.")]
    SameField(String),
    #[error("'{0}' is not a journal field; they are upper case, as in systemd.journal-fields(7).")]
    NotAField(String),
    #[error(
        "no trusted field (one that begins with '_', such as _UID) is asked for, so any local user could forge records; \
         add one."
    )]
    NothingTrusted,
    #[error("_UID has '{0}'; write the number of a user, or the name, such as \"postfix\".")]
    User(String),
    #[error(
        "the filter has no list '{0}' that a drop-in could add to, and a new one would leave out records that it reads; \
         copy the filter to change that."
    )]
    NoList(String),
    #[error(
        "the filter does not ask for '{name}', so a drop-in can't add values to it; it asks for {known}, and a drop-in \
         can add to units and programs."
    )]
    NotAsked { name: String, known: String },
    #[error("programs holds '{0}'; write the name alone, without the directory.")]
    Program(String),
    #[error(
        "programs are identified by their names, which only root's processes can't choose freely; add _UID = [\"0\"]."
    )]
    NotRoots,
}
