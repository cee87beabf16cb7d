"""Which runner process serves which model, and what it is doing.

`/api/ps` lists a GGUF model only once it is loaded, and a process table knows nothing of names.
Joined, they tell loading, resident, stopping and orphaned runners apart.

Source: ollama-behaviour.md sections 2.6, 3.7 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from warmset.core.host.commands import Role
from warmset.core.host.processes import ProcessFacts, ProcessView
from warmset.core.model import ModelKey, Resident, normalise_name

RunnerIdentity = tuple[int, float]


class Phase(StrEnum):
    """What a runner is doing."""

    LOADING = "loading"
    RESIDENT = "resident"
    STOPPING = "stopping"
    ORPHAN = "orphan"  # its server is gone; nobody will ever unload it
    OTHER = "other"  # of another Ollama server on this machine
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A runner process with the model it serves."""

    process: ProcessFacts
    phase: Phase
    reason: str
    key: ModelKey | None = None
    resident: Resident | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to the server that warmset talks to."""
        return self.phase not in {Phase.ORPHAN, Phase.OTHER}


def judge_runners(
    view: ProcessView,
    residents: tuple[Resident, ...] | None,
    *,
    server_pid: int | None,
    seen_resident: frozenset[RunnerIdentity] = frozenset(),
) -> tuple[Runner, ...]:
    """Returns every runner with its phase, by PID.

    Args:
        view: The processes.
        residents: The rows of `/api/ps`, `None` if it did not answer.
        server_pid: The server that warmset talks to, `None` if its process is not known.
        seen_resident: Runners that an earlier look found resident: one of them that is no longer
            listed is stopping, where a new one would be loading.
    """
    found = view.of_role(Role.RUNNER, Role.MLX_RUNNER)
    runners = [p for p in found if not p.is_zombie or _is_servers_child(view, p, server_pid)]
    strangers = {p.pid: why for p in runners if (why := _stranger(view, p, server_pid))}
    own = [p for p in runners if p.pid not in strangers]
    listed = _match(own, residents or (), seen_resident)
    judged: list[Runner] = []
    for process in runners:
        resident = listed.get(process.pid)
        key = resident.key if resident and resident.key else process.command.key
        if process.pid in strangers:
            phase, reason = strangers[process.pid]
        else:
            phase, reason = _phase(process, resident, residents, seen_resident)
        judged.append(
            Runner(process=process, phase=phase, reason=reason, key=key, resident=resident)
        )
    return tuple(judged)


def find_unseen(
    residents: Iterable[Resident] | None, runners: Iterable[Runner]
) -> tuple[Resident, ...]:
    """Returns the residents for which no process was found: hidden, or just killed."""
    found = [runner.resident for runner in runners]
    return tuple(resident for resident in residents or () if resident not in found)


def _is_servers_child(view: ProcessView, process: ProcessFacts, server_pid: int | None) -> bool:
    """Tells a dead runner that its server has yet to notice from one that nobody ever will."""
    parent = view.processes.get(process.parent_pid or -1)
    is_server = parent is not None and parent.command.role is Role.SERVER
    return is_server or (server_pid is not None and process.parent_pid == server_pid)


def _stranger(
    view: ProcessView, process: ProcessFacts, server_pid: int | None
) -> tuple[Phase, str] | None:
    """Returns why a runner is not of our server, `None` if it is or may be."""
    if process.parent_pid == server_pid and server_pid is not None:
        return None
    parent = view.processes.get(process.parent_pid or -1)
    if parent is not None and parent.command.role is Role.SERVER:
        if server_pid is None:
            return None
        return Phase.OTHER, f"its server is PID {parent.pid}"
    if server_pid is None and not view.of_role(Role.SERVER):
        return None  # no server is visible at all: nothing can be said of its children
    return Phase.ORPHAN, "its parent is no Ollama server"


def _phase(
    process: ProcessFacts,
    resident: Resident | None,
    residents: tuple[Resident, ...] | None,
    seen_resident: frozenset[RunnerIdentity],
) -> tuple[Phase, str]:
    if process.is_zombie:
        return Phase.STOPPING, "the process has ended and is not reaped yet"
    if residents is None:
        return Phase.UNKNOWN, "/api/ps did not answer"
    if resident is not None:
        return Phase.RESIDENT, "listed by /api/ps"
    if process.identity in seen_resident:
        return Phase.STOPPING, "was listed by /api/ps and no longer is"
    return Phase.LOADING, "runs and is not listed by /api/ps yet"


def _match(
    runners: list[ProcessFacts],
    residents: tuple[Resident, ...],
    seen_resident: frozenset[RunnerIdentity],
) -> dict[int, Resident]:
    """Pairs each resident with at most one live process, surest pairs first.

    Of two runners of one blob the one that was resident before is it, else the older: a reload
    kills the old runner before it starts the new one. A row without a key (its tag was deleted or
    pulled anew) goes to the only runner left over.
    """
    free = sorted(
        (p for p in runners if not p.is_zombie),
        key=lambda p: (p.identity not in seen_resident, p.started_at, p.pid),
    )
    pairs: dict[int, Resident] = {}
    rest: list[Resident] = []
    for resident in residents:
        process = next((p for p in free if p.pid not in pairs and _fits(p, resident)), None)
        if process is None:
            rest.append(resident)
        else:
            pairs[process.pid] = resident
    unmatched = [p for p in free if p.pid not in pairs]
    nameless = [resident for resident in rest if resident.key is None]
    if len(unmatched) == len(nameless) == 1:
        pairs[unmatched[0].pid] = nameless[0]
    return pairs


def _fits(process: ProcessFacts, resident: Resident) -> bool:
    command = process.command
    if command.key is not None:
        return command.key == resident.key
    if command.model_name is None:
        return False
    return normalise_name(command.model_name) == normalise_name(resident.name)
