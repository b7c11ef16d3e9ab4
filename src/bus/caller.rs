//! Who calls: the bus knows the user of each connection.

use zbus::{
    Connection,
    fdo::DBusProxy,
    names::{BusName, UniqueName},
};

use crate::contract::error::Error;

/// Who calls, and whether that is one who may do everything.
pub(super) async fn caller(own: &Connection, sender: UniqueName<'_>) -> Result<(u32, bool), Error> {
    let bus = DBusProxy::new(own).await?;
    let user = bus
        .get_connection_unix_user(BusName::from(sender))
        .await
        .map_err(|error| Error::NotAuthorized(format!("Can't identify the caller: {error}.")))?;
    if user == 0 {
        return Ok((user, true));
    }
    if let Some(name) = own.unique_name()
        && bus.get_connection_unix_user(BusName::from(name.clone())).await.is_ok_and(|own| own == user)
    {
        return Ok((user, true));
    }
    Ok((user, false))
}
