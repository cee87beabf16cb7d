"""Timers and unloads of the twin's Ollama: when they run, what wins, how long they take."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from twin_rig import LOAD_SECONDS, Rig, cards, model

from warmset.core.model import FOREVER
from warmset.core.ollama.keepalive import OVERFLOWED, parse_keep_alive
from warmset.core.ollama.types import Gpu
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.discovery import RunnerDiscovery
from warmset.core.twin.events import Unloaded
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.unloading import GO_LONGEST_SECONDS
from warmset.core.units import GIB

A, B, C = (model(name, 6) for name in "abc")
ONE_CARD = cards(24)


def loaded(keep: float | None, **words: object) -> Rig:
    """A host where model a was loaded and its first request has just ended, at 4 seconds."""
    rig = Rig(A, B, C, **{"gpus": ONE_CARD, **words})
    number = rig.ask("a", keep)
    rig.wait(LOAD_SECONDS)
    rig.scheduler.finish(number)
    return rig


def test_the_timer_runs_from_the_end_of_the_last_request() -> None:
    """Not from its start: streaming does not count against the duration."""
    rig = Rig(A, gpus=ONE_CARD)
    number = rig.ask("a", 10.0)
    rig.wait(1000.0)
    assert rig.resident == ["a"]
    rig.scheduler.finish(number)
    rig.wait(9.9)
    assert rig.resident == ["a"]
    rig.wait(0.2)
    assert rig.resident == []


def test_the_timer_is_stopped_by_a_request_and_starts_afresh_with_the_full_duration() -> None:
    """Use at the ninth second of ten gives ten more, once it is over."""
    rig = loaded(10.0)
    rig.wait(9.0)
    number = rig.ask("a")
    rig.wait(50.0)
    rig.scheduler.finish(number)
    rig.wait(9.9)
    assert rig.resident == ["a"]
    rig.wait(0.2)
    assert rig.resident == []


def test_the_timer_waits_for_every_request() -> None:
    """Only when nobody is left in flight does it start."""
    rig = loaded(10.0)
    first, second = rig.ask("a"), rig.ask("a")
    rig.scheduler.finish(first)
    rig.wait(100.0)
    assert rig.resident == ["a"]
    rig.scheduler.finish(second)
    assert rig.runner("a").expires_at == pytest.approx(114.0)


def test_a_value_replaces_the_duration_and_none_keeps_it() -> None:
    """The last explicit sender wins, shorter or longer; the default is never re-applied."""
    rig = loaded(900.0)
    rig.scheduler.finish(rig.ask("a"))
    assert rig.runner("a").duration == 900.0
    rig.scheduler.finish(rig.ask("a", 20.0))
    assert rig.runner("a").duration == 20.0
    assert rig.runner("a").expires_at == pytest.approx(24.0)
    rig.scheduler.finish(rig.ask("a", FOREVER))
    assert rig.runner("a").duration == FOREVER


def test_the_replacement_happens_at_the_start_and_shows_at_the_end() -> None:
    """While in flight `expires_at` stands still, even in the past."""
    rig = loaded(10.0)
    number = rig.ask("a", 900.0)
    assert rig.runner("a").duration == 900.0
    assert rig.runner("a").expires_at == pytest.approx(14.0)
    rig.wait(500.0)
    assert rig.runner("a").expires_at == pytest.approx(14.0)
    rig.scheduler.finish(number)
    assert rig.runner("a").expires_at == pytest.approx(1404.0)


def test_a_load_without_a_value_takes_the_servers_default() -> None:
    """OLLAMA_KEEP_ALIVE counts at loads only."""
    rig = loaded(None, keep_alive=42.0)
    assert rig.runner("a").duration == 42.0


@pytest.mark.parametrize("duration", [0.0, OVERFLOWED])
def test_a_duration_of_nothing_unloads_at_the_end_of_the_request(duration: float) -> None:
    """0, and a number that overflowed below it, keep the model only while it is used."""
    rig = Rig(A, gpus=ONE_CARD)
    number = rig.ask("a", duration)
    rig.wait(1000.0)
    assert rig.resident == ["a"]
    rig.scheduler.finish(number)
    assert rig.resident == []


def test_an_overflowed_duration_is_shown_in_the_far_past_until_the_first_idle_moment() -> None:
    """Go adds its smallest duration to now: 292 years ago, a moment that can be written."""
    spec = named_host("cpu")
    host = TwinHost(spec, physics_of(spec), Timeline(1.8e9))
    host.use("llama3.2:3b", 100.0, keep_alive=parse_keep_alive(1e10))
    host.timeline.advance(1.8e9 + 50.0)
    (row,) = host.residents()
    assert row.expires_at == pytest.approx(host.timeline.now - GO_LONGEST_SECONDS)
    host.timeline.advance(1.8e9 + 200.0)
    assert host.residents() == ()


def test_for_ever_has_no_timer_and_a_finite_expiry() -> None:
    """It is shown 292 years ahead, as Go's longest duration."""
    rig = loaded(FOREVER)
    assert rig.runner("a").timer is None
    assert rig.runner("a").expires_at == pytest.approx(4.0 + GO_LONGEST_SECONDS)
    rig.wait(1e9)
    assert rig.resident == ["a"]
    assert math.isinf(rig.runner("a").duration)


def test_an_unload_by_a_client_expires_now_and_waits_for_requests() -> None:
    """Idle: gone at once. Busy: `expires_at` is now, and it goes after the last request."""
    rig = loaded(900.0)
    number = rig.ask("a")
    rig.wait(10.0)
    rig.scheduler.unload("sha256:a")
    assert rig.runner("a").expires_at == rig.timeline.now
    rig.wait(50.0)
    assert rig.resident == ["a"]
    rig.scheduler.finish(number)
    assert rig.resident == []


def test_a_later_keep_alive_cancels_an_unload_of_a_busy_model() -> None:
    """The unload only set the duration to 0; a request that brings another one undoes it."""
    rig = loaded(900.0)
    number = rig.ask("a")
    rig.scheduler.unload("sha256:a")
    other = rig.ask("a", 60.0)
    rig.scheduler.finish(number)
    rig.scheduler.finish(other)
    rig.wait(59.0)
    assert rig.resident == ["a"]


def test_an_expiry_that_found_the_model_busy_wins_over_a_newer_keep_alive() -> None:
    """While the loop waits for memory an expiry can queue up behind a request (2.4)."""
    rig = Rig(A, B, gpus=ONE_CARD, release_lag=3.0)
    rig.use("b", 300.0)
    rig.use("a", 100.0)
    rig.scheduler.unload("sha256:b")  # blocks the loop for three seconds
    rig.runner("a").stop_timer()
    rig.scheduler._unloader._expired(rig.runner("a"))  # the timer fires now
    number = rig.ask("a", FOREVER)
    rig.wait(5.0)
    assert rig.runner("a").expires_when_idle
    rig.scheduler.finish(number)
    assert rig.resident == ["a"]
    rig.wait(0.011)
    assert rig.resident == []


def test_an_expiry_that_waits_stays_behind_further_requests() -> None:
    """Within its 10 ms a new request postpones it again; it is never forgotten."""
    rig = loaded(FOREVER)
    first = rig.ask("a")
    rig.scheduler._unloader._expired(rig.runner("a"))
    rig.scheduler.finish(first)
    second = rig.ask("a", FOREVER)
    rig.wait(1.0)
    assert rig.resident == ["a"]
    rig.scheduler.finish(second)
    rig.wait(0.011)
    assert rig.resident == []


def test_memory_that_comes_back_at_once_is_noticed_at_the_first_look() -> None:
    """A look every quarter of a second; the model has left the list before."""
    rig = loaded(900.0)
    rig.scheduler.unload("sha256:a")
    assert rig.resident == []
    assert rig.scheduler.is_working
    rig.wait(0.249)
    assert rig.scheduler.is_working
    rig.wait(0.002)
    assert not rig.scheduler.is_working


def test_late_memory_is_waited_for_until_it_is_back() -> None:
    """One second of release lag ends the wait at the fourth look, or the fifth at its border."""
    rig = loaded(900.0, release_lag=0.9)
    rig.scheduler.unload("sha256:a")
    rig.wait(0.99)
    assert rig.scheduler.is_working
    rig.wait(0.02)
    assert not rig.scheduler.is_working


def test_the_wait_for_memory_ends_after_five_seconds() -> None:
    """Memory that does not come back costs five seconds, no more."""
    rig = loaded(900.0, release_lag=60.0)
    rig.scheduler.unload("sha256:a")
    rig.wait(4.99)
    assert rig.scheduler.is_working
    rig.wait(0.02)
    assert not rig.scheduler.is_working


def test_unloads_are_serial() -> None:
    """Three expiries at once take five seconds each when memory does not come back."""
    rig = Rig(A, B, C, gpus=ONE_CARD, release_lag=60.0)
    for name in "abc":
        rig.use(name, FOREVER)
    start = rig.timeline.now
    rig.scheduler.runtime_oom()
    rig.wait(16.0)
    times = [at - start for at, event in rig.events if isinstance(event, Unloaded)]
    assert times == pytest.approx([0.0, 5.0, 10.0])


def test_ends_of_requests_pile_up_behind_a_wait_for_memory() -> None:
    """One loop does all: a timer starts only when the wait before it is over."""
    rig = loaded(900.0, release_lag=60.0)
    rig.use("b", 10.0)
    number = rig.ask("b")
    rig.scheduler.unload("sha256:a")
    rig.scheduler.finish(number)
    assert rig.runner("b").refs == 1
    rig.wait(5.0)
    assert rig.runner("b").refs == 0
    assert rig.runner("b").expires_at == pytest.approx(rig.timeline.now + 10.0)


@pytest.mark.parametrize(
    "gpus",
    [(), cards(24, integrated=True), (replace(ONE_CARD[0], library="Metal"),)],
    ids=["cpu", "integrated", "metal"],
)
def test_nothing_is_waited_for_without_a_discrete_gpu(gpus: tuple[Gpu, ...]) -> None:
    """CPU, shared memory and Metal: the unload is over at once."""
    rig = loaded(900.0, gpus=gpus, release_lag=60.0)
    rig.scheduler.unload("sha256:a")
    assert (rig.resident, rig.scheduler.is_working) == ([], False)


def test_a_shutdown_ends_the_wait_for_memory() -> None:
    """No look of an old server's wait does anything later."""
    rig = loaded(900.0, release_lag=60.0)
    rig.scheduler.unload("sha256:a")
    rig.scheduler.shutdown()
    assert not rig.scheduler.is_working
    rig.wait(60.0)
    assert rig.resident == []


def test_less_belief_than_before_ends_the_wait_at_once() -> None:
    """Unsigned in Ollama: memory that another program takes meanwhile counts as recovered."""
    rig = loaded(900.0, release_lag=60.0)
    rig.scheduler.unload("sha256:a")
    rig.cards.set_foreign("CUDA:0", 10 * GIB)
    rig.wait(0.26)
    assert not rig.scheduler.is_working


def test_cached_accounts_of_another_runner_make_the_wait_run_full() -> None:
    """While another runner answers for the GPU, nobody sees the memory come back (3.7)."""

    def waited(*names: str) -> float:
        rig = Rig(A, B, gpus=ONE_CARD, discovery=RunnerDiscovery)
        for name in names:
            rig.use(name, FOREVER)
        start = rig.timeline.now
        rig.scheduler.unload("sha256:a")
        while rig.scheduler.is_working:
            rig.timeline.advance(rig.timeline.next_at)
        return rig.timeline.now - start

    assert waited("a") == pytest.approx(0.25)
    assert waited("a", "b") == pytest.approx(5.0)


def test_a_runner_that_is_loaded_during_the_wait_is_not_asked() -> None:
    """The wait keeps the runners of its own moment, so a load beside it does not end it."""
    rig = Rig(A, B, gpus=cards(80), release_lag=3.0)
    rig.use("a", FOREVER)
    number = rig.ask("b")
    rig.wait(LOAD_SECONDS - 1.0)
    rig.scheduler.unload("sha256:a")
    rig.wait(2.0)
    assert rig.answer(number) == "granted"
    assert rig.scheduler.is_working
    rig.wait(1.1)
    assert not rig.scheduler.is_working


def test_a_second_expiry_of_one_unload_is_ignored() -> None:
    """An unload asked for twice happens once, also when the model is back meanwhile."""
    rig = loaded(900.0, release_lag=60.0)
    rig.use("b", FOREVER)
    rig.scheduler.unload("sha256:b")
    rig.scheduler.unload("sha256:a")
    rig.scheduler.unload("sha256:a")
    rig.wait(20.0)
    assert rig.gone == ["b", "a"]


def test_what_is_released_drains_before_the_driver_shows_it() -> None:
    """Freed bytes are neither held nor free until the lag is over."""
    rig = loaded(900.0, release_lag=0.9)
    pid = rig.runner("a").pid
    assert rig.cards.held_by(pid) == {"CUDA:0": 6 * GIB}
    rig.cards.set_foreign("CUDA:0", GIB)
    rig.scheduler.unload("sha256:a")
    assert rig.cards.held_by(pid) == {}
    assert rig.cards.draining("CUDA:0") == 6 * GIB
    assert rig.cards.free("CUDA:0") == 17 * GIB
    rig.wait(1.0)
    assert (rig.cards.draining("CUDA:0"), rig.cards.free("CUDA:0")) == (0, 23 * GIB)
    assert rig.cards.foreign("CUDA:0") == GIB


def test_free_memory_is_never_shown_below_zero() -> None:
    """Allocations of a process add up; beyond the card nothing is free."""
    rig = Rig(gpus=ONE_CARD)
    held: Cards = rig.cards
    held.allocate(1, {"CUDA:0": 20 * GIB})
    held.allocate(1, {"CUDA:0": 20 * GIB})
    assert held.held_by(1) == {"CUDA:0": 40 * GIB}
    assert held.all_free() == {"CUDA:0": 0}
    held.release(1)
    assert held.all_free() == {"CUDA:0": 24 * GIB}


def test_an_unload_tells_whether_it_had_to_make_room() -> None:
    """The victim of a load was evicted; whoever's time is over was not, whatever loads beside."""
    rig = loaded(10.0)
    rig.wait(11.0)
    rig.ask("b", 60.0)
    rig.wait(LOAD_SECONDS)
    rig.scheduler.unload(B.key)
    gone = [
        (event.name, event.is_evicted) for _, event in rig.events if isinstance(event, Unloaded)
    ]
    assert gone == [("a", False)]

    rig = loaded(600.0, max_loaded_models=1)
    rig.ask("b")
    rig.wait(LOAD_SECONDS)
    gone = [
        (event.name, event.is_evicted) for _, event in rig.events if isinstance(event, Unloaded)
    ]
    assert gone == [("a", True)]
