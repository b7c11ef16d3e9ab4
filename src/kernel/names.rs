//! What a host name means, as the system's resolver says (getaddrinfo(3)): /etc/hosts, DNS, and whatever
//! else nsswitch.conf(5) names.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Why a name has no addresses: the middle of a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error("{}", reason(&.0.to_string()))]
    Resolver(io::Error),
    #[error("the resolver gave no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// It could not be asked.
    #[error(transparent)]
    Thread(io::Error),
}

/// The addresses of a name, sorted. The resolver can't be
/// interrupted, so an answer that is late is waited for by nobody.
pub(crate) fn addresses(name: &str, patience: Duration) -> Result<Vec<IpAddr>, NameError> {
    let (sender, answer) = mpsc::channel();
    let asked = name.to_owned();
    let ask = move || drop(sender.send((asked.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    thread::Builder::new().name("resolver".to_owned()).spawn(ask).map_err(NameError::Thread)?;
    match answer.recv_timeout(patience) {
        Ok(Ok(found)) => {
            let addresses: BTreeSet<IpAddr> = found.iter().map(|socket| socket.ip().to_canonical()).collect();
            Ok(addresses.into_iter().collect())
        }
        Ok(Err(error)) => Err(NameError::Resolver(error)),
        Err(_) => Err(NameError::Late(patience)),
    }
}

/// What the resolver says, without the words that the standard library puts before it.
fn reason(text: &str) -> &str {
    text.strip_prefix("failed to lookup address information: ").unwrap_or(text)
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
        let error = addresses("no.such.host.invalid", patience).unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains("lookup address information"), "{error}");
        assert!(addresses("localhost", Duration::ZERO).unwrap_err().to_string().contains("no answer within 0 s"));
    }
}
