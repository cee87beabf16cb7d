"""Guards of who comes and goes before whom, each with a story that shows it."""

from __future__ import annotations

from math import inf
from typing import Final

from loop_hosts import CHAT, CODER, EMBED, GIANT, MEDIUM, SMALL

from soak.staged import NEXT_DAY, met_in
from soak.taking_out import Mutant, shown

TO_CHANGE_PLACES: Final = ((640.0, "use", CHAT, 200.0, 7200.0, 16384),)
"""A client's model overfills the second card and serves somebody for minutes. It would fit on the
first one, if a small model changed places with it. That came so long ago that it would be fetched
again at once, to where it was, and be sent away again.
"""
USED_ONCE_MORE: Final = (
    (200.0, "use", CHAT, 1.0, 7200.0, 16384),
    (264.9, "use", CHAT, 60.0, 7200.0, 16384),
)
"""The same, but the small model came not long ago, and has just left when the client's is used once
more: back at once, it would be where it was.
"""
DELETED_ON_ITS_WAY_OUT: Final = (
    (60.0, "use", MEDIUM, 200.0, None, None),
    (100.0, "foreign", 14.0, 30.0),
    (118.0, "outsider", "unload", CODER),
    (150.0, "delete", MEDIUM),
)
"""A model that serves somebody unseen has to go for another program. Its name is deleted before it
does, and a pin is to come back.
"""
LOADED_BY_A_CLIENT_THEN: Final = (
    (90.0, "outsider", "unload", CODER),
    (100.0, "use", SMALL, 1.0, 45.0, None),
    (119.0, "snatch", 1),
    (119.0, "no_effect", 1),
    (123.0, "use", SMALL, 1.0, 7200.0, None),
)
"""Somebody unloads a model just before our ping, which does nothing; a client has it loaded anew
before the next look, which takes that for the ping's doing. A pin is to come back when that burst
is over.
"""
CHOSEN_NO_MORE: Final = (
    (60.0, "use", CHAT, 1.0, 7200.0, 16384),
    (250.0, "foreign", 3.0, 130.0),
)
"""A client's model took the place of a wanted one and holds no more than it may; another program
takes so much for a while that a plan has no place for it.
"""
ONE_IN_USE: Final = (
    (67.5, "use", GIANT, 1.0, 179.0, None),
    (269.5, "use", SMALL, 300.0, 7200.0, None),
)
"""All have left for a giant when a client's small model comes and serves somebody for minutes. Both
pins and a large model have no room beside it: if that came first, it would have to go again for the
second pin.
"""
BOTH_OR_NONE: Final = (
    (10.0, "foreign", 0.95, 3000.0),
    (24.0, "outsider", "unload", EMBED),
    (62.02, "outsider", "unload", CHAT),
    (62.12, "outsider", "unload", CODER),
    (82.0, "use", MEDIUM, 65.0, 7200.0, 32768),
)
"""Beside a client's large model in use there is room for one of two pins, which wait until it has
left. A small model that came before that would have to go again for the larger pin.
"""
NO_WAY_BACK: Final = (
    (60.0, "foreign", 3.8, 3000.0, 0),
    (60.1, "foreign", 2.25, 3000.0, 1),
    (200.0, "order_pin", CHAT, True),
)
"""A third pin would fit beside other programs if the smallest one were on the other card: by what
that one holds, but not by the most that it may take.
"""

TURNS: Final[tuple[Mutant, ...]] = (
    shown(
        "levers: a pin goes by a plan that has no place for it then",
        "levers:list_changes",
        "(PINNED, None) if candidate.pin else why_keep(candidate, scene)",
        *NO_WAY_BACK,
        instead="why_keep(candidate, scene)",
        cards=2,
        pins=(CODER, SMALL),
        kept=(),
        may_reload_pins=True,
    ),
    shown(
        "turns: who is loaded later has to find room by itself",
        "turns:choose_load",
        "_higher(candidate, loads[index + 1 :], scene)",
        instead="[]",
        **NEXT_DAY,
    ),
    shown(
        "turns: a lower rank comes while pins wait for each other",
        "turns:choose_load",
        "patient += [candidate] if candidate.pin else []",
        *BOTH_OR_NONE,
        instead="pass",
        wanted=(EMBED,),
        may_unload_unmanaged=True,
    ),
    shown(
        "room: pins wait for who is in use, after a lower rank",
        "room:is_harmless",
        "can_still_follow(others, beside)",
        *ONE_IN_USE,
        instead="True",
        wanted=(MEDIUM, EMBED),
        sees_processes=False,
        may_reload_pins=True,
    ),
    shown(
        "making_room: one goes for who is paused, and kept out by the pins then",
        "making_room:who_leaves_before",
        "come_in_turn(without, [comer, *higher, *paused], scene.state)",
        instead="True",
        **met_in(1400176, is_whole=True),
    ),
    shown(
        "pins: who ranks higher is loaded anew if anybody ranks higher still",
        "pins:spare_the_higher",
        "one.pin or one.rank > c.rank",
        instead="one.pin or one.rank > max(other.rank for other in missing)",
        **met_in(3700958, is_whole=True),
    ),
    shown(
        "levers: who came a while ago comes back first again",
        "levers:_choose_unload",
        "change not in in_vain",
        *USED_ONCE_MORE,
        instead="True",
        cards=2,
        pins=(CODER,),
        wanted=(EMBED,),
        may_unload_unmanaged=True,
    ),
    shown(
        "levers: who is loaded elsewhere goes alone",
        "levers:choose_lever",
        "_together(leaves, changes, scene)",
        *TO_CHANGE_PLACES,
        instead="leaves",
        cards=2,
        pins=(CODER,),
        wanted=(EMBED,),
        may_unload_unmanaged=True,
    ),
    shown(
        "overruled: what a ping loaded is no load that was seen",
        "overruled:notice_reloads",
        "load_seen_at=now",
        *LOADED_BY_A_CLIENT_THEN,
        instead="load_seen_at=now if not is_ours else state.load_seen_at",
    ),
    shown(
        "departures: who lost its name is gone",
        "departures:_list_all",
        "row.key or find_key(row, state)",
        *DELETED_ON_ITS_WAY_OUT,
        instead="row.key",
        pins=(CODER,),
        wanted=(MEDIUM,),
        sees_processes=False,
    ),
    shown(
        "lasting: newcomers count where they only change who is chosen",
        "lasting:choose_for_good",
        "before is scene.observation",
        *CHOSEN_NO_MORE,
        instead="before is scene.observation or not scene.wish.is_pressed",
        pins=(CODER,),
        wanted=(MEDIUM,),
        may_unload_unmanaged=True,
    ),
    shown(
        "comings: who left had to go for a preload that began later",
        "comings:_rival",
        "running is not None and lost_at is not None and running.since >= lost_at",
        **met_in(2200024),
    ),
    shown(
        "making_room: who was told to go is told again",
        "making_room:why_stay",
        "was_told_to_go(key, scene.observation)",
        (500.0, "use", GIANT, 150.0, inf, None),
        (510.0, "use", EMBED, 60.0, 7200.0, None),
        (530.0, "use", CHAT, 1.0, 7200.0, None),
        wanted=(MEDIUM, EMBED),
        sees_processes=False,
        may_unload_unmanaged=True,
    ),
    shown(
        "overruled: one that was listed dead is still the same",
        "overruled:notice_reloads",
        "last is not None or (bool(looked.pids) and row.key not in state.loading)",
        instead="last is not None",
        **met_in(2600844, is_whole=True),
    ),
)
