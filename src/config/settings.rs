//! From what the files say to what holds: every value checked once, here.
//!
//! The last of three steps (fragments → inputs → settings). Whatever comes out can be used as
//! it is; nothing behind this module checks a setting again.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ConfigError, filters,
    inputs::Inputs,
    place::Located,
    span::parse_time,
    table::Layered,
    value::{Ports, Switch},
};
use crate::{
    core::{
        filter::{BANS, Filter},
        jail::{HostName, IgnoreList, Ignored, JailSettings, Subnet, Width},
        net::{Prefixes, Translators, check_host_name, parse_network},
        record::Fields,
        scope::{Scope, parse_ports},
        time::{MINUTE, Usec},
    },
    util::suggest,
};

/// The configuration in force.
#[derive(Debug)]
pub struct Settings {
    /// The enabled jails, in the order of their names.
    pub jails: Vec<JailSettings>,
    /// The journal fields that their filters ask for.
    pub fields: Arc<Fields>,
}

impl Settings {
    /// Reads and checks the configuration of `directories`, the one that wins first.
    ///
    /// # Errors
    /// The first mistake, with file and line.
    pub fn load(directories: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::resolve(&Inputs::read(directories)?, directories)
    }

    /// The same for one jail, as if it were enabled, and for those only whose bans it counts. It may be one that no file names: then it is
    /// that of the filter of this name.
    ///
    /// # Errors
    /// As [`Self::load`]; also if there is neither such a jail nor such a filter.
    pub(crate) fn load_jail(directories: &[PathBuf], name: &str) -> Result<Self, ConfigError> {
        let mut inputs = Inputs::read(directories)?;
        let filters = filters::names(directories)?;
        if !inputs.jails.contains_key(name) && !filters.contains(name) {
            let names = inputs.jails.keys().chain(filters.iter().filter(|name| !inputs.jails.contains_key(*name)));
            return Err(ConfigError::NoSuchJail {
                name: name.to_owned(),
                instead: suggest::instead(name, names.map(String::as_str)),
            });
        }
        let mut input = inputs.jails.remove(name).unwrap_or_default();
        let place = input.place.clone();
        input.enabled = Some(Located { value: true, place });
        // What counts the bans of the others needs these as well.
        if input.filter.as_ref().is_none_or(|filter| filter.value != BANS) {
            inputs.jails = BTreeMap::new();
        }
        inputs.jails.insert(name.to_owned(), input);
        Self::resolve(&inputs, directories)
    }

    /// As [`Self::load`], as if this text were in the drop-in `path`.
    ///
    /// # Errors
    /// The first mistake, with file and line.
    pub(crate) fn load_with(directories: &[PathBuf], path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::resolve(&Inputs::read_with(directories, path, text)?, directories)
    }

    fn resolve(inputs: &Inputs, directories: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut fields = Fields::default();
        let mut filters = HashMap::new();
        let (mut jails, mut disabled) = (Vec::new(), Vec::new());
        // Read once, however many jails share it; again for a jail with translators of its own.
        let translators = translators(inputs.default.nat64_prefixes.as_ref())?;
        let ignored = Ignoring::read(&inputs.default.ignoreip, &translators)?;
        for (name, input) in &inputs.jails {
            let input = Layered { jail: input, default: &inputs.default };
            if let Some(enabled) = input.get(|table| table.enabled.as_ref()).filter(|enabled| !enabled.value) {
                disabled.push(format!("[jail.{name}] by {}", enabled.place));
                continue;
            }
            jails.push(jail(name, &input, (&translators, &ignored), directories, &mut filters, &mut fields)?);
        }
        if jails.is_empty() {
            return Err(no_jail(&inputs.files, &disabled));
        }
        Ok(Self { jails, fields: Arc::new(fields) })
    }
}

/// Why there is nothing to do, and where to change that.
fn no_jail(files: &[Arc<str>], disabled: &[String]) -> ConfigError {
    const MOST: usize = 8;
    let few = |all: &[String]| match all.len().checked_sub(MOST) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..MOST].join(", ")),
    };
    let files: Vec<String> = files.iter().map(ToString::to_string).collect();
    ConfigError::NoJail(if disabled.is_empty() {
        format!("there is no [jail.NAME] in {}; write one, such as [jail.sshd].", few(&files))
    } else {
        format!("`enabled = false` holds for {}; set `enabled = true` there or in a later file.", few(disabled))
    })
}

/// The span of `spare-logins = true`.
const SPARED: Usec = 60 * MINUTE;

fn jail(
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
struct Ignoring {
    networks: IgnoreList,
    names: Arc<[HostName]>,
}

impl Ignoring {
    fn read(entries: &[Located<String>], translators: &Translators) -> Result<Self, ConfigError> {
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
fn translators(prefixes: Option<&Vec<Located<String>>>) -> Result<Translators, ConfigError> {
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
