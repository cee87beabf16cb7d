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
from heapq import heappop, heappush
from math import inf
from typing import Final

from warmset.core.demand.trace import Trace
from warmset.core.policy import Decision, Event, ModelCost, Policy, View
from warmset.core.policy.base import take
from warmset.core.twin.memory import Memory, PoolSpec
from warmset.core.twin.score import Score
from warmset.core.twin.slots import Residents, Slot
from warmset.core.units import MINUTE

PIN_WAITS_SECONDS: Final = MINUTE
"""So long nobody must have used a model before a pin takes its room back.

Source: `Config`'s default of `min_residency`.
"""

_LOADED, _IDLE, _EXPIRE, _WAKE, _ROOM, TICK = range(6)
_ASKED_IDLE, _ASKED_LOADED, _ASKED_WAKE = Event.IDLE, Event.LOADED, Event.WAKE  # read quicker so


class Pool(Memory):
    """One replay in which the policy picks the victims at the moment of need (admission).

    Args:
        trace: what is asked for; models that never fit are left out.
        spec: the host.
        policy: what stays hot.
    """

    def __init__(self, trace: Trace, spec: PoolSpec, policy: Policy) -> None:
        self.trace = trace.only(spec.servable())
        super().__init__(spec, self.trace.span_seconds)
        self.left_out = len(trace) - len(self.trace)
        self.policy = policy
        self.asked = frozenset(policy.events)
        self.queue: deque[str] = deque()
        self.preloads: list[str] = []
        self.pins = spec.pins()
        self.pin_tried_at = inf
        self.waiting: dict[str, list[tuple[float, float, float | None]]] = {}
        self.loading: str | None = None
        self.ready_at = 0.0
        self.idle_loader_since = 0.0
        self.wake = inf
        self._shown = Residents(self.slots, self.now)
        self._view = View(
            now=self.now,
            event=Event.WAKE,
            budget_bytes=spec.budget_bytes,
            free_bytes=self.free_bytes,
            residents=self._shown,
            lacking=self.lacking,
        )
        self._events: list[tuple[float, int, int, str, Slot | None]] = []
        self._number = 0

    def run(self) -> Score:
        """Replays the whole trace and returns what it cost.

        Raises:
            ConfigError: the memory is too small for its own pins.
        """
        if self.pins:
            self.spec.check_pins()
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
                if self.queue or self.preloads or self.pins:
                    self.pump()
        self.close()
        self.tally.requests = count
        return self.tally.score()

    # -- what may differ between ways to rule -----------------------------------------------------

    def heard(self, now: float, model: str) -> None:
        """A request arrived; the policy hears of it."""
        self.policy.requested(now, model)

    def make_room(self, cost: ModelCost) -> bool:
        """Evicts what the policy says; false if the load has to wait for somebody to end."""
        short = self.short_bytes(cost)
        idle = self.idle_for(short)
        if idle is None:
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
        if kind == _IDLE and slot is not None:
            if slot.busy_until > at:
                self.push(slot.busy_until, _IDLE, name, slot)
                return
            slot.telling = False
            if self.slots.get(name) is slot:
                self.ask(_ASKED_IDLE, name)
        elif kind == _LOADED:
            self._loaded(name)
        elif kind == _EXPIRE and slot is not None:
            self._expire(slot)
        elif kind == _WAKE and at == self.wake:
            self.wake = inf
            if at <= self.end:
                self.ask(_ASKED_WAKE)
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
        self.ask(_ASKED_LOADED, name)

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
        """Returns what the policy may know now; the next question overwrites it."""
        view = self._view
        self._shown.now = view.now = self.now
        view.event, view.subject, view.short_bytes = event, subject, short
        view.free_bytes = self.free_bytes
        view.loading, view.queued = self.loading, tuple(self.queue)
        return view

    # -- loader -----------------------------------------------------------------------------------

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
        at = self.moment_of(self.next_end(PIN_WAITS_SECONDS))
        if at < inf and not self.now < self.pin_tried_at <= at:
            self.pin_tried_at = at
            self.push(at, _ROOM)

    def _await_end(self) -> None:
        """Tries again when the next resident ends its use."""
        at = self.next_end()
        assert at < inf, "a load waits and nobody is busy"
        self.push(at, _ROOM)

    def load(self, cost: ModelCost, *, demanded: bool) -> None:
        """Begins a load."""
        self.free_bytes -= cost.bytes
        self.loading = cost.id
        self.ready_at = self.now + cost.load_seconds
        self.tally.load(self.now, cost.id, cost.load_seconds, demanded=demanded)
        self.push(self.ready_at, _LOADED, cost.id)
