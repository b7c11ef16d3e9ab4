//! The lab: real machines, real attacks.
//!
//! Each scenario is a function that takes a release and runs as one test per release that it is
//! listed for: `debian12::…`, `debian13::…` and `debian14::…`. It boots a machine of its own, so
//! scenarios run side by side and in any order. The Makefile runs them where
//! `tests/lab/available` says that it can be done; started without that, they fail with its
//! sentence instead of passing for no reason.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]
#![allow(clippy::too_many_lines, reason = "a scenario is one story from its beginning to its end")]
#![allow(dead_code, reason = "the lab's tool and its tests share modules and use parts of them")]

mod harness;
#[path = "../support/maker.rs"]
mod maker;
mod scenarios;

/// Makes each named function a test of each release, or of those that are named before it, and one
/// to be asked for of the others; README.md here says which runs where.
macro_rules! scenarios {
    (
        $($module:ident: $($scenario:ident),+ $(,)?;)+
        [debian12, debian14] $($ends:ident: $($of_ends:ident),+ $(,)?;)+
        [debian13] $($once:ident: $($of_once:ident),+ $(,)?;)+
    ) => {
        mod debian12 {
            use crate::harness::machine::Release;
            $($(#[test] fn $scenario() { crate::scenarios::$module::$scenario(Release::Debian12); })+)+
            $($(#[test] fn $of_ends() { crate::scenarios::$ends::$of_ends(Release::Debian12); })+)+
            $($(#[test] #[ignore = "runs on Debian 13"] fn $of_once() { crate::scenarios::$once::$of_once(Release::Debian12); })+)+
        }
        mod debian13 {
            use crate::harness::machine::Release;
            $($(#[test] fn $scenario() { crate::scenarios::$module::$scenario(Release::Debian13); })+)+
            $($(#[test] #[ignore = "runs on Debian 12 and 14"] fn $of_ends() { crate::scenarios::$ends::$of_ends(Release::Debian13); })+)+
            $($(#[test] fn $of_once() { crate::scenarios::$once::$of_once(Release::Debian13); })+)+
        }
        mod debian14 {
            use crate::harness::machine::Release;
            $($(#[test] fn $scenario() { crate::scenarios::$module::$scenario(Release::Debian14); })+)+
            $($(#[test] fn $of_ends() { crate::scenarios::$ends::$of_ends(Release::Debian14); })+)+
            $($(#[test] #[ignore = "runs on Debian 13"] fn $of_once() { crate::scenarios::$once::$of_once(Release::Debian14); })+)+
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
        what_journald_drops_of_sshd_is_reported_once;
    bus:
        every_member_of_the_bus_answers_as_documented,
        twenty_lines_of_python_ban_hear_of_it_ask_why_and_unban,
        somebody_without_the_right_may_give_the_password_of_who_has_it;
    forged:
        forged_signals_and_crowds_of_sessions_hold_nothing_up;
    client:
        watch_shows_failures_bans_and_their_ends_as_they_happen,
        at_a_terminal_polkit_asks_for_a_password;
    compare:
        what_is_wrong_in_firewalld_is_shown_and_put_right_on_order;
    bypass:
        what_firewalld_accepts_before_a_ban_is_named_with_its_mend;
    faults:
        a_restart_of_the_bus_is_reported_and_costs_no_ban;
    packets:
        whoever_is_banned_is_locked_out_in_every_zone_and_nobody_else;
    cut:
        a_ban_cuts_what_its_source_has_open_and_nobody_elses,
        with_cut_off_or_no_leave_to_cut_the_ban_holds_all_the_same,
        the_daemon_has_no_capability_and_may_start_no_unit,
        what_a_ban_does_not_close_is_not_cut_either;
    blind:
        sshd_is_read_in_whatever_unit_by_stdout_and_in_a_namespace_and_no_forged_line_is,
        an_sshd_that_says_nothing_that_is_read_is_reported_with_the_cause_and_the_mend,
        a_user_with_a_harmless_sudo_rule_has_nobody_banned;
    deaf:
        whatever_becomes_of_the_journals_directories_no_record_is_lost_or_read_twice,
        without_inotify_a_rotation_is_noticed_and_a_file_it_may_not_read_is_reported;
    own:
        the_machines_own_addresses_are_never_counted_banned_or_cut;
    start:
        enabling_and_starting_it_is_all_a_fresh_machine_needs,
        without_access_to_the_journal_it_refuses_to_start,
        a_stop_waits_for_no_configuration_that_is_still_being_read,
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
        a_reload_keeps_counters_and_bans_and_a_mistake_changes_nothing,
        an_address_is_explained_with_its_attempts_and_their_records,
        what_is_ordered_or_asked_is_judged_by_all_that_was_written_before,
        whoever_is_logged_in_may_not_guess_at_others_without_end,
        whoever_is_logged_in_is_spared_however_long_ago_they_came,
        whoever_has_left_is_not_spared_for_what_they_left_running,
        whoever_is_logged_in_is_spared_where_only_the_name_of_their_host_is_known;
    sshd:
        who_goes_on_while_sshd_turns_them_away_is_banned_and_nobody_else,
        what_sshd_does_not_say_of_a_login_is_counted_right;
    walls:
        a_ban_closes_the_ports_of_its_jail_and_a_reload_moves_it,
        what_somebody_else_does_to_the_sets_and_the_policy_is_undone_and_told,
        an_entry_that_only_firewalld_believes_in_is_added_again;
    readme:
        the_readme_holds_for_a_new_user;
    tasks:
        everyday_tasks_take_the_commands_of_the_documents;
    package:
        the_package_comes_works_and_goes_without_a_trace,
        purged_while_the_daemon_is_down_it_leaves_nothing_either;
    page:
        the_page_in_cockpit_shows_what_happens_and_carries_out_what_is_ordered;
    ground:
        the_machine_boots_and_systemd_is_running,
        sshd_answers_over_the_wire_in_both_families,
        a_wrong_password_shows_in_the_journal,
        a_reboot_keeps_files_and_journal,
        a_live_login_outlives_a_drop_rule_and_can_be_cut,
        a_service_can_be_locked_up_as_tightly_as_on_a_real_machine;
    [debian12, debian14]
    bus:
        a_flood_of_callers_and_of_bans_holds_nothing_up;
    greedy:
        a_client_that_never_reads_holds_no_ban_up_and_fills_no_memory;
    faults:
        after_any_faults_of_firewalld_it_holds_what_it_should;
    hostile:
        no_name_has_anybody_else_banned;
    state:
        a_full_and_a_read_only_disk_hold_up_no_ban;
    survive:
        killed_a_hundred_times_under_attack_it_bans_whom_one_undisturbed_replay_bans,
        a_long_backlog_holds_up_no_ban_and_fills_no_memory;
    doctor:
        doctor_names_each_broken_link_and_its_remedy_mends_it;
    [debian13]
    notify:
        a_ban_reaches_each_handler_and_one_that_hangs_holds_up_no_other,
        a_burst_of_bans_is_handed_over_in_a_few_batches,
        a_real_mail_system_and_a_web_server_receive_a_batch,
        whatever_is_killed_no_event_is_lost_and_a_lost_journal_is_reported;
    alive:
        a_bus_that_does_not_answer_is_reported_and_in_the_end_the_daemon_is_restarted;
    blind:
        who_comes_and_leaves_no_word_in_the_journal_is_noticed;
    client:
        shells_offer_jails_and_what_is_banned;
    events:
        events_and_report_hold_what_wardend_has_written_and_no_forgery;
    handover:
        from_fail2ban_and_back_no_ban_has_a_gap;
    open:
        the_manual_opens_what_is_in_use_before_firewalld_starts;
    names:
        a_name_protects_its_address_without_resolved;
    services:
        who_attacks_a_service_is_banned_from_it_and_nobody_else;
    fleet:
        what_attacks_one_machine_is_known_to_all_and_one_alone_bans_nobody,
        over_mqtt_what_attacks_one_machine_is_known_to_all_and_one_alone_bans_nobody;
    fleet_faults:
        whatever_fails_on_two_brokers_the_fleet_bans_what_two_machines_say,
        a_crowd_is_known_to_each_machine_with_its_digest;
    textfile:
        a_text_file_comes_into_the_journal_each_line_once;
    lists:
        a_list_of_thousands_is_one_call_and_the_same_list_again_changes_nothing;
    diagnosis:
        doctor_says_what_is_rare_and_what_it_could_not_look_at;
    start:
        a_broken_configuration_is_reported_with_its_file_and_line;
    state:
        a_damaged_state_is_reported_once_and_no_ban_is_lost,
        what_is_ordered_for_a_time_holds_across_a_kill_and_ends_by_itself;
    ground:
        a_dropped_address_times_out_and_its_neighbour_does_not,
        no_route_leads_out_of_the_lab,
        a_message_that_comes_later_is_waited_for,
        hasty_passwords_are_judged_soon;
}
