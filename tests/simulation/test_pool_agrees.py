"""The quick pool against the full twin: one memory, stock Ollama, its forecasts and its margin."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from loop_hosts import CARD, CHAT, CODER, MEDIUM, START, gib

from warmset.adapters.config import load_settings
from warmset.core.demand.trace import Request, Trace
from warmset.core.model import FOREVER
from warmset.core.policy import ModelCost
from warmset.core.twin.beside import Server
from warmset.core.twin.clock import Timeline
from warmset.core.twin.demand import Arrival
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.memory import PoolSpec
from warmset.core.twin.replay import replay
from warmset.shell.replay_host import host_url, look_at

NAMES = (CODER, CHAT, MEDIUM)
FREE_GIB = 21.5  # any two of them fit, and three never: no decision hangs on a few per cent


def small_host() -> HostSpec:
    """A workstation with one card on which two of the models fit."""
    spec = named_host("workstation")
    gpu = replace(spec.gpus[0], total_bytes=gib(FREE_GIB + 0.6), free_bytes=gib(FREE_GIB + 0.6))
    return replace(spec, gpus=(gpu,), env=replace(spec.env, max_loaded_models=9))


HOST = small_host()
BETWEEN = 10.0  # seconds, at least, so that no two loads wait for each other


@pytest.fixture(scope="module")
def measured() -> tuple[PoolSpec, dict[str, str]]:
    """The host as one pool: what each model holds and takes to load there, alone; and its path."""
    twin = TwinHost(HOST, physics_of(HOST), Timeline(START))
    free = twin.cards.free(CARD)
    expected = look_at(load_settings(config=None, host=host_url("workstation"))).costs
    costs, paths = {}, {}
    for name in NAMES:
        began = twin.timeline.now
        twin.use(name, 1.0, keep_alive=30.0)
        while not list(twin.residents()):
            twin.timeline.advance(twin.timeline.now + 0.01)
        took = twin.timeline.now - began
        costs[name] = ModelCost(
            id=name,
            bytes=free - twin.cards.free(CARD),
            load_seconds=took,
            forecast_bytes=expected[name].forecast_bytes,
        )
        paths[name] = twin.library.find(name).key
        twin.timeline.advance(twin.timeline.now + 60.0)
    return PoolSpec(models=costs, budget_bytes=free), paths


def arrivals(seed: int, kept: tuple[float | None, ...]) -> list[Arrival]:
    """Requests for any of the models, with these keep-alives of their clients."""
    rng = random.Random(seed)
    at, rows = 0.0, []
    for _ in range(60):
        at += BETWEEN + rng.choice([30.0, 80.0, 190.0, 390.0])
        rows.append(
            Arrival(
                at=at,
                model=rng.choice(NAMES),
                seconds=rng.choice([1.0, 9.0]),
                keep_alive=rng.choice(kept),
            )
        )
    return rows


@pytest.mark.parametrize("kept", [(None,), (FOREVER,)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_quick_pool_tells_what_the_twin_does(seed, kept, measured) -> None:
    """Of sixty requests at most three more or fewer are cold, of each model too: memory that comes
    back at once, as in the pool, now and then spares a neighbour."""
    spec, paths = measured
    asked = arrivals(seed, kept)
    full = replay(HOST, physics_of(HOST), asked)
    trace = Trace.of(Request(a.at, a.model, a.seconds) for a in asked)
    sent = tuple(a.keep_alive for a in asked)
    pool = Server(Trace(trace.times, trace.models, trace.seconds, sent), spec)
    pool.path = paths
    quick = pool.run()
    part = full.of(NAMES)
    assert quick.requests == part.requests == len(asked)
    assert abs(quick.cold_starts - part.cold_starts) <= 3
    assert abs(quick.loads - full.loads) <= 3
    for name in NAMES:
        assert abs(quick.cold_by_model.get(name, 0) - full.of([name]).cold_starts) <= 3
