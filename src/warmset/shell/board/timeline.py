"""Loads and evictions with their reasons, from what the loop finds and the journal keeps."""

from __future__ import annotations

from collections import deque
from typing import Final

from warmset.shell.board.values import Moment

MOST: Final = 60
"""Moments that are kept: a day of a calm host. Our choice."""

FAILURES: Final = frozenset(
    (
        "preload_failed",
        "load_aborted",
        "preload_without_effect",
        "preload_spilled",
        "unload_failed",
        "unload_without_effect",
    )
)
SERVER: Final = frozenset(("server_restarted", "server_changed", "look_gap"))


class Timeline:
    """Hears of events, oldest first, and keeps those that a person wants to see."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=MOST)
        self._reasons: dict[tuple[str, str], str] = {}

    @property
    def moments(self) -> tuple[Moment, ...]:
        """What happened, newest first."""
        return tuple(reversed(self._moments))

    def hear(self, at: float, kind: str, name: str, text: str) -> None:
        """Takes in one event of the journal, or one order or finding of the loop.

        Args:
            at: Unix seconds.
            kind: the journal's word.
            name: the model; empty: none.
            text: what the journal says of it.
        """
        if kind in ("preload_ordered", "unload_ordered"):
            self._reasons[kind, name] = text
        elif kind == "preloaded":
            why = self._reasons.pop(("preload_ordered", name), "")
            self._add(at, "load", name, f"{text} by warmset" + (f": {why}" if why else ""))
        elif kind == "model_came":
            self._add(at, "load", name, text)
        elif kind == "unloaded":
            why = self._reasons.pop(("unload_ordered", name), "")
            self._add(at, "eviction", name, "by warmset" + (f": {why}" if why else ""))
        elif kind == "model_left":
            self._add(at, "eviction", name, text)
        elif kind == "pushed_out":
            self._explain(name, text)
        elif kind in FAILURES:
            self._add(at, "failure", name, text)
        elif kind in SERVER:
            self._add(at, "server", name, text)

    def _add(self, at: float, kind: str, name: str, text: str) -> None:
        self._moments.append(Moment(at=at, kind=kind, name=name, text=text))

    def _explain(self, name: str, text: str) -> None:
        """Says of an eviction what was found out a little later."""
        for number in range(len(self._moments) - 1, -1, -1):
            moment = self._moments[number]
            if (moment.kind, moment.name) == ("eviction", name):
                self._moments[number] = Moment(at=moment.at, kind=moment.kind, name=name, text=text)
                return
