"""Just-in-time preloads: fetch what is worth more than what it displaces, and earns its load.

Looks only while the loader is idle and nobody waits. First come appointments (models on timers),
then what its gap law promises, then what may be of use in room that is free anyway. If the operator
wants it so, models that nobody has asked for yet are fetched too: into free room, else for what
others were worth as long after they were used as it is since all began. A preload has to pay: the
load seconds it saves, corrected by how often such promises came true, must exceed those of the
victims by a share of its own load. Min residency and a latch keep it from swapping the same models
to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from warmset.core.policy.appointments import Appointments, worth_at
from warmset.core.policy.base import Decision, Held, ModelCost, View
from warmset.core.policy.rent import worth
from warmset.core.policy.sleepers import Sleepers
from warmset.core.policy.spare import Spare
from warmset.core.policy.trust import Trust
from warmset.core.policy.values import Values
from warmset.core.policy.victims import Candidate, best_victims, least_lost
from warmset.core.units import HOUR, MINUTE

LOAD_PRICE: Final = 0.1
"""Cold seconds that a second of loading ahead must save beyond what it displaces.

Not 0: a load costs power, disk and bus. Not 1: nobody waits for it.
"""

MIN_RESIDENCY_SECONDS: Final = 10.0
"""A resident loaded or used so lately is not evicted for a preload.

Source: a pause between two requests of one session. Models on timers are done after one request:
for them it is over with that. Longer is not safer: the latch already keeps models from going to
and fro, and who is due first is no victim.
"""

LATCH_SECONDS: Final = MINUTE
"""A model evicted so lately is not preloaded: an eviction and a reload within it is thrash."""

LONGEST_SLEEP_SECONDS: Final = HOUR
"""A candidate is looked at again after this, whatever its law says: the rent moves."""

LOOK_SECONDS: Final = 5.0
"""Least time between two looks, as long as a tick of the daemon: every look costs work."""

AGAIN_SECONDS: Final = 15.0
"""While something is nearly worth it, look again after this: a few loads' time."""

CANDIDATES: Final = 5
"""Best candidates for which victims are searched at one look; the others wait for the next."""


class Promise(NamedTuple):
    """A candidate with what it would save. `is_sure`: `Lookahead.trust` has no say.

    Units:
        `until` is when its use has come, for an appointment; `-inf` if nobody knows when.
    """

    saved_seconds: float
    chance: float
    model: ModelCost
    is_sure: bool = False
    until: float = -inf


class Lookahead:
    """Decides about preloads. Ages run on the wall clock, since timers do.

    Args:
        models: what may be asked for.
        values: what they are worth; taught by the caller.
        appointments: models on timers, that `values` know of as well.
        fill: whether models that nobody has asked for yet are fetched as well.
    """

    def __init__(
        self,
        models: Mapping[str, ModelCost],
        values: Values,
        appointments: Appointments,
        *,
        fill: bool = False,
    ) -> None:
        self.models = models
        self.values = values
        self.trust = Trust()
        self.appointments = appointments
        self.unseen = sorted(
            models.values() if fill else (), key=lambda m: (-m.load_seconds / m.bytes, m.id)
        )
        self.has_begun = False
        self.gone: dict[str, float] = {}
        self.spare = Spare(models.values(), values)
        self.sleepers = Sleepers()
        self.looked = -inf
        self.quiet_until = -inf  # no law promises anything before
        self.nothing_due_until = -inf  # no appointment's time comes before
        self.held = 0  # residents at the last look
        self.wakes_at = -inf  # when it asked to be asked again

    def requested(self, now: float, model: str) -> None:
        """Learns that a preload was of use; told before `values` are."""
        if self.unseen:
            self._begin(now)
            self.unseen = [m for m in self.unseen if m.id != model]
        if self.appointments.requested(now, model):
            self.nothing_due_until = -inf
        self.sleepers.wake(model)
        self.trust.settle(model, used=True)
        self.spare.requested(model)

    def _begin(self, now: float) -> None:
        """Lets the time until first uses run, at the first event."""
        if not self.has_begun:
            names = [model.id for model in self.unseen]
            self.values.expect(now, names)
            for name in names:
                self.sleepers.wake(name)
        self.has_begun = True

    def evicted(self, view: View, victims: tuple[str, ...]) -> None:
        """Takes note of the victims of a waiting load."""
        self.spare.taken(view.now)
        for victim in victims:
            self._let_go(view.now, victim)

    def decide(self, view: View) -> Decision | None:
        """Returns a preload with its victims if one pays, and when to look again."""
        if view.now < self.looked + LOOK_SECONDS or not view.loader_is_idle:
            return None
        self.looked = view.now
        if self.unseen:
            self._begin(view.now)
        before, self.held = self.held, len(view.residents)
        if self.held < before:  # a look must not miss who it was, whoever let it go
            self.quiet_until = self.nothing_due_until = -inf
        due, next_start = self._due(view)
        promises, pays_at = self._promising(view)
        settled: list[Candidate] = []
        for promise in (*due, *promises)[:CANDIDATES]:
            victims = self._victims(view, promise, settled)
            if victims is not None:
                return self._fetch(view, promise, victims)
        spare = self._spare(view)
        if spare is not None:
            return self._fetch(view, spare, ())
        for model in self.unseen:
            if model.may_preload and view.short_of(model) <= 0:
                return self._fill(view, model)
        if promises:
            self.quiet_until = view.now + AGAIN_SECONDS
        again = view.now + AGAIN_SECONDS if promises or due else pays_at
        return self._look_again(max(min(again, next_start), view.now + LOOK_SECONDS))

    def _due(self, view: View) -> tuple[list[Promise], float]:
        """Returns the appointments whose time has come, and when the next one's comes."""
        if view.now < self.nothing_due_until:
            return [], self.nothing_due_until
        found: list[Promise] = []
        is_waiting = False
        next_start = inf
        for start, until, chance, model in self.appointments.schedule(view.now, view.residents):
            if start > view.now:
                next_start = min(next_start, start)
                continue
            if self._is_latched(view.now, model.id):
                next_start = min(next_start, self.gone[model.id] + LATCH_SECONDS)
                continue
            is_waiting = True
            rent, wait = self.values.rent.of(model.bytes, model.load_seconds), until - view.now
            if chance - rent * wait > LOAD_PRICE:
                saved = worth_at(chance, wait, 0.0) - LOAD_PRICE
                seconds = model.load_seconds * saved
                found.append(Promise(seconds, chance, model, is_sure=True, until=until))
        self.nothing_due_until = -inf if is_waiting else next_start
        return found, next_start

    def _promising(self, view: View) -> tuple[list[Promise], float]:
        """Returns what is worth fetching by its law, the best first; puts the others to sleep."""
        now = view.now
        if now < self.quiet_until:
            return [], self.quiet_until
        precision = self.trust.precision
        found: list[Promise] = []
        here = frozenset(view.residents)
        for name in self.sleepers.awake(now):
            if name in here or self._is_latched(now, name):
                continue
            model = self.models[name]
            if not model.may_preload or self.appointments.timer(name):
                continue
            rent = self.values.rent.of(model.bytes, model.load_seconds)
            outlook = self.values.wall.outlook(now, name, rent)
            if outlook.gain * precision <= LOAD_PRICE:
                pays_at = max(self.values.wall.promising_at(now, name, rent), now + LOOK_SECONDS)
                self.sleepers.sleep(name, min(pays_at, now + LONGEST_SLEEP_SECONDS))
            elif self._is_early(now, model, rent):
                self.sleepers.sleep(name, now + AGAIN_SECONDS)
            else:
                seconds = model.load_seconds * (worth(outlook, rent) * precision - LOAD_PRICE)
                found.append(Promise(seconds, outlook.chance, model))
        found.sort(key=lambda p: (-p.saved_seconds, p.model.id))
        soonest = min(self.sleepers.first_wakes_at, now + LONGEST_SLEEP_SECONDS)
        self.quiet_until = -inf if found else soonest
        return found, soonest

    def _spare(self, view: View) -> Promise | None:
        """Returns what is best to have in the room that is free, if anything is worth a load."""
        if not self.spare.is_news(view.now, view.free_bytes):
            return None
        best: Promise | None = None
        for model in self.spare.may_fit(view):
            if self._is_latched(view.now, model.id) or self.appointments.timer(model.id):
                continue
            saved, chance = self.spare.saved(view.now, model)
            if saved > (best.saved_seconds if best else 0.0) and view.short_of(model) <= 0:
                best = Promise(saved, chance, model, is_sure=True)
        if best is not None:
            self.spare.trust.promise(best.model.id, best.chance)
        return best

    def _is_latched(self, now: float, model: str) -> bool:
        """Whether the model was evicted so lately that a load would be a swing back."""
        return now < self.gone.get(model, -inf) + LATCH_SECONDS

    def _is_early(self, now: float, model: ModelCost, rent: float) -> bool:
        """Whether the room costs more, until a later fetch would be ready, than it promises.

        Then waiting loses nothing: the marginal rule of just in time.
        """
        lead = model.load_seconds + 2 * AGAIN_SECONDS
        return self.values.wall.chance_within(now, model.id, lead) < rent * lead

    def _victims(
        self, view: View, promise: Promise, settled: list[Candidate]
    ) -> tuple[str, ...] | None:
        """Returns who makes room for a promise, or `None` if it is not worth it.

        `settled` takes what the residents are worth at this look, for the next promise.
        """
        short = view.short_of(promise.model)
        if short <= 0:
            return ()
        if not settled:
            here = view.residents.values()
            settled += self.values.candidates(
                view.now, [held for held in here if self._is_settled(view.now, held)]
            )
        rows = [
            row
            for row in settled
            if row.priority <= promise.model.priority
            and not self._comes_first(view.now, row.id, promise)
        ]
        if least_lost(rows, short) >= promise.saved_seconds:
            return None
        victims = best_victims(rows, short)
        if victims is None:
            return None
        pays = promise.saved_seconds > sum(row.value for row in rows if row.id in victims)
        return victims if pays else None

    def _comes_first(self, now: float, resident: str, promise: Promise) -> bool:
        """Whether a resident is due before a promise.

        It would be back, and want its room again, before the promised use.
        """
        timer = self.appointments.timer(resident)
        return timer is not None and timer.due(now) < promise.until

    def _is_settled(self, now: float, held: Held) -> bool:
        """Whether a resident may go for a preload: min residency is over, or its beat is."""
        is_done = held.uses > 0 and self.appointments.timer(held.id) is not None
        since = max(held.loaded_at, held.last_used)
        return held.may_go and (is_done or now >= since + MIN_RESIDENCY_SECONDS)

    def _fetch(self, view: View, promise: Promise, victims: tuple[str, ...]) -> Decision:
        for victim in victims:
            self._let_go(view.now, victim)
        self.nothing_due_until = self.looked = -inf  # timers beat together: the next one at once
        name = promise.model.id
        if not promise.is_sure:
            self.trust.promise(name, promise.chance)
        displaced = f" for {', '.join(victims)}" if victims else " into free room"
        self.wakes_at = view.now + AGAIN_SECONDS
        return Decision(
            evict=victims,
            preload=(name,),
            wake_at=self.wakes_at,
            reasons=(f"{name}: {promise.chance:.0%} to be asked for soon; preload{displaced}",),
        )

    def _fill(self, view: View, model: ModelCost) -> Decision:
        """Returns the preload of a model nobody asked for yet: its first use may be cold no more.

        Once each, and only into free room, the dearest per byte first: the least to lose.
        """
        self.unseen.remove(model)
        self.wakes_at = view.now + AGAIN_SECONDS
        return Decision(
            preload=(model.id,),
            wake_at=self.wakes_at,
            reasons=(f"{model.id}: not asked for yet; preload into free room",),
        )

    def _look_again(self, at: float) -> Decision | None:
        """Asks to be asked then, unless that is what it asked for last."""
        if at == self.wakes_at:
            return None
        self.wakes_at = at
        return Decision(wake_at=at)

    def _let_go(self, now: float, victim: str) -> None:
        self.gone[victim] = now
        self.nothing_due_until = -inf
        self.quiet_until = min(self.quiet_until, now + LATCH_SECONDS)
        self.trust.settle(victim, used=False)
        self.spare.trust.settle(victim, used=False)
