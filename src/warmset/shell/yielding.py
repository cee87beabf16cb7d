"""Whether warmset shall give its GPUs to others now, as `[yield]` says."""

from __future__ import annotations

from warmset.core.settings import Settings


def why_yield(settings: Settings, *, is_local: bool) -> str:
    """Returns for whom or what to yield; empty: for nobody.

    Args:
        settings: lists the programs.
        is_local: whether the server is on this machine, whose programs can be seen.
    """
    said = settings.yields
    if not is_local or not (said.programs or said.on_battery):
        return ""
    from warmset.adapters.yielding import find_program, is_on_battery

    if said.on_battery and is_on_battery():
        return "the battery"
    return (find_program(said.programs) or "") if said.programs else ""
