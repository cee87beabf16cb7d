"""Guards of what a runner is taken to have found free, each with a story made to show it.

Looks are at 1.2 s and every five seconds after it; a small model is loaded in two seconds.
"""

from __future__ import annotations

from typing import Final

from loop_hosts import CODER, EMBED, MEDIUM, SMALL

from soak.staged import met_in
from soak.taking_out import Mutant, shown

COMES: Final = (101.5, "use", SMALL, 0.1, 7200.0, None)

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
