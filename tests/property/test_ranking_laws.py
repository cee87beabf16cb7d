"""Laws of ranks by worth: steady where little changes, right where much does."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.control.leases import assign_slots
from warmset.core.control.ranking import MARGIN, steadied

WORTHS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1e3), min_size=1)


@given(WORTHS, st.permutations("abcdefgh"), st.integers(0, 8))
def test_a_rank_in_force_stands_until_somebody_is_clearly_worth_more(worths, before, count):
    """Nobody stands below one that is worth the margin less, next to it or not, and a second look
    at the same worths changes nothing."""
    slots = {key: place for place, key in enumerate(before[:count])}
    order = steadied(sorted(worths), worths, slots)
    assert sorted(order) == sorted(worths)
    for low, high in combinations(order, 2):
        assert worths[low] <= (1 + MARGIN) * worths[high] + 1e-29
    again = assign_slots(order, {})
    assert steadied(sorted(worths), worths, again) == order


@given(WORTHS.filter(len), st.permutations("abcdefgh"))
def test_who_may_stay_stays(worths, before):
    """Who stands in the order in force above all that are worth clearly less is not moved: where
    nobody is out of place, nothing is."""
    slots = {key: place for place, key in enumerate(before) if key in worths}
    held = sorted(slots, key=lambda key: slots[key])
    is_right = all(
        worths[low] <= (1 + MARGIN) * worths[high] for low, high in combinations(held, 2)
    )
    assert is_right <= (steadied(held, worths, slots) == held)


@given(WORTHS, st.lists(st.floats(0.95, 1.05), min_size=8, max_size=8))
def test_small_news_moves_nobody(worths, news):
    """Worths that stand in order and move by a twentieth leave every slot as it is."""
    order = sorted(worths, key=lambda key: worths[key])
    slots = assign_slots(order, {})
    moved = {key: worths[key] * share for key, share in zip(sorted(worths), news, strict=False)}
    assert assign_slots(steadied(order, moved, slots), slots) == slots


@given(WORTHS.filter(lambda w: len(w) > 1), st.data())
def test_one_model_that_rises_costs_one_change(worths, data):
    """A change of one rank changes one slot, and so is one ping."""
    order = sorted(worths, key=lambda key: worths[key])
    slots = assign_slots(order, {})
    risen = data.draw(st.sampled_from(order))
    after = assign_slots(steadied(order, {**worths, risen: 1e9}, slots), slots)
    assert sum(after[key] != slots[key] for key in order) <= 1
    assert max(after, key=lambda key: after[key]) == risen
