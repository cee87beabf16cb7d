"""How much more GPU memory would hold all models together, so that nobody is evicted any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.model import DeviceId
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.explain import why_impossible
from warmset.core.planner.holding import Holding, can_hold, why_unknown
from warmset.core.replacing import replace
from warmset.core.units import GIB

CARDS: Final = (8, 12, 16, 24, 32, 48, 80, 96, 141, 192)
"""Sizes of GPUs that are sold, in GiB."""

MOST_GIB: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What would be enough.

    Attributes:
        gpu: the label of the GPU that would have to be larger; empty: one more GPU.
        extra_bytes: by how much, or how large that one is.
        is_least: whether less is known not to be enough.
    """

    gpu: str
    extra_bytes: int
    is_least: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """Ways to hold all models at once.

    Attributes:
        ways: the fewest bytes first.
        unknown: why some amount may be enough of which it is not known; empty: all is known.
        uncounted: models of which nothing can be said, each with the reason.
    """

    ways: tuple[Extra, ...] = ()
    unknown: str = ""
    uncounted: tuple[str, ...] = ()


def find_extra(host: HostCapacity, candidates: Sequence[Candidate]) -> Remedy:
    """Returns the ways to hold all models at once.

    A larger GPU for each that is there, and one more GPU; none where no memory helps: the maximum
    of loaded models, or RAM.

    Args:
        host: without the models.
        candidates: all that shall be resident; what can never be is left out.
    """
    uncounted = tuple(f"{c.name}: {why}" for c in candidates if (why := why_unknown(host, c)))
    models = [c.afresh() for c in candidates if why_impossible(host, c) is None]
    if not host.gpus or not models:
        return Remedy(uncounted=uncounted)
    asked = _Asked(models)
    if asked.is_enough(host):
        return Remedy(uncounted=uncounted)
    found = [way for gpu in host.known if (way := _least(host, gpu, asked)) is not None]
    sizes = list(CARDS)
    one_more = next((n for n in sizes if asked.is_enough(_with_card(host, n))), None)
    if one_more is not None:
        smaller = (_with_card(host, n) for n in sizes[: sizes.index(one_more)])
        is_least = all(asked.is_refuted(less) for less in smaller)
        found.append(Extra(gpu="", extra_bytes=one_more * GIB, is_least=is_least))
    ways = sorted(found, key=lambda extra: (extra.extra_bytes, extra.gpu == "", extra.gpu))
    is_known = found and all(way.is_least for way in found)
    return Remedy(ways=tuple(ways), unknown="" if is_known else asked.unknown, uncounted=uncounted)


class _Asked:
    """What was asked of some models, and answered: some questions come twice."""

    def __init__(self, models: Sequence[Candidate]) -> None:
        self._models = models
        self._answers: dict[tuple[int | None, ...], Holding] = {}
        self.unknown = ""  # why one of the answers is not known

    def is_enough(self, host: HostCapacity) -> bool:
        """Whether a host is known to hold all."""
        return self._ask(host).is_possible is True

    def is_refuted(self, host: HostCapacity) -> bool:
        """Whether a host is known not to hold all."""
        return self._ask(host).is_possible is False

    def _ask(self, host: HostCapacity) -> Holding:
        sizes = tuple(gpu.usable_bytes for gpu in host.gpus)
        if sizes not in self._answers:
            self._answers[sizes] = can_hold(host, self._models)
            self.unknown = self.unknown or self._answers[sizes].unknown
        return self._answers[sizes]


def _least(host: HostCapacity, gpu: GpuCapacity, asked: _Asked) -> Extra | None:
    """Returns the fewest GiB more on one GPU that are known to be enough; `None`: none are."""
    high = 1
    while not asked.is_enough(_grown(host, gpu, high)):
        high *= 2
        if high > MOST_GIB:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if asked.is_enough(_grown(host, gpu, middle)):
            high = middle
        else:
            low = middle
    is_least = asked.is_refuted(_grown(host, gpu, high - 1))
    return Extra(gpu=gpu.label, extra_bytes=high * GIB, is_least=is_least)


def _grown(host: HostCapacity, gpu: GpuCapacity, more_gib: int) -> HostCapacity:
    more = more_gib * GIB
    larger = replace(
        gpu,
        usable_bytes=(gpu.usable_bytes or 0) + more,
        gpu=replace(
            gpu.gpu,
            total_bytes=gpu.gpu.total_bytes + more,
            free_bytes=gpu.gpu.free_bytes + more,
        ),
    )
    return replace(host, gpus=tuple(larger if g is gpu else g for g in host.gpus))


def _with_card(host: HostCapacity, size_gib: int) -> HostCapacity:
    """Returns the host with one more GPU like the last, of another size, all of it for models."""
    last = host.gpus[-1]
    size = size_gib * GIB
    card = replace(
        last,
        id=DeviceId("one-more"),
        names=(),
        usable_bytes=size,
        gpu=replace(last.gpu, id=str(len(host.gpus)), total_bytes=size, free_bytes=size),
    )
    return replace(host, gpus=(*host.gpus, card))
