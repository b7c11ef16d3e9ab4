//! The lab by hand: `shell` for looking around in a machine, `demo` for showing one under
//! attack, `latency`, `live`, `noise`, `scale` and `flood` (`WARDEND_FLOOD` seconds each) for figures, `recordings` for what can be shown without
//! any machine.
//!
//! All boot with the modules of the tests, so what is seen here is what the tests see. It
//! is an example and not a program of its own, because nobody should install it.

#![allow(clippy::expect_used, reason = "at a terminal a panic message is the answer")]
#![allow(dead_code, reason = "the lab's tool and its tests share modules and use parts of them")]

#[path = "scenarios/forged.rs"]
mod forged;
mod harness;
mod tools;

use std::process::ExitCode;

use harness::machine::Release;
use tools::{demo, latency, live, recordings, scale, shell};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let beside = arguments.ends_with(&["--beside", "fail2ban"]);
    let (verb, release) = match arguments[..arguments.len() - if beside { 2 } else { 0 }] {
        [verb] => (verb, Some(Release::Debian13)),
        [verb, release] => (verb, Release::by_name(release)),
        _ => ("", None),
    };
    match (verb, release) {
        ("shell", Some(release)) => shell::shell(release),
        ("demo", Some(release)) => demo::demo(release),
        ("latency", Some(release)) => latency::latency(release, 25),
        ("live", Some(release)) => live::live(release, beside),
        ("noise", Some(release)) => live::noise(release, beside),
        ("scale", Some(release)) => scale::sizes().into_iter().for_each(|bans| scale::scale(release, bans)),
        ("flood", Some(release)) => forged::forged_signals_and_crowds_of_sessions_hold_nothing_up(release),
        ("recordings", _) => recordings::recordings(),
        _ => {
            let releases = Release::ALL.map(Release::name).join("|");
            println!(
                "usage: lab shell|demo|latency|live|noise|scale|flood [{releases}] [--beside fail2ban], lab recordings"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
