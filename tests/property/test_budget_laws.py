"""Laws of budgets, for any GPU and any setting."""

from hypothesis import given
from hypothesis import strategies as st

from warmset.core.settings import GpuBudget

SIZES = st.integers(0, 1 << 45)
LIMITS = (
    st.just({})
    | st.floats(0.01, 1.0).map(lambda ratio: {"vram_limit_ratio": ratio})
    | SIZES.map(lambda size: {"vram_limit_bytes": size})
)
BUDGETS = st.builds(
    lambda reserve, limit: GpuBudget(vram_reserve_bytes=reserve, **limit), SIZES, LIMITS
)


@given(BUDGETS, SIZES)
def test_a_budget_lies_within_the_gpu_less_its_reserve(budget: GpuBudget, total: int) -> None:
    """Never negative, never more than there is, and the reserve stays free."""
    usable = budget.bytes_of(total)
    assert 0 <= usable <= max(0, total - budget.vram_reserve_bytes)
    if budget.vram_limit_bytes is not None:
        assert usable <= budget.vram_limit_bytes


@given(BUDGETS, SIZES, SIZES)
def test_a_larger_gpu_never_has_a_smaller_budget(budget: GpuBudget, total: int, more: int) -> None:
    """More memory never makes less of it usable."""
    assert budget.bytes_of(total) <= budget.bytes_of(total + more)
