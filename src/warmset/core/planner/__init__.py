"""What fits together: the warm set, verdicts, dry runs, and the exact packing beneath them."""

from warmset.core.planner.admission import Denied, try_load
from warmset.core.planner.build import build_candidate, build_candidates
from warmset.core.planner.candidates import Candidate, Need, Spread
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.host_room import build_host
from warmset.core.planner.packing import Packing, pack
from warmset.core.planner.planning import plan
from warmset.core.planner.restore import Restore
from warmset.core.planner.result import (
    Action,
    ActionKind,
    Conflict,
    LeftOut,
    Member,
    Plan,
    Verdict,
)
from warmset.core.planner.verdict import DryRun, Fit, dry_run, fit

__all__ = [
    "Action",
    "ActionKind",
    "Candidate",
    "Conflict",
    "Denied",
    "DryRun",
    "Fit",
    "GpuCapacity",
    "HostCapacity",
    "LeftOut",
    "Member",
    "Need",
    "Packing",
    "Plan",
    "Restore",
    "Spread",
    "Verdict",
    "build_candidate",
    "build_candidates",
    "build_host",
    "dry_run",
    "fit",
    "pack",
    "plan",
    "try_load",
]
