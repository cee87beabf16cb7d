"""Laws of counted gaps: what a look carries answers as the laws that were counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.control.plain import from_plain, to_plain
from warmset.core.demand import GapLaw, Grid, Pool
from warmset.core.demand.measured import FINE_PER_OCTAVE, count_gaps, laws_of
from warmset.core.loads import GapCounts, Learnt

USES = st.lists(
    st.tuples(st.floats(0.1, 1e5).map(lambda s: round(s, 1)), st.sampled_from("abc")), max_size=60
)


def told(steps):
    at = 0.0
    for gap, model in steps:
        at += gap
        yield at, model


@given(USES, st.floats(0, 1e5), st.floats(1e-6, 1e-2))
def test_counts_answer_as_the_laws_they_are_of(steps, age, rent) -> None:
    """Rounded, written as JSON and read again, they give the same hit rates and chances."""
    pool, last, laws = Pool(Grid(FINE_PER_OCTAVE)), {}, {}
    for at, model in told(steps):
        if model in last:
            laws.setdefault(model, GapLaw(pool)).add(at - last[model])
        last[model] = at
    plain = json.loads(json.dumps(to_plain(Learnt(gaps=count_gaps(told(steps))))))
    read = laws_of(from_plain(Learnt, plain).gaps)
    assert set(read) == set(laws)
    pool.note_open(())  # works the pooled prior out anew
    for model, law in laws.items():
        assert read[model].known_gaps == pytest.approx(law.known_gaps, abs=0.01)
        assert read[model].outlook(age, rent).gain == pytest.approx(
            law.outlook(age, rent).gain, abs=0.01
        )


def test_counts_of_other_bins_are_no_law() -> None:
    """A record of a version with finer bins says nothing, rather than something wrong."""
    many = GapCounts(reached=(1.0,) * 500, ended=(0.0,) * 500)
    assert laws_of({"a": many}) == {}
    assert laws_of({}) == {}
