"""The report of `add --dry-run` as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from warmset.cli.add_text import VERDICTS, happening_text
from warmset.cli.demand_text import KNOWN_FROM
from warmset.core.units import format_bytes

if TYPE_CHECKING:
    from warmset.shell.newcomer_report import GpuRoom, Loss, Report, Share

STYLE = """
:root { color-scheme: light dark; --line: #8886; --new: #d9822b; --old: #4a7fb5; --other: #888;
  --sure: #0003; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .2rem .8rem
  .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.bar { display: flex; height: 1.7rem; border: 1px solid var(--line); margin: .15rem 0 .5rem;
  overflow: hidden; } .bar span { box-sizing: border-box; overflow: hidden; white-space: nowrap;
  text-overflow: ellipsis; font-size: .75rem; line-height: 1.7rem; padding-left: .3rem;
  color: #fff; border-right: 1px solid #fff8; flex: none; }
.model { background: var(--old); } .new { background: var(--new); }
.foreign { background: var(--other); } .reserve { background: repeating-linear-gradient(45deg,
  #8884 0 6px, #8882 6px 12px); color: inherit !important; }
.free { color: inherit !important; } .verdict { font-size: 1.1rem; }
.key span { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 1rem; }
"""


def render_page(report: Report) -> str:
    """Returns the page. All bars have one scale: a byte is as wide on every GPU."""
    name = escape(report.entry.name)
    fit = report.outcome.fit
    scale = max((room.total_bytes for room in report.gpus), default=1) or 1
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>warmset: adding {name}</title><style>{STYLE}</style></head><body>",
        f"<h1>Adding {name}</h1>",
        f'<p class="verdict"><b>{VERDICTS[fit.verdict.value]}</b>: {escape(fit.reason)}</p>',
        _joins(report),
        _demand(report),
        "<h2>GPU memory without it and with it</h2>",
        (
            '<p class="key"><span class="model"></span>model, at most<span class="new"></span>new'
            '<span class="foreign"></span>other programs<span class="reserve"></span>held back</p>'
        ),
        "<p>It does not fit: the warm set stays as it is.</p>" if fit.conflict else "",
        *(_gpu(room, scale) for room in report.gpus),
        "" if report.gpus else "<p>No GPU: models lie in RAM.</p>",
        "<h2>Who is away while it is resident, and what that costs</h2>",
        _losses(report.losses),
        "<h2>The first hour, rehearsed on a copy of this host</h2>",
        _rows(("what happens",), [(happening_text(h),) for h in report.hour]),
        "<h2>Other ways to have it</h2>",
        _rows(
            ("if", "verdict", "needs at most", "warm set", "costs others"),
            [
                (
                    f"{a.kind} {a.value}",
                    VERDICTS[a.verdict],
                    format_bytes(a.need_bytes),
                    "joins" if a.joins else "stays out",
                    f"{sum(loss.seconds_per_day for loss in a.losses):.0f} s a day",
                )
                for a in report.alternatives
            ],
        ),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _joins(report: Report) -> str:
    does_join = report.outcome.joins
    words = "It joins" if does_join else "By its own priority it does not join"
    gone = ", ".join(escape(loss.name) for loss in report.losses)
    leaves = "would leave it" if does_join else "would be away if it were resident all the same"
    return f"<p>{words} the warm set{f'; {gone} {leaves}' if gone else ''}.</p>"


def _demand(report: Report) -> str:
    newcomer = report.candidate
    known_from = escape(KNOWN_FROM[newcomer.demand.basis])
    return (
        f"<p>{newcomer.demand.requests_per_day:.3g} requests a day ({known_from}): being resident "
        f"saves {newcomer.value:.0f} s of waiting a day.</p>"
    )


def _gpu(room: GpuRoom, scale: int) -> str:
    sure = room.sure_margin_bytes
    left = "unknown" if sure is None else format_bytes(sure) if sure >= 0 else "too little"
    title = f"{room.label} {room.name}, {format_bytes(room.total_bytes)}; left at least: {left}"
    return (
        f"<h3>{escape(title)}</h3>"
        f"<div>without it</div>{_bar(room, room.before, scale)}"
        f"<div>with it</div>{_bar(room, room.after, scale)}"
    )


def _bar(room: GpuRoom, shares: Sequence[Share], scale: int) -> str:
    usable = room.usable_bytes or 0
    taken = sum(share.upper_bytes for share in shares)
    reserve = max(0, room.total_bytes - room.foreign_bytes - usable)
    pieces = [
        *(("new" if share.is_new else "model", share.name, share.upper_bytes) for share in shares),
        ("free", "free", max(0, usable - taken)),
        ("reserve", "held back", reserve),
        ("foreign", "other programs", room.foreign_bytes),
    ]
    inner = "".join(
        f'<span class="{kind}" style="width:{100 * size / room.total_bytes:.3f}%" '
        f'title="{escape(name)} {format_bytes(size)}">{escape(name)} {format_bytes(size)}</span>'
        for kind, name, size in pieces
        if size > 0
    )
    return f'<div class="bar" style="width:{100 * room.total_bytes / scale:.3f}%">{inner}</div>'


def _losses(losses: Sequence[Loss]) -> str:
    return _rows(
        ("model", "reloads a day", "known from", "seconds each", "seconds a day"),
        [
            (
                loss.name,
                f"{loss.reloads_per_day:g}",
                KNOWN_FROM[loss.demand.basis],
                f"{loss.load_seconds:.1f}",
                f"{loss.seconds_per_day:.0f}",
            )
            for loss in losses
        ],
    )


def _rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
