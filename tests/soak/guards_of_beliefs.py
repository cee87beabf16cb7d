"""Guards of what a runner is taken to have found free, each with a story made to show it.

Looks are at 1.2 s and every five seconds after it; a small model is loaded in two seconds.
"""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, MEDIUM, SMALL

from soak.staged import met_in
from soak.taking_out import Mutant, shown

COMES: Final = (101.5, "use", SMALL, 0.1, 7200.0, None)
LATE_AND_SLOW: Final = (
    (90.0, "late_release", 2.0, 1000.0),
    (100.9, "use", EMBED, 0.1, 7200.0, None),
    (102.9, "slow_loads", 15.0, 30.0),
    (103.0, "outsider", "unload", CHAT),
    (103.2, "use", SMALL, 1.0, 7200.0, None),
)
"""A small model is loaded for long, from a moment on at which the memory of one that left is not
back. No look has shown what is free beside the one that came before it, and nothing else.
"""
PASSES: Final = (
    (90.0, "late_release", 6.0, 1000.0),
    (102.0, "hang_up", MEDIUM, 3.0),
    (107.6, "use", EMBED, 0.1, 7200.0, None),
    (108.7, "slow_loads", 8.0, 2.0),
    (108.8, "use", SMALL, 0.1, 7200.0, None),
)
"""A client hangs up in the middle of a load, and two small models come before that memory is back.
Where there is one pin, looks are at 103.1 s and every five seconds after it, and each finds another
one being loaded.
"""

BELIEFS: Final[tuple[Mutant, ...]] = (
    # -- what it found
    shown(
        "found_free: who came first found what a later one took",
        "found_free:find_free",
        "_free_without((row, *later), observation)",
        (101.4, "use", EMBED, 0.1, 7200.0, None),
        COMES,
        instead="_free_without((row, *others), observation)",
    ),
    shown(
        "found_free: what left just before was free",
        "found_free:find_free",
        "_less_what_left(low, row, observation, state, asked_at)",
        (60.0, "use", MEDIUM, 0.1, 40.0, None),
        instead="low",
    ),
    shown(
        "found_free: who came between two looks found what the second shows",
        "found_free:_less_what_left",
        "state.at_rest if is_seen else {}",
        (90.0, "foreign", 7.0, 13.0),
        COMES,
        instead="{}",
    ),
    shown(
        "found_free: what nobody could read is not remembered",
        "found_free:_less_what_left",
        "{device.id: 0 for device in observation.devices}",
        (60.0, "driver", "hung", 60.0),
        COMES,
        instead="{}",
    ),
    shown(
        "looking: the least that was free during a load is forgotten",
        "looking:_beside_loading",
        "{d: min(count, before.get(d, count)) for d, count in free.items()}",
        (100.0, "slow_loads", 10.0, 30.0),
        (101.0, "foreign", 7.0, 9.0),
        (101.1, "use", SMALL, 0.1, 7200.0, None),
        instead="dict(free)",
    ),
    shown(
        "looking: what is seen while nobody says who is resident is forgotten",
        "step:_unknown",
        "note_unlisted(observation, state)",
        (100.0, "deaf", 21.0),
        (104.0, "foreign", 7.0, 14.5),
        (117.0, "use", SMALL, 0.1, 7200.0, None),
        instead="state",
    ),
    shown(
        "comings: what was remembered is found out anew after a break",
        "comings:notice_comers",
        "is_first and known.resident_since is not None and is_same",
        (40.0, "foreign", 7.0, 20.0),
        (50.0, "use", SMALL, 0.1, 7200.0, None),
        (80.0, "crash", 3.0),
    ),
    shown(
        "comings: who waited for another load came when old memory was back",
        "comings:_came",
        "not is_loading(observation)",
        instead="True",
        **met_in(3702105),
    ),
    shown(
        "comings: who left while other GPUs were shown held nothing",
        "freed:held_by_leaver",
        "for_ours or is_hidden",
        instead="for_ours",
        **met_in(2602574),
    ),
    shown(
        "strangers: what was held on GPUs that are not shown is guessed anew",
        "strangers:note_names",
        "observation.located.get(row.key) or known.held.keys() <= shown",
        instead="True",
        **met_in(2602208),
    ),
    shown(
        "looking: what was free while our preload waited is forgotten",
        "looking:note_rest",
        "min(n, state.at_rest.get(device, n))",
        instead="state.at_rest.get(device, n)",
        **met_in(2700935),
    ),
    shown(
        "freed: what left is forgotten before who came meanwhile is known",
        "freed:forget_freed",
        "state.loading",
        *LATE_AND_SLOW,
    ),
    shown(
        "freed: who came and left again held nothing",
        "comings:notice_leavers",
        "note_passers(observation, state, now)",
        *PASSES,
        instead="state",
        pins=(CODER,),
    ),
    # -- whose load it was
    shown(
        "comings: another process is the one that we preloaded",
        "comings:notice_comers",
        "(known.was_there or is_another)",
        instead="known.was_there",
        **met_in(3800000, is_whole=True),
    ),
    shown(
        "comings: our own load is a client's",
        "comings:_is_own_load",
        "preloaded is not None and preloaded >= looked_at - ANSWER_SECONDS",
    ),
    shown(
        "comings: what we once loaded is our own load for ever",
        "comings:_is_own_load",
        "preloaded >= looked_at - ANSWER_SECONDS",
        (140.0, "outsider", "unload", EMBED),
        (150.0, "outsider", "unload", CODER),
        (207.5, "use", EMBED, 0.1, 7200.0, None),
        instead="True",
        wanted=(EMBED,),
    ),
    shown(
        "overruled: what a ping of ours loaded is a client's",
        "overruled:notice_reloads",
        "touched >= looked.at and row.context == before[row.key].context",
        (100.0, "use", CODER, 0.1, 300.0, None),
        (101.0, "snatch", 1),
        (101.1, "lost_reply", 1),
    ),
)
