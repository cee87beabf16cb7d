"""Guards of room: for whom it is made, who goes for it, and what Ollama may believe of it."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, MEDIUM, SMALL

from soak.staged import (
    ABOUT_TO_LEAVE,
    NAMELESS,
    NEXT_DAY,
    ONE_HAS_TO_STAY,
    UNLOADED,
    met_in,
    told,
)
from soak.taking_out import Mutant, inside, shown

TWO_FOUND_LITTLE: Final = (
    (40.0, "outsider", "unload", EMBED),
    (40.1, "outsider", "unload", MEDIUM),
    (66.0, "foreign", 13.5, 60.0),
    (70.0, "use", CHAT, 1.0, 7200.0, None),
    (88.0, "use", SMALL, 1.0, 7200.0, None),
)
"""Two models that were loaded beside another program keep a large one out, which ranks lowest, and
one of the two a small one. The other one is a client's, and not to be unloaded.
"""
FOUND_LITTLE_BESIDE: Final = (
    (40.0, "outsider", "unload", CODER),
    (40.1, "outsider", "unload", MEDIUM),
    (62.0, "use", CHAT, 1.0, 7200.0, 32768),
    (80.0, "foreign", 4.0, 40.0),
    (85.0, "use", CODER, 0.1, 7200.0, None),
)
"""A pin came beside a client's large model and another program. A second large one would fit if the
client's were gone, but for what the pin found free.
"""
END_OF_A_PLAN: Final = told(
    (90.0, "outsider", "unload", MEDIUM),
    (105.2, "order_pin", CODER, True),
    pins=(CHAT,),
    wanted=(MEDIUM, EMBED),
)
"""The plan has a place for two large models and none for a small one; the first of them is paused,
and does not fit any more once the second has come.
"""

ROOM: Final[tuple[Mutant, ...]] = (
    shown(
        "levers: memory that was not read just now",
        "levers:choose_lever",
        "_why_unread(scene)",
        UNLOADED,
        (155.0, "driver", "hung", 12.0),
        instead='""',
    ),
    inside(
        "levers: RAM is short",
        "levers:choose_lever",
        "scene.observation.memory.pressure",
        ("thrash", "outsider"),
        instead='""',
        in_ci=True,
    ),
    inside(
        "levers: pins beside who is about to leave",
        "levers:choose_lever",
        "_why_not_yet(scene)",
        instead='""',
        in_ci=True,
        **ABOUT_TO_LEAVE,
    ),
    inside(
        "turns: a higher rank is kept out",
        "turns:choose_load",
        "not is_harmless(wish, candidate, others, returning)",
        ("away",),
        in_ci=True,
        **NEXT_DAY,
    ),
    Mutant(
        "room: a lower rank takes what is likely",
        ("room:_at_most",),
        lambda candidate: candidate,
        host=met_in(200667),
        in_ci=True,
    ),
    shown(
        "lasting: nobody waits for other programs to go",
        "lasting:choose_for_good",
        "before is scene.observation",
        (100.0, "foreign", 14.0, 20.0),
        instead="True",
        wanted=(MEDIUM,),
    ),
    shown(
        "levers: other programs never count",
        "levers:choose_lever",
        "scene.wish.is_pressed",
        (100.0, "foreign", 12.0, 600.0),
        wanted=(MEDIUM,),
    ),
    shown(
        "levers: who is not chosen goes at once",
        "levers:choose_lever",
        "scene.wish.is_pressed",
        (30.0, "use", SMALL, 1.0, 7200.0, None),
        (100.0, "edit", "pin_medium"),
        instead="True",
        wanted=(EMBED,),
    ),
    shown(
        "making_room: whether it helps is not asked",
        "making_room:who_makes_room",
        "not why_not_admitted(without, candidate, state)",
        *FOUND_LITTLE_BESIDE,
        instead="True",
        pins=(CODER,),
        wanted=(MEDIUM,),
        may_unload_unmanaged=True,
    ),
    shown(
        "restarts: who is there on a new server came long ago",
        "restarts:_begin_anew",
        "not observation.residents",
        (100.0, "restart", 8.0),
        (108.5, "use", SMALL, 0.1, 7200.0, None),
        instead="True",
    ),
    Mutant(
        "overruled: loads of weights without a name are not seen",
        ("overruled:_notice_nameless",),
        lambda _observation, _looked, state, _now: (state, []),
        host=NAMELESS,
        in_ci=True,
    ),
    inside(
        "outcomes: who was loaded by a ping was there before",
        "outcomes:after_ping",
        "state = state.note(order.key, resident_since=now)",
        instead="pass",
        in_ci=True,
        **told(
            (100.0, "use", SMALL, 0.1, 60.0, None),
            (120.0, "snatch", 1),
            (125.0, "foreign", 14.0, 300.0),
            sees_processes=False,
        ),
    ),
    Mutant(
        "turns: a lower rank comes before one that is paused",
        ("turns:_comes_soon",),
        lambda *_: False,
        host=met_in(95205),
    ),
    Mutant(
        "making_room: some go for a plan that ends",
        ("levers:who_leaves_before",),
        lambda _first, _loads, leaves, _scene: leaves,
        host=END_OF_A_PLAN,
        in_ci=True,
    ),
    Mutant(
        "making_room: the higher rank goes for the lower",
        ("making_room:_is_worth_it",),
        lambda *_: True,
        host=met_in(300540),
    ),
    Mutant(
        "making_room: some go though others have to stay",
        ("making_room:_if_of_use_now",),
        lambda _, room, __: room,
        host=ONE_HAS_TO_STAY,
        in_ci=True,
    ),
    shown(
        "making_room: room is waited for that nobody makes",
        "making_room:who_makes_room",
        "_is_kept(c, scene)",
        *TWO_FOUND_LITTLE,
        pins=(),
        wanted=(EMBED, MEDIUM),
    ),
    Mutant(
        "making_room: room is made for one whose turn it is not",
        ("making_room:_is_its_turn",),
        lambda *_: True,
        host=met_in(4000068, is_whole=True),
        in_ci=True,
    ),
    inside(
        "making_room: whose turn it is after a pause is not asked",
        "making_room:who_leaves",
        "(*soon, *asked)",
        instead="asked",
        in_ci=True,
        **met_in(4000068, is_whole=True),
    ),
    Mutant(
        "making_room: some go and wait for a third one",
        ("making_room:_waits_for_a_goer",),
        lambda *_: False,
        host=met_in(900416),
    ),
    inside(
        "room: what runners remember is not asked",
        "room:_what_it_may_believe",
        "_believed_worlds(host, (*world, *nameless), state)",
        ("foreign", "late_release"),
        instead="((*world, *nameless),)",
    ),
    inside(
        "room: old weights have no say",
        "room:_what_it_may_believe",
        "strangers_beside(state, wish.host)",
        ("repull",),
        instead='((), "")',
        in_ci=True,
    ),
    Mutant(
        "comings: who comes without a name found what an earlier one did",
        ("comings:note_nameless",),
        lambda _row, _came, _observation, state, in_ci=True, **_: state,
        host=met_in(404729),
    ),
    inside(
        "overruled: a name that comes back is a request",
        "overruled:notice_durations",
        "before.get(row.key) or nameless.get(row_id(row))",
        instead="before.get(row.key)",
        **met_in(620376),
    ),
)
