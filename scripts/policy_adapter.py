"""Lets the policies of `warmset.core.policy` run in a replay harness.

The harness calls `reset`, `on_request` and `decide`, and takes decisions with the attributes
`evict`, `preload`, `keep_alive` and `wake_at`. Nothing is decided here. Use it as

    PYTHONPATH=scripts python BENCH_DIR/policy_eval.py TRACE.csv.gz --policy policy_adapter:factory

`factory` gives warmset's policy with preloads, which also fill free room with models that nobody
asked for yet, `factory_demand` the same without preloads; every other policy of the registry is
had by its name, `policy_adapter:lru` for one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from warmset.core.policy import POLICIES, Event, Held, ModelCost, Policy, View


class HarnessModel(Protocol):
    """A model as the harness describes it."""

    id: str
    size: int
    load_s: float


class HarnessResident(Protocol):
    """A resident as the harness shows it."""

    model: HarnessModel
    loaded_at: float
    last_used: float
    in_use: int
    uses: int
    keep_alive: float


class HarnessNeed(Protocol):
    """What a waiting load lacks."""

    short: int


class HarnessState(Protocol):
    """The host at one instant."""

    budget: int
    resident: Mapping[str, HarnessResident]
    reason: str
    subject: str | None
    loading: str | None
    queued: Sequence[str]
    need: HarnessNeed | None
    free: int


@dataclass(slots=True)
class HarnessDecision:
    """A decision with the names that the harness looks for."""

    evict: Sequence[str] = ()
    preload: Sequence[str] | None = None
    keep_alive: Mapping[str, float] = field(default_factory=dict)
    wake_at: float | None = None


Kept = tuple[HarnessResident, float, int, int, float, Held]


class Residents(Mapping[str, Held]):
    """The harness's residents in warmset's words, each made when it is looked at.

    Most questions are answered from the first glance; what did not change is made only once.
    """

    def __init__(self, residents: Mapping[str, HarnessResident], kept: dict[str, Kept]) -> None:
        self.residents, self.kept = residents, kept

    def __getitem__(self, name: str) -> Held:
        """Returns one resident."""
        r = self.residents[name]
        facts = (r, r.last_used, r.in_use, r.uses, r.keep_alive)
        known = self.kept.get(name)
        if known and known[0] is r and known[1:5] == facts[1:]:
            return known[5]
        held = _held(r)
        self.kept[name] = (*facts, held)
        return held

    def __iter__(self) -> Iterator[str]:
        """Yields the names."""
        return iter(self.residents)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.residents)

    def __contains__(self, name: object) -> bool:
        """Whether a model is there."""
        return name in self.residents


class Adapter:
    """One of warmset's policies, dressed for the harness."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.reasons = [str(event) for event in policy.events]
        self.on_request = policy.requested
        self._held: dict[str, Kept] = {}

    def reset(self, models: Mapping[str, HarnessModel], budget: int) -> None:
        """Starts anew with these models and this budget."""
        self._held.clear()
        costs = {k: ModelCost(id=k, bytes=m.size, load_seconds=m.load_s) for k, m in models.items()}
        self.policy.start(costs, budget)

    def decide(self, t: float, state: HarnessState) -> HarnessDecision | None:
        """Asks the policy."""
        view = View(
            now=t,
            event=Event(state.reason),
            budget_bytes=state.budget,
            free_bytes=state.free,
            residents=Residents(state.resident, self._held),
            subject=state.subject,
            short_bytes=state.need.short if state.need else 0,
            loading=state.loading,
            queued=tuple(state.queued),
        )
        decision = self.policy.decide(view)
        if decision is None:
            return None
        keep = decision.keep_alive_seconds
        return HarnessDecision(
            decision.evict,
            decision.preload,
            {k: math.inf if s is None else s for k, s in keep.items()},
            decision.wake_at,
        )


def _held(r: HarnessResident) -> Held:
    return Held(
        id=r.model.id,
        bytes=r.model.size,
        load_seconds=r.model.load_s,
        loaded_at=r.loaded_at,
        last_used=r.last_used,
        in_use=r.in_use > 0,
        uses=r.uses,
        keep_alive_seconds=None if r.keep_alive == math.inf else r.keep_alive,
    )


def factory() -> Adapter:
    """Returns warmset's policy, preloads allowed, those of models not asked for yet as well.

    All models of a trace are asked for sooner or later; nobody minds one in memory before that.
    """
    return Adapter(POLICIES["worth-fill"]())


def factory_demand() -> Adapter:
    """Returns warmset's policy without preloads."""
    return Adapter(POLICIES["worth-demand"]())


def __getattr__(name: str) -> Callable[[], Adapter]:
    """Returns the factory of a registered policy: `policy_adapter:gd-size`.

    Raises:
        AttributeError: if there is no policy of that name.
    """
    if name in POLICIES:
        return lambda: Adapter(POLICIES[name]())
    raise AttributeError(f"no policy {name!r}; there are {', '.join(sorted(POLICIES))}")
