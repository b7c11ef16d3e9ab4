//! What an import finds: jails that were converted, and jails that stay.

use super::{
    ignore,
    rules::{OwnRule, Proposal},
    setup::{Place, Remark},
};
use crate::core::filter::BANS;

/// The jail that wardend has without any configuration.
pub(super) const BUILT_IN: &str = "sshd";

/// wardend's defaults, in seconds.
pub(super) const BANTIME: u64 = 600;

/// A line of the drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    /// As TOML.
    pub(crate) value: String,
    /// Where it is from, or why it is there.
    pub(crate) from: String,
}

/// What will be different, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) place: Option<Place>,
    pub(crate) what: String,
}

/// A jail of wardend's.
#[derive(Clone, Debug)]
pub(crate) struct Converted {
    /// As fail2ban calls it.
    pub(crate) theirs: String,
    pub(crate) name: String,
    pub(crate) filter: String,
    pub(crate) place: Place,
    pub(crate) settings: Vec<Setting>,
    pub(crate) ignored: Vec<ignore::Entry>,
    pub(super) ignored_is_shared: bool,
    pub(crate) warnings: Vec<Warning>,
    pub(super) grows: bool,
    pub(super) has_blocktype: bool,
}

/// A jail that stays with fail2ban.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) jail: String,
    pub(crate) place: Place,
    pub(crate) why: String,
    /// fail2ban can go on with it as it is.
    pub(crate) stays: bool,
}

/// All that an import finds.
#[derive(Debug, Default)]
pub(crate) struct Conversion {
    /// For all jails.
    pub(crate) shared_ignored: Vec<ignore::Entry>,
    pub(crate) converted: Vec<Converted>,
    pub(crate) left: Vec<Left>,
    pub(crate) remarks: Vec<Remark>,
    pub(crate) differences: Vec<String>,
    pub(crate) rules: Vec<OwnRule>,
    pub(crate) proposals: Vec<Proposal>,
}

impl Conversion {
    /// The jails that fail2ban goes on with.
    pub(crate) fn left_running(&self) -> impl Iterator<Item = &Left> {
        self.left.iter().filter(|left| left.stays)
    }

    /// The jails to leave on there. One that looks over all others stays while there is one.
    pub(super) fn stays_on(&self) -> impl Iterator<Item = &str> {
        let over_all = self.converted.iter().filter(|jail| jail.counts_bans() && self.left_running().next().is_some());
        self.left_running().map(|left| &*left.jail).chain(over_all.map(|jail| &*jail.theirs))
    }

    /// The jails to turn off there.
    pub(super) fn turned_off(&self) -> impl Iterator<Item = &str> {
        let off = |jail: &&Converted| !jail.counts_bans() || self.left_running().next().is_none();
        self.converted.iter().filter(off).map(|jail| &*jail.theirs)
    }
}

impl Converted {
    /// It counts the bans of the others.
    pub(super) fn counts_bans(&self) -> bool {
        self.filter == BANS
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
