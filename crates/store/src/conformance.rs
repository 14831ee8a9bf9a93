//! One suite that every backend of [`crate::Store`] has to pass.
//!
//! Each rule is a function that takes a [`Maker`] of empty stores; `for_each_rule!` lists them, so
//! that a backend's test file turns each into a test of its own:
//!
//! ```text
//! macro_rules! tests { ... }
//! store::for_each_rule!(tests);
//! ```
#![allow(missing_docs, reason = "the names of the rules are sentences")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

pub mod alerts;
pub mod audit;
pub mod below;
pub mod beside;
pub mod builders;
pub mod cohorts;
pub mod conflicts;
pub mod copies;
pub mod courier;
pub mod emr;
pub mod emr_listed;
pub mod emr_lost;
pub mod emr_queue;
pub mod lanes;
pub mod leaving;
pub mod links;
pub mod merges;
pub mod outbox;
pub mod pair;
pub mod parking;
pub mod pauses;
pub mod people;
pub mod queue;
pub mod random;
pub mod reading;
pub mod recording;
pub mod replaced;
pub mod restores;
pub mod rights;
pub mod sources;
pub mod threads;
pub mod timelines;
pub mod top;
pub mod visitors;
pub mod why;

use protocol::{Epoch, FeedId, Limits, SiteId, Timestamp};

use crate::{NewSite, Store};

/// Makes empty stores of one backend.
pub trait Maker {
    /// A new store of the site `name`; it lives as long as the maker.
    fn make(&self, site: &NewSite, limits: &Limits) -> Box<dyn Store>;
}

/// When the suite's clocks begin.
pub const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// What a new site of this name is told.
pub fn site(name: &str) -> NewSite {
    NewSite {
        site: name.parse::<SiteId>().unwrap(),
        epoch: Epoch::from_random(bytes(name, 1)),
        reference: FeedId::from_random(bytes(name, 2)),
    }
}

fn bytes(name: &str, salt: u8) -> [u8; 16] {
    let mut bytes = [salt; 16];
    for (index, byte) in name.bytes().enumerate() {
        bytes[index % 16] ^= byte;
    }
    bytes
}

/// A feed's id for a name.
pub fn feed_id(name: &str) -> FeedId {
    FeedId::from_random(bytes(name, 3))
}

/// Calls a macro with `module: rule, rule;` for all rules of the suite.
#[macro_export]
macro_rules! for_each_rule {
    ($callback:ident) => {
        $callback! {
            recording:
                a_change_is_recorded_whole_and_can_be_read,
                a_write_that_changes_nothing_makes_no_version,
                defect_05_what_waited_for_its_turn_is_no_older_than_what_was_before_it,
                a_failing_write_takes_the_whole_change_with_it,
                a_write_expects_what_was_read,
                a_conditional_write_is_raced_when_its_search_gives_something_else,
                a_record_stands_once_in_a_change,
                a_change_over_a_limit_is_refused_with_the_limits_name,
                a_deleted_record_is_found_by_no_search_and_keeps_its_versions,
                defect_20_a_deletion_and_its_undoing_are_both_told,
                defect_22_two_edits_in_one_millisecond_are_two_versions,
                defect_23_what_is_not_understood_comes_back_as_it_was_written,
                defect_34_reading_makes_no_change;
            threads:
                defect_01_a_reader_never_sees_a_hole_in_the_sequences,
                defect_02_concurrent_writers_fill_a_feed_in_commit_order;
            cohorts:
                a_cohorts_feed_begins_with_its_patients,
                a_patient_joins_and_leaves_as_its_records_say,
                a_deleted_patient_stays_in_its_cohort,
                defect_44_a_new_definition_tells_only_who_moved,
                a_patient_who_is_named_before_its_record_comes_joins_when_it_comes;
            links:
                a_first_load_brings_the_whole_cohort_and_nobody_else,
                what_is_made_at_either_side_comes_to_the_other,
                becoming_a_child_queues_what_is_here,
                defect_03_the_marker_stays_where_the_lines_end,
                defect_04_an_absent_parent_costs_the_queue_nothing,
                defect_06_a_reader_that_never_came_misses_nothing,
                defect_12_what_is_sent_twice_is_held_already_for_ever,
                defect_14_a_patient_comes_before_what_refers_to_it,
                defect_17_a_reference_to_what_has_not_come_is_taken,
                defect_26_what_was_applied_is_not_sent_back,
                ten_changes_of_a_patient_go_up_as_one_line,
                a_long_line_goes_up_in_parts,
                a_line_of_which_a_part_was_refused_is_not_received,
                a_long_patient_comes_down_in_parts,
                what_left_the_cohort_follows_the_childs_policy,
                a_purge_waits_for_what_is_undelivered,
                a_record_that_left_is_told_to_those_below,
                a_join_from_before_a_leave_is_void,
                a_state_older_than_the_parents_word_is_dropped,
                bytes_that_moved_are_counted_with_the_contact_and_without,
                how_much_is_left_is_told_by_what_was_measured,
                what_moved_is_counted_by_month_and_its_budget_is_lifted_for_one,
                defect_09_a_restored_parent_gets_back_what_it_lost;
            lanes:
                what_is_urgent_goes_first_with_what_is_before_it_of_its_patient,
                what_is_of_several_patients_draws_what_is_before_it_of_each,
                what_waits_in_another_lane_holds_back_its_patient,
                becoming_a_child_and_sending_again_are_bulk,
                messages_have_lanes_too,
                order_holds_for_each_patient_over_all_lanes;
            sources:
                what_is_read_is_merged_as_a_push_would_be,
                an_answer_says_a_record_once_and_stays_within_its_bytes,
                what_the_child_was_not_told_it_says_again_and_nothing_happens_twice,
                a_marker_that_somebody_else_moved_is_noticed,
                a_line_in_parts_is_done_with_its_last_part,
                a_parked_line_brings_the_later_states_that_it_has,
                defect_16_what_is_of_no_patient_waits_by_its_records,
                a_purge_waits_until_the_parent_has_read,
                a_record_that_became_anothers_waits_behind_its_earlier_state,
                what_is_to_go_again_is_read_again,
                what_the_reader_went_on_from_before_its_word_came_is_asked_for,
                what_waits_from_the_readers_life_before_takes_nothing_back,
                a_new_life_of_the_reader_begins_anew_and_takes_what_it_never_had;
            merges:
                a_child_merges_by_what_its_parent_told_last,
                edits_of_different_elements_are_merged_at_both_sides,
                edits_of_one_element_conflict_and_come_to_the_same_at_both_sides,
                to_come_back_to_an_earlier_state_is_an_edit_too,
                what_the_parent_took_back_before_its_word_came_stays_so,
                what_comes_back_to_the_parents_state_has_the_parents_bytes,
                what_both_came_to_in_another_order_has_the_parents_bytes,
                what_is_undone_before_the_word_came_is_undone_at_the_parent,
                what_both_made_and_the_parent_went_on_from_is_asked_for,
                a_merge_keeps_all_three_versions,
                the_same_in_another_order_ends_with_the_parents_bytes,
                an_edit_wins_over_a_deletion,
                defect_18_a_wrong_clock_decides_nothing,
                two_children_and_their_parent_come_to_the_same;
            conflicts:
                the_same_conflict_is_at_both_ends_whichever_merged,
                a_conflict_whose_result_came_is_noted_too,
                what_is_decided_at_either_end_closes_the_conflict_at_both,
                a_decision_keeps_what_was_edited_since,
                a_decision_stands_over_a_later_edit_of_its_element_and_says_so,
                a_decision_can_be_taken_back,
                a_confirmed_conflict_leaves_the_record_as_it_is,
                who_comes_second_is_told_who_was_first,
                a_deletion_against_an_edit_is_kept_or_deleted_by_a_person,
                the_record_can_be_written_as_a_person_wants_it,
                two_decisions_at_once_come_to_one_at_both_ends,
                a_decision_that_moved_the_record_stands_over_a_confirmation,
                the_same_two_states_meeting_again_open_it_again,
                a_conflict_about_a_reference_record_goes_where_those_go,
                a_conflict_shows_nothing_of_a_patient_whose_the_record_is_not,
                a_long_conflict_leaves_bodies_out_and_is_decided_all_the_same,
                conflicts_are_listed_by_state_and_patient_and_page,
                a_purged_patient_takes_its_conflicts_along,
                a_conflict_holds_up_nobody;
            parking:
                defect_08_a_bad_line_from_the_parent_holds_back_only_its_patient,
                defect_27_a_leave_does_not_wait_behind_a_line_that_cannot_be_taken,
                defect_16_later_lines_of_a_parked_patient_wait_and_go_in_in_order,
                defect_08_a_refused_delivery_holds_back_only_its_patient,
                a_refused_delivery_parks_after_its_attempts_and_can_be_freed,
                a_changed_record_frees_its_parked_delivery,
                a_clock_that_is_put_back_keeps_nothing_waiting,
                to_be_asked_to_come_later_never_parks,
                defect_30_reasons_name_ids_only;
            alerts:
                an_alert_is_raised_once_and_cleared_once_and_told_of_once;
            copies:
                who_was_shown_what_is_noted_with_the_patients_it_was_of,
                rows_of_a_child_come_up_and_are_proved_at_the_parent,
                rows_that_were_altered_or_are_anothers_are_not_taken,
                a_child_that_was_restored_begins_a_new_life_and_nothing_is_lost,
                rows_go_up_tier_by_tier_and_tell_who_has_seen_a_patient;
            emr:
                defect_26_what_was_written_there_comes_back_as_an_echo_and_dies,
                defect_23_an_edit_there_leaves_what_it_cannot_hold,
                defect_14_one_transaction_there_is_one_change,
                a_change_there_of_more_records_than_one_change_holds_is_several,
                both_sides_edit_and_both_edits_are_on_both_sides,
                both_sides_edit_one_element_and_a_person_is_asked,
                a_record_that_both_hold_meets_first_without_loss,
                defect_20_deletions_and_their_undoing_go_both_ways,
                a_deletion_there_does_not_take_an_edit_here_with_it,
                what_cannot_be_read_is_kept_and_read_again_while_the_cursor_moves_on,
                a_record_moves_to_another_patient_on_either_side,
                patients_that_are_merged_there_or_here_come_to_the_same,
                defect_39_a_full_comparison_finds_what_was_missed_and_makes_no_flood,
                a_record_system_that_was_emptied_is_filled_again,
                defect_39_an_emptied_record_system_deletes_nothing_here;
            emr_listed:
                what_a_list_shows_is_known_new_or_to_be_read,
                a_list_that_is_older_than_the_record_undoes_nothing;
            emr_lost:
                what_was_purged_here_and_still_stands_there_is_no_news,
                an_edit_there_of_what_was_purged_here_is_news_and_goes_up,
                defect_39_what_seemed_lost_and_is_there_meets_edits_as_ever,
                what_is_not_there_any_more_is_made_anew_where_only_writing_is_meant;
            emr_queue:
                what_was_deleted_before_it_was_ever_written_never_goes_there,
                what_is_written_is_in_the_order_of_dependency,
                only_the_latest_state_goes_there,
                defect_08_a_refused_record_holds_back_only_its_patient_and_coalesces,
                defect_17_what_waits_for_another_record_goes_when_that_came,
                what_it_cannot_hold_is_kept_and_holds_back_nobody,
                what_fails_for_one_record_is_tried_again_and_parks_in_the_end,
                defect_04_a_record_system_that_is_away_costs_the_queue_nothing,
                a_patient_who_is_purged_is_forgotten_and_not_deleted_there,
                who_comes_back_goes_to_the_record_system_with_all_that_is_here,
                a_look_finds_no_more_than_a_few_lines_come_to,
                records_of_nobody_stay_here_and_reference_records_go,
                a_record_system_that_comes_late_is_given_all_that_is_here,
                what_is_there_is_overwritten_where_only_writing_is_meant,
                a_record_has_one_id_there,
                ids_that_may_have_been_given_anew_are_doubted,
                the_way_to_a_record_system_can_be_paused;
            pauses:
                a_link_is_paused_until_it_is_resumed_or_its_time_is_over;
            queue:
                a_dropped_change_is_told_for_ever_and_goes_with_the_next_change,
                what_was_given_up_and_taken_up_again_has_not_left,
                a_dropped_change_is_taken_up_again_where_it_is_named,
                a_dropped_change_is_offered_again_by_a_comparison,
                a_patient_is_not_purged_while_what_was_dropped_is_only_here,
                a_dropped_line_frees_those_behind_it_and_is_told_for_ever,
                a_line_that_is_set_aside_is_tried_by_hand_only,
                the_queue_is_acted_on_by_choice_and_counted_without_acting,
                what_a_third_party_has_had_is_not_dropped;
            courier:
                a_courier_may_take_as_long_as_was_said,
                a_courier_that_begins_anew_has_what_it_leased_before;
            outbox:
                a_message_is_done_by_the_parents_word_alone,
                defect_38_a_message_is_never_leased_twice_while_its_lease_lives,
                a_carrier_that_is_late_is_believed_while_nobody_else_has_the_message,
                defect_08_only_the_patients_of_a_message_wait_for_it,
                defect_04_a_carrier_that_fails_costs_the_queue_nothing,
                a_message_that_a_third_party_gives_up_parks_with_its_reason,
                defect_40_what_is_only_said_to_be_delivered_is_offered_again,
                defect_12_a_message_that_comes_again_is_held_already_for_ever,
                a_late_copy_of_a_message_takes_nothing_back,
                a_receipt_speaks_only_of_the_states_that_it_names,
                a_message_that_the_parent_refuses_counts_once_an_attempt_and_parks,
                a_message_waits_at_the_parent_until_it_is_worked_off,
                defect_29_a_child_that_was_shut_out_brings_nothing_by_a_third_party,
                a_change_that_is_too_long_to_be_carried_parks_and_says_so,
                defect_18_a_clock_that_is_put_back_keeps_no_message_away;
            reading:
                a_search_finds_by_what_the_resources_say,
                a_patients_everything_is_its_compartment,
                a_store_that_was_used_breaks_no_rule_of_its_own,
                defect_10_a_marker_is_of_a_feed_whatever_it_is_called,
                defect_11_a_full_page_keeps_its_entries,
                defect_11_pages_of_a_search_never_skip_what_did_not_change,
                defect_28_a_child_reads_only_its_cohorts_and_the_reference_records,
                defect_28_a_child_reads_no_version_from_before_a_record_was_its_patients,
                defect_29_a_childs_credential_opens_its_cohorts_until_it_is_revoked;
            restores:
                what_a_restored_parent_lost_of_nobody_of_the_childs_is_sent_again,
                what_a_restored_parent_does_not_list_is_sent_and_then_let_go,
                what_was_taken_to_have_left_is_held_again_with_its_patient,
                what_was_purged_comes_again_with_a_patient_who_joins,
                what_is_kept_of_those_who_left_is_offered_to_a_parent_that_asks,
                what_was_missed_by_whatever_fault_is_found_by_comparing,
                a_comparison_brings_nothing_back_that_the_parent_has_gone_on_from,
                what_the_parent_has_lost_without_a_word_is_offered_before_it_is_let_go,
                an_edit_that_a_restored_parent_lost_is_merged_with_what_it_kept,
                what_a_restored_parent_went_on_from_is_no_edit_of_the_childs,
                a_patient_of_whom_there_was_a_join_before_a_record_is_held,
                what_a_restored_parent_has_lost_is_no_version_to_merge_from,
                a_state_that_the_parent_went_on_from_takes_nothing_back;
            rights:
                defect_28_who_knows_only_the_name_of_a_record_changes_nothing,
                defect_28_a_number_that_is_sent_again_tells_nothing_of_a_foreign_record,
                defect_28_changes_under_names_of_other_sites_stop_no_site,
                what_a_child_that_was_rolled_back_names_as_others_before_is_offered_again,
                defect_28_what_is_made_anew_over_a_deletion_has_nothing_of_what_was_deleted,
                defect_28_a_deletion_proves_no_knowledge_of_a_record,
                a_child_changes_what_it_has_had_or_brought,
                a_person_lets_a_child_change_what_it_had_in_a_life_that_was_lost;
            below:
                a_record_that_left_two_cohorts_is_gone_though_both_patients_stay,
                a_record_that_comes_back_as_it_was_counts_again,
                what_only_a_child_has_of_a_restored_site_in_the_middle_goes_up,
                what_comes_from_below_for_a_patient_who_left_is_merged_from_its_own_base,
                what_is_passed_on_again_is_merged_from_what_was_passed_on_before,
                what_is_made_anew_where_it_was_purged_takes_nothing_away,
                what_comes_from_below_for_a_patient_who_left_goes_up_and_out_again,
                what_was_purged_and_the_restored_parent_has_lost_is_asked_for_below,
                an_old_copy_of_what_is_asked_for_again_takes_nothing_back,
                a_change_of_which_a_part_was_purged_is_asked_for;
            top:
                a_site_that_heard_otherwise_moves_nothing_back,
                what_goes_back_after_an_edit_has_the_same_bytes_at_both_ends;
            leaving:
                what_an_edit_brings_back_to_the_feed_is_not_let_go,
                a_word_that_a_record_left_is_void_if_it_was_parked_while_the_record_came_back,
                what_is_sent_before_a_patients_return_is_heard_of_comes_back,
                what_a_return_does_not_bring_has_left;
            visitors:
                defect_36_a_patient_who_walks_in_is_found_and_fetched_at_once,
                a_search_shows_whom_it_fits_and_no_more,
                a_visit_ends_when_its_time_is_over_and_not_before,
                an_operator_ends_a_visit_early,
                a_fetch_that_the_end_of_the_visit_overtakes_is_void,
                a_fetch_that_is_repeated_after_a_cut_does_no_harm,
                visitors_of_one_child_are_no_other_childs_business,
                the_visits_of_a_child_end_with_its_access,
                who_is_not_there_is_not_fetched,
                a_long_id_or_a_taken_name_makes_a_cohort_of_its_own,
                a_child_asks_only_so_often_an_hour,
                a_few_who_join_behind_a_first_load_are_fetched_ahead_of_it;
            timelines:
                a_timeline_tells_changes_joins_and_leaves_in_the_order_of_the_site,
                a_timeline_shows_of_a_merge_what_each_side_did,
                a_timeline_tells_how_a_conflict_was_opened_and_closed,
                a_timeline_tells_what_follows_a_replaced_patient_from_what_was_merged,
                a_timeline_is_paged_both_ways_without_gaps,
                a_timeline_shows_a_child_nothing_of_a_patient_whom_it_may_not_see,
                a_timeline_of_a_deleted_record_tells_its_end_and_its_return,
                a_timeline_of_a_purged_patient_says_so_and_shows_nothing_else;
            audit:
                the_audit_is_searched_by_what_it_is_about,
                the_rows_of_the_audit_follow_from_one_another;
            why:
                what_goes_up_is_told_with_what_it_waits_for,
                who_is_below_is_told_with_what_it_has,
                what_is_not_here_is_told_with_what_is_known_of_it,
                how_far_a_child_is_behind_is_told_with_the_time_that_it_will_take,
                an_open_conflict_about_a_record_is_told_with_it;
            replaced:
                what_refers_to_a_replaced_patient_follows_in_the_same_transaction,
                what_comes_later_for_a_replaced_patient_is_recorded_as_it_came_and_follows,
                nothing_follows_to_a_patient_who_is_not_here,
                links_are_followed_to_their_end_and_a_circle_moves_nothing,
                a_patient_who_is_replaced_by_several_moves_nothing,
                a_merge_that_is_taken_back_gives_the_very_bytes_of_before,
                a_record_that_goes_back_keeps_what_was_changed_of_it_since,
                a_link_that_goes_out_of_a_chain_takes_only_its_own_records_back,
                deleting_a_loser_takes_nothing_back,
                a_long_record_follows_in_portions_and_never_loses_its_place,
                a_merge_at_either_side_comes_to_the_same_and_to_rest,
                an_edit_of_a_losers_patient_from_before_the_link_takes_nothing_back,
                to_have_moved_a_record_is_no_edit_of_it,
                a_chain_of_merges_made_apart_is_no_conflict,
                who_held_a_loser_holds_the_winner,
                defect_28_a_link_by_a_child_shows_it_nobody_whom_it_does_not_hold,
                a_group_follows_and_what_was_documented_stays,
                a_visitor_comes_and_goes_with_all_files_of_the_person;
            people:
                defect_13_one_person_made_at_two_sites_is_found_and_merged_everywhere,
                defect_20_a_merge_and_its_undoing_are_carried,
                defect_20_what_was_deleted_and_is_written_again_lives_at_both_sides;
            random:
                after_quiet_both_sides_hold_the_same;
        }
    };
}
