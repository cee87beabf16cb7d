"""The executor's words: commands to the shell, and the events that come back.

The shell carries out a command in its own time and reports `Started`, then exactly one of `Done`,
`Failed`, `TimedOut` and `Aborted` with the same number. It decides nothing. The executor never
has two commands open at once (but for `Cancel`, which ends the one that is).
"""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.control.actions import Preload, Renew, Unload
from warmset.core.model import ModelKey, Resident


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResidents:
    """Read `/api/ps` now; `Done.residents` is the answer."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPing:
    """Renew the lease of `resident`, a row read less than a second ago."""

    number: int
    key: ModelKey
    name: str
    resident: Resident
    keep_alive: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPreload:
    """Load a model, waiting as long as it takes: to hang up aborts the load."""

    number: int
    key: ModelKey
    name: str
    keep_alive: float
    num_ctx: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendUnload:
    """Unload a model; the answer comes before its memory is free."""

    number: int
    key: ModelKey
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Hang up on the command with this number; it then reports `Aborted`."""

    number: int


Command = ReadResidents | SendPing | SendPreload | SendUnload | Cancel


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The command was sent. Units: `at` in `step`'s seconds, as in all events."""

    number: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The server answered with success.

    Attributes:
        residents: for `ReadResidents` only.
        asked_at: when the question was sent, for the age of the answer.
        wall_at: the wall clock's Unix seconds at the answer, which `expires_at` is compared with.
    """

    number: int
    at: float
    asked_at: float | None = None
    wall_at: float | None = None
    residents: tuple[Resident, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The server refused, failed, or could not be reached.

    Attributes:
        error: the text, as Ollama or the adapter wrote it.
        status: of HTTP; `None`: there was no answer.
        is_final: another try cannot help (no such model, not a model for this).
    """

    number: int
    at: float
    error: str
    status: int | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """No answer in time: what became of it is not known."""

    number: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """The shell hung up, because of `Cancel` or its own end."""

    number: int
    at: float


Event = Started | Done | Failed | TimedOut | Aborted
Order = Renew | Preload | Unload
"""An action that becomes commands."""
