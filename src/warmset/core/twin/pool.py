"""One memory pool under a policy: the quick replay behind `warmset simulate`.

The rules of the host, whatever the policy says:

- A model takes its bytes from the start of its load until its eviction. Loads run one at a time,
  those that somebody waits for in the order of arrival and before any preload.
- Requests for a model that is queued or loading share that load.
- A model in use is not evicted; an idle one is, at once. A preload never evicts by itself.
- A load beside others must fit into what is free, and what the server expects of it into a share
  of that: Ollama's rule of 80 %, by its own forecast where that is known.
- Pins are loaded before anybody asks. Only a load that would not fit with all others gone takes
  one, as Ollama would; it is fetched back once who displaced it has been idle for a while.

Apart from that one pool the full twin (`host.TwinHost`) knows several GPUs, memory that comes back
late, loads that spill or fail and every call between client and server. Where none of this matters
the two agree: `tests/simulation/test_pool_agrees.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, inf
from typing import Final

from warmset.core.demand.trace import Trace
from warmset.core.policy import Decision, Event, ModelCost, Policy, View
from warmset.core.policy.base import take
from warmset.core.twin.score import Score, Tally
from warmset.core.twin.slots import Lacking, Residents, Slot
from warmset.core.units import MINUTE

FIT_SHARE: Final = 0.8
"""Of the free memory a load may take beside others. Source: ollama-behaviour 4.2, v0.33."""

PIN_WAITS_SECONDS: Final = MINUTE
"""So long nobody must have used a model before a pin takes its room back.

Source: `Config`'s default of `min_residency`.
"""

_LOADED, _IDLE, _EXPIRE, _WAKE, _ROOM, TICK = range(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A host as a replay takes it.

    Attributes:
        models: what may be asked for.
        budget_bytes: what all residents may hold together.
        max_loaded: the server's limit on their number; `None`: none.
        fit_share: see `FIT_SHARE`; 1.0 for a server that asks for no margin.
    """

    models: Mapping[str, ModelCost]
    budget_bytes: int
    max_loaded: int | None = None
    fit_share: float = FIT_SHARE

    def servable(self) -> dict[str, ModelCost]:
        """Returns the models that fit when they are alone."""
        return {k: m for k, m in self.models.items() if m.bytes <= self.budget_bytes}


class Pool:
    """One replay in which the policy picks the victims at the moment of need (admission).

    Args:
        trace: what is asked for; models that never fit are left out.
        spec: the host.
        policy: what stays hot.
    """

    def __init__(self, trace: Trace, spec: PoolSpec, policy: Policy) -> None:
        self.models = spec.servable()
        self.trace = trace.only(self.models)
        self.left_out = len(trace) - len(self.trace)
        self.spec = spec
        self.policy = policy
        self.asked = frozenset(policy.events)
        self.now = 0.0
        self.end = self.trace.span_seconds
        self.free_bytes = spec.budget_bytes
        self.slots: dict[str, Slot] = {}
        self.lacking = Lacking(self.models, self.slots, self.short_bytes)
        self.queue: deque[str] = deque()
        self.preloads: list[str] = []
        self.pins = sorted(
            (m for m in self.models.values() if m.pinned), key=lambda m: (-m.priority, m.id)
        )
        self.pin_tried_at = inf
        self.waiting: dict[str, list[tuple[float, float, float | None]]] = {}
        self.loading: str | None = None
        self.ready_at = 0.0
        self.idle_loader_since = 0.0
        self.wake = inf
        self.tally = Tally()
        self._events: list[tuple[float, int, int, str, Slot | None]] = []
        self._number = 0

    def run(self) -> Score:
        """Replays the whole trace and returns what it cost."""
        self.policy.start(self.models, self.spec.budget_bytes)
        self.ask(Event.WAKE)
        times, names, lengths = self.trace.times, self.trace.models, self.trace.seconds
        keeps = self.trace.keep_alives
        events, slots, count = self._events, self.slots, len(times)
        tells_idle, asks = Event.IDLE in self.asked, Event.REQUEST in self.asked
        at = 0
        self.pump()
        while at < count or self.waiting:
            if at < count and (not events or times[at] < events[0][0]):
                now = self.now = times[at]
                name = names[at]
                keep = keeps[at] if keeps else None
                self.heard(now, name)
                slot = slots.get(name)
                if slot is None:
                    self._miss(name, lengths[at], keep)
                else:
                    self.use(slot, lengths[at], keep)
                    if tells_idle and not slot.telling:
                        self.tell_idle(slot)
                if asks:
                    self.ask(Event.REQUEST, name)
                if self.queue or self.preloads:
                    self.pump()
                at += 1
            else:
                self._happen(*heappop(events))
                self.pump()
        for slot in slots.values():
            self._account(slot, max(self.end, self.now))
        self.tally.requests = count
        return self.tally.score()

    # -- what may differ between ways to rule -----------------------------------------------------

    def heard(self, now: float, model: str) -> None:
        """A request arrived; the policy hears of it."""
        self.policy.requested(now, model)

    def make_room(self, cost: ModelCost) -> bool:
        """Evicts what the policy says; false if the load has to wait for somebody to end."""
        short = self.short_bytes(cost)
        others = [s for s in self.slots.values() if not s.cost.pinned]
        without_pins = sum(s.cost.bytes for s in others) >= short
        among = others if without_pins else self.slots.values()
        idle = {s.cost.id: s for s in among if s.busy_until <= self.now}
        if sum(s.cost.bytes for s in idle.values()) < short:
            return False
        decision = self.ask(Event.SPACE, cost.id, short)
        order = [m for m in (decision.evict if decision else ()) if m in idle]
        listed = frozenset(order)
        order += sorted(
            (m for m in idle if m not in listed),
            key=lambda m: (idle[m].cost.pinned, idle[m].busy_until),
        )
        for name in order:
            if self.short_bytes(cost) <= 0:
                break
            if self.slots.get(name) is idle[name]:
                self.evict(idle[name])
        return self.short_bytes(cost) <= 0

    def moment_of(self, at: float) -> float:
        """Returns when something due at a moment is done."""
        return at

    def decided(self, decision: Decision) -> None:
        """Carries out what a policy wants, besides victims at the moment of need."""
        for name in decision.evict:
            slot = self.slots.get(name)
            if slot is not None and slot.busy_until <= self.now:
                self.evict(slot)
        if decision.preload is not None:
            self.preloads = [m for m in decision.preload if m in self.models]

    # -- requests ---------------------------------------------------------------------------------

    def use(self, slot: Slot, seconds: float, keep: float | None) -> None:
        """A request begins on a resident."""
        slot.uses += 1
        until = self.now + seconds
        slot.busy_until = max(slot.busy_until, until)
        if keep is not None:
            slot.last_keep_alive = (self.now, keep)
        if slot.keep_alive is not None:
            self.arm(slot)

    def _miss(self, name: str, seconds: float, keep: float | None) -> None:
        now, cost = self.now, self.models[name]
        if name in self.waiting:
            self.waiting[name].append((now, seconds, keep))
            return
        self.waiting[name] = [(now, seconds, keep)]
        if self.loading == name:
            self.tally.late_preloads += 1
            self.tally.cold_seconds += self.ready_at - now
            return
        self.queue.append(name)
        self.tally.cold(name, cost.load_seconds)

    def tell_idle(self, slot: Slot) -> None:
        """Sees to it that the end of its use is heard of."""
        slot.telling = True
        self.push(slot.busy_until, _IDLE, slot.cost.id, slot)

    def arm(self, slot: Slot) -> None:
        """Sees to it that its timer ends it."""
        if slot.keep_alive is None:
            return
        due = self.moment_of(max(slot.busy_until + slot.keep_alive, self.now))
        if due < slot.expiry and due < inf:
            slot.expiry = due
            self.push(due, _EXPIRE, slot.cost.id, slot)

    def push(self, at: float, kind: int, name: str = "", slot: Slot | None = None) -> None:
        """Queues an event; events of one moment happen in the order they were queued."""
        self._number += 1
        heappush(self._events, (at, self._number, kind, name, slot))

    # -- events -----------------------------------------------------------------------------------

    def _happen(self, at: float, _number: int, kind: int, name: str, slot: Slot | None) -> None:
        self.now = at
        if kind == _LOADED:
            self._loaded(name)
        elif kind == _IDLE and slot is not None:
            if slot.busy_until > at:
                self.push(slot.busy_until, _IDLE, name, slot)
                return
            slot.telling = False
            if self.slots.get(name) is slot:
                self.ask(Event.IDLE, name)
        elif kind == _EXPIRE and slot is not None:
            self._expire(slot)
        elif kind == _WAKE and at == self.wake:
            self.wake = inf
            if at <= self.end:
                self.ask(Event.WAKE)
        elif kind == TICK and at <= self.end:
            self.tick()

    def tick(self) -> None:
        """Only a sidecar has ticks."""
        raise AssertionError("no ticks here")

    def _loaded(self, name: str) -> None:
        cost = self.models[name]
        waiting = self.waiting.pop(name, [])
        slot = self.slots[name] = Slot(cost, self.now, preloaded=self.is_preload(waiting))
        self.loading = None
        self.idle_loader_since = self.now
        for arrived, seconds, keep in waiting:
            self._waited(self.now - arrived)
            self.use(slot, seconds, keep)
        if waiting and Event.IDLE in self.asked:
            self.tell_idle(slot)
        self.ask(Event.LOADED, name)

    @staticmethod
    def is_preload(waiting: list[tuple[float, float, float | None]]) -> bool:
        """Whether nobody had asked for a model by the time it was ready."""
        return not waiting

    def _waited(self, seconds: float) -> None:
        if seconds > 0:
            self.tally.waits.append(seconds)

    def _expire(self, slot: Slot) -> None:
        if self.slots.get(slot.cost.id) is not slot or self.now < slot.expiry:
            return
        slot.expiry = inf
        if slot.keep_alive is None:
            return
        if self.now < slot.busy_until + slot.keep_alive or slot.busy_until > self.now:
            self.arm(slot)
        else:
            self.tally.expired += 1
            self.evict(slot)

    # -- the policy -------------------------------------------------------------------------------

    def ask(self, event: Event, subject: str | None = None, short: int = 0) -> Decision | None:
        """Asks the policy if it wants to be asked, and carries out what it says."""
        if event not in self.asked:
            return None
        decision = self.policy.decide(self.view(event, subject, short))
        if decision is None:
            return None
        for name, seconds in decision.keep_alive_seconds.items():
            slot = self.slots.get(name)
            if slot is None or slot.cost.pinned:
                continue
            if slot.keep_alive != seconds:
                slot.keep_alive, slot.expiry = seconds, inf
                self.arm(slot)
        if event is not Event.SPACE:
            self.decided(decision)
        if decision.wake_at is not None and decision.wake_at > self.now:
            self.wake = self.moment_of(decision.wake_at)
            self.push(self.wake, _WAKE)
        return decision

    def view(self, event: Event, subject: str | None = None, short: int = 0) -> View:
        """Returns what the policy may know now."""
        return View(
            now=self.now,
            event=event,
            budget_bytes=self.spec.budget_bytes,
            free_bytes=self.free_bytes,
            residents=Residents(self.slots, self.now),
            subject=subject,
            short_bytes=short,
            loading=self.loading,
            queued=tuple(self.queue),
            lacking=self.lacking,
        )

    # -- memory and loader ------------------------------------------------------------------------

    def short_bytes(self, cost: ModelCost) -> int:
        """Returns how many bytes must go before a load may begin; 0 or less: none."""
        if not self.slots:
            return 0
        expected = cost.bytes if cost.forecast_bytes is None else cost.forecast_bytes
        need = max(cost.bytes, ceil(expected / self.spec.fit_share)) - self.free_bytes
        limit = self.spec.max_loaded
        if limit is not None and len(self.slots) >= limit:
            need = max(need, 1)
        return min(need, self.spec.budget_bytes - self.free_bytes)

    def pump(self) -> None:
        """Begins the next load when the loader is idle and the memory allows it."""
        while self.loading is None:
            if self.queue:
                cost = self.models[self.queue[0]]
                if self.short_bytes(cost) > 0 and not self.make_room(cost):
                    self._await_end()
                    return
                self.queue.popleft()
                self.load(cost, demanded=True)
            elif self.pins and self.fetch_pin():
                return
            elif self.preloads:
                cost = self.models[self.preloads.pop(0)]
                if cost.id not in self.slots and self.short_bytes(cost) <= 0:
                    self.load(cost, demanded=False)
            else:
                return

    def fetch_pin(self) -> bool:
        """Begins to load a pin that is not there; false if none lacks or none can come now."""
        for cost in self.pins:
            if cost.id in self.slots:
                continue
            settled = (
                held
                for held in self.policy.in_order(self.view(Event.WAKE))
                if held.last_used + PIN_WAITS_SECONDS <= self.now
            )
            victims = take(settled, self.short_bytes(cost))
            if victims is not None:
                for name in victims:
                    self.evict(self.slots[name])
                self.load(cost, demanded=False)
                return True
            self._try_pin_later()
        return False

    def _try_pin_later(self) -> None:
        """Tries again when the next resident has been idle for long enough."""
        free_at = (s.busy_until + PIN_WAITS_SECONDS for s in self.slots.values())
        at = self.moment_of(min((at for at in free_at if at > self.now), default=inf))
        if at < inf and not self.now < self.pin_tried_at <= at:
            self.pin_tried_at = at
            self.push(at, _ROOM)

    def _await_end(self) -> None:
        """Tries again when the next resident ends its use."""
        ends = [s.busy_until for s in self.slots.values() if s.busy_until > self.now]
        assert ends, "a load waits and nobody is busy"
        self.push(min(ends), _ROOM)

    def load(self, cost: ModelCost, *, demanded: bool) -> None:
        """Begins a load."""
        self.free_bytes -= cost.bytes
        self.loading = cost.id
        self.ready_at = self.now + cost.load_seconds
        self.tally.load(self.now, cost.id, cost.load_seconds, demanded=demanded)
        self.push(self.ready_at, _LOADED, cost.id)

    def evict(self, slot: Slot) -> None:
        """Ends a residency."""
        name = slot.cost.id
        self.tally.evictions += 1
        self.tally.unused_preloads += slot.preloaded and not slot.uses
        self.tally.evicted_at[name] = self.now
        del self.slots[name]
        self.free_bytes += slot.cost.bytes
        self._account(slot, self.now)

    def _account(self, slot: Slot, until: float) -> None:
        seconds = max(0.0, min(until, self.end) - slot.loaded_at)
        self.tally.held_byte_seconds += slot.cost.bytes * seconds
