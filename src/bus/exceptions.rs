//! What the methods of the manager for exceptions have in common: their options, and an answer for each
//! address.

use ipnet::IpNet;

use super::{
    Command,
    entries::Entries,
    options::{Given, Options},
    orders::{Caller, named},
};
use crate::{
    contract::{
        error::Error,
        exceptions::{ExceptionRow, words},
    },
    core::{
        ExceptionKind,
        bans::Origin,
        engine::{CommandError, Duration, Terms},
    },
};

/// The most addresses of one call.
const MOST: usize = 4096;
/// The longest list of addresses that polkit's rules are shown, in bytes.
const LONGEST_LIST: usize = 1024;

/// What an order says besides whom it is about, and the jail that it is for.
pub(super) fn terms(given: &Given, known: &[&str]) -> Result<(Terms, Option<String>), Error> {
    let options = Options::new(given, known)?;
    let usec = match options.duration("no end")? {
        Some(Duration::Usec(usec)) => Some(usec),
        _ => None,
    };
    let reason = options.reason()?.unwrap_or_default();
    let origin = options.origin()?;
    let origin = origin.as_ref().map_or("", Origin::word);
    Ok((Terms { usec, reason: reason.into(), origin: origin.into(), uid: None }, options.jail()?))
}

/// The networks of a call.
fn networks(addresses: Vec<String>) -> Result<Entries<IpNet>, Error> {
    let wrong = |what: String| Err(Error::InvalidArgument(what));
    match addresses.len() {
        0 => wrong("The list of addresses is empty.".to_owned()),
        1..=MOST => Ok(Entries::of_networks(addresses)),
        _ => wrong(format!("The list has more than {MOST} addresses; call once for each part of it.")),
    }
}

/// What polkit's rules are shown: all addresses, or their number.
fn shown(addresses: &[String]) -> String {
    let list = addresses.join(",");
    if list.len() <= LONGEST_LIST { list } else { format!("{} addresses", addresses.len()) }
}

/// A row for each answer, or more.
fn rows<T>(
    entries: Entries<IpNet>,
    outcomes: Vec<Result<T, CommandError>>,
    row: impl Fn(&str, T) -> Vec<ExceptionRow>,
) -> Vec<ExceptionRow> {
    let answer = |(address, outcome): (String, Result<T, Error>)| match outcome {
        Ok(outcome) => row(&address, outcome),
        Err(error) => vec![ExceptionRow::refusal(&address, &error)],
    };
    entries.answers(outcomes).flat_map(answer).collect()
}

impl Caller<'_> {
    /// Orders an exception for each address.
    pub(super) async fn except(
        &self,
        kind: ExceptionKind,
        addresses: Vec<String>,
        given: &Given,
        known: &[&str],
    ) -> Result<Vec<ExceptionRow>, Error> {
        let (mut terms, jail) = terms(given, known)?;
        let shown = shown(&addresses);
        let mut entries = networks(addresses)?;
        terms.uid = Some(self.check(&shown, jail.as_deref(), &terms.origin, entries.len()).await?);
        let networks = entries.take();
        let outcomes = self.core.ask(|reply| Command::Except { kind, networks, jail, terms, reply }).await??;
        let (done, _) = words(kind);
        Ok(rows(entries, outcomes, |address, it| vec![ExceptionRow::answer(Some(address), done, &it)]))
    }

    /// Ends the exceptions for each address.
    pub(super) async fn end(
        &self,
        kind: ExceptionKind,
        addresses: Vec<String>,
        given: &Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        let jail = Options::new(given, &["Jail"])?.jail()?;
        let shown = shown(&addresses);
        let mut entries = networks(addresses)?;
        let uid = Some(self.check(&shown, jail.as_deref(), "", entries.len()).await?);
        let networks = entries.take();
        let outcomes = self.core.ask(|reply| Command::EndExceptions { kind, networks, jail, uid, reply }).await??;
        let (_, done) = words(kind);
        Ok(rows(entries, outcomes, |address, ended| {
            ended.iter().map(|it| ExceptionRow::answer(Some(address), done, it)).collect()
        }))
    }

    /// Pauses a jail, or all.
    pub(super) async fn pause(&self, jail: &str, options: &Given) -> Result<Vec<ExceptionRow>, Error> {
        let (mut terms, _) = terms(options, &["For", "ForUSec", "Reason"])?;
        terms.uid = Some(self.authority.check(self.header, self.action, &[("jail", jail)]).await?);
        let paused = self.core.ask(|reply| Command::Pause { jail: named(jail), terms, reply }).await??;
        Ok(paused.iter().map(|it| ExceptionRow::answer(None, "paused", it)).collect())
    }

    /// Ends the pause of a jail, or of all.
    pub(super) async fn resume(&self, jail: &str) -> Result<Vec<ExceptionRow>, Error> {
        let uid = Some(self.authority.check(self.header, self.action, &[("jail", jail)]).await?);
        let resumed = self.core.ask(|reply| Command::Resume { jail: named(jail), uid, reply }).await??;
        Ok(resumed.iter().map(|it| ExceptionRow::answer(None, "resumed", it)).collect())
    }

    async fn check(&self, addresses: &str, jail: Option<&str>, origin: &str, orders: usize) -> Result<u32, Error> {
        let details = [("address", addresses), ("jail", jail.unwrap_or_default()), ("origin", origin)];
        self.authority.check_many(self.header, self.action, &details, orders).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<const N: usize>(options: [(&str, zbus::Variant<'static>); N]) -> Given {
        options.into_iter().map(|(name, value)| (name.to_owned(), value.try_into().unwrap())).collect()
    }

    fn read<const N: usize>(options: [(&str, zbus::Variant<'static>); N]) -> Result<(Terms, Option<String>), Error> {
        terms(&given(options), &["For", "ForUSec", "Reason", "Jail"])
    }

    #[test]
    fn an_order_has_an_end_or_none() {
        let usec = |terms: Result<(Terms, Option<String>), Error>| terms.unwrap().0.usec;
        assert_eq!(usec(read([])), None);
        assert_eq!(usec(read([("For", "3d".into())])), Some(259_200_000_000));
        assert_eq!(usec(read([("For", "infinity".into())])), None);
        assert_eq!(usec(read([("ForUSec", 7u64.into())])), Some(7));
        assert_eq!(usec(read([("ForUSec", u64::MAX.into())])), None);
        assert_eq!(read([("Jail", "sshd".into())]).unwrap().1.as_deref(), Some("sshd"));
        assert_eq!(read([("Jail", "".into())]).unwrap().1, None);
    }

    #[test]
    fn a_mistake_is_reported_in_a_sentence() {
        for (wrong, what) in [
            (read([("For", "soon".into())]), "For is "),
            (read([("For", "1h".into()), ("ForUSec", 7u64.into())]), "Only one of"),
            (read([("ForUSec", 0u64.into())]), "ForUSec is 0"),
            (read([("Fro", "1h".into())]), "There is no option 'Fro'"),
            (read([("Reason", "x".repeat(1025).into())]), "1024"),
        ] {
            match wrong {
                Err(Error::InvalidArgument(text)) => {
                    assert!(text.contains(what) && text.ends_with(['.', '?']), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(networks(Vec::new()).is_err() && networks(vec![String::new(); MOST + 1]).is_err());
    }

    #[test]
    fn each_address_has_its_own_answer_in_its_place() {
        let addresses = ["203.0.113.7", "localhost", "203.0.113.8"].map(str::to_owned);
        let entries = networks(addresses.to_vec()).unwrap_or_else(|error| panic!("{error}"));
        let answers =
            vec![Ok("a"), Err(CommandError::NoException(ExceptionKind::Ignored, "It is not ignored.".to_owned()))];
        let row = |address: &str, answer: &str| {
            vec![ExceptionRow {
                address: Some(address.to_owned()),
                result: Some(answer.to_owned()),
                ..ExceptionRow::default()
            }]
        };
        let rows = rows(entries, answers, row);
        let errors: Vec<_> = rows.iter().map(|row| row.error.as_deref().unwrap_or_default()).collect();
        assert_eq!(errors, ["", "org.wardend1.Error.InvalidAddress", "org.wardend1.Error.NotIgnored"]);
        assert!(rows.iter().map(|row| row.address.as_deref().unwrap()).eq(&addresses));
    }
}
