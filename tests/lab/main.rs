//! The lab: real machines, real attacks.
//!
//! Each scenario is a function that takes a release and runs as one test per release:
//! `debian12::…`, `debian13::…` and `debian14::…`. It boots a machine of its own, so scenarios run side by
//! side and in any order. The Makefile runs them where `tests/lab/available` says that it
//! can be done; started without that, they fail with its sentence instead of passing for
//! no reason.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]
#![allow(dead_code, reason = "the lab's tool and its tests share modules and use parts of them")]

mod alive;
mod attack;
mod bans;
mod bus;
mod client;
mod compare;
mod cut;
mod faults;
mod forged;
mod greedy;
mod ground;
mod host;
mod hostile;
mod machine;
#[path = "../support/maker.rs"]
mod maker;
mod network;
mod package;
mod packets;
mod plan;
mod readme;
mod start;
mod state;
mod survive;
mod walls;

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
        mod debian14 {
            use crate::machine::Release;
            $($(#[test] fn $scenario() { crate::$module::$scenario(Release::Debian14); })+)+
        }
    };
}

scenarios! {
    bans:
        five_wrong_passwords_lock_an_address_out_until_its_bantime_is_over,
        over_ipv6_the_whole_network_of_the_attacker_is_locked_out,
        a_killed_daemon_counts_each_failure_once,
        no_failure_is_lost_while_the_journal_rotates;
    alive:
        a_stuck_thread_has_the_daemon_restarted_and_nothing_is_lost,
        a_reload_returns_when_the_new_configuration_is_in_force,
        what_journald_drops_of_sshd_is_told_once;
    bus:
        every_member_of_the_bus_answers_as_documented,
        twenty_lines_of_python_ban_hear_of_it_ask_why_and_unban,
        somebody_without_the_right_may_give_the_password_of_who_has_it,
        a_flood_of_callers_and_of_bans_holds_nothing_up;
    greedy:
        a_client_that_never_reads_holds_no_ban_up_and_fills_no_memory;
    forged:
        forged_signals_and_crowds_of_sessions_hold_nothing_up;
    client:
        watch_shows_failures_bans_and_their_ends_as_they_happen,
        at_a_terminal_polkit_asks_for_a_password,
        shells_offer_jails_and_what_is_banned;
    compare:
        what_is_wrong_in_firewalld_is_shown_and_put_right_on_order;
    faults:
        after_any_faults_of_firewalld_it_holds_what_it_should,
        a_restart_of_the_bus_is_told_and_costs_no_ban;
    packets:
        whoever_is_banned_is_locked_out_in_every_zone_and_nobody_else;
    cut:
        a_ban_cuts_what_its_source_has_open_and_nobody_elses,
        with_cut_off_or_no_leave_to_cut_the_ban_holds_all_the_same,
        the_daemon_has_no_capability_and_may_start_no_other_unit,
        what_a_ban_does_not_close_is_not_cut_either;
    hostile:
        no_name_has_anybody_else_banned;
    start:
        enabling_and_starting_it_is_all_a_fresh_machine_needs,
        without_access_to_the_journal_it_refuses_to_start,
        a_broken_configuration_is_told_with_its_file_and_line,
        without_a_bus_it_refuses_to_start,
        without_firewalld_it_decides_and_waits_and_catches_up,
        bans_outlive_a_reload_and_a_restart_of_firewalld,
        bans_and_counters_outlive_a_restart_and_a_reboot,
        a_journal_that_was_cleared_meanwhile_is_read_on_from_where_it_begins,
        taken_out_of_firewalld_nothing_of_wardend_is_left_there,
        only_root_may_ban_and_everybody_may_look,
        a_socket_tells_the_numbers_to_whoever_connects,
        its_log_level_can_be_changed_by_root_alone,
        its_sandbox_is_as_tight_as_promised_while_it_works,
        the_installed_interfaces_are_the_live_ones,
        the_journal_explains_a_ban;
    state:
        a_full_and_a_read_only_disk_hold_up_no_ban,
        a_damaged_state_is_told_once_and_no_ban_is_lost,
        a_reload_keeps_counters_and_bans_and_a_mistake_changes_nothing,
        an_address_is_explained_with_its_attempts_and_their_records,
        whoever_is_logged_in_is_spared_however_long_ago_he_came,
        whoever_has_left_is_not_spared_for_what_they_left_running,
        whoever_is_logged_in_is_spared_where_only_the_name_of_their_host_is_known;
    survive:
        killed_a_hundred_times_under_attack_it_bans_whom_one_undisturbed_replay_bans,
        a_long_backlog_holds_up_no_ban_and_fills_no_memory;
    walls:
        a_ban_closes_the_ports_of_its_jail_and_a_reload_moves_it,
        what_somebody_else_does_to_the_sets_and_the_policy_is_undone_and_told,
        an_entry_that_only_firewalld_believes_in_is_entered_anew;
    readme:
        the_readme_holds_for_a_new_user;
    package:
        the_package_comes_works_and_goes_without_a_trace,
        purged_while_the_daemon_is_down_it_leaves_nothing_either;
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
