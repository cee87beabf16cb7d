"""Durations and moments on the command line."""

from __future__ import annotations

import time

from warmset.errors import ConfigError


def parse_seconds(text: str, option: str) -> float:
    """Returns the seconds that `2h`, `90m`, `1h30m`, `2d` or `45s` mean.

    Raises:
        ConfigError: it is no such duration, or not positive.
    """
    from warmset.core.ollama.keepalive import DurationError, parse_go_duration

    days, is_days, rest = text.strip().partition("d")
    try:
        if is_days:
            seconds = int(days) * 86400.0 + (parse_go_duration(rest) if rest else 0.0)
        else:
            seconds = parse_go_duration(text.strip())
    except (DurationError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ConfigError(
            f"{option} {text!r}: should be a duration of at most a year, such as 90s, 2h or 3d",
            hint=f"{option} 2h",
        )
    return seconds


def parse_moment(text: str, option: str, now: float) -> float:
    """Returns the Unix seconds that `2h` (ago) or `2026-11-28T14:30` (here) mean.

    Raises:
        ConfigError: it is neither.
    """
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return now - parse_seconds(text, option)
    except ConfigError as error:
        raise ConfigError(
            f"{option} {text!r}: should be a duration such as 2h, or a moment such as "
            "2026-11-28T14:30",
            hint=f"{option} 2h",
        ) from error


def clock_text(at: float, now: float | None = None) -> str:
    """Returns a moment as people read it here: the time of day, with the date if not today."""
    local = time.localtime(at)
    today = time.localtime(time.time() if now is None else now)
    is_today = local[:3] == today[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", local)
