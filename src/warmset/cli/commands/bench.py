"""`warmset bench`: what a cold start costs on this host, and whether keeping it warm pays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.completing import complete_model
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.settings import Settings
    from warmset.shell.bench.measure import Measured
    from warmset.shell.bench.worth import Worth

COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="phase", title="PHASE"),
    Column(key="runs", title="RUNS", right=True),
    Column(key="load", title="LOAD", right=True),
    Column(key="first", title="FIRST TOKEN", right=True),
    Column(key="p95", title="P95", right=True),
    Column(key="spread", title="LEAST-MOST", right=True),
    Column(key="total", title="TOTAL", right=True),
    Column(key="total_p95", title="TOTAL P95", right=True, wide=True),
)


def command(
    ctx: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…", help="As `ollama list` shows.", autocompletion=complete_model
        ),
    ],
    *,
    cold: Annotated[int, typer.Option("--cold", min=1, max=100, help="Runs after an unload.")] = 3,
    warm: Annotated[int, typer.Option("--warm", min=1, max=1000, help="Runs while it stays.")] = 5,
    pull: Annotated[bool, typer.Option("--pull", help="Download what is not here.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also on a busy host, at the cost of other residents.")
    ] = False,
    requests_per_day: Annotated[
        float | None,
        typer.Option(
            "--requests-per-day", min=0, max=1e9, help="Expected; else what budgets.toml says."
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            "--price", min=0, max=1e9, help="Seconds of waiting that a GiB-hour is worth to you."
        ),
    ] = None,
    svg: Annotated[str, typer.Option("--svg", metavar="FILE", help="Draw a picture too.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure cold starts against warm requests: unload, load, first token, end.

    Refuses while the host is in use. Afterwards each model is as resident as it was before.
    """
    from warmset.cli.bench_svg import draw
    from warmset.shell.bench.measure import Plan
    from warmset.shell.bench.run import BenchOrder, bench

    options = options_of(ctx)
    settings = settings_of(ctx)
    order = BenchOrder(
        names=models, plan=Plan(cold=cold, warm=warm), is_forced=force, may_pull=pull
    )
    results = bench(settings, os.environ, order, tell=lambda text: say(text, quiet=options.quiet))
    worths = [_worth(measured, settings, requests_per_day, price) for measured in results]
    if svg:
        _write(Path(svg), draw(results))
    if output is Output.JSON:
        pairs = zip(results, worths, strict=True)
        emit({"models": [describe(measured, worth) for measured, worth in pairs]})
    elif output is Output.NAME:
        emit_names([measured.name for measured in results])
    else:
        rows = [row for measured in results for row in _rows(measured)]
        table(rows, COLUMNS, wide=output is Output.WIDE, no_color=options.no_color)
        print()
        print("\n".join(draw_bars(results)))
        print()
        for measured, worth in zip(results, worths, strict=True):
            for line in _verdict(measured, worth):
                print(line)


def _worth(
    measured: Measured, settings: Settings, requests_per_day: float | None, price: float | None
) -> Worth:
    from warmset.shell.bench.worth import Worth

    said = settings.policy_for((measured.name,)).requests_per_day
    return Worth(
        penalty_seconds=measured.penalty_seconds,
        held_bytes=measured.held_bytes or 0,
        requests_per_day=said if requests_per_day is None else requests_per_day,
        price=price,
    )


def describe(measured: Measured, worth: Worth) -> dict[str, object]:
    """Returns one model's measurements for programs. Units: seconds, bytes."""
    from dataclasses import asdict

    phases = {}
    for phase, runs in (("cold", measured.cold), ("warm", measured.warm)):
        phases[phase] = {
            "runs": [asdict(run) for run in runs],
            **{f"{part}_seconds": spread for part, spread in _spreads(runs).items()},
        }
    return {
        "name": measured.name,
        "download": None if measured.download is None else asdict(measured.download),
        "held_bytes": measured.held_bytes,
        "is_split": measured.is_split,
        **phases,
        "penalty_seconds": worth.penalty_seconds,
        "requests_per_day": worth.requests_per_day,
        "saved_seconds_per_day": worth.saved_seconds_per_day,
        "break_even_price": worth.break_even_price,
        "price": worth.price,
        "is_worth_it": worth.is_worth_it,
        "keep_alive_seconds": worth.keep_alive_seconds,
    }


def _spreads(runs: tuple[object, ...]) -> dict[str, object]:
    from dataclasses import asdict

    from warmset.shell.bench.spread import Spread

    found: dict[str, object] = {}
    for part in ("load", "first", "total"):
        values = [getattr(run, f"{part}_seconds") for run in runs]
        spread = Spread.of([value for value in values if value is not None])
        found[part] = None if spread is None else asdict(spread)
    return found


def _rows(measured: Measured) -> list[dict[str, object]]:
    from warmset.core.units import format_seconds
    from warmset.shell.bench.spread import Spread

    rows = []
    for phase, runs in (("cold", measured.cold), ("warm", measured.warm)):
        load = Spread.of([run.load_seconds for run in runs if run.load_seconds is not None])
        first = Spread.of([run.first_seconds for run in runs if run.first_seconds is not None])
        total = Spread.of([run.total_seconds for run in runs])
        tail = first or total
        assert tail is not None
        assert total is not None
        rows.append(
            {
                "name": measured.name,
                "phase": phase,
                "runs": len(runs),
                "load": _short(None if load is None else load.median),
                "first": _short(None if first is None else first.median),
                "p95": _short(tail.p95),
                "spread": f"{_short(tail.least)}-{_short(tail.most)}",
                "total": _short(total.median),
                "total_p95": _short(total.p95),
            }
        )
    if measured.download is not None:
        took = format_seconds(measured.download.seconds)
        rows.insert(0, {"name": measured.name, "phase": "download", "runs": 1, "total": took})
    return rows


def _short(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.2f} s"


def draw_bars(results: tuple[Measured, ...], width: int = 48) -> list[str]:
    """Returns the median runs as bars of text, the load and the rest told apart."""
    from warmset.cli.bench_svg import bars_of

    bars = [bar for measured in results for bar in bars_of(measured)]
    longest = max(bar.total for bar in bars)
    label = max(len(bar.label) for bar in bars)
    lines = []
    for bar in bars:
        load = round(bar.load / longest * width)
        rest = max(round(bar.total / longest * width) - load, 0 if load else 1)
        lines.append(f"{bar.label:<{label}}  {'#' * load}{'=' * rest} {bar.total:.2f} s")
    return [*lines, "# load, = from the load to the end"]


def _verdict(measured: Measured, worth: Worth) -> list[str]:
    from warmset.core.units import format_bytes, format_seconds

    held = format_bytes(measured.held_bytes)
    split = ", partly in RAM" if measured.is_split else ""
    lines = [
        (
            f"{measured.name}: a cold start costs {worth.penalty_seconds:.2f} s; resident it holds "
            f"{held}{split}."
        )
    ]
    saved, even = worth.saved_seconds_per_day, worth.break_even_price
    if saved is None or even is None:
        lines.append(
            "  Whether that pays depends on its use: give --requests-per-day, or set it in "
            "budgets.toml."
        )
    else:
        lines.append(
            f"  At {worth.requests_per_day:g} requests a day keeping it all day saves at most "
            f"{format_seconds(saved)} of waiting a day: {even:.2f} s per GiB-hour."
        )
    if worth.is_worth_it is not None:
        verdict = "worth" if worth.is_worth_it else "not worth"
        lines.append(f"  At a price of {worth.price:g} s per GiB-hour that is {verdict} it.")
    elif even is not None:
        lines.append("  It is worth it if a GiB-hour is worth less to you (--price tells).")
    if worth.keep_alive_seconds is not None:
        told = format_seconds(worth.keep_alive_seconds)
        lines.append(f"  At that price keep it for {told} after a use.")
    return lines


def _write(path: Path, text: str) -> None:
    from warmset.errors import ConfigError

    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the picture cannot be written: {error.strerror or error}",
            hint="name a file in a folder that you may write",
        ) from error
