//! `wardenctl addresses`: what wardend-addresses@.service runs for the daemon, which has no network.
//!
//! It writes the machine's own addresses as one line of JSON, and a whole new line after each
//! change, until whoever listens is gone.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use anyhow::Context;

use crate::kernel::addresses;
use crate::kernel::addresses::Watch;

pub(super) fn run() -> anyhow::Result<()> {
    let input = io::stdin();
    // Listen first and ask afterwards, so that no change can slip through in between.
    let mut watch = Watch::open().context("The kernel can't be asked for the addresses of this machine")?;
    let mut known = None;
    loop {
        let list = addresses::list().context("The kernel does not list the addresses of this machine")?;
        if known.as_ref() != Some(&list) {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", serde_json::to_string(&list)?)?;
            out.flush()?;
            known = Some(list);
        }
        if !watch.wait(input.as_fd())? {
            return Ok(());
        }
    }
}
