"""What fits instead, where a set of models does not fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warmset.core.model import DeviceId, ModelKey
from warmset.core.planner.candidates import Candidate, Demand
from warmset.core.planner.holding import Holding
from warmset.core.planner.subsets import fits_together, maximal_subsets
from warmset.shell.change_pairs import find_pairs
from warmset.shell.changes import Change, Scene, find_changes
from warmset.shell.decide import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One model of a subset, with what it needs at most, and the demand that it counts by."""

    name: str
    need_bytes: int
    demand: Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """Subsets that fit beside the pins, best first, and changes that are enough, smallest first.

    Attributes:
        unknown_subsets: of which it is not known, each with the reason.
        unknown_changes: why it is not known of some change; empty: it is known of all.
        pairs: of changes that are enough together; only where no single one is.
    """

    subsets: tuple[tuple[Part, ...], ...] = ()
    unknown_subsets: tuple[tuple[tuple[Part, ...], str], ...] = ()
    has_all_subsets: bool = True
    changes: tuple[Change, ...] = ()
    unknown_changes: str = ""
    pairs: tuple[tuple[Change, Change], ...] = ()


def fit_instead(
    decision: Decision,
    located: Mapping[ModelKey, Mapping[DeviceId, int]],
    wanted: Sequence[ModelKey],
) -> Fitting:
    """Returns what fits instead of all of `wanted`.

    Args:
        decision: of the host as it is.
        located: where residents are.
        wanted: keys of installed models that do not fit together.
    """
    keys = frozenset(wanted)
    models = [c for c in decision.candidates if c.key in keys]
    pins = [c for c in decision.candidates if c.pin and c.key not in keys]

    def fits(chosen: Sequence[Candidate]) -> Holding:
        return fits_together(decision.host, [*pins, *chosen])

    subsets = maximal_subsets(models, fits)
    scene = Scene(
        observation=decision.observation,
        settings=decision.settings,
        located=located,
        wanted=keys,
    )
    changes, unknown = find_changes(scene)
    return Fitting(
        subsets=tuple(tuple(_part(c) for c in some) for some in subsets.fitting),
        unknown_subsets=tuple(
            (tuple(_part(c) for c in some), why) for some, why in subsets.unknown
        ),
        has_all_subsets=subsets.is_all,
        changes=changes,
        unknown_changes=unknown,
        pairs=() if changes else find_pairs(scene),
    )


def _part(candidate: Candidate) -> Part:
    need = candidate.on_cpu_bytes or 0
    if candidate.on_one is not None:
        need = candidate.on_one.upper_bytes
    return Part(name=candidate.name, need_bytes=need, demand=candidate.demand)
