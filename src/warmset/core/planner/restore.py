"""What happens when a member of the warm set is lost: does Ollama's rule take it back?

On 24 GiB with 14 and 8 GiB resident, a lost 14 returns only by evicting the 8, since 14 is more
than 80 % of the 16 that are free beside it. Such a set fits, and is *fragile*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmset.core.model import ModelKey
from warmset.core.ollama.victim import Candidate as Victim
from warmset.core.ollama.victim import choose_victim
from warmset.core.planner.admission import Denied, try_load
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.worlds import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A member that does not come back by itself.

    Attributes:
        name: the lost model.
        evicts: names that Ollama would evict to take it back, in its order.
        reason: why, with Ollama's numbers.
    """

    key: ModelKey
    name: str
    evicts: tuple[str, ...]
    reason: str


def find_fragile(host: HostCapacity, world: World) -> tuple[Restore, ...]:
    """Returns the members that Ollama would not simply take back; none: self-restoring.

    The victim order is that of ranked keep-alives: the lowest rank has the shortest.
    """
    fragile = []
    for lost in world:
        rest = tuple(m for m in world if m is not lost)
        outcome = try_load(host, rest, lost.candidate)
        if not isinstance(outcome, Denied):
            continue
        evicts = evictions_for(host, rest, lost.candidate) if outcome.evicts else ()
        candidate = lost.candidate
        fragile.append(
            Restore(key=candidate.key, name=candidate.name, evicts=evicts, reason=outcome.reason)
        )
    return tuple(sorted(fragile, key=lambda r: r.name))


def evictions_for(host: HostCapacity, world: World, candidate: Candidate) -> tuple[str, ...]:
    """Returns whom Ollama evicts, one after the other, until it lets the candidate in."""
    evicted = []
    while world:
        outcome = try_load(host, world, candidate)
        if not isinstance(outcome, Denied) or not outcome.evicts:
            break
        key = next_victim([m.candidate for m in world])
        evicted.append(next(m.candidate.name for m in world if m.candidate.key == key))
        world = tuple(m for m in world if m.candidate.key != key)
    return tuple(evicted)


def next_victim(resident: Sequence[Candidate]) -> ModelKey:
    """Returns the model that Ollama evicts first when keep-alives follow our ranks."""
    ranked = sorted(resident, key=lambda c: c.rank)
    victims = [
        Victim(path=c.key, duration=float(slot + 1), is_busy=c.is_busy)
        for slot, c in enumerate(ranked)
    ]
    victim = choose_victim(victims)
    assert victim is not None
    return ModelKey(victim.path)
