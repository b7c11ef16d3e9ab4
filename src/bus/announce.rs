//! Which properties have changed: one PropertiesChanged for all of an object, and not one each.
//!
//! What was told last is compared with what the object says now, so that no place in the daemon
//! has to remember which property it has just changed. How often that happens is the daemon's
//! business (at most once a second, whatever comes in).

use std::{borrow::Cow, collections::HashMap};

use zbus::{
    Connection, OwnedVariant, Variant, fdo,
    object_server::{Interface, InterfaceRef},
};

/// Properties that are not announced: they change with every record, or with the time.
pub(super) const QUIET: [&str; 4] = ["BanLatency", "JournalCursor", "JournalLagUSec", "NRecords"];

/// An interface of an object, and what was told of its properties.
pub(super) struct Announcer<I> {
    pub(super) interface: InterfaceRef<I>,
    told: HashMap<String, OwnedVariant>,
}

impl<I: Interface> Announcer<I> {
    /// An object is announced in full when it is added, so its first values are not a change.
    pub(super) async fn new(connection: &Connection, interface: InterfaceRef<I>) -> zbus::Result<Self> {
        let mut announcer = Self { interface, told: HashMap::new() };
        announcer.begin(connection).await?;
        Ok(announcer)
    }

    /// What the object says now needs no announcement.
    pub(super) async fn begin(&mut self, connection: &Connection) -> zbus::Result<()> {
        self.told = properties(connection, &self.interface).await?;
        Ok(())
    }

    /// Announces what is not as it was told last.
    pub(super) async fn announce(&mut self, connection: &Connection) -> zbus::Result<()> {
        let now = properties(connection, &self.interface).await?;
        let changed: HashMap<&str, Variant<'_>> = now
            .iter()
            .filter(|(name, value)| self.told.get(*name) != Some(value))
            .map(|(name, value)| (name.as_str(), Variant::from(value.clone())))
            .collect();
        if !changed.is_empty() {
            let emitter = self.interface.signal_emitter();
            fdo::Properties::properties_changed(emitter, I::name(), changed, Cow::Borrowed(&[])).await?;
        }
        self.told = now;
        Ok(())
    }
}

async fn properties<I: Interface>(
    connection: &Connection,
    interface: &InterfaceRef<I>,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let object = interface.get().await;
    let mut all = object.get_all(connection.object_server(), connection, None, interface.signal_emitter()).await?;
    all.retain(|name, _| !QUIET.contains(&name.as_str()));
    Ok(all)
}
