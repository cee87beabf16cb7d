"""The whole picture of a host's memory: one look joined with the look before it.

Rule: everything that needs memory of the past (which runner was resident, whose bytes are still
on their way back) is carried in the picture itself, so a picture can be rebuilt from two looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from warmset.core.host.attribution import Attribution, Owner, Share, attribute, find_departures
from warmset.core.host.draining import (
    OS_MANAGED_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    Leaving,
    keep_leaving,
)
from warmset.core.host.evidence import Look, Use, find_use
from warmset.core.host.processes import ProcessView
from warmset.core.host.readings import GpuReading, GpuSurvey, MemoryKind, Trouble
from warmset.core.host.runners import (
    Phase,
    Runner,
    RunnerIdentity,
    find_unseen,
    judge_runners,
)
from warmset.core.model import DeviceId, ModelKey, Resident

Held = tuple[tuple[DeviceId, Share], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Who holds what on a host, and who is at work.

    Attributes:
        unseen: Residents for which no process is visible.
        leaving: Runners whose bytes are still waited for.
        seen_resident: Living runners that were resident at some look.
        runner_of: Name and manifest of a row of `/api/ps` -> the process that serves it.
        held_by_pid: Process -> what it holds of a model, and on which device.
        held_by_key: Model -> the same; all of them, whether their process is known or not.
    """

    look: Look
    runners: tuple[Runner, ...]
    unseen: tuple[Resident, ...]
    attributions: Mapping[DeviceId, Attribution]
    use: tuple[Use, ...]
    troubles: tuple[Trouble, ...]
    leaving: tuple[Leaving, ...] = ()
    seen_resident: frozenset[RunnerIdentity] = field(default_factory=frozenset)
    runner_of: Mapping[tuple[str, str], Runner] = field(init=False, repr=False, compare=False)
    held_by_pid: Mapping[int, Held] = field(init=False, repr=False, compare=False)
    held_by_key: Mapping[ModelKey, Held] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Makes the indexes, once: each look asks them for every model, several times."""
        runners: dict[tuple[str, str], Runner] = {}
        for runner in self.runners:
            if runner.resident is not None:
                row = runner.resident
                runners.setdefault((row.name, row.manifest_digest), runner)
        by_pid: dict[int, Held] = {}
        by_key: dict[ModelKey, Held] = {}
        for device, attribution in self.attributions.items():
            for share in attribution.shares:
                if share.owner is not Owner.MODEL:
                    continue
                if share.pid is not None:
                    by_pid[share.pid] = (*by_pid.get(share.pid, ()), (device, share))
                if share.key is not None:
                    by_key[share.key] = (*by_key.get(share.key, ()), (device, share))
        object.__setattr__(self, "runner_of", runners)
        object.__setattr__(self, "held_by_pid", by_pid)
        object.__setattr__(self, "held_by_key", by_key)

    def model_bytes(self, key: ModelKey) -> Mapping[DeviceId, int | None]:
        """Returns what a model holds on each device, `None` where that is not counted."""
        found: dict[DeviceId, int | None] = {}
        for device, attribution in self.attributions.items():
            parts = [s for s in attribution.shares if s.owner is Owner.MODEL and s.key == key]
            if parts:
                counts = [part.used_bytes for part in parts]
                known = [count for count in counts if count is not None]
                found[device] = sum(known) if len(known) == len(counts) else None
        return found


def draw_picture(
    surveys: Iterable[GpuSurvey],
    view: ProcessView,
    residents: tuple[Resident, ...] | None,
    *,
    at: float,
    server_pid: int | None = None,
    before: Picture | None = None,
    renewed: frozenset[ModelKey] = frozenset(),
    leaving: tuple[Leaving, ...] = (),
    is_same_machine: bool = True,
) -> Picture:
    """Returns the picture of this look.

    Args:
        surveys: What each driver said; empty for a server on another machine.
        view: The process table; an empty one for a server on another machine.
        residents: The rows of `/api/ps`, `None` if it did not answer.
        at: Unix seconds of this look.
        server_pid: The server's process, if known.
        before: The picture before this one.
        renewed: Models that warmset itself touched in between.
        leaving: Runners known to have gone besides those that two looks tell.
        is_same_machine: False where the surveyed machine may not be the server's: then what the
            server reports of its models is not looked for on these GPUs.
    """
    surveys = tuple(surveys)
    readings = tuple(reading for survey in surveys for reading in survey.devices)
    seen = before.seen_resident if before else frozenset()
    runners = judge_runners(view, residents, server_pid=server_pid, seen_resident=seen)
    reported = _reported(residents) if len(readings) == 1 and is_same_machine else {}
    attributions: dict[DeviceId, Attribution] = {}
    departed: tuple[Leaving, ...] = ()
    for reading in readings:
        plain = attribute(reading, view, runners, reported_bytes=reported)
        found = _find_leaving(reading, plain, view, before=before, at=at)
        waited = found + tuple(one for one in leaving if one.device == reading.device.id)
        attribution = (
            attribute(reading, view, runners, leaving=waited, reported_bytes=reported)
            if waited
            else plain
        )
        attributions[reading.device.id] = attribution
        departed += found
    look = Look(
        at=at,
        residents=residents,
        runners=runners,
        gpu_seconds=_gpu_seconds(readings),
    )
    return Picture(
        look=look,
        runners=runners,
        unseen=find_unseen(residents, runners),
        attributions=attributions,
        use=find_use(before.look if before else None, look, renewed=renewed),
        troubles=tuple(t for survey in surveys for t in survey.troubles) + view.troubles,
        leaving=departed,
        seen_resident=_still_seen(seen, runners),
    )


def _find_leaving(
    reading: GpuReading,
    plain: Attribution,
    view: ProcessView,
    *,
    before: Picture | None,
    at: float,
) -> tuple[Leaving, ...]:
    """Returns the runners whose bytes on this device are on their way back."""
    earlier = before.attributions.get(plain.device) if before else None
    if before is None or earlier is None:
        return ()
    is_slow = reading.memory_kind is MemoryKind.OS_MANAGED
    return keep_leaving(
        before.leaving + find_departures(earlier, view, now=at),
        plain.device,
        None if plain.taken.value is None else plain.sum_bytes(Owner.UNATTRIBUTED),
        now=at,
        patience_seconds=OS_MANAGED_PATIENCE_SECONDS if is_slow else PATIENCE_SECONDS,
    )


def _reported(residents: tuple[Resident, ...] | None) -> dict[ModelKey, int]:
    """Returns what Ollama says its models hold on the GPU, of which there must be one only."""
    return {
        resident.key: resident.size_vram_bytes
        for resident in residents or ()
        if resident.key is not None and resident.size_vram_bytes is not None
    }


def _gpu_seconds(readings: Iterable[GpuReading]) -> dict[int, float]:
    found: dict[int, float] = {}
    for reading in readings:
        for process in reading.processes.value or ():
            if process.busy_seconds is not None:
                found[process.pid] = found.get(process.pid, 0.0) + process.busy_seconds
    return found


def _still_seen(
    seen: frozenset[RunnerIdentity], runners: tuple[Runner, ...]
) -> frozenset[RunnerIdentity]:
    living = {runner.process.identity for runner in runners}
    resident = {r.process.identity for r in runners if r.phase is Phase.RESIDENT}
    return frozenset((seen & living) | resident)
