"""Why a model is left out, in the numbers that decided it."""

from __future__ import annotations

from collections.abc import Sequence

from warmset.core.planner.admission import Denied, try_load
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.worlds import World, headroom, ram_room
from warmset.core.units import format_bytes


def why_impossible(host: HostCapacity, candidate: Candidate) -> str | None:
    """Returns why a model cannot be in any warm set of this host, `None` if it may."""
    if candidate.dismissed:
        return candidate.dismissed
    if not candidate.is_preloadable and not candidate.is_resident:
        return "never fetched: preload is off for it"
    if candidate.file is None or candidate.shape is None:
        return "cannot promise: the size of its weights file is not known"
    needs_ram = host.is_cpu_only or candidate.shape.options.num_gpu == 0
    if needs_ram:
        return _why_not_in_ram(host, candidate)
    return _why_not_on_gpus(host, candidate)


def _why_not_on_gpus(host: HostCapacity, candidate: Candidate) -> str | None:
    if candidate.on_one is None and candidate.spread is None:
        return f"cannot promise: {candidate.unknown or 'its need is not known'}"
    if not host.known:
        unread = "; ".join(f"{gpu.label}: {gpu.unknown}" for gpu in host.gpus)
        return f"cannot promise: free GPU memory is not known ({unread})"
    return None


def _why_not_in_ram(host: HostCapacity, candidate: Candidate) -> str | None:
    need = candidate.on_cpu_bytes
    if need is None:
        return f"cannot promise: {candidate.unknown or 'its need in RAM is not known'}"
    if host.ram_bytes is None:
        return "cannot promise: free RAM is not known"
    if need > host.ram_bytes:
        return f"needs {format_bytes(need)} of RAM; models may take {format_bytes(host.ram_bytes)}"
    return None


def why_left_out(host: HostCapacity, world: World, candidate: Candidate) -> str:
    """Returns why a model does not join the warm set `world`, the strongest reason first."""
    impossible = why_impossible(host, candidate)
    if impossible is not None:
        return impossible
    if host.known:
        pins = tuple(m for m in world if m.candidate.pin)
        ahead = tuple(m for m in world if m.candidate.pin or _outranks(m.candidate, candidate))
        steps: Sequence[tuple[str, World]] = (
            ("largest for models", ()),
            ("largest free after pins", pins),
            ("largest free after what ranks higher", ahead),
            ("largest free after the plan", world),
        )
        for words, before in steps:
            shortage = _shortage(host, before, candidate, words)
            if shortage is not None:
                return shortage
    if len(world) >= host.max_count:
        return f"the server loads at most {host.max_count} models, and all places are taken"
    outcome = try_load(host, world, candidate)
    if isinstance(outcome, Denied):
        return outcome.reason
    room = format_bytes(ram_room(host, world))
    return f"no order of loading holds it beside the others; {room} of RAM left"


def _outranks(other: Candidate, candidate: Candidate) -> bool:
    return other.priority > candidate.priority


def _shortage(host: HostCapacity, before: World, candidate: Candidate, words: str) -> str | None:
    """Returns what is missing beside `before`, on one GPU and split; `None` if one of both fits."""
    free = {
        gpu.id: max(0, headroom(before, gpu))
        for gpu in host.known
        if candidate.bound_to in (None, gpu.id)
    }
    if not free:
        return "cannot promise: free memory of the GPU that it is bound to is not known"
    parts = []
    if candidate.on_one is not None:
        need, largest = candidate.on_one.upper_bytes, max(free.values())
        if need <= largest:
            return None
        where = "one GPU" if candidate.bound_to is None else host.label_of(candidate.bound_to)
        parts.append(f"needs {format_bytes(need)} on {where}; {words} {format_bytes(largest)}")
    if candidate.bound_to is None and candidate.spread is not None and len(host.gpus) > 1:
        shares = candidate.spread.shares(free)
        together = sum(free.values())
        if all(share <= free[device] for device, share in shares.items()):
            return None
        split = format_bytes(sum(shares.values()))
        parts.append(f"split needs {split}; {format_bytes(together)} free together")
    return ", ".join(parts)
