//! What the driver has been ordered to see to, what it knows of firewalld, and why it does nothing for a
//! while.

use tokio::time::Instant;

use crate::firewalld::layout::Layout;

/// What the daemon has ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The list of bans has not come yet, or somebody has had the objects removed since.
    Nothing,
    /// The list of bans is to be in force.
    Bans,
    /// The objects are to be removed, and then perhaps made again.
    Removal { then_bans: bool },
}

impl Wanted {
    pub(super) fn add_bans(&mut self) {
        *self = match self {
            Self::Nothing | Self::Bans => Self::Bans,
            Self::Removal { .. } => Self::Removal { then_bans: true },
        };
    }

    /// The removal is being carried out.
    pub(super) fn remove(&mut self) {
        *self = match self {
            Self::Removal { then_bans: true } | Self::Bans => Self::Bans,
            Self::Removal { then_bans: false } | Self::Nothing => Self::Nothing,
        };
    }
}

/// What is known of the objects and entries that firewalld holds, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// This firewalld has not been seen with ipsets and policy in place, or has lost them: they come first.
    Unknown,
    /// The objects were in place; what the ipsets hold must be asked, and all is to be checked after that.
    Lost,
    /// Only what the ipsets hold is in doubt.
    Doubtful,
    /// The entries are known; ipsets, policy and permanent configuration are checked when nothing is urgent.
    Listed,
    /// Nothing speaks against what is known, but it is time to compare it, when nothing is urgent.
    Due,
    /// All has been seen since the last event that may have cost any of it.
    Checked,
}

impl Phase {
    /// Whether firewalld must be asked what it holds.
    pub(super) fn is_stale(self) -> bool {
        matches!(self, Self::Unknown | Self::Lost | Self::Doubtful)
    }

    /// Anything may have changed, but for the objects.
    pub(super) fn lose(&mut self) {
        if *self != Self::Unknown {
            *self = Self::Lost;
        }
    }

    /// The entries are others than was thought.
    pub(super) fn doubt(&mut self) {
        *self = match self {
            Self::Unknown => Self::Unknown,
            Self::Lost | Self::Listed | Self::Due => Self::Lost,
            Self::Doubtful | Self::Checked => Self::Doubtful,
        };
    }

    /// The time has come to compare.
    pub(super) fn fall_due(&mut self) {
        if *self == Self::Checked {
            *self = Self::Due;
        }
    }

    /// Ipsets and policy are in force.
    pub(super) fn see_objects(&mut self) {
        if *self == Self::Unknown {
            *self = Self::Lost;
        }
    }

    /// What the ipsets hold is being asked.
    pub(super) fn see_entries(&mut self) {
        *self = match self {
            Self::Unknown => Self::Unknown,
            Self::Lost | Self::Listed | Self::Due => Self::Listed,
            Self::Doubtful | Self::Checked => Self::Checked,
        };
    }

    /// The objects were corrected, so a check is not over.
    pub(super) fn check_again(&mut self) {
        if *self == Self::Checked {
            *self = Self::Listed;
        }
    }
}

/// For how long nothing is tried after a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// It needs an admin to change anything, so a new ban does not cut it short.
    pub(super) is_firm: bool,
}

/// A reload of firewalld, and for what.
#[derive(Clone, Debug)]
pub(super) struct Reload {
    pub(super) at: Instant,
    pub(super) layout: Layout,
}

impl Reload {
    /// Whether all ipsets of a layout were configured when firewalld was reloaded.
    pub(super) fn is_for(&self, layout: &Layout) -> bool {
        layout.sets.iter().all(|set| self.layout.sets.contains(set))
    }
}

/// What a look at ipsets and policy has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All were in force.
    InPlace,
    /// All are in force now.
    Corrected,
    /// They are not, or it is not known.
    Missing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_comes_before_the_list_that_was_given_after_it() {
        let mut wanted = Wanted::Removal { then_bans: false };
        wanted.add_bans();
        assert_eq!(wanted, Wanted::Removal { then_bans: true });
        wanted.remove();
        assert_eq!(wanted, Wanted::Bans);
        let mut wanted = Wanted::Removal { then_bans: false };
        wanted.remove();
        assert_eq!(wanted, Wanted::Nothing);
    }

    #[test]
    fn a_doubt_about_entries_spares_the_check_of_objects_and_a_loss_does_not() {
        let mut phase = Phase::Checked;
        phase.doubt();
        assert!(phase.is_stale());
        phase.see_entries();
        assert_eq!(phase, Phase::Checked);
        phase.doubt();
        phase.lose();
        phase.see_entries();
        assert_eq!(phase, Phase::Listed);
        phase.doubt();
        phase.see_entries();
        assert_eq!(phase, Phase::Listed, "it was not checked before the doubt");
    }

    #[test]
    fn only_what_was_checked_falls_due_and_a_doubt_about_entries_leaves_it_so() {
        let mut phase = Phase::Checked;
        phase.fall_due();
        assert!(phase == Phase::Due && !phase.is_stale());
        phase.doubt();
        phase.see_entries();
        assert_eq!(phase, Phase::Listed);
        phase.fall_due();
        assert_eq!(phase, Phase::Listed, "more is to be checked than would be compared");
    }

    #[test]
    fn a_firewalld_that_is_unknown_stays_so_until_its_objects_are_seen() {
        let mut phase = Phase::Unknown;
        for step in [Phase::lose, Phase::doubt, Phase::see_entries, Phase::check_again, Phase::fall_due] {
            step(&mut phase);
            assert_eq!(phase, Phase::Unknown);
        }
        phase.see_objects();
        assert_eq!(phase, Phase::Lost);
    }
}
