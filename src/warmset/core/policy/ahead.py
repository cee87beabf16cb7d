"""Just-in-time preloads: fetch what is worth more than what it displaces, and earns its load.

Looks only while the loader is idle and nobody waits. A preload has to pay: the load seconds it
saves, corrected by how often such promises came true, must exceed those of the victims by a share
of its own load. Min residency and a latch keep it from swapping the same models to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from warmset.core.demand.seen import GapLaws
from warmset.core.policy.base import Decision, Held, ModelCost, View
from warmset.core.policy.victims import Candidate, best_victims
from warmset.core.units import HOUR, MINUTE

FINE_PER_OCTAVE: Final = 16
"""Bins of the law that times preloads: 4 % wide, 40 s at the quarter-hour of a timer."""

LOAD_PRICE: Final = 0.1
"""Cold seconds that a second of loading ahead must save beyond what it displaces.

Not 0: a load costs power, disk and bus. Not 1: nobody waits for it.
"""

MIN_RESIDENCY_SECONDS: Final = 10.0
"""A resident loaded or used so lately is not evicted for a preload.

Source: a pause between two requests of one session. Longer is not safer: timers are done after
one request, and the latch already keeps models from going to and fro.
"""

LATCH_SECONDS: Final = MINUTE
"""A model evicted so lately is not preloaded: an eviction and a reload within it is thrash."""

NEAR_SECONDS: Final = 100.0
"""What a victim loses at once, as in `worth`."""

LONGEST_SLEEP_SECONDS: Final = HOUR
"""A candidate is looked at again after this, whatever its law says: the rent moves."""

LOOK_SECONDS: Final = 5.0
"""Least time between two looks, as long as a tick of the daemon: every look costs work."""

AGAIN_SECONDS: Final = 15.0
"""While something is nearly worth it, look again after this: a few loads' time."""

RENT_VICTIMS: Final = 20.0
"""As in `worth`."""

PROMISE_MEMORY: Final = 0.98
"""Realised precision looks back over the last 50 preloads."""

CANDIDATES: Final = 5
"""Best candidates for which victims are searched at one look; the others wait for the next."""


class Promise(NamedTuple):
    """A candidate with what it would save."""

    saved_seconds: float
    chance: float
    model: ModelCost


class Lookahead:
    """Decides about preloads. Ages run on the wall clock, since timers do."""

    def __init__(self, models: Mapping[str, ModelCost]) -> None:
        self.models = models
        self.laws = GapLaws(FINE_PER_OCTAVE)
        self.gone: dict[str, float] = {}
        self.asleep: dict[str, float] = {}  # model -> no use looking before
        self.pending: dict[str, float] = {}  # preloads not used yet -> the chance they had
        self.promised = self.kept = 1.0
        self.rent = 0.0
        self.looked = -inf

    def requested(self, now: float, model: str) -> None:
        """Learns the gap that this request ends, and that a preload was of use."""
        self.laws.requested(now, model)
        self.asleep.pop(model, None)
        self._settle(model, 1.0)

    def evicted(self, view: View, victims: tuple[str, ...]) -> None:
        """Learns from the victims of a waiting load what room is worth."""
        for victim in victims:
            held = view.residents[victim]
            if victim in self.laws:
                outlook = self.laws.outlook(view.now, victim, 0.0)
                rate = outlook.hit_rate * held.load_seconds / held.bytes
                self.rent += (rate - self.rent) / RENT_VICTIMS if self.rent else rate
            self._let_go(view.now, victim)

    def decide(self, view: View) -> Decision | None:
        """Returns a preload with its victims if one pays, and when to look again."""
        if not view.loader_is_idle or view.now < self.looked + LOOK_SECONDS:
            return None
        self.looked = view.now
        promises = self._promises(view)
        for promise in promises[:CANDIDATES]:
            victims = self._victims(view, promise)
            if victims is not None:
                return self._fetch(view, promise, victims)
        later = (at for at in self.asleep.values() if at > view.now)
        soonest = min(later, default=view.now + LONGEST_SLEEP_SECONDS)
        again = view.now + AGAIN_SECONDS if promises else soonest
        return Decision(wake_at=max(again, view.now + LOOK_SECONDS))

    def _promises(self, view: View) -> list[Promise]:
        """Returns what is worth fetching, the best first; puts the others to sleep."""
        precision = min(1.0, self.kept / self.promised)
        found: list[Promise] = []
        for name in self.laws.models():
            model = self.models[name]
            if name in view.residents or view.now < self.asleep.get(name, -inf):
                continue
            if not model.may_preload or view.now < self.gone.get(name, -inf) + LATCH_SECONDS:
                continue
            rent = self.rent * model.bytes / model.load_seconds
            outlook = self.laws.outlook(view.now, name, rent)
            saved = outlook.gain + NEAR_SECONDS * outlook.hit_rate
            if outlook.gain * precision <= LOAD_PRICE:
                pays_at = self.laws.promising_at(view.now, name, rent)
                pays_at = max(pays_at, view.now + LOOK_SECONDS)  # the edge of a bin may be `now`
                self.asleep[name] = min(pays_at, view.now + LONGEST_SLEEP_SECONDS)
            elif self._is_early(view.now, model, rent):
                self.asleep[name] = view.now + AGAIN_SECONDS
            else:
                seconds = model.load_seconds * (saved * precision - LOAD_PRICE)
                found.append(Promise(seconds, outlook.chance, model))
        return sorted(found, key=lambda p: (-p.saved_seconds, p.model.id))

    def _is_early(self, now: float, model: ModelCost, rent: float) -> bool:
        """Whether the room costs more, until a later fetch would be ready, than it promises.

        Then waiting loses nothing: the marginal rule of just in time.
        """
        lead = model.load_seconds + 2 * AGAIN_SECONDS
        return self.laws.chance_within(now, model.id, lead) < rent * lead

    def _victims(self, view: View, promise: Promise) -> tuple[str, ...] | None:
        """Returns who makes room for a promise, or `None` if it is not worth it."""
        short = promise.model.bytes - view.free_bytes
        if short <= 0:
            return ()
        rows = [
            Candidate(h.id, h.bytes, h.priority, self._loss(view.now, h))
            for h in view.residents.values()
            if h.priority <= promise.model.priority and self._is_settled(view.now, h)
        ]
        victims = best_victims(rows, short)
        if victims is None:
            return None
        lost = sum(row.value for row in rows if row.id in victims)
        return victims if promise.saved_seconds > lost else None

    def _is_settled(self, now: float, held: Held) -> bool:
        """Whether min residency is over."""
        return held.may_go and now >= max(held.loaded_at, held.last_used) + MIN_RESIDENCY_SECONDS

    def _loss(self, now: float, held: Held) -> float:
        """Returns the load seconds that evicting a resident costs."""
        if held.id not in self.laws:
            return 0.0
        rent = self.rent * held.bytes / held.load_seconds
        outlook = self.laws.outlook(now, held.id, rent)
        return held.load_seconds * (outlook.gain + NEAR_SECONDS * outlook.hit_rate)

    def _fetch(self, view: View, promise: Promise, victims: tuple[str, ...]) -> Decision:
        for victim in victims:
            self._let_go(view.now, victim)
        name = promise.model.id
        self.pending[name] = promise.chance
        displaced = f" for {', '.join(victims)}" if victims else " into free room"
        return Decision(
            evict=victims,
            preload=(name,),
            wake_at=view.now + AGAIN_SECONDS,
            reasons=(f"{name}: {promise.chance:.0%} to be asked for soon; preload{displaced}",),
        )

    def _let_go(self, now: float, victim: str) -> None:
        self.gone[victim] = now
        self._settle(victim, 0.0)

    def _settle(self, model: str, used: float) -> None:
        """Weighs a promise against what came of it."""
        chance = self.pending.pop(model, None)
        if chance is not None:
            self.promised = self.promised * PROMISE_MEMORY + chance
            self.kept = self.kept * PROMISE_MEMORY + used
