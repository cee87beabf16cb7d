"""Frames of `warmset top`: each width has a reviewed one, and none is wider than the terminal."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from boards import BOARD, LARGE, SMALL
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from warmset.cli.top_frame import LEAST_WIDTH, draw_frame, print_frame
from warmset.shell.board.values import Board
from warmset.shell.page.sections import render_sections

GOLDEN = Path(__file__).parents[1] / "golden"


def lines_of(board: Board, width: int, height: int = 0) -> list[str]:
    return draw_frame(board, width=width, height=height, keys=True).plain.split("\n")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_frames_are_as_they_were_reviewed(width: int) -> None:
    """One file for each width (GOLDEN=write renews it)."""
    drawn = "\n".join(line.rstrip() for line in lines_of(BOARD, width)) + "\n"
    path = GOLDEN / f"top-{width}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(drawn, "utf-8")
    assert drawn == path.read_text("utf-8")


@given(width=st.integers(min_value=1, max_value=260), height=st.integers(0, 80))
def test_a_frame_fits_its_terminal(width: int, height: int) -> None:
    """No line is wider than the terminal, wide letters included, and there are no more than fit."""
    lines = lines_of(BOARD, width, height)
    assert max(cell_len(line) for line in lines) <= max(width, LEAST_WIDTH)
    assert not height or len(lines) <= height


@given(st.integers(min_value=20, max_value=300))
def test_bars_are_drawn_to_scale(width: int) -> None:
    """A byte is as wide on every GPU, and a part as wide as its bytes, to a column."""
    lines = lines_of(replace(BOARD, alarms=()), width)
    large, small = [line for line in lines if line.startswith("[")]
    columns = max(width, LEAST_WIDTH) - 2
    assert len(large) - 2 == columns
    assert abs((len(small) - 2) - columns / 4) <= 1
    whole = LARGE.total_bytes or 0
    for part in LARGE.parts:
        if part.mark:
            share = columns * (part.bytes or 0) / whole
            assert abs(large.count(part.mark) - share) <= 1
    assert SMALL.parts[0].mark in small


def test_every_part_has_a_sign_of_its_own() -> None:
    """Without any colour each owner is told from the others, in the bar and in the list."""
    text = "\n".join(lines_of(BOARD, 120))
    signs = ("/ foreign blender", "# driver", "~ draining", "\\ other runner", "? unattributed")
    assert all(sign in text for sign in (*signs, ". free"))


def test_no_colour_means_none() -> None:
    """Where nobody wants colour, not one escape character is written."""
    out = io.StringIO()
    console = Console(file=out, no_color=True, width=80, force_terminal=False)
    console.print(draw_frame(BOARD, width=80))
    assert "\x1b" not in out.getvalue()


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A name with control characters is shown, not obeyed."""
    evil = replace(BOARD.models[0], name="a\x1b[2Jb")
    print_frame(replace(BOARD, models=(evil,)), width=80, no_color=True)
    assert "\x1b" not in capsys.readouterr().out


def test_a_remark_is_told_above_all() -> None:
    """What is shown may be old, and the second line says why."""
    lines = draw_frame(BOARD, width=80, remark="Ollama is gone").plain.split("\n")
    assert lines[1] == "! this may be old: Ollama is gone"


def test_an_empty_host_is_drawn() -> None:
    """No GPU, no model, nothing to do: each is said in words."""
    empty = replace(BOARD, gpus=(), models=(), moments=(), steps=(), pauses=(), alarms=())
    text = "\n".join(lines_of(empty, 60))
    assert "no model is resident, and none is configured" in text
    assert "nothing to do" in text
    assert "RAM: 40.0 GiB of 64.0 GiB available" in text


def test_page_and_terminal_tell_the_same() -> None:
    """Every model, step, wait, alarm and moment of the picture stands on both."""
    frame = "\n".join(lines_of(BOARD, 400))
    page = "".join(render_sections(BOARD).values())
    said = [model.name for model in BOARD.models] + [model.next for model in BOARD.models]
    said += [step.reason for step in BOARD.steps] + [pause.reason for pause in BOARD.pauses]
    said += [alarm.text for alarm in BOARD.alarms] + [moment.text for moment in BOARD.moments]
    said += [part.name for gpu in BOARD.gpus for part in gpu.parts if part.owner == "foreign"]
    assert [words for words in said if words not in frame] == []
    assert [words for words in said if words not in page] == []
