"""Guards of the operator's words, each with a story that was made to show what it is for."""

from __future__ import annotations

from typing import Final

from loop_hosts import EMBED

from soak.story import Wishes
from soak.taking_out import Mutant, shown

WORDS: Final[tuple[Mutant, ...]] = (
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
)
