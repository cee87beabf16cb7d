"""What a look showed, or the operator said, and no command may go against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from loop_hosts import GIANT

from soak.judge import Judge
from warmset.core.control.actions import Decision, Preload, Renew, Unload
from warmset.core.control.levers import SOON_GONE_SECONDS
from warmset.core.control.orders import (
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
from warmset.core.control.pinging import PING_MARGIN_SECONDS
from warmset.core.control.state import State
from warmset.core.host.draining import PATIENCE_SECONDS
from warmset.core.model import Observation, Quality
from warmset.core.planner import ActionKind
from warmset.core.twin.events import LoadEnded, Unloaded

if TYPE_CHECKING:
    from soak.life import Life

SAME_SECONDS = 1.5
"""Deadlines that are no further apart are the same."""
OTHER_SECONDS = 120.0
"""A keep-alive further from our lease than this is no doubt between two looks."""


ORDERS: dict[type, type] = {SendPing: Renew, SendPreload: Preload, SendUnload: Unload}


class Sights(Judge):
    """Judges commands by what was on the table when they were decided."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._seen: Observation | None = None
        self._open: Command | None = None
        self._begun_on: Decision | None = None  # when a list was asked for, to ping by it
        self._busy: frozenset[str] = frozenset()  # at the look
        self._given: dict[str, float] = {}  # key -> lease that warmset knows to stand
        self._stood: set[str] = set()  # those that stood at the last look
        self._clients: set[str] = set()  # whose lease a client replaced, as a look showed
        self._shown: dict[str, float] = {}  # key -> deadline at the last look
        self._moved_at: dict[str, float] = {}  # key -> the last look before its deadline moved
        self._looked_at = -math.inf
        self._touched: set[str] = set()  # those that we asked for since the last look
        self._gone_at = -math.inf  # when one left that the last look had shown
        self._is_draining = False  # whether its memory was still on its way back at the look

    # -- what it is told --------------------------------------------------------------------------

    def boots(self, *, is_fresh: bool) -> None:
        del is_fresh
        self._seen = self._open = None
        self._forget_leases()
        self._clients.clear()
        self._shown.clear()
        self._moved_at.clear()
        self._gone_at = -math.inf

    def breaks_off(self, *, is_server: bool = False) -> None:
        self._forget_leases()
        self._shown.clear()
        if is_server:
            self._clients.clear()
            self._moved_at.clear()
        self._gone_at = -math.inf

    def _forget_leases(self) -> None:
        self._given.clear()
        self._stood.clear()

    def look_begins(self) -> None:
        loaded = self.life.host.scheduler.loaded
        self._busy = frozenset(k for k, r in loaded.items() if r.refs > 0 and r.is_alive)
        cards = self.life.host.cards
        self._is_draining = any(cards.draining(gpu.device) for gpu in cards.gpus)
        for key, runner in loaded.items():
            apart = abs(runner.duration - self._given.get(key, math.inf))
            if apart < 1.0:
                self._stood.add(key)
            elif key in self._stood and key not in self._busy and apart > OTHER_SECONDS:
                self._stood.discard(key)
                self._clients.add(key)

    def looked(self, observation: Observation) -> None:
        self._seen = observation
        if observation.residents is None or observation.trouble:
            self._forget_leases()  # longer looks away may be a gap
            return
        for row in observation.residents:
            if row.key is None or row.expires_at is None:
                continue
            before = self._shown.get(row.key, row.expires_at)
            # Seconds are whole on the wire, and a first look after a while tells nothing of others.
            if row.key not in self._touched and abs(row.expires_at - before) > SAME_SECONDS:
                self._moved_at[row.key] = self._looked_at
        self._shown = {
            row.key: row.expires_at
            for row in observation.residents
            if row.key is not None and row.expires_at is not None
        }
        self._touched.clear()
        self._looked_at = self.now

    def decided(self, before: State, decision: Decision) -> None:
        del before
        rows = () if self._seen is None else self._seen.residents or ()
        left = {row.key: (row.expires_at or 0.0) - self._seen.at for row in rows} if rows else {}
        for renewal in decision.renewals:
            if left.get(renewal.key, 0.0) < PING_MARGIN_SECONDS:
                self.tell(f"a ping of {renewal.name} is planned at its deadline")
        if any(finding.kind == "look_gap" for finding in decision.findings):
            self._forget_leases()
            self._gone_at = -math.inf

    def hears(self, event: object) -> None:
        key = ""
        if isinstance(event, LoadEnded):
            key = event.order.model.key
        elif isinstance(event, Unloaded):
            key = event.key
            seen = () if self._seen is None else self._seen.residents or ()
            if key in {row.key for row in seen}:
                self._gone_at = self.now
        self.is_deleted(key)

    def is_deleted(self, key: str) -> None:
        self._clients.discard(key)
        self._stood.discard(key)
        self._given.pop(key, None)

    def ends(self, event: Event) -> None:
        opened = self._open
        if opened is None or isinstance(event, Started):
            return
        if event.number != getattr(opened, "number", None):
            return
        self._open = None
        if isinstance(event, Done) and isinstance(opened, SendPing | SendPreload):
            self._given[opened.key] = opened.keep_alive
            self._stood.discard(opened.key)
            self._touched.add(opened.key)
            self._clients.discard(opened.key)  # a pin's lease is given back, and stands again
        elif isinstance(event, Done) and isinstance(opened, SendUnload):  # its last keep-alive is 0
            self._given.pop(opened.key, None)
            self._stood.discard(opened.key)
        elif isinstance(event, TimedOut | Failed):
            self._forget_leases()

    def carries_out(self, command: Command) -> None:
        if isinstance(command, Cancel):
            return
        self._open = command
        if isinstance(command, SendPing | SendPreload | SendUnload):
            self._touched.add(command.key)
            self._stood.discard(command.key)  # until an answer says what it has now
        warmset, seen = self.life.warmset, self._seen
        decision = None if warmset is None else warmset.loop.decision
        if isinstance(command, ReadResidents):
            self._begun_on = decision
        if isinstance(command, ReadResidents) or decision is None or seen is None:
            return
        what = f"{type(command).__name__} of {command.name}"
        self._judge_order(command, decision, what)
        if isinstance(command, SendPing):
            self._judge_ping(command, decision, what)
            return
        if decision.conflict is not None or self._is_too_much():
            self.tell(f"{what}, although the pins never fit together")
        if isinstance(command, SendPreload):
            self._judge_preload(seen, decision, what)
        elif isinstance(command, SendUnload):
            self._judge_unload(command, decision, what)

    # -- the rules --------------------------------------------------------------------------------

    def _judge_unload(self, command: SendUnload, decision: Decision, what: str) -> None:
        moved = self.now - self._moved_at.get(command.key, -math.inf)
        if moved < self.loop.idle_after:
            self.tell(f"{what}, whose deadline moved within {moved:.0f} s: somebody used it")
        if not self.loop.may_rescue and self._is_stuck(decision):
            self.tell(f"{what}, while nothing is loaded any more, and nobody allowed that")

    def _judge_ping(self, command: SendPing, decision: Decision, what: str) -> None:
        if not self.life.is_managed(command.name):
            self.tell(f"{what}, which nobody configured")
        if command.key in self._busy and self.life.story.sees_processes:
            self.tell(f"{what}, which was in use at the look")
        if command.key in self._clients and not self.is_pin_soon(command.name):
            self.tell(f"{what}, whose keep-alive a client has set")
        going = {c.key for c in decision.changes if c.kind is ActionKind.UNLOAD}
        going -= {member.key for member in decision.members}  # they stay until their turn
        going |= {order.key for order in decision.sends if isinstance(order, Unload)}
        if command.key in going:
            self.tell(f"{what}, which is to go")

    def _judge_preload(self, seen: Observation, decision: Decision, what: str) -> None:
        if seen.memory.pressure:
            self.tell(f"{what}, while programs wait for RAM")
        if any(device.free_bytes.quality is Quality.STALE for device in seen.devices):
            self.tell(f"{what} on memory that could not be read just now")
        if decision.postponed is None:
            return
        if self._is_draining and self.now - self._gone_at < PATIENCE_SECONDS:
            self.tell(f"{what}, while the memory of one that left is not back, and pins lack room")
        soon = seen.at + SOON_GONE_SECONDS
        for row in seen.residents or ():
            is_others = not self.life.is_managed(row.name)
            if is_others and row.expires_at is not None and row.expires_at < soon:
                self.tell(f"{what}, beside {row.name}, which is about to leave")

    def _judge_order(
        self, command: SendPing | SendPreload | SendUnload, decision: Decision, what: str
    ) -> None:
        """What an earlier look asked for and is not begun is forgotten; a ping begins by a list."""
        asked = decision.sends
        if isinstance(command, SendPing) and self._begun_on is not None:
            asked = self._begun_on.sends
        kind = ORDERS[type(command)]
        if not any(isinstance(order, kind) and order.key == command.key for order in asked):
            self.tell(f"{what}, which the last look did not ask for")

    def _is_too_much(self) -> bool:
        """Whether models are pinned that one card never holds together."""
        named = self.life.story.pins
        wanted = [self.life.host.library.find(name) for name in (*named, GIANT)]
        are_pins = all(self.is_pin(name) for name in (*named, GIANT))
        return self.life.story.cards == 1 and are_pins and all(wanted)

    def _is_stuck(self, decision: Decision) -> bool:
        state = None if self.life.warmset is None else self.life.warmset.loop.state
        probe_at = None if state is None else state.probe_at
        is_raised = "loads_stuck" in decision.standing
        return is_raised and probe_at is not None and decision.at < probe_at
