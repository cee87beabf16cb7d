"""Guards that hold back for a while, each with a story that was made to show what it is for."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, GIANT, MEDIUM, SMALL

from soak.taking_out import Mutant, shown

ALL_LOST: Final = tuple(
    (60.0 + n, "outsider", "unload", name) for n, name in enumerate((CODER, CHAT, EMBED))
)
GONE_IN_VAIN: Final = (
    (60.0, "foreign", 8.0, 130.0),
    (61.0, "outsider", "unload", CODER),
    (61.1, "outsider", "unload", MEDIUM),
    (72.0, "use", MEDIUM, 200.0, 7200.0, None),
    (285.0, "no_effect", 1),
    (345.0, "use", GIANT, 1.0, 5.0, None),
)
"""A model was loaded beside another program and keeps a pin out: it is sent away to be fetched
again. The server says yes and does nothing, and half a minute later a client's giant pushes it out.
"""
TRIED_AGAIN: Final = (
    (50.0, "broken_lever", "ping", 840.0),
    *((100.0 + 60.0 * n, "use", SMALL, 1.0, 45.0, None) for n in range(4)),
    (700.0, "use", SMALL, 1.0, 45.0, None),
    (722.5, "use", EMBED, 1.0, 45.0, None),
)
"""Four pings did nothing. Long after that one is tried, which shows only at its deadline; another
model would have its turn before.
"""
ALL: Final = (CODER, CHAT, EMBED, SMALL)
PUSHED_OUT: Final = tuple(
    happening
    for round_at in range(60, 720, 130)
    for happening in (
        (float(round_at), "use", SMALL, 0.1, None, None),
        (round_at + 41.4, "use", MEDIUM, 1.0, 20.0, None),
    )
)
"""A client's large model comes for a while, and a small one has to go for it each time."""

PAUSES: Final[tuple[Mutant, ...]] = (
    # -- of a model
    shown(
        "outcomes: pauses never grow",
        "outcomes:pause",
        "max(loop.cool_down, 2 * known.pause)",
        (58.0, "load_fails", 5),
        (60.0, "outsider", "unload", CODER),
        instead="loop.cool_down",
    ),
    shown(
        "restraint: pauses are forgotten at once",
        "restraint:_forget",
        "0.0 if is_stable else known.pause",
        (58.0, "load_fails", 5),
        (60.0, "outsider", "unload", CODER),
        instead="0.0",
    ),
    shown(
        "outcomes: what is refused for good is tried soon",
        "outcomes:after_failure",
        "event.is_final",
        (150.0, "slow_look", 8.0, 300.0),
        (155.0, "outsider", "unload", CHAT),
        (230.0, "delete", CHAT),
    ),
    shown(
        "restraint: who was lost comes again at once",
        "restraint:why_not_preload",
        "_lost(candidate, known)",
        (100.0, "outsider", "unload", EMBED),
        instead="None",
        wanted=(EMBED,),
    ),
    shown(
        "restraint: whom we sent away comes again at once",
        "restraint:why_not_preload",
        "_sent_away(known)",
        (100.0, "foreign", 14.0, 30.0),
        instead="None",
        pins=(CODER,),
        wanted=(MEDIUM,),
    ),
    shown(
        "departures: who goes at last went for our unload",
        "departures:confirm_departures",
        "leaving.is_ignored",
        *GONE_IN_VAIN,
        pins=(CODER,),
        wanted=(MEDIUM,),
    ),
    shown(
        "outcomes: restorations are not counted",
        "outcomes:before_preload",
        "known.lost_at is not None:\n",
        (60.0, "fight", CODER),
        instead="False:\n",
    ),
    shown(
        "outcomes: reloads are not counted",
        "outcomes:before_preload",
        "known.resident_since is not None or known.lost_at is not None or known.unloaded_at",
        *((60.0 + n, "fight", name) for n, name in enumerate((CODER, CHAT, EMBED))),
        pins=(CODER, CHAT, EMBED),
    ),
    shown(
        "outcomes: whom our own preload pushed out comes again at once",
        "outcomes:after_preload",
        "_pause_victims(state, order, now - seconds, loop, now)",
        (98.0, "outsider", "unload", EMBED),
        (98.5, "foreign", 11.0, 3.6),
        (100.0, "old_state"),
        (100.5, "use", EMBED, 0.1, 7200.0, None),
        (150.0, "outsider", "unload", CHAT),
        (205.0, "slow_loads", 5.0, 60.0),
        instead="(state, ())",
        pins=(CODER, CHAT, EMBED),
    ),
    # -- of a lever
    shown(
        "turns: preloads that do nothing are sent on",
        "turns:_why_paused",
        'why_not_use(scene.state, "preload", scene.now)',
        (50.0, "broken_lever", "preload", 800.0),
        *ALL_LOST,
        instead='("", None)',
        wanted=(EMBED,),
    ),
    shown(
        "comings: a preload that did nothing is not noticed",
        "comings:_missing_preloads",
        "since is None or key in listed or state.looked is None or since < state.looked.at",
        (50.0, "broken_lever", "preload", 800.0),
        *ALL_LOST,
        instead="True",
        wanted=(EMBED,),
    ),
    shown(
        "making_room: unloads that do nothing are sent on",
        "making_room:why_stay",
        'why_not_use(scene.state, "unload", scene.now)',
        (30.0, "broken_lever", "unload", 860.0),
        (40.0, "foreign", 14.0, 850.0),
        instead='("", None)',
        pins=(CODER,),
        wanted=(MEDIUM, EMBED),
    ),
    shown(
        "drift: a broken lever that is tried does not rest",
        "executor:_open",
        "note_tried(state, lever, now)",
        *TRIED_AGAIN,
        instead="state",
        kept=(SMALL, EMBED),
    ),
    shown(
        "drift: another version has the same levers",
        "drift:judge_levers",
        "_forget_other_versions(look.observation, look.state)",
        (50.0, "broken_lever", "preload", 800.0),
        *ALL_LOST,
        (200.0, "upgrade", 8.0),
        instead="look.state",
        wanted=(EMBED,),
    ),
    shown(
        "drift: whoever is unloaded by a client broke the order of ranks",
        "drift:_failure",
        'cause == "displaced" and look.state.of(key).lost_to',
        (60.0, "fight", CODER),
        instead='cause == "displaced"',
        wanted=(EMBED,),
    ),
    shown(
        "drift: who was in use stayed since unloads do nothing",
        "drift:_failure",
        "_was_idle(key, look)",
        (20.0, "use", SMALL, 1.0, 7200.0, None),
        *((60.0 + n, "use", name, 840.0, None, None) for n, name in enumerate(ALL)),
        (100.0, "make_way", 790.0),
        instead="True",
        wanted=(EMBED,),
        sees_processes=False,
    ),
    shown(
        "drift: whoever stayed had the shorter lease",
        "drift:_spared",
        "other.lease >= known.lease",
        (30.0, "foreign", 6.0, 860.0),
        *PUSHED_OUT,
        pins=(CODER,),
        wanted=(EMBED,),
    ),
    shown(
        "drift: who was in use was spared for its lease",
        "drift:_spared",
        "not why_not_idle(row.key, before, loop, look.now)",
        (10.0, "use", EMBED, 1.0, 7200.0, None),
        (30.0, "foreign", 6.0, 860.0),
        (35.0, "outsider", "unload", SMALL),
        (55.0, "use", EMBED, 800.0, 7200.0, None),
        *PUSHED_OUT,
        instead="True",
        pins=(CODER,),
        wanted=(SMALL,),
        kept=(EMBED,),
    ),
)
