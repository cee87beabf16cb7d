"""Curves in a terminal and as SVG: plain text, no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 60
HEIGHT: Final = 12
MARKS: Final = "oxv*+#@%&$"
COLOURS: Final = ("#888888", "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")

Curves = Mapping[str, Sequence[tuple[float, float]]]


def draw(curves: Curves, *, x_title: str, y_title: str) -> str:
    """Returns the curves as lines of text, one mark for each; later ones lie above.

    Args:
        curves: name -> points (x, y), none negative.
        x_title, y_title: what the axes count, with unit.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    right = max(x for x, _ in points) or 1.0
    top = max(y for _, y in points) or 1.0
    grid = [[" "] * (WIDTH + 1) for _ in range(HEIGHT + 1)]
    for mark, curve in zip(_marks(len(curves)), curves.values(), strict=True):
        for x, y in curve:
            grid[HEIGHT - round(y / top * HEIGHT)][round(x / right * WIDTH)] = mark
    labels = {0: f"{top:,.0f}", HEIGHT: "0"}
    margin = max(len(text) for text in labels.values())
    lines = [y_title]
    for number, row in enumerate(grid):
        lines.append(f"{labels.get(number, ''):>{margin}} |{''.join(row)}".rstrip())
    lines.append(f"{'':>{margin}} +{'-' * (WIDTH + 1)}")
    end = f"{right:,.0f} {x_title}"
    lines.append(f"{'':>{margin}}  0{end:>{WIDTH}}")
    legend = "   ".join(f"{m} {name}" for m, name in zip(_marks(len(curves)), curves, strict=True))
    return "\n".join([*lines, f"{'':>{margin}}  {legend}"])


def _marks(count: int) -> str:
    return (MARKS * (count // len(MARKS) + 1))[:count]


def svg(curves: Curves, *, title: str, x_title: str, y_title: str) -> str:
    """Returns the curves as an SVG document of 640 by 400."""
    points = [point for curve in curves.values() for point in curve]
    right = max((x for x, _ in points), default=1.0) or 1.0
    top = max((y for _, y in points), default=1.0) or 1.0
    left, bottom, wide, high = 70, 340, 540, 290
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400">',
        "<style>text{font:12px sans-serif}</style>",
        '<rect width="640" height="400" fill="white"/>',
        f'<text x="{left}" y="24" font-weight="bold">{escape(title)}</text>',
        f'<text x="{left}" y="44">{escape(y_title)}</text>',
        f'<text x="{left + wide}" y="{bottom + 34}" text-anchor="end">{escape(x_title)}</text>',
        f'<path d="M{left} {bottom - high}V{bottom}H{left + wide}" fill="none" stroke="black"/>',
    ]
    for step in range(5):
        x, y = left + wide * step / 4, bottom - high * step / 4
        out.append(
            f'<text x="{x:.0f}" y="{bottom + 17}" text-anchor="middle">{right * step / 4:,.0f}'
            f'</text><text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{top * step / 4:,.0f}'
            "</text>"
        )
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(
            f"{left + wide * x / right:.1f},{bottom - high * y / top:.1f}" for x, y in curve
        )
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(
            f'<text x="{left + wide - 4}" y="{bottom - high + 16 * number}" text-anchor="end" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*out, "</svg>", ""])
