//! Why a ban ended, in words: one for the bus, which programs may rely on, and the end of the
//! sentence that people read in the journal and in `wardenctl watch`.

use crate::core::engine::UnbanReason;

const ALL: [UnbanReason; 7] = [
    UnbanReason::Expired,
    UnbanReason::Command,
    UnbanReason::JailGone,
    UnbanReason::Ignored,
    UnbanReason::Own,
    UnbanReason::Widened,
    UnbanReason::Crowded,
];

/// The word on the bus, and the end of the sentence.
pub(crate) fn words(reason: UnbanReason) -> (&'static str, &'static str) {
    match reason {
        UnbanReason::Expired => ("expired", "expired"),
        UnbanReason::Command => ("command", "manual unban"),
        UnbanReason::JailGone => ("jail-gone", "its jail was removed from the configuration"),
        UnbanReason::Ignored => ("ignored", "it is now ignored"),
        UnbanReason::Own => ("own", "it is or contains an address of this machine"),
        UnbanReason::Widened => ("widened", "a network that contains it is now banned"),
        UnbanReason::Crowded => ("crowded", "there are too many bans, and it would have ended next"),
    }
}

/// The end of the sentence for a word of the bus. A word that only a newer daemon knows is shown as
/// it is.
pub(crate) fn because(word: &str) -> &str {
    ALL.into_iter().map(words).find(|(known, _)| *known == word).map_or(word, |(_, because)| because)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_words_of_its_own_and_new_ones_are_shown_as_they_are() {
        use std::collections::BTreeSet;
        for reason in ALL {
            let (word, sentence) = words(reason);
            assert_eq!(because(word), sentence);
        }
        assert_eq!(ALL.into_iter().map(|reason| words(reason).0).collect::<BTreeSet<_>>().len(), ALL.len());
        assert_eq!(because("moved-away"), "moved-away");
    }
}
