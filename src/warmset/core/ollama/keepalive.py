"""Keep-alive: what a value means, and when a runner's timer runs.

Rules (Ollama v0.33 `api/types.go: Duration.UnmarshalJSON`, `envconfig/config.go: KeepAlive`,
`server/sched.go: useLoadedRunner, processCompleted`):

- JSON numbers are seconds, strings are Go durations; negative means for ever; 0 means unload.
- The value of a request replaces the runner's duration at the request's *start*; without a
  value the duration stays. A load without a value takes the server's default.
- The timer starts afresh with the full duration when the last request ends.

Durations are seconds as `float`; `FOREVER` stands for Go's largest duration (about 292 years).
"""

from __future__ import annotations

import math
import re
from typing import Final

from warmset.core.model import FOREVER
from warmset.core.ollama.generation import NEWEST, Generation

DEFAULT_KEEP_ALIVE: Final = 300.0
"""Source: `envconfig.KeepAlive`, 5 minutes."""

SAFE_MAX_SECONDS: Final = 9_000_000_000.0
"""Larger numbers overflow Go's 64-bit nanoseconds. Source: ollama-behaviour 2.1."""

OVERFLOWED: Final = -(2.0**63) / 1e9
"""What a number above 9223372036 s becomes on x86-64: expired at once when idle, yet sorted
last as a victim, since the order compares unsigned. Source: transcript 05."""

_MAX_NS: Final = (1 << 63) - 1
_UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_SEGMENT: Final = re.compile(r"([0-9]*)(\.?)([0-9]*)([^0-9.]*)")
_MOST_DIGITS: Final = 19
"""Of a 64-bit count. Go refuses longer whole parts and ignores further digits of a fraction."""


class DurationError(ValueError):
    """A duration text that Go refuses; the message is Go's."""


def parse_go_duration(text: str) -> float:
    """Returns the seconds of a Go duration such as `1h30m`, `-1.5h`, `300ms` or `0`.

    Raises:
        DurationError: with the wording of Go's `time.ParseDuration`.

    Source:
        Go's `time.ParseDuration`: optional sign, then number and unit, repeated.
    """
    rest = text
    negative = rest[:1] == "-"
    if rest[:1] in ("-", "+"):
        rest = rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise DurationError(f'time: invalid duration "{text}"')
    total_ns = 0
    while rest:
        match = _SEGMENT.match(rest)
        assert match is not None
        total_ns += _segment_ns(match, text)
        if total_ns > _MAX_NS + (1 if negative else 0):
            raise DurationError(f'time: invalid duration "{text}"')
        rest = rest[match.end() :]
    return -total_ns / 1e9 if negative else total_ns / 1e9


def _segment_ns(match: re.Match[str], text: str) -> int:
    """Returns the nanoseconds of one number with its unit; `text` is for the error."""
    whole, _, fraction, unit = match.groups()
    if not whole and not fraction:
        raise DurationError(f'time: invalid duration "{text}"')
    if not unit:
        raise DurationError(f'time: missing unit in duration "{text}"')
    if unit not in _UNITS_NS:
        raise DurationError(f'time: unknown unit "{unit}" in duration "{text}"')
    whole, fraction = whole.lstrip("0"), fraction[:_MOST_DIGITS]
    if len(whole) > _MOST_DIGITS:
        raise DurationError(f'time: invalid duration "{text}"')
    scale = _UNITS_NS[unit]
    parts: int = 10 ** len(fraction)
    return int(whole or "0") * scale + int(fraction or "0") * scale // parts


def parse_keep_alive(value: object) -> float | None:
    """Returns the seconds that a `keep_alive` of a request means; `None`: not given.

    Args:
        value: the decoded JSON value.

    Raises:
        DurationError: for what Ollama answers with 400.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        raise DurationError("Unsupported type: 'bool'")
    if isinstance(value, int | float):
        return _number_of_seconds(value)
    if isinstance(value, str):
        seconds = parse_go_duration(value)
        return FOREVER if seconds < 0 else seconds
    go_type = "[]interface {}" if isinstance(value, list | tuple) else "map[string]interface {}"
    raise DurationError(f"Unsupported type: '{go_type}'")


def _number_of_seconds(value: float) -> float:
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise DurationError("json: cannot unmarshal number into Go value of type float64")
    if seconds < 0:
        return FOREVER
    nanoseconds = seconds * 1e9
    return OVERFLOWED if nanoseconds >= 2.0**63 else math.floor(nanoseconds) / 1e9


def parse_env_duration(text: str, default: float) -> float:
    """Returns the seconds of a variable that holds a Go duration, else whole seconds.

    Anything else means `default`. Whole seconds beyond 64-bit nanoseconds wrap around, as in Go.
    """
    if not text:
        return default
    try:
        return parse_go_duration(text)
    except DurationError:
        if re.fullmatch(r"[+-]?[0-9]{1,64}", text) is None:
            return default
    seconds = int(text)
    if not -_MAX_NS - 1 <= seconds <= _MAX_NS:
        return default
    wrapped_ns = (seconds * 10**9 + _MAX_NS + 1) % (1 << 64) - _MAX_NS - 1
    return wrapped_ns / 1e9


def parse_env_keep_alive(text: str) -> float:
    """Returns what `OLLAMA_KEEP_ALIVE` means; negative is for ever, unreadable 5 minutes."""
    seconds = parse_env_duration(text, DEFAULT_KEEP_ALIVE)
    return FOREVER if seconds < 0 else seconds


def duration_on_load(requested: float | None, default: float) -> float:
    """Returns the duration of a runner that is loaded by this request."""
    return default if requested is None else requested


def duration_on_reuse(
    requested: float | None,
    current: float,
    default: float = DEFAULT_KEEP_ALIVE,
    generation: Generation = NEWEST,
) -> float:
    """Returns the duration of a resident runner once this request has reached it.

    `default` is the server's: before 0.2.0 every request without a value reset to it.
    """
    if requested is not None:
        return requested
    return current if generation.keeps_duration_on_reuse else default


def eviction_rank(duration: float) -> tuple[bool, float]:
    """Returns the duration as the victim order compares it: unsigned, so negatives come last.

    Even after `FOREVER`, which is the largest positive one.
    """
    return duration < 0, duration


def to_wire(seconds: float) -> int | float:
    """Returns the JSON number to send for a duration: -1 for ever, whole seconds as `int`.

    Durations above the safe range are sent as for ever, never overflowed.
    """
    if seconds < 0 or seconds > SAFE_MAX_SECONDS:
        return -1
    return int(seconds) if seconds == int(seconds) else seconds
