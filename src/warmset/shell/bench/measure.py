"""Cold and warm runs of one model, one after the other, and the host as it was before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from warmset.adapters.ollama.client import OllamaServer
from warmset.adapters.ollama.timing import TimedRequest
from warmset.core.model import FOREVER, Entry, Resident
from warmset.errors import NotConverged, WarmsetError
from warmset.ports import Clock
from warmset.shell.bench.spread import Spread

GONE_WITHIN_SECONDS: Final = 30.0
"""Source: ollama-behaviour 3.7: unloads are serial, up to 5 s each."""

SETTLE_SECONDS: Final = 1.0
"""For the memory of an unloaded model to come back before the next load. Source: as above, 0.5 to
5 s; Ollama itself waits for the rest."""

POLL_SECONDS: Final = 0.2
SHORTEST_KEEP_ALIVE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What came from the registry. Units: bytes, seconds."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model's runs, in the order in which they were made.

    Attributes:
        download: `None`: nothing was downloaded, the model was here.
        held_bytes: while it was resident, as the server tells; `None`: it did not.
        is_split: part of it lay in RAM beside a GPU.
    """

    name: str
    cold: tuple[TimedRequest, ...]
    warm: tuple[TimedRequest, ...]
    download: Download | None = None
    held_bytes: int | None = None
    is_split: bool = False

    @property
    def penalty_seconds(self) -> float:
        """What a cold start adds until the first token, or the end of an embedding; median."""
        cold, warm = (Spread.of([_until_use(r) for r in runs]) for runs in (self.cold, self.warm))
        assert cold is not None
        assert warm is not None
        return max(0.0, cold.median - warm.median)


def _until_use(run: TimedRequest) -> float:
    return run.total_seconds if run.first_seconds is None else run.first_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many runs of each kind."""

    cold: int
    warm: int


@dataclass(slots=True)
class Stopwatch:
    """Runs on one server.

    Args:
        server: over HTTP.
        clock: the host's.
        tell: hears of each run.
        pause: lets time pass.
    """

    server: OllamaServer
    clock: Clock
    tell: Callable[[str], None]
    pause: Callable[[float], None]

    def measure(self, entry: Entry, plan: Plan, download: Download | None) -> Measured:
        """Returns the runs of a model; afterwards it is resident only if it was before.

        Raises:
            BackendError: a run failed.
            NotConverged: the model does not leave, so that no run can be cold.
        """
        before = self._row(entry)
        cold: list[TimedRequest] = []
        try:
            for number in range(plan.cold):
                self._unload(entry)
                cold.append(self._ask(entry))
                self._say(entry, "cold", number, plan.cold, cold[-1])
            row = self._row(entry)
            warm = []
            for number in range(plan.warm):
                warm.append(self._ask(entry))
                self._say(entry, "warm", number, plan.warm, warm[-1])
        finally:
            self._restore(entry, before)
        size, vram = (row.size_bytes, row.size_vram_bytes) if row else (None, None)
        return Measured(
            name=entry.name,
            cold=tuple(cold),
            warm=tuple(warm),
            download=download,
            held_bytes=size,
            is_split=bool(size and vram) and size != vram,
        )

    def _ask(self, entry: Entry, keep_alive: float | None = None) -> TimedRequest:
        return self.server.time_request(entry, self.clock.monotonic, keep_alive=keep_alive)

    def _say(self, entry: Entry, kind: str, number: int, count: int, run: TimedRequest) -> None:
        self.tell(f"{entry.name}: {kind} run {number + 1} of {count}: {_until_use(run):.2f} s")

    def _row(self, entry: Entry) -> Resident | None:
        rows = self.server.residents((entry,))
        return next((row for row in rows if row.key == entry.key), None)

    def _unload(self, entry: Entry) -> None:
        if self._row(entry) is None:
            return
        self.server.unload(entry.name)
        deadline = self.clock.monotonic() + GONE_WITHIN_SECONDS
        while self._row(entry) is not None:
            if self.clock.monotonic() >= deadline:
                raise NotConverged(
                    f"{entry.name} was told to go and is still resident",
                    hint="somebody uses it: Ollama lets it go after its last request",
                )
            self.pause(POLL_SECONDS)
        self.pause(SETTLE_SECONDS)

    def _restore(self, entry: Entry, before: Resident | None) -> None:
        """Makes the model as resident as it was; what cannot be restored is said."""
        try:
            if before is None:
                self.server.unload(entry.name)
                return
            left = FOREVER
            if before.expires_at is not None and before.expires_at != FOREVER:
                left = max(before.expires_at - self.clock.now(), SHORTEST_KEEP_ALIVE_SECONDS)
            self._ask(entry, keep_alive=left)
        except WarmsetError as error:
            self.tell(f"{entry.name} could not be left as it was: {error.message}")
