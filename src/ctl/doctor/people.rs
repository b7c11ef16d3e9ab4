//! Who must not be banned: this machine, the names in `ignoreip`, and whoever runs this.

use std::{collections::BTreeMap, env, net::IpAddr};

use zbus::{Connection, proxy, proxy::CacheProperties};

use super::{Finding, PATIENCE, SANDBOX, Scene};
use crate::{kernel, systemd::units, util::text::count};

#[proxy(
    interface = "org.freedesktop.login1.Session",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1/session/self"
)]
trait OwnSession {
    #[zbus(property)]
    fn remote_host(&self) -> zbus::Result<String>;
}

/// The addresses of this machine.
pub(super) async fn addresses(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "addresses";
    let listed = match kernel::addresses::list() {
        Ok(listed) => listed.len(),
        Err(error) => {
            return vec![Finding::unknown(CHECK, format!("The kernel does not list them: {error}."), SANDBOX)];
        }
    };
    let mut found = Vec::new();
    if let Ok(bus) = &scene.bus
        && scene.daemon.is_some()
        && units::active(bus, &["wardend-addresses.socket"]).await.is_ok_and(|active| active.is_empty())
    {
        found.push(Finding::problem(
            CHECK,
            "wardend-addresses.socket is not active, so wardend does not learn which addresses this machine has.",
            "Run `systemctl restart wardend-addresses.socket` (`systemctl unmask` before it, if it is masked).",
        ));
    }
    let known = match &scene.daemon {
        Some(daemon) => daemon.n_own_addresses().await.ok().and_then(|known| usize::try_from(known).ok()),
        None => None,
    };
    match known {
        Some(known) if known != listed => found.push(Finding::problem(
            CHECK,
            format!("This machine has {}, and wardend knows {known}.", count(listed, "address", "addresses")),
            "Run `systemctl stop 'wardend-addresses@*'`: wardend asks again. If this persists, see `journalctl -u 'wardend-addresses@*'`.",
        )),
        _ if found.is_empty() => {
            let own = count(listed, "address", "addresses");
            found.push(Finding::ok(CHECK, format!("{own} of this machine, never banned.")));
        }
        _ => {}
    }
    found
}

/// How the daemon treats an address, by jail.
async fn states(scene: &Scene, address: IpAddr) -> Option<BTreeMap<String, String>> {
    let known = scene.daemon.as_ref()?.explain(&address.to_string()).await.ok()?.answer;
    let text = |jail: &std::collections::HashMap<String, zbus::OwnedVariant>, key: &str| {
        jail.get(key).and_then(|value| <&str>::try_from(&**value).ok()).unwrap_or_default().to_owned()
    };
    Some(known.iter().map(|jail| (text(jail, "Jail"), text(jail, "State"))).collect())
}

/// The names in `ignoreip`: what they mean now, and whether the daemon has heard of it.
pub(super) async fn names(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "ignoreip";
    let Ok(settings) = &scene.settings else { return Vec::new() };
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for jail in &settings.jails {
        for name in &*jail.names {
            names.entry(&name.name).or_default().push(&jail.name);
        }
    }
    let entries: usize = settings.jails.iter().map(|jail| jail.ignoreip.len()).max().unwrap_or_default();
    let mut found = Vec::new();
    if entries == 0 && names.is_empty() {
        found.push(Finding::note(
            CHECK,
            "It is empty, so you can be banned while you are not logged in.",
            "Add your addresses, as in the README (`wardenctl verify` and `systemctl reload wardend` after it).",
        ));
    } else {
        let what = format!("{}, {}.", count(entries, "network", "networks"), count(names.len(), "name", "names"));
        found.push(Finding::ok(CHECK, what));
    }
    for (name, jails) in names {
        let asked = name.to_owned();
        let resolved = tokio::task::spawn_blocking(move || kernel::names::addresses(&asked, PATIENCE / 3)).await;
        let addresses = match resolved
            .map_err(|error| error.to_string())
            .and_then(|resolved| resolved.map_err(|error| error.to_string()))
        {
            Ok(addresses) => addresses,
            Err(why) => {
                found.push(Finding::problem(
                    CHECK,
                    format!("The name '{name}' can't be resolved: {why}."),
                    "Correct the name or the resolver, or write addresses instead.",
                ));
                continue;
            }
        };
        let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut unknown = Vec::new();
        for address in &addresses {
            if let Some(states) = states(scene, *address).await
                && jails.iter().any(|jail| states.get(*jail).is_some_and(|state| state != "ignored"))
            {
                unknown.push(address.to_string());
            }
        }
        found.push(match unknown.as_slice() {
            [] => Finding::ok(CHECK, format!("{name} is {list}.")),
            unknown => Finding::problem(
                CHECK,
                format!("{name} is {list}, and wardend does not ignore {}.", unknown.join(", ")),
                "Within five minutes it asks again; if this persists, see `journalctl -u wardend`.",
            ),
        });
    }
    found
}

/// Whether whoever runs this can lock themselves out.
pub(super) async fn you(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "you";
    let Some(host) = whence(scene.bus.as_ref().ok()).await else {
        return vec![Finding::ok(CHECK, "You are not connected over SSH.")];
    };
    let Ok(address) = host.parse::<IpAddr>() else {
        let what = format!("You are connected from {host}, of which logind has only the name.");
        return vec![Finding::unknown(CHECK, what, "Set `UseDNS no` in sshd_config.")];
    };
    let address = address.to_canonical();
    let states = states(scene, address).await.unwrap_or_default();
    if let Some((jail, _)) = states.iter().find(|(_, state)| *state == "banned") {
        let what = format!("You are connected from {address}, which is banned in jail {jail}.");
        return vec![Finding::problem(CHECK, what, format!("Run `wardenctl unban {address}`."))];
    }
    let Ok(settings) = &scene.settings else { return Vec::new() };
    let open: Vec<_> = settings
        .jails
        .iter()
        .filter(|jail| !jail.ignores(address) && states.get(&jail.name).is_none_or(|state| state != "ignored"))
        .collect();
    let remedy = format!("If it is your own, add \"{address}\" to ignoreip.");
    vec![if open.is_empty() {
        Finding::ok(CHECK, format!("You are connected from {address}, which is in ignoreip."))
    } else if let Some(jail) = open.iter().find(|jail| jail.spare_logins.is_none()) {
        let what = format!(
            "You are connected from {address}, which is not in ignoreip, and jail {} spares nobody (spare-logins).",
            jail.name
        );
        Finding::problem(CHECK, what, remedy)
    } else {
        let what = format!(
            "You are connected from {address}, which is not in ignoreip: it is spared while you are logged in, and for some time after."
        );
        Finding::note(CHECK, what, remedy)
    }]
}

/// The other end of the connection: sudo leaves out the variable, but logind knows the session.
async fn whence(bus: Option<&Connection>) -> Option<String> {
    if let Ok(connection) = env::var("SSH_CONNECTION") {
        return connection.split(' ').next().map(str::to_owned).filter(|host| !host.is_empty());
    }
    let session = OwnSessionProxy::builder(bus?).cache_properties(CacheProperties::No).build().await.ok()?;
    session.remote_host().await.ok().filter(|host| !host.is_empty())
}
