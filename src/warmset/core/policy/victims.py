"""The victim set that frees enough and loses least.

All rules of the order (priority classes, value, number of victims) are folded into one whole
number per resident, so that one exact search serves them all: the cheapest subset whose bytes
reach the need. Two halves of at most ten residents are enumerated and joined (Horowitz and
Sahni, 1974), so the time has a bound that does not depend on the numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Final, NamedTuple, TypeGuard

from warmset.errors import FactsError

EXACT_RESIDENTS: Final = 20
"""Up to here the best set is found; above, the search is over the 20 that are in doubt.

Source: 2 * 2^10 sums take a millisecond or two in CPython; `scripts/bench_victims`.
"""


_KEYS = ("id", "bytes", "priority", "value", "busy", "pinned")
_KEYS_HINT = "give id, bytes, priority, value, busy and pinned for every resident"


class Candidate(NamedTuple):
    """A resident that may go.

    Units:
        `value` is what is lost with it, not negative; a lower `priority` goes first.
    """

    id: str
    bytes: int
    priority: float
    value: float


def choose_victims(
    residents: Iterable[Mapping[str, object]], need_bytes: int, free_bytes: int
) -> tuple[str, ...] | None:
    """Returns the residents of one memory pool to evict so that `need_bytes` fit.

    The lost value is compared class by class from the highest priority down, and then the number
    of victims: a set that spares the highest class beats one that costs it anything. Exact for
    up to 20 residents that may go. Above, the loss exceeds the least by no more than one
    victim's, and the time grows as sorting does.

    Args:
        residents: one mapping each with `id`, `bytes`, `priority` (higher is dearer), `value`
            (what is lost with it), `busy` and `pinned`; the last two spare it.
        need_bytes: room that the newcomer takes.
        free_bytes: room that is free already; negative if the pool is over-committed.

    Returns:
        The ids, first to go first; `()` if nothing has to go; `None` if all that may go together
        do not free enough.

    Raises:
        FactsError: a resident without one of the keys, a value that is no finite number or
            negative, an id that comes twice, or a need that is no whole number.
    """
    for key, given in (("need_bytes", need_bytes), ("free_bytes", free_bytes)):
        if not _is_whole(given):
            raise FactsError(f"{key} is {given!r}, not a whole number of bytes")
    return best_victims(_read(residents), need_bytes - free_bytes)


def best_victims(candidates: Iterable[Candidate], short_bytes: int) -> tuple[str, ...] | None:
    """Returns the best set that frees `short_bytes`, by the rule of `choose_victims`."""
    if short_bytes <= 0:
        return ()
    rows = sorted(candidates, key=lambda c: c.id)
    chosen = cheapest_cover([c.bytes for c in rows], _weights(rows), short_bytes)
    if chosen is None:
        return None
    gone = sorted((rows[i] for i in chosen), key=lambda c: (c.priority, c.value, c.id))
    return tuple(c.id for c in gone)


def least_lost(candidates: Iterable[Candidate], short_bytes: int) -> float:
    """Returns what no set that frees `short_bytes` loses less than; `inf` if there is none.

    The fractional optimum: the cheapest per byte go first, of the last one only a part (Dantzig).
    """
    lost, short = 0.0, max(0, short_bytes)
    rows = (row for row in candidates if row.bytes > 0)
    for row in sorted(rows, key=lambda c: c.value / c.bytes):
        if row.bytes >= short:
            return lost + row.value * short / row.bytes
        lost += row.value
        short -= row.bytes
    return inf if short else lost


def cheapest_cover(
    sizes: Sequence[int], weights: Sequence[float], short: int
) -> tuple[int, ...] | None:
    """Returns the indices of the subset with `sum(sizes) >= short` and the least weight.

    Exact for up to 20 items. Above, the items are put in the order of weight per byte; the
    fractional optimum takes them in that order up to a break item. Only the 20 around it are
    searched, those before are taken, those after left. The result weighs no more than taking
    everything up to the break item, hence no more than the optimum plus that one item
    (Dantzig's bound). Weights must not be negative.
    """
    if short <= 0:
        return ()
    if sum(sizes) < short:
        return None
    indices = [i for i in range(len(sizes)) if sizes[i] > 0]
    # float division of huge whole numbers may overflow; the bytes are the safe denominator
    indices.sort(key=lambda i: (weights[i] * 2**64 // sizes[i], i))
    ceiling = _ceiling(indices, sizes, weights, short)
    indices = [i for i in indices if weights[i] <= ceiling]
    taken: list[int] = []
    if len(indices) > EXACT_RESIDENTS:
        at = _break(indices, sizes, short)
        first = max(0, min(at - EXACT_RESIDENTS // 2, len(indices) - EXACT_RESIDENTS))
        taken, indices = indices[:first], indices[first : first + EXACT_RESIDENTS]
        short -= sum(sizes[i] for i in taken)
    indices.sort()
    best = _search([(sizes[i], weights[i]) for i in indices], short)
    return tuple(sorted(taken + [indices[k] for k in best]))


def _ceiling(
    order: Sequence[int], sizes: Sequence[int], weights: Sequence[float], short: int
) -> float:
    """Returns the weight of a good cover: nothing heavier than it is in the best one."""
    head = list(order[: _break(order, sizes, short) + 1])
    spare = sum(sizes[i] for i in head) - short
    for i in sorted(head, key=lambda i: (-weights[i], i)):
        if sizes[i] <= spare:
            spare -= sizes[i]
            head.remove(i)
    alone = (weights[i] for i in order if sizes[i] >= short)
    return min(sum(weights[i] for i in head), min(alone, default=inf))


def _break(order: Sequence[int], sizes: Sequence[int], short: int) -> int:
    """Returns the position in `order` at which the sum of sizes reaches `short`."""
    for position, i in enumerate(order):
        short -= sizes[i]
        if short <= 0:
            return position
    raise AssertionError("the sum was checked")


def _search(items: list[tuple[int, float]], short: int) -> list[int]:
    """Returns the positions of the cheapest cover; all together are known to be enough."""
    if len(items) == 1:
        return [0]
    middle = len(items) // 2
    left, right = _sums(items[:middle]), _sums(items[middle:])
    order = sorted(range(len(right)), key=lambda k: (right[k][0], k))
    cheapest = list(order)  # cheapest[p]: the least weight among order[p:]
    for p in range(len(order) - 2, -1, -1):
        if right[cheapest[p + 1]][1] < right[order[p]][1]:
            cheapest[p] = cheapest[p + 1]
    freed = [right[k][0] for k in order]
    best: tuple[float, int, int] | None = None
    for mask, (size, weight) in enumerate(left):
        p = bisect_left(freed, short - size)
        if p == len(freed) or (best and weight >= best[0]):
            continue
        total = weight + right[cheapest[p]][1]
        if best is None or total < best[0]:
            best = (total, mask, cheapest[p])
    assert best is not None, (items, short)
    chosen = best[1] | best[2] << middle
    return [k for k in range(len(items)) if chosen >> k & 1]


def _sums(items: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Returns size and weight of every subset; bit k of the position says whether k is in."""
    sums: list[tuple[int, float]] = [(0, 0)]
    for size, weight in items:
        sums += [(s + size, w + weight) for s, w in sums]
    return sums


def _weights(candidates: Sequence[Candidate]) -> list[int]:
    """Returns whole numbers whose sums compare as the rule says.

    A finite float is a whole number over a power of two, so values become exact integers. Each
    class gets its own digit, large enough for the sum of all values; the units count victims.
    """
    ratios = [c.value.as_integer_ratio() for c in candidates]
    scale = max((d for _, d in ratios), default=1)
    values = [n * (scale // d) for n, d in ratios]
    digit = len(candidates) + 1
    base = sum(values) + 1
    place: dict[float, int] = {}
    for priority in sorted({c.priority for c in candidates}):
        place[priority] = digit
        digit *= base
    return [v * place[c.priority] + 1 for v, c in zip(values, candidates, strict=True)]


def _read(residents: Iterable[Mapping[str, object]]) -> list[Candidate]:
    """Returns those that may go."""
    if not isinstance(residents, Iterable):
        raise FactsError(f"residents is {residents!r}, not a list of mappings", hint=_KEYS_HINT)
    seen: set[str] = set()
    candidates: list[Candidate] = []
    for resident in residents:
        row = _row(resident)
        if row.id in seen:
            raise FactsError(
                f"resident {row.id!r} is listed twice",
                hint="list each resident of the pool once",
            )
        seen.add(row.id)
        if not (resident["busy"] or resident["pinned"]):
            candidates.append(row)
    return candidates


def _row(resident: Mapping[str, object]) -> Candidate:
    if not isinstance(resident, Mapping):
        raise FactsError(f"resident {resident!r} is not a mapping", hint=_KEYS_HINT)
    missing = [k for k in _KEYS if k not in resident]
    name = resident.get("id")
    if missing or not isinstance(name, str):
        raise FactsError(
            f"resident {name!r} has no {', '.join(missing) or 'text as id'}", hint=_KEYS_HINT
        )
    size, priority, value = resident["bytes"], resident["priority"], resident["value"]
    if not _is_whole(size) or size < 0:
        raise FactsError(f"resident {name!r}: bytes is {size!r}, not a whole number >= 0")
    if not _is_number(priority):
        raise FactsError(f"resident {name!r}: priority is {priority!r}, not a number")
    if not _is_number(value) or value < 0:
        raise FactsError(f"resident {name!r}: value is {value!r}, not a number >= 0")
    for key in ("busy", "pinned"):
        if not isinstance(resident[key], bool):
            raise FactsError(f"resident {name!r}: {key} is {resident[key]!r}, not true or false")
    return Candidate(id=name, bytes=size, priority=priority, value=value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number; a whole one may be larger than any float."""
    return _is_whole(value) or (isinstance(value, float) and isfinite(value))
