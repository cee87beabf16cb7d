"""README's table of faults and promises, row by row: which mishaps of the soak happen there, and
which tests show what is promised."""

from __future__ import annotations

import re
from pathlib import Path

from soak.story import MISHAPS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")

TABLE = """
Ollama restarts or is upgraded | restart upgrade
    a_restarted_server_is_filled_again_at_once
    a_server_of_another_version_is_learnt_anew
Ollama does not answer, or late | deaf slow_ps slow_look
    an_unreachable_server_is_not_an_empty_one
    a_slow_list_of_residents_is_too_old_for_a_ping
    who_does_not_answer_is_asked_ever_more_rarely
its queue stands still | wedge jam
    a_queue_that_stands_still_is_an_alarm_and_left_alone
    rescues_are_bounded
    a_rescue_wakes_the_queue_and_costs_one_idle_model
    a_rescue_spares
    without_sight_of_processes_a_slow_load_is_told_and_nobody_goes_for_it
users' loads go before an own one | use meanwhile
    a_preload_that_users_overtook_is_called_off
a preload or unload says 200 | no_effect lost_reply doubled
    a_few_failures_change_nothing
    one_command_is_open_at_a_time_and_late_events_change_nothing
    a_preload_that_was_pushed_out_before_a_look_had_its_effect
load failure, lack of memory | load_fails load_oom runtime_oom refused hang_up
    a_failed_load_is_tried_again_later_and_named
    lack_of_memory_at_run_time_zeroes_every_lease_and_pins_come_back
a load takes long | slow_loads
    a_load_that_takes_too_long_is_given_up
    a_long_load_of_our_own_is_not_taken_for_a_queue_that_stands_still
a runner is killed | kill_runner
    a_dead_runner_is_not_pinged_and_is_named
a model is deleted | delete repull
    a_deleted_pin_is_named_and_nothing_is_fetched
    a_pin_that_is_pulled_anew_is_loaded_with_its_new_weights
    old_weights_keep_their_say_in_who_is_let_in
clients unload a pin | fight nag contexts outsider
    a_pin_is_restored_a_bounded_number_of_times
    a_clients_value_stands_where_nothing_is_pinned
    a_clients_value_is_taken_back_from_a_pin_a_bounded_number_of_times
    an_alarm_about_a_fight_names_model_and_likely_client
other programs take memory | foreign tide
    the_lowest_ranks_give_way_to_other_programs_and_come_back
    more_than_may_be_held_is_an_alarm
memory is released late | late_release
    late_release
    an_own_load_may_begin_before_the_memory_of_one_that_left_is_back
driver hangs | driver
    gpus_that_changed_under_a_running_server_move_nothing
    for_a_lost_gpu_nothing_is_evicted_elsewhere
    hung_driver
RAM runs short | ram thrash
    under_memory_pressure_nothing_is_loaded_until_it_has_passed
    without_ram_or_a_list_nothing_is_loaded_and_nobody_goes
the clock is set | clock suspend
    a_set_clock_costs_a_ping_each_and_no_load
    a_clock_that_is_set_leaves_what_runners_remember
a ping meets a request | use
    a_ping_that_moved_no_deadline_is_not_repeated
a model goes between the list | snatch
    after_two_accidents_of_pings_there_is_no_third_for_a_while
    a_ping_that_waits_for_a_load_is_hung_up_on
warmset is killed at any point | crash crash_at away stop rot old_state disk_full
    killed_at_any_moment_it_goes_on_where_it_was
    a_damaged_journal_is_set_aside
    on_a_full_disk_it_goes_on_and_says_so
    a_newer_journal_is_set_aside_whole
    no_row_of_an_earlier_journal_is_lost
    a_state_that_cannot_be_used_is_refused_with_the_reason
    the_state_of_an_earlier_version_is_used
a second warmset | second watcher
    one_warmset_per_host
the configuration is edited | edit budget
    sighup_reads_the_file_again
orders are given | hold hold_end order_pin evict release make_way
    orders_reach_the_running_warmset
    who_was_evicted_is_not_fetched_in_that_time_pinned_or_not
    a_running_warmset_knows_of_an_eviction_before_the_model_goes
    a_hold_counts_before_windows
    every_configured_model_makes_way_and_comes_back
    no_pin_is_missing_that_makes_way_while_nothing_is_decided
    who_may_be_a_victim_keeps_its_lease_at_the_end
    no_lease_is_given_back_while_a_load_may_be_pending
    a_dead_runner_is_not_loaded_for_the_sake_of_its_lease
Ollama no longer does what it is told | broken_lever order_broken
    preloads_without_effect_end_for_a_while
    unloads_without_effect_end_for_a_while
    pings_that_move_no_deadline_end_for_a_while
    evictions_out_of_order_are_noticed
    a_lever_that_works_again_is_used_again
a pin is away for five minutes | fight delete
    a_pin_that_is_away_for_long_is_an_error_with_its_reason
"""
"""How a row begins, its mishaps in `soak.story`; below, without `test_`, the tests that show it."""


def parsed() -> dict[str, tuple[set[str], set[str]]]:
    """Returns how a row begins -> its mishaps and its tests."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for line in TABLE.strip().splitlines():
        begin, is_row, kinds = line.partition(" | ")
        if is_row:
            found[begin] = (set(kinds.split()), set())
        else:
            found[list(found)[-1]][1].add(line.strip())
    return found


ROWS = parsed()


def rows() -> list[str]:
    """Returns the first cells of the table."""
    part = README[README.index("## Faults and promises") : README.index("`scripts/soak --seeds N")]
    return [row for row in re.findall(r"^\| (.*?) \|", part, re.MULTILINE) if row != "fault"]


def test_every_row_has_mishaps_and_tests() -> None:
    """No promise stands there that nothing plays, and none is forgotten here."""
    told = rows()
    begun = [[row for row in told if row.startswith(begin)] for begin in ROWS]
    assert all(len(found) == 1 for found in begun), [
        b for b, f in zip(ROWS, begun, strict=True) if len(f) != 1
    ]
    assert sorted(row for found in begun for row in found) == sorted(told)
    text = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for begin, (kinds, shown_by) in ROWS.items():
        assert kinds <= {"use", *MISHAPS}, begin
        assert shown_by
        for name in shown_by:
            assert f"def test_{name}(" in text, f"{begin}: {name}"


def test_every_mishap_has_a_row() -> None:
    """Whatever the soak does to a host is promised something."""
    played = {kind for kinds, _ in ROWS.values() for kind in kinds}
    assert played - {"use"} == set(MISHAPS)
