"""Guards of who comes and goes before whom, each with a story that shows it."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED

from soak.staged import met_in
from soak.taking_out import Mutant, shown

TO_CHANGE_PLACES: Final = ((640.0, "use", CHAT, 200.0, 7200.0, 16384),)
"""A client's model overfills the second card and serves somebody for minutes. It would fit on the
first one, if a small model changed places with it. That came so long ago that it would be fetched
again at once, to where it was, and be sent away again.
"""

TURNS: Final[tuple[Mutant, ...]] = (
    shown(
        "room: pins wait for who is in use, after a lower rank",
        "room:is_harmless",
        "can_still_follow(others, beside)",
        instead="True",
        **met_in(2000149),
    ),
    shown(
        "making_room: one goes for who is paused, and kept out by the pins then",
        "making_room:who_leaves_before",
        "come_in_turn(without, [comer, *higher, *paused], scene.state)",
        instead="True",
        **met_in(1400176, is_whole=True),
    ),
    shown(
        "levers: who came a while ago comes back first again",
        "levers:_choose_unload",
        "not is_in_vain",
        instead="True",
        **met_in(1310183, cards=2),
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
        instead="load_seen_at=now if not is_ours else state.load_seen_at",
        **met_in(2001570),
    ),
)
