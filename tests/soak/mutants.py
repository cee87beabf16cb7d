"""Guards of the step and the executor, each with what stands in its place once it is taken out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from loop_hosts import CHAT, CODER, EMBED, SMALL

from soak.guards_of_beliefs import BELIEFS
from soak.guards_of_loads import LOADS
from soak.guards_of_looks import LOOKS
from soak.guards_of_pauses import PAUSES
from soak.guards_of_pings import PINGS
from soak.guards_of_ranks import RANKS
from soak.guards_of_restraint import RESTRAINT
from soak.guards_of_retention import RETENTION
from soak.guards_of_room import ROOM
from soak.guards_of_turns import TURNS
from soak.staged import (
    ALSO_BRIEFLY,
    BACK_AT_ONCE,
    BRIEFLY,
    CAME_UNSEEN,
    DEAD_QUEUE,
    FOUND_LITTLE,
    HELD_WHILE_LOADING,
    KEPT_OUT,
    LOADED_IN_A_GAP,
    NAME_DELETED,
    RESCUES,
    SPILLED,
    UNLOADED,
    UNLOADED_ALL_THE_TIME,
    met_in,
    told,
)
from soak.taking_out import Mutant, inside, shown
from warmset.core.control import executor
from warmset.core.control import step as step_module


def _lax(function: Callable[..., object], at: int, **settings: object) -> Callable[..., object]:
    """Returns the function with some of the operator's settings replaced in argument `at`."""

    def lax(*given: object, **named: object) -> object:
        loop = replace(given[at], **settings)  # type: ignore[type-var]
        return function(*given[:at], loop, *given[at + 1 :], **named)

    return lax


def _nothing(*_: object, **__: object) -> str:
    return ""


def _may(*_: object, **__: object) -> tuple[str, None]:
    return "", None


def _unchanged(_observation, _config, state, _now):
    return state, ()


def _as_before(state, *_):
    return state


def _at_once(state, decision_or_loop, now):
    """Nothing is waited for, and the next order begins whether or not one is open."""
    if not hasattr(decision_or_loop, "sends"):
        return ""
    decision = decision_or_loop
    state = replace(state, orders=replace(state.orders, queue=decision.sends))
    return executor._next(state, now)


def _after_the_end(state, decision, now, begin=executor.begin):
    """Begins orders although the process is about to end."""
    return begin(replace(state, orders=replace(state.orders, is_stopping=False)), decision, now)


def _any_end(state, event, config, now, hear=executor.hear):
    """Takes any end for that of the command that is open."""
    running = state.orders.running
    if running is not None:
        event = replace(event, number=running.number)
    return hear(state, event, config, now)


def _as_if_empty(observation, config, state, now):
    """Takes a server that did not answer for one that holds nothing."""
    seen = replace(observation, residents=(), trouble="")
    return step_module.step(seen, config, state, now)


def _unconfirmed(_observation, state, _now):
    return replace(state, leaving=()), ()


def _no_race(state, *_):
    return state, ()


PROCESS = ("crash", "stop", "crash_at", "restart", "clock", "suspend")
CLOCK = ("clock", "crash", "stop")
DRIVER = ("driver",)
WIRES = ("lost_reply", "refused", "no_effect", "doubled", "slow_ps")

MUTANTS: tuple[Mutant, ...] = (
    # -- what is seen
    Mutant(
        "step: no answer is taken for empty",
        ("step:_unknown",),
        _as_if_empty,
        ("deaf", "restart"),
        in_ci=True,
    ),
    Mutant(
        "step: changed GPUs",
        ("step:gpu_ids", "restarts:gpu_ids"),
        lambda _: (),
        DRIVER,
        in_ci=True,
    ),
    Mutant(
        "question and planner: old memory counts",
        ("question:if_fresh", "..planner.host_room:if_fresh"),
        lambda reading: reading,
        host=told(UNLOADED, (110.0, "driver", "hung", 300.0)),
        in_ci=True,
    ),
    Mutant(
        "wanted: what is not known is not blind",
        ("wanted:Wish.is_blind",),
        False,
        host=told((100.0, "driver", "lost", 300.0), pins=(), wanted=(EMBED,)),
        in_ci=True,
    ),
    Mutant(
        "restarts: clock steps",
        ("restarts:_notice_clock",),
        _unchanged,
        CLOCK,
        in_ci=True,
    ),
    Mutant(
        "restarts: another server",
        ("restarts:_notice_server",),
        _unchanged,
        ("restart",),
        in_ci=True,
    ),
    Mutant(
        "restarts: a state of long ago",
        ("restarts:_notice_time",),
        _unchanged,
        host=told((100.0, "away"), (150.0, "use", SMALL, 1.0, 7200.0, None)),
        in_ci=True,
    ),
    inside(
        "departures: who is listed again has not left",
        "departures:confirm_departures",
        "leaving.key in listed and leaving.gone_at is not None",
        in_ci=True,
        **BACK_AT_ONCE,
    ),
    inside(
        "restarts: who is there after a gap was there all along",
        "restarts:_notice_time",
        "state = _count_residency_anew(state, now)",
        instead="pass",
        in_ci=True,
        **LOADED_IN_A_GAP,
    ),
    inside(
        "found_free: what is free while it is loaded is not asked",
        "found_free:find_free",
        "low = _no_more_than_while_it_came(low, row, observation, state)",
        instead="pass",
        in_ci=True,
        **HELD_WHILE_LOADING,
    ),
    inside(
        "found_free: who came after another saw what is free now",
        "found_free:find_free",
        "low = _no_more_than_after_another(low, row, observation, state)",
        instead="pass",
        **met_in(469),
    ),
    inside(
        "found_free: who spilled found what is free now",
        "found_free:find_free",
        "_no_more_than_it_took(low, row, observation, is_own=is_own)",
        instead="low",
        in_ci=True,
        **SPILLED,
    ),
    Mutant(
        "departures: gone is believed at once",
        ("step:confirm_departures",),
        _unconfirmed,
        ("late_release", "foreign"),
    ),
    shown(
        "making_room: a guess of the place will do",
        "making_room:why_keep",
        "scene.wish.guessed",
        *CAME_UNSEEN,
        instead="()",
        cards=2,
        pins=(CHAT,),
        sees_processes=False,
        may_unload_unmanaged=True,
    ),
    inside(
        "room: a pin goes that could not come back",
        "room:stale_holders",
        "come_together(without, (candidate, *pins), state)",
        instead="True",
        **met_in(1111053, cards=2),
    ),
    inside(
        "turns: pins do not wait for each other",
        "turns:choose_load",
        "_pins_beside(candidate, loads, scene)",
        instead="()",
        **met_in(1105004),
    ),
    Mutant(
        "making_room: who found little stays",
        ("making_room:stale_holders",),
        lambda *_: (),
        host=FOUND_LITTLE,
    ),
    inside(
        "looking: who was loaded and never seen resident took nothing",
        "looking:_beside_loading",
        "state.loading.keys() - present",
        **met_in(836115),
    ),
    Mutant(
        "others: a runner without a name may grow",
        ("others:held_by_nameless", "lasting:held_by_nameless"),
        lambda _: {},
        host=NAME_DELETED,
        in_ci=True,
    ),
    inside(
        "stuck: whoever is there goes for a rescue",
        "stuck:find_rescue",
        "candidate.pin or not is_ours",
        in_ci=True,
        **{**DEAD_QUEUE, "may_unload_unmanaged": False},
    ),
    inside(
        "stuck: who is in use goes for a rescue",
        "stuck:find_rescue",
        "why_not_idle(candidate.key, state, loop, now)",
        ("jam", "wedge", "fight"),
        in_ci=True,
        **RESCUES,
    ),
    shown(
        "outcomes: a ping whose load failed met nobody",
        "outcomes:after_failure",
        "_is_of_a_load(event)",
        BRIEFLY,
        (101.0, "snatch", 1),
        (101.0, "load_fails", 1),
    ),
    # -- loads of others
    Mutant(
        "pending: loads of others are not seen",
        ("step:find_foreign_load",),
        _nothing,
        host=told(
            (95.0, "slow_loads", 60.0, 100.0), BRIEFLY, (100.5, "use", SMALL, 1.0, 7200.0, None)
        ),
        in_ci=True,
    ),
    Mutant("pending: nothing is waited for", ("step:why_silent",), _nothing, in_ci=True),
    Mutant(
        "pending: bursts",
        ("levers:calm_at",),
        lambda *_: -1.0,
        host=told((60.0, "outsider", "unload", CODER), (62.0, "use", SMALL, 0.1, 7200.0, None)),
        in_ci=True,
    ),
    Mutant(
        "stuck: an overtaken load goes on",
        ("step:why_call_off",),
        lambda *_: None,
        host=told(
            UNLOADED,
            (140.0, "slow_loads", 60.0, 300.0),
            (150.0, "slow_look", 2.0, 100.0),
            (162.0, "use", SMALL, 60.0, 300.0, None),
        ),
        in_ci=True,
    ),
    Mutant(
        "stuck: a queue that stands still",
        ("outcomes:note_stuck",),
        _as_before,
        host=told(UNLOADED, (150.0, "wedge", 800.0)),
        in_ci=True,
    ),
    Mutant(
        "room: Ollama's beliefs are not asked",
        ("turns:why_not_admitted",),
        _nothing,
        ("foreign",),
        in_ci=True,
    ),
    # -- whom it may touch, and how often
    Mutant("idle: models in use are let go", ("making_room:why_not_idle",), _nothing, in_ci=True),
    Mutant(
        "restraint: pins and others' models are let go",
        ("making_room:why_not_unload",),
        _may,
        ("tide",),
        in_ci=True,
    ),
    Mutant(
        "restraint: reloads without bound",
        ("turns:why_not_preload",),
        _may,
        host=told(*UNLOADED_ALL_THE_TIME),
        in_ci=True,
    ),
    # -- pings
    Mutant(
        "pinging: whatever the list says",
        ("executor:why_not_ping_any",),
        _nothing,
        host=told((85.0, "slow_ps", 1.2, 300.0), BRIEFLY),
        in_ci=True,
    ),
    Mutant(
        "pinging: whatever the model does",
        ("executor:why_not_ping",),
        _nothing,
        host=told((85.0, "slow_ps", 0.4, 300.0), BRIEFLY, (101.4, "use", CODER, 0.1, 300.0, None)),
        in_ci=True,
    ),
    Mutant(
        "pinging: a ping that moved nothing",
        ("outcomes:_unmoved",),
        lambda *_: None,
        ("nag", "edit"),
        host={"sees_processes": False, "lease_base": 300.0},
        in_ci=True,
    ),
    Mutant(
        "outcomes: a ping that loaded something",
        ("executor:after_ping",),
        _no_race,
        ("snatch",),
        in_ci=True,
    ),
    Mutant(
        "renewing: dead runners are pinged",
        ("renewing:find_dead",),
        lambda *_: frozenset(),
        ("kill_runner",),
        in_ci=True,
    ),
    Mutant(
        "renewing: a client's for ever",
        ("renewing:FOREVER",),
        -1.0,
        ("edit",),
        in_ci=True,
    ),
    Mutant(
        "renewing: clients that insist",
        ("renewing:is_fought_over",),
        lambda *_: False,
        host=told(*((100.0 + 30.0 * i, "use", CODER, 0.1, 300.0, None) for i in range(20))),
        in_ci=True,
    ),
    # -- the executor
    Mutant(
        "executor: two commands at a time",
        ("step:why_silent", "loop:begin"),
        _at_once,
        ("edit",),
        in_ci=True,
    ),
    Mutant("executor: any end is the end", ("loop:hear",), _any_end, WIRES, in_ci=True),
    Mutant(
        "executor: goes on after its end",
        ("loop:begin",),
        _after_the_end,
        host=told((85.0, "slow_ps", 0.4, 300.0), BRIEFLY, ALSO_BRIEFLY, (101.3, "stop", 20.0)),
        in_ci=True,
    ),
    Mutant(
        "executor: a load outlives its process",
        ("loop:stop",),
        lambda state: executor.Turn(state=state),
        host=told((90.0, "slow_loads", 60.0, 200.0), UNLOADED, (180.0, "stop", 20.0)),
        in_ci=True,
    ),
    shown(
        "executor: further orders after a failure",
        "executor:hear",
        "_drop_queue(state)",
        BRIEFLY,
        ALSO_BRIEFLY,
        (101.1, "refused", 3),
        instead="state",
    ),
    inside(
        "executor: further orders after signs of a load",
        "executor:_ping_or_leave",
        "_drop_queue(state)",
        ("meanwhile", "fight", "old_state"),
        instead="state",
        lease_base=300.0,
        in_ci=True,
    ),
    shown("loop: an observer acts", "loop:Loop.look", "self.is_read_only", is_read_only=True),
    *ROOM,
    *RESTRAINT,
    Mutant(
        "pending: what is seen is forgotten at once",
        ("step:why_silent",),
        _lax(step_module.why_silent, 1, settle=0.0),
        ("outsider", "refused"),
        in_ci=True,
    ),
    # -- pings, one reason at a time
    shown(
        "pinging: an old list",
        "pinging:why_not_ping_any",
        "age_seconds >= PS_FRESH_SECONDS",
        (85.0, "slow_ps", 1.2, 300.0),
        BRIEFLY,
    ),
    inside(
        "pinging: somebody came",
        "pinging:why_not_ping_any",
        "looked and {row_id(row) for row in rows} - {row_id(row) for row in before}",
        ("meanwhile", "fight", "old_state"),
        lease_base=300.0,
        in_ci=True,
    ),
    shown(
        "pinging: it was used since",
        "pinging:why_not_ping",
        "last is not None and last.expires_at != row.expires_at",
        (85.0, "slow_ps", 0.4, 300.0),
        BRIEFLY,
        (101.4, "use", CODER, 0.1, 300.0, None),
    ),
    shown(
        "renewing: who is in use",
        "renewing:_renewal",
        "known.busy_at == now",
        BRIEFLY,
        (100.2, "use", CODER, 100.0, 300.0, None),
    ),
    inside(
        "renewing: any number at a time",
        "renewing:find_renewals",
        "scene.loop.pings_per_tick",
        ("edit", "clock"),
        instead="99",
        in_ci=True,
    ),
    inside(
        "renewing: races are not waited out",
        "renewing:find_renewals",
        "state.pings_quiet_until is not None and now < state.pings_quiet_until",
        ("snatch", "edit"),
        in_ci=True,
    ),
    shown(
        "renewing: a client's value of any model",
        "renewing:_renewal",
        "known.is_overruled and not is_pin",
        (100.0, "use", EMBED, 0.1, 300.0, None),
        wanted=(EMBED,),
    ),
    shown(
        "renewing: who failed a moment ago",
        "renewing:_renewal",
        "known.quiet_until is not None and now < known.quiet_until",
        BRIEFLY,
        (101.1, "lost_reply", 1),
    ),
    inside(
        "step: who is sent away is pinged first",
        "step:_decide",
        "find_renewals(scene, going)",
        instead="find_renewals(scene)",
        **met_in(409881),
    ),
    inside(
        "renewing: who is to go",
        "renewing:find_renewals",
        "row.key in going | dead",
        ("edit", "tide"),
        instead="row.key in dead",
    ),
    inside(
        "renewing: who is to be loaded anew is let go",
        "renewing:find_renewals",
        "leaves - pins - members",
        instead="leaves - pins",
        **KEPT_OUT,
    ),
    inside(
        "comings: whose name comes back has come anew",
        "comings:notice_comers",
        "row_id(row) in nameless and known.free_low",
        **met_in(808340),
    ),
    *BELIEFS,
    *PINGS,
    *LOADS,
    *PAUSES,
    *LOOKS,
    *RANKS,
    *RETENTION,
    *TURNS,
)
"""Not here is what only words an alarm or a reason, and what `core/planner` decides."""
