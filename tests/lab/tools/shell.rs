//! A machine to look around in, with an attacker at hand.
//!
//! The shell runs in the machine, the attackers live outside of it. A socket in the
//! machine's file system leads from one to the other: the command `attack` in the machine
//! sends a line through it, and what the attack saw comes back.

use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use crate::harness::machine::{self, Machine, Release};

/// Not in `/run` or `/tmp`: those the machine mounts for itself.
const DOOR: &str = "var/lib/lab-attack";

const ATTACK: &str = r#"#!/usr/bin/python3
import socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect("/var/lib/lab-attack")
    door.sendall(" ".join(sys.argv[1:]).encode() + b"\n")
    while said := door.recv(4096):
        print(said.decode(), end="", flush=True)
"#;

pub(crate) fn shell(release: Release) {
    println!("booting {} …", release.name());
    let machine = Machine::prepare(release)
        .file("/usr/local/bin/attack", ATTACK)
        .command("chmod 755 /usr/local/bin/attack")
        .boot();
    let door = UnixListener::bind(machine.root().join(DOOR)).expect("the layer is writable");
    println!(
        "192.0.2.10 and 2001:db8:0:1::10 are this machine; `attack 203.0.113.7 [N [USER]]` has \
         that address, or any other, guess N (5) passwords; leave with `exit`"
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            for visitor in door.incoming().flatten() {
                // An empty line closes the door.
                if !serve(&machine, visitor).unwrap_or(true) {
                    break;
                }
            }
        });
        machine::interactive_shell(&machine).expect("nsenter starts");
        let closing = UnixStream::connect(machine.root().join(DOOR));
        closing.and_then(|mut door| door.write_all(b"\n")).expect("the door is open");
    });
}

/// Carries out one line of the command `attack`. False if it was the last.
fn serve(machine: &Machine, visitor: UnixStream) -> io::Result<bool> {
    let mut line = String::new();
    BufReader::new(visitor.try_clone()?).read_line(&mut line)?;
    let mut visitor = visitor;
    let words: Vec<_> = line.split_whitespace().collect();
    let (address, count, user) = match words[..] {
        [] => return Ok(false),
        [address] => (address, "5", "root"),
        [address, count] => (address, count, "root"),
        [address, count, user, ..] => (address, count, user),
    };
    let (Ok(_), Ok(count)) = (address.parse::<IpAddr>(), count.parse()) else {
        writeln!(visitor, "usage: attack ADDRESS [N [USER]]")?;
        return Ok(true);
    };
    let attacker = machine.attacker(address);
    let mut judged = 0;
    for number in 1..=count {
        judged += attacker.wrong_passwords(user, 1);
        writeln!(visitor, "{address}: guess {number} of {count}, {judged} were judged")?;
    }
    writeln!(visitor, "{address}: a new connection: {:?}", attacker.can_connect())?;
    Ok(true)
}
