"""When models are asked for: gaps, sessions, periods, who follows whom."""

from __future__ import annotations

from warmset.core.demand.activity import ActivityClock
from warmset.core.demand.coactivity import CoActivity, Follows
from warmset.core.demand.gaps import GapLaw, Outlook, Pool
from warmset.core.demand.grid import Grid
from warmset.core.demand.hours import Hours, find_hours
from warmset.core.demand.periods import Period, find_period
from warmset.core.demand.seen import GapLaws
from warmset.core.demand.sessions import Session, find_sessions, single_share
from warmset.core.demand.timers import Timer, Timers

__all__ = [
    "ActivityClock",
    "CoActivity",
    "Follows",
    "GapLaw",
    "GapLaws",
    "Grid",
    "Hours",
    "Outlook",
    "Period",
    "Pool",
    "Session",
    "Timer",
    "Timers",
    "find_hours",
    "find_period",
    "find_sessions",
    "single_share",
]
