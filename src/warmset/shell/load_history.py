"""What the loads kept in a host's demand store tell of the next one."""

from __future__ import annotations

from warmset.adapters.journal import Demand
from warmset.core.demand.loads import LoadTimes, SeenLoad


def load_times(demand: Demand) -> LoadTimes:
    """Returns what the loads of a host teach."""
    return LoadTimes(
        SeenLoad(
            key=row.key,
            seconds=row.seconds,
            file_bytes=demand.models[row.key].file_bytes if row.key in demand.models else None,
            cache="warm" if row.cache == "warm" else "cold",
        )
        for row in demand.loads
        if row.seconds is not None
    )
