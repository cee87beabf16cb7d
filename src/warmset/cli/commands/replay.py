"""`warmset replay`: recorded decisions made again, offline. Asks no server, changes nothing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import Options, OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmset.core.control.redecide import Difference, Verdict
    from warmset.core.settings import Settings
    from warmset.shell.recorded import Span
    from warmset.shell.redeciding import Report

COLUMNS = (
    Column(key="at", title="WHEN"),
    Column(key="decision", title="DECISION", right=True),
    Column(key="class", title="CLASS", wide=True),
    Column(key="what", title="WHAT"),
    Column(key="name", title="NAME"),
    Column(key="then", title="THEN"),
    Column(key="again", title="NOW"),
)

_SHORT = 70  # characters of a cell; `-o wide` and JSON have all


def command(
    ctx: typer.Context,
    journal: Annotated[
        str,
        typer.Argument(
            metavar="[JOURNAL]", help="A journal, its folder or a test case; else this host's."
        ),
    ] = "",
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="2h (ago), or 2026-11-28T14:30.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="WHEN", help="Not later; as --since.")
    ] = "",
    decision: Annotated[
        int | None, typer.Option("--decision", metavar="N", min=0, help="Only this one.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Above --config's file; repeatable."),
    ] = None,
    test: Annotated[
        str, typer.Option("--test", metavar="FILE", help="Save what is replayed as a test case.")
    ] = "",
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 7 when something differs.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make recorded decisions again and show what differs, offline.

    As recorded, nothing should differ; a newer warmset may decide otherwise. With --config FILE or
    --set, each look is judged under those words instead of those of then.
    """
    from warmset.shell.recorded import open_span
    from warmset.shell.redeciding import decide_again

    options = options_of(ctx)
    now = time.time()
    span = open_span(
        Path(journal) if journal else _journal_here(ctx),
        since=_moment(since, "--since", now, 0.0),
        until=_moment(until, "--until", now, float("inf")),
        number=decision,
    )
    settings = _other_settings(options, changes or [])
    report = decide_again(span, settings, keeps=bool(test), tell=_progress(span, options))
    if test:
        _save(report, Path(test), quiet=options.quiet)
    _show(report, span, output, options)
    if report.unreadable:
        raise typer.Exit(ExitCode.CONFIG)
    if detailed_exitcode and not report.is_same:
        raise typer.Exit(ExitCode.CHANGES)


def _journal_here(ctx: typer.Context) -> Path:
    """Returns the state folder of the host that is meant; the host itself is not asked."""
    from warmset.adapters.journal import state_folder
    from warmset.shell.wiring import connect

    connection = connect(settings_of(ctx), environ=os.environ)
    try:
        return state_folder(os.environ, connection.server.url)
    finally:
        connection.close()


def _moment(text: str, option: str, now: float, default: float) -> float:
    from warmset.cli.durations import parse_moment

    return parse_moment(text, option, now) if text else default


def _other_settings(options: Options, changes: list[str]) -> Settings | None:
    from warmset.adapters.config import load_settings

    if options.config is None and not changes:
        return None
    return load_settings(config=options.config, host=options.host, changes=changes)


def _progress(span: Span, options: Options) -> Callable[[int], None]:
    total = len(span.numbers)

    def tell(done: int) -> None:
        if not options.quiet and sys.stderr.isatty() and done % 100 == 0:
            print(f"\r{done} of {total}", end="\r", file=sys.stderr, flush=True)

    return tell


def _save(report: Report, path: Path, *, quiet: bool) -> None:
    import warmset
    from warmset.shell.recorded import save_span

    save_span(path, report.recorded, made_by=f"warmset {warmset.__version__}")
    count = len(report.recorded)
    say(f"saved {count} decision{'' if count == 1 else 's'} to {path}", quiet=quiet)


def _show(report: Report, span: Span, output: Output, options: Options) -> None:
    from warmset.core.control.redecide import Sameness

    if output is Output.JSON:
        emit(describe(report, span))
    elif output is Output.NAME:
        emit_names([str(verdict.recorded.number) for verdict in report.verdicts])
    else:
        wide = output is Output.WIDE
        told = [v for v in report.verdicts if wide or v.sameness is not Sameness.REMEMBERED]
        rows = [row for verdict in told for row in _rows(verdict, wide=wide)]
        if rows:
            table(rows, COLUMNS, wide=wide, no_color=options.no_color)
            print()
        print(_summary(report))
    for text in report.unreadable[:10]:
        say(f"not read: {text}", quiet=options.quiet)
    if len(report.unreadable) > 10:
        say(f"not read: {len(report.unreadable) - 10} more", quiet=options.quiet)


def _summary(report: Report) -> str:
    from warmset.core.control.redecide import Sameness

    words = {
        Sameness.SAME: "the same",
        Sameness.REMEMBERED: "the same by a remembered plan (planned anew they differ: -o wide)",
        Sameness.GRAIN: "the same but for numbers (an older warmset kept no remembered plans)",
        Sameness.DIFFERENT: "different",
        Sameness.FAILED: "failed",
    }
    counts = [f"{report.counts[s]} {word}" for s, word in words.items() if report.counts.get(s)]
    total = sum(report.counts.values())
    counts += [f"{len(report.unreadable)} not read"] if report.unreadable else []
    return f"{total} decision{'' if total == 1 else 's'}: {', '.join(counts) or 'none recorded'}"


def _rows(verdict: Verdict, *, wide: bool) -> list[dict[str, object]]:
    from warmset.cli.durations import clock_text

    def cell(text: str) -> str:
        return text if wide or len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"

    lines: list[Difference | None] = list(verdict.differences) or [None]
    return [
        {
            "at": clock_text(verdict.recorded.at),
            "decision": verdict.recorded.number,
            "class": verdict.sameness.value,
            "what": "error" if line is None else line.what,
            "name": "" if line is None else line.name,
            "then": cell(verdict.recorded.error.strip().rpartition("\n")[2])
            if line is None
            else cell(line.then),
            "again": cell(verdict.error) if line is None else cell(line.again),
        }
        for line in lines
    ]


def describe(report: Report, span: Span) -> dict[str, object]:
    """Returns the document of `-o json`."""
    from warmset.core.control.redecide import Sameness

    return {
        "journal": str(span.path),
        "decisions": sum(report.counts.values()),
        "counts": {sameness.value: report.counts.get(sameness, 0) for sameness in Sameness},
        "is_same": report.is_same,
        "unreadable": list(report.unreadable),
        "differing": [
            {
                "decision": verdict.recorded.number,
                "at": verdict.recorded.at,
                "class": verdict.sameness.value,
                "error": verdict.error or None,
                "differences": [
                    {
                        "what": line.what,
                        "name": line.name or None,
                        "change": line.change,
                        "then": line.then or None,
                        "again": line.again or None,
                    }
                    for line in verdict.differences
                ],
            }
            for verdict in report.verdicts
        ],
    }
