//! The bans that fail2ban has in force, and the jails here that they belong to.

use std::collections::BTreeMap;

use jiff::{civil::DateTime, tz::TimeZone};

/// A ban as fail2ban keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) jail: String,
    /// Whatever was banned: an address or a network, unless somebody has set `usedns = raw`.
    pub(crate) address: String,
    /// In seconds since the epoch.
    pub(crate) since: i64,
    /// In seconds; permanent if negative.
    pub(crate) bantime: i64,
    /// Which ban of the address it is.
    pub(crate) count: i64,
}

impl Ban {
    /// Its end in seconds; none if it is permanent.
    fn until(&self) -> Option<i64> {
        (self.bantime >= 0).then(|| self.since.saturating_add(self.bantime))
    }
}

/// A ban as wardend is to have it; times are µs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Its jail in fail2ban, and the one here.
    pub(crate) theirs: String,
    pub(crate) jail: String,
    pub(crate) address: String,
    pub(crate) since_usec: u64,
    /// None if permanent.
    pub(crate) until_usec: Option<u64>,
    pub(crate) count: u32,
}

/// What becomes of all bans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) given: Vec<Order>,
    /// Bans that have ended, which fail2ban keeps for a while.
    pub(crate) over: usize,
    /// Bans of jails that fail2ban goes on with, which stay there: jail and number.
    pub(crate) stay: BTreeMap<String, usize>,
    /// Bans of jails that are not on, so that they are not in force there either.
    pub(crate) gone: BTreeMap<String, usize>,
}

/// The jails of a set-up, as far as their bans are concerned.
pub(super) struct Jails<'c> {
    /// Theirs and ours.
    pub(super) converted: Vec<(&'c str, &'c str)>,
    /// Those that fail2ban goes on with.
    pub(super) stay: Vec<&'c str>,
}

pub(super) fn orders(bans: &[Ban], jails: &Jails<'_>, now_usec: u64) -> Orders {
    let usec = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
    let mut all = Orders::default();
    for ban in bans {
        // An end later than all times is none.
        let until_usec = ban.until().map(usec).filter(|until| *until < u64::MAX);
        if until_usec.is_some_and(|until| until <= now_usec) {
            all.over += 1;
            continue;
        }
        let Some((_, ours)) = jails.converted.iter().find(|(theirs, _)| *theirs == ban.jail) else {
            let stays = jails.stay.contains(&ban.jail.as_str());
            let of = if stays { &mut all.stay } else { &mut all.gone };
            *of.entry(ban.jail.clone()).or_default() += 1;
            continue;
        };
        all.given.push(Order {
            theirs: ban.jail.clone(),
            jail: (*ours).to_owned(),
            address: ban.address.clone(),
            since_usec: usec(ban.since).min(now_usec),
            until_usec,
            count: u32::try_from(ban.count.max(1)).unwrap_or(u32::MAX),
        });
    }
    all
}

/// A line of fail2ban-client's that is no ban.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fail2ban-client answered '{0}', which is not a ban")]
pub(crate) struct NotABan(String);

/// Reads what `fail2ban-client get JAIL banip --with-time` prints, whose times are local.
pub(crate) fn parse_listing(jail: &str, text: &str, zone: &TimeZone) -> Result<Vec<Ban>, NotABan> {
    let mut bans = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let ban = || -> Option<Ban> {
            let (address, times) = line.split_once(char::is_whitespace)?;
            let (begin, rest) = times.trim().split_once(" + ")?;
            let (bantime, _) = rest.split_once(" = ")?;
            let begin: DateTime = begin.trim().replacen(' ', "T", 1).parse().ok()?;
            let since = zone.to_ambiguous_zoned(begin).compatible().ok()?.timestamp().as_second();
            let bantime = bantime.trim().parse().ok()?;
            Some(Ban { jail: jail.to_owned(), address: address.to_owned(), since, bantime, count: 1 })
        };
        let refused = || NotABan(super::ini::shortened(line));
        bans.push(ban().ok_or_else(refused)?);
    }
    Ok(bans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(jail: &str, address: &str, since: i64, bantime: i64) -> Ban {
        Ban { jail: jail.to_owned(), address: address.to_owned(), since, bantime, count: 1 }
    }

    #[test]
    fn bans_in_force_go_to_the_jail_that_theirs_became_and_the_others_are_counted() {
        let jails = Jails {
            converted: vec![("ssh", "sshd"), ("recidive", "recidive")],
            stay: vec!["nginx-http-auth", "recidive"],
        };
        let bans = [
            ban("ssh", "203.0.113.7", 1000, 600),
            ban("ssh", "203.0.113.8", 1000, -1),
            ban("ssh", "203.0.113.9", 100, 600),
            ban("ssh", "203.0.113.10", 400, 600),
            ban("nginx-http-auth", "203.0.113.11", 1000, 600),
            ban("nginx-http-auth", "203.0.113.12", 1000, 600),
            ban("old", "203.0.113.13", 1000, 600),
            ban("recidive", "2001:db8::7", 2000, i64::MAX),
        ];
        let all = orders(&bans, &jails, 1_000_000_000);
        let lines: Vec<String> = all
            .given
            .iter()
            .map(|order| format!("{} {} {} {:?}", order.jail, order.address, order.since_usec, order.until_usec))
            .collect();
        assert_eq!(
            lines,
            [
                "sshd 203.0.113.7 1000000000 Some(1600000000)",
                "sshd 203.0.113.8 1000000000 None",
                "recidive 2001:db8::7 1000000000 None",
            ]
        );
        assert_eq!(all.over, 2);
        assert_eq!(all.stay, [("nginx-http-auth".to_owned(), 2)].into());
        assert_eq!(all.gone, [("old".to_owned(), 1)].into());
    }

    #[test]
    fn the_clients_listing_is_read_in_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let text = "203.0.113.7 \t2026-11-25 07:18:14 + 86400 = 2026-11-26 07:18:14\n\
                    2001:db8::7\t2026-11-25 07:18:14 + -1 = 9999-12-31 23:59:59\n\n";
        let bans = parse_listing("sshd", text, &zone).unwrap();
        assert_eq!(
            bans,
            [ban("sshd", "203.0.113.7", 1_795_583_894, 86400), ban("sshd", "2001:db8::7", 1_795_583_894, -1)]
        );
        for text in ["203.0.113.7", "203.0.113.7 yesterday + 3 = x", "a 2026-11-25 07:18:14 + x = y", "['203.0.113.7']"]
        {
            assert!(parse_listing("sshd", text, &zone).unwrap_err().to_string().contains(text), "{text}");
        }
        assert_eq!(parse_listing("sshd", "", &zone), Ok(Vec::new()));
    }
}
