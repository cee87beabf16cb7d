"""What warmset keeps on disk: journal and demand (SQLite), saved state, the operator's orders.

All of it may be lost without harm to a model: what is wanted is decided afresh from what is seen.
"""

from warmset.adapters.journal.demand import (
    Demand,
    DemandStore,
    Departure,
    LoadSeen,
    ModelRow,
    UseRow,
    read_demand,
)
from warmset.adapters.journal.folder import host_key, make_folder, state_folder
from warmset.adapters.journal.opening import open_for_reading
from warmset.adapters.journal.orders import Orders, OrdersFile
from warmset.adapters.journal.rows import DecisionRow, EventRow, LoadRow
from warmset.adapters.journal.store import Journal, Limits

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
    "open_for_reading",
    "read_demand",
    "state_folder",
]
