"""Whether sizes fit into bins: equal to trying every bin for every size."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.planner.completion import Completion
from warmset.core.planner.problem import Effort

SCALES = (1, 1_000_003)  # sums are counted exactly, or in units rounded down


def fits(sizes, rooms):
    @cache
    def place(at, left):
        return at == len(sizes) or any(
            place(at + 1, tuple(sorted((*left[:n], room - sizes[at], *left[n + 1 :]))))
            for n, room in enumerate(left)
            if room >= sizes[at]
        )

    return place(0, tuple(sorted(rooms)))


@st.composite
def tight(draw):
    """Bins made to measure for some sizes, then a few bytes moved about."""
    scale = draw(st.sampled_from(SCALES))
    alike = draw(st.sampled_from(((1, 9), (4, 7), (5, 6))))
    groups = draw(
        st.lists(st.lists(st.integers(*alike), min_size=1, max_size=4), min_size=1, max_size=4)
    )
    jitter = st.integers(-1, 1)
    rooms = [max(1, sum(group) * scale + draw(jitter)) for group in groups]
    sizes = [
        size * scale + (draw(jitter) if scale > 1 else 0) for group in groups for size in group
    ]
    if draw(st.booleans()):
        rooms[0] += scale
        rooms[-1] = max(1, rooms[-1] - scale)
    return sorted(sizes, reverse=True), rooms


@given(tight())
def test_sizes_fit_exactly_when_some_arrangement_does(case):
    """What is found holds; what is not found does not exist."""
    sizes, rooms = case
    effort = Effort(100_000)
    found = Completion(sizes, rooms, effort).find()
    assert not effort.is_spent
    assert (found is not None) == fits(tuple(sizes), rooms)
    if found is not None:
        for bin_, room in enumerate(rooms):
            assert sum(s for s, b in zip(sizes, found, strict=True) if b == bin_) <= room


@given(tight(), st.integers(0, 30))
def test_an_answer_cut_short_is_told_from_a_no(case, steps):
    """A `None` with effort left is certain; without, it may be wrong."""
    sizes, rooms = case
    effort = Effort(steps)
    if Completion(sizes, rooms, effort).find() is None and not effort.is_spent:
        assert not fits(tuple(sizes), rooms)
