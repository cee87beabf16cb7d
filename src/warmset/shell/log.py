"""The log of the loop: one line of JSON per event, on stderr.

`event` is a constant snake_case name, the facts stand beside it. A reader that goes away does not
end the loop.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TextIO

from warmset.core.control.plain import to_plain

LEVELS: Final = {"debug": 0, "note": 1, "warning": 2, "error": 3}


class EventLog:
    """Writes events.

    Args:
        now: wall clock, Unix seconds.
        stream: where to; stderr if nothing is said.
        least: the quietest level that is still written.
    """

    def __init__(
        self, now: Callable[[], float], *, stream: TextIO | None = None, least: str = "note"
    ) -> None:
        self._now = now
        self._stream = stream
        self._least = LEVELS[least]
        self._lock = threading.Lock()

    def write(self, event: str, level: str = "note", **fields: object) -> None:
        """Writes one event."""
        if LEVELS[level] < self._least:
            return
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        known = {name: to_plain(value) for name, value in fields.items() if value is not None}
        line = json.dumps({"at": at, "level": level, "event": event, **known}, ensure_ascii=True)
        with self._lock:
            try:
                stream = self._stream or sys.stderr
                stream.write(line + "\n")
                stream.flush()
            except (OSError, ValueError):
                return  # nobody reads any more
