"""What the rooms above the core expect of the world, as protocols.

Adapters implement these against real things, `core.twin` (through `shell.twinhost`) against a
pretended host; both pass the same contract suite in `tests/contract`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from warmset.core.model import Device, Entry, HostMemory, Resident


class Clock(Protocol):
    """Time. No other module reads it."""

    def now(self) -> float:
        """Returns wall-clock Unix seconds (UTC)."""
        ...

    def monotonic(self) -> float:
        """Returns seconds that never step back; only differences mean something."""
        ...


class GpuProbe(Protocol):
    """Reads the GPUs of the machine warmset runs on."""

    def read(self) -> Sequence[Device]:
        """Returns the devices; a reading that failed is `unknown` with its reason, not an error."""
        ...


class HostProbe(Protocol):
    """Reads the RAM of the machine warmset runs on."""

    def read(self) -> HostMemory:
        """Returns what the server process may use."""
        ...


class ModelServer(Protocol):
    """An Ollama server: what it has, what is resident, and the three levers.

    Raises:
        BackendError: from every method; a timeout is `BackendTimeout`.
    """

    @property
    def url(self) -> str:
        """The base URL, for messages."""
        ...

    def version(self) -> str:
        """Returns the version text."""
        ...

    def entries(self) -> tuple[Entry, ...]:
        """Returns the installed models, one entry per weights blob, cloud stubs left out."""
        ...

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        """Returns the rows of `/api/ps`, matched with `entries`."""
        ...

    def preload(self, entry: Entry, *, keep_alive: float, num_ctx: int | None = None) -> None:
        """Loads a model without a prompt; waits as long as the load takes.

        Units:
            `keep_alive` in seconds; `FOREVER` is sent as -1.
        """
        ...

    def ping(self, entry: Entry, resident: Resident, *, keep_alive: float) -> None:
        """Renews the keep-alive of a resident model in the form that does not reload it."""
        ...

    def unload(self, name: str) -> None:
        """Asks for an unload; returns before the memory is back."""
        ...
