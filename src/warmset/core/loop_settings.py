"""How often the loop looks and how eagerly it may act: `[policy]` of budgets.toml.

Every number here is an operator's choice with a default; none is a fact about a program. Reasons
stand beside them. All of them err towards doing less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from warmset.core.units import HOUR, MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How often the loop looks and how much it may do.

    Attributes:
        tick: between two looks.
        lease_base: the shortest lease; raised above what server and clients use.
        lease_base_limit: no client's value raises the base beyond this.
        min_residency: a model stays at least so long before warmset unloads it.
        idle_after: a model without a sign of use for so long counts as idle.
        calm: nothing is preloaded for so long after a load of a user, since they come in bursts.
        settle: how long a model that left without a known cause is taken for a pending load.
        pressure: other programs must hold the memory for so long before a model yields to them.
        cool_down: before a model that left or was unloaded is preloaded again; pins excepted, and
            who is unloaded only to be loaded again in another order.
        fight_window: the span in which restorations of one model are counted.
        restores_per_window: restorations of a pin in that span before warmset steps back.
        reasserts_per_window: leases of a pin that are given back in that span after a client
            replaced them; a ping costs little, so more than restorations.
        back_off: the first pause after that, doubled each time, up to `back_off_limit`.
        reloads_per_window: preloads of models that had been resident before, all together.
        pings_per_tick: renewals of one tick; each costs two more reads of `/api/ps`.
        load_limit: an own load that takes longer is given up.
        stuck_after: an own load that is not begun for so long, while nothing comes or leaves, means
            that Ollama's queue stands still. Longer than most answers, since a request that waits
            for a busy model to end looks the same.
        may_rescue: whether an idle model may then be unloaded to wake the queue.
        may_reload_pins: whether an idle pin may be unloaded and loaded again so that another pin
            comes that it keeps out: Ollama counts with what was free when it came.
        manages_all: whether every installed model counts as configured.
        may_evict_unconfigured: whether models that nobody configured may be unloaded.
        may_overwrite_infinite: whether a client's "for ever" may be replaced by a lease.
        name: what ranks models of one priority: `worth`, what each is worth per byte now by its
            measured gaps, or `saving`, what a day of residency saves, which is what records from
            before the choice were decided by.
        price_per_gib_hour: seconds of waiting that a free GiB is worth in an hour; 0: memory is
            free, and nobody leaves for it.
        on_stop: whether residents keep their leases when warmset ends, or get the server's own
            keep-alive.

    Units:
        Seconds, counts.
    """

    tick: float = 5.0
    lease_base: float = 30 * MINUTE
    lease_base_limit: float = 24 * HOUR
    min_residency: float = 60.0
    idle_after: float = 30.0
    calm: float = 60.0
    settle: float = 15.0
    pressure: float = 10.0
    cool_down: float = 2 * MINUTE
    fight_window: float = 10 * MINUTE
    restores_per_window: int = 3
    reasserts_per_window: int = 12
    back_off: float = 5 * MINUTE
    back_off_limit: float = HOUR
    reloads_per_window: int = 6
    pings_per_tick: int = 4
    load_limit: float = 30 * MINUTE
    stuck_after: float = 2 * MINUTE
    may_rescue: bool = False
    may_reload_pins: bool = False
    manages_all: bool = False
    may_evict_unconfigured: bool = False
    may_overwrite_infinite: bool = False
    name: Literal["saving", "worth"] = field(default="worth", metadata={"unsaid": "saving"})
    price_per_gib_hour: float = 0.0
    on_stop: Literal["leave", "release"] = "leave"

    def __post_init__(self) -> None:
        assert self.tick > 0, self
        assert self.price_per_gib_hour >= 0, self
        assert self.lease_base <= self.lease_base_limit, self
        assert self.back_off <= self.back_off_limit, self

    @property
    def uses_gaps(self) -> bool:
        """Whether anything is decided by the gaps between uses."""
        return self.price_per_gib_hour > 0 or self.name == "worth"
