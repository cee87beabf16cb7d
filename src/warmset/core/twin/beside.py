"""The same pool under Ollama's own rule, alone or with warmset beside it (sidecar).

Ollama picks the victim at the moment of need: the idle runner with the shortest keep-alive, ties
by the path of the weights; if none is idle, the first in that order when its use has ended. It
hears from warmset only at ticks, and warmset sees of it only what polling shows:

- one use where many began within a tick, and nothing of those that join a use under way;
- a rank holds as it was at the last tick at which the loader was idle: while a load may be
  pending no keep-alive is sent. A model loaded since has the keep-alive of its client, or the
  rank that came with its preload;
- a client that sends its own keep-alive replaces the rank until the next such tick;
- unloads, preloads and the return of a pin happen at ticks. A server alone knows no pins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import floor, inf
from typing import Final

from warmset.core.demand.trace import Trace
from warmset.core.policy import Decision, Event, Held, ModelCost, Policy, View
from warmset.core.policy.ollama import DEFAULT_KEEP_ALIVE_SECONDS
from warmset.core.twin.memory import PoolSpec
from warmset.core.twin.pool import TICK, Pool
from warmset.core.twin.slots import Residents, Slot
from warmset.core.units import MINUTE

TICK_SECONDS: Final = 5.0
"""The loop's own. Source: `Config`'s default tick."""

LEASE_SECONDS: Final = 30 * MINUTE
"""Least lease: above the server's default, so that what has no rank goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the server and its sidecar go about it.

    Attributes:
        tick_seconds: between two looks.
        default_keep_alive: what a load without a client's word gets; infinite: for ever.
        free_reserve_bytes: kept free ahead of need, by unloading at ticks; 0: not at all.
    """

    tick_seconds: float = TICK_SECONDS
    default_keep_alive: float = DEFAULT_KEEP_ALIVE_SECONDS
    free_reserve_bytes: int = 0


class _Silent:
    """The policy of a server that is left alone."""

    events: tuple[Event, ...] = ()

    def start(self, models: object, budget_bytes: int) -> None:
        """Takes note of nothing."""

    def requested(self, now: float, model: str) -> None:
        """Takes note of nothing."""

    def decide(self, view: View) -> Decision | None:
        """Decides nothing."""

    def in_order(self, view: View) -> list[Held]:
        """Ranks nobody."""
        del view
        return []


class Server(Pool):
    """One replay in which Ollama picks the victims.

    Args:
        trace: what is asked for, with the keep-alives that clients send.
        spec: the host.
        policy: what the sidecar goes by; `None`: there is none.
        rule: its ticks.
    """

    def __init__(
        self, trace: Trace, spec: PoolSpec, policy: Policy | None = None, rule: Rule | None = None
    ) -> None:
        super().__init__(trace, spec, policy or _Silent())
        self.rule = rule or Rule()
        self.is_alone = policy is None
        if self.is_alone:
            self.pins = []
        self.unheard: list[tuple[float, str]] = []  # the tick that shows it, and whom
        self.shown: dict[str, float] = {}  # the last tick that showed a use
        self.unasked: list[tuple[Event, str]] = []
        self.next_tick = inf
        self.ranked_at = -inf
        self.ranks: dict[str, int] = {}
        self.fetched: set[str] = set()  # residents that a preload brought
        self.doomed: Slot | None = None
        self.path = {name: sha256(name.encode()).hexdigest() for name in self.models}

    # -- what polling shows -----------------------------------------------------------------------

    def heard(self, now: float, model: str) -> None:
        """A request arrived; a look will show it, unless the model is in use anyway."""
        if self.is_alone:
            return
        slot = self.slots.get(model)
        if slot is not None:
            if slot.busy_until > now:
                return
            tick = self._tick_before(now)
            if slot.changed <= tick:
                slot.before = slot.busy_until
            slot.changed = now
        elif model in self.waiting:
            return
        shown = self.moment_of(now)
        if self.shown.get(model) != shown:
            self.shown[model] = shown
            self.unheard.append((shown, model))

    def _tick_before(self, now: float) -> float:
        return floor(now / self.rule.tick_seconds) * self.rule.tick_seconds

    def moment_of(self, at: float) -> float:
        """Returns the first tick from a moment on; without a sidecar, the moment."""
        if self.is_alone or at == inf:
            return at
        tick = self._tick_before(at)
        return tick if tick == at else tick + self.rule.tick_seconds

    def _catch_up(self, tick: float) -> None:
        """Tells the policy what the looks up to a tick have shown."""
        shown = 0
        for at, model in self.unheard:
            if at > tick:
                break
            self.policy.requested(at, model)
            shown += 1
        del self.unheard[:shown]

    # -- ticks ------------------------------------------------------------------------------------

    def ask(self, event: Event, subject: str | None = None, short: int = 0) -> Decision | None:
        """Puts a question off until the next tick."""
        if event is Event.SPACE:
            return super().ask(event, subject, short)
        if event in self.asked and subject is not None:
            self.unasked.append((event, subject))
            self._want_tick()
        elif event is Event.WAKE and event in self.asked:
            self._want_tick()
        if self.rule.free_reserve_bytes and event is Event.LOADED:
            self._want_tick()
        return None

    def _want_tick(self) -> None:
        at = self.moment_of(self.now)
        if at < self.next_tick:
            self.next_tick = at
            self.push(at, TICK)

    def tick(self) -> None:
        """One look, and what follows from it."""
        self.next_tick = inf
        self._catch_up(self.now)
        unasked, self.unasked = self.unasked, []
        for event, subject in unasked:
            if subject in self.slots:
                super().ask(event, subject)
        super().ask(Event.WAKE)
        self._keep_reserve()

    def fetch_pin(self) -> bool:
        """Puts it off until the next tick."""
        if self.moment_of(self.now) == self.now:
            return super().fetch_pin()
        if any(cost.id not in self.slots for cost in self.pins):
            self._want_tick()
        return False

    def _keep_reserve(self) -> None:
        reserve = self.rule.free_reserve_bytes
        if not reserve or self.queue or self.loading is not None:
            return
        for held in self.policy.in_order(self.view(Event.WAKE)):
            if self.free_bytes >= reserve:
                break
            self.evict(self.slots[held.id])

    # -- Ollama's choice --------------------------------------------------------------------------

    def make_room(self, cost: ModelCost) -> bool:
        """Evicts as Ollama does, one by one; false while its victim is in use."""
        if not self.is_alone:
            self._rank()
        before = Residents(dict(self.slots), self.now)
        gone = []
        while self.short_bytes(cost) > 0:
            slot = self.doomed
            if slot is None or self.slots.get(slot.cost.id) is not slot:
                slot = self._victim()
            if slot.busy_until > self.now:
                self.doomed = slot
                return False
            self.doomed = None
            self.evict(slot)
            gone.append(slot.cost.id)
        if gone and not self.is_alone:
            self._learn(before, gone)
        return True

    def _learn(self, before: Mapping[str, Held], gone: Sequence[str]) -> None:
        """Tells the policy whom the server took, as a choice that it had no other answer to."""
        only = {k: h if k in gone else replace(h, pinned=True) for k, h in before.items()}
        short = sum(only[name].bytes for name in gone if only[name].may_go)
        if not short:
            return  # a pin, which the policy had no say in
        self.policy.decide(
            View(
                now=self.now,
                event=Event.SPACE,
                budget_bytes=self.spec.budget_bytes,
                free_bytes=self.free_bytes - short,
                residents=only,
                short_bytes=short,
            )
        )

    def use(self, slot: Slot, seconds: float, keep: float | None) -> None:
        """A request begins; a server alone then has the keep-alive that came with it."""
        if self.is_alone and (keep is not None or not slot.uses):
            duration = self.rule.default_keep_alive if keep is None else keep
            slot.keep_alive, slot.expiry = (None if duration == inf else duration), inf
        super().use(slot, seconds, keep)

    def _victim(self) -> Slot:
        return min(
            self.slots.values(),
            key=lambda s: (s.busy_until > self.now, self.duration(s), self.path[s.cost.id]),
        )

    def duration(self, slot: Slot) -> float:
        """Returns the keep-alive that the server has for a resident."""
        sent = slot.last_keep_alive
        if sent is not None and sent[0] > self.ranked_at:
            return sent[1]
        rank = self.ranks.get(slot.cost.id)
        is_ranked = slot.loaded_at + slot.cost.load_seconds <= self.ranked_at
        if rank is not None and (is_ranked or slot.cost.id in self.fetched):
            return LEASE_SECONDS + MINUTE * rank
        return self.rule.default_keep_alive if sent is None else sent[1]

    def _rank(self) -> None:
        """Works out the ranks that the last tick with an idle loader has left."""
        tick = self._tick_before(self.now)
        if tick >= self.idle_loader_since and tick > self.ranked_at:
            self._rank_at(tick)

    def load(self, cost: ModelCost, *, demanded: bool) -> None:
        """Begins a load; a preload brings the keep-alive of its rank."""
        self.fetched.discard(cost.id)
        if not self.is_alone:
            if demanded:
                self._rank()  # from here on no keep-alive is sent until the load is over
            else:
                self._rank_at(self.now, cost)
                self.fetched.add(cost.id)
        super().load(cost, demanded=demanded)

    def _rank_at(self, tick: float, coming: ModelCost | None = None) -> None:
        self.ranked_at = tick
        self._catch_up(tick)
        shown = {k: _as_shown(s, tick) for k, s in self.slots.items()}
        if coming is not None:
            shown[coming.id] = _as_shown(Slot(coming, tick, preloaded=True), tick)
        view = View(
            now=tick,
            event=Event.WAKE,
            budget_bytes=self.spec.budget_bytes,
            free_bytes=self.free_bytes,
            residents=shown,
            lacking=self.lacking,
        )
        order = [h.id for h in self.policy.in_order(view)]
        order += [name for name, h in shown.items() if h.pinned]
        self.ranks = {name: place for place, name in enumerate(order)}


def _as_shown(slot: Slot, tick: float) -> Held:
    cost = slot.cost
    used = slot.busy_until if slot.changed <= tick else slot.before
    return Held(
        id=cost.id,
        bytes=cost.bytes,
        load_seconds=cost.load_seconds,
        loaded_at=slot.loaded_at,
        last_used=min(used, tick),
        uses=slot.uses,
        keep_alive_seconds=slot.keep_alive,
        priority=cost.priority,
        pinned=cost.pinned,
    )
