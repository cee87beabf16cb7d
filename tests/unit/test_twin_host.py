"""A host in the virtual clock: requests with durations, `/api/ps` rows, restarts, kills."""

from __future__ import annotations

import math

import pytest

from warmset.core.model import FOREVER
from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.host import Crash, Disconnected, Grant, HostSpec, News, Refusal, TwinHost
from warmset.core.twin.library import InstalledModel, Weights
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.core.units import GIB, MIB

LOAD_SECONDS = 2.0


class SteadyPhysics:
    """Every load takes two seconds and as much RAM as the file."""

    def load(self, order: LoadOrder) -> LoadResult:
        return LoadResult(seconds=LOAD_SECONDS, total_bytes=order.model.file.file_bytes)


def installed(name: str, number: int) -> InstalledModel:
    weights = Weights(digest=f"sha256:{number:064x}", size_bytes=number * 100 * MIB)
    return InstalledModel(name=name, weights=weights)


def new_host(**env: str) -> TwinHost:
    models = tuple(installed(name, n) for n, name in enumerate(("a", "b", "c", "d"), 1))
    spec = HostSpec(
        name="test",
        system_total_bytes=16 * GIB,
        models=models,
        env=ServerEnv.from_environ({f"OLLAMA_{k}": v for k, v in env.items()}),
    )
    return TwinHost(spec, SteadyPhysics())


def names(host: TwinHost) -> list[str]:
    return [row.model.name for row in host.residents()]


def test_a_cold_request_waits_for_its_load_and_the_model_expires_after_its_keep_alive() -> None:
    """A request gets its runner after the load, and the idle model leaves at its deadline."""
    host, news = new_host(), []
    host.use("A", 3.0, keep_alive=10.0, then=news.append)
    host.timeline.advance(1.9)
    assert news == []
    assert names(host) == []
    host.timeline.advance(2.0)
    assert isinstance(news[0], Grant)
    assert news[0].was_cold
    assert news[0].waited_seconds == pytest.approx(2.0)
    host.timeline.advance(14.9)
    assert names(host) == ["a:latest"]
    host.timeline.advance(15.1)
    assert names(host) == []


def test_expiry_slides_until_first_idle_then_stands_still_while_busy() -> None:
    """Before the first idle moment expiry is now plus the duration; later use does not move it."""
    host = new_host()
    host.use("a", 10.0, keep_alive=60.0)
    host.timeline.advance(5.0)
    assert host.residents()[0].expires_at == pytest.approx(65.0)
    host.timeline.advance(9.0)
    assert host.residents()[0].expires_at == pytest.approx(69.0)
    host.timeline.advance(12.0)
    assert host.residents()[0].expires_at == pytest.approx(72.0)
    host.use("a", 100.0, keep_alive=1.0)
    host.timeline.advance(100.0)
    assert host.residents()[0].expires_at == pytest.approx(72.0)


def test_for_ever_is_shown_as_the_longest_duration_of_go() -> None:
    """An infinite keep-alive has a finite expiry, about 292 years from the idle moment."""
    host = new_host()
    host.use("a", 0.0, keep_alive=FOREVER)
    host.timeline.advance(5.0)
    expires = host.residents()[0].expires_at
    assert math.isclose(expires, 2.0 + 9223372036.854775807)


def test_rows_come_in_the_order_of_their_expiry() -> None:
    """The model that stays longest is listed first."""
    host = new_host()
    for name, keep in (("a", 100.0), ("b", 300.0), ("c", 200.0)):
        host.use(name, 0.0, keep_alive=keep)
    host.timeline.advance(10.0)
    assert names(host) == ["b:latest", "c:latest", "a:latest"]


def test_a_full_queue_refuses_with_503() -> None:
    """With one queue place taken, the next load is refused at once."""
    host, news = new_host(MAX_QUEUE="1"), []
    for name in ("a", "b", "c"):
        host.use(name, 0.0, then=news.append)
    host.timeline.advance(0.0)
    assert [n.status for n in news if isinstance(n, Refusal)] == [503]


def test_a_restart_forgets_residents_and_ends_open_requests_without_an_answer() -> None:
    """After a restart nothing is resident, and what was open has heard of the end."""
    host = new_host()
    news: list[News] = []
    host.use("a", 50.0, keep_alive=FOREVER, then=news.append)
    host.timeline.advance(3.0)
    host.restart(down_seconds=1.0)
    host.timeline.advance(3.5)
    assert not host.is_up
    assert isinstance(news[-1], Disconnected)
    host.timeline.advance(4.0)
    assert host.is_up
    assert names(host) == []
    host.use("a", 0.0)
    host.timeline.advance(7.0)
    assert names(host) == ["a:latest"]


def test_a_killed_runner_stays_listed_and_is_loaded_anew() -> None:
    """A dead runner's request fails; the next request loads again with the default keep-alive."""
    host = new_host()
    news: list[News] = []
    host.use("a", 50.0, keep_alive=FOREVER, then=news.append)
    host.timeline.advance(3.0)
    host.kill_runner(installed("a", 1).key)
    host.timeline.advance(3.0)
    assert isinstance(news[-1], Crash)
    assert names(host) == ["a:latest"]
    host.use("a", 0.0, then=news.append)
    host.timeline.advance(6.0)
    assert isinstance(news[-1], Grant)
    assert news[-1].was_cold
    assert host.residents()[0].expires_at == pytest.approx(5.0 + 300.0)


def test_an_aborted_load_leaves_nothing() -> None:
    """A client that goes away during its load takes the load with it."""
    host = new_host()
    number = host.use("a", 0.0)
    host.timeline.advance(1.0)
    host.cancel(number)
    host.timeline.advance(10.0)
    assert names(host) == []
