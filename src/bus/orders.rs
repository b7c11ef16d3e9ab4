//! What the methods of the manager for bans do: all orders of a call are checked, and go to the core at once.

use std::sync::Arc;

use ipnet::IpNet;
use zbus::message::Header;

use super::{
    Command, Core, Ordered,
    entries::Entries,
    options::{BanTerms, Given, Options, address_of, joined},
    polkit::Authority,
};
use crate::{
    contract::{
        bus::{BanRow, INFINITY, Outcome},
        error::Error,
    },
    core::{
        bans::{MOST_BANS, Origin},
        engine::{BanOrder, Change},
        net::parse_network,
    },
};

/// Who asks, and on whose behalf it is checked.
pub(super) struct Caller<'c> {
    pub(super) core: &'c Core,
    pub(super) authority: &'c Authority,
    pub(super) header: &'c Header<'c>,
    /// The polkit action.
    pub(super) action: &'static str,
}

/// The word for what an order has changed.
fn word_of(change: Change) -> &'static str {
    match change {
        Change::Banned => "banned",
        Change::Extended => "extended",
        Change::Unchanged => "unchanged",
    }
}

fn check_number(entries: usize) -> Result<(), Error> {
    if entries > MOST_BANS {
        return Err(Error::LimitsExceeded(format!(
            "The call has {entries} entries; wardend keeps at most {MOST_BANS} bans, so leave some out, or write networks in place of their addresses."
        )));
    }
    Ok(())
}

fn network(text: &str) -> Result<IpNet, Error> {
    Ok(parse_network(text)?)
}

/// The jail that an order names; with none, it is for all.
pub(super) fn named(jail: &str) -> Option<String> {
    (!jail.is_empty()).then(|| jail.to_owned())
}

impl Caller<'_> {
    /// Bans one source, in as many jails as it takes.
    pub(super) async fn ban(
        &self,
        address: &str,
        jail: &str,
        options: &Given,
    ) -> Result<(String, u64, Outcome), Error> {
        let network = network(address)?;
        let terms = BanTerms::of_one(options)?;
        let jails = self.core.jails_for(jail).await?;
        let orders: Vec<BanOrder> = jails.iter().map(|jail| terms.order(network, jail)).collect();
        let names = joined(jails.iter().map(|jail| &**jail));
        let details = [("address", address), ("jail", &names), ("origin", terms.origin.word())];
        self.authority.check(self.header, self.action, &details).await?;
        let outcomes = self.core.ask(|reply| Command::Ban { orders, list: None, reply }).await??;
        let mut all = Vec::new();
        let mut error = Error::Failed("The order had no outcome.".to_owned());
        for outcome in outcomes {
            all.push(match outcome {
                Ok(Ordered { change, row }) => Outcome::ban(address.to_owned(), word_of(change), row),
                Err(refused) => {
                    error = refused.into();
                    Outcome::refusal(address.to_owned(), &error)
                }
            });
        }
        let mut ban = all.iter().find(|outcome| outcome.error.is_none()).cloned().ok_or(error)?;
        ban.outcomes = jail.is_empty().then_some(all);
        Ok((ban.source.clone().unwrap_or_default(), ban.until_usec.unwrap_or(INFINITY), ban))
    }

    /// Bans many sources.
    pub(super) async fn ban_many(&self, bans: Vec<Given>, options: &Given) -> Result<Vec<Outcome>, Error> {
        check_number(bans.len())?;
        let terms = BanTerms::of_many(options)?;
        let read = |entry| {
            let order = terms.order_of(&entry);
            (address_of(entry), order)
        };
        let read: Vec<(String, Result<BanOrder, Error>)> = bans.into_iter().map(read).collect();
        let names_none = |order: &BanOrder| order.jail.is_empty();
        let jails = if read.iter().any(|(_, order)| order.as_ref().is_ok_and(names_none)) {
            self.core.jails_for("").await?
        } else {
            Vec::new()
        };
        let in_each = |(given, order): (String, Result<BanOrder, Error>)| match order {
            Ok(order) if names_none(&order) => {
                let of = |jail: &Arc<str>| (given.clone(), Ok(BanOrder { jail: Arc::clone(jail), ..order.clone() }));
                jails.iter().map(of).collect()
            }
            order => vec![(given, order)],
        };
        let mut entries = Entries::read(read.into_iter().flat_map(in_each));
        check_number(entries.len())?;
        let orders = entries.readable();
        let jails = joined(orders.iter().map(|order| &*order.jail).chain(terms.jail.as_deref()));
        let origins = joined(orders.iter().map(|order| order.origin.word()));
        let origin = if origins.is_empty() { terms.origin.word() } else { &origins };
        let details = [("jail", jails.as_str()), ("origin", origin)];
        self.authority.check_many(self.header, self.action, &details, entries.len()).await?;
        let (orders, list) = (entries.take(), Some(origin.to_owned()));
        let outcomes = self.core.ask(|reply| Command::Ban { orders, list, reply }).await??;
        let outcome = |(address, outcome)| match outcome {
            Ok(Ordered { change, row }) => Outcome::ban(address, word_of(change), row),
            Err(error) => Outcome::refusal(address, &error),
        };
        Ok(entries.answers(outcomes).map(outcome).collect())
    }

    /// Ends the bans of one source.
    pub(super) async fn unban(&self, address: &str, jail: &str) -> Result<Vec<BanRow>, Error> {
        let network = network(address)?;
        let details = [("address", address), ("jail", jail)];
        self.authority.check(self.header, self.action, &details).await?;
        let unban = |reply| Command::Unban { networks: vec![network], jail: named(jail), origin: None, reply };
        let ended = self.core.ask(unban).await??.pop().unwrap_or(Ok(Vec::new()));
        Ok(ended?)
    }

    /// Ends the bans of many sources.
    pub(super) async fn unban_many(
        &self,
        addresses: Vec<String>,
        jail: &str,
        options: &Given,
    ) -> Result<Vec<Outcome>, Error> {
        check_number(addresses.len())?;
        let origin = Options::new(options, &["Origin"])?.origin()?;
        let details = [("jail", jail), ("origin", origin.as_ref().map_or("", Origin::word))];
        self.authority.check_many(self.header, self.action, &details, addresses.len()).await?;
        let mut entries = Entries::of_networks(addresses);
        let (networks, jail) = (entries.take(), named(jail));
        let outcomes = self.core.ask(|reply| Command::Unban { networks, jail, origin, reply }).await??;
        let outcome = |(address, outcome)| match outcome {
            Ok(bans) => Outcome::unban(address, bans),
            Err(error) => Outcome::refusal(address, &error),
        };
        Ok(entries.answers(outcomes).map(outcome).collect())
    }

    /// Ends all bans of a jail, or of an origin, or all.
    pub(super) async fn unban_all(&self, options: &Given) -> Result<u32, Error> {
        let given = Options::new(options, &["Jail", "Origin"])?;
        let (jail, origin) = (given.text("Jail")?, given.origin()?);
        let details = [("jail", jail.unwrap_or_default()), ("origin", origin.as_ref().map_or("", Origin::word))];
        self.authority.check(self.header, self.action, &details).await?;
        let jail = jail.map(str::to_owned);
        self.core.ask(|reply| Command::UnbanAll { jail, origin, reply }).await?
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn what_is_no_address_is_reported_with_the_mend() {
        assert!(matches!(network("2001:db8::1"), Ok(net) if net.addr() == "2001:db8::1".parse::<IpAddr>().unwrap()));
        for text in ["", "localhost", "203.0.113.7/33", "0.0.0.0/0", "::/0", "203.0.113.7 ", "fe80::1%lo"] {
            assert!(matches!(network(text), Err(Error::InvalidAddress(_))), "{text}");
        }
    }
}
