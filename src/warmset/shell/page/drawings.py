"""GPUs as bars and idle gaps as curves, in SVG without inline styles: the page forbids them."""

from __future__ import annotations

from html import escape
from math import log
from typing import Final

from warmset.core.units import DAY, HOUR, MINUTE, format_bytes
from warmset.shell.board.models import LETTERS
from warmset.shell.board.values import Gpu, Model, Part
from warmset.shell.board.words import gaps_text, part_text, printable

COLOURS: Final = 8
"""Classes m0 to m7 of the style sheet; the letters tell more models apart than that."""

LETTER_FROM_PERCENT: Final = 2.5
"""A narrower part has no room for its letter; the list below the bar has it. Our choice."""

FILLS: Final = {
    "other-runner": "url(#runner)",
    "foreign": "url(#foreign)",
    "reserved": "url(#reserved)",
    "unattributed": "url(#unattributed)",
    "draining": "url(#draining)",
}

PATTERNS: Final = """\
<svg class="patterns" aria-hidden="true" focusable="false"><defs>
<pattern id="foreign" width="8" height="8" patternUnits="userSpaceOnUse">\
<rect class="grey" width="8" height="8"/><path class="hatch" d="M0 8 8 0"/></pattern>
<pattern id="runner" width="8" height="8" patternUnits="userSpaceOnUse">\
<rect class="grey" width="8" height="8"/><path class="hatch" d="M0 0 8 8"/></pattern>
<pattern id="reserved" width="8" height="8" patternUnits="userSpaceOnUse">\
<rect class="grey" width="8" height="8"/><path class="hatch" d="M0 8 8 0M0 0 8 8"/></pattern>
<pattern id="unattributed" width="8" height="8" patternUnits="userSpaceOnUse">\
<rect class="pale" width="8" height="8"/><path class="hatch" d="M0 4H8"/></pattern>
<pattern id="draining" width="8" height="8" patternUnits="userSpaceOnUse">\
<rect class="pale" width="8" height="8"/><circle class="dot" cx="4" cy="4" r="1.6"/></pattern>
</defs></svg>"""

LEFT, TOP, WIDE, HIGH = 34, 8, 250, 86
FIRST_SECONDS, LAST_SECONDS = 10.0, 7 * DAY
TICKS: Final = ((MINUTE, "1m"), (10 * MINUTE, "10m"), (HOUR, "1h"), (8 * HOUR, "8h"), (DAY, "1d"))


def colour_of(mark: str) -> str:
    """Returns the style class of a model's letter."""
    return f"m{LETTERS.index(mark) % COLOURS}" if mark else "grey"


def draw_gpu(gpu: Gpu, scale_bytes: int) -> str:
    """Returns a GPU's bar with its list; `scale_bytes` are as wide as the page."""
    told = [text(part_text(part)) for part in gpu.parts]
    listing = "".join(
        f"<li>{_swatch(part)}{words}</li>" for part, words in zip(gpu.parts, told, strict=True)
    )
    if not gpu.total_bytes:
        return f'<ul class="legend">{listing}<li>size not known</li></ul>'
    inner, begin = [], 0.0
    for part in gpu.parts:
        wide = 100 * (part.bytes or 0) / gpu.total_bytes
        if wide > 0:
            inner.append(_piece(part, begin, wide))
        begin += wide
    if gpu.budget_bytes is not None:
        at = f"{100 * gpu.budget_bytes / gpu.total_bytes:.2f}%"
        inner.append(f'<line class="budget" x1="{at}" x2="{at}" y1="0" y2="100%"/>')
        listing += f"<li>┆ models may fill {format_bytes(gpu.budget_bytes)}</li>"
    share = f"{100 * gpu.total_bytes / scale_bytes:.2f}%"
    label = text(f"{gpu.label}, {format_bytes(gpu.total_bytes)}: ") + ", ".join(told)
    return (
        f'<svg class="bar" role="img" width="{share}" height="32" aria-label="{label}">'
        f'{"".join(inner)}</svg><ul class="legend">{listing}</ul>'
    )


def _piece(part: Part, begin: float, wide: float) -> str:
    drawn = (
        f'<rect {_fill(part)} x="{begin:.2f}%" y="0" width="{wide:.2f}%" height="100%">'
        f"<title>{text(part_text(part))}</title></rect>"
    )
    if part.mark and wide >= LETTER_FROM_PERCENT:
        drawn += f'<text x="{begin + wide / 2:.2f}%" y="65%">{part.mark}</text>'
    return drawn


def _fill(part: Part) -> str:
    if part.owner in FILLS:
        return f'fill="{FILLS[part.owner]}"'
    return f'class="{"free" if part.owner == "free" else colour_of(part.mark)}"'


def _swatch(part: Part) -> str:
    return f'<svg aria-hidden="true"><rect {_fill(part)} width="100%" height="100%"/></svg>'


def draw_gaps(model: Model) -> str:
    """Returns the curve of a model's idle gaps over a logarithmic scale, with its sentence."""
    caption = f"<figcaption>{text(gaps_text(model))}</figcaption>"
    points = [
        f"{_x(point.seconds):.1f} {TOP + HIGH * (1 - point.chance):.1f}" for point in model.gaps
    ]
    ticks = "".join(
        f'<text x="{_x(seconds):.0f}" y="{TOP + HIGH + 15}" text-anchor="middle">{word}</text>'
        for seconds, word in TICKS
    )
    levels = "".join(
        f'<text x="{LEFT - 4}" y="{TOP + HIGH * (1 - share) + 4:.0f}" text-anchor="end">'
        f"{share:.0%}</text>"
        for share in (0.0, 0.5, 1.0)
    )
    keep = ""
    if model.keep_alive_seconds is not None:
        x = f"{_x(model.keep_alive_seconds):.1f}"
        keep = (
            f'<line class="keep" x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + HIGH}"/>'
            f'<text x="{x}" y="{TOP + HIGH - 4}" text-anchor="end">keep-alive </text>'
        )
    return (
        f'<figure><svg class="curve" role="img" viewBox="0 0 {LEFT + WIDE + 6} {TOP + HIGH + 20}"'
        f' aria-label="{text(gaps_text(model))}">'
        f'<line class="axis" x1="{LEFT}" x2="{LEFT + WIDE}" y1="{TOP + HIGH}" y2="{TOP + HIGH}"/>'
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{TOP + HIGH}"/>'
        f'{ticks}{levels}{keep}<path d="M{" L".join(points)}"/></svg>{caption}</figure>'
    )


def _x(seconds: float) -> float:
    share = log(max(seconds, FIRST_SECONDS) / FIRST_SECONDS) / log(LAST_SECONDS / FIRST_SECONDS)
    return LEFT + WIDE * min(1.0, share)


def text(words: str) -> str:
    """Returns words that may come from a server as they can stand in HTML."""
    return escape(printable(words))
