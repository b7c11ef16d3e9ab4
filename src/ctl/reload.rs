//! `reload`: the unit's `ExecReload=`, which waits and fails with the daemon's sentence.

use super::bus::steer;

pub(super) async fn reload() -> anyhow::Result<()> {
    steer().await?.call("Reload", &()).await
}
