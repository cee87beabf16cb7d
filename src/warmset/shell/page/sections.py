"""The parts of the page, each rendered on its own: a change of one replaces that one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from warmset.core.units import format_bytes, format_seconds
from warmset.shell.board.values import Board, Model, Moment
from warmset.shell.board.words import (
    KINDS,
    clock_text,
    gpu_text,
    keep_alive_text,
    memory_text,
    moment_iso,
    rank_text,
    state_text,
    use_text,
    verdict_text,
)
from warmset.shell.page.drawings import colour_of, draw_gaps, draw_gpu, text
from warmset.shell.page.past import draw_past

TITLES: Final = {
    "alarms": "Alarms",
    "gpus": "GPUs",
    "models": "Models",
    "next": "Next",
    "timeline": "Loads and evictions",
    "gaps": "Idle gaps",
}
"""Section -> its heading, in the order of the page."""

COLUMNS: Final = ("State", "Rank", "Memory", "Keep-alive left", "Last use", "Next")
NONE: Final = ' class="none"'
"""Of a cell with nothing to tell: on a phone, where each cell is a line, it is left out."""

_VERDICT_CLASSES: Final = {"converged": "good", "unreachable": "bad"}


def render_sections(board: Board) -> Mapping[str, str]:
    """Returns the inside of each section by its name; `summary` is the line at the top."""
    made: Mapping[str, Callable[[Board], str]] = {
        "summary": _summary,
        "alarms": _alarms,
        "gpus": _gpus,
        "models": _models,
        "next": _next,
        "timeline": _timeline,
        "gaps": _gaps,
    }
    return {name: render(board) for name, render in made.items()}


def _summary(board: Board) -> str:
    kind = _VERDICT_CLASSES.get(board.verdict, "warn")
    server = f"Ollama {board.ollama} at {board.server}" if board.ollama else board.server
    return (
        f'<strong class="{kind}">{text(verdict_text(board))}</strong> '
        f'<span class="faint">{text(server)}, as of '
        f'<time datetime="{moment_iso(board.at)}">{clock_text(board.at)} UTC</time></span>'
    )


def _alarms(board: Board) -> str:
    if not board.alarms:
        return "<p>No alarm stands.</p>"
    return "<ul>{}</ul>".format(
        "".join(
            f'<li><span class="kind {"bad" if alarm.severity == "error" else "warn"}">'
            f"{text(alarm.severity)}</span> {text(alarm.text)} "
            f'<span class="faint">({text(alarm.code.split()[0])})</span></li>'
            for alarm in board.alarms
        )
    )


def _gpus(board: Board) -> str:
    scale = max((gpu.total_bytes or 0 for gpu in board.gpus), default=0)
    parts = [f"<h3>{text(gpu_text(gpu))}</h3>{draw_gpu(gpu, scale)}" for gpu in board.gpus]
    if not parts:
        parts.append("<p>No GPU: models lie in RAM.</p>")
    ram = (board.ram_available_bytes, board.ram_total_bytes)
    free, total = (format_bytes(count) for count in ram)
    return "".join(parts) + f'<p class="faint">RAM: {free} of {total} available</p>'


def _models(board: Board) -> str:
    if not board.models:
        return "<p>No model is resident, and none is configured.</p>"
    head = "".join(f'<th scope="col" role="columnheader">{t}</th>' for t in ("Model", *COLUMNS))
    body = "".join(_model_row(model) for model in board.models)
    return (
        '<table role="table"><caption>Rank 1 is kept longest; ~ marks an estimate</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _model_row(model: Model) -> str:
    cells = (
        state_text(model),
        rank_text(model),
        memory_text(model),
        keep_alive_text(model),
        use_text(model),
        model.next or "-",
    )
    mark = f'<span class="mark {colour_of(model.mark)}">{model.mark}</span>' if model.mark else ""
    row = "".join(
        f'<td role="cell"{NONE if cell == "-" else ""} data-title="{title}">{text(cell)}</td>'
        for title, cell in zip(COLUMNS, cells, strict=True)
    )
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{mark}{text(model.name)}</th>{row}</tr>'
    )


def _next(board: Board) -> str:
    rows = [
        f'<li><span class="kind">{text(step.kind)}</span> <span><b>{text(step.name)}</b> '
        f'<span class="faint">{text(step.reason)}</span></span></li>'
        for step in board.steps
    ]
    for pause in board.pauses:
        left = pause.left_seconds
        until = "" if left is None else f", for {format_seconds(left)} more"
        name = f"<b>{text(pause.name)}</b> " if pause.name else ""
        rows.append(
            f'<li><span class="kind">wait</span> <span>{name}'
            f'<span class="faint">{text(pause.reason + until)}</span></span></li>'
        )
    if not rows:
        idle = "Nobody steers this host: nothing is decided." if board.verdict == "look" else ""
        return f"<p>{idle or 'Nothing to do.'}</p>"
    return f"<ol>{''.join(rows)}</ol>"


def _timeline(board: Board) -> str:
    if not board.moments:
        return "<p>Nothing was loaded or unloaded yet.</p>"
    return f"{draw_past(board)}<ol>{''.join(_moment(moment) for moment in board.moments)}</ol>"


def _moment(moment: Moment) -> str:
    kind = "kind bad" if moment.kind == "failure" else "kind"
    return (
        f'<li><time datetime="{moment_iso(moment.at)}">{clock_text(moment.at)}</time> '
        f'<span class="{kind}">{KINDS.get(moment.kind, text(moment.kind))}</span> '
        f"<span><b>{text(moment.name)}</b> "
        f'<span class="faint">{text(moment.text)}</span></span></li>'
    )


def _gaps(board: Board) -> str:
    known = [model for model in board.models if model.gaps]
    if not known:
        return "<p>Too few uses were seen for a curve.</p>"
    drawn = "".join(draw_gaps(model) for model in known)
    return (
        '<p class="faint">Of all uses of a model, how many were followed by the next in time.</p>'
        f'<div class="curves">{drawn}</div>'
    )
