"""What warmset takes a runner to have found free when it was loaded, held against what it found.

Ollama goes on counting with that as long as the runner lives. Both ends of what warmset remembers
are asked before anything is loaded, so the truth has to lie between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from loop_hosts import START

from soak.judge import Judge
from warmset.core.control.actions import Decision
from warmset.core.control.state import Remembered, State
from warmset.core.model import DeviceId, Observation
from warmset.core.twin.events import LoadStarted, Unloaded
from warmset.core.twin.runner import Runner

if TYPE_CHECKING:
    from soak.life import Life

DOUBT_BYTES = 2**26
"""Ollama counts in whole MiB."""

PASSED_SECONDS = 30.0
"""Memory of one that no look has shown is back by then: the latest of a story takes 15 s."""
BREAKS = ("look_gap", "clock_stepped", "server_restarted", "server_changed", "state_from_future")


class Beliefs(Judge):
    """Judges what is remembered of each runner at the look that first shows it."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._loading: object | None = None  # at the look
        self._cut_at = self._passed_at = self._unlisted_at = -math.inf
        self._present: set[int] = set()  # processes when the look began
        self._shown: set[int] = set()  # at this look or before
        self._listed: set[int] = set()  # at looks before
        self._located: set[str] = set()  # of whom the driver told what they hold
        self._others: dict[str, int] = {}  # key -> what other programs held when it was loaded
        self._seen_others: list[tuple[float, int]] = []  # the same at each look

    def look_begins(self) -> None:
        scheduler = self.life.host.scheduler
        self._loading = scheduler.loading
        self._present = {runner.pid for runner in scheduler.loaded.values()}
        self._seen_others.append((self.now, self._held_by_others()))

    def looked(self, observation: Observation) -> None:
        self._located = {str(key) for key, held in observation.located.items() if held}
        if observation.residents is not None and not observation.trouble:
            self._shown, self._listed = self._shown | self._present, self._shown
        else:
            self._unlisted_at = self.now

    def hears(self, event: object) -> None:
        if isinstance(event, LoadStarted):
            self._others[event.order.model.key] = self._held_by_others()
        elif isinstance(event, Unloaded) and event.pid not in self._shown | self._present:
            self._passed_at = self.now

    def _held_by_others(self) -> int:
        cards = self.life.host.cards
        return sum(cards.foreign(gpu.device) for gpu in cards.gpus)

    def decided(self, before: State, decision: Decision) -> None:
        warmset = self.life.warmset
        if warmset is None or decision.trouble or not self.life.story.sees_processes:
            return  # what hidden processes take beside their models is known to nobody
        has_break = any(finding.kind in BREAKS for finding in decision.findings)
        is_cut = before.looked is None or has_break
        if is_cut:
            self._cut_at = self.now
        if self.now - self._passed_at < PASSED_SECONDS:
            return  # nobody has seen what that one held
        unseen = self.life.witness._misled | self.life.witness._unlooked
        named = {model.key for model in self.life.host.library.models()}
        for runner in self.life.host.scheduler.loaded.values():
            key = runner.model.key
            if runner.pid not in self._present:
                continue  # it came while the look was on its way
            was, known = before.models.get(key), warmset.loop.state.models.get(key)
            is_new = known is not None and (was is None or was.free_low is not known.free_low)
            is_same = was is not None and was.pid == runner.pid and was.resident_since is not None
            is_known = is_same and was is not None and bool(was.free_low)
            started_at = runner.started_at - START
            if (has_break or not is_known) and started_at <= self._cut_at:
                continue  # there was nothing to compare with
            if not is_known and (started_at <= self._unlisted_at or runner.pid in self._listed):
                continue  # nobody said who was resident, or whose weights it has
            # Of weights that no name leads to any more only what they hold is kept (`strangers`).
            if known is not None and is_new and key in named - unseen:
                self._judge(runner, known)

    def _most_seen(self, since: float) -> int:
        """Returns the most that others held at a look since a moment, and at the one before it."""
        earlier = [held for at, held in self._seen_others if at < since]
        return max(*earlier[-1:], *(held for at, held in self._seen_others if at >= since), 0, 0)

    def _judge(self, runner: Runner, known: Remembered) -> None:
        if not known.free_low:
            self.tell(f"{runner.model.name} came, and what it found free is not remembered")
        if runner.model.key not in self._located:
            return  # a process holds more than Ollama says
        for device, found in runner.view.free_at_load.items():
            low = known.free_low.get(DeviceId(device), 0)
            high = known.free_high.get(DeviceId(device), found)
            beside = self._others.get(runner.model.key, 0)
            has_grown = self._held_by_others() > beside
            if beside > self._most_seen(runner.started_at - START):  # they gave it back unseen
                low = min(low, found)
            others = self.life.host.scheduler.loaded.values()
            is_last = all(other.started_at <= runner.started_at for other in others)
            if has_grown or not is_last or self._loading is not None:  # seen beside them only
                high = max(high, found)
            if not low - DOUBT_BYTES <= found <= high + DOUBT_BYTES:
                span = f"{low / 2**20:.0f} to {high / 2**20:.0f} MiB"
                what = f"{runner.model.name} found {found / 2**20:.0f} MiB free"
                self.tell(f"{what}, and is taken to have found {span}")
