"""`advise`: which keep-alives of clients work against it."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import pytest

from warmset.core.control.state import Remembered
from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import ModelCost
from warmset.core.twin.memory import PoolSpec
from warmset.shell.advise import counsel
from warmset.shell.replay_source import Source

GB = 10**9


@pytest.mark.parametrize(
    ("sent", "seen", "told"),
    [
        (60.0, (5.0,), "shorter than advised"),
        (8 * 3600.0, (5.0,), "longer than advised"),
        (inf, (), "for ever"),
        (900.0, (5.0,), ""),
        (300.0, (), ""),
    ],
)
def test_what_clients_send_is_set_against_the_advice(
    monkeypatch: pytest.MonkeyPatch, sent: float, seen: tuple[float, ...], told: str
) -> None:
    """`a` is asked for every 10 minutes for 2 hours a day: 15 minutes are best. What equals it is
    fine; what nobody overwrote is the server's default and no client's word."""
    known = Remembered(name="a", foreign=sent, overwrites=seen)
    story = SimpleNamespace(state=SimpleNamespace(models={"sha256:a": known}))
    monkeypatch.setattr("warmset.shell.advise.read_story", lambda *_, **__: story)
    times = [day * 86400.0 + 600 * i for day in range(5) for i in range(12)]
    source = Source(
        label="t",
        host="h",
        url="http://127.0.0.1:1",
        trace=Trace.of([Request(at, "a", 1.0) for at in times]),
        spec=PoolSpec(
            models={"a": ModelCost(id="a", bytes=8 * GB, load_seconds=4.0)}, budget_bytes=10 * GB
        ),
        gpus=1,
    )
    made = counsel(source, environ={})
    assert made.models[0].keep_alive == 900.0
    assert bool(made.clients) == bool(told)
    if told:
        assert told in made.clients[0].text
