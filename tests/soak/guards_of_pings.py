"""Guards of pings and leases, each with a story that was made to show what it is for."""

from __future__ import annotations

from typing import Final

from loop_hosts import CHAT, CODER, EMBED, GIANT, SMALL

from soak.staged import BRIEFLY
from soak.taking_out import Mutant, shown

FOR_LONG: Final = (100.2, "use", CODER, 100.0, 300.0, None)
GONE: Final = (101.0, "snatch", 1)

PINGS: Final[tuple[Mutant, ...]] = (
    # -- the executor
    shown(
        "executor: further pings after a race",
        "executor:_done",
        "_drop_queue(state)",
        (200.0, "old_state"),
        (202.0, "snatch", 3),
        instead="state",
        wanted=(EMBED,),
    ),
    shown(
        "executor: a look before the list is not heeded",
        "executor:_ping_or_leave",
        "state.looked is not None and state.looked.at > running.since",
        (60.0, "use", SMALL, 1.0, 7200.0, None),
        (85.0, "slow_ps", 0.4, 300.0),
        (90.0, "outsider", "unload", EMBED),
        (208.0, "use", CODER, 0.1, 300.0, None),
        (208.0, "use", CHAT, 0.1, 300.0, None),
        (213.5, "outsider", "unload", SMALL),
        wanted=(EMBED,),
    ),
    shown(
        "pinging: at the deadline",
        "pinging:why_not_ping",
        "left < PING_MARGIN_SECONDS",
        (90.0, "slow_ps", 0.4, 300.0),
        (100.0, "use", SMALL, 1.0, 28.4, None),
    ),
    shown(
        "pinging: somebody left early",
        "pinging:why_not_ping_any",
        "if gone:",
        (85.0, "slow_ps", 0.4, 300.0),
        BRIEFLY,
        (101.4, "outsider", "unload", CHAT),
        instead="if False:",
    ),
    shown(
        "stuck: a ping that loads is waited for",
        "stuck:why_call_off",
        '_why_hang_up(running, now) if running.stage == "ping" else None',
        (90.0, "slow_loads", 60.0, 300.0),
        BRIEFLY,
        GONE,
        instead="None",
    ),
    shown(
        "renewing: at the deadline",
        "renewing:_renewal",
        "left < PING_MARGIN_SECONDS",
        (100.0, "use", SMALL, 1.0, 24.0, None),
    ),
    shown(
        "step: a first look pings beside a load",
        "step:_decide",
        "() if silent else find_renewals(scene, going)",
        (99.0, "slow_loads", 10.0, 60.0),
        (100.0, "old_state"),
        (102.5, "use", SMALL, 1.0, 7200.0, None),
        instead="find_renewals(scene, going)",
    ),
    # -- what became of it
    shown(
        "outcomes: a ping that took long met its model",
        "outcomes:after_ping",
        "seconds > SLOW_PING_SECONDS",
        BRIEFLY,
        GONE,
        sees_processes=False,
    ),
    shown(
        "outcomes: a ping that kept a victim did nothing",
        "outcomes:after_ping",
        "_is_dismissed(order, event)",
        BRIEFLY,
        FOR_LONG,
        GONE,
        sees_processes=False,
    ),
    shown(
        "outcomes: a ping after which nothing is listed was not sent",
        "outcomes:_after_no_list",
        'isinstance(order, Renew) and running.stage == "check"',
        BRIEFLY,
        GONE,
        (101.1, "slow_ps", 0.4, 60.0),
        (104.85, "restart", 5.0),
    ),
    shown(
        "overruled: a new process is the old one",
        "overruled:notice_reloads",
        "is_new = pid is not None and pid != last and is_last_known",
        BRIEFLY,
        GONE,
        (101.1, "lost_reply", 1),
        instead="is_new = False",
    ),
    shown(
        "overruled: a clock that is set hides what a ping loaded",
        "overruled:notice_reloads",
        "_notice_open_ping(observation, config, state, now)",
        BRIEFLY,
        GONE,
        (101.1, "lost_reply", 1),
        (105.0, "clock", 4000.0),
        instead="(state, ())",
    ),
    shown(
        "drift: a ping that met a request had no effect",
        "drift:judge_ping",
        "state.of(order.key).unmoved is not None",
        BRIEFLY,
        FOR_LONG,
        (100.0, "use", CHAT, 0.1, 300.0, None),
        (100.2, "use", CHAT, 100.0, 300.0, None),
        (300.0, "use", CODER, 0.1, 300.0, None),
        (300.2, "use", CODER, 100.0, 300.0, None),
        (300.0, "use", CHAT, 0.1, 300.0, None),
        (300.2, "use", CHAT, 100.0, 300.0, None),
        sees_processes=False,
    ),
    # -- who is in use
    shown(
        "looking: a deadline that a ping did not move tells nothing",
        "looking:_notice_use",
        "state.of(row.key).unmoved == row.expires_at",
        BRIEFLY,
        FOR_LONG,
        sees_processes=False,
    ),
    shown(
        "looking: a process that computes tells nothing",
        "looking:_notice_use",
        'runner.key is not None and runner.is_working and runner.phase == "resident"',
        BRIEFLY,
        FOR_LONG,
    ),
    shown(
        "restarts: a clock that is set makes busy models idle",
        "restarts:_notice_clock",
        "_keep_unmoved(observation, state, offset - last)",
        (90.0, "use", CODER, 200.0, None, None),
        (100.0, "old_state"),
        (130.0, "clock", 4000.0),
        instead="state",
        sees_processes=False,
    ),
    # -- leases
    shown(
        "renewing: a lease that stands is given again",
        "renewing:_why",
        "abs(held - lease) > SAME_SECONDS",
        instead="True",
        wanted=(EMBED,),
        lease_base=300.0,
    ),
    shown(
        "renewing: clients raise leases without end",
        "renewing:rank_leases",
        "limit=limit",
        (100.0, "use", SMALL, 1.0, 200000.0, None),
        instead="limit=1e12",
    ),
    shown(
        "renewing: pings that do nothing are sent on",
        "renewing:find_renewals",
        'why_not_use(state, "ping", now)[0]',
        (50.0, "broken_lever", "ping", 800.0),
        *((100.0 + 60.0 * n, "use", SMALL, 1.0, 45.0, None) for n in range(6)),
    ),
    shown(
        "wanted: what nobody configured has a rank",
        "wanted:_ranked",
        "c.key in question.managed and (c.is_resident or c.key in inside)",
        (100.0, "use", GIANT, 1.0, 7200.0, None),
        instead="c.is_resident or c.key in inside",
    ),
    shown(
        "overruled: a client's value is forgotten at once",
        "overruled:_overwritten",
        "known.is_overruled or known.lease is not None",
        (100.0, "use", EMBED, 1.0, 7200.0, None),
        wanted=(EMBED,),
    ),
    shown(
        "overruled: what is left of a lease of before is a client's",
        "overruled:notice_durations",
        "looked is None and bounds.high < FOREVER",
        (700.0, "crash", 3.0),
        wanted=(EMBED,),
        lease_base=300.0,
    ),
)
