//! Options of a call, `a{sv}`: what they are, and a sentence for whoever gives another one.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use zbus::{OwnedVariant, Variant};

use crate::{
    config,
    contract::{bus::INFINITY, error::Error},
    core::{
        bans::Origin,
        engine::{BanOrder, Duration},
        listing::{ListOrder, Listing, Match},
        net::parse_network,
        time::Usec,
        tops::{Question, TopOrder},
    },
    util::suggest,
};

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1024;
/// The longest word that says whose decision a ban was.
const LONGEST_ORIGIN: usize = 32;

/// What a ban lasts without a duration.
const OF_JAIL: &str = "the duration of the jail";

/// Options by their names.
pub(super) type Given = HashMap<String, OwnedVariant>;

/// The options of a call, all of them known.
#[derive(Clone, Copy)]
pub(super) struct Options<'o> {
    given: &'o Given,
}

fn wrong(what: String) -> Error {
    Error::InvalidArgument(what)
}

impl<'o> Options<'o> {
    pub(super) fn new(given: &'o Given, known: &[&str]) -> Result<Self, Error> {
        match given.keys().filter(|name| !known.contains(&name.as_str())).min() {
            None => Ok(Self { given }),
            Some(unknown) => {
                let near = suggest::instead(unknown, known.iter().copied());
                let all = if near.starts_with("there") {
                    String::new()
                } else {
                    format!(" The options are: {}.", known.join(", "))
                };
                Err(wrong(format!("There is no option '{unknown}'; {near}{all}")))
            }
        }
    }

    fn mistyped(self, name: &str, wanted: &str) -> Error {
        let given = self.given.get(name).map_or_else(String::new, |value| value.value_signature().to_string());
        wrong(format!("The option '{name}' is of type '{given}'; it takes {wanted}."))
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'o str>, Error> {
        match self.given.get(name).map(|value| &**value) {
            None => Ok(None),
            Some(Variant::Str(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(self.mistyped(name, "a string, 's'")),
        }
    }

    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Error> {
        match self.given.get(name).map(|value| &**value) {
            None => Ok(None),
            Some(Variant::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.mistyped(name, "a boolean, 'b'")),
        }
    }

    /// A number of any integer type: languages without types send what they like.
    pub(super) fn number(self, name: &str) -> Result<Option<u64>, Error> {
        let number = match self.given.get(name).map(|value| &**value) {
            None => return Ok(None),
            Some(Variant::U64(number)) => Some(*number),
            Some(Variant::U32(number)) => Some((*number).into()),
            Some(Variant::U16(number)) => Some((*number).into()),
            Some(Variant::U8(number)) => Some((*number).into()),
            Some(Variant::I64(number)) => u64::try_from(*number).ok(),
            Some(Variant::I32(number)) => u64::try_from(*number).ok(),
            Some(Variant::I16(number)) => u64::try_from(*number).ok(),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.mistyped(name, "a number that is not negative, 't'"))
    }

    pub(super) fn origin(self) -> Result<Option<Origin>, Error> {
        let Some(word) = self.text("Origin")? else { return Ok(None) };
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if word.is_empty() || word.len() > LONGEST_ORIGIN || !word.bytes().all(fits) {
            return Err(wrong(format!(
                "'{word}' is not a valid Origin; write a word of at most {LONGEST_ORIGIN} lower-case letters, digits, '-', '_' and '.', such as \"import\"."
            )));
        }
        Ok(Some(Origin::from(word.to_owned())))
    }

    /// The jail; none if it is not given, or empty.
    pub(super) fn jail(self) -> Result<Option<String>, Error> {
        Ok(self.text("Jail")?.filter(|jail| !jail.is_empty()).map(str::to_owned))
    }

    /// By what a list is put in order, one of these words.
    fn order<T: Copy + Default, const N: usize>(self, known: [(&'static str, T); N]) -> Result<T, Error> {
        let Some(word) = self.text("Order")? else { return Ok(T::default()) };
        let found = known.into_iter().find(|(known, _)| *known == word);
        found.map(|(_, order)| order).ok_or_else(|| {
            let words = known.into_iter().map(|(known, _)| known);
            wrong(format!("There is no order '{word}'; {}", suggest::instead(word, words)))
        })
    }

    pub(super) fn reason(self) -> Result<Option<&'o str>, Error> {
        match self.text("Reason")? {
            Some(reason) if reason.len() > LONGEST_REASON => {
                Err(wrong(format!("The reason is longer than {LONGEST_REASON} bytes; make it shorter.")))
            }
            reason => Ok(reason),
        }
    }

    /// The duration; `otherwise` is what holds without one, as the end of a sentence.
    pub(super) fn duration(self, otherwise: &str) -> Result<Option<Duration>, Error> {
        let words = self.text("For")?.map(|words| match config::parse_ban_time(words) {
            Ok(Some(usec)) => Ok(Duration::Usec(usec)),
            Ok(None) => Ok(Duration::Forever),
            Err(what) => Err(wrong(format!("For is {what}"))),
        });
        let span = self.number("ForUSec")?.map(|usec| match usec {
            0 => Err(wrong(format!("ForUSec is 0; write more, or leave it out for {otherwise}."))),
            INFINITY => Ok(Duration::Forever),
            usec => Ok(Duration::Usec(usec)),
        });
        let until = self.number("UntilUSec")?.map(|usec| match usec {
            INFINITY => Ok(Duration::Forever),
            usec => Ok(Duration::Until(usec)),
        });
        let mut all = [words, span, until].into_iter().flatten();
        let first = all.next().transpose()?;
        if all.next().is_some() {
            return Err(wrong("Only one of For, ForUSec and UntilUSec can be given.".to_owned()));
        }
        Ok(first)
    }
}

/// What a call says of all bans that it orders.
pub(super) struct BanTerms {
    pub(super) jail: Option<String>,
    duration: Option<Duration>,
    reason: String,
    pub(super) origin: Origin,
    spare: Option<bool>,
    cut: Option<bool>,
}

impl BanTerms {
    const SINGLE: [&str; 6] = ["For", "ForUSec", "Reason", "Origin", "Spare", "Cut"];
    const MANY: [&str; 8] = ["Jail", "For", "ForUSec", "UntilUSec", "Reason", "Origin", "Spare", "Cut"];
    const ENTRY: [&str; 9] =
        ["Address", "Jail", "For", "ForUSec", "UntilUSec", "SinceUSec", "Count", "Reason", "Origin"];

    fn read(options: Options<'_>) -> Result<Self, Error> {
        Ok(Self {
            jail: options.text("Jail")?.map(str::to_owned),
            duration: options.duration(OF_JAIL)?,
            reason: options.reason()?.unwrap_or_default().to_owned(),
            origin: options.origin()?.unwrap_or(Origin::Admin),
            spare: options.flag("Spare")?,
            cut: options.flag("Cut")?,
        })
    }

    /// Of one ban.
    pub(super) fn of_one(given: &Given) -> Result<Self, Error> {
        Self::read(Options::new(given, &Self::SINGLE)?)
    }

    /// Of many.
    pub(super) fn of_many(given: &Given) -> Result<Self, Error> {
        let terms = Self::read(Options::new(given, &Self::MANY)?)?;
        Ok(Self { cut: Some(terms.cut.unwrap_or(false)), ..terms })
    }

    /// The order of one ban.
    pub(super) fn order(&self, network: IpNet, jail: &str) -> BanOrder {
        BanOrder {
            duration: self.duration.unwrap_or(Duration::OfJail),
            reason: self.reason.as_str().into(),
            origin: self.origin.clone(),
            spare: self.spare.unwrap_or(self.origin != Origin::Admin),
            cut: self.cut,
            ..BanOrder::new(network, jail)
        }
    }

    /// The order of one of many. It may name no jail.
    pub(super) fn order_of(&self, entry: &Given) -> Result<BanOrder, Error> {
        let options = Options::new(entry, &Self::ENTRY)?;
        let address = options.text("Address")?.ok_or_else(|| wrong("An entry has no Address.".to_owned()))?;
        let network = parse_network(address)?;
        let jail = options.text("Jail")?.or(self.jail.as_deref()).unwrap_or_default();
        let count = options.number("Count")?.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let since: Option<Usec> = options.number("SinceUSec")?;
        let origin = options.origin()?.unwrap_or_else(|| self.origin.clone());
        let mut order = self.order(network, jail);
        order.duration = options.duration(OF_JAIL)?.unwrap_or(order.duration);
        if let Some(reason) = options.reason()? {
            order.reason = reason.into();
        }
        order.spare = self.spare.unwrap_or(origin != Origin::Admin);
        Ok(BanOrder { since, count, origin, displaces: false, ..order })
    }
}

/// The address of an entry, as it was given; empty if there is none.
pub(super) fn address_of(mut entry: Given) -> String {
    entry.remove("Address").and_then(|address| String::try_from(address).ok()).unwrap_or_default()
}

/// What polkit sees of many orders: the one word that all have, or all of them.
pub(super) fn joined<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

/// What `ListBans` is asked for.
pub(super) fn listing(given: &Given, offset: u32, limit: u32) -> Result<Listing, Error> {
    let options = Options::new(given, &["Jail", "Match", "Origin", "Order", "Descending", "Since"])?;
    Ok(Listing {
        jail: options.text("Jail")?.map(str::to_owned),
        origin: options.origin()?.map(|origin| origin.word().to_owned()),
        matching: options.text("Match")?.map(Match::read),
        since: options.number("Since")?,
        order: options.order(ListOrder::WORDS)?,
        descending: options.flag("Descending")?.unwrap_or(false),
        offset: offset as usize,
        limit: limit as usize,
    })
}

/// What `TopSources` is asked for.
pub(super) fn question(given: &Given, limit: u32) -> Result<Question, Error> {
    let options = Options::new(given, &["Since", "Jail", "Order"])?;
    Ok(Question {
        since: options.number("Since")?.unwrap_or(0),
        jail: options.jail()?,
        order: options.order(TopOrder::WORDS)?,
        limit: if limit == 0 { usize::MAX } else { limit as usize },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<const N: usize>(options: [(&str, Variant<'static>); N]) -> Given {
        options.into_iter().map(|(name, value)| (name.to_owned(), value.try_into().unwrap())).collect()
    }

    fn refused<T>(outcome: Result<T, Error>) -> String {
        match outcome {
            Err(Error::InvalidArgument(text)) => text,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was taken"),
        }
    }

    fn one<const N: usize>(options: [(&str, Variant<'static>); N]) -> Result<BanOrder, Error> {
        Ok(BanTerms::of_one(&given(options))?.order(parse_network("203.0.113.7").unwrap(), "sshd"))
    }

    #[test]
    fn each_option_is_understood_in_each_form() {
        let plain = one([]).unwrap();
        assert_eq!(plain, BanOrder::new(parse_network("203.0.113.7").unwrap(), "sshd"));
        for forever in ["infinity", "forever", "permanent", "-1"] {
            assert_eq!(one([("For", forever.into())]).unwrap().duration, Duration::Forever, "{forever}");
        }
        assert_eq!(one([("For", "2weeks".into())]).unwrap().duration, Duration::Usec(1_209_600_000_000));
        assert_eq!(one([("ForUSec", 7i32.into())]).unwrap().duration, Duration::Usec(7));
        assert_eq!(one([("ForUSec", u64::MAX.into())]).unwrap().duration, Duration::Forever);
        let fleet = one([("Origin", "fleet".into()), ("Cut", false.into()), ("Reason", "seen".into())]).unwrap();
        assert!(fleet.spare && fleet.cut == Some(false) && &*fleet.reason == "seen" && fleet.origin == Origin::Fleet);
        assert!(!one([("Origin", "fleet".into()), ("Spare", false.into())]).unwrap().spare);
        assert!(one([("Spare", true.into())]).unwrap().spare);
    }

    #[test]
    fn what_is_no_option_is_refused_with_a_sentence_that_names_it() {
        for (option, value, sentence) in [
            (
                "Fro",
                "1h".into(),
                "There is no option 'Fro'; did you mean 'For'? The options are: For, ForUSec, Reason, Origin, Spare, Cut.",
            ),
            (
                "Colour",
                "red".into(),
                "There is no option 'Colour'; there are: For, ForUSec, Reason, Origin, Spare, Cut.",
            ),
            ("For", 7u32.into(), "The option 'For' is of type 'u'; it takes a string, 's'."),
            (
                "ForUSec",
                "1h".into(),
                "The option 'ForUSec' is of type 's'; it takes a number that is not negative, 't'.",
            ),
            (
                "ForUSec",
                (-1i64).into(),
                "The option 'ForUSec' is of type 'x'; it takes a number that is not negative, 't'.",
            ),
            ("ForUSec", 0u64.into(), "ForUSec is 0; write more, or leave it out for the duration of the jail."),
            ("Cut", "yes".into(), "The option 'Cut' is of type 's'; it takes a boolean, 'b'."),
        ] {
            let value: Variant<'static> = value;
            assert_eq!(refused(one([(option, value)])), sentence);
        }
        for word in ["", "My list", "x\u{1b}", &"x".repeat(33)] {
            assert!(refused(one([("Origin", Variant::from(word.to_owned()))])).contains("is not a valid Origin"));
        }
        assert!(refused(one([("For", "soon".into())])).starts_with("For is 'soon', which is not a valid time span"));
        assert!(refused(one([("For", "1h".into()), ("ForUSec", 7u64.into())])).starts_with("Only one of"));
        assert!(refused(one([("Reason", Variant::from("x".repeat(1025)))])).contains("1024"));
    }

    #[test]
    fn an_entry_says_what_the_options_do_not() {
        let terms =
            BanTerms::of_many(&given([("Jail", "sshd".into()), ("For", "1h".into()), ("Origin", "import".into())]));
        let terms = terms.unwrap();
        let plain = terms.order_of(&given([("Address", "203.0.113.7".into())])).unwrap();
        assert_eq!((&*plain.jail, plain.duration, plain.cut), ("sshd", Duration::Usec(3_600_000_000), Some(false)));
        assert!(plain.spare && !plain.displaces && plain.origin == Origin::Import);
        let own = [
            ("Address", "203.0.113.0/24".into()),
            ("Jail", "fleet".into()),
            ("UntilUSec", 9u64.into()),
            ("SinceUSec", 8u64.into()),
            ("Count", 3u32.into()),
            ("Reason", "why".into()),
            ("Origin", "admin".into()),
        ];
        let own = terms.order_of(&given(own)).unwrap();
        assert_eq!((&*own.jail, own.duration, own.since, own.count), ("fleet", Duration::Until(9), Some(8), Some(3)));
        assert!(!own.spare && &*own.reason == "why");
        assert!(refused(terms.order_of(&given([]))).contains("no Address"));
        assert!(matches!(terms.order_of(&given([("Address", "localhost".into())])), Err(Error::InvalidAddress(_))));
        let no_jail = BanTerms::of_many(&given([])).unwrap();
        assert_eq!(&*no_jail.order_of(&given([("Address", "203.0.113.7".into())])).unwrap().jail, "");
    }

    #[test]
    fn polkit_sees_one_word_if_all_are_the_same() {
        assert_eq!(joined(["fleet", "fleet"]), "fleet");
        assert_eq!(joined(["sshd", "fleet", "sshd"]), "fleet,sshd");
        assert_eq!(joined([]), "");
    }
}
