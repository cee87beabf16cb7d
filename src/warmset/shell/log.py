"""The log of the loop, on stderr: one line of JSON per event, or one for people on a terminal.

`event` is a constant snake_case name, the facts stand beside it. A reader that goes away does not
end the loop.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

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
        import structlog

        stream = stream or sys.stderr
        is_for_people = getattr(stream, "isatty", bool)()
        self._now = now
        self._least = LEVELS[least]
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[
                self._stamp,
                _spell_out,
                _for_people() if is_for_people else structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def write(self, event: str, level: str = "note", **fields: object) -> None:
        """Writes one event."""
        if LEVELS[level] < self._least:
            return
        known = {name: to_plain(value) for name, value in fields.items() if value is not None}
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            self._log.msg(event, level=level, **known)

    def _stamp(
        self, _logger: object, _method: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        level, event = fields.pop("level"), fields.pop("event")
        return {"at": at, "level": level, "event": event, **fields}


def _spell_out(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Spells out control characters: no name from elsewhere steers a terminal that shows a log."""
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: object) -> object:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in value)


def _for_people() -> Any:  # noqa: ANN401 - a processor of structlog
    """Returns what writes events for a terminal; without colour where that is not wanted."""
    import structlog

    colors = not os.environ.get("NO_COLOR")
    styles = structlog.dev.ConsoleRenderer.get_default_level_styles(colors=colors)
    styles["note"] = styles["info"]
    return structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="at", level_styles=styles, sort_keys=False
    )
