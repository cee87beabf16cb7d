"""Leases carry the rank into Ollama's own order, with few changes."""

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.control.leases import BASE_SECONDS, assign_slots, lease_seconds
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
