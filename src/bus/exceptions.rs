//! What the methods of the manager for exceptions have in common: their options, and an answer for each
//! address.

use ipnet::IpNet;
use zbus::message::Header;

use super::{
    Command, Core,
    options::{Given, Options},
    polkit::Authority,
};
use crate::{
    config::parse_ban_time,
    contract::{
        bus::INFINITY,
        error::Error,
        exceptions::{ExceptionRow, words},
    },
    core::{
        ExceptionKind,
        bans::Origin,
        engine::{CommandError, Terms},
        net::parse_network,
    },
};

/// The most addresses of one call.
const MOST: usize = 4096;
/// The longest list of addresses that polkit's rules are shown, in bytes.
const LONGEST_LIST: usize = 1024;

fn wrong(what: &str) -> Error {
    Error::InvalidArgument(what.to_owned())
}

/// What an order says besides whom it is about, and the jail that it is for.
pub(super) fn terms(given: &Given, known: &[&str]) -> Result<(Terms, Option<String>), Error> {
    let options = Options::new(given, known)?;
    let usec = match (options.text("For")?, options.number("ForUSec")?) {
        (Some(_), Some(_)) => return Err(wrong("Only one of For and ForUSec can be given.")),
        (None, Some(0)) => return Err(wrong("ForUSec is 0; write more, or leave it out for no end.")),
        (None, usec) => usec.filter(|usec| *usec != INFINITY),
        (Some(words), None) => {
            parse_ban_time(words).map_err(|what| Error::InvalidArgument(format!("For is {what}")))?
        }
    };
    let reason = options.reason()?.unwrap_or_default();
    let jail = options.text("Jail")?.filter(|jail| !jail.is_empty()).map(str::to_owned);
    let origin = options.origin()?;
    let origin = origin.as_ref().map_or("", Origin::word);
    Ok((Terms { usec, reason: reason.into(), origin: origin.into(), uid: None }, jail))
}

/// The networks of a call, or what is wrong with each.
fn networks(addresses: &[String]) -> Result<Vec<Result<IpNet, Error>>, Error> {
    match addresses.len() {
        0 => Err(wrong("The list of addresses is empty.")),
        1..=MOST => Ok(addresses.iter().map(|text| parse_network(text).map_err(Error::InvalidAddress)).collect()),
        _ => Err(wrong("The list has more than 4096 addresses; call once for each part of it.")),
    }
}

/// What polkit's rules are shown: all addresses, or their number.
fn shown(addresses: &[String]) -> String {
    let list = addresses.join(",");
    if list.len() <= LONGEST_LIST { list } else { format!("{} addresses", addresses.len()) }
}

/// Puts the answers for the networks back between those that are none.
fn rows<T>(
    addresses: &[String],
    networks: Vec<Result<IpNet, Error>>,
    answers: Vec<Result<T, CommandError>>,
    row: impl Fn(&str, T) -> Vec<ExceptionRow>,
) -> Vec<ExceptionRow> {
    let mut answers = answers.into_iter();
    let mut all = Vec::with_capacity(addresses.len());
    for (address, network) in addresses.iter().zip(networks) {
        // There is an answer for each network.
        let answer = match network {
            Ok(_) => answers.next().map(|answer| answer.map_err(Error::from)),
            Err(error) => Some(Err(error)),
        };
        match answer.unwrap_or_else(|| Err(Error::Failed("There is no answer.".to_owned()))) {
            Ok(answer) => all.extend(row(address, answer)),
            Err(error) => all.push(ExceptionRow::refusal(address, &error)),
        }
    }
    all
}

/// Who asks, and on whose behalf it is checked.
pub(super) struct Caller<'c> {
    pub(super) core: &'c Core,
    pub(super) authority: &'c Authority,
    pub(super) header: &'c Header<'c>,
    /// The polkit action.
    pub(super) action: &'static str,
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
        let networks = networks(&addresses)?;
        terms.uid = Some(self.check(&addresses, jail.as_deref()).await?);
        let good: Vec<IpNet> = networks.iter().filter_map(|network| network.as_ref().ok().copied()).collect();
        let answers = self.core.ask(|reply| Command::Except { kind, networks: good, jail, terms, reply }).await??;
        let (done, _) = words(kind);
        Ok(rows(&addresses, networks, answers, |address, it| vec![ExceptionRow::answer(Some(address), done, &it)]))
    }

    /// Ends the exceptions for each address.
    pub(super) async fn end(
        &self,
        kind: ExceptionKind,
        addresses: Vec<String>,
        given: &Given,
    ) -> Result<Vec<ExceptionRow>, Error> {
        let options = Options::new(given, &["Jail"])?;
        let jail = options.text("Jail")?.filter(|jail| !jail.is_empty()).map(str::to_owned);
        let networks = networks(&addresses)?;
        let uid = Some(self.check(&addresses, jail.as_deref()).await?);
        let good: Vec<IpNet> = networks.iter().filter_map(|network| network.as_ref().ok().copied()).collect();
        let answers =
            self.core.ask(|reply| Command::EndExceptions { kind, networks: good, jail, uid, reply }).await??;
        let (_, done) = words(kind);
        Ok(rows(&addresses, networks, answers, |address, ended| {
            ended.iter().map(|it| ExceptionRow::answer(Some(address), done, it)).collect()
        }))
    }

    async fn check(&self, addresses: &[String], jail: Option<&str>) -> Result<u32, Error> {
        let addresses = shown(addresses);
        let details = [("address", addresses.as_str()), ("jail", jail.unwrap_or_default())];
        self.authority.check_user(self.header, self.action, &details).await
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
    fn a_mistake_is_told_in_a_sentence() {
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
        assert!(networks(&[]).is_err() && networks(&vec![String::new(); MOST + 1]).is_err());
    }

    #[test]
    fn each_address_has_its_own_answer_in_its_place() {
        let addresses = ["203.0.113.7", "localhost", "203.0.113.8"].map(str::to_owned);
        let networks = networks(&addresses).unwrap();
        let answers =
            vec![Ok("a"), Err(CommandError::NoException(ExceptionKind::Ignored, "It is not ignored.".to_owned()))];
        let row = |address: &str, answer: &str| {
            vec![ExceptionRow {
                address: Some(address.to_owned()),
                result: Some(answer.to_owned()),
                ..ExceptionRow::default()
            }]
        };
        let rows = rows(&addresses, networks, answers, row);
        let errors: Vec<_> = rows.iter().map(|row| row.error.as_deref().unwrap_or_default()).collect();
        assert_eq!(errors, ["", "org.wardend1.Error.InvalidAddress", "org.wardend1.Error.NotIgnored"]);
        assert!(rows.iter().map(|row| row.address.as_deref().unwrap()).eq(&addresses));
    }
}
