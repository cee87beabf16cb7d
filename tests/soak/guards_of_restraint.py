"""Guards that hold back: after a failure, for a while, or for good."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER

from soak.staged import DEAD_QUEUE, LATE_LEAVER, QUEUED, USED_IN_A_GAP, met_in
from soak.taking_out import Mutant, inside, shown

RESTRAINT: Final[tuple[Mutant, ...]] = (
    inside(
        "restraint: what failed is tried again at once",
        "restraint:why_not_preload",
        "known.quiet_until is not None and now < known.quiet_until",
        ("load_fails", "load_oom"),
    ),
    inside(
        "restraint: who fluttered comes again",
        "restraint:why_not_preload",
        "len(known.cycles) >= CYCLES",
        ("tide",),
    ),
    inside(
        "restraint: who left comes again at once",
        "restraint:why_not_preload",
        "left is not None and now - left < loop.cool_down",
        ("outsider", "tide"),
    ),
    inside(
        "departures: who goes late left when it was told to",
        "departures:confirm_departures",
        "_note_taken if leaving.is_ignored else _note_gone",
        instead="lambda state, *_: state",
        in_ci=True,
        **LATE_LEAVER,
    ),
    inside(
        "departures: an unload that did nothing is flutter",
        "departures:confirm_departures",
        "_note_stayed(state, leaving) if is_ignored else state",
        instead="state",
        **met_in(409881),
    ),
    inside(
        "restraint: reloads are not counted",
        "restraint:why_not_preload",
        "_would_reload(known) and len(state.reloads) >= loop.reloads_per_window",
        ("fight", "tide"),
    ),
    inside(
        "restraint: a fight has no end",
        "restraint:step_back",
        "len(known.restores) < loop.restores_per_window",
        ("fight",),
        instead="True",
    ),
    shown(
        "restraint: pins are let go",
        "restraint:why_not_unload",
        "candidate.pin",
        (30.0, "foreign", 12.0, 60.0),
        (31.0, "outsider", "unload", CODER),
        (31.1, "outsider", "unload", CHAT),
        (40.0, "use", CHAT, 0.1, 7200.0, None),
        may_reload_pins=False,
    ),
    inside(
        "restraint: others' models are let go",
        "restraint:why_not_unload",
        "not is_managed and not loop.may_evict_unconfigured",
        ("tide",),
    ),
    inside(
        "restraint: nobody stays for a while",
        "restraint:why_not_unload",
        "since is not None and now - since < loop.min_residency",
        ("tide",),
        in_ci=True,
    ),
    inside(
        "idle: at a first look",
        "idle:why_not_idle",
        "state.looked is not None and state.looked.is_first",
        in_ci=True,
        **USED_IN_A_GAP,
    ),
    inside(
        "idle: who was in use a moment ago",
        "idle:why_not_idle",
        "known.used_at is not None and now - known.used_at <= loop.idle_after",
        ("tide",),
    ),
    inside(
        "outcomes: a failure is no reason for a pause",
        "outcomes:after_failure",
        "pause(state, order.key, config.loop, now, text)",
        ("load_fails", "load_oom"),
        instead="state",
    ),
    inside(
        "outcomes: a full queue is no reason to wait",
        "outcomes:after_failure",
        "isinstance(event, Failed) and event.status == 503",
        ("refused",),
    ),
    inside(
        "outcomes: no answer is no reason to wait",
        "outcomes:after_failure",
        "isinstance(event, TimedOut) or is_out_of_memory(error)",
        ("lost_reply",),
    ),
    inside(
        "outcomes: after a load that took too long comes the next one",
        "outcomes:_after_abort",
        'replace(state, load_seen_at=now, load_why=f"{order.name} was not there in time")',
        instead="state",
        in_ci=True,
        **QUEUED,
    ),
    inside(
        "outcomes: races have no end",
        "outcomes:note_race",
        "len(races) > 1",
        ("snatch", "edit"),
        in_ci=True,
    ),
    inside(
        "drift: levers without effect are used on",
        "drift:why_not_use",
        "record is None or record.quiet_until is None or now >= record.quiet_until",
        ("broken_lever", "outsider", "runtime_oom"),
        instead="True",
    ),
    inside(
        "stuck: loads without end",
        "stuck:why_give_up",
        "seconds <= loop.load_limit",
        ("slow_loads", "outsider"),
        instead="True",
    ),
    inside(
        "stuck: rescues that nobody allowed",
        "stuck:find_rescue",
        "not loop.may_rescue",
        ("wedge",),
    ),
    inside(
        "stuck: rescues without bound",
        "stuck:find_rescue",
        "len(recent) >= RESCUES",
        ("jam",),
        in_ci=True,
        **DEAD_QUEUE,
    ),
    inside(
        "stuck: rescues while pins never fit together",
        "stuck:find_rescue",
        "scene.wish.conflict is not None",
        ("jam", "edit"),
        sees_processes=True,
        may_rescue=True,
    ),
)
