"""What the doctor says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"  # cannot be told from here; not a fault by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One thing that was looked at, and what to do about it."""

    area: str  # server, gpu, processes, memory, settings, files, software
    name: str
    health: Health
    detail: str
    hint: str = ""
