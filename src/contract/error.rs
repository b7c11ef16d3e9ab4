//! What a bus call can fail with. busctl and wardenctl print only the text, so each is a whole
//! sentence.

use crate::core::{ExceptionKind, engine::CommandError, net::AddressError};

/// An error of `org.wardend1`.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.wardend1.Error")]
pub(crate) enum Error {
    /// What the bus itself says.
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchJail(String),
    NotBanned(String),
    NeverBanned(String),
    Spared(String),
    NotIgnored(String),
    NotPaused(String),
    NotSuspected(String),
    InvalidAddress(String),
    InvalidArgument(String),
    InvalidConfiguration(String),
    NotAuthorized(String),
    LimitsExceeded(String),
    Failed(String),
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::InvalidAddress(error.to_string())
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        let text = error.to_string();
        match error {
            CommandError::NoSuchJail(..) | CommandError::NoJailNamed(_) => Self::NoSuchJail(text),
            CommandError::NotBanned(_) => Self::NotBanned(text),
            CommandError::Ignored(..) => Self::NeverBanned(text),
            CommandError::Spared(..) => Self::Spared(text),
            CommandError::Untimely(..) => Self::InvalidArgument(text),
            CommandError::Full(..) | CommandError::TooMany(_) => Self::LimitsExceeded(text),
            CommandError::NoException(ExceptionKind::Ignored, _) => Self::NotIgnored(text),
            CommandError::NoException(ExceptionKind::Paused, _) => Self::NotPaused(text),
            CommandError::NoException(ExceptionKind::Suspected, _) => Self::NotSuspected(text),
        }
    }
}

impl Error {
    /// Its name and its sentence, for an answer that has several of them.
    pub(crate) fn in_words(&self) -> (String, String) {
        let text = zbus::DBusError::description(self).map_or_else(|| self.to_string(), str::to_owned);
        (zbus::DBusError::name(self).to_string(), text)
    }
}
