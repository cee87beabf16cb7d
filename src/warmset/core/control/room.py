"""Whether Ollama would load a model now without an eviction, under every belief it may hold.

The planner follows Ollama's rules from what the driver shows now. But a runner answers with what
was free when *it* was loaded: what other programs took or gave back since then, Ollama does not
see. Where we saw a resident come, that older figure is asked too, at its lowest and its highest.

Source: ollama-behaviour 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from warmset.core.control.state import State
from warmset.core.control.wanted import GPU_GRAINS, Wish
from warmset.core.model import DeviceId
from warmset.core.planner import Candidate, Denied, HostCapacity, try_load
from warmset.core.planner.admission import find_order
from warmset.core.planner.standing import standing_world


def why_not_admitted(wish: Wish, candidate: Candidate, state: State) -> str:
    """Returns why a preload might evict somebody or not fit; empty if it can do neither."""
    residents = [c for c in wish.candidates if c.is_resident]
    for host in believed_hosts(wish, state):
        world = standing_world(host, residents)
        if world is None:
            return "where the residents' bytes are is not known"
        outcome = try_load(host, world, candidate)
        if isinstance(outcome, Denied):
            return outcome.reason
    return ""


def stale_holders(wish: Wish, candidate: Candidate, state: State) -> tuple[Candidate, ...]:
    """Returns residents of lower rank whose memory of what was free keeps a candidate out.

    Ollama forgets that memory with the runner. Empty if their leaving would not let it in.
    """
    outdated = [
        c
        for c in wish.candidates
        if c.is_resident and not c.pin and c.rank < candidate.rank and _is_outdated(c, wish, state)
    ]
    keys = {c.key for c in outdated}
    gone = tuple(
        replace(c, is_resident=False, located=None) if c.key in keys else c for c in wish.candidates
    )
    helps = outdated and not why_not_admitted(replace(wish, candidates=gone), candidate, state)
    return tuple(sorted(outdated, key=lambda c: c.rank)) if helps else ()


def _is_outdated(candidate: Candidate, wish: Wish, state: State) -> bool:
    low = state.of(candidate.key).empty_low
    return any(
        low[gpu.id] < gpu.gpu.free_bytes - gpu.gpu.total_bytes // GPU_GRAINS
        for gpu in wish.host.gpus
        if gpu.id in low
    )


def believed_hosts(wish: Wish, state: State) -> tuple[HostCapacity, ...]:
    """Returns the host as it is, and as Ollama may believe it to be."""
    seen: dict[DeviceId, list[int]] = {}
    for candidate in wish.candidates:
        if candidate.is_resident:
            known = state.of(candidate.key)
            for ends in (known.empty_low, known.empty_high):
                for device, count in ends.items():
                    seen.setdefault(device, []).append(count)
    hosts = [wish.host]
    choices: Sequence[Callable[[Sequence[int]], int]] = (min, max)
    for choose in choices:
        gpus = tuple(
            replace(
                gpu,
                gpu=replace(
                    gpu.gpu, free_bytes=choose((gpu.gpu.free_bytes, *seen.get(gpu.id, ())))
                ),
            )
            for gpu in wish.host.gpus
        )
        host = replace(wish.host, gpus=gpus)
        if host not in hosts:
            hosts.append(host)
    return tuple(hosts)


def is_harmless(wish: Wish, candidate: Candidate, others: Sequence[Candidate]) -> bool:
    """Returns whether the others can still be loaded once this one is, after all have left."""
    leaving = {change.key for change in wish.plan.changes}
    staying = [c for c in wish.candidates if c.is_resident and c.key not in leaving]
    world = standing_world(wish.host, staying)
    if world is None:
        return False
    outcome = try_load(wish.host, world, candidate)
    if isinstance(outcome, Denied):
        return False
    return all(find_order(wish.host, after, others) is not None for after in outcome)
