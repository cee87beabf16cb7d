"""Linear programmes, solved by HiGHS through scipy: an optional extra (`warmset[bound]`)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec


def can_solve() -> bool:
    """Whether the solver is installed."""
    return find_spec("scipy") is not None


def minimise(
    cost: Sequence[float],
    upper: Sequence[float],
    entries: tuple[Sequence[int], Sequence[int], Sequence[float]],
    row_count: int,
) -> float | None:
    """Returns the least `cost @ x` with `A x = 0` and `0 <= x <= upper`.

    Args:
        cost, upper: one of each variable.
        entries: rows, columns and values of A.
        row_count: how many rows A has.

    Returns:
        `None` if the solver found no optimum.
    """
    if not cost:
        return 0.0
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    rows, columns, values = entries
    matrix = coo_array((values, (rows, columns)), shape=(row_count, len(cost))).tocsc()
    limits = np.column_stack([np.zeros(len(upper)), np.asarray(upper, dtype=float)])
    solved = linprog(
        np.asarray(cost, dtype=float),
        A_eq=matrix,
        b_eq=np.zeros(row_count),
        bounds=limits,
        method="highs",
    )
    return float(solved.fun) if solved.status == 0 else None
