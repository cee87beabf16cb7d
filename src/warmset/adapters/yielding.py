"""What asks for the GPU by merely being there: listed programs, and a machine on battery."""

from __future__ import annotations

from collections.abc import Sequence

import psutil


def find_program(names: Sequence[str]) -> str | None:
    """Returns the first of these programs that runs on this machine, `None` if none does.

    Args:
        names: as the process table shows them, in any case, `.exe` left out.
    """
    wanted = {_bare(name): name for name in names}
    for process in psutil.process_iter(["name"]):
        found = wanted.get(_bare(process.info["name"] or ""))
        if found is not None:
            return found
    return None


def is_on_battery() -> bool:
    """Returns whether the machine runs on its battery; false where that cannot be told."""
    battery = psutil.sensors_battery()
    return battery is not None and battery.power_plugged is False


def _bare(name: str) -> str:
    return name.strip().lower().removesuffix(".exe")
