//! The settings of a jail: a row for each, and what holds then.
//!
//! Whoever adds one writes a row here, and the field of [`JailSettings`] that it fills in [`jail`].
//! [`super::table`] says what a row has. Every value is checked once, here; nothing behind this module
//! checks a setting again.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, filters,
    place::{Located, Location},
    span::parse_time,
    table::settings,
    value::{Ports, Switch, Time},
};
use crate::{
    core::{
        filter::{BANS, Filter},
        jail::{HostName, IgnoreList, Ignored, JailSettings, Subnet, Width},
        net::{Prefixes, Translators, check_host_name, parse_network},
        record::Fields,
        scope::{Scope, parse_ports},
        time::{DAY, MINUTE, Usec},
    },
    util::suggest,
};

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

/// The span of `spare-logins = true`.
const SPARED: Usec = 60 * MINUTE;

/// A jail with its filter, every value checked.
pub(super) fn jail(
    name: &str,
    input: &Layered<'_>,
    (translators, ignored): (&Translators, &Ignoring),
    directories: &[PathBuf],
    filters: &mut HashMap<String, Arc<Filter>>,
    fields: &mut Fields,
) -> Result<JailSettings, ConfigError> {
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return Err(input.jail.place.error(format!(
            "'{name}' is not a valid jail name; use letters, digits, '-' and '_', at most 64 of them."
        )));
    }
    let filter_name = input.get(|table| table.filter.as_ref()).map_or(name, |located| located.value.as_str());
    if filter_name.starts_with('.') || filter_name.contains('/') {
        let place = input.get(|table| table.filter.as_ref()).map_or(&input.jail.place, |located| &located.place);
        return Err(place
            .error(format!("'{filter_name}' is not a valid filter name; write it without a path and without .toml.")));
    }
    let filter = match filters.get(filter_name) {
        Some(filter) => Arc::clone(filter),
        None if filter_name.is_empty() => Arc::new(Filter::none()),
        None if filter_name == BANS => Arc::new(Filter::bans()),
        None => {
            let place = input.get(|table| table.filter.as_ref()).map_or(&input.jail.place, |located| &located.place);
            let filter = filters::load(filter_name, directories, fields)?.ok_or_else(|| {
                place.error(format!(
                    "jail '{name}' has the filter '{filter_name}', but there is no file filters/{filter_name}.toml in {}.",
                    list(directories)
                ))
            })?;
            let filter = Arc::new(filter);
            filters.insert(filter_name.to_owned(), Arc::clone(&filter));
            filter
        }
    };
    let (translators, ignored) = match &input.jail.nat64_prefixes {
        None => (translators.clone(), ignored.and(Ignoring::read(&input.jail.ignoreip, translators)?)),
        Some(_) => {
            let own = self::translators(input.jail.nat64_prefixes.as_ref())?;
            let shared = Ignoring::read(&input.default.ignoreip, &own)?;
            let ignored = shared.and(Ignoring::read(&input.jail.ignoreip, &own)?);
            (own, ignored)
        }
    };
    Ok(JailSettings {
        name: name.to_owned(),
        classes: classes(input, &filter)?,
        maxretry: match suggested_maxretry(input, &filter) {
            Some(limit) => limit,
            None => input.maxretry()?,
        },
        findtime: input.findtime()?,
        bantime: input.bantime()?,
        bantime_factor: input.bantime_factor()?,
        bantime_max: input.bantime_max()?,
        forget: input.forget()?.unwrap_or(Usec::MAX),
        bantime_jitter: input.bantime_jitter()?,
        ignoreip: ignored.networks,
        names: ignored.names,
        resolved: IgnoreList::default(),
        excepted: IgnoreList::default(),
        suspected: IgnoreList::default(),
        own: Arc::default(),
        translators,
        spare_logins: spare_logins(input)?,
        spare_maxretry: match input.spare_maxretry()? {
            0 => None,
            limit => Some(limit),
        },
        cut: input.cut()?,
        low_latency: input.low_latency()?,
        subnet: subnet(input)?,
        hopping: hopping(input)?,
        prefixes: Prefixes { ipv4: prefix(input.ipv4_prefix()?), ipv6: prefix(input.ipv6_prefix()?) },
        max_sources: input.max_sources()? as usize,
        scope: Arc::new(scope(input, &filter)?),
        filter,
    })
}

/// The bounds of the setting keep it below 129.
fn prefix(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn classes(input: &Layered<'_>, filter: &Filter) -> Result<Vec<String>, ConfigError> {
    if filter.is_none() && !filter.counts_bans() {
        return match input.jail.classes.as_ref().filter(|classes| !classes.value.is_empty()) {
            Some(classes) => Err(classes.error(
                "the jail has no filter (filter = \"\"), so it has no classes to count; remove classes, or name a filter.",
            )),
            None => Ok(Vec::new()),
        };
    }
    let mode = input.get(|table| table.mode.as_ref());
    if let Some(located) = input.get(|table| table.classes.as_ref()) {
        if let Some(unknown) = located.value.iter().find(|class| !filter.has_class(class)) {
            return Err(located.error(format!("filter '{filter}' has no class '{unknown}'.")));
        }
        if located.value.is_empty() {
            return Err(
                located.error("classes is empty, so the jail would count nothing; name some, or set enabled = false.")
            );
        }
        return Ok(located.value.clone());
    }
    let name = mode.map_or("normal", |located| located.value.as_str());
    filter.mode(name).map(<[String]>::to_vec).ok_or_else(|| {
        let place = mode.map_or(&input.jail.place, |located| &located.place);
        place.error(format!("filter '{filter}' has no mode '{name}'; {}", suggest::instead(name, filter.mode_names())))
    })
}

/// What the filter says of `maxretry` in the jail's mode, if the jail itself doesn't say: such a mode counts what
/// honest clients cause as well, so what `[default]` says of wrong passwords is not meant for it.
fn suggested_maxretry(input: &Layered<'_>, filter: &Filter) -> Option<u32> {
    if input.jail.maxretry.is_some() || input.get(|table| table.classes.as_ref()).is_some() {
        return None;
    }
    filter.maxretry(input.get(|table| table.mode.as_ref()).map_or("normal", |located| &located.value))
}

/// What is in `ignoreip`: networks, and names whose addresses have to be asked for.
pub(super) struct Ignoring {
    networks: IgnoreList,
    names: Arc<[HostName]>,
}

impl Ignoring {
    pub(super) fn read(entries: &[Located<String>], translators: &Translators) -> Result<Self, ConfigError> {
        let (mut networks, mut names) = (Vec::new(), Vec::new());
        for located in entries {
            let text = &located.value;
            let because = format!("{}: ignoreip has \"{text}\"", located.place).into();
            match parse_network(text) {
                Ok(network) => networks.push(Ignored { network, because }),
                Err(what) if text.contains('/') => return Err(located.error(format!("ignoreip: {what}"))),
                Err(_) => match check_host_name(text) {
                    Ok(()) => names.push(HostName { name: text.clone(), because }),
                    Err(what) => return Err(located.error(format!("ignoreip: {what}"))),
                },
            }
        }
        Ok(Self { networks: IgnoreList::new(networks, translators), names: names.into() })
    }

    /// These, and a jail's own.
    fn and(&self, own: Self) -> Self {
        let names = match (self.names.is_empty(), own.names.is_empty()) {
            (_, true) => Arc::clone(&self.names),
            (true, false) => own.names,
            (false, false) => self.names.iter().chain(own.names.iter()).cloned().collect(),
        };
        Self { networks: self.networks.and(&own.networks), names }
    }
}

/// The prefixes of the admin's own translators.
pub(super) fn translators(prefixes: Option<&Vec<Located<String>>>) -> Result<Translators, ConfigError> {
    let read = |located: &Located<String>| {
        Translators::parse(&located.value).map_err(|what| located.error(format!("nat64-prefixes: {what}")))
    };
    Ok(prefixes.into_iter().flatten().map(read).collect::<Result<Vec<_>, _>>()?.into())
}

fn spare_logins(input: &Layered<'_>) -> Result<Option<Usec>, ConfigError> {
    let Some(located) = input.get(|table| table.spare_logins.as_ref()) else { return Ok(Some(SPARED)) };
    match &located.value {
        Switch::Is(true) => Ok(Some(SPARED)),
        Switch::Is(false) => Ok(None),
        Switch::For(time) => match parse_time(time) {
            Ok(Some(span)) => Ok(Some(span)),
            Ok(None) => Ok(Some(Usec::MAX)),
            Err(what) => Err(located.error(format!("spare-logins is {what}"))),
        },
    }
}

/// `ports` and `action` together; the service's own ports are those that its filter names.
fn scope(input: &Layered<'_>, filter: &Filter) -> Result<Scope, ConfigError> {
    const FORM: &str = "write \"service\", \"all\", or a list of services and ports such as [\"ssh\", \"2222/tcp\"].";
    let ports = match input.get(|table| table.ports.as_ref()) {
        None => filter.ports.clone(),
        Some(located) => match &located.value {
            Ports::Word(word) if word == "service" => filter.ports.clone(),
            Ports::Word(word) if word == "all" => Vec::new(),
            Ports::Word(word) => return Err(located.error(format!("ports is \"{word}\"; {FORM}"))),
            Ports::List(list) => parse_ports(list).map_err(|what| located.error(what.to_string()))?,
            Ports::Other(_) => {
                return Err(located.error(format!("ports is neither a word nor a list of words; {FORM}")));
            }
        },
    };
    let reject = match input.get(|table| table.action.as_ref()) {
        None => false,
        Some(located) => match located.value.as_str() {
            "drop" => false,
            "reject" => true,
            other => {
                return Err(located.error(format!("action is \"{other}\"; write \"drop\" or \"reject\".")));
            }
        },
    };
    Ok(Scope::new(ports, reject))
}

fn subnet(input: &Layered<'_>) -> Result<Option<Subnet>, ConfigError> {
    let ipv4 = input.subnet_ipv4_prefix()?;
    let ipv6 = input.subnet_ipv6_prefix()?;
    match input.subnet_maxretry()? {
        0 => Ok(None),
        1 => {
            let place = input.get(|table| table.subnet_maxretry.as_ref()).map(|located| located.place.clone());
            Err(place.unwrap_or_default().error(
                "subnet-maxretry is 1, so the first wrong password would ban a whole network; write 2 or more, or 0 for never.",
            ))
        }
        maxretry => Ok(Some(Subnet { maxretry, prefixes: Prefixes { ipv4: prefix(ipv4), ipv6: prefix(ipv6) } })),
    }
}

/// The most widths that a jail may have.
const MOST_WIDTHS: usize = 4;

const HOPPING: [Width; 2] = [Width { prefix: 56, times: 3 }, Width { prefix: 48, times: 8 }];

/// The wider IPv6 networks, the narrowest first.
fn hopping(input: &Layered<'_>) -> Result<Vec<Width>, ConfigError> {
    const FORM: &str =
        "write prefix lengths and how many times maxretry each allows, such as { 56 = 3, 48 = 8 }, or {} for never";
    let Some(located) = input.get(|table| table.ipv6_hopping.as_ref()) else { return Ok(HOPPING.to_vec()) };
    if located.value.len() > MOST_WIDTHS {
        return Err(located.error(format!("ipv6-hopping has more than {MOST_WIDTHS} prefix lengths; leave some out.")));
    }
    let width = |(prefix, times): (&String, &i64)| {
        let prefix = prefix.parse().ok().filter(|prefix| (16..=127).contains(prefix)).ok_or_else(|| {
            located.error(format!("ipv6-hopping has '{prefix}', which is not a prefix length from 16 to 127; {FORM}."))
        })?;
        let times = u32::try_from(*times).ok().filter(|times| (1..=1000).contains(times)).ok_or_else(|| {
            located.error(format!("ipv6-hopping allows /{prefix} {times} times maxretry; write a number from 1 to 1000, or leave the length out."))
        })?;
        Ok(Width { prefix, times })
    };
    let mut widths = located.value.iter().map(width).collect::<Result<Vec<Width>, ConfigError>>()?;
    widths.sort_by_key(|width| std::cmp::Reverse(width.prefix));
    if let Some(pair) = widths.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
        return Err(located.error(format!("ipv6-hopping has /{} twice; leave one out.", pair[0].prefix)));
    }
    Ok(widths)
}

fn list(directories: &[PathBuf]) -> String {
    directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(", ")
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
