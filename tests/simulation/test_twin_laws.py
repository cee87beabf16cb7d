"""Laws of the twin's Ollama under any sequence of requests, ends, leaves, kills and waits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twin_rig import OOM, Rig, cards, model

from warmset.core.model import FOREVER
from warmset.core.ollama.admission import max_loaded
from warmset.core.twin.discovery import DriverDiscovery, RunnerDiscovery
from warmset.core.twin.events import Failed, Granted
from warmset.core.units import GIB

SIZES = {"a": 3, "b": 6, "c": 9, "d": 14, "e": 30}
MODELS = tuple(model(name, size) for name, size in SIZES.items())
KEEPS = (None, 0.0, 1.0, 600.0, FOREVER)
HOSTS = ((), cards(24), cards(24, 12), cards(24, integrated=True))

names = st.sampled_from(sorted(SIZES))
asks = st.tuples(st.just("ask"), names, st.sampled_from(KEEPS), st.sampled_from([0, 0, 0, 2048]))
ends = st.tuples(st.just("finish"), st.integers(0, 5))
waits = st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 5.0, 5.0, 400.0]))
moves = st.one_of(
    *(asks, asks, asks, ends, ends, waits, waits, waits),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["unload", "kill", "lack"]), names),
    st.tuples(st.sampled_from(["oom", "foreign"]), st.integers(0, 24)),
)
stories = st.lists(moves, min_size=25, max_size=60)


@dataclass(frozen=True, kw_only=True)
class Host:
    gpus: int
    discovery: int
    limit: int
    queue: int
    lag: float


hosts = st.builds(
    Host,
    gpus=st.integers(0, len(HOSTS) - 1),
    discovery=st.integers(0, 1),
    limit=st.sampled_from([0, 1, 2]),
    queue=st.sampled_from([0, 1, 512]),
    lag=st.sampled_from([0.0, 0.8, 60.0]),
)


class Story:
    """A server and its clients; the laws are checked after every move."""

    def __init__(self, host: Host) -> None:
        gpus = HOSTS[host.gpus]
        self.rig = Rig(
            *MODELS,
            gpus=gpus,
            discovery=(DriverDiscovery, RunnerDiscovery)[host.discovery],
            max_loaded_models=host.limit,
            max_queue=host.queue,
            release_lag=host.lag,
        )
        self.limit = max_loaded(host.limit, len(gpus))
        self.asked: list[int] = []
        self.open: list[int] = []
        self.left: set[int] = set()

    def make(self, move: tuple) -> None:
        kind, *words = move
        getattr(self, f"do_{kind}")(*words)
        self.check()

    def do_ask(self, name: str, keep: float | None, context: int) -> None:
        number = self.rig.ask(name, keep, **({"num_ctx": context} if context else {}))
        self.asked.append(number)
        self.open.append(number)

    def do_finish(self, which: int) -> None:
        running = [n for n in self.open if self.rig.answer(n) == "granted"]
        if running:
            self.end(running[which % len(running)])

    def do_cancel(self, which: int) -> None:
        if self.open:
            number = self.open.pop(which % len(self.open))
            self.left.add(number)
            self.rig.scheduler.cancel(number)

    def do_wait(self, seconds: float) -> None:
        self.rig.wait(seconds)

    def do_unload(self, name: str) -> None:
        self.rig.scheduler.unload(self.rig.models[name].key)

    def do_kill(self, name: str) -> None:
        self.rig.scheduler.kill(self.rig.models[name].key)

    def do_lack(self, name: str) -> None:
        self.rig.bench.errors.setdefault(name, []).append(OOM)

    def do_oom(self, _: int) -> None:
        self.rig.scheduler.runtime_oom()

    def do_foreign(self, gib: int) -> None:
        if self.rig.cards.gpus:
            self.rig.cards.set_foreign("CUDA:0", gib * GIB)

    def end(self, number: int) -> None:
        self.open.remove(number)
        self.rig.scheduler.finish(number)

    def check(self) -> None:
        rig = self.rig
        runners = tuple(rig.scheduler.loaded.values())
        assert len(runners) + (rig.scheduler.loading is not None) <= self.limit
        assert all(runner.refs >= 0 for runner in runners)
        for gpu in rig.cards.gpus:
            held = sum(rig.cards.held_by(pid).get(gpu.device, 0) for pid in range(1000, 2000))
            assert 0 <= held + rig.cards.draining(gpu.device) <= gpu.total_bytes
            assert rig.cards.free(gpu.device) >= 0
        answers = Counter(
            event.request_id for _, event in rig.events if isinstance(event, Granted | Failed)
        )
        assert all(count == 1 for count in answers.values())

    def settle(self) -> None:
        """Ends every request as soon as it is granted, until nothing moves for a while."""
        for _ in range(200):
            for number in tuple(self.open):
                answer = self.rig.answer(number)
                if answer == "granted":
                    self.end(number)
                elif answer != "waiting":
                    self.open.remove(number)
            self.rig.wait(10.0)
            self.check()
            if not self.open and not self.rig.scheduler.is_working:
                return

    def is_frozen(self) -> bool:
        """Whether the conditions of issue #17408 hold: no load, nobody leaves, all idle."""
        scheduler = self.rig.scheduler
        runners = scheduler.loaded.values()
        return not scheduler.is_working and all(
            runner.refs == 0 and runner.duration > 0 for runner in runners
        )


@settings(max_examples=100)
@given(hosts, stories)
def test_every_request_gets_one_answer_unless_loading_is_frozen(
    host: Host, story: list[tuple]
) -> None:
    """Never more models than allowed, never more bytes than a card has, never two answers."""
    told = Story(host)
    for move in story:
        told.make(move)
    told.settle()
    for _ in range(2 * len(MODELS) * max(told.rig.scheduler.waiting, 1)):
        if not told.rig.scheduler.waiting:
            break  # even a head whose client is gone can be frozen
        assert told.is_frozen(), told.rig.events[-5:]
        assert told.rig.resident
        told.rig.scheduler.unload(next(iter(told.rig.scheduler.loaded)))
        told.settle()
    assert told.open == []
    unanswered = {n for n in told.asked if told.rig.answer(n) == "waiting"}
    assert unanswered <= told.left
    assert told.rig.scheduler.waiting == 0


@settings(max_examples=30)
@given(hosts, stories)
def test_the_same_story_is_told_the_same_way(host: Host, story: list[tuple]) -> None:
    """No chance, no order of hashes: events and their moments are equal."""
    first, second = Story(host), Story(host)
    for move in story:
        first.make(move)
        second.make(move)
    assert first.rig.events == second.rig.events


@settings(max_examples=30)
@given(stories)
def test_keep_alives_of_nothing_leave_nothing_behind(story: list[tuple]) -> None:
    """When all clients are gone and every model was let go, the cards are as at the start."""
    told = Story(Host(gpus=2, discovery=1, limit=0, queue=512, lag=0.8))
    for move in story:
        told.make(move)
    for _ in range(100):
        for number in tuple(told.open):
            told.make(("cancel", told.open.index(number)))
        told.rig.scheduler.runtime_oom()
        told.rig.wait(10.0)
        if not told.rig.resident and not told.rig.scheduler.is_working:
            break
    told.rig.cards.set_foreign("CUDA:0", 0)
    assert told.rig.cards.all_free() == {g.device: g.total_bytes for g in told.rig.cards.gpus}
    assert told.rig.scheduler.waiting == 0


def test_models_are_distinct() -> None:
    """The stories above need models of different sizes on different blobs."""
    assert len({m.key for m in MODELS}) == len(SIZES)
    assert replace(MODELS[0], name="x").key == MODELS[0].key
