//! The pardons of this machine, which outlast a restart: nothing else knows of them.

use std::{collections::BTreeMap, fs, io, io::Write, path::PathBuf};

use ipnet::IpNet;
use wardend::shared::{parse_network, text_of};

use crate::core::Seconds;

/// The most of them; the one that ends first goes.
const MOST: usize = 10_000;

/// The pardons, and where they are kept.
#[derive(Debug, Default)]
pub(crate) struct Pardons {
    all: BTreeMap<IpNet, Seconds>,
    file: Option<PathBuf>,
}

impl Pardons {
    /// Those that were kept in this directory; none without one.
    pub(crate) fn load(directory: Option<PathBuf>) -> Self {
        let file = directory.map(|directory| directory.join("pardons"));
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        let entry = |line: &str| {
            let (source, until) = line.split_once(' ')?;
            Some((parse_network(source).ok()?, until.parse().ok()?))
        };
        Self { all: text.lines().filter_map(entry).collect(), file }
    }

    /// All of them, each with its end.
    pub(crate) fn all(&self) -> &BTreeMap<IpNet, Seconds> {
        &self.all
    }

    /// Adds one, and keeps it.
    pub(crate) fn add(&mut self, source: IpNet, until: Seconds) {
        self.all.insert(source, until);
        if self.all.len() > MOST
            && let Some(first) = self.all.iter().min_by_key(|(_, until)| **until).map(|(source, _)| *source)
        {
            self.all.remove(&first);
        }
        self.save();
    }

    /// The clock was set by this number of seconds, and each lasts as long as it would have.
    pub(crate) fn shift(&mut self, by: i64) {
        if self.all.is_empty() {
            return;
        }
        self.all.values_mut().for_each(|until| *until = until.saturating_add_signed(by));
        self.save();
    }

    /// Forgets what has ended.
    pub(crate) fn expire(&mut self, now: Seconds) {
        let before = self.all.len();
        self.all.retain(|_, until| *until > now);
        if self.all.len() < before {
            self.save();
        }
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = self.write(file) {
            tracing::warn!(
                "The pardons can't be kept in {}: {error}; they end when wardend-fleet does.",
                file.display()
            );
        }
    }

    fn write(&self, file: &PathBuf) -> io::Result<()> {
        let lines: Vec<String> =
            self.all.iter().map(|(source, until)| format!("{} {until}", text_of(*source))).collect();
        let text = lines.join("\n");
        let fresh = file.with_extension("new");
        let mut handle = fs::File::create(&fresh)?;
        handle.write_all(text.as_bytes())?;
        handle.sync_all()?;
        fs::rename(&fresh, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pardon_outlasts_a_restart_and_no_longer_than_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Pardons::load(Some(directory.path().to_owned()));
        let source: IpNet = "2001:db8::/64".parse().unwrap();
        load().add(source, 100);
        let mut pardons = load();
        assert_eq!(pardons.all().get(&source), Some(&100));
        pardons.expire(100);
        assert!(load().all().is_empty());
        fs::write(directory.path().join("pardons"), "junk\n203.0.113.7 x\n203.0.113.8 7\n").unwrap();
        assert_eq!(load().all().len(), 1);
    }
}
