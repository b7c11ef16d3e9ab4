//! `reload`: the unit's `ExecReload=`, which waits and fails with the daemon's sentence.

use super::bus::{manager, sentence};

pub(super) async fn reload() -> anyhow::Result<()> {
    manager().await?.reload().await.map_err(sentence)
}
