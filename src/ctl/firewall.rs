//! `firewall`: what wardend has in firewalld.

use std::{fs, io, path::Path};

use super::{bus::steer, output::line};

/// Verbs of `firewall`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Firewall {
    /// Takes wardend's policy and ipsets out of firewalld, before the package is removed
    Remove,
}

pub(super) async fn firewall(verb: &Firewall) -> anyhow::Result<()> {
    let daemon = steer().await?;
    match verb {
        Firewall::Remove => daemon.call::<_, ()>("RemoveFirewall", &()).await?,
    }
    line("wardend's policy and ipsets are gone from firewalld; a restart of wardend puts them back.")?;
    let left = clear_away(Path::new("/etc/firewalld"));
    if !left.is_empty() {
        line(&format!("firewalld keeps copies of them, which root may delete: {}", left.join(" ")))?;
    }
    Ok(())
}

/// firewalld keeps what it deletes beside it, under another name. The daemon may not clear that
/// away, but root may. Returns what is left.
fn clear_away(configuration: &Path) -> Vec<String> {
    let is_set = |name: &str| {
        let rest = ["wardend4", "wardend6"].iter().find_map(|set| name.strip_prefix(set));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let mut left = Vec::new();
    for directory in ["policies", "ipsets"] {
        for entry in fs::read_dir(configuration.join(directory)).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".xml.old")) else { continue };
            let ours = if directory == "policies" { name == "wardend" } else { is_set(name) };
            if ours && fs::remove_file(entry.path()).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                left.push(entry.path().display().to_string());
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_copies_that_firewalld_keeps_of_our_own_are_cleared_away() {
        let directory = tempfile::tempdir().unwrap();
        let ours = ["policies/wardend.xml.old", "ipsets/wardend4.xml.old", "ipsets/wardend6-ssh.xml.old"];
        let others =
            ["policies/wardend.xml", "policies/mine.xml.old", "ipsets/wardend44.xml.old", "ipsets/wardend4.old"];
        for name in ours.iter().chain(&others) {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert!(clear_away(directory.path()).is_empty());
        assert!(ours.iter().all(|name| !directory.path().join(name).exists()));
        assert!(others.iter().all(|name| directory.path().join(name).exists()));
        assert!(clear_away(Path::new("/nonexistent")).is_empty());
    }
}
