//! What systemd says of units (org.freedesktop.systemd1(5)). Every local user may ask.

use std::{os::unix::ffi::OsStrExt, path::Path};

use zbus::{Connection, OwnedObjectPath, proxy, proxy::CacheProperties};

/// Name, description, load state, active state, sub state, what it follows, object, job, job type, job object.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<Listed>>;
    fn get_unit_file_state(&self, name: &str) -> zbus::Result<String>;
}

#[proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
trait Service {
    #[zbus(property)]
    fn log_level_max(&self) -> zbus::Result<i32>;
}

/// The unit of a template for a path, as `systemd-escape --path --template` names it.
pub(crate) fn of_path(template: &str, path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let trimmed: Vec<&[u8]> = bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let mut instance = String::new();
    for (index, byte) in trimmed.join(&b'/').into_iter().enumerate() {
        match byte {
            b'/' => instance.push('-'),
            b'.' if index == 0 => instance.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) => instance.push(char::from(byte)),
            byte => instance.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if instance.is_empty() {
        instance.push('-');
    }
    template.replacen('@', &format!("@{instance}"), 1)
}

/// A unit that is active.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) name: String,
    path: OwnedObjectPath,
}

async fn manager(connection: &Connection) -> zbus::Result<ManagerProxy<'static>> {
    ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await
}

/// The active units among those that the globs name, by their names.
pub(crate) async fn active(connection: &Connection, globs: &[&str]) -> zbus::Result<Vec<Active>> {
    let listed = manager(connection).await?.list_units_by_patterns(&["active", "reloading"], globs).await?;
    let mut active: Vec<Active> = listed.into_iter().map(|unit| Active { name: unit.0, path: unit.6 }).collect();
    active.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(active)
}

/// Whether a unit is started at boot: `enabled`, `disabled`, `masked` and so on; nothing if there is none.
pub(crate) async fn file_state(connection: &Connection, name: &str) -> zbus::Result<Option<String>> {
    match manager(connection).await?.get_unit_file_state(name).await {
        Ok(state) => Ok(Some(state)),
        Err(zbus::Error::MethodError(..)) => Ok(None),
        Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::FileNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The least important level of what a service writes that journald takes; nothing if it takes all.
pub(crate) async fn log_level_max(connection: &Connection, unit: &Active) -> zbus::Result<Option<i32>> {
    let service = ServiceProxy::builder(connection).path(&unit.path).cache_properties(CacheProperties::No);
    let level = service.build().await?.log_level_max().await?;
    Ok((level >= 0).then_some(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_as_systemd_escapes_it() {
        for (path, instance) in [
            ("/var/log/nginx/access.log", "var-log-nginx-access.log"),
            ("//var//log/a-b c", "var-log-a\\x2db\\x20c"),
            ("/.hidden/é", "\\x2ehidden-\\xc3\\xa9"),
            ("/", "-"),
        ] {
            assert_eq!(of_path("x@.service", Path::new(path)), format!("x@{instance}.service"));
        }
    }
}
