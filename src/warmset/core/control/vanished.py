"""Models that left before their time: the sign of a load that nobody announced.

Ollama unloads a model when its keep-alive runs out, when it is told to, or to make room for
another. A model that leaves long before its deadline was told to go or had to make room, and then
somebody's load may be waiting: nothing must be pinged (ollama-behaviour 3.5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.model import ModelKey, Resident

EARLY_SECONDS: Final = 1.0
"""Left of a deadline when the model was gone already. Our measure of doubt between two clocks."""


def row_id(resident: Resident) -> str:
    """Returns what tells one row of `/api/ps` from another: its manifest, else weights or name.

    A name that is pulled again or deleted leaves the row of its old weights as it was, only nobody
    knows any more whose weights they are.
    """
    return resident.manifest_digest or resident.key or resident.name


def list_nameless(rows: Iterable[Resident]) -> dict[str, Resident]:
    """Returns those whose weights nobody can name, by `row_id`."""
    return {row_id(row): row for row in rows if row.key is None}


def list_gone(before: Iterable[Resident], present: Iterable[Resident]) -> tuple[Resident, ...]:
    """Returns the residents that are no longer listed."""
    listed = {row_id(resident) for resident in present}
    return tuple(row for row in before if row_id(row) not in listed)


def early_leavers(
    before: Iterable[Resident],
    present: Iterable[Resident],
    *,
    wall_at: float,
    ours: frozenset[ModelKey] = frozenset(),
) -> tuple[Resident, ...]:
    """Returns the residents that are gone although their deadline lies ahead.

    Args:
        before, present: two lists of residents.
        wall_at: the wall clock at the second.
        ours: models that warmset itself let go.
    """
    return tuple(
        resident
        for resident in list_gone(before, present)
        if resident.key not in ours
        and (resident.expires_at is None or resident.expires_at > wall_at + EARLY_SECONDS)
    )
