"""The runs of a benchmark as bars: how long each part of a median request takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from warmset.cli.render import printable

if TYPE_CHECKING:
    from warmset.shell.bench.measure import Measured

ROW = 26
LEFT = 260
WIDTH = 860
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #222 }
  .load { fill: #b35c00 } .rest { fill: #2f6fab }
  .range { stroke: #222; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .load { fill: #f0a04b } .rest { fill: #7db4e6 } .range { stroke: #ddd }
  }"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One phase of one model. Units: seconds; medians, `least` and `most` of the total."""

    label: str
    load: float
    total: float
    least: float
    most: float


def bars_of(measured: Measured) -> tuple[Bar, ...]:
    """Returns the bars of one model, cold first.

    On a server that runs faster than the clock its own load time may exceed what was waited; then
    the whole bar is load.
    """
    from warmset.shell.bench.spread import Spread

    bars = []
    for phase, runs in (("cold", measured.cold), ("warm", measured.warm)):
        total = Spread.of([run.total_seconds for run in runs])
        load = Spread.of([run.load_seconds or 0.0 for run in runs])
        assert total is not None
        assert load is not None
        bars.append(
            Bar(
                label=f"{printable(measured.name)} {phase}",
                load=min(load.median, total.median),
                total=total.median,
                least=total.least,
                most=total.most,
            )
        )
    return tuple(bars)


def draw(results: Sequence[Measured]) -> str:
    """Returns an SVG picture, readable on light and dark ground and to screen readers."""
    bars = [bar for measured in results for bar in bars_of(measured)]
    longest = max(bar.most for bar in bars)
    scale = (WIDTH - LEFT - 90) / longest if longest else 1.0
    height = ROW * len(bars) + 40
    told = "; ".join(f"{bar.label} {bar.total:.2f} seconds" for bar in bars)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-labelledby="title told">'
        ),
        '<title id="title">Cold against warm requests</title>',
        f'<desc id="told">{escape(told)}</desc>',
        f"<style>{STYLE}</style>",
    ]
    for number, bar in enumerate(bars):
        parts += _draw_bar(bar, number * ROW + 6, scale)
    legend = "orange: load; blue: from the load to the end; line: least to most"
    parts.append(f'<text x="{LEFT}" y="{height - 10}">{legend}</text></svg>\n')
    return "\n".join(parts)


def _draw_bar(bar: Bar, top: int, scale: float) -> list[str]:
    load, total = bar.load * scale, bar.total * scale
    middle = top + 9
    return [
        f'<text x="{LEFT - 10}" y="{top + 14}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect class="load" x="{LEFT}" y="{top}" width="{load:.1f}" height="18"/>',
        (
            f'<rect class="rest" x="{LEFT + load:.1f}" y="{top}" width="{max(total - load, 1):.1f}"'
            ' height="18"/>'
        ),
        (
            f'<line class="range" x1="{LEFT + bar.least * scale:.1f}" y1="{middle}"'
            f' x2="{LEFT + bar.most * scale:.1f}" y2="{middle}"/>'
        ),
        f'<text x="{LEFT + bar.most * scale + 8:.1f}" y="{top + 14}">{bar.total:.2f} s</text>',
    ]
