"""Ranks written into keep-alives change what Ollama itself evicts."""

from dataclasses import replace

import pytest
from loop_hosts import words

from warmset.core.catalogue import known_model
from warmset.core.control.leases import lease_seconds
from warmset.core.model import FOREVER
from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.demand import Arrival, generate_demand
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import HOSTS, named_host, physics_of
from warmset.core.twin.replay import replay

CODER, CHAT, WRITER = "qwen2.5-coder:7b", "llama3.1:8b", "qwen2.5:14b"


def resident_after(*requests: tuple[str, float | None]) -> set[str]:
    """Returns the names resident on a workstation after requests with these keep-alives."""
    spec = named_host("workstation")
    host = TwinHost(spec, physics_of(spec))
    for name, keep_alive in requests:
        host.use(name, 1.0, keep_alive=keep_alive)
        host.timeline.advance(host.timeline.now + 30.0)
    return {row.model.name for row in host.residents()}


# Of two models with equal keep-alives Ollama evicts the one whose weights' digest is smaller.
PINNED, OTHER = sorted((CODER, CHAT), key=lambda name: known_model(name).key)


def test_stock_ollama_evicts_the_model_that_matters_most() -> None:
    """Pinned in somebody's mind or not: equal keep-alives, so the hash decides."""
    assert PINNED not in resident_after((PINNED, None), (OTHER, None), (WRITER, None))


def test_ranked_keep_alives_keep_it() -> None:
    """The same three requests, the pinned model with the higher lease: the other one goes."""
    left = resident_after((PINNED, lease_seconds(16)), (OTHER, lease_seconds(8)), (WRITER, None))
    assert left == {PINNED, WRITER}


def test_an_infinite_keep_alive_is_not_a_pin() -> None:
    """Two models "for ever" fall back to the hash, which is why leases are finite and distinct."""
    assert PINNED not in resident_after((PINNED, FOREVER), (OTHER, FOREVER), (WRITER, None))


def test_a_kept_rank_survives_clients_that_overwrite_it() -> None:
    """Clients that send their own short keep-alive do not cost a pinned model its place."""
    spec = replace(
        named_host("workstation"), env=ServerEnv(max_loaded_models=2, context_length=8192)
    )
    turns = ((PINNED, 240.0), (OTHER, 600.0), (WRITER, 600.0))
    arrivals = tuple(
        Arrival(at=60.0 * i, model=turns[i % 3][0], seconds=2.0, keep_alive=turns[i % 3][1])
        for i in range(3, 60)
    )
    stock = replay(spec, physics_of(spec), arrivals).of([PINNED])
    kept = replay(
        spec, physics_of(spec), arrivals, words({PINNED: {"pin": True}, OTHER: {"preload": False}})
    ).of([PINNED])
    assert stock.cold_starts > 10
    assert kept.cold_starts == 0


@pytest.mark.parametrize("host", HOSTS)
def test_a_replay_is_deterministic_and_loses_no_request(host: str) -> None:
    """The same seed gives the same score, and every request is answered or refused."""
    spec = named_host(host)
    names = [model.name for model in spec.models]
    arrivals = generate_demand("quiet", names, hours=2, seed=4)
    first, second = (
        replay(
            spec,
            physics_of(spec),
            arrivals,
            words({names[0]: {"pin": True}, names[1]: {"preload": False}}),
        )
        for _ in range(2)
    )
    assert first == second
    assert len(first.answers) + first.failed == len(arrivals)
    assert first.failed == 0
