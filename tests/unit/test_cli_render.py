"""How results look, compared with files that are reviewed like code."""

import json
import math
from pathlib import Path

import pytest

from warmset.cli import render
from warmset.cli.render import Column, emit, emit_names, format_table, printable, say, table

GOLDEN = Path(__file__).parents[1] / "golden"

COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="size", title="SIZE", right=True),
    Column(key="context", title="CONTEXT", right=True),
    Column(key="where", title="WHERE", wide=True),
)
ROWS = (
    {"name": "qwen2.5-coder:7b", "size": "5.2 GiB", "context": 8192, "where": "GPU 0"},
    {"name": "nomic-embed-text:latest", "size": "352 MiB", "context": None, "where": ""},
    {"name": "odd\x1b[31m\nname", "size": "19.4 GiB", "context": 0, "where": "GPU 0, GPU 1"},
)


@pytest.mark.parametrize("wide", [False, True])
def test_a_table_in_a_pipe_is_plain_and_aligned(
    wide: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Titles, aligned cells, a dash for what is not known, no blank at the end of a line."""
    table(ROWS, COLUMNS, wide=wide)
    shown = capsys.readouterr().out
    name = "table-wide.txt" if wide else "table.txt"
    assert shown == (GOLDEN / name).read_text(encoding="utf-8")


def test_a_table_without_rows_still_has_its_titles() -> None:
    """Nothing resident looks like nothing resident."""
    assert format_table((), COLUMNS) == "NAME  SIZE  CONTEXT"


def test_a_terminal_gets_the_same_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal rich draws the table; the words are those of the plain one."""
    monkeypatch.setattr(render, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    table(ROWS, COLUMNS, wide=True, title="Models", no_color=True)
    shown = capsys.readouterr().out
    plain = format_table(ROWS, COLUMNS, wide=True)
    assert shown.split()[0] == "Models"
    assert shown.split()[1:] == plain.split()
    assert "\x1b" not in shown


def test_a_narrow_terminal_cuts_no_name_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 30 columns a row keeps its one line and every letter, as with `docker ps`."""
    monkeypatch.setattr(render, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    table(ROWS, COLUMNS, wide=True, no_color=True)
    shown = capsys.readouterr().out.splitlines()
    plain = format_table(ROWS, COLUMNS, wide=True).splitlines()
    assert [line.rstrip() for line in shown] == plain


@pytest.mark.parametrize(
    ("forced", "expected"), [("", False), ("1", True)], ids=["in a pipe", "forced"]
)
def test_what_is_no_terminal_gets_plain_text(
    monkeypatch: pytest.MonkeyPatch, forced: str, expected: bool
) -> None:
    """Only a terminal gets a drawn table, unless `FORCE_COLOR` asks for it."""
    monkeypatch.setenv("FORCE_COLOR", forced)
    assert render.is_terminal() is expected


def test_json_has_its_version_first_and_keeps_the_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Programs get raw numbers in a stable order, and null for what has no number."""
    emit(
        {
            "zeta": {"bytes": 1 << 40, "seconds": 0.5},
            "alpha": (1, None, math.inf, math.nan),
            "names": frozenset({"b", "a"}),
            "text": "ü",
        }
    )
    shown = capsys.readouterr().out
    assert shown == (GOLDEN / "document.json").read_text(encoding="utf-8")
    assert list(json.loads(shown)) == ["schema_version", "zeta", "alpha", "names", "text"]


def test_names_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """For shell loops."""
    emit_names(["a:latest", "b:7b"])
    assert capsys.readouterr().out == "a:latest\nb:7b\n"


def test_no_text_from_elsewhere_can_steer_a_terminal() -> None:
    """Control characters are spelled out, letters of all languages stay."""
    assert printable("a\x1b]0;x\x07\r\nü 模型") == "a\\x1b]0;x\\x07\\r\\nü 模型"


def test_remarks_go_to_stderr_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Results and talk never mix."""
    say("one")
    say("two", quiet=True)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "one\n")
