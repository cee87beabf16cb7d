"""What warmset keeps on disk: its journal (SQLite), its saved state and the operator's orders.

All of it may be lost without harm to a model: what is wanted is decided afresh from what is seen.
"""

from warmset.adapters.journal.folder import host_key, make_folder, state_folder
from warmset.adapters.journal.opening import open_for_reading
from warmset.adapters.journal.orders import Orders, OrdersFile
from warmset.adapters.journal.rows import DecisionRow, EventRow, LoadRow
from warmset.adapters.journal.store import Journal, Limits

__all__ = [
    "DecisionRow",
    "EventRow",
    "Journal",
    "Limits",
    "LoadRow",
    "Orders",
    "OrdersFile",
    "host_key",
    "make_folder",
    "open_for_reading",
    "state_folder",
]
