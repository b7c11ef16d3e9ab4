//! User names that try to put a stranger's address into sshd's log.
//!
//! [`names`] is a pure function of its seed, so a name that once got through can be had again. The
//! kinds are those that the recordings have, and what their lengths can do: sshd cuts names at 100
//! bytes in some messages and at 200 with their preamble in others, escapes what can't be printed,
//! and cuts each line at 500 bytes; journald strips blanks from the end. A name that knows all this
//! can choose where its line ends.
//!
//! None holds a zero byte, which sshd refuses in a name.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "the numbers are small, and a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `count` names, each with the address that it tries to put in; the seed decides them all.
pub(crate) fn names(seed: u64, count: usize) -> Vec<(Vec<u8>, IpAddr)> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|index| {
            let victim = victim(&mut dice);
            let mut name = kind(index, &mut dice, victim);
            name.retain(|byte| *byte != 0);
            (name, victim)
        })
        .collect()
}

/// Numbers that look random, always the same for a seed (splitmix64).
struct Dice(u64);

impl Dice {
    /// The next number, below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (end as u64)) as usize
    }

    /// One of several.
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

/// Of the networks from which no attack ever comes.
fn victim(dice: &mut Dice) -> IpAddr {
    let last = dice.between(1, 254);
    if dice.below(8) == 0 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, last as u16).into()
    } else {
        Ipv4Addr::new(10, 66, 0, last as u8).into()
    }
}

/// The ends of sshd's messages, and whole ones, with VICTIM for the address.
const FORGED: [&str; 34] = [
    " from VICTIM port 22 ssh2",
    " from VICTIM port 22",
    " from VICTIM",
    " VICTIM port 22 [preauth]",
    " VICTIM port 22",
    " VICTIM port 22 timed out [preauth]",
    " VICTIM port 22: message authentication code incorrect [preauth]",
    " VICTIM port 22: Too many authentication failures [preauth]",
    " from VICTIM port 22 ssh2 [preauth]",
    " from VICTIM port 22 ssh2: ED25519 SHA256:Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Q",
    " from VICTIM port 22 ssh2: RSA MD5:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
    " from VICTIM port 22 ssh2: RSA-CERT ID x (serial 1) CA RSA SHA256:Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Zk3Q",
    " by PAM account configuration [preauth]",
    " from VICTIM port 22 on 192.0.2.1 port 22 rdomain \"\"",
    " (VICTIM)",
    "' from VICTIM port 22",
    "\" from VICTIM port 22",
    " rhost=VICTIM  user=root",
    " not allowed because listed in DenyUsers",
    "root from VICTIM port 22 ssh2",
    "Failed password for root from VICTIM port 22 ssh2",
    "Failed keyboard-interactive/pam for root from VICTIM port 22 ssh2",
    "error: PAM: Authentication failure for root from VICTIM",
    "Invalid user admin from VICTIM port 22",
    "error: maximum authentication attempts exceeded for root from VICTIM port 22 ssh2 [preauth]",
    "Connection closed by invalid user admin VICTIM port 22 [preauth]",
    "Connection closed by VICTIM port 22 [preauth]",
    "ROOT LOGIN REFUSED FROM VICTIM port 22",
    "administratively prohibited connection for root from VICTIM port 22",
    "drop connection #1 from [VICTIM]:22 on [192.0.2.1]:22 penalty: failed authentication",
    "Timeout before authentication for connection from VICTIM to 192.0.2.1, pid = 1",
    "banner exchange: Connection from VICTIM port 22: invalid format",
    "Accepted password for root from VICTIM port 22 ssh2",
    "VICTIM",
];

fn forged(dice: &mut Dice, victim: IpAddr) -> Vec<u8> {
    dice.one(&FORGED).replace("VICTIM", &victim.to_string()).into_bytes()
}

/// One name of each kind in turn.
fn kind(index: usize, dice: &mut Dice, victim: IpAddr) -> Vec<u8> {
    let tail = forged(dice, victim);
    match index % 10 {
        0 => [b"x".as_slice(), &tail].concat(),
        1 => tail,
        2 => {
            [dice.one(&["invalid user ", "illegal user ", "authenticating user ", "user "]).as_bytes(), &tail].concat()
        }
        3 => {
            [&tail, dice.one(&[" ", "  ", "\\", "\n", "\t", "\"", "'", "]", "[preauth]", " ssh2"]).as_bytes()].concat()
        }
        // A style is cut off; so is what stands behind the first colon of an IPv6 address.
        4 => [b"root:".as_slice(), &tail].concat(),
        5 => [odd(dice).as_slice(), &tail, &odd(dice)].concat(),
        // Around the limits of 100 bytes, and of 200 with "invalid user " before it.
        6 => around(dice, &tail, 87, 110),
        7 => around(dice, &tail, 170, 210),
        8 => cut_exactly(dice, victim),
        _ => stripped(dice, victim),
    }
}

/// Some text that is hard to quote, to escape or to decode.
fn odd(dice: &mut Dice) -> Vec<u8> {
    let part: [&[u8]; 14] = [
        b"\n",
        b"\r\n",
        b"\x1b[2J",
        b"\x07\x08",
        b"%s%n%d",
        b"\"'`$(id)",
        b"\\\\",
        b"\\n",
        b"\xff\xfe\x80",
        "пользователь".as_bytes(),
        "用户".as_bytes(),
        b"a:b",
        b"\x01\x01\x01",
        b"  ",
    ];
    (0..dice.between(0, 3)).flat_map(|_| dice.one(&part).to_vec()).collect()
}

/// Filled up in front, so that the end of a name of about this length is the forged text.
fn around(dice: &mut Dice, tail: &[u8], low: usize, high: usize) -> Vec<u8> {
    let length = dice.between(low, high);
    let fill = dice.one(&["a", " ", "\\", "\u{1}", "é"]).as_bytes();
    let mut name: Vec<u8> = fill.iter().copied().cycle().take(length.saturating_sub(tail.len())).collect();
    name.extend_from_slice(tail);
    name
}

/// Ends of lines that a cut can lay bare.
const BARE: [&str; 5] = [
    " VICTIM port 22 [preauth]",
    " VICTIM port 22",
    " VICTIM port 22 timed out [preauth]",
    " VICTIM port 22: x [preauth]",
    " from VICTIM port 22 ssh2 [preauth]",
];

/// The beginnings of lines with a name of up to 200 bytes.
const BEGINNINGS: [&str; 5] = [
    "Connection closed by invalid user ",
    "Connection reset by invalid user ",
    "Disconnected from invalid user ",
    "Connection from invalid user ",
    "ssh_dispatch_run_fatal: Connection from invalid user ",
];

/// Bytes that grow when they are escaped, and to how many: twice (up to 10.2), and once.
const GROWING: [(u8, usize, usize); 3] = [(1, 5, 4), (0x80, 5, 4), (b'\n', 3, 2)];

/// How much of its line a name fills in the end: the bytes that grow, plain ones, a forged end.
struct Fitted {
    name: Vec<u8>,
    /// The length of the line up to the end of the name.
    length: usize,
}

fn fitted(dice: &mut Dice, victim: IpAddr, blanks: usize) -> Fitted {
    let tail = dice.one(&BARE).replace("VICTIM", &victim.to_string()).into_bytes();
    let beginning = dice.one(&BEGINNINGS).len();
    let (byte, twice, once) = GROWING[dice.below(GROWING.len())];
    let grown = if dice.below(4) == 0 { once } else { twice };
    // sshd keeps 187 bytes of the name.
    let room = 187_usize.saturating_sub(tail.len() + blanks);
    let most = ((500 - beginning - tail.len()) / grown).min(room);
    let growing = dice.between(most.saturating_sub(8), most);
    let length = beginning + growing * grown;
    let plain = (500 - length - tail.len()).saturating_sub(blanks).min(room - growing);
    let mut name = vec![byte; growing];
    name.extend(std::iter::repeat_n(b'a', plain));
    name.extend_from_slice(&tail);
    Fitted { length: length + plain + tail.len(), name }
}

/// The line is cut exactly behind the forged end; or nearly, for versions that differ by a byte.
fn cut_exactly(dice: &mut Dice, victim: IpAddr) -> Vec<u8> {
    let Fitted { mut name, .. } = fitted(dice, victim, 0);
    for _ in 0..dice.below(8).saturating_sub(5) {
        name.insert(0, b'a');
    }
    name
}

/// The line is cut in a run of blanks behind the forged end, which journald then strips.
fn stripped(dice: &mut Dice, victim: IpAddr) -> Vec<u8> {
    let blanks = dice.between(1, 100);
    let Fitted { mut name, length } = fitted(dice, victim, blanks);
    let needed = 500_usize.saturating_sub(length);
    name.extend(std::iter::repeat_n(b' ', needed.max(blanks)));
    name
}
