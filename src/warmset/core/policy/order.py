"""One order of eviction that is good for whichever load comes next.

A server that picks its victims itself takes them one by one from the front of an order until the
load fits. The order is written before anybody knows which load that will be. So it is chosen for
the least expected loss over the loads that may come, each weighed by its chance.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import inf
from typing import Final

from warmset.core.policy.victims import Candidate

EXACT_ORDERED: Final = 8
"""So many of the first to go are put in the best order, the others by value per byte.

Source: 2^8 subsets take about a millisecond in CPython; more residents seldom go for one load.
"""

UNFORESEEN: Final = 0.1
"""Weight of needs of any size against those foreseen: first requests, and loads right after.

Without it all orders of those behind the last foreseen need would be equally good. With nothing
but it the best order is that by value per byte (Smith's rule). Source: about one load in ten is of
a model that nobody expected; the score on the traces moves by less than 1 % between 0.05 and 2.
"""


def eviction_order(
    candidates: Iterable[Candidate], needs: Iterable[tuple[int, float]]
) -> tuple[str, ...]:
    """Returns the ids, first to go first; a lower priority goes before a higher whatever its loss.

    Args:
        candidates: the residents.
        needs: bytes that must go for a load that may come, and its chance.
    """
    rows = sorted(candidates, key=lambda c: (c.priority, c.value / max(1, c.bytes), c.id))
    foreseen = sorted((short, chance) for short, chance in needs if short > 0 and chance > 0)
    if len(rows) < 2 or not foreseen:
        return tuple(row.id for row in rows)
    ordered: list[str] = []
    passed = 0
    for priority in sorted({row.priority for row in rows}):
        group = [row for row in rows if row.priority == priority]
        head = group[:EXACT_ORDERED]
        left = [(short - passed, chance) for short, chance in foreseen if short > passed]
        ordered += [row.id for row in (_best(head, left) if left else head)]
        ordered += [row.id for row in group[EXACT_ORDERED:]]
        passed += sum(row.bytes for row in group)
    return tuple(ordered)


def _best(rows: list[Candidate], needs: list[tuple[int, float]]) -> list[Candidate]:
    """Returns the best order of a few, by dynamic programming over the sets that go first.

    The loss of an order is the sum over its prefixes of `value lost * chance that it is this
    prefix that suffices`; the best order of a set ends in the resident for which the rest is best.
    """
    shorts = [short for short, _ in needs]
    chances = [0.0]
    for _, chance in needs:
        chances.append(chances[-1] + chance)
    slope = UNFORESEEN * chances[-1] / max(1, sum(row.bytes for row in rows))
    count = 1 << len(rows)
    size, value, enough = [0] * count, [0.0] * count, [0.0] * count
    loss, last = [0.0] * count, [0] * count
    for chosen in range(1, count):
        low = chosen & -chosen
        row = rows[low.bit_length() - 1]
        size[chosen] = size[chosen ^ low] + row.bytes
        value[chosen] = value[chosen ^ low] + row.value
        enough[chosen] = chances[bisect_right(shorts, size[chosen])] + slope * size[chosen]
        loss[chosen], rest = inf, chosen
        while rest:
            bit = rest & -rest
            rest ^= bit
            before = chosen ^ bit
            total = loss[before] + value[chosen] * (enough[chosen] - enough[before])
            if total < loss[chosen]:
                loss[chosen], last[chosen] = total, bit
    order: list[Candidate] = []
    left = count - 1
    while left:
        order.append(rows[last[left].bit_length() - 1])
        left ^= last[left]
    return order[::-1]
