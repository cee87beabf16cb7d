"""Keep-alives from gaps: the curve by hand and by law, and how memory is dealt out."""

import itertools
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.demand.keeping import KEEP_ALIVES, merge, weigh_keep_alives
from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import ModelCost
from warmset.core.policy.advice import advise, most_at_once, one_for_all
from warmset.shell.advise import wire_text

REQUESTS = st.lists(
    st.builds(
        Request, st.floats(0, 1e5), st.sampled_from("abc"), st.floats(0, 600)
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip
COSTS = {m: ModelCost(id=m, bytes=n, load_seconds=s) for m, n, s in (("a", 4, 9.0), ("b", 9, 2.0))}


def test_the_curve_by_hand() -> None:
    """Uses at 0-10, 5-20 (together one), 100-110 and 5000: gaps of 80 and 4890 seconds."""
    rows = [Request(0, "a", 10), Request(5, "a", 15), Request(100, "a", 10), Request(5000, "a", 0)]
    (keeping,) = weigh_keep_alives(Trace.of(rows))
    assert keeping.gaps == (80, 4890)
    warm = {point.keep_alive: point.warm for point in keeping.points}
    assert warm == {0: 1, 60: 1, 300: 2, 900: 2, 3600: 2, 14400: 3, inf: 3}
    held = {point.keep_alive: point.held_seconds for point in keeping.points}
    assert held[0.0] == 30
    assert held[60.0] == 30 + 60 + 60
    assert held[300.0] == 30 + 80 + 300
    assert held[inf] == 5000


@given(rows=REQUESTS)
def test_longer_keep_alives_hold_more_and_find_more_warm(rows) -> None:
    """Both only grow; no more than all but the first are warm, nothing is held beyond the end."""
    trace = Trace.of(rows)
    end = max(row.at + row.seconds for row in rows)
    for keeping in weigh_keep_alives(trace):
        warm = [point.warm for point in keeping.points]
        held = [point.held_seconds for point in keeping.points]
        assert [p.keep_alive for p in keeping.points] == list(KEEP_ALIVES)
        assert warm == sorted(warm)
        assert held == pytest.approx(sorted(held))
        assert warm[-1] == keeping.requests - 1
        assert held[-1] <= end + 1e-6


@given(rows=REQUESTS)
def test_stretches_of_use_cover_the_uses_and_do_not_touch(rows) -> None:
    """What is in use by anybody is in one stretch, and between stretches nobody is."""
    uses = sorted((row.at, row.at + row.seconds) for row in rows)
    runs = merge(uses)
    assert all(any(a <= since and until <= b for a, b in runs) for since, until in uses)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(runs))


@given(rows=REQUESTS, budget=st.floats(0, 30))
def test_advice_stays_within_the_memory(rows, budget) -> None:
    """The sum of mean bytes is within the budget, unless use alone exceeds it or a model that is
    there nearly always is pinned for the rest of the time."""
    trace = Trace.of(rows)
    keepings = weigh_keep_alives(trace)
    advice = advise(keepings, COSTS, budget_bytes=budget, span_seconds=trace.span_seconds)
    assert [a.keeping.model for a in advice] == [k.model for k in keepings if k.model in COSTS]
    span = max(1.0, trace.span_seconds)
    least = sum(COSTS[a.keeping.model].bytes * a.keeping.at(0.0).held_seconds for a in advice)
    total = sum(a.mean_bytes for a in advice)
    assert total <= max(budget, least / span) / 0.95 + 13 * 60 / span * 41 + 1e-6


def session(model: str, start: float, count: int, gap: float):
    return [Request(start + i * gap, model, 1.0) for i in range(count)]


def test_memory_goes_where_it_saves_most() -> None:
    """Room for one of two: the one whose reload costs more per byte and hour gets it; with room
    for both both are pinned, and single requests far apart are not kept at all."""
    rows = session("a", 0, 100, 400.0) + session("b", 7, 100, 400.0)
    keepings = weigh_keep_alives(Trace.of(rows))

    def words(budget: float) -> dict[str, str]:
        found = advise(keepings, COSTS, budget_bytes=budget, span_seconds=40_000)
        return {a.keeping.model: a.word for a in found}

    assert words(0) == {"a": "short", "b": "short"}  # timers: kept a minute, fetched ahead
    assert words(5)["a"] == "pin"
    assert words(5)["b"] != "pin"
    assert words(20) == {"a": "pin", "b": "pin"}
    rare = weigh_keep_alives(
        Trace.of([Request(i * 90_000.0 + i * i * 999, "a", 1) for i in range(5)])
    )
    (advice,) = advise(rare, COSTS, budget_bytes=0.4, span_seconds=400_000)
    assert advice.word == "none"
    assert advice.is_little


def test_one_value_for_all_and_how_many_at_once() -> None:
    """The longest that fits on average; the count of models that overlap under the advice."""
    rows = session("a", 0, 50, 1000.0) + session("b", 500, 50, 1000.0)
    keepings = weigh_keep_alives(Trace.of(rows))
    assert one_for_all(keepings, COSTS, budget_bytes=13, span_seconds=50_000) == 14400.0
    assert one_for_all(keepings, COSTS, budget_bytes=5, span_seconds=50_000) == 300.0
    both = advise(keepings, COSTS, budget_bytes=13, span_seconds=50_000)
    assert most_at_once(both) == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (60, "1m"), (900, "15m"), (3600, "1h"), (inf, "24h")]
)
def test_keep_alives_are_written_as_ollama_reads_them(seconds: float, text: str) -> None:
    """A pin is a long finite value, since an endless one is no pin."""
    assert wire_text(seconds) == text
