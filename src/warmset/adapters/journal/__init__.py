"""What warmset keeps on disk: journal and demand (SQLite), saved state, the operator's orders.

All of it may be lost without harm to a model: what is wanted is decided afresh from what is seen.
Each name is imported when it is first used (PEP 562): who asks for a folder needs no SQLite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmset.adapters.journal.demand import (
        Demand,
        DemandStore,
        Departure,
        LoadSeen,
        ModelRow,
        UseRow,
        read_demand,
    )
    from warmset.adapters.journal.folder import host_key, make_folder, open_state, state_folder
    from warmset.adapters.journal.opening import open_file_for_reading, open_for_reading
    from warmset.adapters.journal.orders import Orders, OrdersFile
    from warmset.adapters.journal.rows import DecisionRow, EventRow, LoadRow
    from warmset.adapters.journal.store import Journal, Limits

_HOMES = {
    "DecisionRow": "rows",
    "Demand": "demand",
    "DemandStore": "demand",
    "Departure": "demand",
    "EventRow": "rows",
    "Journal": "store",
    "Limits": "store",
    "LoadRow": "rows",
    "LoadSeen": "demand",
    "ModelRow": "demand",
    "Orders": "orders",
    "OrdersFile": "orders",
    "UseRow": "demand",
    "host_key": "folder",
    "make_folder": "folder",
    "open_file_for_reading": "opening",
    "open_for_reading": "opening",
    "open_state": "folder",
    "read_demand": "demand",
    "state_folder": "folder",
}
__all__ = [
    "DecisionRow",
    "Demand",
    "DemandStore",
    "Departure",
    "EventRow",
    "Journal",
    "Limits",
    "LoadRow",
    "LoadSeen",
    "ModelRow",
    "Orders",
    "OrdersFile",
    "UseRow",
    "host_key",
    "make_folder",
    "open_file_for_reading",
    "open_for_reading",
    "open_state",
    "read_demand",
    "state_folder",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
