"""Leases carry the rank into Ollama's own order, with few changes."""

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.control.leases import BASE_SECONDS, SLOT_GAP, assign_slots, lease_seconds
from warmset.core.model import ModelKey
from warmset.core.ollama.victim import Candidate, choose_victim

keys = st.lists(
    st.integers(0, 40).map(lambda n: ModelKey(f"sha256:{n:02x}")), unique=True, max_size=20
)
slots = st.dictionaries(
    st.integers(0, 40).map(lambda n: ModelKey(f"sha256:{n:02x}")), st.integers(0, 60)
)


@given(keys, slots)
def test_slots_rise_along_the_ranks(ranked: list[ModelKey], current: dict[ModelKey, int]) -> None:
    """Whatever slots were held before, the new ones are in the order of the ranks."""
    assigned = assign_slots(ranked, current)
    in_order = [assigned[key] for key in ranked]
    assert in_order == sorted(set(in_order))
    assert all(slot >= 0 for slot in in_order)


@given(keys)
def test_assigning_again_changes_nothing(ranked: list[ModelKey]) -> None:
    """The same ranks keep their slots: no ping without a reason."""
    first = assign_slots(ranked, {})
    assert assign_slots(ranked, first) == first


@given(keys.filter(lambda k: len(k) > 2), st.data())
def test_one_change_of_rank_moves_one_model(ranked: list[ModelKey], data: st.DataObject) -> None:
    """After a fresh numbering, moving one model re-pings at most one."""
    before = assign_slots(ranked, {})
    moved = data.draw(st.sampled_from(ranked))
    others = [key for key in ranked if key != moved]
    place = data.draw(st.integers(0, len(others)))
    after = assign_slots([*others[:place], moved, *others[place:]], before)
    assert sum(after[key] != before[key] for key in ranked) <= 1


@given(keys.filter(bool))
def test_ollama_evicts_the_lowest_rank_first(ranked: list[ModelKey]) -> None:
    """Ollama's own victim rule, given the leases, takes the models in the order of the ranks."""
    assigned = assign_slots(ranked, {})
    candidates = [
        Candidate(path=key, duration=lease_seconds(assigned[key]), is_busy=False) for key in ranked
    ]
    unmanaged = Candidate(path="zzz", duration=300.0, is_busy=False)
    assert choose_victim([*candidates, unmanaged]) == unmanaged
    assert choose_victim(candidates) == candidates[0]
    assert all(c.duration > BASE_SECONDS for c in candidates)


@given(st.integers(2, 20), st.lists(st.integers(0, 20), max_size=60))
def test_newcomers_at_a_full_place_move_few(count: int, places: list[int]) -> None:
    """Models come and go at any place, or all at one: each costs less than two pings beside its
    own on average, and leases do not grow without end."""
    names = iter(range(1000))
    ranked = [ModelKey(f"m{next(names)}") for _ in range(count)]
    slots = assign_slots(ranked, {})
    moved = 0
    for place in places:
        ranked.insert(min(place, count), ModelKey(f"m{next(names)}"))
        ranked.pop(0 if place else -1)
        after = assign_slots(ranked, slots)
        moved += sum(after[key] != slot for key, slot in slots.items() if key in after)
        slots = after
        assert max(slots.values()) <= 2 * SLOT_GAP * count
    assert moved <= 2 * len(places)
