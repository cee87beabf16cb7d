"""Ranks as leases: who is to stay has the longer one, and leases are as long as clients' values.

Ollama lets the shortest keep-alive go first, so the order of ranks is the order of keep-alives that
warmset has given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from loop_hosts import START

from soak.claims import Given
from soak.judge import Judge
from soak.restraints import SPOILS
from warmset.core.control.actions import Decision, Finding
from warmset.core.control.durations import BASE_STEP_SECONDS
from warmset.core.control.leases import SLOT_SECONDS
from warmset.core.control.orders import Command, Done, Event
from warmset.core.control.pinging import PING_MARGIN_SECONDS
from warmset.core.control.renewing import LAST_MOMENT_SECONDS
from warmset.core.control.retention import SERVER_KEEP_ALIVE_SECONDS
from warmset.core.control.state import State
from warmset.core.control.turns import GOING
from warmset.core.model import FOREVER, ModelKey, Observation, normalise_name
from warmset.core.twin.events import Unloaded

if TYPE_CHECKING:
    from soak.life import Life

SETTLED_SECONDS = 60.0
"""So long an order of leases may be wrong: a rank is new, and pings are few at a look."""
SEEN_SECONDS = 60.0
"""A client's value is told by a deadline at two looks: it may seem longer by what lies between."""
OUTSIDERS_SECONDS = 1800.0
"""What another tool asks for."""
FORGETTING = {"old_state", "rot", "disk_full"}
HELD_BACK = (
    "lever_broken",
    "loads_stuck",
    "load_slow",
    "paused",
    "fight",
    "runner_gone",
    "ping_races",
)
"""While one of these stands not all leases are given."""


class Ranks(Judge):
    """Judges the leases that warmset has given and knows to stand."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._given = Given(life)
        self._since: dict[tuple[str, str], float] = {}
        self._longest = SERVER_KEEP_ALIVE_SECONDS  # that somebody has asked for
        told = {happening.kind for happening in life.story.happenings}
        self._ends: dict[str, tuple[float, float]] = {}  # key -> keep-alive and deadline at a look
        self._unsure_at = 0.0  # when not all leases could be given
        if "outsider" in told:
            self._longest = OUTSIDERS_SECONDS
        # Pings do nothing, or are not sent.
        self._is_idle = bool(told & SPOILS) or life.story.is_read_only
        # Of another host, or forgotten: whose value a model has nobody can tell.
        self._is_other = bool(life.story.earlier) or bool(told & FORGETTING)

    def boots(self, *, is_fresh: bool) -> None:
        del is_fresh
        self._given.forget()
        self._unsure_at = self.now

    def breaks_off(self, *, is_server: bool = False) -> None:
        self._is_other |= not is_server  # by another clock deadlines tell other values
        self._given.forget()
        self._unsure_at = self.now

    def says(self) -> None:
        self._since.clear()

    def used(self, name: str, keep: float | None) -> None:
        del name
        if keep is not None and keep < FOREVER:
            self._longest = max(self._longest, keep)

    def look_begins(self) -> None:
        loaded = self.life.host.scheduler.loaded
        idle = {key: runner for key, runner in loaded.items() if runner.refs == 0}
        self._ends = {k: (r.duration, (r.expires_at or 0.0) - START) for k, r in idle.items()}

    def hears(self, event: object) -> None:
        if isinstance(event, Unloaded) and not event.is_evicted and self._is_pin(event):
            seconds, end = self._ends.get(event.key, (0.0, math.inf))
            is_sure = self.now - self._unsure_at > SETTLED_SECONDS and not self._is_idle
            if (
                is_sure
                and seconds > LAST_MOMENT_SECONDS + PING_MARGIN_SECONDS
                and abs(self.now - end) < 1.0
            ):
                self.tell(f"the keep-alive of {event.name} ran out, and it is pinned")

    def looked(self, observation: Observation) -> None:
        if observation.residents is None or observation.trouble:
            self._since.clear()

    def ends(self, event: Event) -> None:
        opened = self._given.opened
        self._given.ends(event)
        is_over = self._given.opened is None and not isinstance(event, Done)
        if opened is not None and is_over:  # whose value it has now, nobody can tell
            self._longest = max(self._longest, opened.keep_alive)

    def found(self, findings: Iterable[Finding]) -> None:
        if any(finding.kind == "ping_left_out" for finding in findings):
            self._since.clear()  # the list of residents was too old to ping by
            self._unsure_at = self.now

    def carries_out(self, command: Command) -> None:
        self._given.carries_out(command)

    def decided(self, before: State, decision: Decision) -> None:
        del before
        if any(finding.kind == "look_gap" for finding in decision.findings):
            self._given.forget()
        is_held_back = any(code.startswith(HELD_BACK) for code in decision.standing)
        if decision.trouble or decision.is_provisional or is_held_back:
            self._since.clear()
            self._unsure_at = self.now
            return
        self._judge_order({change.key for change in decision.changes if change.kind in GOING})
        self._judge_base()

    def _judge_base(self) -> None:
        warmset, loop = self.life.warmset, self.loop
        if warmset is None or self._is_other or self.life.has_other_past:
            return
        seen = self._longest + SEEN_SECONDS + SLOT_SECONDS
        most = max(loop.lease_base, seen + BASE_STEP_SECONDS)
        if warmset.loop.state.base > most:
            base = warmset.loop.state.base
            self.tell(f"leases begin at {base:.0f} s, and nobody asks for {self._longest:.0f} s")

    def _judge_order(self, going: set[ModelKey]) -> None:
        """Who is to leave is not renewed: its lease is that of a rank which it has no more."""
        loaded = self.life.host.scheduler.loaded
        staying = [key for key in loaded if key not in going and self._is_ranked(key)]
        ours = [key for key in staying if self._given.stands(key)]
        wrong = {
            (low, high)
            for low, high in itertools.permutations(ours, 2)
            if self._rank(low) < self._rank(high) and loaded[low].duration >= loaded[high].duration
        }
        self._since = {pair: self._since.get(pair, self.now) for pair in wrong}
        for (low, high), since in self._since.items():
            if self.now - since > SETTLED_SECONDS:
                names = loaded[high].model.name, loaded[low].model.name
                self.tell(f"{names[0]} would be evicted before {names[1]}, which ranks lower")
                self._since[low, high] = self.now

    def _is_pin(self, event: Unloaded) -> bool:
        """Whether it was the pin, and not old weights of its name."""
        named = self.life.host.library.find(event.name)
        return self.is_pin(event.name) and named is not None and named.key == event.key

    def _is_ranked(self, key: str) -> bool:
        """Whether a runner is idle, and its name stands for its weights and is somebody's.

        One whose deadline a ping has not moved counts as in use.
        """
        runner = self.life.host.scheduler.loaded[key]
        named = self.life.host.library.find(runner.model.name)
        is_named = named is not None and named.key == key
        warmset = self.life.warmset
        is_unmoved = warmset and warmset.loop.state.of(ModelKey(key)).unmoved is not None
        is_idle = runner.refs == 0 and not is_unmoved
        return is_idle and is_named and self.life.is_managed(runner.model.name)

    def _rank(self, key: str) -> tuple[bool, int]:
        name = normalise_name(self.life.host.scheduler.loaded[key].model.name)
        policy = self.life.said.settings.policy_for((name,))
        return self.is_pin(name), policy.priority
