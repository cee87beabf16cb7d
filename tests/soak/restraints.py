"""Holding back: what failed, left, fluttered or was refused is not tried again at once.

A process that was killed may have forgotten what it had not written down, so each begins afresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from soak.judge import Judge
from warmset.core.control.actions import Decision, Finding
from warmset.core.control.departures import UNLOAD_SECONDS
from warmset.core.control.drift import FAILURES
from warmset.core.control.orders import (
    Aborted,
    Cancel,
    Command,
    Done,
    Event,
    Failed,
    ReadResidents,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
    TimedOut,
)
from warmset.core.control.pinging import PING_LIMIT_SECONDS
from warmset.core.control.restraint import CYCLES
from warmset.core.control.state import State
from warmset.core.control.stuck import RESCUES
from warmset.core.model import Observation, normalise_name
from warmset.core.twin.events import LoadEnded, Unloaded

if TYPE_CHECKING:
    from soak.life import Life

RACE_KINDS = {"ping_raced", "ping_reloaded"}
SPOILS = {"broken_lever", "no_effect", "lost_reply", "doubled"}
"""Mishaps after which a command may have had no effect."""
LATE_SECONDS = 30.0
"""A load is hung up on so long after its limit: the slowest look of a story takes 15 s."""


class Restraints(Judge):
    """Judges pauses: of models, of levers, of pings, of everything."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        told = {happening.kind for happening in life.story.happenings}
        self._has_faults = bool(told & SPOILS)
        self.boots(is_fresh=True)

    # -- what it is told --------------------------------------------------------------------------

    def boots(self, *, is_fresh: bool) -> None:
        if is_fresh:  # else it is written down who is on its way out, and that it is to come back
            self._returning: set[str] = set()  # members that were unloaded, to load in its order
            self._unloading = ""  # who is to go by our word
        self._open: tuple[Command, float] | None = None
        self._failed: dict[str, tuple[float, int]] = {}  # when, and how often in a row
        self._final: dict[str, float] = {}  # when that was refused which no later try changes
        self._tried_at = -math.inf  # the look whose pings try a lever that is broken
        self._refused_at = self._server_went_at = -math.inf
        self._gave_up_at = -math.inf  # when a preload was called off at its limit
        self._is_spent = False  # a command failed since the last look
        self._pings = 0  # since the last look
        self._looked_at = -math.inf
        self._known: set[str] = set()
        self._left: dict[str, float] = {}
        self._ours: set[str] = set()  # residents that warmset loaded
        self._cycles: dict[str, list[float]] = {}
        self._races: list[float] = []
        self._raced: dict[str, float] = {}  # name -> when an accident of its ping was told last
        self._quiet_until = -math.inf
        self._vain: dict[str, list[tuple[float, str]]] = {}
        self._rescues: list[float] = []

    def breaks_off(self, *, is_server: bool = False) -> None:
        self._known.clear()
        self._left = {key: at for key, at in self._left.items() if at <= self._looked_at}
        self._vain.clear()
        if is_server:
            self._left.clear()
            self._ours.clear()
            self._races.clear()
            self._refused_at, self._server_went_at = -math.inf, self.now
            self._gave_up_at = -math.inf

    def looked(self, observation: Observation) -> None:
        self._is_spent, self._pings = False, 0
        if observation.residents is not None and not observation.trouble:
            self._forget_unseen_loads()
            self._looked_at = self.now
            self._known = {row.key for row in observation.residents if row.key is not None}

    def decided(self, before: State, decision: Decision) -> None:
        del before
        if any(finding.kind == "look_gap" for finding in decision.findings):
            self._left.clear()
        self.found(decision.findings)
        opened = self._open
        if opened is not None and isinstance(opened[0], SendPreload):
            open_for = self.now - opened[1]
            # Also while nothing is known: the decision is judged, since a process that is killed
            # at this moment hangs up on nothing.
            is_over = open_for > self.loop.load_limit + LATE_SECONDS
            if is_over and decision.calls_off is None:
                self.tell(f"the preload of {opened[0].name} is open for {open_for:.0f} s")
        elif opened is not None and isinstance(opened[0], SendPing) and not decision.trouble:
            open_for = self.now - opened[1]
            if open_for > PING_LIMIT_SECONDS + LATE_SECONDS and decision.calls_off is None:
                self.tell(f"the ping of {opened[0].name} is open for {open_for:.0f} s")
        self._judge_alarms(decision)

    def found(self, findings: Iterable[Finding]) -> None:
        races = []
        for finding in findings:
            told_at = self._raced.get(finding.name, -math.inf)
            if finding.kind == "ping_reloaded" and self.now - told_at < self.loop.calm:
                continue  # the same accident once more, shown by the next look
            if finding.kind in RACE_KINDS:
                self._raced[finding.name] = self.now
                races.append(self.now)
        window = self.loop.fight_window
        self._races = [*(at for at in self._races if self.now - at < window), *races]
        if races and len(self._races) > 1:
            self._quiet_until = self.now + self.loop.back_off

    def hears(self, event: object) -> None:
        if isinstance(event, LoadEnded) and not event.error:
            key = event.order.model.key
            opened = None if self._open is None else self._open[0]
            is_ours = isinstance(opened, SendPreload) and opened.key == key
            self._ours = self._ours | {key} if is_ours else self._ours - {key}
            self._left.pop(key, None)
            self._returning.discard(key)
            self._failed.pop(key, None)
        elif isinstance(event, Unloaded):
            is_unloaded = event.key == self._unloading
            self._returning -= set() if is_unloaded else {event.key}
            if event.key in self._known:
                self._left[event.key] = self.now
            if is_unloaded and event.key in self._ours:
                self._cycles.setdefault(event.key, []).append(self.now)
            if is_unloaded:
                self._vain.pop("unload", None)  # for all that can be seen, something came of it
                self._unloading = ""  # who leaves later leaves for another reason
            self._ours.discard(event.key)

    def ends(self, event: Event) -> None:
        """A server that had no answer may be at it still; one that is gone has no queue left."""
        if self._open is None or isinstance(event, Started):
            return
        command, since = self._open
        if event.number != getattr(command, "number", None):
            return
        self._open = None
        if not isinstance(event, Done):
            self._is_spent = True
            self._forget_use(command, since)
        if isinstance(command, SendUnload) and not self._is_on_its_way_out(command.key):
            self._unloading = ""  # nothing came of it: who takes it away later is somebody else
        is_slow = isinstance(command, SendPreload) and self.now - since > self.loop.load_limit
        if is_slow and isinstance(event, Aborted):
            self._gave_up_at = self.now
        is_busy = isinstance(event, Failed) and event.status == 503
        if isinstance(event, Aborted | Done) or isinstance(command, ReadResidents):
            return
        if (is_busy or isinstance(event, TimedOut)) and since > self._server_went_at:
            self._refused_at = self.now
        if isinstance(event, TimedOut) or (event.status is not None and not is_busy):
            key = command.key  # type: ignore[union-attr]
            at, times = self._failed.get(key, (-math.inf, 0))
            is_long_ago = self.now - at > self._pause(times) + self.loop.fight_window
            self._failed[key] = (self.now, 1 if is_long_ago else times + 1)
            if isinstance(event, Failed) and event.is_final:
                self._final[key] = self.now

    def carries_out(self, command: Command) -> None:
        if isinstance(command, Cancel):
            return
        self._open = (command, self.now)
        if self._is_spent:
            self.tell(f"{type(command).__name__} on a look after which a command failed")
        if isinstance(command, ReadResidents):
            return
        what = f"{type(command).__name__} of {command.name}"
        if self.now - self._refused_at < self.loop.settle:
            self.tell(f"{what}, {self.now - self._refused_at:.0f} s after the server had no answer")
        if isinstance(command, SendPing):
            self._judge_ping(what)
        if isinstance(command, SendPing | SendPreload):
            self._judge_pause(command, what)
        if isinstance(command, SendPreload):
            self._judge_return(command, what)
            if self.now - self._gave_up_at < self.loop.calm:
                self.tell(f"{what}, {self.now - self._gave_up_at:.0f} s after one took too long")
        if isinstance(command, SendUnload):
            self._judge_unload(command, what)
        self._judge_lever(command, what)

    def used(self, name: str, keep: float | None) -> None:
        """Who is used after its unload may be there for that reason: it tells nothing."""
        del keep
        self._vain["unload"] = [
            (at, unloaded)
            for at, unloaded in self._vain.get("unload", ())
            if unloaded != normalise_name(name) or self.now - at > UNLOAD_SECONDS + LATE_SECONDS
        ]

    # -- the rules --------------------------------------------------------------------------------

    def _judge_ping(self, what: str) -> None:
        self._pings += 1
        if self._pings > self.loop.pings_per_tick:
            self.tell(f"{what}: the {self._pings}th of one look")
        if self.now < self._quiet_until:
            self.tell(f"{what}, although pings met loads a moment ago")

    def _judge_pause(self, command: SendPing | SendPreload, what: str) -> None:
        """What failed is left alone for a while, twice as long each time."""
        at, times = self._failed.get(command.key, (-math.inf, 1))
        if self.now - self._final.get(command.key, -math.inf) < self.loop.back_off_limit:
            self.tell(f"{what}, which the server has refused for good")
        if self.now - at < self._pause(times):
            self.tell(f"{what}, {self.now - at:.0f} s after the {times}th failure")

    def _pause(self, times: int) -> float:
        return min(self.loop.cool_down * 2 ** (times - 1), self.loop.back_off_limit)

    def _judge_return(self, command: SendPreload, what: str) -> None:
        """Who left gives way for a while, unless it is pinned, or the plan only loads it anew."""
        left = self.now - self._left.get(command.key, -math.inf)
        is_free = self.is_pin_soon(command.name) or command.key in self._returning
        if left < self.loop.cool_down and not is_free:
            self.tell(f"{what}, {left:.0f} s after it left")
        if self._count_cycles(command.key) >= CYCLES:
            self.tell(f"{what}, which was loaded and unloaded {CYCLES} times")

    def _judge_unload(self, command: SendUnload, what: str) -> None:
        self._unloading = command.key
        decision = None if self.life.warmset is None else self.life.warmset.loop.decision
        members = {member.key for member in (decision.members if decision else ())}
        self._returning |= {command.key} & members
        if not self.is_stuck:
            return
        window = self.loop.fight_window
        self._rescues = [*(at for at in self._rescues if self.now - at < window), self.now]
        if len(self._rescues) > RESCUES:
            self.tell(f"{what}: the {len(self._rescues)}th rescue in ten minutes")

    def _is_on_its_way_out(self, key: str) -> bool:
        runner = self.life.host.scheduler.loaded.get(key)
        return runner is not None and runner.duration <= 0

    def _count_cycles(self, key: str) -> int:
        window = self.loop.fight_window
        return sum(self.now - at < window for at in self._cycles.get(key, ()))

    def _forget_use(self, command: Command, since: float) -> None:
        """Whether the server took a command that was not answered with success, nobody knows.

        Nor whose load or unload it was that is seen then.
        """
        if isinstance(command, SendPreload):
            self._vain["preload"] = self._vain.get("preload", [])[:-1]
            self._ours.discard(command.key)
        elif isinstance(command, SendUnload):
            self._vain["unload"] = self._vain.get("unload", [])[:-1]
            cycles = self._cycles.get(command.key, [])
            self._cycles[command.key] = [at for at in cycles if at < since]

    def _judge_lever(self, command: SendPreload | SendUnload | SendPing, what: str) -> None:
        """After four uses in a row that the server took and that had no effect a lever rests."""
        if isinstance(command, SendPing):
            self._judge_broken_pings(what)  # their effect shows when the deadline comes
            return
        lever = "preload" if isinstance(command, SendPreload) else "unload"
        if lever not in self.life.faults.broken:
            self._vain.pop(lever, None)
            return
        uses = self._vain.setdefault(lever, [])
        if len(uses) >= FAILURES and self.now - uses[-1][0] < self.loop.back_off:
            self.tell(f"{what}: the {len(uses) + 1}th time that nothing comes of it")
        uses.append((self.now, normalise_name(command.name)))

    def _forget_unseen_loads(self) -> None:
        """Who is not there long after its load was answered may have come, and been pushed out."""
        since, patience = self._looked_at, 2 * self.loop.tick
        self._vain["preload"] = [
            (at, name)
            for at, name in self._vain.get("preload", ())
            if at < since or self.now - at <= patience
        ]

    def _judge_broken_pings(self, what: str) -> None:
        """Once the operator is told that pings do nothing, the models of one look try it now and
        then."""
        decision = None if self.life.warmset is None else self.life.warmset.loop.decision
        if decision is None or "lever_broken ping" not in decision.standing:
            return
        since = decision.at - self._tried_at
        if 0 < since < self.loop.back_off:
            self.tell(f"{what}, {since:.0f} s after pings were tried in vain")
        self._tried_at = decision.at

    def _judge_alarms(self, decision: Decision) -> None:
        """No lever is called broken on a server that does what it is told, nor on a new version."""
        broken = [code for code in decision.standing if code.startswith("lever_broken")]
        if broken and not self._has_faults:
            self.tell(f"{broken[0]} stands, and all that was sent was done")
        if broken and any(finding.kind == "server_changed" for finding in decision.findings):
            self.tell(f"{broken[0]} stands, and that was another version")
