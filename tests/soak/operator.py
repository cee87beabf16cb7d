"""The operator of one life: the file as it stands, the orders given since, for whom to make way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loop_hosts import EMBED, GIANT, MEDIUM

from soak.story import Story
from warmset.adapters.journal import Orders
from warmset.core.control.config import Config
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import normalise_name
from warmset.core.settings import Budget, GpuBudget, ModelPolicy, Settings
from warmset.core.units import GIB
from warmset.core.windows import parse_window
from warmset.shell.said import Said, open_spans

if TYPE_CHECKING:
    from soak.life import Life

APART_SECONDS = 1.5
"""Between the two looks of `warmset evict`."""


class Operator:
    """What the operator says in one life, and how it reaches the loop.

    The file is read again at once, orders are taken up at the next look, as by the daemon.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self.pins = story.pins
        self.more: tuple[str, ...] = ()
        self.budget = Budget()
        self.orders = Orders()
        self.yielding = ""
        self.ever_named: set[str] = set()
        self._file: Settings | None = None  # as read, until it is written again

    def said(self, wall: float, now: float) -> Config:
        """Returns what a decision is told.

        Args:
            wall: the wall clock.
            now: the loop's time.
        """
        words = Said(settings=self.file(), orders=self.orders, yielding=self.yielding)
        said = words.config(wall=wall, now=now)
        self.ever_named |= {*said.settings.models, *said.holds}
        return said

    def file(self) -> Settings:
        """Returns budgets.toml as it stands."""
        if self._file is None:
            self._file = self._read()
        return self._file

    def _read(self) -> Settings:
        story, wishes = self._story, self._story.wishes
        models: dict[str, dict] = {
            name: {"pin": True, "priority": 90 - n} for n, name in enumerate(self.pins)
        }
        step = 0 if story.has_history else 1
        wanted = (*story.wanted, *self.more)
        models |= {name: {"priority": 60 - n * step} for n, name in enumerate(wanted)}
        models |= {name: {"priority": 20, "preload": False} for name in story.kept}
        for name, text in wishes.windows:
            if name in models:
                models[name] |= {"windows": (parse_window(text),), "timezone": "UTC"}
        for name, seconds in wishes.keep_alives:
            if name in models:
                models[name]["keep_alive"] = seconds
        policies = {
            normalise_name(name): ModelPolicy(name=name, **said) for name, said in models.items()
        }
        loop = LoopSettings(
            may_evict_unconfigured=story.may_unload_unmanaged,
            may_rescue=story.may_rescue,
            may_reload_pins=story.may_reload_pins,
            lease_base=story.lease_base,
            load_limit=story.load_limit,
            pings_per_tick=story.pings_per_tick,
            price_per_gib_hour=wishes.price,
            name="saving" if wishes.ranks_by_saving else "worth",
            manages_all=wishes.manages_all,
        )
        return Settings(models=policies, loop=loop, budget=self.budget)

    def edits(self, what: str) -> None:
        """Writes other pins into the file, or those of the beginning and the usual budget."""
        pins, more = self._story.pins, ()
        if what == "unpin":
            pins = pins[:1]
        elif what == "pin_medium":
            pins = (*(p for p in pins if p not in (MEDIUM, EMBED)), MEDIUM)
        elif what == "pin_too_much":
            pins = (*pins, GIANT)
        self.pins, self.more, self._file = pins, more, None

    def limits(self, what: str, amount: float, index: int | None) -> None:
        """Writes another budget into the file, of one GPU or of all."""
        words = {"limit": {"vram_limit_ratio": amount}, "reserve": {}}[what]
        if what == "reserve":
            words = {"vram_reserve_bytes": int(amount * 20 * GIB)}
        budget, self._file = GpuBudget(**words), None
        if index is None:
            self.budget = Budget(default=budget)
        else:
            self.budget = Budget(gpus={str(index): budget})

    # -- orders -----------------------------------------------------------------------------------

    def holds(self, name: str, until: float) -> None:
        """`warmset hold --for`: `until` is of the wall clock, as in all orders."""
        key = normalise_name(name)
        rests = {n: u for n, u in self.orders.rests.items() if n != key}
        self.orders = replace(self.orders, holds={**self.orders.holds, key: until}, rests=rests)

    def lets_go(self, name: str) -> None:
        """`warmset hold --end`."""
        key = normalise_name(name)
        self.orders = replace(
            self.orders,
            holds={n: u for n, u in self.orders.holds.items() if n != key},
            rests={n: u for n, u in self.orders.rests.items() if n != key},
        )

    def pins_it(self, name: str, *, pin: bool) -> None:
        """`warmset pin` and `warmset unpin`."""
        key = normalise_name(name)
        said = self.file().models.get(key)
        pins = {n: p for n, p in self.orders.pins.items() if n != key}
        if pin != (said is not None and said.pin):
            pins[key] = pin
        rests = {n: u for n, u in self.orders.rests.items() if n != key or not pin}
        self.orders = replace(self.orders, pins=pins, rests=rests)

    def rests(self, name: str, until: float) -> None:
        """What `warmset evict` leaves for the running warmset."""
        key = normalise_name(name)
        self.orders = replace(self.orders, rests={**self.orders.rests, key: until})

    # -- what is in force -------------------------------------------------------------------------

    def is_resting(self, name: str, wall: float) -> bool:
        """Whether an eviction keeps a model out."""
        return self.orders.rests.get(normalise_name(name), wall) > wall

    def open_for(self, name: str, wall: float) -> float:
        """Returns for how long a model's window has been open; 0 if none is."""
        policy = self.file().models.get(normalise_name(name))
        if policy is None or not policy.windows:
            return 0.0
        starts = [s.start for s in open_spans(policy, wall) if s.start <= wall < s.end]
        return wall - starts[0] if starts else 0.0

    def opens(self, name: str, wall: float, within: float = 0.0) -> bool:
        """Whether a model's windows are open, or will be so soon; true for one without windows."""
        policy = self.file().models.get(normalise_name(name))
        if policy is None or not policy.windows:
            return True
        spans = open_spans(policy, wall)
        return any(s.start <= wall + within and s.end > wall for s in spans)


def evict(life: Life, name: str, *, is_forced: bool, seconds: float) -> None:
    """Does what `warmset evict` does, with its looks, its refusals, and its wait."""
    model = life.host.library.find(name)
    if model is None or not life.host.is_up or model.key not in life.host.scheduler.loaded:
        return

    def shown() -> tuple[bool, float | None]:
        runner = life.host.scheduler.loaded.get(model.key)
        if runner is None:
            return False, None
        return runner.refs > 0 and life.story.sees_processes, runner.expires_at

    def unload() -> None:
        if not life.host.is_up or model.key not in life.host.scheduler.loaded:
            return
        if not is_forced and (shown() != first or first[0]):
            return  # refused: it is in use
        life.witness.disturbed()
        life.tell_judges("evicts", name)
        if life.warmset is not None:
            life.operator.rests(name, life.wall + seconds)
        life.host.unload(model)

    if not is_forced and life.is_pinned(name):
        return  # refused: it is pinned
    first = shown()
    if is_forced:
        unload()
    else:
        life.timeline.after(APART_SECONDS, unload)
