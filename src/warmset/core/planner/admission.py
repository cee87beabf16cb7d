"""Running Ollama's rules over a plan: in which order do these models load without an eviction?

Ollama decides where a model goes and whether it fits, from what it *believes* to be free. It may
hold several beliefs: which runner answers first is chance, and the device names of a runner may
miss the host's (`core.ollama.belief`). A step counts only if every belief admits it. Where beliefs
would place a model differently, all outcomes are followed: each is a *world*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.model import DeviceId, ModelKey
from warmset.core.ollama.admission import Forecast, forecast_load
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.problem import Effort
from warmset.core.planner.worlds import (
    Loaded,
    Outlook,
    World,
    charge,
    headroom,
    held,
    outlook,
    ram_room,
    room_by_device,
)
from warmset.core.units import format_bytes

MAX_WORLDS: Final = 8
"""Outcomes followed side by side; a plan with more is left to chance and not made."""

ORDER_STEPS: Final = 800
"""Simulated loads of one search for an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Why a load would not go as planned.

    `evicts`: Ollama's own rule would evict; else the need does not fit where it would go.
    """

    reason: str
    evicts: bool
    forecast: Forecast | None = None


def try_load(host: HostCapacity, world: World, candidate: Candidate) -> tuple[World, ...] | Denied:
    """Returns the worlds after loading one more model, or why it does not go."""
    return load_from(outlook(host, world), candidate)


def load_from(before: Outlook, candidate: Candidate) -> tuple[World, ...] | Denied:
    """Returns the worlds after one more load, or why it does not go; see `try_load`."""
    host, world = before.host, before.world
    if candidate.file is None or candidate.shape is None:
        return Denied(reason="the size of its weights file is not known", evicts=False)
    if len(world) >= host.max_count:
        text = f"{host.max_count} models are the most that this server loads"
        return Denied(reason=text, evicts=True)
    after: dict[tuple[tuple[DeviceId, int], ...], World] = {}
    places: set[object] = set()
    for forecast in _forecasts(before, candidate):
        if not forecast.admits:
            text = _eviction_text(host, world, forecast)
            return Denied(reason=text, evicts=True, forecast=forecast)
        where = forecast.placement
        there = (where.main_gpu, *(gpu.device for gpu in where.gpus))
        if there in places:
            continue  # most beliefs differ in numbers only, and it takes the same there
        places.add(there)
        loaded = place(host, world, candidate, forecast)
        if isinstance(loaded, Denied):
            return loaded
        after[tuple(sorted(loaded.upper.items()))] = (*world, loaded)
    return tuple(after.values())


def forecast_on(host: HostCapacity, world: World, candidate: Candidate) -> tuple[Forecast, ...]:
    """Returns Ollama's decision about a load under each belief, the likeliest first."""
    return tuple(_forecasts(outlook(host, world), candidate))


def _forecasts(before: Outlook, candidate: Candidate) -> Iterator[Forecast]:
    if candidate.file is None or candidate.shape is None:
        return
    host = before.host
    for gpus in before.beliefs:
        yield forecast_load(
            candidate.file,
            candidate.shape,
            gpus,
            parallel=candidate.parallel,
            completes=candidate.completes,
            others_loaded=bool(before.world) or host.strangers > 0,
            spread=host.env.sched_spread,
            flash_setting=host.env.flash_attention,
            system_free_bytes=before.system_free_bytes,
        )


def place(
    host: HostCapacity, world: World, candidate: Candidate, forecast: Forecast
) -> Loaded | Denied:
    """Returns the model on the GPUs that the forecast names, if its need is within budget."""
    gpus = tuple(host.find(gpu.device) for gpu in forecast.placement.gpus)
    main = forecast.placement.main_gpu
    if main is not None and 0 <= main < len(gpus):
        gpus = (gpus[main],)
    bound = candidate.bound_to
    if bound is not None and [gpu.id for gpu in gpus] != [bound]:
        went = " and ".join(gpu.label for gpu in gpus) or "RAM"
        return Denied(
            reason=f"Ollama would put it on {went}; {how_to_bind(host, bound)}", evicts=False
        )
    unknown = next((gpu for gpu in gpus if gpu.usable_bytes is None), None)
    if unknown is not None:
        reason = f"it would go to {unknown.label}, whose free memory is not known"
        return Denied(reason=reason, evicts=False)
    loaded = charge(candidate, gpus, beside={g.id: held(world, g.id) for g in gpus})
    if loaded is None:
        return Denied(reason=candidate.unknown or "its need is not known", evicts=False)
    for gpu in gpus:
        room = headroom(world, gpu)
        if loaded.upper[gpu.id] > room:
            reason = (
                f"Ollama would put it on {gpu.label}: needs up to "
                f"{format_bytes(loaded.upper[gpu.id])} of {format_bytes(max(0, room))} left"
            )
            return Denied(reason=reason, evicts=False)
    ram_left = ram_room(host, world)
    shared = sum(loaded.upper[gpu.id] for gpu in gpus if gpu.gpu.integrated)
    taken = loaded.ram_bytes + shared
    lives_in_ram = not gpus or shared > 0
    if (ram_left is None and lives_in_ram) or (ram_left is not None and taken > ram_left):
        reason = f"needs {format_bytes(taken)} of RAM; {format_bytes(ram_left)} left"
        return Denied(reason=reason, evicts=False)
    return loaded


def how_to_bind(host: HostCapacity, device: DeviceId) -> str:
    """Returns what to do where no order of loading brings a model to its GPU.

    Source: Ollama v0.33 `server/sched.go: selectLlamaServerPlacement`: the option counts within
    one backend group.
    """
    wanted = next(gpu for gpu in host.gpus if gpu.id == device)
    place = [gpu.id for gpu in host.group_of(wanted)].index(device)
    binding = f"`PARAMETER main_gpu {place}` in its Modelfile"
    return f"it is bound to {wanted.label}, which {binding} ensures"


def find_order(
    host: HostCapacity,
    start: World,
    wanted: Iterable[Candidate],
    *,
    accepts: Callable[[World], bool] | None = None,
    steps: int = ORDER_STEPS,
    budget: Effort | None = None,
) -> tuple[tuple[Candidate, ...], World] | None:
    """Returns an order in which all of `wanted` load beside `start`, and the likeliest outcome.

    Tries the largest first, since the first load is never checked and later ones see less memory.

    Args:
        host: where.
        start: what is resident already and stays.
        wanted: what is to be loaded.
        accepts: a further condition on the outcome.
        steps: simulated loads at most; beyond, no order counts as found.
        budget: of several such searches, if this is one of them; `was_cut_short` tells of a `None`
            that is not certain.
    """
    todo = tuple(sorted(wanted, key=largest_first))
    effort = Effort(steps) if budget is None else budget.part(steps)
    seen: set[tuple[frozenset[ModelKey], tuple[object, ...]]] = set()
    group = _smallest_group(host)

    def extend(
        worlds: tuple[World, ...], rest: tuple[Candidate, ...]
    ) -> tuple[tuple[Candidate, ...], tuple[World, ...]] | None:
        if not rest:
            done = all(accepts is None or accepts(world) for world in worlds)
            return ((), worlds) if done else None
        state = (frozenset(c.key for c in rest), tuple(_where(world) for world in worlds))
        if state in seen:
            return None
        seen.add(state)
        if any(_is_hopeless(host, world, rest, group) for world in worlds):
            return None
        outlooks = tuple(outlook(host, world) for world in worlds)
        for index, candidate in enumerate(rest):
            after = load_in_all(outlooks, candidate, effort)
            if after is None:
                continue
            found = extend(after, rest[:index] + rest[index + 1 :])
            if found is not None:
                return (candidate, *found[0]), found[1]
        return None

    found = extend((start,), todo)
    return None if found is None else (found[0], found[1][0])


def _is_hopeless(
    host: HostCapacity, world: World, rest: Sequence[Candidate], group: int | None
) -> bool:
    """Whether some of `rest` no longer fit, in whatever order: room only gets less.

    `group`: see `_smallest_group`.
    """
    free = [max(0, room) for room in room_by_device(host, world).values()]
    if not free:
        return False
    largest, together, least = max(free), sum(free), 0
    for candidate in rest:
        whole = None if candidate.on_one is None else candidate.on_one.upper_bytes
        if candidate.shape is not None and candidate.shape.options.num_gpu == 0:
            continue
        split = _least_split(candidate, group)
        fits_whole = whole is not None and whole <= largest
        if not fits_whole and (split is None or split > together):
            return True
        takes = [n for n in (whole if fits_whole else None, split) if n is not None]
        least += min(takes)
    return least > together


def _least_split(candidate: Candidate, group: int | None) -> int | None:
    """Returns the fewest bytes that a split over some group takes; `None`: it is never split."""
    spread = candidate.spread
    if spread is None or candidate.bound_to is not None or group is None:
        return None
    return spread.shared_bytes + spread.fixed_upper_bytes * group


def _smallest_group(host: HostCapacity) -> int | None:
    """Returns the fewest GPUs over which Ollama may split a model; `None`: it never does."""
    counts = Counter(gpu.gpu.library for gpu in host.gpus)
    return min((count for count in counts.values() if count > 1), default=None)


def load_in_all(
    outlooks: Sequence[Outlook], candidate: Candidate, effort: Effort | None = None
) -> tuple[World, ...] | None:
    """Returns the worlds after one more load, `None` if some world denies it."""
    after: dict[object, World] = {}
    for before in outlooks:
        if effort is not None and not effort.spend():
            effort.ran_out()
            return None
        outcome = load_from(before, candidate)
        if isinstance(outcome, Denied):
            return None
        after.update((_where(w), w) for w in outcome)
    if len(after) > MAX_WORLDS:
        if effort is not None:
            effort.ran_out()
        return None
    return tuple(after.values())


def _where(world: World) -> tuple[tuple[ModelKey, tuple[tuple[DeviceId, int], ...]], ...]:
    return tuple((m.candidate.key, tuple(m.upper.items())) for m in world)


def largest_first(candidate: Candidate) -> tuple[int, ModelKey]:
    """Returns the sort key of the order in which plans try to load."""
    size = 0 if candidate.file is None else candidate.file.file_bytes
    return (-size, candidate.key)


def _eviction_text(host: HostCapacity, world: World, forecast: Forecast) -> str:
    gpus = [host.find(gpu.device) for gpu in forecast.placement.gpus]
    really = sum(max(0, gpu.gpu.free_bytes - held(world, gpu.id)) for gpu in gpus)
    believed = forecast.available_bytes
    belief = "free" if really == believed else f"it believes free of {format_bytes(really)}"
    return (
        f"Ollama counts {format_bytes(forecast.total_bytes)} for it, more than 80 % of the "
        f"{format_bytes(believed)} {belief}, and would evict"
    )
