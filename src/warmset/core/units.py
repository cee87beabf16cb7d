"""Bytes, seconds, counts: the constants, and how people read them.

Inside the program bytes are `int` and seconds are `float`. Text for people always carries
the `i` (1 GiB = 1024 MiB): `ollama ps` prints decimal GB, `nvidia-smi` binary MiB, and
mixing them up costs 7 %.
"""

from __future__ import annotations

import math
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0


def format_bytes(count: int | None) -> str:
    """Returns `count` bytes as people read them: `19.4 GiB`, `352 MiB`, `unknown`."""
    if count is None:
        return "unknown"
    size = abs(count)
    if size >= GIB - MIB // 2:
        return f"{count / GIB:.1f} GiB"
    if size >= MIB - KIB // 2:
        return f"{count / MIB:.0f} MiB"
    if size >= KIB:
        return f"{count / KIB:.0f} KiB"
    return f"{count} B"


def format_count(number: int, noun: str) -> str:
    """Returns `1 model`, `2 models`: for nouns that take an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_seconds(seconds: float | None) -> str:
    """Returns a duration as people read it: `0.8 s`, `42 s`, `5m`, `1h30m`, `forever`."""
    if seconds is None:
        return "unknown"
    if math.isinf(seconds):
        return "forever" if seconds > 0 else "now"
    sign = "-" if seconds <= -0.05 else ""
    rest = abs(seconds)
    if rest < 9.95:
        return f"{sign}{rest:.1f} s"
    if rest < 119.5:
        return f"{sign}{rest:.0f} s"
    minutes = round(rest / MINUTE)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if n]
    return sign + "".join(parts[:2])
