"""What happens to a host in one seed: clients, mishaps, and what the operator says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from loop_hosts import CHAT, CODER, EMBED, GIANT, MEDIUM, SMALL

from soak.earlier import NAMES as EARLIER
from warmset.core.model import FOREVER

TROUBLE_SECONDS = 900.0
"""Mishaps happen until then; afterwards everything works again."""
PEACE_SECONDS = 1200.0
"""Nobody asks for anything in this time, so that the host can settle."""
QUIET_SECONDS = 300.0
"""At the end of the peace, nothing may be loaded or unloaded for so long."""
USUAL = (CODER, CHAT, EMBED, SMALL, MEDIUM)
KEEPS = (None, None, None, 30.0, 300.0, 7200.0, FOREVER)

SPANS = (2.0, 8.0, 25.0, 90.0)


def _count(rng: Random) -> tuple:
    return (rng.randint(1, 3),)


def _span(rng: Random) -> tuple:
    return (rng.choice(SPANS),)


def _long_span(rng: Random) -> tuple:
    return (2 * rng.choice(SPANS),)


def _model(rng: Random) -> tuple:
    return (rng.choice(USUAL),)


def _lag(rng: Random) -> tuple:
    return (rng.choice((2.0, 6.0, 15.0)), 3 * rng.choice(SPANS))


DETAILS: dict[str, Callable[[Random], tuple]] = {
    "restart": _span,
    "upgrade": _span,
    "crash": _span,
    "stop": _span,
    "suspend": _span,
    "wedge": _span,
    "kill_runner": _model,
    "delete": _model,
    "repull": _model,
    "load_fails": _count,
    "load_oom": _count,
    "lost_reply": _count,
    "no_effect": _count,
    "refused": _count,
    "doubled": _count,
    "snatch": _count,
    "fight": _model,
    "hang_up": lambda rng: (rng.choice((*USUAL, GIANT)), rng.choice((0.5, 3.0, 20.0))),
    "contexts": lambda rng: (rng.choice(USUAL), 10),
    "thrash": _long_span,
    "runtime_oom": lambda _: (),
    "rot": lambda _: (),
    "old_state": lambda _: (),
    "slow_loads": lambda rng: (rng.choice((5.0, 60.0, 200.0)), rng.choice(SPANS)),
    "foreign": lambda rng: (rng.choice((0.5, 3.0, 8.0, 14.0)), rng.choice((20.0, 120.0, 400.0))),
    "tide": lambda rng: (rng.choice((3.0, 8.0, 14.0)), rng.choice((4.0, 75.0, 130.0))),
    "ram": _lag,
    "late_release": _lag,
    "slow_look": _lag,
    "driver": lambda rng: (
        rng.choice(("hung", "lost", "upgraded", "reshaped")),
        2 * rng.choice(SPANS),
    ),
    "deaf": _long_span,
    "disk_full": _long_span,
    "slow_ps": lambda rng: (rng.choice((0.4, 1.2, 9.0)), 3 * rng.choice(SPANS)),
    "clock": lambda rng: (rng.choice((-4000.0, -30.0, 30.0, 4000.0)),),
    "crash_at": lambda rng: (rng.randint(1, 6), rng.choice(SPANS)),
    "broken_lever": lambda rng: (
        rng.choice(("ping", "preload", "unload")),
        rng.choice((120.0, 400.0, 800.0)),
    ),
    "nag": lambda rng: (rng.choice(USUAL), rng.choice((30.0, 7200.0, FOREVER)), 30),
    "second": lambda _: (),
    "outsider": lambda rng: (rng.choice(("unload", "preload")), rng.choice(USUAL)),
    "edit": lambda rng: (rng.choice(("unpin", "pin_medium", "pin_too_much", "back")),),
}
"""Each mishap with what is drawn for it; `Life` has a method of each name."""
LATER: dict[str, Callable[[Random], tuple]] = {
    "meanwhile": lambda rng: (rng.choice(("use", "use", "unload")), rng.choice(USUAL)),
    "jam": lambda rng: (rng.choice(("queue", "queue", "all")), rng.choice((200.0, 500.0, 700.0))),
    "away": lambda _: (),
}
"""Mishaps with dice of their own, so that no seed's story changes but those that get one."""
BESIDE: dict[str, Callable[[Random], tuple]] = {
    "watcher": lambda _: (),
    "order_broken": lambda rng: (rng.choice((200.0, 500.0)),),
}
"""Another warmset that only looks on; or a server that evicts in another order."""
BESIDE_RATIO = 0.06
LATER_RATIO = 0.1
"""Of all stories have one of them."""
HOLDS = (120.0, 400.0, 1800.0)
"""The last is what `warmset warm` asks a running warmset for."""
SAID: dict[str, Callable[[Random], tuple]] = {
    "hold": lambda rng: (rng.choice((*USUAL, *USUAL, GIANT)), rng.choice(HOLDS)),
    "hold_end": _model,
    "order_pin": lambda rng: (rng.choice(USUAL), rng.random() < 0.5),
    "evict": lambda rng: (rng.choice(USUAL), rng.random() < 0.5, rng.choice((60.0, 600.0))),
    "budget": lambda rng: (
        rng.choice(("limit", "reserve")),
        rng.choice((0.3, 0.5, 0.7)),
        rng.choice((None, 0)),
    ),
    "make_way": lambda rng: (rng.choice((40.0, 150.0, 400.0)),),
    "release": _span,
}
"""What the operator does meanwhile, with dice of its own too."""
SAID_RATIO = 0.25
"""Of all stories have an operator who cannot leave it alone."""
PAIR_RATIO = 0.2
"""Of all stories happen on a host with two cards."""
HISTORY_RATIO = 0.3
"""Of all stories are told of a host whose demand was measured before."""
ON_A_CARD = ("foreign", "tide")
"""Mishaps of one card; the last of their details tells which, where there are several."""
MISHAPS = (*DETAILS, *LATER, *SAID, *BESIDE)

WINDOWS = (
    "daily 08:57-09:03",
    "daily 08:30-08:58",
    "daily 09:01-12:00",
    "daily 08:00-09:06",
    "daily 09:09-09:14",
    "daily 20:00-22:00",
)
"""A story begins at 08:53:20 UTC and has its quiet end from 09:23:20 on."""
EARLIER_RATIO = 0.05
"""Of all stories begin with the journal of an earlier version."""
WISH_RATIO = 0.07
"""Of all stories have each of the wishes."""


@dataclass(frozen=True)
class Wishes:
    """What the operator's file says beside who is wanted.

    Attributes:
        windows, keep_alives: of models by name.
        price: of a GiB-hour, in seconds of waiting.
        ranks_by_saving: not by worth.
        manages_all: every installed model counts as configured.
    """

    windows: tuple[tuple[str, str], ...] = ()
    keep_alives: tuple[tuple[str, float], ...] = ()
    price: float = 0.0
    ranks_by_saving: bool = False
    manages_all: bool = False


@dataclass(frozen=True)
class Happening:
    """Something that happens, `at` seconds after the start; `details` depend on the kind."""

    at: float
    kind: str
    details: tuple = ()


@dataclass(frozen=True)
class Story:
    """One seed, spelt out.

    Attributes:
        pins, wanted, kept: names pinned, wanted by priority, and kept but never fetched.
        sees_processes: whether driver and process table can be read.
        is_read_only: `serve --observe`.
        may_unload_unmanaged, may_rescue, may_reload_pins: what the operator allows.
        lease_base, load_limit, pings_per_tick: as of `LoopSettings`; with a short lease there are
            many renewals in a story.
        cards: how many GPUs the host has.
        has_history: whether the gaps between uses were measured before; who is wanted has one
            priority then, so that worth decides between them.
        wishes: what the file says beside that.
        earlier: whose journal is there at the start, of those in `soak.earlier`; empty: nobody's.
    """

    seed: int
    pins: tuple[str, ...]
    wanted: tuple[str, ...]
    kept: tuple[str, ...]
    sees_processes: bool
    is_read_only: bool
    may_unload_unmanaged: bool
    may_rescue: bool
    lease_base: float
    load_limit: float
    pings_per_tick: int
    cards: int = 1
    has_history: bool = False
    wishes: Wishes = Wishes()
    may_reload_pins: bool = False
    earlier: str = ""
    happenings: tuple[Happening, ...] = field(default=())

    @property
    def named(self) -> frozenset[str]:
        return frozenset((*self.pins, *self.wanted, *self.kept))


def tell(seed: int, focus: Sequence[str] = (), cards: int | None = None) -> Story:
    """Returns the story of a seed, always the same one.

    Args:
        seed: which.
        focus: kinds of mishaps; none but these happen then, and more of them.
        cards: how many GPUs the host has; `None`: as the seed's own dice say.
    """
    rng = Random(f"soak {seed}")
    pins = rng.choice([(CODER,), (CODER, CHAT), (CODER, CHAT), (CHAT, EMBED)])
    wanted = rng.choice([(), (EMBED,), (MEDIUM,), (MEDIUM, EMBED)])
    wanted = tuple(name for name in wanted if name not in pins)
    happenings = [*_clients(rng), *_mishaps(rng, focus)]
    if not focus:
        happenings += [*_later(seed), *_said(seed), *_beside(seed)]
    cards, happenings = _on_cards(seed, happenings, cards)
    return Story(
        seed=seed,
        pins=pins,
        wanted=wanted,
        kept=(SMALL,),
        sees_processes=rng.random() < 0.75,
        is_read_only=rng.random() < 0.04,
        may_unload_unmanaged=rng.random() < 0.3,
        may_rescue=rng.random() < 0.5,
        lease_base=rng.choice((1800.0, 1800.0, 300.0)),
        load_limit=rng.choice((1800.0, 1800.0, 200.0)),
        pings_per_tick=rng.choice((4, 4, 2, 1)),
        cards=cards,
        has_history=Random(f"history {seed}").random() < HISTORY_RATIO,
        wishes=Wishes() if focus else _wishes(seed, (*pins, *wanted)),
        may_reload_pins=Random(f"pins anew {seed}").random() < 0.5,
        earlier="" if focus else _earlier(seed),
        happenings=tuple(sorted(happenings, key=lambda h: h.at)),
    )


def _clients(rng: Random) -> list[Happening]:
    """Sessions of short requests, some long ones, now and then the giant; some change contexts."""
    out = []
    for _ in range(rng.randint(2, 14)):
        model = rng.choice((*USUAL, *USUAL, GIANT))
        start, keep = rng.uniform(0, TROUBLE_SECONDS), rng.choice(KEEPS)
        context = rng.choice((None, None, None, None, 2048, 16384))
        for _ in range(rng.randint(1, 5)):
            busy = rng.choice((0.3, 3.0, 12.0, 60.0, 150.0))
            out.append(Happening(round(start, 2), "use", (model, busy, keep, context)))
            start += rng.expovariate(1 / 20)
            if start > TROUBLE_SECONDS:
                break
    return out


def _mishaps(rng: Random, focus: Sequence[str]) -> list[Happening]:
    out = []
    for _ in range(rng.choice((8, 12, 16) if focus else (0, 1, 2, 3, 4, 6, 8))):
        kind = rng.choice(focus or tuple(DETAILS))
        out.append(_mishap(kind, rng))
    return out


def _later(seed: int) -> list[Happening]:
    rng = Random(f"further {seed}")
    return [_mishap(rng.choice(tuple(LATER)), rng)] if rng.random() < LATER_RATIO else []


def _said(seed: int) -> list[Happening]:
    rng = Random(f"said {seed}")
    if rng.random() >= SAID_RATIO:
        return []
    return [_mishap(rng.choice(tuple(SAID)), rng) for _ in range(rng.randint(1, 3))]


def _earlier(seed: int) -> str:
    rng = Random(f"earlier {seed}")
    return rng.choice(EARLIER) if rng.random() < EARLIER_RATIO else ""


def _beside(seed: int) -> list[Happening]:
    rng = Random(f"beside {seed}")
    return [_mishap(rng.choice(tuple(BESIDE)), rng)] if rng.random() < BESIDE_RATIO else []


def _wishes(seed: int, named: Sequence[str]) -> Wishes:
    rng = Random(f"wishes {seed}")
    has = [rng.random() < WISH_RATIO for _ in range(5)]
    return Wishes(
        windows=((rng.choice(named), rng.choice(WINDOWS)),) if has[0] else (),
        keep_alives=((rng.choice(named[::-1]), rng.choice((0.0, 60.0, 300.0))),) if has[1] else (),
        price=rng.choice((2.0, 10.0, 50.0)) if has[2] else 0.0,
        ranks_by_saving=has[3],
        manages_all=has[4],
    )


def _on_cards(
    seed: int, happenings: list[Happening], cards: int | None
) -> tuple[int, list[Happening]]:
    """Returns how many cards there are, and the happenings with the card of each."""
    rng = Random(f"cards {seed}")
    drawn = 2 if rng.random() < PAIR_RATIO else 1
    cards = cards or drawn
    if cards == 1:
        return cards, happenings
    placed = [
        replace(h, details=(*h.details, rng.randrange(cards))) if h.kind in ON_A_CARD else h
        for h in happenings
    ]
    return cards, placed


def _mishap(kind: str, rng: Random) -> Happening:
    at = round(rng.uniform(1, TROUBLE_SECONDS - 200), 2)
    return Happening(at, kind, (DETAILS | LATER | SAID | BESIDE)[kind](rng))


def uses_before(seed: int) -> list[tuple[float, str]]:
    """Returns when each of the usual models was used before the story, by name."""
    rng = Random(f"uses {seed}")
    uses = []
    for name in USUAL:
        at, gap = 0.0, rng.choice((20.0, 120.0, 900.0, 5400.0))
        for _ in range(30):
            at += rng.expovariate(1 / gap)
            uses.append((at, name))
    return sorted(uses)
