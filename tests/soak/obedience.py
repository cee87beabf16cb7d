"""What the operator said is done, or there is a reason; what was not said is not done.

Orders count from the next look on: a hold like a pin, an eviction as long as it was given for. Who
is outside its windows, kept no longer, or to make way is not fetched, and leaves once it is idle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from soak.claims import SURE_SHARE, Given, pays_seconds
from soak.judge import Judge
from warmset.core.control.actions import Decision, Preload, Unload, Wait
from warmset.core.control.looking import UNMOVED_SECONDS
from warmset.core.control.orders import Command, Event, SendPing, SendPreload, SendUnload
from warmset.core.control.retention import DEARER, OUTSIDE, SERVER_KEEP_ALIVE_SECONDS, UNUSED
from warmset.core.control.state import State
from warmset.core.model import Observation, find_entry, normalise_name
from warmset.core.settings import ModelPolicy
from warmset.core.twin.events import Granted, LoadStarted

if TYPE_CHECKING:
    from soak.life import Life

DONE_SECONDS = 180.0
"""Who is to leave has left by then, if nothing happens: it is called idle after half a minute,
stays a minute, gives way in two, and the looks in between take some seconds."""
SOON_SECONDS = 60.0
"""A load that nobody has timed yet is expected to take less."""
HELD_BACK = ("lever_broken", "loads_stuck", "load_slow", "gpus_changed", "pins_conflict")
"""While one of these stands nothing is promised."""


class Obedience(Judge):
    """Judges what becomes of orders, windows, keep-alives, and of those who make way."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._begun_at = -math.inf  # the look that is decided on
        self._used_at: dict[str, float] = {}  # key -> when a look found it in use, or it came
        self._asked_at: dict[str, float] = {}  # key -> when somebody else was served by it last
        self._pinged: dict[str, tuple[float, float | None]] = {}  # key -> when, its deadline then
        self._retired: set[str] = set()  # let go as unused; nobody has asked for them since
        self._said_at = -math.inf
        self._heard_at = -math.inf
        self._closed_at: dict[str, float] = {}  # since when who is not wanted, by key
        self._told: set[str] = set()
        self._listed: set[str | None] = set()  # at the last look
        self._listed_at: dict[str | None, float] = {}
        self._broke_off_at = -math.inf
        self._booted_ahead = 0.0
        self._open: set[str] = set()  # whose windows were open at the last look
        self._given = Given(life)
        self._seen_busy: set[str] = set()  # those of whom a look has shown that they were in use

    # -- what it is told --------------------------------------------------------------------------

    def boots(self, *, is_fresh: bool) -> None:
        if self.life.clock_ahead != self._booted_ahead:  # all was long ago, or is to come
            self._used_at.clear()
        self._booted_ahead = self.life.clock_ahead
        self._retired.clear()  # what was not written down, or by another clock, is forgotten
        self._given.forget()
        if is_fresh:
            self._used_at |= dict.fromkeys(self.life.host.scheduler.loaded, self.now)
        self._heard_at = self.now

    def breaks_off(self, *, is_server: bool = False) -> None:
        del is_server
        self._retired.clear()
        self._given.forget()
        self._heard_at = self._broke_off_at = self.now

    def says(self) -> None:
        self._said_at = self.now

    def evicts(self, name: str) -> None:
        self._count("evicted")
        del name

    def used(self, name: str, keep: float | None) -> None:
        del keep
        model = self.life.host.library.find(name)
        if model is not None:
            self._retired.discard(model.key)

    def hears(self, event: object) -> None:
        self._heard_at = self.now
        if isinstance(event, LoadStarted):
            self._used_at[event.order.model.key] = self.now
            self._seen_busy.discard(event.order.model.key)
            self._retired.discard(event.order.model.key)
        elif isinstance(event, Granted):
            self._note_request(event)

    def look_begins(self) -> None:
        self._begun_at = self.now
        for key, runner in self.life.host.scheduler.loaded.items():
            if runner.refs > 0:
                self._used_at[key] = self.now
                self._seen_busy.add(key)
        self._note_who_is_unwanted()

    def looked(self, observation: Observation) -> None:
        self._listed = {row.key for row in observation.residents or ()}
        self._listed_at |= dict.fromkeys(self._listed, self.now)

    def decided(self, before: State, decision: Decision) -> None:
        del before
        self._judge_alarms(decision)
        if decision.trouble or decision.is_provisional:
            self._heard_at = self.now  # nothing is promised while nothing is known
            return
        if any(finding.kind == "look_gap" for finding in decision.findings):
            self._given.forget()
        self._judge_wanted(decision)
        self._judge_windows(decision)
        self._judge_leavers(decision)

    def ends(self, event: Event) -> None:
        self._given.ends(event)

    def carries_out(self, command: Command) -> None:
        self._given.carries_out(command)
        if isinstance(command, SendPing):
            runner = self.life.host.scheduler.loaded.get(command.key)
            self._pinged[command.key] = (self.now, None if runner is None else runner.expires_at)
        elif isinstance(command, SendPreload):
            self._judge_preload(command)
        elif isinstance(command, SendUnload):
            self._judge_unload(command)

    def _note_request(self, event: Granted) -> None:
        opened = None if self.life.warmset is None else self.life.warmset._open
        if opened is not None and opened[1] == event.request_id:
            return
        for key, runner in self.life.host.scheduler.loaded.items():
            if runner.pid == event.pid:
                self._asked_at[key] = self.now

    # -- the rules --------------------------------------------------------------------------------

    def _judge_preload(self, command: SendPreload) -> None:
        name, life = command.name, self.life
        what = f"preload of {name}"
        if life.said.is_held((name,), life.loop_now):
            return
        if not life.is_managed(name):
            self.tell(f"{what}, which nobody configured")
        if life.operator.is_resting(name, life.wall):
            self.tell(f"{what}, which the operator has evicted")
        if life.said.yielding:
            self.tell(f"{what}, while all make way for {life.said.yielding}")
        policy = self._policy(name)
        if not life.operator.opens(name, life.wall, within=self._lead_seconds(command.key)):
            self.tell(f"{what} outside its windows")
        if life.is_pinned(name) or policy.pin:  # its window is about to open
            return
        if not policy.preload or policy.keep_alive == 0:
            self.tell(f"{what}, which is never to be fetched")
        if command.key in self._retired:
            self.tell(f"{what}, which was let go as unused, and nobody has asked for it since")

    def _lead_seconds(self, key: str) -> float:
        warmset = self.life.warmset
        known = None if warmset is None else warmset.loop.state.models.get(key)  # type: ignore[call-overload]
        seconds = None if known is None else known.load_seconds
        return (SOON_SECONDS if seconds is None else seconds) + 3 * self.loop.tick

    def _judge_unload(self, command: SendUnload) -> None:
        decision = None if self.life.warmset is None else self.life.warmset.loop.decision
        order = (
            next((o for o in decision.sends if isinstance(o, Unload)), None) if decision else None
        )
        reason = "" if order is None or order.key != command.key else order.reason
        idle = self.now - self._used_at.get(command.key, -math.inf)
        policy = self._policy(command.name)
        if reason.startswith("unused for"):
            self._count("let_go")
            self._retired.add(command.key)
            kept = policy.keep_alive or 0.0
            is_early = reason.startswith(UNUSED) and idle < kept
            if is_early and self.life.story.sees_processes:
                self.tell(f"{command.name} was let go {idle:.0f} s after its use: {reason}")
            if reason.startswith(DEARER):
                self._judge_price(command, idle)
        elif reason.startswith(OUTSIDE):
            self._count("closed")
            kept = SERVER_KEEP_ALIVE_SECONDS
            kept = kept if policy.keep_alive is None else min(kept, policy.keep_alive)
            runner = self.life.host.scheduler.loaded.get(command.key)
            if runner is not None and self.loop.price_per_gib_hour:  # by gaps it may be anything
                pays = 0.0 if self.life.gaps else pays_seconds(self.life, runner)
                kept = min(kept, SURE_SHARE * pays)
            if idle < kept and self.life.story.sees_processes:
                self.tell(f"{command.name} was unloaded {idle:.0f} s after its use: {reason}")
            if self.life.operator.opens(command.name, self.life.wall):
                self.tell(f"{command.name} was unloaded within its windows")

    def _judge_price(self, command: SendUnload, idle: float) -> None:
        """Where processes are hidden, a long request looks like none."""
        runner = self.life.host.scheduler.loaded.get(command.key)
        is_known = self.life.story.sees_processes or command.key not in self._seen_busy
        if runner is None or not is_known:
            return
        pays = pays_seconds(self.life, runner)
        if idle < SURE_SHARE * pays < math.inf:
            what = f"{command.name} was let go {idle:.0f} s after its use"
            self.tell(f"{what}, and its memory is worth a load after {pays:.0f} s")

    def _note_who_is_unwanted(self) -> None:
        """Keeps since when each runner has nobody who wants it, as the looks find it."""
        life, now = self.life, self.now
        names = [name for name, _ in life.story.wishes.windows]
        opened = {name for name in names if life.operator.opens(name, life.wall, SOON_SECONDS)}
        if opened != self._open:  # that counts as a word of the operator
            self._open = opened
            self._retired.clear()  # its next window is a claim
            life.tell_judges("says")
            life.witness.explains()
        for key, runner in life.host.scheduler.loaded.items():
            name = normalise_name(runner.model.name)
            is_held = life.operator.orders.holds.get(name, life.wall) > life.wall
            is_managed = life.is_managed(name) and not is_held
            is_closed = not life.operator.opens(name, life.wall, within=self._lead_seconds(key))
            if is_managed and (life.operator.yielding or is_closed):
                self._closed_at.setdefault(key, now)
            else:
                self._closed_at.pop(key, None)

    def _judge_leavers(self, decision: Decision) -> None:
        """Who is not wanted any more has left in time."""
        life = self.life
        quiet_since = max(self._said_at, self._heard_at, life.witness.disturbed_at)
        if self.now - quiet_since < DONE_SECONDS or life.story.is_read_only:
            return
        if not life.story.sees_processes or self._is_held_back(decision):
            return
        for key, runner in life.host.scheduler.loaded.items():
            due_at = self._due_at(key, runner.model.name)
            if runner.refs == 0 and self.now - due_at > DONE_SECONDS and key not in self._told:
                self._told.add(key)
                waits = [a.reason for a in decision.actions if isinstance(a, Wait)][:3]
                since = f"{self.now - due_at:.0f} s ago"
                self.tell(f"{runner.model.name} was to leave {since}; {waits} {decision.standing}")

    def _due_at(self, key: str, name: str) -> float:
        """Returns from when on a runner is to leave; infinite: nobody says so."""
        life, policy = self.life, self._policy(name)
        known = {model.digest for model in life.host.library.models()}
        runner = life.host.scheduler.loaded[key]
        if life.said.is_held((name,), life.loop_now) or runner.model.digest not in known:
            return math.inf
        used_at, due = self._used_at.get(key, self.now), math.inf
        used_at = max(used_at, self._asked_at.get(key, used_at))
        pinged_at, deadline = self._pinged.get(key, (-math.inf, None))
        if runner.expires_at == deadline:  # a ping in vain looks like one that met a request
            used_at = max(used_at, pinged_at + UNMOVED_SECONDS)
        if not life.is_managed(name):  # held no longer: our lease is all that keeps it
            return used_at + SERVER_KEEP_ALIVE_SECONDS if self._given.stands(key) else math.inf
        kept = math.inf if policy.keep_alive is None else policy.keep_alive
        if key in self._closed_at and not life.said.yielding:
            due = max(self._closed_at[key], used_at + min(SERVER_KEEP_ALIVE_SECONDS, kept))
        elif key in self._closed_at:
            due = max(self._closed_at[key], used_at)
        if not policy.pin:
            due = min(due, used_at + kept, used_at + pays_seconds(life, runner))
        return due

    def _judge_wanted(self, decision: Decision) -> None:
        """Who is pinned or held is resident, or there is a word about why not."""
        warmset = self.life.warmset
        if self.life.story.is_read_only or warmset is None or decision.conflict is not None:
            return
        told = {action.key for action in decision.actions if isinstance(action, Wait | Preload)}
        told |= {model.key for model in decision.left_out}
        if told:  # who waits for the leaving of another is told by that one's name
            told |= {change.key for change in decision.changes}
        told |= {k for code in decision.standing for k in code.split()[1:]}
        if None in told or decision.postponed is not None or decision.sends:
            return
        if self.life.witness.disturbed_at > self._begun_at:
            return  # a name may mean other weights than at the look
        entries = warmset._entries()
        for name in {*self.life.said.settings.models, *self.life.said.holds}:
            entry = find_entry(entries, name)
            if entry is None or not self.life.is_pinned(name):
                continue
            if entry.key not in told | self._listed and name not in told:
                self.tell(f"{name} is wanted and not resident, and there is no word about why")

    def _judge_windows(self, decision: Decision) -> None:
        """Who was let go before its window has opened is wanted again within it."""
        for model in decision.left_out:
            ago = self.life.operator.open_for(model.name, self.life.wall)
            opened_at = self.now - ago
            was_there = self._listed_at.get(model.key, -math.inf)
            lead = self._lead_seconds(model.key)
            is_known = ago > 0 and self._broke_off_at < was_there < opened_at - lead
            if model.reason.startswith("let go") and is_known:
                self.tell(f"{model.name} is not fetched: {model.reason}; its window is open")

    def _judge_alarms(self, decision: Decision) -> None:
        """No alarm says that a pin is missing which is none at the moment."""
        for alarm in decision.alarms:
            if not alarm.code.startswith("pin_missing "):
                continue
            names = {m.name for m in self.life.host.library.models() if m.key in alarm.keys}
            if names and not any(self.life.is_pinned(name) for name in names):
                self.tell(f"{alarm.code}, and nobody wants it now")

    def _is_held_back(self, decision: Decision) -> bool:
        return any(code.startswith(HELD_BACK) for code in decision.standing)

    def _policy(self, name: str) -> ModelPolicy:
        return self.life.said.settings.policy_for((name,))

    def _count(self, what: str) -> None:
        counts = self.life.witness.counts
        counts[what] = counts.get(what, 0) + 1
