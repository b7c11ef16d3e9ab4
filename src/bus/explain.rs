//! What the engine knows of an address, as a dictionary that can grow.

use zbus::{OwnedVariant, Variant, message::Header};

use super::{Command, Core, QueuedAnswer, options::Given, polkit::Authority};
use crate::{
    contract::{
        bus::{Attempt, INFINITY, counted},
        error::Error,
    },
    core::{
        bans::Origin,
        engine::{AddressState, Explanation},
        net::{parse_network, text_of},
    },
};

/// What each jail knows about an address.
pub(super) async fn address(
    core: &Core,
    authority: &Authority,
    header: &Header<'_>,
    address: &str,
) -> Result<QueuedAnswer<Vec<Given>>, Error> {
    let network = parse_network(address)?;
    if network.prefix_len() != network.max_prefix_len() {
        return Err(Error::InvalidAddress(format!("{address} is a network; name one address of it.")));
    }
    let users = authority.allows(header, "org.wardend1.inspect").await;
    let turn = core.answers.wait_for_answer(header).await?;
    let known = core.ask(|reply| Command::Explain(network.addr(), reply)).await?;
    let dictionary = |jail| dictionary(jail, users).map_err(|error| Error::Failed(format!("{error}.")));
    Ok(QueuedAnswer::new(known.iter().map(dictionary).collect::<Result<_, Error>>()?, turn))
}

/// The dictionary of one jail; with the users that were tried, or without: a user name can be a
/// password, typed at the wrong prompt.
fn dictionary(known: &Explanation, users: bool) -> zbus::Result<Given> {
    let attempts: Vec<Attempt> = known
        .failures
        .iter()
        .map(|failure| Attempt {
            time_usec: failure.time,
            rule: failure.rule.to_string(),
            user: failure.user.filter(|_| users).unwrap_or_default().into(),
            address: failure.address.to_string(),
            cursor: failure.cursor.to_string(),
        })
        .collect();
    let state = match &known.state {
        AddressState::Banned(_) => "banned",
        AddressState::Ignored => "ignored",
        AddressState::Spared { .. } => "spared",
        AddressState::Counting => "counting",
        AddressState::Clear => "clear",
    };
    let mut entries: Vec<(&str, Variant<'_>)> = vec![
        ("Jail", known.jail.as_str().into()),
        ("Source", known.source.as_str().into()),
        ("State", state.into()),
        ("Because", known.because.as_str().into()),
        ("BanCount", known.count.into()),
        ("Attempts", attempts.into()),
        ("Counted", counted(known.failures.are_bans()).into()),
    ];
    match &known.state {
        AddressState::Banned(ban) => entries.extend([
            ("Ban", text_of(ban.source).into()),
            ("SinceUSec", ban.since.into()),
            ("UntilUSec", ban.until.unwrap_or(INFINITY).into()),
            ("Permanent", ban.until.is_none().into()),
            ("Origin", ban.origin.word().into()),
            ("ByHand", (ban.origin != Origin::Jail).into()),
            ("Reason", ban.reason.as_deref().unwrap_or_default().into()),
        ]),
        AddressState::Spared { login } => entries.push(("LoginUSec", (*login).into())),
        AddressState::Ignored | AddressState::Counting | AddressState::Clear => {}
    }
    entries.into_iter().map(|(key, value)| Ok((key.to_owned(), OwnedVariant::try_from(value)?))).collect()
}
