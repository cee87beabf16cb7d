"""Laws of retention: what a price for memory turns into."""

from math import inf, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.demand import GapLaw, Grid, Pool
from warmset.core.policy.retention import (
    break_even_seconds,
    price_under_pressure,
    retention_seconds,
)
from warmset.core.units import GIB, HOUR
from warmset.errors import FactsError

PRICES = st.floats(0.001, 1e4)
SIZES = st.integers(GIB // 4, 200 * GIB)
LOADS = st.floats(0.5, 300)
GAPS = st.lists(st.floats(1, 1e6), max_size=40)


def law_of(gaps):
    law = GapLaw(Pool(Grid(4)))
    for gap in gaps:
        law.add(gap)
    return law


@given(SIZES, LOADS, PRICES)
def test_with_nothing_known_the_rent_paid_equals_one_load(size, load, price):
    """The break-even bound: rent times retention is the load, so at most twice the best choice."""
    seconds = retention_seconds(None, size, load, price)
    assert seconds * price * size / GIB / HOUR == pytest.approx(load)


@given(GAPS, SIZES, LOADS, PRICES)
def test_a_law_moves_the_bound_no_further_than_it_was_measured(gaps, size, load, price):
    """With n gaps known, retention stays within a factor that grows with n around break-even."""
    even = break_even_seconds(size, load, price)
    seconds = retention_seconds(law_of(gaps), size, load, price)
    trust = 1 + len(gaps) / 6
    assert even / trust * 0.999 <= seconds <= even * trust * 1.001


@given(GAPS, SIZES, LOADS, PRICES, st.floats(1, 50))
def test_a_higher_price_never_keeps_longer(gaps, size, load, price, factor):
    """Retention does not grow with the price."""
    law = law_of(gaps)
    dear = retention_seconds(law, size, load, price * factor)
    assert dear <= retention_seconds(law, size, load, price) * 1.000001


@given(PRICES, st.integers(1, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_pressure_only_raises_the_price(price, total, one, more):
    """More bytes held by other programs never make memory cheaper; none leave the base price."""
    low = price_under_pressure(price, total, one)
    assert price_under_pressure(price, total, one + more) >= low >= price * 0.999999
    assert price_under_pressure(price, total, 0) == pytest.approx(price)


def test_free_memory_is_kept_for_ever_and_priceless_memory_not_at_all():
    """Price 0 never ends retention; nothing left to others ends it at once."""
    assert retention_seconds(law_of([60.0] * 9), GIB, 5.0, 0.0) is None
    assert price_under_pressure(0.0, 10 * GIB, 9 * GIB) == 0.0
    assert price_under_pressure(1.0, 10 * GIB, 10 * GIB) == inf
    assert retention_seconds(law_of([60.0] * 9), GIB, 5.0, inf) == 0.0


def test_a_chat_is_held_through_its_pauses_and_not_through_the_night():
    """Gaps of a minute with half a day between: held well past a minute, dropped before hours."""
    chat = law_of([60.0, 50.0, 70.0, 40000.0] * 10)
    seconds = retention_seconds(chat, 5 * GIB, 10.0, 4.0)
    assert 70.0 < seconds < break_even_seconds(5 * GIB, 10.0, 4.0)
    assert seconds < 1000.0


def test_a_timer_is_waited_for_only_while_that_is_cheaper_than_a_load():
    """A use sure to come before break-even is held for; one sure to come after it is not."""
    timer = law_of([900.0] * 30)
    for even, pays in ((1200.0, True), (600.0, False)):
        price = 10.0 / (5 * even / HOUR)
        seconds = retention_seconds(timer, 5 * GIB, 10.0, price)
        assert (seconds > 900.0) == pays
        assert isfinite(seconds)


@pytest.mark.parametrize("price", [-1.0, float("nan")])
def test_a_price_that_makes_no_sense_is_named(price):
    """A negative price or no number is an error that says what to give."""
    with pytest.raises(FactsError, match=f"price_per_gib_hour is {price}"):
        retention_seconds(None, GIB, 5.0, price)
    with pytest.raises(FactsError, match="total_bytes is 0"):
        price_under_pressure(1.0, 0, 0)
