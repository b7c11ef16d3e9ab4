//! The lab: real machines, real attacks.
//!
//! Each scenario is a function that takes a release and runs as one test per release:
//! `debian12::…` and `debian13::…`. It boots a machine of its own, so scenarios run side by
//! side and in any order. The Makefile runs them where `tests/lab/available` says that it
//! can be done; started without that, they fail with its sentence instead of passing for
//! no reason.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]
#![allow(dead_code, reason = "the lab's tool and its tests share modules and use parts of them")]

mod attack;
mod bans;
mod ground;
mod host;
mod machine;
mod network;
mod plan;
mod scratch;

/// Makes each named function a test per release.
macro_rules! scenarios {
    ($($module:ident: $($scenario:ident),+ $(,)?;)+) => {
        mod debian12 {
            use crate::machine::Release;
            $($(#[test] fn $scenario() { crate::$module::$scenario(Release::Debian12); })+)+
        }
        mod debian13 {
            use crate::machine::Release;
            $($(#[test] fn $scenario() { crate::$module::$scenario(Release::Debian13); })+)+
        }
    };
}

scenarios! {
    scratch: scratch;
    bans:
        five_wrong_passwords_lock_an_address_out_until_its_bantime_is_over,
        over_ipv6_the_whole_network_of_the_attacker_is_locked_out;
    ground:
        the_machine_boots_and_systemd_is_running,
        sshd_answers_over_the_wire_in_both_families,
        a_wrong_password_shows_in_the_journal,
        a_dropped_address_times_out_and_its_neighbour_does_not,
        a_reboot_keeps_files_and_journal,
        no_route_leads_out_of_the_lab,
        a_live_login_outlives_a_drop_rule_and_can_be_cut,
        a_service_can_be_locked_up_as_tightly_as_on_a_real_machine,
        a_message_that_comes_later_is_waited_for,
        hasty_passwords_are_judged_at_once;
}
