"""Guards of what a look is taken for, each with a story that was made to show what it is for."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, MEDIUM

from soak.staged import RETURNS, met_in
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
        instead="_unpinned(made, fixed), None, None",
        **met_in(600048, cards=2),
    ),
    shown(
        "room: who lies in RAM remembers nothing",
        "room:_remember",
        "not gpus and host.gpus and all(gpu.id in free for gpu in host.gpus)",
        **met_in(469),
    ),
)
