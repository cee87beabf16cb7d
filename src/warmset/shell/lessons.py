"""The loads kept of one host: read at every look, added to by whoever may write.

Rule: they make estimates better and never stop a command. What cannot be read or kept is a note.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import warmset
from warmset.core.host.survey import HostSurvey
from warmset.core.loads import MAX_LOADS, Learnt, ObservedLoad
from warmset.core.units import DAY, HOUR
from warmset.errors import ConfigError, TraceError

if TYPE_CHECKING:
    from warmset.adapters.journal import Demand
    from warmset.adapters.observations import Observations


FILE_NAME: Final = "observations.sqlite3"

REFRESH_SECONDS: Final = HOUR
"""Between two readings of the demand. Our choice: a rate over days moves little in an hour."""

MAX_RUNNERS: Final = 1000
"""So many processes are remembered as told of. Our choice: far more than a host has at a time."""

GAP_USES: Final = 50_000
"""The newest uses of which gaps are counted: a second of work. What a law remembers is fewer."""


class Lessons:
    """What one host has taught, in a file that several commands may read and write.

    Args:
        path: the file, which need not exist; `None` where there is none to be had.
        trouble: why there is none.
        weighs_demand: whether what is learnt includes the demand, which is read from a store of
            weeks; who only shows the loads can do without.

    Attributes:
        trouble: why what is learnt will not be there next time; empty if it will.
    """

    def __init__(self, path: Path | None, trouble: str = "", *, weighs_demand: bool = True) -> None:
        self.trouble = trouble
        self._path = path
        self._weighs_demand = weighs_demand
        self._store: Observations | None = None
        self._demand: Learnt | None = None
        self._demand_at = 0.0
        self._counts_gaps = False
        self._read: tuple[object, tuple[ObservedLoad, ...]] = (None, ())
        self._kept: dict[str, int] = {}  # runner -> bytes that were kept of it

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know of this memory."""
        return (self.trouble,) if self.trouble else ()

    def learnt(self, devices: Collection[str], epoch: str, *, counts_gaps: bool = False) -> Learnt:
        """Returns what counts for a host with these GPUs; loads of GPUs that left do not.

        Args:
            devices: ids of the GPUs that are there.
            epoch: of the loads that are to be predicted.
            counts_gaps: whether anything is decided by the gaps between uses.
        """
        loads = tuple(load for load in self._loads() if set(load.key.devices) <= set(devices))
        demand = self._demand_learnt(counts_gaps=counts_gaps)
        return replace(demand, loads=loads[-MAX_LOADS:], epoch=epoch)

    def _demand_learnt(self, *, counts_gaps: bool) -> Learnt:
        """Returns what the demand of this host tells, read anew now and then.

        Not at every look: rates change slowly, and each change makes the planner think again.
        """
        if self._path is None or not self._weighs_demand:
            return Learnt()
        is_old = time.monotonic() - self._demand_at > REFRESH_SECONDS
        if self._demand is None or is_old or self._counts_gaps != counts_gaps:
            self._demand_at, self._counts_gaps = time.monotonic(), counts_gaps
            self._demand = learn_demand(self._path.parent, counts_gaps=counts_gaps)
        return self._demand

    def keep(self, loads: Iterable[ObservedLoad]) -> int:
        """Keeps what is new among loads, and returns how many those are."""
        found = tuple(loads)
        if self._path is None or not found:
            return 0
        try:
            store = self._open(self._path)
        except ConfigError as error:
            self.trouble = error.message
            return 0
        count = sum(store.add(load) for load in found)
        if len(self._kept) > MAX_RUNNERS:
            self._kept.clear()
        for load in found:
            if load.runner:
                self._kept[load.runner] = sum(load.driver_bytes)
        self.trouble = store.trouble
        return count

    def has(self, runner: str, driver_bytes: int) -> bool:
        """Returns whether a process that holds so much has taught already what it can."""
        return driver_bytes <= self._kept.get(runner, -1)

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self, path: Path) -> Observations:
        if self._store is None:
            from warmset.adapters.journal import make_folder, open_state
            from warmset.adapters.observations import Observations

            make_folder(path.parent)
            with suppress(OSError):  # the store itself says what is wrong with its file
                os.close(open_state(path))
            self._store = Observations(path)
        return self._store

    def _loads(self) -> tuple[ObservedLoad, ...]:
        """Reads the file if it is not as it was; a store that fell back to memory is asked."""
        if self._store is not None and self._store.trouble:
            return self._store.loads()
        stamp = _stamp(self._path)
        if stamp != self._read[0]:
            loads: tuple[ObservedLoad, ...] = ()
            if self._path is not None and any(stamp):
                from warmset.adapters.observations import read_loads

                loads = read_loads(self._path)
            self._read = (stamp, loads)
        return self._read[1]


def learn_demand(folder: Path, *, counts_gaps: bool = False) -> Learnt:
    """Returns how often each model is asked for here, and what its loads take.

    Args:
        folder: the host's state folder.
        counts_gaps: also the gaps between its uses, from the newest `GAP_USES`.
    """
    if not os.access(folder / "demand.sqlite3", os.R_OK):
        return Learnt()  # none yet, or of a service whose folder this user may not search
    from warmset.adapters.journal import read_demand

    try:
        demand = read_demand(folder)
    except TraceError:
        return Learnt()  # the verbs about demand say what is wrong with it
    return learn_from(demand, counts_gaps=counts_gaps)


def learn_from(demand: Demand, *, counts_gaps: bool = False) -> Learnt:
    """Returns the same of a demand that was read."""
    from warmset.core.demand.measured import count_gaps
    from warmset.shell.load_history import load_times

    times = load_times(demand)
    uses = demand.uses
    days = (uses[-1].at - uses[0].at) / DAY if uses else 0.0
    counts: dict[str, int] = {}
    for use in uses if days >= 1 else ():
        counts[use.key] = counts.get(use.key, 0) + 1
    return Learnt(
        requests_per_day={key: count / days for key, count in sorted(counts.items())},
        load_seconds=dict(sorted(times.measured().items())),
        load_bytes_per_second=times.bytes_per_second("cold"),
        gaps=count_gaps((u.at, u.key) for u in uses[-GAP_USES:]) if counts_gaps else {},
    )


def engine_of(version: str | None) -> str:
    """Returns the engine of a server as estimates take it."""
    return f"ollama-{version}" if version else "ollama"


def epoch_of(survey: HostSurvey, version: str | None, *, engine: str = "") -> str:
    """Returns the combination that loads are learnt for: engine, drivers, and this estimator.

    Args:
        survey: with the drivers.
        version: of the server.
        engine: in place of the server's own.
    """
    drivers = sorted({f"{s.source} {s.driver}" for s in survey.gpus if s.driver})
    return "; ".join((engine or engine_of(version), *drivers, f"warmset {warmset.__version__}"))


def lessons_of(environ: Mapping[str, str], url: str, *, weighs_demand: bool = True) -> Lessons:
    """Returns the lessons of a host; nothing is read or made yet.

    Args:
        environ: names the state folder.
        url: the server's address.
        weighs_demand: see `Lessons`.
    """
    from warmset.adapters.journal import state_folder

    try:
        return Lessons(state_folder(environ, url) / FILE_NAME, weighs_demand=weighs_demand)
    except ConfigError as error:
        return Lessons(None, f"what loads teach is not kept: {error.message}")


def _stamp(path: Path | None) -> tuple[tuple[int, int] | None, ...]:
    """Tells whether a database changed; its newest rows may be in the file beside it."""
    if path is None:
        return ()
    return tuple(_stat(each) for each in (path, path.with_name(f"{path.name}-wal")))


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
