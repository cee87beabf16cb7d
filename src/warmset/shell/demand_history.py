"""What a host's demand store tells, for the verbs that learn from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from warmset.adapters.journal import Demand, read_demand, state_folder
from warmset.core.demand.trace import Request, Trace
from warmset.core.model import normalise_name
from warmset.core.policy import ModelCost
from warmset.errors import TraceError
from warmset.shell.load_history import load_times
from warmset.shell.replay_host import ReplayHost

NEUTRAL_BYTES_PER_SECOND: Final = 1e9
"""For a file of which nothing is known. Source: the planner's neutral rule."""

NEUTRAL_START_SECONDS: Final = 2.0
"""The same."""


POLLED: Final = "history is what polling shows: of many requests between two looks, one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Demand as it was seen, ready to be replayed.

    Attributes:
        begins: Unix seconds of the trace's zero.
        costs: by name, as measured where there are measurements.
        demand: everything in the store.
    """

    trace: Trace
    begins: float
    costs: Mapping[str, ModelCost]
    demand: Demand
    notes: tuple[str, ...]


def load_demand(environ: Mapping[str, str], url: str, since: float = 0.0) -> Demand:
    """Returns all that was seen of a host.

    Raises:
        TraceError: the store is there and cannot be read.
    """
    return read_demand(state_folder(environ, url), since)


def read_history(
    environ: Mapping[str, str], url: str, host: ReplayHost | None = None, since: float = 0.0
) -> Past:
    """Returns the uses of a host as a trace, by the names its models have.

    Args:
        environ: for the state folder.
        url: the host.
        host: what it has installed, for sizes that were never seen; `None`: do without.
        since: Unix seconds.

    Raises:
        TraceError: there is no history, or it cannot be read.
    """
    demand = load_demand(environ, url, since)
    if not demand.uses:
        raise TraceError(
            f"no history of {url.partition('?')[0]}: no use of a model is kept in "
            f"{state_folder(environ, url)}",
            hint="`warmset serve` keeps what it sees; `warmset trace import FILE` brings a log",
        )
    begins = demand.uses[0].at
    names = names_of(demand)
    trace = Trace.of(
        Request(row.at - begins, names[row.key], row.seconds or 0.0) for row in demand.uses
    )
    return Past(
        trace=trace,
        begins=begins,
        costs=_costs(demand, names, host),
        demand=demand,
        notes=(POLLED,),
    )


def without_unknown(past: Past, known: Collection[str]) -> Past:
    """Returns the past without models of which no size is known, and with a note that names them.

    An imported log may speak of models that were never here; the rest can be replayed all the same.

    Args:
        past: as kept.
        known: the normalised names that the host has.
    """
    strange = {
        name
        for name in set(past.trace.models)
        if name not in past.costs and normalise_name(name) not in known
    }
    if not strange:
        return past
    trace = past.trace.only(set(past.trace.models) - strange)
    note = (
        f"left out: {len(past.trace) - len(trace)} of {len(past.trace)} uses, of models that are "
        f"not installed and whose size is not known: {', '.join(sorted(strange))}"
    )
    return replace(past, trace=trace, notes=(*past.notes, note))


def names_of(demand: Demand) -> dict[str, str]:
    """Returns the name of each key; a key of which no name is known stands for itself."""
    keys = [row.key for rows in (demand.uses, demand.loads, demand.departures) for row in rows]
    return {key: demand.models[key].name if key in demand.models else key for key in keys}


def _costs(
    demand: Demand, names: Mapping[str, str], host: ReplayHost | None
) -> dict[str, ModelCost]:
    times = load_times(demand)
    costs: dict[str, ModelCost] = {}
    for key, name in names.items():
        row = demand.models.get(key)
        here = host.costs.get(normalise_name(name)) if host else None
        count = (row.bytes if row else None) or (here.bytes if here else None)
        if not count:
            continue
        expected = times.expect(key, row.file_bytes if row else None)
        if expected is not None:
            seconds = expected.seconds
        elif here is not None:
            seconds = here.load_seconds
        else:
            seconds = NEUTRAL_START_SECONDS + count / NEUTRAL_BYTES_PER_SECOND
        costs[name] = ModelCost(id=name, bytes=count, load_seconds=max(seconds, 0.1))
    return costs
