"""Loads and evictions drawn over time: a lane for each model, a bar for each time it was resident.

The list below the drawing has the same in words, so the drawing is one picture with one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from warmset.core.units import format_seconds
from warmset.shell.board.values import Board, Moment
from warmset.shell.board.words import clock_text
from warmset.shell.page.drawings import colour_of, text

MOST_LANES: Final = 8
"""The models that something happened to last; the list has all. Our choice."""

GRAIN_SECONDS: Final = 15
"""The right end moves so often: a picture that changes each second would be sent each second."""

LANE, BAR, AXIS = 34, 10, 22
"""Heights in pixels: a lane with its name, the bar in it, the line of times below."""


@dataclass(slots=True)
class Lane:
    """When one model was resident: (from, to) in Unix seconds, and when something failed."""

    name: str
    stays: list[tuple[float, float]] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)


def lanes_of(moments: Sequence[Moment], begin: float, end: float) -> list[Lane]:
    """Returns a lane for each model that something happened to, the latest first.

    Args:
        moments: newest first.
        begin: what was evicted without a load having been seen was resident from here on.
        end: what was not evicted is resident until here.
    """
    lanes = {moment.name: Lane(moment.name) for moment in moments if moment.name}
    since: dict[str, float] = {}
    for moment in reversed(moments):
        if moment.kind == "failure" and moment.name:
            lanes[moment.name].failures.append(moment.at)
        elif moment.kind == "eviction":
            lane = lanes[moment.name]
            known = since.pop(moment.name, None if lane.stays else begin)
            if known is not None:
                lane.stays.append((known, moment.at))
        elif moment.kind == "load":
            since.setdefault(moment.name, moment.at)
    for name, at in since.items():
        lanes[name].stays.append((at, end))
    return list(lanes.values())


def draw_past(board: Board) -> str:
    """Returns the drawing of what the board remembers; empty where that is nothing of a model."""
    end = ceil(board.at / GRAIN_SECONDS) * GRAIN_SECONDS
    begin = min((moment.at for moment in board.moments), default=end)
    lanes = lanes_of(board.moments, begin, end)[:MOST_LANES]
    if not lanes or end <= begin:
        return ""
    marks = {model.name: model.mark for model in board.models}
    high = LANE * len(lanes) + AXIS
    inner = "".join(_lane(lane, row, marks, begin, end) for row, lane in enumerate(lanes))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = clock_text(begin + share * (end - begin))
        inner += f'<text x="{share:.0%}" y="{high - 4}" text-anchor="{anchor}">{at}</text>'
    label = (
        f"{len(lanes)} models from {clock_text(begin)} to {clock_text(end)} UTC, "
        f"{format_seconds(end - begin)}: when each was resident. The list tells each change."
    )
    return (
        f'<svg class="past" role="img" width="100%" height="{high}" aria-label="{text(label)}">'
        f"{inner}</svg>"
    )


def _lane(lane: Lane, row: int, marks: Mapping[str, str], begin: float, end: float) -> str:
    top = LANE * row
    mark = marks.get(lane.name, "")
    words = f"{mark} {lane.name}".strip()
    drawn = f'<text x="0" y="{top + 14}">{text(words)}</text>'
    for since, until in lane.stays:
        x = 100 * (since - begin) / (end - begin)
        wide = max(0.3, 100 * (until - since) / (end - begin))
        told = f"{lane.name} from {clock_text(since)} for {format_seconds(until - since)}"
        drawn += (
            f'<rect class="{colour_of(mark)}" x="{x:.2f}%" y="{top + 19}" width="{wide:.2f}%" '
            f'height="{BAR}"><title>{text(told)}</title></rect>'
        )
    for at in lane.failures:
        x = 100 * (at - begin) / (end - begin)
        drawn += (
            f'<text class="bad" x="{x:.2f}%" y="{top + 29}" text-anchor="middle">'
            f"✕<title>failed {clock_text(at)}</title></text>"
        )
    line = f'y1="{top + 19 + BAR}" y2="{top + 19 + BAR}"'
    return f'<line class="axis" x1="0" x2="100%" {line}/>{drawn}'
