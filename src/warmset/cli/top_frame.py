"""One frame of `warmset top`: what fits into so many columns and lines, nothing by colour alone.

Each part of a GPU's bar is made of its own character: a model's letter, `/` for other programs,
and so on. Colours only repeat that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from warmset.core.units import format_bytes, format_seconds
from warmset.shell.board.models import LETTERS
from warmset.shell.board.values import Board, Gpu, Model, Part
from warmset.shell.board.words import (
    KINDS,
    SIGNS,
    clock_text,
    gpu_text,
    keep_alive_text,
    memory_text,
    part_text,
    printable,
    rank_text,
    state_text,
    use_text,
    verdict_text,
)

COLOURS: Final = ("#56b4e9", "#e69f00", "#3fbf95", "#f0e442", "#d98ab8", "#c2b8f2")
"""After Okabe and Ito's palette for all kinds of colour vision, light enough for black letters.

Source: M. Okabe, K. Ito, Color Universal Design (2008)."""

FILLS: Final = {
    "other-runner": "\\",
    "foreign": "/",
    "reserved": "#",
    "unattributed": "?",
    "draining": "~",
    "free": ".",
}
BUDGET: Final = "|"
NO_DAEMON: Final = "nothing is decided: no `warmset serve` runs here"
LEAST_WIDTH: Final = 40
LEAST_TIMELINE: Final = 3

Cells = Callable[[Model], str]
COLUMNS: Final[tuple[tuple[str, int, Cells], ...]] = (
    ("KEEP-ALIVE", 12, keep_alive_text),
    ("RANK", 5, lambda model: "-" if model.rank is None else str(model.rank)),
    ("USE", 9, use_text),
    ("MEMORY", 20, memory_text),
    ("STATE", 17, state_text),
    ("RANK", 18, rank_text),
)
"""Title, width, content. The widest `RANK` replaces the short one."""


def columns_for(width: int) -> tuple[tuple[str, int, Cells], ...]:
    """Returns the columns beside the name that a terminal has room for."""
    left, rank, use, memory, state, long_rank = COLUMNS
    if width >= 150:
        wide_state, wide_memory = ("STATE", 21, state_text), ("MEMORY", 25, memory_text)
        return (wide_state, long_rank, wide_memory, ("KEEP-ALIVE", 16, left[2]), use)
    if width >= 110:
        return (state, rank, memory, ("KEEP-ALIVE", 16, left[2]), use)
    if width >= 76:
        return (rank, memory, left, use)
    return (rank, left, use)


def draw_frame(
    board: Board, *, width: int, height: int = 0, remark: str = "", keys: bool = False
) -> Text:
    """Returns the frame.

    Args:
        board: the picture.
        width: columns; fewer than 40 are drawn as 40.
        height: lines; 0: as many as there are.
        remark: something that went wrong since.
        keys: whether to tell which keys there are.
    """
    width = max(width, LEAST_WIDTH)
    head = [_head(board, width)]
    if remark:
        head.append(_fit(f"! this may be old: {printable(remark)}", width, "bold"))
    head += _alarms(board, width)
    for gpu in board.gpus:
        head += _gpu(gpu, _widest(board), width)
    head += [Text(), *_models(board, width)]
    tail = [Text(), *_next(board, width)]
    foot = [_fit("q quits", width, "dim")] if keys else []
    moments = _timeline(board, width)
    if height:
        room = height - len(head) - len(tail) - len(foot) - 1
        moments = moments[: max(LEAST_TIMELINE, room)]
    lines = [*head, *tail, Text(), *moments, *foot]
    if height and len(lines) > height:
        more = _fit(f"{len(lines) - height + 1} more lines need a taller terminal", width, "dim")
        lines = [*lines[: height - 1], more]
    return Text("\n").join(lines)


def print_frame(board: Board, *, width: int, no_color: bool) -> None:
    """Prints the frame once; without colour where nobody wants any."""
    console = Console(no_color=no_color or None, width=max(width, LEAST_WIDTH), highlight=False)
    console.print(draw_frame(board, width=width), soft_wrap=True)


def _fit(words: str, width: int, style: str = "") -> Text:
    """Returns one line, cut with a dot where it does not fit."""
    if cell_len(words) > width:
        words = set_cell_size(words, width - 1).rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    return Text(words, style=style, no_wrap=True)


def _head(board: Board, width: int) -> Text:
    server = f"Ollama {board.ollama or ''} at {board.server}".replace("  ", " ")
    title = f"{clock_text(board.at)} UTC  {printable(verdict_text(board))}"
    wide = f"{title}  {printable(server)}"
    return _fit(wide if cell_len(wide) <= width else title, width, "bold")


def _alarms(board: Board, width: int) -> list[Text]:
    return [
        _fit(f"! {alarm.severity}: {printable(alarm.text)}", width, "bold red")
        for alarm in board.alarms
    ]


def _widest(board: Board) -> int:
    return max((gpu.total_bytes or 0 for gpu in board.gpus), default=0)


def _gpu(gpu: Gpu, scale_bytes: int, width: int) -> list[Text]:
    lines = [_fit(printable(gpu_text(gpu)), width)]
    if gpu.total_bytes and scale_bytes:
        columns = max(8, round((width - 2) * gpu.total_bytes / scale_bytes))
        lines.append(_bar(gpu, gpu.total_bytes, min(columns, width - 2)))
    return [*lines, *_legend(gpu, width)]


def _bar(gpu: Gpu, total_bytes: int, columns: int) -> Text:
    """Returns a bar in which each column stands for as many bytes."""
    bar, begin = Text("[", no_wrap=True), 0
    budget_at = None
    if gpu.budget_bytes is not None:
        budget_at = min(columns - 1, round(columns * gpu.budget_bytes / total_bytes))
    edges: list[tuple[int, Part]] = []
    for part in gpu.parts:
        begin += part.bytes or 0
        edges.append((round(columns * begin / total_bytes), part))
    at = 0
    for end, part in edges:
        while at < min(end, columns):
            is_mark = at == budget_at and part.owner == "free"
            bar.append(BUDGET if is_mark else _fill(part), style=_style(part))
            at += 1
    return bar.append(" " * (columns - at)).append("]")


def _fill(part: Part) -> str:
    return part.mark or FILLS.get(part.owner, "M")


def _style(part: Part) -> str:
    if part.mark:
        return f"black on {_colour(part.mark)}"
    return "dim" if part.owner == "free" else ""


def _colour(mark: str) -> str:
    return COLOURS[LETTERS.index(mark) % len(COLOURS)]


def _legend(gpu: Gpu, width: int) -> list[Text]:
    """Returns what the characters mean, as many per line as fit."""
    lines, line = [], Text(" ", no_wrap=True)
    for part in gpu.parts:
        words = printable(part_text(part))
        words = words if part.mark else f"{_fill(part)} {words}"
        piece = _fit(words, width - 2)
        if part.mark:
            piece.stylize(_style(part), 0, 1)
        if line.cell_len > 1 and line.cell_len + piece.cell_len + 2 > width:
            lines.append(line)
            line = Text(" ", no_wrap=True)
        line.append("  " if line.cell_len > 1 else "").append_text(piece)
    return [*lines, line] if gpu.parts else lines


def _models(board: Board, width: int) -> list[Text]:
    if not board.models:
        return [_fit("no model is resident, and none is configured", width)]
    columns = columns_for(width)
    taken = sum(size + 1 for _, size, _ in columns)
    longest = max(cell_len(printable(model.name)) for model in board.models)
    name_size = min(longest, 40, width - taken - 2)
    rest = width - 2 - name_size - taken - 1
    title = "  " + set_cell_size("MODEL", name_size)
    for word, size, _ in columns:
        title += " " + set_cell_size(word, size)
    lines = [_fit(title + (" NEXT" if rest >= 12 else ""), width, "bold")]
    for model in board.models:
        line = Text(f"{model.mark or ' '} ", no_wrap=True)
        if model.mark:
            line.stylize(f"black on {_colour(model.mark)}", 0, 1)
        line.append(_cell(printable(model.name), name_size))
        for _, size, content in columns:
            line.append(" " + _cell(printable(content(model)), size))
        if rest >= 12:
            line.append(" ").append_text(_fit(printable(model.next), rest))
        line.rstrip()
        lines.append(line)
    return lines


def _cell(words: str, size: int) -> str:
    return set_cell_size(_fit(words, size).plain, size)


def _next(board: Board, width: int) -> list[Text]:
    rows = [f"  {step.kind} {step.name}: {step.reason}" for step in board.steps]
    for pause in board.pauses:
        name = f" {pause.name}" if pause.name else ""
        left = pause.left_seconds
        rows.append(
            f"  wait{name}: {pause.reason}"
            + ("" if left is None else f", for {format_seconds(left)} more")
        )
    if not rows:
        rows = [
            "  nothing to do"
            if board.verdict != "look"
            else "  nothing is decided: no `warmset serve` runs here"
        ]
    return [_fit("NEXT", width, "bold"), *(_fit(printable(row), width) for row in rows)]


def _timeline(board: Board, width: int) -> Sequence[Text]:
    """Returns loads and evictions with reasons, newest first."""
    if not board.moments:
        return [_fit(_memory(board), width, "dim")]
    rows = [
        f"  {clock_text(moment.at)} {SIGNS.get(moment.kind, ' ')}"
        f" {KINDS.get(moment.kind, moment.kind)}{f' {moment.name}' if moment.name else ''}:"
        f" {moment.text}"
        for moment in board.moments
    ]
    return [
        _fit("LOADS AND EVICTIONS", width, "bold"),
        *(_fit(printable(row), width) for row in rows),
    ]


def _memory(board: Board) -> str:
    free, total = board.ram_available_bytes, board.ram_total_bytes
    return f"RAM: {format_bytes(free)} of {format_bytes(total)} available"
