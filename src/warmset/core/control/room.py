"""Whether Ollama would load a model now without an eviction, under every belief it may hold.

The planner follows Ollama's rules as if it had loaded everything itself. But a runner goes on
counting with what was free when *it* was loaded: whatever came or went since, models and other
programs alike, it does not see. So what was seen when each resident came is asked too, at its
lowest and its highest, and each resident in turn as the one that Ollama asks first.

Source: ollama-behaviour 4.3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from warmset.core.control.question import GPU_GRAINS
from warmset.core.control.state import Remembered, State
from warmset.core.control.strangers import strangers_beside
from warmset.core.control.wanted import Wish
from warmset.core.model import DeviceId, ModelKey
from warmset.core.ollama.belief import RunnerView, looked_up
from warmset.core.planner import ActionKind, Candidate, Denied, HostCapacity, try_load
from warmset.core.planner.admission import find_order
from warmset.core.planner.standing import standing_world
from warmset.core.planner.worlds import Loaded, World, views_of
from warmset.core.replacing import replace


def why_not_admitted(wish: Wish, candidate: Candidate, state: State) -> str:
    """Returns why a preload might evict somebody or not fit; empty if it can do neither."""
    host, worlds, unknown = _what_it_may_believe(wish, state)
    if unknown:
        return unknown
    for believed in worlds:
        outcome = try_load(host, believed, candidate)
        if isinstance(outcome, Denied):
            return outcome.reason
    return ""


def come_in_turn(wish: Wish, comers: Sequence[Candidate], state: State) -> bool:
    """Returns whether several can be loaded one after the other, in this order.

    Each may take as much as it ever could: so a plan counts them, once they are gone.
    """
    host, worlds, unknown = _what_it_may_believe(wish, state)
    most = [_at_most(comer) for comer in comers]
    return not unknown and all(_is_let_in(host, world, most) for world in worlds)


def come_together(wish: Wish, comers: Sequence[Candidate], state: State) -> bool:
    """Returns whether several can be loaded in turn, in this order or its reverse."""
    return any(come_in_turn(wish, order, state) for order in (comers, comers[::-1]))


def _what_it_may_believe(wish: Wish, state: State) -> tuple[HostCapacity, Iterable[World], str]:
    """Returns the host, the residents by all that Ollama may believe, and why that is unknown."""
    world = standing_world(wish.host, [c for c in wish.candidates if c.is_resident])
    if world is None:
        return wish.host, (), "where the residents' bytes are is not known"
    nameless, unknown = strangers_beside(state, wish.host)
    if unknown:
        text = f"what was free when {unknown}, whose weights are not installed, came is not known"
        return wish.host, (), text
    host = replace(wish.host, strangers=wish.host.strangers - len(nameless))
    return host, _believed_worlds(host, (*world, *nameless), state), ""


def _believed_worlds(host: HostCapacity, world: World, state: State) -> Iterator[World]:
    """Yields the residents with the memories that they may have, each asked first once."""
    yield world
    memories = [_memories(host, state.of(loaded.candidate.key)) for loaded in world]
    for end in (0, 1):
        remembering = tuple(
            _remember(host, loaded, both[end]) for loaded, both in zip(world, memories, strict=True)
        )
        for last in range(len(remembering)):
            yield (*remembering[:last], *remembering[last + 1 :], remembering[last])


Memories = tuple[Mapping[DeviceId, int], Mapping[DeviceId, int]]


def _memories(host: HostCapacity, known: Remembered) -> Memories:
    """Returns the least and the most that a runner may have found free; empty: nobody saw.

    On a GPU that could not be read when it came, it may have found anything.
    """
    low, high = known.free_low, known.free_high
    if not low:
        return {}, {}
    return (
        {gpu.id: low.get(gpu.id, 0) for gpu in host.gpus},
        {gpu.id: high.get(gpu.id, gpu.gpu.total_bytes) for gpu in host.gpus},
    )


def _remember(host: HostCapacity, loaded: Loaded, free: Mapping[DeviceId, int]) -> Loaded:
    """Returns a resident that counts with what was free before it was loaded, if that is known.

    One that holds no VRAM may have been started with the GPUs and found too little there: it
    reports for them all the same.
    """
    as_found, rightly = loaded.views
    gpus = [host.find(device) for device in rightly.gpus]
    if not gpus and host.gpus and all(gpu.id in free for gpu in host.gpus):
        own = tuple(gpu.gpu for gpu in host.gpus)
        found = tuple(max(0, free[gpu.id]) for gpu in host.gpus)
        return replace(loaded, views=views_of(own, (0,) * len(own), found))
    if not gpus or any(gpu.id not in free for gpu in gpus):
        return loaded
    counts = [max(0, free[gpu.id]) for gpu in gpus]
    views: tuple[RunnerView, RunnerView] = (
        replace(as_found, free_at_load=looked_up([gpus[0].gpu], counts[:1])),
        replace(rightly, free_at_load=dict(zip(rightly.gpus, counts, strict=True))),
    )
    return replace(loaded, views=views)


def stale_holders(
    wish: Wish, candidate: Candidate, state: State, kept: AbstractSet[ModelKey]
) -> tuple[Candidate, ...]:
    """Returns residents that may go and whose memory of what was free keeps a candidate out.

    Ollama forgets that memory with the runner. The first one whose leaving is enough, else all;
    empty if even that would not let the candidate in. For a pin anybody will do whose leaving is
    enough, or all together: what is known of a memory may be too little to call it outdated, or it
    misleads Ollama to another GPU. Pins go only if they come back beside the candidate.

    Args:
        wish, candidate, state: who shall come, and beside whom.
        kept: residents that nobody sends away.
    """
    movable = [
        c
        for c in sorted(wish.candidates, key=lambda c: c.rank)
        if c.is_resident and c.key not in kept and may_go_for(c, candidate)
    ]
    outdated = [c for c in movable if _is_outdated(c, wish, state)]
    others = [c for c in movable if c not in outdated] if candidate.pin else []
    alone = ((holder,) for holder in (*outdated, *others))
    for holders in (*alone, tuple(outdated), (*outdated, *others)):
        without = leave(wish, [c.key for c in holders])
        pins = [wish.fresh[c.key] for c in holders if c.pin]
        if (
            holders
            and not why_not_admitted(without, candidate, state)
            and (not pins or come_together(without, (candidate, *pins), state))
        ):
            return holders
    return ()


def may_go_for(goer: Candidate, candidate: Candidate) -> bool:
    """Whether one resident may leave so that a candidate comes.

    It ranks lower, is wanted no more, or both are pins: then it is loaded again at once, if the
    operator lets pins go for that at all (`restraint.why_not_unload`).
    """
    return goer.dismissed != "" or goer.rank < candidate.rank or (goer.pin and candidate.pin)


def leave(wish: Wish, keys: Collection[ModelKey]) -> Wish:
    """Returns the same wish once these residents have left."""
    staying = tuple(c.afresh() if c.key in keys else c for c in wish.candidates)
    return replace(wish, candidates=staying)


def _is_outdated(candidate: Candidate, wish: Wish, state: State) -> bool:
    """Whether a resident reports less as free than there is."""
    low = state.of(candidate.key).free_low
    held = dict.fromkeys(low, 0)
    for other in wish.candidates:
        for device, count in (other.located or {}).items():
            held[device] = held.get(device, 0) + count
    own = candidate.located or {}
    return any(
        low[gpu.id] - own.get(gpu.id, 0)
        < gpu.gpu.free_bytes - held[gpu.id] - gpu.gpu.total_bytes // GPU_GRAINS
        for gpu in wish.host.gpus
        if gpu.id in low
    )


def is_harmless(
    wish: Wish,
    candidate: Candidate,
    others: Sequence[Candidate],
    returning: Sequence[Candidate] = (),
) -> bool:
    """Returns whether the others can still be loaded once this one is, after all have left.

    It comes beside all who are still there, and goes on counting with what it found free. It may
    take as much as it ever could. Nor does it make anybody wait for residents in use to leave who
    could come beside them without it.

    Args:
        wish, candidate, others: who shall come, and who is to come after it.
        returning: residents who make room for them, as they are fetched again (`returning`): it
            does not take their place if they would get it back without it.
    """
    world = standing_world(wish.host, [c for c in wish.candidates if c.is_resident])
    if world is None:
        return False
    outcome = try_load(wish.host, world, _at_most(candidate))
    if isinstance(outcome, Denied):
        return False
    changed = {change.key for change in wish.plan.changes} | {c.key for c in returning}
    residents = [c for c in wish.candidates if c.is_resident]
    staying = [c for c in residents if c.key not in changed - {candidate.key}]
    firsts = [after[-1:] for after in outcome]

    def can_follow(
        first: World, comers: Sequence[Candidate], beside: Sequence[Candidate] = staying
    ) -> bool:
        start = standing_world(wish.host, beside)  # they do not remember who leaves as there
        assert start is not None, "where all residents are is known"
        found = find_order(wish.host, start + first, comers)
        return found is not None and _is_let_in(wish.host, start + first, found[0])

    def can_still_follow(comers: Sequence[Candidate], beside: Sequence[Candidate]) -> bool:
        alone = can_follow((), comers, beside)
        return not alone or all(can_follow(first, comers, beside) for first in firsts)

    in_use = {change.key for change in wish.plan.changes if change.kind is ActionKind.WAIT}
    beside = [c for c in residents if c in staying or c.key in in_use]
    return (
        all(can_follow(first, others) for first in firsts)
        and (not in_use or can_still_follow(others, beside))
        and (not returning or can_still_follow((*others, *returning), staying))
    )


def _is_let_in(host: HostCapacity, world: World, comers: Sequence[Candidate]) -> bool:
    """Whether these are let in one after the other, whichever runner Ollama asks first.

    Who came beside those who have left since remembers less than others who came before it.
    """
    for comer in comers:
        turned = [(*world[:at], *world[at + 1 :], one) for at, one in enumerate(world)] or [world]
        outcomes = [try_load(host, each, comer) for each in turned]
        after = outcomes[-1]  # the world as it is
        if isinstance(after, Denied) or any(isinstance(one, Denied) for one in outcomes):
            return False
        world = after[0]
    return True


def _at_most(candidate: Candidate) -> Candidate:
    """Returns the same model as if it took its upper bound on one GPU for certain."""
    need = candidate.on_one
    if need is None:
        return candidate
    return replace(candidate, on_one=replace(need, point_bytes=need.upper_bytes))
