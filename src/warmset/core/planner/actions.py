"""The ordered actions from what is resident now to the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.core.model import ModelKey
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.result import Action, ActionKind
from warmset.core.planner.standing import Route
from warmset.core.units import format_bytes


def list_actions(
    host: HostCapacity,
    route: Route,
    candidates: Sequence[Candidate],
    reasons: Mapping[ModelKey, str],
) -> tuple[Action, ...]:
    """Returns what to do, in order: keep, make room, load.

    Unloads come lowest rank first. A busy model is waited for, never cut off.

    Args:
        host: for the names of GPUs.
        route: to the warm set.
        candidates: all models.
        reasons: why each model outside the warm set is outside.
    """
    wanted = {loaded.candidate.key for loaded in route.world}
    reloads = {c.key for c in route.reloads}
    ranked = sorted((c for c in candidates if c.is_resident), key=lambda c: c.rank)
    keeps = [
        _action(ActionKind.KEEP, c, _where(host, route, c))
        for c in reversed(ranked)
        if c.key in wanted and c.key not in reloads
    ]
    leaves = [
        _leave(c, reasons.get(c.key) or "to be loaded again where Ollama's order puts it")
        for c in ranked
        if c.key not in wanted or c.key in reloads
    ]
    loads = [_action(ActionKind.PRELOAD, c, _where(host, route, c)) for c in route.loads]
    return (*keeps, *leaves, *loads)


def _leave(candidate: Candidate, reason: str) -> Action:
    if candidate.is_busy:
        return _action(ActionKind.WAIT, candidate, f"busy; unload when idle: {reason}")
    return _action(ActionKind.UNLOAD, candidate, reason)


def _where(host: HostCapacity, route: Route, candidate: Candidate) -> str:
    loaded = next(m for m in route.world if m.candidate.key == candidate.key)
    names = {gpu.id: gpu.label for gpu in host.gpus}
    if not loaded.upper:
        return f"in RAM, {format_bytes(loaded.ram_bytes)}"
    return "on " + ", ".join(
        f"{names[device]}, up to {format_bytes(count)}" for device, count in loaded.upper.items()
    )


def _action(kind: ActionKind, candidate: Candidate, reason: str) -> Action:
    return Action(kind=kind, key=candidate.key, name=candidate.name, reason=reason)
