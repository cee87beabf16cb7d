"""Guards of what is kept, and for how long, each with a story that was made to show what it is for.

Stories begin at 08:53:20.
"""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, MEDIUM, SMALL

from soak.story import Wishes
from soak.taking_out import Mutant, shown

HELD: Final = (100.0, "hold", SMALL, 120.0)
"""A model that nobody configured, where `kept` is empty."""

RETENTION: Final[tuple[Mutant, ...]] = (
    # -- the operator's words
    shown(
        "retention: nobody makes way",
        "retention:find_unwanted",
        "config.yielding and is_managed",
        (100.0, "make_way", 500.0),
        wanted=(EMBED,),
    ),
    shown(
        "retention: who is kept for a while goes at once",
        "retention:_Stay.why_dismissed",
        'self.idle_seconds >= self.kept else ""',
        instead='True else ""',
        wanted=(EMBED,),
        wishes=Wishes(keep_alives=((EMBED, 300.0),)),
    ),
    shown(
        "retention: who is never kept is fetched",
        "retention:_Stay.why_dismissed",
        "keep_alive == 0",
        wanted=(EMBED,),
        wishes=Wishes(keep_alives=((EMBED, 0.0),)),
    ),
    shown(
        "retention: who was let go is fetched again",
        "retention:_Stay.why_dismissed",
        "self.retired_at() is not None",
        wanted=(EMBED,),
        wishes=Wishes(keep_alives=((EMBED, 60.0),)),
    ),
    shown(
        "retention: who was let go is not fetched for its window",
        "retention:_Stay.retired_at",
        "None if is_new else since",
        (100.0, "use", EMBED, 1.0, None, None),
        instead="since",
        wanted=(EMBED,),
        wishes=Wishes(
            windows=((EMBED, "daily 09:01-12:00"),),
            keep_alives=((EMBED, 60.0),),
        ),
    ),
    shown(
        "retention: who is used when its window ends is cut short",
        "retention:_Stay.why_dismissed",
        "not self.is_resident or self.idle_seconds >= end",
        (200.0, "use", EMBED, 12.0, None, None),
        instead="True",
        wanted=(EMBED,),
        wishes=Wishes(windows=((EMBED, "daily 08:30-08:58"),)),
    ),
    # -- a hold that has ended
    shown(
        "retention: what was held keeps its lease",
        "retention:find_unwanted",
        "not is_managed and state.of(entry.key).leased_at is not None",
        HELD,
        kept=(),
    ),
    shown(
        "making_room: what was held is nobody's to unload",
        "making_room:why_keep",
        "candidate.key in scene.wish.managed or bool(candidate.dismissed)",
        HELD,
        instead="candidate.key in scene.wish.managed",
        kept=(),
    ),
    # -- what memory costs
    shown(
        "retention: memory has no price",
        "retention:find_unwanted",
        "pays is not None",
        pins=(CODER,),
        wanted=(MEDIUM,),
        wishes=Wishes(price=10.0),
    ),
    shown(
        "retention: what nobody configured has a price",
        "retention:find_unwanted",
        "prices is not None and is_managed",
        (100.0, "use", CHAT, 1.0, 7200.0, None),
        instead="prices is not None",
        pins=(CODER,),
        wishes=Wishes(price=50.0),
    ),
    shown(
        "retention: what pays is kept for longer than was said",
        "retention:find_unwanted",
        "pays if kept is None else min(kept, pays)",
        instead="pays",
        wanted=(EMBED,),
        wishes=Wishes(price=2.0, keep_alives=((EMBED, 60.0),)),
    ),
    shown(
        "pricing: other programs make nothing dearer",
        "pricing:Prices._price_beside_others",
        "price_under_pressure(self._price, total, others) if total else self._price",
        (60.0, "foreign", 10.0, 840.0),
        instead="self._price",
        pins=(EMBED,),
        wanted=(MEDIUM,),
        wishes=Wishes(price=4.0),
    ),
    shown(
        "pricing: what is on its way back is another program's",
        "pricing:Prices._price_beside_others",
        "size - free - held - self._state.freed.get(device.id, 0)",
        (62.5, "use", CHAT, 1.0, 60.0, None),
        (110.0, "late_release", 17.0, 300.0),
        instead="size - free - held",
        pins=(CODER,),
        wanted=(MEDIUM,),
        wishes=Wishes(price=10.0),
    ),
    shown(
        "pricing: what nobody can tell apart is another program's",
        "pricing:Prices._held_by_models",
        "not place and row.size_vram_bytes != 0",
        (15.0, "foreign", 10.0, 20.0, 0),
        (20.0, "use", CHAT, 1.0, 7200.0, None),
        (60.0, "delete", CHAT),
        pins=(),
        wanted=(EMBED,),
        cards=2,
        wishes=Wishes(price=50.0),
    ),
)
