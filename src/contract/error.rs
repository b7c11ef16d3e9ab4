//! What a bus call can fail with. busctl and wardenctl print only the text, so each is a whole
//! sentence.

use crate::core::engine::CommandError;

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
    InvalidAddress(String),
    InvalidArgument(String),
    InvalidConfiguration(String),
    NotAuthorized(String),
    LimitsExceeded(String),
    Failed(String),
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        let text = error.to_string();
        match error {
            CommandError::NoSuchJail(..) => Self::NoSuchJail(text),
            CommandError::NotBanned(_) => Self::NotBanned(text),
            CommandError::Ignored(..) => Self::NeverBanned(text),
        }
    }
}
