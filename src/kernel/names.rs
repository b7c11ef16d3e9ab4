//! What a host name means, as the system's resolver says (getaddrinfo(3)): /etc/hosts, DNS, and whatever
//! else nsswitch.conf(5) names.

use std::{
    collections::BTreeSet,
    net::{IpAddr, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The addresses of a name, sorted; the error is the middle of a sentence. The resolver can't be
/// interrupted, so an answer that is late is waited for by nobody.
pub(crate) fn addresses(name: &str, patience: Duration) -> Result<Vec<IpAddr>, String> {
    let (sender, answer) = mpsc::channel();
    let asked = name.to_owned();
    let ask = move || drop(sender.send((asked.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    thread::Builder::new().name("resolver".to_owned()).spawn(ask).map_err(|error| error.to_string())?;
    match answer.recv_timeout(patience) {
        Ok(Ok(found)) => {
            let addresses: BTreeSet<IpAddr> = found.iter().map(|socket| socket.ip().to_canonical()).collect();
            Ok(addresses.into_iter().collect())
        }
        Ok(Err(error)) => Err(reason(&error.to_string())),
        Err(_) => Err(format!("the resolver gave no answer within {} s", patience.as_secs())),
    }
}

/// What the resolver says, without the words that the standard library puts before it.
fn reason(text: &str) -> String {
    text.strip_prefix("failed to lookup address information: ").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_hosts_file_is_found_and_a_bad_one_has_a_reason() {
        let patience = Duration::from_secs(20);
        let local = addresses("localhost", patience).unwrap();
        assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback), "{local:?}");
        assert_eq!(addresses("192.0.2.7", patience).unwrap(), [IpAddr::from([192, 0, 2, 7])]);
        let error = addresses("no.such.host.invalid", patience).unwrap_err();
        assert!(!error.is_empty() && !error.contains("lookup address information"), "{error}");
        assert!(addresses("localhost", Duration::ZERO).unwrap_err().contains("no answer within 0 s"));
    }
}
