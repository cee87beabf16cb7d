"""Guards of what a look is taken for, each with a story that was made to show what it is for."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, MEDIUM, SMALL

from soak.staged import RETURNS, told
from soak.taking_out import Mutant, shown

DEAD_ON_A_NEW_CLOCK: Final = (
    (60.0, "foreign", 14.0, 200.0),
    (61.0, "outsider", "unload", CHAT),
    (61.1, "outsider", "unload", MEDIUM),
    (300.0, "kill_runner", CHAT),
    (320.0, "clock", 4000.0),
)
"""A pin comes back beside another program, and keeps a large model out by what it found. Its
process dies, which Ollama does not notice, and the clock is set.
"""
A_PIN_GREW: Final = (
    (60.0, "use", SMALL, 1.0, 7200.0, 16384),
    (100.0, "use", CHAT, 1.0, 7200.0, 16384),
)
"""A client's model comes beside the lower pin on one of two cards. A client has that pin loaded
anew with a larger context, so that both hold too much; the pins would fit in each other's place.
"""
IN_RAM: Final = (
    (60.0, "outsider", "unload", CODER),
    (66.0, "foreign", 24.0, 40.0),
    (70.0, "use", EMBED, 1.0, 7200.0, None),
)
"""A client's model is loaded into RAM while another program holds the whole card; a pin is to come
back once that is over.
"""

LOOKS: Final[tuple[Mutant, ...]] = (
    shown(
        "restarts: another version is the same server",
        "restarts:_notice_server",
        "version and last_version and version != last_version",
        (100.0, "upgrade", 8.0),
        sees_processes=False,
    ),
    shown(
        "comings: a dead runner is a new one",
        "comings:notice_comers",
        "is_dead or known.pid",
        *DEAD_ON_A_NEW_CLOCK,
        instead="known.pid",
        pins=(CHAT,),
        wanted=(MEDIUM,),
    ),
    shown(
        "question: a plan holds whatever memory is left",
        "question:Question.has_answer_of",
        "abs(count - earlier.amounts[what]) < earlier.grains[what]",
        (100.0, "foreign", 14.0, 300.0),
        instead="True",
        pins=(CODER,),
        wanted=(MEDIUM,),
    ),
    shown(
        "others: programs do not grow",
        "others:leave_room_to_grow",
        "max(0, min(usable, empty - margin))",
        (100.0, "foreign", 7.2, 700.0),
        instead="max(0, usable)",
        pins=(CODER,),
        wanted=(MEDIUM, EMBED),
    ),
    shown(
        "turns: those who make room do not return",
        "turns:choose_load",
        "who_returns(candidate, goers, scene) if others else ()",
        instead="()",
        **RETURNS,
    ),
    shown(
        "room: those who return find their place taken",
        "room:is_harmless",
        "can_still_follow((*others, *returning), staying)",
        instead="True",
        **RETURNS,
    ),
    shown(
        "pins: the higher rank is loaded anew for the lower",
        "pins:plan_pins",
        "_unpinned(spare_the_higher(made, around, host), fixed), None, None",
        *A_PIN_GREW,
        instead="_unpinned(made, fixed), None, None",
        cards=2,
    ),
    Mutant(
        "pins: they are to change places",
        ("pins:_with_pins_in_place",),
        lambda made, *_: made,
        in_ci=True,
        host=told(*A_PIN_GREW, cards=2),
    ),
    shown(
        "room: who lies in RAM remembers nothing",
        "room:_remember",
        "not gpus and host.gpus and all(gpu.id in free for gpu in host.gpus)",
        *IN_RAM,
        pins=(CODER,),
        kept=(EMBED,),
    ),
)
