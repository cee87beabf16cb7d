"""`scripts/policy_adapter.py`: what a replay harness shows and takes, and nothing besides."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from warmset.core.policy import POLICIES

SCRIPTS = Path(__file__).parents[2] / "scripts"
GB = 10**9


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("policy_adapter")


@dataclass(frozen=True, slots=True)
class Model:
    id: str
    size: int
    load_s: float


@dataclass(slots=True)
class Resident:
    """With the fields that the harness promises."""

    model: Model
    loaded_at: float = 0.0
    last_used: float = 0.0
    in_use: int = 0
    uses: int = 1
    keep_alive: float = math.inf
    preloaded: bool = False


@dataclass(slots=True)
class State:
    """One host with room for 20 GB."""

    resident: dict[str, Resident]
    reason: str = "space"
    subject: str | None = None
    need: object = None
    loading: str | None = None
    queued: tuple[str, ...] = ()
    budget: int = 20 * GB
    models: dict[str, Model] = field(default_factory=dict)

    @property
    def used(self) -> int:
        return sum(r.model.size for r in self.resident.values())

    @property
    def free(self) -> int:
        return self.budget - self.used


MODELS = {name: Model(name, 8 * GB, 4.0) for name in "abc"}


def full(**change: object) -> State:
    """`a` and `b` are there; `c` lacks 4 GB."""
    state = State({name: Resident(MODELS[name]) for name in "ab"}, models=MODELS)
    return replace(state, subject="c", need=SimpleNamespace(model="c", short=4 * GB), **change)


@pytest.mark.parametrize("name", ["factory", "factory_demand", *sorted(POLICIES)])
def test_each_policy_plays_in_a_harness(adapter: ModuleType, name: str) -> None:
    """It names reasons the harness knows, frees enough, and spares who is in use."""
    policy = getattr(adapter, name)()
    assert "space" in policy.reasons
    assert set(policy.reasons) <= {"request", "idle", "loaded", "wake", "space"}
    policy.reset(MODELS, 20 * GB)
    for at, model in ((0.0, "a"), (100.0, "b"), (200.0, "c")):
        policy.on_request(at, model)
    state = full()
    assert policy.decide(200.0, state).evict[0] in {"a", "b"}
    state.resident["a"].in_use += 1
    assert tuple(policy.decide(210.0, state).evict) == ("b",)


def test_demand_alone_never_fetches(adapter: ModuleType) -> None:
    """It is not even asked while nobody waits; the other fills free room at the first look."""
    assert adapter.factory_demand().reasons == ["space"]
    policy = adapter.factory()
    policy.reset(MODELS, 20 * GB)
    policy.on_request(0.0, "a")
    made = policy.decide(60.0, State({"a": Resident(MODELS["a"])}, reason="wake", models=MODELS))
    assert tuple(made.preload) in {("b",), ("c",)}
    assert made.wake_at > 60.0


def test_an_unknown_name_lists_the_known(adapter: ModuleType) -> None:
    """As `--policy policy_adapter:NAME` gives it."""
    with pytest.raises(AttributeError, match="worth-demand"):
        _ = adapter.magic
