"""One seed's host and its warmset: real step, executor and journal, under virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loop_hosts import START, pair

from soak.beliefs import Beliefs
from soak.earlier import put_in_place
from soak.giving_back import give_back
from soak.judge import Judge
from soak.laws import Witness
from soak.manners import Manners
from soak.motives import Motives
from soak.obedience import Obedience
from soak.operator import Operator
from soak.peace import Peace
from soak.races import Races
from soak.ranks import Ranks
from soak.restraints import Restraints
from soak.sights import Sights
from soak.story import PEACE_SECONDS, TROUBLE_SECONDS, Happening, Story, uses_before
from soak.victims import Victims
from soak.watched import Watched, Watcher
from warmset.adapters.journal import Journal
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.demand.measured import count_gaps
from warmset.core.model import ModelKey
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event as HostEvent
from warmset.core.twin.faults import Faults, FrailPhysics
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.shell.lock import Holder, HostLock, take_lock
from warmset.shell.record import Recorder

OUT_OF_MEMORY = "cudaMalloc failed: out of memory"
"""Not in the words of the twin's own physics, whose loads fail only where memory is short."""

PEACE = TROUBLE_SECONDS + PEACE_SECONDS


@dataclass
class Living:
    """A host and the warmset beside it; all that can happen to them is added in `life`.

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
            Beliefs(self, self.witness.breaks),
            Ranks(self, self.witness.breaks),
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

    def happen(self, happening: Happening) -> None:
        self.witness.disturbed()
        getattr(self, f"_{happening.kind}")(*happening.details)

    def _order(self) -> None:
        """An order was left: the loop takes it up when it looks."""
        self.witness.disturbed()
        self.witness.explains()
        self.tell_judges("says")

    def _holds_end(self) -> None:
        """Holds end by the wall clock, which tells anew when after it was set."""
        for until in self.operator.orders.holds.values():
            if until > self.wall:
                self._later(until - self.wall, self._order)

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        def end() -> None:
            self.witness.disturbed()
            action()

        self.timeline.after(seconds, end)

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
