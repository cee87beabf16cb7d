"""Guards of loads, ours and others', each with a story that was made to show what it is for.

Looks are at 1.2 s and every five seconds after it, and a pin that somebody unloads comes back a
minute of calm later: at 131.2 s where it is lost at 70 s.
"""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, GIANT, MEDIUM, SMALL

from soak.staged import met_in, told
from soak.taking_out import Mutant, inside, shown

LOST: Final = (70.0, "outsider", "unload", CODER)
FOUND_THERE: Final = (
    (60.0, "slow_look", 8.0, 300.0),
    (65.0, "outsider", "unload", CHAT),
    (66.0, "outsider", "unload", CODER),
    (142.0, "use", CHAT, 0.1, 7200.0, None),
)
"""Both pins are lost, and a client has one of them loaded while a look is under way."""
TO_BE_DELETED: Final = (
    (61.0, "use", SMALL, 130.0, 900.0, None),
    (100.0, "outsider", "unload", CODER),
    (110.0, "use", SMALL, 60.0, 900.0, 16384),
    (111.0, "use", SMALL, 1.0, 900.0, 2048),
    (112.0, "delete", SMALL),
)
"""While a client's model is in use, two more ask for it with other contexts, and its name is
deleted. A pin that comes back waits behind the second of them once the first has been loaded.
"""
TO_BE_PULLED: Final = (
    (60.0, "use", SMALL, 130.0, 900.0, None),
    (100.0, "use", CHAT, 60.0, 900.0, 131072),
    (101.0, "use", CHAT, 1.0, 900.0, 2048),
    (102.0, "repull", CHAT),
    (140.0, "hold", CHAT, 600.0),
)
"""Two clients wait for a model beside which there is no room for one in use, when other weights are
pulled under its name. It is held, and ours waits behind the second of them once the first has the
old weights loaded.
"""
LOADS_STAND_STILL: Final = (
    (80.0, "use", CHAT, 1.0, 7200.0, 16384),
    (120.0, "use", SMALL, 1.0, 7200.0, None),
    (170.0, "use", SMALL, 60.0, 7200.0, None),
    (220.0, "use", SMALL, 1.0, 7200.0, None),
)
"""A pin has left for a load of ours that waits for a small model in use, when a client's keep-alive
reaches that: nothing is loaded any more (ollama-behaviour 3.5). Ours is given up half an hour
later; the pin's own is young then, and the pin has long been missing.
"""

LOADS: Final[tuple[Mutant, ...]] = (
    # -- loads of others
    shown(
        "comings: who comes tells of no further loads",
        "comings:_came",
        "state = replace(state, load_seen_at=now, load_why=why)",
        (150.0, "outsider", "unload", CODER),
        (207.5, "use", EMBED, 0.1, 7200.0, None),
        instead="pass",
    ),
    shown(
        "overruled: who is loaded anew tells of no further loads",
        "overruled:notice_reloads",
        'state = replace(state, load_seen_at=now, load_why=f"{row.name} was loaded anew")',
        (60.0, "use", SMALL, 1.0, 7200.0, None),
        (150.0, "outsider", "unload", CODER),
        (206.5, "use", SMALL, 0.1, 7200.0, 16384),
        instead="pass",
    ),
    shown(
        "comings: who leaves early made room for nobody",
        "comings:notice_leavers",
        'state = replace(state, load_seen_at=now, load_why=f"{name} left before its time")',
        LOST,
        instead="pass",
    ),
    shown(
        "pending: a process that loads is ours",
        "pending:find_foreign_load",
        'runner.phase == "loading" and (own is None or runner.key not in (own, None))',
        LOST,
        (128.0, "slow_loads", 10.0, 60.0),
        (130.0, "use", SMALL, 1.0, 7200.0, None),
    ),
    shown(
        "stuck: a load under way does not overtake",
        "stuck:_why_not_wait",
        "[names[key] for key in loading if key in names]",
        (58.0, "slow_look", 8.0, 300.0),
        (59.0, "slow_loads", 30.0, 300.0),
        (65.0, "outsider", "unload", CODER),
        (142.0, "use", SMALL, 1.0, 7200.0, None),
        instead="[]",
    ),
    Mutant(
        "stuck: nameless loads do not overtake",
        ("stuck:LOADS",),
        frozenset({"model_came"}),
        in_ci=True,
        host=told(*TO_BE_DELETED, sees_processes=False),
    ),
    shown(
        "stuck: old weights of the same name do not overtake",
        "stuck:_why_not_wait",
        "running.listed_since is not None and now - running.listed_since > ANSWER_SECONDS",
        *TO_BE_PULLED,
        pins=(),
        sees_processes=False,
    ),
    # -- our own load
    shown(
        "pending: beside an order that is open",
        "pending:why_silent",
        "running is not None",
    ),
    shown(
        "outcomes: an answer at once is a load",
        "outcomes:after_preload",
        "seconds < AT_ONCE_SECONDS",
        *FOUND_THERE,
    ),
    inside(
        "comings: who leaves after our load had its room went for it",
        "comings:_open_preload",
        "None if order.key in listed else order",
        instead="order",
        in_ci=True,
        **met_in(5000059),
    ),
    shown(
        "comings: who was there already is ours",
        "comings:notice_comers",
        "(known.was_there or is_another)",
        *FOUND_THERE,
        instead="is_another",
    ),
    shown(
        "levers: beside memory that is not back",
        "levers:_why_not_yet",
        "is_recent and (wish.postponed is not None or _is_draining(scene))",
        (60.0, "late_release", 15.0, 300.0),
        (62.02, "outsider", "unload", CHAT),
        (62.12, "outsider", "unload", CODER),
        (70.02, "use", MEDIUM, 1.0, 75.0, 16384),
    ),
    shown(
        "stuck: our own load overtakes itself",
        "stuck:_why_not_wait",
        "running.order.key in loading",
    ),
    shown(
        "stuck: who is there is waited for, to be loaded anew",
        "stuck:_why_not_wait",
        "_why_not_reload(running, state, loop, now)",
        (60.0, "slow_look", 8.0, 300.0),
        (65.0, "outsider", "unload", CODER),
        (142.0, "use", CODER, 100.0, 7200.0, 16384),
        instead="None",
    ),
    shown(
        "stuck: a load that nobody sees stands still",
        "stuck:_why_not_wait",
        "observation.runners is not None",
        (58.0, "slow_loads", 60.0, 400.0),
        LOST,
        instead="True",
        sees_processes=False,
    ),
    shown(
        "stuck: a queue stands still at once",
        "stuck:_why_not_wait",
        "still > loop.stuck_after",
        (60.0, "jam", "queue", 700.0),
        LOST,
        instead="True",
    ),
    shown(
        "stuck: no queue ever stands still",
        "stuck:_why_not_wait",
        "observation.runners is not None and still > loop.stuck_after",
        (60.0, "jam", "queue", 700.0),
        LOST,
    ),
    shown(
        "step: loads go on where nothing is loaded",
        "step:_decide",
        "scene.state.stuck_since is not None and scene.now < (scene.state.probe_at or 0.0)",
        (60.0, "jam", "all", 700.0),
        LOST,
    ),
    shown(
        "stuck: a clock that is set wakes a queue",
        "stuck:notice_moves",
        "before is None and not is_loading and state.stuck_since is not None",
        (60.0, "jam", "all", 700.0),
        LOST,
        (270.0, "clock", 4000.0),
    ),
    shown(
        "executor: what an earlier look asked for is done",
        "executor:begin",
        "queue=decision.sends",
        (85.0, "slow_ps", 0.4, 300.0),
        (90.0, "outsider", "unload", EMBED),
        (208.0, "use", CODER, 0.1, 300.0, None),
        (208.0, "use", CHAT, 0.1, 300.0, None),
        instead="queue=decision.sends or orders.queue",
        wanted=(EMBED,),
    ),
    shown(
        "step: a load is waited for while nothing is known",
        "step:_unknown",
        "why_give_up(state, config.loop, now)",
        (20.0, "use", SMALL, 400.0, None, None),
        (40.0, "use", GIANT, 1.0, None, None),  # waits for that, and ours behind it
        (130.0, "deaf", 200.0),
        instead="None",
        load_limit=60.0,
    ),
    Mutant(
        "alarms: pins are not watched during a load",
        ("step:watch_pins",),
        lambda _observation, _config, state, _why, _now: (state, ()),
        in_ci=True,
        host=told(*LOADS_STAND_STILL, pins=(CODER,), wanted=(MEDIUM,), sees_processes=False),
    ),
    # -- the operator's words
    shown(
        "pins: those that never fit are loaded one by one",
        "pins:plan_pins",
        "never is not None",
        (100.0, "edit", "pin_too_much"),
        (110.0, "outsider", "unload", CHAT),
    ),
)
