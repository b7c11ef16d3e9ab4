//! Who may change something: root, the daemon's own user, and whoever polkit says.
//!
//! Where polkit is not on the bus only root may, as firewalld does it. The own user is the unit's:
//! `ExecReload=` runs wardenctl as it, and whoever is this user could steer the daemon anyway.

use zbus::{Connection, fdo::DBusProxy, message::Header, names::BusName};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::Error;

/// Checks that the caller may do `action` (`org.wardend1.ban`, …).
pub(crate) async fn check(connection: &Connection, header: &Header<'_>, action: &str) -> Result<(), Error> {
    let sender = header.sender().ok_or_else(|| Error::NotAuthorized("The call has no sender.".to_owned()))?;
    let bus = DBusProxy::new(connection).await?;
    let user = bus
        .get_connection_unix_user(BusName::from(sender.clone()))
        .await
        .map_err(|error| Error::NotAuthorized(format!("The caller can't be told: {error}.")))?;
    if user == 0 {
        return Ok(());
    }
    if let Some(own) = connection.unique_name()
        && bus.get_connection_unix_user(BusName::from(own.clone())).await.is_ok_and(|own| own == user)
    {
        return Ok(());
    }
    let subject = Subject::new_for_message_header(header).map_err(|error| Error::NotAuthorized(format!("{error}.")))?;
    let flags = if header.primary().flags().contains(zbus::message::Flags::ALLOW_INTERACTIVE_AUTH) {
        CheckAuthorizationFlags::ALLOW_USER_INTERACTION
    } else {
        CheckAuthorizationFlags::empty()
    };
    let authority = AuthorityProxy::new(connection).await?;
    match authority
        .check_authorization(&subject, action, &std::collections::HashMap::new(), flags, "")
        .await
        .map_err(zbus::fdo::Error::from)
    {
        Ok(result) if result.is_authorized => Ok(()),
        Ok(result) if result.is_challenge => Err(Error::NotAuthorized(format!(
            "Authentication as an administrator is needed for {action}; run the command as root or with sudo."
        ))),
        Ok(_) => Err(Error::NotAuthorized(format!("You are not authorized for {action}; run the command as root."))),
        Err(zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_)) => Err(Error::NotAuthorized(
            format!("Without polkit only root is authorized for {action}; run the command as root or with sudo."),
        )),
        Err(error) => Err(Error::NotAuthorized(format!("polkit could not be asked about {action}: {error}."))),
    }
}
