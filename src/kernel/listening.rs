//! The TCP ports on which programs wait for connections from elsewhere, as /proc has them.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The state of a socket that waits for connections, in the kernel's TCP table.
const LISTEN: &str = "0A";

/// All of them, sorted; those that are bound to loopback alone are left out.
pub(crate) fn tcp() -> io::Result<BTreeSet<u16>> {
    let mut ports = ports(&fs::read_to_string("/proc/net/tcp")?);
    // A kernel without IPv6 has no such table.
    ports.extend(fs::read_to_string("/proc/net/tcp6").map(|text| self::ports(&text)).unwrap_or_default());
    Ok(ports)
}

fn ports(table: &str) -> BTreeSet<u16> {
    table.lines().skip(1).filter_map(port).collect()
}

/// A line: number, local address, remote address, state, and more.
fn port(line: &str) -> Option<u16> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    (words.nth(1)? == LISTEN && !address_of(address)?.to_canonical().is_loopback()).then_some(())?;
    u16::from_str_radix(port, 16).ok()
}

/// An address as the kernel prints it: each four bytes as one number of this machine's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |place: usize| Some(u32::from_str_radix(hex.get(place..place + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn what_listens_for_others_is_found_and_nothing_else() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                     \x20  0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     \x20  1: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     \x20  2: 0A0200C0:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     \x20  3: 0A0200C0:0016 077100CB:C350 01 00000000:00000000 00:00000000 00000000     0\n";
        assert_eq!(ports(table).into_iter().collect::<Vec<_>>(), [22, 8080]);
        let six = "head\n   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0\n\
                   \x20  1: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A 0\n\
                   \x20  2: 0000000000000000FFFF00000100007F:001A 00000000000000000000000000000000:0000 0A 0\n\
                   nonsense\n   3: 00:16 00:0 0A\n";
        assert_eq!(ports(six).into_iter().collect::<Vec<_>>(), [80], "mapped loopback is loopback");
    }

    #[test]
    fn a_port_of_this_machine_is_listed() {
        let door = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(tcp().unwrap().contains(&door.local_addr().unwrap().port()));
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!tcp().unwrap().contains(&door.local_addr().unwrap().port()));
    }
}
