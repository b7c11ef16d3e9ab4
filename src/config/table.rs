//! The settings of a jail, one row each.
//!
//! A row has the name (in the files, with `-` for `_`), the type as written, how that is read if one kind of
//! reading is enough, and the property of `org.wardend1.Jail` that shows it. From the rows come what a
//! file may say ([`JailTable`]), what all files together say ([`JailInput`]) and a method of [`Layered`] that
//! reads the value. Tests compare them with the shipped wardend.conf, wardend.conf(5) and the bus.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError,
    place::{Located, Location},
    value::{Ports, Switch, Time},
};
use crate::core::time::{DAY, MINUTE, Usec};

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $written:ty $(=> $read:ty = $kind:ident($($how:tt)*))?, $property:literal;)*) => {
        /// `[default]`, or `[jail.NAME]` of one file.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct JailTable {
            $($(#[doc = $doc])* pub(crate) $name: Option<Spanned<$written>>,)*
            /// See [`JailInput::ignoreip`].
            pub(crate) ignoreip: Option<Spanned<Vec<Spanned<String>>>>,
            /// See [`JailInput::nat64_prefixes`].
            pub(crate) nat64_prefixes: Option<Spanned<Vec<Spanned<String>>>>,
        }

        /// `[default]` or `[jail.NAME]` of all files together.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct JailInput {
            pub(crate) place: Location,
            $($(#[doc = $doc])* pub(crate) $name: Option<Located<$written>>,)*
            /// Who is never banned; the lists of all files add up.
            pub(crate) ignoreip: Vec<Located<String>>,
            /// The prefixes of the admin's own translators.
            pub(crate) nat64_prefixes: Option<Vec<Located<String>>>,
        }

        impl JailInput {
            /// Lays a table over those before.
            pub(super) fn add(&mut self, table: JailTable, place: impl Fn(usize) -> Location, at: usize) {
                self.place = place(at);
                $(if let Some(value) = table.$name {
                    let place = place(value.span().start);
                    self.$name = Some(Located { value: value.into_inner(), place });
                })*
                self.add_lists(table.ignoreip, table.nat64_prefixes, place);
            }
        }

        impl Layered<'_> {
            $($(pub(super) fn $name(&self) -> Result<$read, ConfigError> {
                self.$kind(stringify!($name), |table| table.$name.as_ref(), $($how)*)
            })?)*
        }

        /// The names of the settings, and the properties that show them; empty for none.
        #[cfg(test)]
        pub(super) const ROWS: &[(&str, &str)] =
            &[$((stringify!($name), $property),)* ("ignoreip", "NIgnoreIP"), ("nat64_prefixes", "NAT64Prefixes")];

        /// The bounds and the defaults of the settings that are read in one way, as in the table.
        #[cfg(test)]
        pub(super) const READ: &[(&str, &str, &str)] =
            &[$($((stringify!($name), stringify!($kind), stringify!($($how)*)),)?)*];

        /// The settings that are read in one way.
        #[cfg(test)]
        pub(super) fn values(input: &Layered<'_>) -> Vec<(&'static str, String)> {
            vec![$($({
                let value: Result<$read, ConfigError> = input.$name();
                (stringify!($name), format!("{value:?}"))
            },)?)*]
        }
    };
}

settings! {
    /// Whether the jail runs.
    enabled: bool, "";
    /// The filter that it reads with; the one of its own name otherwise.
    filter: String, "Filter";
    /// One of the filter's modes.
    mode: String, "Classes";
    /// What counts, in place of a mode.
    classes: Vec<String>, "Classes";
    /// The number of failures that lead to a ban.
    maxretry: i64 => u32 = number(1..=1000, 5), "MaxRetry";
    /// The time window in which they count.
    findtime: Time => Usec = finite(10 * MINUTE), "FindTimeUSec";
    /// The duration of the first ban; none if permanent.
    bantime: Time => Option<Usec> = time(Some(10 * MINUTE)), "BanTimeUSec";
    /// The factor by which each further ban lasts longer.
    bantime_factor: i64 => u32 = number(1..=100, 2), "BanTimeFactor";
    /// The upper limit of that.
    bantime_max: Time => Option<Usec> = time(Some(7 * DAY)), "BanTimeMaxUSec";
    /// The most that is added at random.
    bantime_jitter: Time => Usec = finite_or_zero(0), "BanTimeJitterUSec";
    /// The time without a ban after which the history of a source is forgotten.
    forget: Time => Option<Usec> = time(Some(28 * DAY)), "ForgetUSec";
    /// What counts as one source.
    ipv4_prefix: i64 => u32 = number(8..=32, 32), "IPv4Prefix";
    /// The same of IPv6.
    ipv6_prefix: i64 => u32 = number(16..=128, 64), "IPv6Prefix";
    /// The most sources that are counted at a time.
    max_sources: i64 => u32 = number(100..=10_000_000, 100_000), "MaxSources";
    /// The number of banned or failing sources at which their network is banned; 0 for never.
    subnet_maxretry: i64 => u32 = number(0..=1000, 0), "Subnet";
    /// How wide that network is.
    subnet_ipv4_prefix: i64 => u32 = number(8..=31, 24), "Subnet";
    /// The same of IPv6.
    subnet_ipv6_prefix: i64 => u32 = number(16..=127, 48), "Subnet";
    /// The wider IPv6 networks that are banned when their sources hop.
    ipv6_hopping: BTreeMap<String, i64>, "IPv6Hopping";
    /// Whether a source is not banned after a login from there, and for how long.
    spare_logins: Switch, "SpareLoginsUSec";
    /// The number of failures for other names that end that; 0 for no limit.
    spare_maxretry: i64 => u32 = number(0..=1000, 20), "SpareMaxRetry";
    /// Whether what a banned source has open is closed.
    cut: bool => bool = switch(true), "Cut";
    /// Whether each record matters at once.
    low_latency: bool => bool = switch(false), "LowLatency";
    /// What its bans close.
    ports: Ports, "Ports";
    /// How they close it.
    action: String, "Action";
}

/// A jail's own values over `[default]`.
pub(super) struct Layered<'i> {
    pub(super) jail: &'i JailInput,
    pub(super) default: &'i JailInput,
}

impl JailInput {
    fn add_lists(
        &mut self,
        ignoreip: Option<Spanned<Vec<Spanned<String>>>>,
        nat64_prefixes: Option<Spanned<Vec<Spanned<String>>>>,
        place: impl Fn(usize) -> Location,
    ) {
        let entries = |list: Spanned<Vec<Spanned<String>>>| {
            list.into_inner().into_iter().map(|entry| {
                let place = place(entry.span().start);
                Located { value: entry.into_inner(), place }
            })
        };
        if let Some(list) = ignoreip {
            if list.get_ref().is_empty() {
                self.ignoreip.clear();
            }
            self.ignoreip.extend(entries(list));
        }
        if let Some(list) = nat64_prefixes {
            self.nat64_prefixes = Some(entries(list).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::inputs::{Inputs, built_in};

    const MANUAL: &str = include_str!("../../man/wardend.conf.5");
    const BUS: &str = include_str!("../../dbus/org.wardend1.Jail.xml");

    /// What the manual says of a setting.
    fn entry(name: &str) -> Option<&'static str> {
        let heading = format!("\\fI{}\\fR", name.replace('-', "\\-"));
        let headed = |entry: &&str| entry.lines().next().is_some_and(|line| line.split(", ").any(|it| it == heading));
        MANUAL.split("\n.TP\n").find(headed)
    }

    #[test]
    fn the_shipped_file_has_the_defaults_of_the_table() {
        let mut shipped = Inputs::default();
        shipped.add(&built_in()).unwrap();
        let none = JailInput::default();
        let of = |input: &JailInput| values(&Layered { jail: &none, default: input });
        assert_eq!(of(&shipped.default), of(&none));
        assert!(of(&none).len() > 15);
    }

    #[test]
    fn the_manual_describes_each_setting_with_the_bounds_and_the_default_of_the_table() {
        for (name, _) in ROWS {
            let name = name.replace('_', "-");
            assert!(entry(&name).is_some(), "wardend.conf(5) lacks {name}");
        }
        for (name, _, how) in READ.iter().filter(|(_, kind, _)| *kind == "number") {
            let name = name.replace('_', "-");
            let how = how.replace('_', "");
            let (bounds, default) = how.split_once(", ").unwrap();
            let (least, most) = bounds.split_once("..=").unwrap();
            let text = entry(&name).unwrap().replace(',', "");
            // 0 may be a word for never, beside what makes sense as a number.
            let bounded = text.contains(&format!("rom {least} to {most}"))
                || (least == "0" && text.contains(&format!(" to {most}")) && text.contains(" 0 "));
            assert!(bounded, "the bounds of {name}: {text}");
            let defaults = text.split("Default").nth(1).unwrap_or_default();
            let said = defaults.split("\\&.").next().unwrap_or_default();
            assert!(said.split(|letter: char| !letter.is_ascii_digit()).any(|it| it == default), "{name}: {text}");
        }
    }

    #[test]
    fn the_bus_shows_each_setting_that_the_table_says_it_shows() {
        for (name, property) in ROWS.iter().filter(|(_, property)| !property.is_empty()) {
            assert!(BUS.contains(&format!("<property name=\"{property}\"")), "{name}: {property}");
        }
    }
}
