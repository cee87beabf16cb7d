"""Whose bytes are on a GPU.

Rule: the driver's count of what is taken is the sum. Parts are what the driver, the process table
and `/api/ps` say; what they do not explain is `unattributed`, and what they say too much stands
in `excess_bytes`. Nothing is invented to make the sum come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from warmset.core.host.commands import Role
from warmset.core.host.draining import Leaving, draining_bytes
from warmset.core.host.processes import PidSpace, ProcessView
from warmset.core.host.readings import GpuProcess, GpuReading, MemoryKind
from warmset.core.host.runners import Phase, Runner
from warmset.core.model import DeviceId, ModelKey, Quality, Reading, unknown


class Owner(StrEnum):
    """Who holds bytes."""

    MODEL = "model"  # of this Ollama
    RUNNER = "other-runner"  # of another server, of none, or Ollama's own probes
    FOREIGN = "foreign"
    RESERVED = "reserved"
    DRAINING = "draining"  # freed by a runner that is gone, not back yet
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Bytes of one owner on one GPU; unknown bytes are `None`, not zero."""

    owner: Owner
    used_bytes: int | None
    quality: Quality
    name: str
    pid: int | None = None
    key: ModelKey | None = None
    phase: Phase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A GPU's taken bytes by owner.

    Attributes:
        is_listed: The driver listed its processes just now, by numbers that mean something here.

    Invariants:
        With `taken` known, the known shares less `excess_bytes` are exactly `taken`.
    """

    device: DeviceId
    taken: Reading[int]
    shares: tuple[Share, ...]
    excess_bytes: int = 0
    notes: tuple[str, ...] = ()
    is_listed: bool = False

    def sum_bytes(self, *owners: Owner) -> int:
        """Returns the known bytes of these owners (all of them if none is named)."""
        wanted = owners or tuple(Owner)
        return sum(s.used_bytes or 0 for s in self.shares if s.owner in wanted)


def attribute(
    reading: GpuReading,
    view: ProcessView,
    runners: tuple[Runner, ...],
    *,
    leaving: tuple[Leaving, ...] = (),
    reported_bytes: Mapping[ModelKey, int] | None = None,
) -> Attribution:
    """Returns who holds the taken bytes of one GPU.

    Args:
        reading: What the driver says of this GPU.
        view: The process table.
        runners: The judged runners.
        leaving: Runners that went recently on any device, see `draining`.
        reported_bytes: What Ollama says each model has on this GPU, used for models without a
            count by the driver. Give it on a host with one GPU only: Ollama tells no GPU.
    """
    device = reading.device
    taken = _taken(reading)
    rows = reading.processes.value or ()
    is_host = view.pid_space is PidSpace.HOST
    by_pid = {runner.process.pid: runner for runner in reversed(runners)}
    shares = [_share(row, view, by_pid, reading.processes.quality) for row in rows if is_host]
    notes = [] if is_host or not rows else [_host_pids(rows)]
    shares = _fill_models(shares, reported_bytes or {}, runners)
    reserved = reading.reserved_bytes
    if reserved.value is not None and reserved.value > 0:
        shares.append(
            Share(
                owner=Owner.RESERVED,
                used_bytes=reserved.value,
                quality=reserved.quality,
                name="driver",
            )
        )
    if reading.processes.value is None:
        notes.append(f"no process list: {reading.processes.reason}")
    is_listed = is_host and reading.processes.quality is Quality.EXACT
    if taken.value is None:
        return Attribution(
            device=device.id,
            taken=taken,
            shares=tuple(shares),
            notes=tuple(notes),
            is_listed=is_listed,
        )
    rest = taken.value - sum(share.used_bytes or 0 for share in shares)
    shares += _split_rest(rest, taken.quality, device.id, leaving, shares)
    if rest < 0:
        notes.append("the parts exceed what the driver counts as taken")
    return Attribution(
        device=device.id,
        taken=taken,
        shares=tuple(shares),
        excess_bytes=max(0, -rest),
        notes=tuple(notes),
        is_listed=is_listed,
    )


def find_departures(before: Attribution, view: ProcessView, *, now: float) -> tuple[Leaving, ...]:
    """Returns the runners that held bytes in an earlier look and whose processes are gone.

    Args:
        before: The earlier look at one device.
        view: The process table now.
        now: The caller's seconds, kept in each result.
    """
    return tuple(
        Leaving(
            device=before.device,
            pid=share.pid,
            name=share.name,
            used_bytes=share.used_bytes,
            unattributed_before_bytes=before.sum_bytes(Owner.UNATTRIBUTED),
            since=now,
        )
        for share in before.shares
        if share.owner in {Owner.MODEL, Owner.RUNNER}
        and share.pid is not None
        and share.used_bytes
        and _has_ended(view, share.pid)
    )


def _has_ended(view: ProcessView, pid: int) -> bool:
    """A dead process that nobody reaped yet has ended; one in a table we cannot read has not."""
    process = view.processes.get(pid)
    return process.is_zombie if process else view.is_readable


def _taken(reading: GpuReading) -> Reading[int]:
    """Returns what is not free: the driver's own difference, or the processes' sum in RAM."""
    total, free = reading.device.total_bytes, reading.device.free_bytes
    if reading.memory_kind is MemoryKind.UNIFIED:
        used = reading.used_bytes
        if used.value is not None and used.value < 0:
            return unknown(used.source, f"implausible: {used.value} bytes used")
        return used
    if total.value is None or free.value is None:
        return unknown(free.source, free.reason or total.reason)
    return Reading(
        value=max(0, total.value - free.value),
        source=free.source,
        quality=free.quality,
        age_seconds=free.age_seconds,
        reason=free.reason,
    )


def _share(
    row: GpuProcess, view: ProcessView, runners: Mapping[int, Runner], quality: Quality
) -> Share:
    process = view.processes.get(row.pid)
    runner = runners.get(row.pid)
    if runner is not None:
        name = runner.resident.name if runner.resident else _runner_name(runner)
        return Share(
            owner=Owner.MODEL if runner.is_ours else Owner.RUNNER,
            used_bytes=row.used_bytes,
            quality=quality,
            name=name,
            pid=row.pid,
            key=runner.key,
            phase=runner.phase,
        )
    owner, name = Owner.UNATTRIBUTED, f"PID {row.pid}, not visible here"
    if process is not None and process.command.role is Role.HIDDEN:
        name = f"{process.name}, arguments not readable"
    elif process is not None:
        is_ollama = process.command.role in {Role.PROBE, Role.SERVER}
        owner = Owner.RUNNER if is_ollama else Owner.FOREIGN
        name = f"{process.name} ({process.command.role})" if is_ollama else process.name
    return Share(owner=owner, used_bytes=row.used_bytes, quality=quality, name=name, pid=row.pid)


def _runner_name(runner: Runner) -> str:
    return runner.process.command.model_name or runner.key or runner.process.name


def _fill_models(
    shares: list[Share], reported_bytes: Mapping[ModelKey, int], runners: tuple[Runner, ...]
) -> list[Share]:
    """Fills in models that the driver does not count with what Ollama reports, an estimate."""
    known = {share.key for share in shares if share.used_bytes is not None}
    extra = {key: count for key, count in reported_bytes.items() if key not in known}
    names = {runner.key: runner.resident.name for runner in runners if runner.resident}
    kept = [share for share in shares if share.used_bytes is not None or share.key not in extra]
    pids = {share.key: share.pid for share in shares if share.key is not None}
    return kept + [
        Share(
            owner=Owner.MODEL,
            used_bytes=max(0, count),
            quality=Quality.ESTIMATE,
            name=names.get(key, key),
            pid=pids.get(key),
            key=key,
            phase=Phase.RESIDENT,
        )
        for key, count in extra.items()
    ]


def _split_rest(
    rest: int,
    quality: Quality,
    device: DeviceId,
    leaving: tuple[Leaving, ...],
    shares: list[Share],
) -> list[Share]:
    if rest <= 0:
        return []
    draining = draining_bytes(leaving, device, rest)
    uncounted = sum(share.used_bytes is None for share in shares)
    name = f"includes {uncounted} without a count" if uncounted else "nobody named by the driver"
    parts = [
        Share(
            owner=Owner.DRAINING,
            used_bytes=draining,
            quality=Quality.ESTIMATE,
            name=", ".join(one.name for one in leaving if one.device == device),
        ),
        Share(owner=Owner.UNATTRIBUTED, used_bytes=rest - draining, quality=quality, name=name),
    ]
    return [part for part in parts if part.used_bytes]


def _host_pids(rows: tuple[GpuProcess, ...]) -> str:
    """Names the driver's PIDs for what they are from in here: numbers of the host."""
    return ", ".join(f"host PID {row.pid}" for row in rows) + ": cannot be named from here"
