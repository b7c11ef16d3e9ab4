//! Why a ban ended, in words: one for the bus, which programs may rely on, and the end of the
//! sentence that people read in the journal and in `wardenctl watch`.

use crate::core::engine::UnbanReason;

const WORDS: [(UnbanReason, &str, &str); 7] = [
    (UnbanReason::Expired, "expired", "expired"),
    (UnbanReason::Command, "command", "manual unban"),
    (UnbanReason::JailGone, "jail-gone", "its jail was removed from the configuration"),
    (UnbanReason::Ignored, "ignored", "it is now in ignoreip"),
    (UnbanReason::Own, "own", "it is or contains an address of this machine"),
    (UnbanReason::Widened, "widened", "a network that contains it is now banned"),
    (UnbanReason::Crowded, "crowded", "there are too many bans, and it would have ended next"),
];

/// The word on the bus, and the sentence's end.
pub(crate) fn words(reason: UnbanReason) -> (&'static str, &'static str) {
    let of = WORDS.iter().find(|(known, ..)| *known == reason);
    of.map_or(("unknown", "the reason is unknown"), |(_, word, because)| (word, because))
}

/// What people read for a word of the bus; a word of a newer daemon as it is.
pub(crate) fn because(word: &str) -> &str {
    WORDS.iter().find(|(_, known, _)| *known == word).map_or(word, |(.., because)| because)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_words_of_its_own_and_new_ones_are_shown_as_they_are() {
        use UnbanReason::{Command, Crowded, Expired, Ignored, JailGone, Own, Widened};
        for reason in [Expired, Command, JailGone, Ignored, Own, Widened, Crowded] {
            let (word, sentence) = words(reason);
            assert_ne!(word, "unknown", "{reason:?}");
            assert_eq!(because(word), sentence);
        }
        assert_eq!(because("moved-away"), "moved-away");
    }
}
