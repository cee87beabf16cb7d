"""Resident models, runner processes and signs of use in tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from warmset.cli.render import Column, Row
from warmset.cli.status_gpus import show_bytes
from warmset.core.host.evidence import Strength, Use
from warmset.core.host.observed import observe_model, runner_of
from warmset.core.host.runners import Runner
from warmset.core.model import Resident
from warmset.core.settings import Settings
from warmset.core.units import format_bytes, format_seconds
from warmset.shell.footprints import entry_of, footprint_of, name_runner
from warmset.shell.observe import Seen

MODEL_COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="digest", title="ID"),
    Column(key="size", title="SIZE", right=True),
    Column(key="size_gb", title="SIZE GB", right=True, wide=True),
    Column(key="processor", title="PROCESSOR"),
    Column(key="context", title="CONTEXT", right=True),
    Column(key="until", title="UNTIL"),
    Column(key="footprint", title="FOOTPRINT", right=True),
    Column(key="basis", title="BASIS", wide=True),
    Column(key="observed", title="OBSERVED", right=True),
    Column(key="use", title="USE"),
    Column(key="priority", title="PRIORITY", right=True),
    Column(key="pin", title="PIN"),
    Column(key="pid", title="PID", right=True, wide=True),
    Column(key="names", title="ALSO", wide=True),
)
RUNNER_COLUMNS = (
    Column(key="pid", title="RUNNER"),
    Column(key="name", title="MODEL"),
    Column(key="phase", title="PHASE"),
    Column(key="holds", title="HOLDS", right=True),
    Column(key="reason", title="WHY"),
)
USE_COLUMNS = (
    Column(key="name", title="USE OF"),
    Column(key="sign", title="SIGN"),
    Column(key="strength", title="STRENGTH"),
    Column(key="means", title="MEANS"),
    Column(key="reason", title="WHY"),
)


def resident_row(resident: Resident, seen: Seen, settings: Settings) -> Row:
    """Returns the cells of one resident model."""
    entry = entry_of(resident, seen)
    policy = settings.policy_for(entry.names if entry else (resident.name,))
    size = resident.size_bytes
    observed = observe_model(seen.picture, resident)
    footprint = footprint_of(resident, entry, seen.observation, seen.picture)
    runner = runner_of(seen.picture, resident)
    return {
        "name": resident.name,
        "digest": resident.manifest_digest[:12],
        "size": format_bytes(size),
        "size_gb": None if size is None else f"{size / 1e9:.1f} GB",
        "processor": processor(resident),
        "context": resident.context,
        "until": until(resident.expires_at, seen.observation.at),
        "footprint": format_bytes(None if footprint is None else footprint.vram_bytes),
        "basis": "" if footprint is None else footprint.basis,
        "observed": "" if observed.value is None else show_bytes(observed),
        "use": _use([use for use in seen.picture.use if use.key == resident.key]),
        "priority": policy.priority,
        "pin": "yes" if policy.pin else "",
        "pid": runner.process.pid if runner else None,
        "names": ", ".join(n for n in entry.names if n != resident.name) if entry else "",
    }


def _use(signs: Sequence[Use]) -> str:
    """Returns the best that can be said of a model's use; silence is no proof of idleness."""
    order = list(Strength)
    best = min(signs, key=lambda use: (not use.is_busy, order.index(use.strength)), default=None)
    if best is None:
        return ""
    return f"{'busy' if best.is_busy else 'used'} ({best.strength}: {best.sign})"


def runner_row(runner: Runner, seen: Seen) -> Row:
    """Returns the cells of one runner process."""
    shares = [s for a in seen.picture.attributions.values() for s in a.shares]
    held = [s.used_bytes for s in shares if s.pid == runner.process.pid]
    known = [count for count in held if count is not None]
    return {
        "pid": f"PID {runner.process.pid}",
        "name": name_runner(runner, seen),
        "phase": runner.phase.value,
        "holds": format_bytes(sum(known)) if known else None,
        "reason": runner.reason,
    }


def use_row(use: Use, seen: Seen) -> Row:
    """Returns the cells of one sign of use."""
    name = next((e.name for e in seen.observation.entries if e.key == use.key), use.key)
    return {
        "name": name,
        "sign": use.sign.value,
        "strength": use.strength.value,
        "means": "busy now" if use.is_busy else "used since the last look",
        "reason": use.reason,
    }


def processor(resident: Resident) -> str:
    """Returns where the model sits, in the words of `ollama ps`.

    Source: Ollama v0.33 `cmd/cmd.go: ListRunningHandler`.
    """
    size, vram = resident.size_bytes, resident.size_vram_bytes
    if not size or vram is None:
        return "unknown"
    if vram == 0:
        return "100% CPU"
    if vram >= size:
        return "100% GPU"
    cpu = round((size - vram) / size * 100)
    return f"{cpu}%/{100 - cpu}% CPU/GPU"


def until(expires_at: float | None, now: float) -> str:
    """Returns when the keep-alive ends, as `ollama ps` says it; a past end means in use."""
    if expires_at is None:
        return "unknown"
    if math.isinf(expires_at):
        return "forever"
    left = expires_at - now
    return format_seconds(left) if left > 0 else "in use or stopping"
