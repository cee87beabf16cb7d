"""Instants as Ollama writes them: RFC 3339, up to 9 fraction digits, any offset, year 2318.

Source: ollama-behaviour 2.5 and transcripts 04, 10, 29 (`2319-03-04T01:28:02.194300945Z`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from warmset.core.model import FOREVER
from warmset.core.units import DAY, HOUR, MINUTE

FOREVER_AFTER_SECONDS: Final = 100 * 365.25 * DAY
"""An expiry further away than this is Ollama's "infinite", which is 292 years."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - both ends of the subtraction are naive UTC
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,18})?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse_expiry(text: str, now: float) -> float | None:
    """Returns an expiry as Unix seconds, `FOREVER` if more than 100 years after `now`.

    Go's zero time (year 1) and anything else before 1970 means that no timer was ever set: `None`.

    Raises:
        ValueError: if the text is not an RFC 3339 instant.
    """
    seconds = parse_instant(text)
    if seconds < 0:
        return None
    return FOREVER if seconds - now > FOREVER_AFTER_SECONDS else seconds


def parse_instant(text: str) -> float:
    """Returns an RFC 3339 instant as Unix seconds (UTC).

    Raises:
        ValueError: if the text is not one.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 instant")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, _, sign, offset_hours, offset_minutes = match.groups()[6:]
    whole = (datetime(year, month, day, hour, minute, second) - _EPOCH).total_seconds()  # noqa: DTZ001
    offset = 0.0
    if sign:
        offset = int(offset_hours) * HOUR + int(offset_minutes) * MINUTE
    return whole + float(fraction or 0) - (-offset if sign == "-" else offset)
