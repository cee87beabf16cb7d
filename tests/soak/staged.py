"""Hosts that were made up to show what one guard is for, as fields of `Story`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from math import inf

from loop_hosts import CHAT, CODER, EMBED, GIANT, MEDIUM, SMALL

from soak.story import BESIDE, SAID, Happening, Wishes, tell


def met_in(seed: int, cards: int = 1, *, is_whole: bool = False) -> dict[str, object]:
    """Returns the host and what happens to it in the story in which a guard was found missing.

    Without what the operator says in it, unless that is part of the matter.
    """
    story = tell(seed, cards=cards)
    if not is_whole:
        happenings = tuple(h for h in story.happenings if h.kind not in SAID | BESIDE)
        bare = {"has_history": False, "wishes": Wishes(), "earlier": ""}
        bare |= {"lease_base": 1800.0}  # nobody had less when they were met
        story = replace(story, happenings=happenings, **bare)  # type: ignore[arg-type]
    return {item.name: getattr(story, item.name) for item in fields(story) if item.name != "seed"}


CALM: Mapping[str, object] = {
    "pins": (CODER, CHAT),
    "wanted": (),
    "kept": (SMALL,),
    "sees_processes": True,
    "is_read_only": False,
    "may_unload_unmanaged": False,
    "may_rescue": False,
    "lease_base": 1800.0,
    "load_limit": 1800.0,
    "pings_per_tick": 4,
    "cards": 1,
    "has_history": False,
    "wishes": Wishes(),
    "earlier": "",
}
"""Two pins, and a small model that stays when somebody loads it."""


def told(*happenings: tuple, **host: object) -> dict[str, object]:
    """Returns a story as fields of `Story`: a calm host, and what happens (when, what, details)."""
    if "happenings" in host:  # one that was met
        return host
    listed = [Happening(at, kind, tuple(details)) for at, kind, *details in happenings]
    return {**CALM, **host, "happenings": tuple(sorted(listed, key=lambda h: h.at))}


BRIEFLY = (100.0, "use", CODER, 0.1, 300.0, None)
"""This is how a ping is brought about: a client gives a pin another keep-alive, and the pin's own
lease is given back at the next look, at 101.2 s."""

ALSO_BRIEFLY = (100.0, "use", CHAT, 0.1, 300.0, None)
"""The same of the other pin, which is next in the queue then."""

UNLOADED = (100.0, "outsider", "unload", CODER)
"""This is how a preload is brought about: a pin is unloaded, and comes back a minute later."""

UNLOADED_ALL_THE_TIME = tuple((100.0 + 75.0 * i, "outsider", "unload", CODER) for i in range(14))
"""Whenever it has come back."""

DEAD_QUEUE: Mapping[str, object] = {
    "pins": (CODER,),
    "wanted": (EMBED,),
    "sees_processes": True,
    "is_read_only": False,
    "may_unload_unmanaged": True,
    "may_rescue": True,
    "happenings": (
        Happening(20.0, "use", (SMALL, 1.0, 7200.0, None)),
        Happening(40.0, "use", (CHAT, 1.0, 7200.0, None)),
        Happening(100.0, "jam", ("all", 700.0)),
        Happening(130.0, "outsider", ("unload", CODER)),
    ),
}
"""A pin is to come back, Ollama does nothing any more, and three could be unloaded in vain."""

NEXT_DAY: Mapping[str, object] = {
    "pins": (CODER, CHAT),
    "wanted": (MEDIUM,),
    "is_read_only": False,
    "happenings": (
        Happening(100.0, "away"),
        Happening(120.0, "restart", (2.0,)),
        Happening(130.0, "old_state"),
        Happening(200.0, "use", (CHAT, 1.0, 7200.0, None)),
        Happening(220.0, "use", (SMALL, 1.0, 7200.0, None)),
    ),
}
"""A new warmset finds one pin, and a model that is to leave: beside it a large one would find too
little free, and keep the other pin out."""

ACTS: Mapping[str, object] = {
    "sees_processes": True,
    "is_read_only": False,
    "may_unload_unmanaged": False,
    "lease_base": 1800.0,
}

RESCUES: Mapping[str, object] = {
    "sees_processes": True,
    "is_read_only": False,
    "may_rescue": True,
}

HELD_WHILE_LOADING: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER, CHAT),
    "wanted": (),
    "happenings": (
        Happening(204.53, "foreign", (7.5, 2.5)),
        Happening(204.63, "use", (SMALL, 1.0, 900.0, None)),
        Happening(294.63, "outsider", ("unload", CHAT)),
    ),
}
"""Another program holds memory for as long as a small model is being loaded, and a look shows it;
a pin is to come beside it later."""

SPILLED: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER,),
    "wanted": (),
    "happenings": (
        Happening(60.0, "outsider", ("unload", CODER)),
        Happening(86.34, "foreign", (8.0, 1.0)),
        Happening(86.44, "use", (GIANT, 1.0, 900.0, None)),
    ),
}
"""The largest model finds another program that no look shows, and spills; then a pin is to come
back."""

USED_IN_A_GAP: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER,),
    "wanted": (),
    "may_unload_unmanaged": True,
    "happenings": (
        Happening(88.44, "use", (GIANT, 1.0, 7200.0, None)),
        Happening(108.44, "crash", (90.0,)),
        Happening(183.44, "use", (GIANT, 11.6, 7200.0, None)),
    ),
}
"""Warmset is back a moment after a client used the model that keeps a pin out."""

LOADED_IN_A_GAP: Mapping[str, object] = {
    **USED_IN_A_GAP,
    "sees_processes": False,
    "happenings": (
        Happening(88.44, "use", (GIANT, 1.0, 7200.0, None)),
        Happening(108.44, "crash", (90.0,)),
        Happening(177.41, "outsider", ("unload", GIANT)),
        Happening(183.44, "use", (GIANT, 6.3, 7200.0, None)),
    ),
}
"""The same, but the model went and came again meanwhile, and processes are hidden."""

BACK_AT_ONCE: Mapping[str, object] = {
    **ACTS,
    "pins": (CHAT, EMBED),
    "wanted": (MEDIUM,),
    "happenings": (
        Happening(20.0, "use", (SMALL, 1.0, 7200.0, None)),
        Happening(90.0, "late_release", (15.0, 1000.0)),
        Happening(100.0, "foreign", (4.0, 600.0)),
        Happening(115.91, "use", (SMALL, 1.0, 7200.0, None)),
    ),
}
"""A small model gives way to another program, and a client has it again before its memory is
back."""

CAME_UNSEEN = (
    (40.0, "crash", 100.0),
    (42.0, "outsider", "unload", CHAT),
    (45.0, "use", EMBED, 1.0, 7200.0, None),
    (50.0, "use", SMALL, 1.0, inf, 18432),
    (60.0, "foreign", 9.5, 3000.0, 1),
)
"""While nobody looks, two models come to two cards, and another program to that of the smaller one:
so it looks as if the larger one were there. A pin has room beside neither."""

KEPT_OUT: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER, CHAT),
    "wanted": (MEDIUM, EMBED),
    "happenings": (
        Happening(0.5, "edit", ("unpin",)),
        Happening(2.96, "load_fails", (1,)),
        Happening(144.7, "edit", ("back",)),
    ),
}
"""The first pin was loaded last, so that the second one has no room as long as it stays; in the
plan a small model would make way for that and come again."""

LATE_LEAVER: Mapping[str, object] = {
    "pins": (CODER,),
    "wanted": (MEDIUM,),
    "sees_processes": False,
    "is_read_only": False,
    "happenings": (
        Happening(60.0, "use", (MEDIUM, 130.0, None, None)),
        Happening(100.0, "foreign", (14.0, 95.0)),
    ),
}
"""A model that serves somebody unseen has to go for another program, and goes when that is over."""

QUEUED: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER, CHAT),
    "wanted": (),
    "load_limit": 60.0,
    "happenings": (
        Happening(20.0, "use", (SMALL, 400.0, None, None)),
        Happening(40.0, "use", (GIANT, 1.0, None, None)),
    ),
}
"""Both pins have left for a giant, which waits for a busy model: ours wait in its queue."""

ABOUT_TO_LEAVE: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER, CHAT),
    "wanted": (),
    "happenings": (
        Happening(62.02, "outsider", ("unload", CHAT)),
        Happening(62.12, "outsider", ("unload", CODER)),
        Happening(70.02, "use", (MEDIUM, 1.0, 75.0, 16384)),
    ),
}
"""Beside a client's large model only one of two pins fits, and it leaves just before a look."""

NAMELESS: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER, CHAT),
    "wanted": (),
    "happenings": (
        Happening(20.0, "use", (SMALL, 60.0, 900.0, None)),
        Happening(56.27, "outsider", ("unload", CHAT)),
        Happening(60.0, "use", (SMALL, 1.0, 900.0, 16384)),
        Happening(60.01, "delete", (SMALL,)),
    ),
}
"""A model is asked for with another context and deleted; a pin is to come back."""

ONE_HAS_TO_STAY: Mapping[str, object] = {
    **ACTS,
    "pins": (CHAT,),
    "wanted": (),
    "may_unload_unmanaged": True,
    "happenings": (
        Happening(100.0, "foreign", (9.0, 100.0)),
        Happening(101.0, "outsider", ("unload", CHAT)),
        Happening(102.0, "use", (MEDIUM, 600.0, 7200.0, None)),
        Happening(120.0, "use", (SMALL, 1.0, 7200.0, None)),
    ),
}
"""Two of a client's models were loaded beside another program, and each would keep a pin out by
what it remembers. One of them is in use for long."""

FOUND_LITTLE: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER,),
    "wanted": (),
    "happenings": (
        Happening(30.0, "foreign", (18.0, 200.0)),
        Happening(31.0, "outsider", ("unload", CODER)),
        Happening(40.0, "use", (SMALL, 1.0, 7200.0, None)),
    ),
}
"""A pin is unloaded while another program holds much of the card; a small model comes meanwhile,
and keeps it out by what it found."""

NAME_DELETED: Mapping[str, object] = {
    **ACTS,
    "pins": (CODER,),
    "wanted": (MEDIUM, EMBED),
    "sees_processes": False,
    "happenings": (
        Happening(248.92, "use", (CHAT, 12.0, 30.0, None)),
        Happening(282.65, "delete", (CHAT,)),
    ),
}
"""A client's model lies beside ours, and its name is deleted a while before it leaves."""

RETURNS: Mapping[str, object] = told(
    (60.0, "outsider", "unload", CODER),
    (60.1, "outsider", "unload", MEDIUM),
    (60.2, "outsider", "unload", EMBED),
    (66.0, "foreign", 5.0, 2000.0),
    (72.0, "use", SMALL, 1.0, 7200.0, None),
    (80.0, "foreign", 1.5, 50.0),
    (90.0, "use", MEDIUM, 200.0, 7200.0, None),
    pins=(CODER,),
    wanted=(MEDIUM, EMBED),
)
"""A large model was loaded beside another program, and keeps a pin out by what it found; it goes,
and is fetched again. A small one would fit before that, and then keep the large one out."""
