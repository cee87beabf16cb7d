"""One seed's host and its warmset: real step, executor and journal, under virtual time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from loop_hosts import GIANT, START, gib, pair

from soak.earlier import NAMES as EARLIER
from soak.earlier import put_in_place, state_of
from soak.giving_back import give_back
from soak.judge import Judge
from soak.laws import Witness
from soak.manners import Manners
from soak.motives import Motives
from soak.obedience import Obedience
from soak.operator import Operator, evict
from soak.peace import Peace
from soak.races import Races
from soak.restraints import Restraints
from soak.sights import Sights
from soak.story import PEACE_SECONDS, TROUBLE_SECONDS, USUAL, Happening, Story, uses_before
from soak.victims import Victims
from warmset.adapters.journal import Journal
from warmset.core.control.actions import Decision, Renew
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.orders import (
    Command,
    Done,
    Event,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
)
from warmset.core.control.step import step
from warmset.core.demand.measured import count_gaps
from warmset.core.model import ModelKey, Observation
from warmset.core.settings import Budget
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event as HostEvent
from warmset.core.twin.faults import Faults, Frail, FrailPhysics
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.library import digest_of
from warmset.core.twin.sidecar import Sidecar
from warmset.errors import Refused
from warmset.shell.lock import Holder, HostLock, take_lock
from warmset.shell.record import Recorder

OUT_OF_MEMORY = "cudaMalloc failed: out of memory"
"""Not in the words of the twin's own physics, whose loads fail only where memory is short."""

PEACE = TROUBLE_SECONDS + PEACE_SECONDS
LAST_CHANCE_SECONDS = 300.0
"""Before the end of the trouble, who waits for pings with a change behind them takes any pings."""
CUT_IN_SECONDS = {"use": 12.0, "unload": 2.0}
"""A look takes so long that somebody cuts in on: time for a load."""


class Watched(Frail):
    """A warmset process that is watched: each look, command and end is told to the witness."""

    def __init__(self, life: Life, loop: Loop, recorder: Recorder | None) -> None:
        super().__init__(
            life.host,
            loop,
            faults=life.faults,
            sees_processes=life.story.sees_processes,
            on_look=self._write,
        )
        self.life = life
        self.recorder = recorder
        self.keeps_log = False
        self.steps_left: int | None = None  # until it is killed, in commands and ends

    def observe(self) -> Observation:
        self.life.witness.look_begins()
        self.life.tell_judges("look_begins")
        seen = super().observe()
        if self.life.gaps:
            seen = replace(seen, learnt=replace(seen.learnt, gaps=self.life.gaps))
        pressure = self.life.ram_pressure
        return replace(seen, memory=replace(seen.memory, pressure=pressure)) if pressure else seen

    def _decide(self, observation: Observation) -> None:
        self.loop.configure(self.life.listens(observation.at, self.now))
        if self.life.meanwhile and self._is_about_to_ping(observation):
            seconds, self.life.meanwhile = self.life.cut_in(*self.life.meanwhile), ()
            self._timer = self.host.timeline.after(seconds, lambda: self._arrive(observation))
            return
        before = self.loop.state
        self.life.witness.looked(observation)
        self.life.tell_judges("looked", observation)
        self._looked = observation, before
        super()._decide(observation)
        decision = self.loop.decision
        assert decision is not None
        self.life.tell_judges("decided", before, decision)

    def _write(self, decision: Decision) -> None:
        """Writes before anything is sent, as the daemon does."""
        if self.recorder is not None:
            (observation, before), after = self._looked, self.loop.state
            self.recorder.decision(observation, self.loop.config, before, decision, after=after)
            self.recorder.state(after, observation.at)

    def _is_about_to_ping(self, observation: Observation) -> bool:
        """Whether this look leads to pings; who waits for it waits for one with more orders."""
        sends = step(observation, self.loop.config, self.loop.state, self.now)[1].sends
        is_last = self.life.now > TROUBLE_SECONDS - LAST_CHANCE_SECONDS
        return isinstance(next(iter(sends), None), Renew) and (
            is_last or not isinstance(sends[-1], Renew)
        )

    def _arrive(self, observation: Observation) -> None:
        """A look that took long: what it shows is of its beginning, its time of its end."""
        if self._is_running:
            self._decide(replace(observation, at=self.host.timeline.now + self.clock_ahead))

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self._count()
            if not self._is_running:
                return
            if isinstance(command, SendPing | SendPreload | SendUnload):
                if isinstance(command, SendPing) and self.life.snatches:
                    self.life.snatch(command)
                if isinstance(command, SendPreload) and self.life.jam:
                    self.life.jams(*self.life.jam)
                self.life.witness.sends(command, self.loop)
            self.life.tell_judges("carries_out", command)
            self.life.witness.is_sending = True
            super()._carry_out((command,))
            self.life.witness.is_sending = False

    def _report(self, event: Event) -> None:
        if not self._is_running:
            return
        self._count()
        if not self._is_running:
            return
        if self._is_lost(event):
            super()._report(event)  # warmset hears that it took too long, and not of this
            return
        running = self.loop.state.orders.running
        is_end = not isinstance(event, Started)
        if is_end and running is not None and running.number == event.number:
            self.life.witness.order_ends()
        known = len(self.log.findings)
        if isinstance(event, Done) and event.asked_at is not None and event.residents is not None:
            self.life.witness.reads(event.asked_at - self.began_ahead - START)
        self.life.tell_judges("ends", event)
        super()._report(event)
        found = [finding for _, finding in self.log.findings[known:]]
        self.life.tell_judges("found", found)
        if found and self.recorder is not None:
            self.recorder.findings(found, self.host.timeline.now)

    def _is_lost(self, event: Event) -> bool:
        is_reply = isinstance(event, Done) and event.residents is None
        return is_reply and self.faults.lost_replies > 0

    def _count(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left <= 0:
                self.steps_left = None
                self.life.crash(self.life.restart_after)


class Watcher(Sidecar):
    """A second warmset on the same host: `serve --observe`."""

    def __init__(self, life: Life, loop: Loop) -> None:
        super().__init__(life.host, loop, sees_processes=life.story.sees_processes, keeps_log=False)
        self.life = life

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self.life.witness.breaks(f"one that only looks on: {type(command).__name__}")


@dataclass
class Life:
    """A host with everything that happens to it.

    Args:
        story: what happens.
        folder: for the journal.
    """

    story: Story
    folder: Path
    faults: Faults = field(default_factory=Faults)
    restart_after: float = 5.0
    is_disk_full: bool = False
    ram_pressure: str = ""
    snatches: int = 0
    meanwhile: tuple = ()
    jam: tuple = ()
    is_over: bool = False

    def __post_init__(self) -> None:
        spec = named_host("workstation") if self.story.cards == 1 else pair()
        self.timeline = Timeline(START)
        self.physics = FrailPhysics(inner=physics_of(spec), error=OUT_OF_MEMORY)
        self.witness = Witness(self)
        self.motives = Motives(self, self.witness.breaks)
        self.races = Races(self, self.witness.breaks)
        self.peace = Peace(self, self.witness.breaks)
        self.judges: tuple[Judge, ...] = (
            Manners(self, self.witness.breaks),
            Restraints(self, self.witness.breaks),
            Sights(self, self.witness.breaks),
            Obedience(self, self.witness.breaks),
            Victims(self, self.witness.breaks),
            self.motives,
            self.races,
        )
        keys = {model.name: ModelKey(model.key) for model in spec.models}
        uses = uses_before(self.story.seed) if self.story.has_history else []
        self.gaps = count_gaps((at, keys[name]) for at, name in uses)
        self.host = TwinHost(spec, self.physics, self.timeline, on_event=self._hear)
        self.clock_ahead = 0.0
        self.operator = Operator(self.story)
        self.said = self.operator.said(self.wall, self.wall)
        self.warmset: Watched | None = None
        self.watchers: list[Watcher] = []
        self.has_other_past = bool(self.story.earlier)  # what is remembered is not of this life
        if self.story.earlier and not self.story.is_read_only:
            put_in_place(self.story.earlier, self.folder)
        self.journal: Journal | None = None
        self.lock: HostLock | None = None
        for happening in self.story.happenings:
            self.at(happening.at, lambda h=happening: self.happen(h))
        self.at(TROUBLE_SECONDS, self.heal)
        self.boot()

    @property
    def now(self) -> float:
        return self.timeline.now - START

    def at(self, when: float, action: Callable[[], object]) -> None:
        self.timeline.at(START + when, lambda: action() and None)

    def tell_judges(self, what: str, *told: object, **how: object) -> None:
        """Calls the method of that name of each judge."""
        for judge in self.judges:
            getattr(judge, what)(*told, **how)

    def _hear(self, event: HostEvent) -> None:
        if self.is_over:
            return
        self.tell_judges("hears", event)
        self.witness.hears(event)

    @property
    def wall(self) -> float:
        """The wall clock."""
        return self.timeline.now + self.clock_ahead

    @property
    def loop_now(self) -> float:
        """The time of the process that runs, or of one that would begin now."""
        return self.wall if self.warmset is None else self.warmset.now

    @property
    def ever_named(self) -> set[str]:
        """All that any word of the operator has named so far."""
        return self.operator.ever_named

    def is_pinned(self, name: str) -> bool:
        """Whether the operator wants a model resident now: pinned and wanted at all, or held."""
        return self.said.is_pinned((name,), self.loop_now)

    def is_managed(self, name: str) -> bool:
        """Whether anybody configured a model, or holds it now."""
        return self.said.is_managed((name,), self.loop_now)

    def listens(self, wall: float, now: float) -> Config:
        """Takes up what the operator has said since; returns it."""
        self.said = self.operator.said(wall, now)
        return self.said

    # -- warmset's own life -----------------------------------------------------------------------

    def boot(self) -> None:
        """Starts a warmset process on what the last one left."""
        if self.warmset is not None:
            return
        recorder = None
        state = None
        if not self.story.is_read_only:
            self.lock = take_lock(self.folder, Holder(pid=1, since=0.0, verb="serve"))
            self.journal = Journal(self.folder)
            if self.is_disk_full:
                self._fill_disk()
            recorder = Recorder(self.journal)
            state, _ = recorder.restore()
        self.listens(self.wall, self.wall)
        loop = Loop(self.said, state, is_read_only=self.story.is_read_only)
        self.warmset = Watched(self, loop, recorder)
        self.warmset.clock_ahead = self.warmset.began_ahead = self.clock_ahead
        self.witness.boots(state)
        is_fresh = state is None or not state.at or self.has_other_past
        self.has_other_past = False
        self.tell_judges("boots", is_fresh=is_fresh)
        self.warmset.start()

    def crash(self, seconds: float) -> None:
        """Kills the process as kill -9 does, and starts another one after a while."""
        if self.warmset is None:
            return
        self.warmset.kill()
        self._gone(seconds)

    def stop(self, seconds: float, *, releases: bool = False) -> None:
        """Ends the process as SIGTERM does; it may give its leases back before."""
        if self.warmset is None:
            return
        warmset = self.warmset
        late = warmset.observe()
        self.tell_judges("stops")
        warmset.stop()
        for command in warmset.loop.look(late, warmset.now):  # a look that was under way
            self.tell_judges("carries_out", command)
        self.witness.stopped(warmset)
        if releases and not self.story.is_read_only:
            give_back(self, warmset)
        if warmset.recorder is not None:
            warmset.recorder.state(warmset.loop.state, self.timeline.now, is_last=True)
        self._gone(seconds)

    def _gone(self, seconds: float) -> None:
        self.witness.process_ends()
        self.warmset = None
        if self.journal is not None:
            self.journal.close()
            self.journal = None
        if self.lock is not None:
            self.lock.release()
            self.lock = None
        self.timeline.after(seconds, self.boot)

    def _fill_disk(self) -> None:
        """No page more: SQLite meets a full disk."""
        assert self.journal is not None
        used = self.journal._db.execute("PRAGMA page_count").fetchone()[0]
        self.journal._db.execute(f"PRAGMA max_page_count = {used}")

    # -- what happens -----------------------------------------------------------------------------

    def happen(self, happening: Happening) -> None:
        self.witness.disturbed()
        getattr(self, f"_{happening.kind}")(*happening.details)

    def heal(self) -> None:
        """Everything works again, and the models are where they were."""
        self.witness.disturbed()
        self.faults.heal()
        self.physics.failing, self.physics.slowness = 0, 1.0
        self.ram_pressure, self.snatches, self.meanwhile, self.jam = "", 0, (), ()
        self._unjam()
        vars(self.host.scheduler).pop("_evict_one", None)
        self.host.cards.release_lag_seconds = self.host.spec.release_lag_seconds
        for gpu in self.host.spec.gpus:
            count = self.host.spec.foreign_bytes.get(gpu.device, 0)
            self.host.cards.set_foreign(gpu.device, count)
        if self.warmset is not None:
            self.warmset.answers_ps, self.warmset.ps_seconds = True, 0.0
        for model in self.host.spec.models:
            if self.host.library.find(model.name) is None:
                self.host.library.install(model)
        self.operator.budget, self.operator.yielding = Budget(), ""
        self._edit("back")

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        def end() -> None:
            self.witness.disturbed()
            action()

        self.timeline.after(seconds, end)

    def _use(self, name: str, busy: float, keep: float | None, context: int | None) -> None:
        if self.host.is_up and self.host.library.find(name) is not None:
            self.tell_judges("used", name, keep)
            options = {} if context is None else {"num_ctx": context}
            self.host.use(name, busy, keep_alive=keep, options=options)

    def _restart(self, seconds: float) -> None:
        if self.host.is_up:
            self.witness.server_restarts(seconds)
            self.tell_judges("breaks_off", is_server=True)
            self.host.restart(seconds)

    def _upgrade(self, seconds: float) -> None:
        """The server ends, and another version of it begins."""
        self.host.spec = replace(self.host.spec, version=f"0.33.{self.host.starts}")
        self._restart(seconds)

    def _wedge(self, busy: float) -> None:
        """A client's keep-alive reaches a busy victim: all loading stops (issue #17408)."""
        if not self.host.is_up:
            return

        def use_all(keep: float) -> None:
            for row in self.host.residents():
                self._use(row.model.name, busy, keep, None)

        use_all(600.0)
        self._use(GIANT, 5.0, None, None)
        self._later(busy / 2, lambda: use_all(86400.0))

    def _kill_runner(self, name: str) -> None:
        model = self.host.library.find(name)
        if model is not None and self.host.is_up:
            self.host.kill_runner(model.key)

    def _load_fails(self, count: int) -> None:
        self.physics.failing, self.physics.error = count, "llama runner process has terminated"

    def _load_oom(self, count: int) -> None:
        self.physics.failing, self.physics.error = count, OUT_OF_MEMORY

    def _runtime_oom(self) -> None:
        if self.host.is_up:
            self.host.scheduler.runtime_oom()

    def _slow_loads(self, factor: float, seconds: float) -> None:
        self.physics.slowness = factor
        self._later(seconds, lambda: setattr(self.physics, "slowness", 1.0))

    def _delete(self, name: str) -> None:
        model = self.host.library.find(name)
        if model is not None:
            self.witness.is_deleted(model.key)
            self.tell_judges("is_deleted", model.key)
            self.host.library.delete(name)

    def _repull(self, name: str) -> None:
        model = self.host.library.find(name)
        if model is None:
            return
        weights = replace(model.weights, digest="sha256:" + digest_of(name, str(self.now)))
        self.physics.inner._facts = {**self.physics.inner._facts, weights.digest: weights.facts}
        self.host.library.install(replace(model, weights=weights, digest=""))

    def _foreign(self, size: float, seconds: float, number: int = 0) -> None:
        card = self.host.spec.gpus[number].device
        was = self.host.cards.foreign(card)
        self._take(size, card)
        self._later(seconds, lambda: self.host.cards.set_foreign(card, was))

    def _take(self, size: float, card: str) -> None:
        """Another program takes so many GiB of a card, or what there is."""
        taken = min(gib(size), self.host.cards.free(card))
        self.motives.takes()
        self.host.cards.set_foreign(card, self.host.cards.foreign(card) + taken)

    def _tide(self, size: float, seconds: float, number: int = 0) -> None:
        """Another program takes memory and gives it back, again and again."""
        card = self.host.spec.gpus[number].device
        was = self.host.cards.foreign(card)

        def rise() -> None:
            self.witness.disturbed()
            if self.now < TROUBLE_SECONDS:
                self._take(size, card)
                self._later(seconds, fall)

        def fall() -> None:
            self.host.cards.set_foreign(card, was)
            self.timeline.after(seconds, rise)

        rise()

    def _fight(self, name: str) -> None:
        """A client unloads a model whenever it sees it."""

        def look() -> None:
            model = self.host.library.find(name)
            if self.now > TROUBLE_SECONDS:
                return
            if model is not None and self.host.is_up and model.key in self.host.scheduler.loaded:
                self.witness.disturbed()
                self.host.unload(model)
            self.timeline.after(20.0, look)

        look()

    def _snatch(self, count: int) -> None:
        """A model is unloaded between the list that a ping goes by and the ping."""
        self.snatches = count

    def snatch(self, ping: SendPing) -> None:
        """Unloads what is about to be pinged."""
        model = self.host.library.find(ping.name)
        if model is not None and self.host.is_up:
            self.snatches -= 1
            self.host.unload(model)

    def _meanwhile(self, what: str, name: str) -> None:
        """Between a look that leads to pings, and the pings, somebody loads or unloads a model."""
        self.meanwhile = (what, name)

    def cut_in(self, what: str, name: str) -> float:
        """Loads or unloads while a look is under way; returns how long the look takes."""
        resident = {row.model.name for row in self.host.residents()}
        names = [n for n in (name, *USUAL) if (n in resident) == (what == "unload")]
        self.witness.disturbed()
        if names and what == "use":
            self._use(names[0], 1.0, 7200.0, None)
        elif names:
            self._outsider("unload", names[0])
        return CUT_IN_SECONDS[what]

    def _jam(self, what: str, seconds: float) -> None:
        """From our next preload on the server answers, but its queue stands still, or all of its
        scheduler: no unload wakes it."""
        self.jam = (what, seconds)

    def jams(self, what: str, seconds: float) -> None:
        """Lets the server stand still for a while."""
        self.jam, scheduler = (), self.host.scheduler
        if not self.host.is_up or "_run" in vars(scheduler):
            return
        self.witness.disturbed()
        if what == "all":
            scheduler._unloader.run = lambda: None  # type: ignore[method-assign]
        scheduler._run = scheduler._unloader.run  # type: ignore[method-assign]
        self._later(seconds, self._unjam)

    def _unjam(self) -> None:
        scheduler = self.host.scheduler
        if vars(scheduler).pop("_run", None) is not None:
            vars(scheduler._unloader).pop("run", None)
            scheduler._run()

    def _away(self) -> None:
        """The process is killed, and nobody starts another one before all is calm."""
        self.crash(TROUBLE_SECONDS + 10.0 - self.now)

    def _hang_up(self, name: str, seconds: float) -> None:
        """A client asks for a model and goes away, perhaps in the middle of its load."""
        if self.host.is_up and self.host.library.find(name) is not None:
            self.tell_judges("used", name, None)
            number = self.host.use(name, 60.0)
            self._later(seconds, lambda: self.host.cancel(number))

    def _contexts(self, name: str, count: int) -> None:
        """A client asks for one context and then for another, again and again."""
        for number in range(count):
            context = (2048, 16384)[number % 2]
            self.timeline.after(15.0 * number, lambda c=context: self._use(name, 1.0, None, c))

    def _thrash(self, seconds: float) -> None:
        """Programs wait for RAM."""
        self.ram_pressure = "programs wait for memory"
        self._later(seconds, lambda: setattr(self, "ram_pressure", ""))

    def _late_release(self, lag: float, seconds: float) -> None:
        cards = self.host.cards
        cards.release_lag_seconds = lag
        self._later(
            seconds,
            lambda: setattr(cards, "release_lag_seconds", self.host.spec.release_lag_seconds),
        )

    def _ram(self, size: float, seconds: float) -> None:
        spec = self.host.spec
        self.host.spec = replace(spec, system_used_bytes=spec.system_total_bytes - gib(size))
        used = spec.system_used_bytes

        def give_back() -> None:
            self.host.spec = replace(self.host.spec, system_used_bytes=used)

        self._later(seconds, give_back)

    def _driver(self, fault: str, seconds: float) -> None:
        self.faults.driver = fault
        if fault == "upgraded":  # nobody swaps a driver under a running server
            self._restart(seconds)
        self._later(seconds, lambda: setattr(self.faults, "driver", "well"))

    def _on_warmset(self, name: str, value: object, seconds: float, back: object) -> None:
        if self.warmset is not None:
            setattr(self.warmset, name, value)
        self._later(seconds, lambda: self.warmset and setattr(self.warmset, name, back))

    def _deaf(self, seconds: float) -> None:
        self._on_warmset("answers_ps", value=False, seconds=seconds, back=True)

    def _slow_ps(self, delay: float, seconds: float) -> None:
        self._on_warmset("ps_seconds", value=delay, seconds=seconds, back=0.0)

    def _slow_look(self, delay: float, seconds: float) -> None:
        self.faults.look_seconds = delay
        self._later(seconds, lambda: setattr(self.faults, "look_seconds", 0.0))

    def _lost_reply(self, count: int) -> None:
        self.faults.lost_replies = count

    def _no_effect(self, count: int) -> None:
        self.faults.without_effect = count

    def _refused(self, count: int) -> None:
        self.faults.refused = count

    def _doubled(self, count: int) -> None:
        self.faults.doubled = count

    def _clock(self, seconds: float) -> None:
        self.clock_ahead += seconds
        self.tell_judges("breaks_off")
        for one in (self.warmset, *self.watchers):
            if one is not None:
                one.clock_ahead = self.clock_ahead

    def _suspend(self, seconds: float) -> None:
        """The machine sleeps: no clock but the wall's goes on."""
        self._clock(seconds * 20)

    def _edit(self, what: str) -> None:
        self.operator.edits(what)
        self._reload()

    def _reload(self) -> None:
        """SIGHUP: the file is read again, and counts from now on."""
        self.tell_judges("says")
        self.listens(self.wall, self.loop_now)
        if self.warmset is not None:
            self.warmset.loop.configure(self.said)
            self.warmset._arm()

    def _order(self) -> None:
        """An order was left: the loop takes it up when it looks."""
        self.witness.disturbed()
        self.witness.explains()
        self.tell_judges("says")

    def _hold(self, name: str, seconds: float) -> None:
        if self.host.library.find(name) is not None:
            self.operator.holds(name, self.wall + seconds)
            self._order()
            self._later(seconds, self._order)

    def _hold_end(self, name: str) -> None:
        self.operator.lets_go(name)
        self._order()

    def _order_pin(self, name: str, pin: bool) -> None:
        if self.host.library.find(name) is not None:
            self.operator.pins_it(name, pin=pin)
            self._order()

    def _evict(self, name: str, is_forced: bool, seconds: float) -> None:
        evict(self, name, is_forced=is_forced, seconds=seconds)
        self._later(seconds, self._order)

    def _budget(self, what: str, amount: float, index: int | None) -> None:
        self.operator.limits(what, amount, index)
        self._reload()

    def _make_way(self, seconds: float) -> None:
        """A program of `[yield]` runs for a while."""

        def end() -> None:
            self.operator.yielding = ""
            self._order()

        self.operator.yielding = "a game"
        self._order()
        self._later(seconds, end)

    def _release(self, seconds: float) -> None:
        """The process is told to end, and gives its leases back."""
        self.stop(seconds, releases=True)

    def _crash(self, seconds: float) -> None:
        self.crash(seconds)

    def _crash_at(self, steps: int, seconds: float) -> None:
        if self.warmset is not None:
            self.restart_after = seconds
            self.warmset.steps_left = steps

    def _stop(self, seconds: float) -> None:
        self.stop(seconds)

    def _rot(self) -> None:
        """The journal is damaged while nobody holds it."""
        self.crash(3.0)
        for path in self.folder.glob("journal.sqlite3*"):
            content = bytearray(path.read_bytes())
            content[50:4000] = b"\xa5" * len(content[50:4000])
            path.write_bytes(bytes(content))
        self.races.loses_journal()
        self.witness.forgets()

    def _old_state(self) -> None:
        """A state of a version that nobody reads, or of an earlier one."""
        self.crash(3.0)
        path = next(self.folder.glob("journal.sqlite3"), None)
        name = (*EARLIER, "")[self.story.seed % (len(EARLIER) + 1)]
        body = state_of(name) if name else bytes(4)
        self.has_other_past = True
        if path is not None:
            database = sqlite3.connect(path)
            with contextlib.suppress(sqlite3.DatabaseError), database:  # it may have rotted before
                database.execute("UPDATE state SET body = ?", (body,))
            database.close()
        self.witness.forgets()

    def _disk_full(self, seconds: float) -> None:
        if self.journal is None:
            return
        self.is_disk_full = True
        self._fill_disk()

        def relieve() -> None:
            self.is_disk_full = False
            if self.journal is not None:
                self.journal._db.execute("PRAGMA max_page_count = 16384")

        self._later(seconds, relieve)

    def _broken_lever(self, lever: str, seconds: float) -> None:
        """A new version of the server takes a command and does nothing."""
        self.faults.broken |= {lever}  # type: ignore[operator]

        def mend() -> None:
            self.faults.broken -= {lever}

        self._later(seconds, mend)

    def _order_broken(self, seconds: float) -> None:
        """A new version of the server evicts the longest keep-alive first."""
        scheduler = self.host.scheduler

        def evict_one() -> None:
            loaded = list(scheduler.loaded.values())
            idle = [runner for runner in loaded if runner.refs == 0]
            scheduler._evict(max(idle or loaded, key=lambda r: (r.duration, r.model.name)))

        scheduler._evict_one = evict_one  # type: ignore[method-assign]
        self._later(seconds, lambda: vars(scheduler).pop("_evict_one", None))

    def _nag(self, name: str, keep: float, count: int) -> None:
        """A client writes its own keep-alive again and again."""
        for number in range(count):
            self.timeline.after(20.0 * number, lambda: self._use(name, 0.3, keep, None))

    def _second(self) -> None:
        """A second warmset for the same host is not let in while the first one runs."""
        if self.warmset is None or self.lock is None:
            return
        try:
            take_lock(self.folder, Holder(pid=2, since=0.0, verb="serve")).release()
        except Refused:
            return
        self.witness.breaks("a second warmset was let in")

    def _watcher(self) -> None:
        """A second one that only looks on needs no lock, and sends nothing."""
        loop = Loop(self.operator.said(self.wall, self.wall), is_read_only=True)
        watcher = Watcher(self, loop)
        watcher.clock_ahead = watcher.began_ahead = self.clock_ahead
        self.watchers.append(watcher)
        watcher.start()

    def _outsider(self, what: str, name: str) -> None:
        """Another tool, or a person, acts on the same server."""
        model = self.host.library.find(name)
        if model is None or not self.host.is_up:
            return
        if what == "unload":
            self.host.unload(model)
        else:
            self.host.use(name, 0.0, keep_alive=1800.0)

    # -- the end ----------------------------------------------------------------------------------

    def breaks_a_law(self) -> bool:
        """Plays the story until a law is broken; returns whether one is."""
        for second in range(0, int(PEACE), 60):
            self.timeline.advance(START + second)
            if self.witness.broken:
                return True
        return bool(self.live())

    def live(self) -> list[str]:
        """Plays the story to its end; returns the laws that were broken."""
        try:
            self.timeline.advance(START + PEACE)
            self.witness.ends()
            self.races.closes()
            self.peace.closes()
        finally:
            if self.journal is not None:
                self.journal.close()
            if self.lock is not None:
                self.lock.release()
        if self.story.is_read_only and any(self.folder.iterdir()):
            self.witness.breaks("an observer wrote files")
        return self.witness.broken
