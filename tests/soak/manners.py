"""How warmset behaves towards its server, command by command.

`laws` judges what becomes of the host; here each command is held against what warmset could know
when it sent it, whether or not harm came of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from soak.judge import Judge
from soak.story import TROUBLE_SECONDS
from warmset.core.control.actions import Decision
from warmset.core.control.departures import UNLOAD_SECONDS
from warmset.core.control.orders import (
    Cancel,
    Command,
    Done,
    Event,
    ReadResidents,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
)
from warmset.core.control.pinging import PING_MARGIN_SECONDS
from warmset.core.control.renewing import LAST_MOMENT_SECONDS
from warmset.core.control.restarts import GAP_TICKS, STEP_SECONDS
from warmset.core.control.state import State
from warmset.core.control.vanished import early_leavers, row_id
from warmset.core.host.draining import PATIENCE_SECONDS
from warmset.core.model import ModelKey, Observation, Resident, normalise_name
from warmset.core.twin.events import LoadEnded, LoadStarted, Unloaded
from warmset.core.units import HOUR

if TYPE_CHECKING:
    from soak.life import Life

CALM_FROM = TROUBLE_SECONDS + 300.0
"""By then the loop knows its host again, whatever happened."""
NEEDLESS_PINGS = 4
"""Pings of one model in a window beside those that renew it or give its lease back: one for each
rank that it gets."""
STILL_SECONDS = 30.0
"""A look shows it so long afterwards: the slowest of a story takes 15 s."""
RANKS_SECONDS = 2 * HOUR
"""Between the shortest lease and the longest, with as many models as in these stories."""


class Manners(Judge):
    """Judges the commands of one life."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._open: Command | None = None
        self._is_over = False
        self._seen: Observation | None = None
        self._story: tuple[int, float] | None = None  # which server, and how the clock was set
        self._list: Done | None = None
        self._spoilt = ""
        self._known_pids: dict[str, int] = {}
        self._dead: frozenset[str] = frozenset()
        self._gpus_known = False
        self._unloaded: tuple[float, int] | None = None  # when, and which process
        self._sent_away: set[str] = set()  # ever: they go when they are idle, however late
        self._left_early_at = -math.inf  # when a look showed somebody gone, by nobody's word
        self._left: set[str] = set()  # since their last unload
        self._seen_gone: set[str] = set()  # those of them that a look did not show
        self._is_leaving = False
        self._is_cut, self._cut_at = True, -math.inf  # a look that began before shows what was
        self._broke_off_at = 0.0  # the last look with nothing to compare with
        self._version: str | None = None  # of the server, at the last look
        self._there_since: float | None = None  # the look that showed whom our preload waits for
        self._began_at = 0.0  # the last process of warmset or of the server
        self._client_loads: dict[str, float] = {}
        self._came_at = -math.inf
        self._preload: tuple[float, str, str] | None = None  # when, whose, under which name
        self._looks = (-math.inf, -math.inf)  # when the last two began
        self._is_overtaken = self._is_behind = False
        self._moved_at = self._seen_moved_at = 0.0
        self._gave_up_at = -math.inf
        self._loads: dict[str, list[float]] = {}
        self._pings: dict[str, list[float]] = {}
        self._runners: dict[str, list[float]] = {}  # those that others had loaded
        self._listed: set[str] = set()  # at the last look
        self._starts = 0  # of the server, up to the look
        self._durations: dict[str, float] = {}  # key -> keep-alive at the last look
        self._leased: dict[str, float] = {}  # name -> the keep-alive that we gave it last

    # -- what it is told --------------------------------------------------------------------------

    def breaks_off(self, *, is_server: bool = False) -> None:
        self._is_cut, self._cut_at, self._unloaded = True, self.now, None
        self._left_early_at = -math.inf
        self._known_pids.clear()
        if is_server:
            self._gpus_known, self._began_at = False, self.now

    def boots(self, *, is_fresh: bool) -> None:
        if is_fresh:
            self._gpus_known = False  # so is what the server was started with
        self._open = self._preload = self._list = self._seen = None
        self._is_over = self._is_overtaken = False
        self._story = self._version = self._there_since = None
        self._began_at = self.now
        self.breaks_off()

    def stops(self) -> None:
        self._is_over = True

    def look_begins(self) -> None:
        loaded = self.life.host.scheduler.loaded
        self._starts = self.life.host.starts
        self._looks = (self._looks[1], self.now)
        self._is_behind = self._find_behind()
        self._durations |= {key: runner.duration for key, runner in loaded.items()}
        self._dead = frozenset(
            key
            for key, runner in loaded.items()
            if not runner.is_alive and self._known_pids.get(key) == runner.pid
        )
        known = [at for key, at in self._client_loads.items() if key in loaded]
        self._came_at = max(known, default=-math.inf)
        cards = self.life.host.cards
        is_draining = any(cards.draining(gpu.device) for gpu in self.life.host.spec.gpus)
        self._is_leaving = self._unloaded is not None and (
            self._unloaded[1] in {runner.pid for runner in loaded.values()}
            or (is_draining and self.now - self._unloaded[0] < PATIENCE_SECONDS)
        )

    def looked(self, observation: Observation) -> None:
        self._note_leavers(observation)
        self._seen, self._spoilt = observation, ""
        is_after = self._looks[1] >= self._cut_at
        if self._is_cut and is_after and observation.residents is not None:
            self._is_cut, self._broke_off_at = False, self.now
        self._known_pids |= _resident_pids(observation)
        is_there = observation.server is not None and not observation.trouble
        if is_there and self._shows_the_gpus(observation):  # before its start nobody could tell
            self._gpus_known = True
        if observation.residents is not None:
            if self._looks[1] <= self._moved_at or self._seen_moved_at < self._moved_at:
                self._seen_moved_at = self.now
            self._listed = {row.key for row in observation.residents if row.key is not None}
            self._seen_gone |= self._left - self._listed
            self._judge_overtaken()

    def _note_leavers(self, observation: Observation) -> None:
        """Keeps when a look showed that somebody has left early whom we did not send away."""
        before = None if self._seen is None or self._is_cut else self._seen.residents
        if before is None or observation.residents is None or observation.trouble:
            return
        gone = early_leavers(
            before,
            observation.residents,
            wall_at=observation.at,
            ours=frozenset(row.key for row in before if row.key in self._sent_away),
        )
        if self._preload is None and any(row.key is not None for row in gone):
            self._left_early_at = self.now  # whose name is gone tells of nobody's load

    def decided(self, before: State, decision: Decision) -> None:
        """What makes the look before worthless is told: another server, clock, or a long gap."""
        seen, warmset = self._seen, self.life.warmset
        if seen is None or warmset is None or seen.residents is None or seen.trouble:
            return
        story = (self._starts, seen.at - decision.at)
        last, self._story = self._story, story
        told = {finding.kind for finding in decision.findings}
        for finding in decision.findings:
            if finding.kind == "unload_without_effect" and finding.key in self._seen_gone:
                self.tell(f"{finding.name} had left, and its unload is told to have had no effect")
        if before.at and decision.at < before.at:
            expected = {"state_from_future"}
        else:
            is_late = before.at and decision.at - before.at > GAP_TICKS * self.life.said.loop.tick
            is_other = last is not None and last[0] != story[0] and seen.server is not None
            is_newer = None not in (self._version, seen.version) and self._version != seen.version
            is_set = last is not None and abs(last[1] - story[1]) > STEP_SECONDS
            expected = {"look_gap"} if is_late else set()
            expected |= {"server_restarted"} if is_other else set()
            expected |= {"clock_stepped"} if is_set else set()
            expected |= {"server_changed"} if is_newer else set()
        self._version = seen.version or self._version
        if "look_gap" in told:  # there is nothing to compare with
            self._seen_moved_at, self._left_early_at = self.now, -math.inf
        self._judge_waiting(decision)
        for kind in expected - told:
            self.tell(f"{kind} is not told")
        if told & {"server_restarted", "server_changed"}:
            # Who came and died before the first list of a new server was never known to be there.
            self._known_pids = _resident_pids(seen)

    def hears(self, event: object) -> None:
        if isinstance(event, LoadStarted | LoadEnded | Unloaded):
            self._moved_at = self.now
        ours = None if self._preload is None else self._preload[1]
        if isinstance(event, LoadEnded) and not event.error:
            key = event.order.model.key
            if key != ours:
                self._count(self._runners, key, self.loop.fight_window)
            # Where processes are hidden, one that was there before looks as if it had been used.
            is_hidden = not self.life.story.sees_processes and key in self._listed
            if key != ours and not is_hidden:
                self._client_loads[key] = self.now
            else:
                self._client_loads.pop(key, None)
        elif isinstance(event, Unloaded):
            self._left.add(event.key)
            self._client_loads.pop(event.key, None)
            self._note_next(event.pid)
            if not event.is_evicted:
                self._judge_end(event)
        elif isinstance(event, LoadEnded):
            self._note_next(event.pid)

    def _note_next(self, pid: int) -> None:
        """What is on its way back after an unload of ours is that of another process by now."""
        loaded = {runner.pid for runner in self.life.host.scheduler.loaded.values()}
        if self._unloaded is not None and self._unloaded[1] not in loaded | {pid}:
            self._unloaded = None

    def ends(self, event: Event) -> None:
        opened = self._open
        if opened is None or isinstance(event, Started) or event.number != opened.number:
            return
        self._open = None
        if isinstance(opened, SendUnload) and not isinstance(event, Done):
            self._unloaded = None  # refused, or nobody knows
        if isinstance(opened, SendPreload):
            self._preload, self._is_overtaken = None, False
            if isinstance(event, Done):
                self._judge_loads(opened.key, opened.name)
        if isinstance(event, Done) and event.wall_at is not None:
            self._list = event
            self._spoilt = self._why_spoilt(event.residents, event.wall_at)

    def carries_out(self, command: Command) -> None:
        if isinstance(command, Cancel):
            self._hangs_up()
            return
        what = f"{type(command).__name__} of {getattr(command, 'name', 'the residents')}"
        ago = self.now - self._left_early_at
        if ago < self.loop.settle and not isinstance(command, ReadResidents):
            self.tell(f"{what}, {ago:.0f} s after somebody left early")
        if self._is_over:
            self.tell(f"{what} after the end")
        if self._open is not None:
            self.tell(f"{what} while {type(self._open).__name__} is open")
        self._open = command
        if isinstance(command, SendPing | SendPreload):
            self._leased[normalise_name(command.name)] = command.keep_alive
            if command.keep_alive > self.loop.lease_base_limit + RANKS_SECONDS:
                self.tell(f"{what} for {command.keep_alive:.0f} s")
        if isinstance(command, SendPing):
            self._judge_ping(command)
        elif isinstance(command, SendPreload | SendUnload):
            self._judge_change(command, what)
        if isinstance(command, SendUnload):
            runner = self.life.host.scheduler.loaded.get(command.key)
            self._unloaded = None if runner is None else (self.now, runner.pid)
            self._leased.pop(normalise_name(command.name), None)
            self._left.discard(command.key)
            self._sent_away.add(command.key)
            self._seen_gone.discard(command.key)

    def _hangs_up(self) -> None:
        """Stillness that is shorter is a model that answers, for all that anybody can tell; and the
        queue is known to stand still only while ours waits in it."""
        if not isinstance(self._open, SendPreload):
            return
        sent_at = self.now if self._preload is None else self._preload[0]
        still = self.now - max(self._moved_at, sent_at)
        self._judge_giving_up(self._open, self.now - sent_at)
        if still > self.life.said.loop.stuck_after:
            self._gave_up_at = self.now

    # -- the rules --------------------------------------------------------------------------------

    def _why_spoilt(self, rows: tuple[Resident, ...] | None, wall_at: float) -> str:
        before = None if self._seen is None else self._seen.residents
        if rows is None or before is None:
            return ""
        gone = early_leavers(before, rows, wall_at=wall_at)
        came = {row_id(row) for row in rows} - {row_id(row) for row in before}
        return "somebody left early" if gone else "somebody was loaded" if came else ""

    def _judge_ping(self, command: SendPing) -> None:
        """A ping goes to a model that the list just read shows as it was at the look.

        How often a client has had its way is counted in what is remembered: a process with nothing
        to go by (no state, or one of another clock) begins to count, as it does with reloads. And
        each runner that somebody had loaded comes without a lease of ours.
        """
        read, seen = self._list, self._seen
        assert read is not None
        assert seen is not None
        assert read.wall_at is not None
        row = next((r for r in read.residents or () if r.key == command.key), None)
        before = next((r for r in seen.residents or () if r.key == command.key), None)
        if row is None or row.expires_at is None:
            self.tell(f"ping of {command.name}, which the list just read does not show")
            return
        if row.expires_at - read.wall_at < PING_MARGIN_SECONDS:
            self.tell(f"ping of {command.name} at its deadline")
        if before is not None and before.expires_at != row.expires_at:
            self.tell(f"ping of {command.name}, which was used since the look")
        if before is not None and before.expires_at == math.inf:
            self.tell(f"ping of {command.name}, which a client keeps for ever")
        if self._spoilt:
            self.tell(f"ping of {command.name}, though {self._spoilt} since the look")
        if command.key in self._dead and self.life.story.sees_processes:
            self.tell(f"ping of {command.name}, whose process was gone at the look")
        loop = self.life.said.loop
        if row.expires_at - read.wall_at < LAST_MOMENT_SECONDS:
            return  # it would be lost: no bound holds then
        count = self._count(self._pings, command.key, loop.fight_window)
        renewals = 2 * loop.fight_window / loop.lease_base
        fresh = self.life.witness.fresh_beginnings(self.now - loop.fight_window)
        allowed = loop.reasserts_per_window * (1 + fresh) + renewals + NEEDLESS_PINGS
        came = self._runners.get(command.key, ())
        allowed += sum(self.now - at < loop.fight_window for at in came)
        if count > allowed + self._lives(loop.fight_window):
            self.tell(f"{count} pings of {command.name} in ten minutes")

    def _judge_change(self, command: SendPreload | SendUnload, what: str) -> None:
        seen = self._seen
        if seen is None:
            return  # judged by `laws`
        since = math.inf if self._unloaded is None else self.now - self._unloaded[0]
        if self._is_leaving and since < UNLOAD_SECONDS:
            self.tell(f"{what} before what was unloaded has left")
        if self._spoilt:
            self.tell(f"{what}, though {self._spoilt} since the look")
        is_ours = self.life.story.sees_processes and self._gpus_known
        if is_ours and not self._shows_the_gpus(seen):
            self.tell(f"{what} on GPUs that Ollama was not started with")
        if isinstance(command, SendPreload):
            self._judge_preload(command, what)

    def _judge_preload(self, command: SendPreload, what: str) -> None:
        loop = self.life.said.loop
        came_ago = self.now - self._came_at
        if self._came_at > self._broke_off_at and came_ago < loop.calm:
            self.tell(f"{what}, {came_ago:.0f} s after a client's load")
        # Without sight of processes a load that is never begun looks like one that is slow.
        is_stuck = self._gave_up_at > max(self._moved_at, self._began_at)
        is_stuck = is_stuck and self.life.story.sees_processes
        if is_stuck and self.now - self._gave_up_at < loop.back_off:
            self.tell(f"{what}, while nothing is loaded any more")
        self._is_overtaken = False
        self._preload = (self.now, command.key, normalise_name(command.name))

    def _judge_waiting(self, decision: Decision) -> None:
        """Our load does not wait on for a model that is there, nor in a queue that stands still."""
        opened, loading = self._open, self.life.host.scheduler.loading
        if not isinstance(opened, SendPreload) or self._preload is None:
            self._there_since = None
            return
        if opened.key not in self._listed:
            self._there_since = None
        elif self._there_since is None:
            self._there_since = self.now
        is_over = (
            self._there_since is not None and self.now - self._there_since > 2 * self.loop.tick
        )
        if is_over and decision.calls_off is None:
            self.tell(f"the preload of {opened.name} waits on, and it is there")
        moved_at = max(self._seen_moved_at, self._broke_off_at)
        still = self._looks[1] - max(moved_at, self._preload[0])
        is_still = still > self.loop.stuck_after + STILL_SECONDS and loading is None
        if is_still and self.life.story.sees_processes and decision.calls_off is None:
            self.tell(f"the preload of {opened.name} waits on, and nothing moved for {still:.0f} s")

    def _judge_giving_up(self, command: SendPreload, waited: float) -> None:
        """A queue stands still if nothing has moved for so long, our own load neither."""
        warmset, loading = self.life.warmset, self.life.host.scheduler.loading
        decision = None if warmset is None else warmset.loop.decision
        why = None if decision is None else decision.calls_off
        if why is None or why.kind != "stuck":
            return
        if loading is not None and loading.model.key == command.key:
            self.tell(f"the preload of {command.name} was given up while it was loaded")
        if waited < self.loop.stuck_after:
            self.tell(f"the preload of {command.name} was given up after {waited:.0f} s")

    def _judge_overtaken(self) -> None:
        """Our load waits no longer than a look once somebody else's went before it."""
        was, self._is_overtaken = self._is_overtaken, self._is_behind and self._preload is not None
        if was and self._is_overtaken:
            self.tell("our preload waits on behind somebody else's load")

    def _find_behind(self) -> bool:
        """Whether somebody's load went before our own, which still waits."""
        if self._preload is None:
            return False
        scheduler, (since, key, name) = self.life.host.scheduler, self._preload
        loading = None if scheduler.loading is None else scheduler.loading.model.key
        if key == loading or key in scheduler.loaded:
            return False
        names = {model.key for model in self.life.host.library.models()}
        if loading in names and self.life.story.sees_processes:
            return True
        return any(
            since < at < (self._looks[0] if self._is_called(other, name) else math.inf)
            for other, at in self._client_loads.items()
            if other in scheduler.loaded
        )

    def _is_called(self, key: str, name: str) -> bool:
        """Whether weights go by the name of our load: then they may be its own, pulled anew since.

        A load that is over is answered, so a look later it is known whose they are.
        """
        return normalise_name(self.life.host.scheduler.loaded[key].model.name) == name

    def _judge_end(self, event: Unloaded) -> None:
        """In peace no lease of what is wanted runs out: it is renewed in time.

        Who is no longer configured stays for as long as its last lease. A dead runner is not
        pinged, since that would load it: of that the operator has heard. So he has of an own load
        that waits for minutes, beside which nobody is pinged. Where processes are hidden, one whose
        deadline a ping has not moved counts as in use until then.
        """
        warmset = self.life.warmset
        if self.now < CALM_FROM or warmset is None or warmset.loop.planned is None:
            return
        members = {member.key for member in warmset.loop.planned.members}
        standing = "" if warmset.loop.decision is None else " ".join(warmset.loop.decision.standing)
        lease = self._leased.get(normalise_name(event.name), math.inf)
        is_ours = event.key in members and abs(self._durations.get(event.key, 0.0) - lease) < 1.0
        is_dead = f"runner_gone {event.key}" in standing
        is_waiting = "load_slow" in standing or "loads_stuck" in standing  # nothing is sent then
        is_ours = is_ours and self.life.is_managed(event.name)
        is_unmoved = warmset.loop.state.of(ModelKey(event.key)).unmoved is not None
        is_ours = is_ours and (self.life.story.sees_processes or not is_unmoved)
        if is_ours and "lever_broken" not in standing and not (is_dead or is_waiting):
            self.tell(f"the lease of {event.name} ran out")

    def _judge_loads(self, key: str, name: str) -> None:
        """A model is brought back so many times in a window, and then left alone for a while.

        A process whose journal was damaged begins to count anew.
        """
        loop = self.life.said.loop
        count = self._count(self._loads, key, loop.fight_window)
        since = self.now - loop.fight_window
        fresh = sum(at > since for at in self.life.witness._forgot_at)
        allowed = (loop.restores_per_window + 1) * (1 + fresh) + self._lives(loop.fight_window)
        last = self._loads[key][-allowed - 1 :]
        pauses = [later - at for at, later in itertools.pairwise(last)]
        if count > allowed and max(pauses) < loop.back_off:
            self.tell(f"{name} was loaded {count} times in ten minutes")

    def _count(self, moments: dict[str, list[float]], what: str, window: float) -> int:
        """Notes that something happens now; returns how often it did in the last seconds."""
        recent = [at for at in moments.get(what, ()) if self.now - at < window]
        moments[what] = [*recent, self.now]
        return len(recent) + 1

    def _lives(self, window: float) -> int:
        """Returns how many processes and servers began in the last seconds."""
        return self.life.witness.new_beginnings(self.now - window)

    def _shows_the_gpus(self, observation: Observation) -> bool:
        return {d.id for d in observation.devices} == {g.device for g in self.life.host.spec.gpus}


def _resident_pids(observation: Observation) -> dict[str, int]:
    """Returns the process of each model whose runner is there and loaded."""
    return {
        runner.key: runner.pid
        for runner in observation.runners or ()
        if runner.key is not None and runner.phase == "resident"
    }
