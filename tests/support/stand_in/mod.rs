//! Stand-ins for the neighbors on a private bus: firewalld and systemd.
//!
//! They belong to the unit tests of the crate, which brings them in by their path. The bus is a real
//! `dbus-daemon`, because the signals about names and the errors for absent ones come from it. How the real
//! firewalld behaves is proven in the lab.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that expects in vain has failed")]

mod bus;
mod config;
mod firewalld;
mod systemd;

pub(crate) use self::{
    bus::Bus,
    firewalld::{Fake, Inner, exception, network, policy},
    systemd::systemd,
};
