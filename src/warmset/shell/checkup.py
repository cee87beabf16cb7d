"""What can be wrong between a configuration and the host it is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from warmset.core.model import Entry, Observation, find_entry, normalise_name
from warmset.core.ollama.context import default_context, effective_context
from warmset.core.ollama.generation import generation_of
from warmset.core.ollama.types import WeightsFile
from warmset.core.settings import Settings
from warmset.core.units import format_bytes
from warmset.shell.decide import decide


class Result(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check and its result."""

    result: Result
    subject: str
    detail: str


def check_host(seen: Observation, settings: Settings) -> tuple[Finding, ...]:
    """Returns every check, the good ones too."""
    return (
        _configuration(settings),
        _server(seen),
        *_models(seen, settings),
        *_gpus(seen, settings),
        *_context(seen, settings),
        _pins(seen, settings),
    )


def _configuration(settings: Settings) -> Finding:
    where = settings.path or "no file: defaults"
    return Finding(result=Result.OK, subject="configuration", detail=where)


def _server(seen: Observation) -> Finding:
    version = seen.version or "unknown"
    detail = f"Ollama {version} at {seen.server_url}, {len(seen.entries)} models"
    is_old = not generation_of(seen.version).has_automatic_flags
    if is_old:
        detail += "; before 0.30 its rules differ, and forecasts are less certain"
    return Finding(
        result=Result.WARN if is_old or seen.version is None else Result.OK,
        subject="server",
        detail=detail,
    )


def _models(seen: Observation, settings: Settings) -> Iterator[Finding]:
    for policy in settings.models.values():
        entry = find_entry(seen.entries, policy.name)
        if entry is None:
            yield Finding(
                result=Result.FAIL if policy.pin else Result.WARN,
                subject=f'model "{policy.name}"',
                detail="is not installed on this server"
                + (", so its pin cannot hold" if policy.pin else ""),
            )
            continue
        others = [
            name
            for name in entry.names
            if normalise_name(name) != normalise_name(policy.name)
            and normalise_name(name) in settings.models
        ]
        detail = f"shares its weights with {', '.join(others)}" if others else "installed"
        if not entry.facts:
            detail += f"; its metadata is not known: {entry.basis}"
        yield Finding(
            result=Result.WARN if others or not entry.facts else Result.OK,
            subject=f'model "{policy.name}"',
            detail=detail,
        )


def _gpus(seen: Observation, settings: Settings) -> Iterator[Finding]:
    for name in settings.budget.strangers(seen.devices):
        yield Finding(
            result=Result.WARN, subject=f'budget.gpu."{name}"', detail="names no GPU of this host"
        )
    for device in seen.devices:
        total = device.total_bytes.value
        if total is None or device.free_bytes.value is None:
            reason = device.free_bytes.reason or device.total_bytes.reason
            yield Finding(result=Result.WARN, subject=device.name, detail=reason)
            continue
        budget = settings.budget.budget_bytes(device.id, device.index, total, pci_id=device.pci_id)
        yield Finding(
            result=Result.OK if budget else Result.WARN,
            subject=f"{device.name} ({device.id})",
            detail=f"{format_bytes(budget)} of {format_bytes(total)} may be filled",
        )


def _context(seen: Observation, settings: Settings) -> Iterator[Finding]:
    """A context that differs from what loads get by themselves must be said by somebody."""
    for policy in settings.models.values():
        entry = find_entry(seen.entries, policy.name)
        if policy.context is None or policy.clients_send_context or entry is None:
            continue
        in_file = {entry.modelfile_num_ctx.get(name) for name in entry.names} - {None}
        if policy.context in in_file or policy.context == _unasked_context(seen, entry):
            continue
        yield Finding(
            result=Result.WARN,
            subject=f'model "{policy.name}"',
            detail=f"context = {policy.context} is planned for, but neither the Modelfile"
            " (PARAMETER num_ctx) nor OLLAMA_CONTEXT_LENGTH says so, and its clients are not"
            " said to send it (clients_send_context)",
        )


def _unasked_context(seen: Observation, entry: Entry) -> int | None:
    """Returns the context of a load that nobody says a word about, as far as it is known."""
    totals = [device.total_bytes.value for device in seen.devices]
    known = [total for total in totals if total is not None]
    context = seen.settings.context_length
    if context is None and seen.is_local and len(known) == len(totals):
        context = default_context(known, seen.settings.gpu_overhead_bytes or 0)
    file = WeightsFile.of_entry(entry)
    if context is None or file is None:
        return context
    return effective_context(context, file.trained_context)


def _pins(seen: Observation, settings: Settings) -> Finding:
    plan = decide(seen, settings).plan
    pinned = [member.name for member in plan.members if member.pin]
    if plan.conflict is not None:
        return Finding(result=Result.FAIL, subject="pins", detail=plan.conflict.reason)
    if not pinned:
        return Finding(result=Result.OK, subject="pins", detail="none")
    return Finding(result=Result.OK, subject="pins", detail=f"{', '.join(pinned)} fit together")
