"""What must hold whatever happens, judged by what the host really does.

The witness knows everything: who is in use, what loads, which bytes are free. Warmset is judged
by what its own last look could tell it; where a law speaks of what nobody can see, it asks that
the accident is found, named and bounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loop_hosts import START

from soak.beliefs import PASSED_SECONDS
from soak.story import PEACE_SECONDS, QUIET_SECONDS, TROUBLE_SECONDS
from warmset.core.control.loop import Loop
from warmset.core.control.orders import SendPing, SendPreload, SendUnload
from warmset.core.control.pinging import PS_FRESH_SECONDS
from warmset.core.control.restarts import GAP_TICKS
from warmset.core.control.state import State
from warmset.core.host.readings import STALE_AFTER_SECONDS
from warmset.core.model import Observation, Quality
from warmset.core.settings import normalise_name
from warmset.core.twin.events import Event, Granted, LoadEnded, LoadStarted, Unloaded

if TYPE_CHECKING:
    from soak.life import Life
    from soak.watched import Watched

SETTLING_SECONDS = 180.0
"""What a client does explains what warmset does so long afterwards: a minute of calm, one that a
model stays, half a minute until it counts as idle, and some looks; or the two minutes that a model
gives way."""


@dataclass(frozen=True)
class Truth:
    """The host at the moment a look began."""

    at: float
    refs: dict[str, int]
    loading: str | None
    waiting: int
    is_up: bool


@dataclass
class Witness:
    """Judges one life.

    Attributes:
        broken: a sentence for each law that was broken.
        counts: how often things happened, to see that the stories tell something.
    """

    life: Life
    broken: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_sending = False  # whether a command is just being handed to the server
        self._asked: Truth | None = None
        self._truth: Truth | None = None
        self._seen: Observation | None = None
        self.disturbed_at = 0.0
        self._reloads: list[float] = []
        self._resident_before: set[str] = set()
        self._own_load: tuple[float, str] | None = None
        self._writes: list[tuple[float, str, str]] = []
        self._client_at = 0.0  # when a client was last served, or its keep-alive was over
        self._unexplained: list[tuple[float, str, str]] = []  # moves long after that
        self._standing: tuple[str, ...] = ()  # what stood when a look began
        self._durations: dict[str, float] = {}  # key -> keep-alive at the last look
        self._leased: dict[str, float] = {}  # key -> the one that we gave it last
        self._loaded_at: dict[str, float] = {}
        self._began_at: dict[str, float] = {}  # its load: then it sees what is free
        self._foreign: dict[str, int] = {}  # card -> what other programs held at the last look
        self._found: dict[str, dict[str, int]] = {}  # key -> the same when it was loaded since
        self._misled: set[str] = set()  # those that found less than the looks around it showed
        self._dead_at_look: set[int] = set()
        self._unlooked: set[str] = set()  # those that came while nobody looked
        self._present: set[int] = set()  # processes at any look
        self._passed_at = -math.inf  # when one left that no look had shown
        self._followers: set[str] = set()  # whose load may have begun before its memory was back
        self._listed_at = -math.inf
        self._unmoved: dict[str, tuple[int, float | None]] = {}
        self._met_at: dict[str, float] = {}  # when that ping was sent
        self._forgot_at: list[float] = []
        self._killed_at: list[float] = []
        self._restarted_at: list[float] = []
        self._spoilt: str | None = None
        self._booted_ahead = 0.0
        self._looked_ahead = 0.0  # how far the clock was set ahead at the last look

    # -- what it is told --------------------------------------------------------------------------

    def boots(self, state: State | None) -> None:
        self._seen = None
        self._own_load = None
        is_reset = self.life.clock_ahead != self._booted_ahead
        self._booted_ahead = self.life.clock_ahead
        # Of a state from the future only ranks and load times are kept.
        if state is None or not state.at or state.at > self.life.wall:
            self.forgets()
        elif is_reset:  # what was counted was counted by the old clock, and is long ago or to come
            self._forgot_at.append(self.now)
        if self.life.clock_ahead != self._looked_ahead:
            self._unmoved.clear()  # no later process can tell that from requests

    def order_ends(self) -> None:
        """Warmset has heard how its open order ended, or has hung up."""
        self._own_load = None

    def server_restarts(self, seconds: float) -> None:
        """The server goes, and is back after a while: from then on all is loaded again."""
        self._restarted_at.append(self.now + seconds)
        self._resident_before.clear()  # all is loaded anew then, and that is no fight

    def is_deleted(self, key: str) -> None:
        """A name goes: should its weights come back, that is a new model to everybody."""
        self._resident_before.discard(key)

    def process_ends(self) -> None:
        """What it had not written down is forgotten: all since its last look, or since long ago."""
        looked_at = -math.inf if self._truth is None else self._truth.at
        for key, at in self._met_at.items():
            if self.life.is_disk_full or at >= looked_at:
                self._unmoved.pop(key, None)
        self._killed_at.append(self.now)
        self._own_load = None

    def forgets(self) -> None:
        self._forgot_at.append(self.now)
        self._unmoved.clear()
        self._resident_before &= set(self.life.host.scheduler.loaded)  # of others nobody knows

    def disturbed(self) -> None:
        """Something happened that no look so far can have shown."""
        self.disturbed_at = self.now

    def explains(self) -> None:
        """Something was said, or ran out, that explains what warmset does for a while."""
        self._client_at = self.now

    def new_beginnings(self, since: float) -> int:
        """Returns how many processes of warmset and of the server began after a moment."""
        began = (*self._forgot_at, *self._killed_at, *self._restarted_at)
        return sum(at > since for at in began)

    def fresh_beginnings(self, since: float) -> int:
        """Returns how many processes of warmset began after a moment with nothing to go by."""
        return sum(at > since for at in self._forgot_at)

    def was_cut_off(self, at: float, *, forgotten: float, killed: float) -> bool:
        """Whether nobody could tell any more: what was asked was not written down yet.

        Args:
            at: when something happened.
            forgotten, killed: within so many seconds all was forgotten, or the process ended.
        """
        return any(at <= gone <= at + forgotten for gone in self._forgot_at) or any(
            at <= gone <= at + killed for gone in self._killed_at
        )

    def look_begins(self) -> None:
        scheduler, warmset = self.life.host.scheduler, self.life.warmset
        decision = None if warmset is None else warmset.loop.decision
        self._standing = () if decision is None else decision.standing
        self._durations |= {key: runner.duration for key, runner in scheduler.loaded.items()}
        self._present |= {runner.pid for runner in scheduler.loaded.values()}
        self._dead_at_look = {r.pid for r in scheduler.loaded.values() if not r.is_alive}
        ours = None if self._own_load is None else self._own_load[1]
        loading = None if scheduler.loading is None else scheduler.loading.model.key
        if loading not in (None, ours) or any(r.refs > 0 for r in scheduler.loaded.values()):
            self._client_at = self.now
        self._asked = Truth(
            at=self.now,
            refs={key: runner.refs for key, runner in scheduler.loaded.items()},
            loading=None if scheduler.loading is None else scheduler.loading.model.key,
            waiting=scheduler.waiting,
            is_up=self.life.host.is_up,
        )

    def looked(self, observation: Observation) -> None:
        last_at = -math.inf if self._truth is None else self._truth.at
        # What they found who came while nobody looked is as unknown as of those there at the start.
        is_gap = self._asked.at - last_at > GAP_TICKS * self.life.said.loop.tick
        self._truth, self._seen = self._asked, observation
        self._looked_ahead = self.life.clock_ahead
        before, self._foreign = self._foreign, self._held_by_others()
        spilled = {
            row.key
            for row in observation.residents or ()
            if (row.size_vram_bytes or 0) < (row.size_bytes or 0)
        }
        for key, taken in self._found.items():
            if is_gap:
                self._unlooked.add(key)
            elif any(n > max(before.get(d, 0), self._foreign[d]) for d, n in taken.items()):
                self._misled.add(key)
        if observation.residents is not None:
            if any(at > self._listed_at for at in self._restarted_at):  # a new server's first list
                self._unlooked |= self.life.host.scheduler.loaded.keys()
            self._listed_at = self.now
        self._misled -= spilled  # they show it themselves
        self._found.clear()

    def hears(self, event: Event) -> None:
        """An event of Ollama's scheduler."""
        if isinstance(event, Granted):
            warmset = self.life.warmset
            opened = warmset._open if warmset is not None else None
            if opened is None or opened[1] != event.request_id:
                self._client_at = self.now
        elif isinstance(event, Unloaded):
            self._judge_eviction(event)
            if event.pid not in self._present:
                self._passed_at = self.now
            told = ("SendUnload", event.name)
            lease = self._leased.pop(event.key, math.inf)
            is_own = abs(self._durations.get(event.key, 0.0) - lease) < 1.0
            is_own |= told in [write[1:] for write in self._writes[-2:]]
            named = {model.key for model in self.life.host.library.models()}
            is_out_of_reach = event.pid in self._dead_at_look or event.key not in named
            is_own &= not is_out_of_reach  # nobody could renew it, so it ended when it had to
            if not event.is_evicted and not is_own:
                self._client_at = self.now  # a client's keep-alive was over: room for others
        elif isinstance(event, LoadStarted):
            key = event.order.model.key
            self._began_at[key] = self.now
            self._found[key] = self._held_by_others()
            self._misled.discard(key)
            self._unlooked.discard(key)
            self._followers.discard(key)
            if self.now - self._passed_at < PASSED_SECONDS:
                self._followers.add(key)
        elif isinstance(event, LoadEnded) and event.error == self.life.physics.error:
            self._spoilt = event.order.model.key  # by the story: the twin's own words are others
        elif isinstance(event, LoadEnded) and not event.error:
            self._resident_before.add(event.order.model.key)
            self._loaded_at[event.order.model.key] = self.now
            self._judge_place(event)

    def _held_by_others(self) -> dict[str, int]:
        cards = self.life.host.cards
        return {gpu.device: cards.foreign(gpu.device) for gpu in cards.gpus}

    def sends(self, command: SendPing | SendPreload | SendUnload, loop: Loop) -> None:
        """Warmset writes to the server."""
        kind = type(command).__name__
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.life.story.is_read_only:
            self.breaks(f"an observer sent {kind} of {command.name}")
        self._judge_knowledge(command)
        if isinstance(command, SendPing | SendPreload):
            self._leased[command.key] = command.keep_alive
        if isinstance(command, SendPing):
            self._judge_ping(command, loop)
            return
        self._writes.append((self.now, kind, command.name))
        lever = kind.removeprefix("Send").lower()
        wish = loop.wish
        is_unload = isinstance(command, SendUnload)  # maybe for one whose pause is over
        pauses = ("paused ",) if is_unload else (f"paused {command.key}",)
        is_pause_over = any(  # and the alarm had told of it
            code.startswith((*pauses, f"lever_broken {lever}")) for code in self._standing
        )
        if is_pause_over:
            self.explains()  # and what follows from it
        if is_unload and wish is not None and wish.candidate(command.key).dismissed:
            self.explains()  # kept no longer, or too dear by now; others have room then
        if self.now - self._client_at > SETTLING_SECONDS:
            self._unexplained.append(self._writes[-1])
        self._judge_silence(command)
        if isinstance(command, SendUnload):
            self._judge_unload(command, loop)
        else:
            self._judge_preload(command)

    # -- the laws ---------------------------------------------------------------------------------

    def _judge_knowledge(self, command: SendPing | SendPreload | SendUnload) -> None:
        """Nothing is written on what is not known."""
        seen = self._seen
        if seen is None or seen.residents is None or seen.trouble:
            self.breaks(f"{type(command).__name__} of {command.name}, residents not known")
            return
        if isinstance(command, SendPing):
            return
        blind = [
            d.id
            for d in seen.devices
            if d.free_bytes.quality is Quality.UNKNOWN
            or d.free_bytes.age_seconds > STALE_AFTER_SECONDS
        ]
        if blind:
            self.breaks(f"{type(command).__name__} of {command.name} with {blind} not known")

    def _judge_silence(self, command: SendPreload | SendUnload) -> None:
        """No load or unload while a look has shown a load of somebody else."""
        truth = self._truth
        if truth is not None and self.life.story.sees_processes and truth.loading is not None:
            self.breaks(f"{type(command).__name__} of {command.name} during a load that was seen")

    def _judge_unload(self, command: SendUnload, loop: Loop) -> None:
        """Only what is managed, not pinned and not in use is let go."""
        said, names = self.life.said, {normalise_name(command.name)}
        is_anew = said.loop.may_reload_pins and self._is_another_pin_missing(loop)
        if self.life.is_pinned(command.name) and not is_anew:
            self.breaks(f"{command.name} is pinned and was unloaded")
        is_named = said.loop.manages_all or bool(names & self.life.ever_named)
        if not is_named and not said.loop.may_evict_unconfigured:
            self.breaks(f"{command.name} is nobody's model and was unloaded")
        truth = self._truth
        is_visible = self.life.story.sees_processes and truth is not None
        if is_visible and truth is not None and truth.refs.get(command.key, 0) > 0:
            self.breaks(f"{command.name} was in use at the look and was unloaded")

    def _is_another_pin_missing(self, loop: Loop) -> bool:
        wish = loop.wish
        return wish is not None and any(c.pin and not c.is_resident for c in wish.candidates)

    def _judge_preload(self, command: SendPreload) -> None:
        """One load at a time, and a bounded number of reloads."""
        if self._own_load is not None:
            self.breaks(f"preload of {command.name} beside that of {self._own_load[1]}")
        assert self._truth is not None
        self._own_load, self._spoilt = (self._truth.at, command.key), None
        if command.key not in self._resident_before:
            return
        loop = self.life.said.loop
        since = self.now - loop.fight_window
        self._reloads = [*(at for at in self._reloads if at > since), self.now]
        fresh = sum(at > since for at in self._forgot_at)
        allowed = loop.reloads_per_window * (1 + fresh)
        allowed += sum(at > since for at in self._killed_at)  # one may not have been written down
        if len(self._reloads) > allowed:
            self.breaks(f"{len(self._reloads)} reloads in ten minutes, {allowed} allowed")

    def _judge_ping(self, command: SendPing, loop: Loop) -> None:
        """Pings go by a fresh list that shows the model, and never beside a load that was seen."""
        host, truth = self.life.host, self._truth
        age = self.now - self._read_at if self._read_at is not None else None
        if age is None or age >= PS_FRESH_SECONDS:
            self.breaks(f"ping of {command.name} by a list that is {age} s old")
        if self.life.story.sees_processes and truth is not None and truth.loading is not None:
            self.breaks(f"ping of {command.name} during a load that was seen")
        runner = host.scheduler.loaded.get(command.key)
        if runner is not None and runner.expires_at is not None:
            shown = (runner.pid, runner.expires_at)
            if runner.refs > 0 and self._unmoved.get(command.key) == shown:
                self.breaks(f"{command.name} was pinged again while it serves somebody")
            faults = self.life.faults  # of a ping that is not answered nobody knows what it did
            if not (faults.refused or faults.without_effect or faults.lost_replies):
                self._unmoved[command.key] = shown
                self._met_at[command.key] = self.now
        if runner is not None and runner.refs > 0 and runner.duration <= 0:
            is_visible = self.life.story.sees_processes and truth is not None
            if is_visible and truth is not None and truth.refs.get(command.key, 0) > 0:
                self.breaks(f"ping of {command.name}, a busy victim at the look")
        del loop

    def judge_giving_back(self, name: str, key: str) -> None:
        """A lease is given back under the rules of every other ping."""
        truth, runner = self._truth, self.life.host.scheduler.loaded[key]
        if truth is None or not self.life.story.sees_processes:
            return
        if truth.loading is not None:
            self.breaks(f"the lease of {name} is given back during a load that was seen")
        if not runner.is_alive and runner.pid in self._dead_at_look:
            self.breaks(f"the lease of {name} is given back, whose process was gone at the look")
        if runner.refs > 0 and runner.duration <= 0 and truth.refs.get(key, 0) > 0:
            self.breaks(f"the lease of {name} is given back, a busy victim at the look")

    def reads(self, asked_at: float) -> None:
        """A list of residents has been read for a ping."""
        self._read_at: float | None = asked_at

    _read_at = None

    def _judge_eviction(self, event: Unloaded) -> None:
        """Nobody is evicted for our preload, unless something happened since the look."""
        own = self._own_load
        if own is None or event.key == own[1] or not event.is_evicted:
            return
        if not self._is_for_ours() or not self.life.story.sees_processes:
            return
        is_forgotten = any(at > self._began_at.get(event.key, 0.0) for at in self._forgot_at)
        # Another program took memory and gave it back between two looks: who was loaded just then,
        # and did not spill, remembers what nobody could see.
        loaded = {event.key, *self.life.host.scheduler.loaded}
        is_unseen = bool((self._misled | self._unlooked | self._followers) & loaded)
        if is_forgotten or is_unseen:
            return  # what was free when it came is known to nobody, or not any more
        if self.disturbed_at > own[0]:
            return
        if any(at >= own[0] and name == event.name for at, _, name in self._writes):
            return
        looked_at = own[0] if self._truth is None else self._truth.at
        if any(at > looked_at for key, at in self._loaded_at.items() if key != own[1]):
            return  # somebody's load went before ours, and no look has shown it yet
        self.breaks(f"{event.name} had to go for our preload at {self.now:.1f}")

    def _is_for_ours(self) -> bool:
        """Whether our own preload is what Ollama makes room for now."""
        scheduler, warmset = self.life.host.scheduler, self.life.warmset
        head, opened = scheduler._head, None if warmset is None else warmset._open
        ours = None if opened is None else opened[1]
        if opened is None and self.is_sending:  # room is made before the request has a number
            ours = self.life.host.requests_made
        if head is None or head.id != ours:
            return False  # it is for somebody else
        if scheduler.loading is not None:
            return False  # ours is let in and on its way: who leaves now, leaves by itself
        # A load that fails for want of memory where there is enough evicts them all.
        return not (head.has_retried_oom and self._spoilt == head.model.key)

    def _judge_place(self, event: LoadEnded) -> None:
        """Our own loads fit on the cards, unless something happened since the look."""
        own = self._own_load
        if own is None or event.order.model.key != own[1]:
            return
        runner = self.life.host.scheduler.loaded.get(own[1])
        if runner is None or self.disturbed_at > own[0]:
            return
        if runner.vram_bytes < runner.total_bytes and self.life.story.sees_processes:
            self.breaks(f"our preload of {event.order.model.name} does not fit on the cards")

    def stopped(self, warmset: Watched) -> None:
        """After SIGTERM no load of ours is open."""
        if warmset._open is not None and self._own_load is not None:
            self.breaks("a load was left open at the end of the process")

    # -- the end ----------------------------------------------------------------------------------

    def ends(self) -> None:
        """After a long peace everything is as wanted, and still."""
        self._judge_peace()

    def _judge_peace(self) -> None:
        still_from = TROUBLE_SECONDS + PEACE_SECONDS - QUIET_SECONDS
        late = [write for write in self._unexplained if write[0] > still_from]
        warmset = self.life.warmset
        standing = warmset.loop.decision.standing if warmset and warmset.loop.decision else ()
        # Then it tries again, ever more rarely; without sight of processes nobody can tell.
        is_stuck = "loads_stuck" in standing or (
            not self.life.story.sees_processes and self._is_somebody_waiting()
        )
        if late and not is_stuck:
            self.breaks(f"still moving after a long peace: {late[:3]}")
        if self.life.story.is_read_only or warmset is None or warmset.loop.decision is None:
            return
        resident = {row.model.name for row in self.life.host.residents()}
        wanted = {*self.life.said.settings.models, *self.life.said.holds}
        missing = {name for name in wanted if self.life.is_pinned(name)} - resident
        decision = warmset.loop.decision
        told = ("pin", "paused")
        keys = {k for code in decision.standing if code.startswith(told) for k in code.split()[1:]}
        names = {row.name for row in warmset.host.library.models() if row.key in keys}
        for_all = ("pins_conflict", "loads_stuck", "load_slow")  # then nothing else is weighed
        is_told = any(code.startswith(for_all) for code in decision.standing)
        has_settled = self._client_at < self.now - SETTLING_SECONDS  # queues may clear late
        if missing - names and not is_told and has_settled:
            self.breaks(
                f"pins missing after a long peace: {missing}; {decision.trouble} "
                f"{[a.reason for a in decision.actions][:4]} {decision.standing}"
            )

    def _is_somebody_waiting(self) -> bool:
        """Whether a request of somebody else is at the head of Ollama's queue."""
        head, warmset = self.life.host.scheduler._head, self.life.warmset
        opened = None if warmset is None else warmset._open
        return head is not None and (opened is None or head.id != opened[1])

    @property
    def now(self) -> float:
        return self.life.timeline.now - START

    def breaks(self, what: str) -> None:
        """Writes down that a law is broken."""
        self.broken.append(f"at {self.now:.1f} s: {what}")
