"""`warmset simulate`: what a demand would cost on a host under several policies. Reads only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table
from warmset.cli.replay_options import BudgetOption, HoursOption, OnOption, SeedOption

if TYPE_CHECKING:
    from warmset.cli.chart import Curves
    from warmset.shell.replay_source import Source
    from warmset.shell.simulate import Row, Simulation

COLUMNS = (
    Column(key="policy", title="POLICY"),
    Column(key="mode", title="MODE", wide=True),
    Column(key="requests", title="REQUESTS", right=True),
    Column(key="cold_starts", title="COLD STARTS", right=True),
    Column(key="cold_seconds", title="COLD SECONDS", right=True),
    Column(key="over_bound", title="X BOUND", right=True),
    Column(key="wait_mean", title="MEAN WAIT", right=True),
    Column(key="wait_p95", title="P95 WAIT", right=True),
    Column(key="gib_hours", title="GIB HOURS", right=True),
    Column(key="loads", title="LOADS", right=True),
    Column(key="load_seconds", title="LOAD SECONDS", right=True, wide=True),
    Column(key="preloads", title="PRELOADS", right=True, wide=True),
    Column(key="evictions", title="EVICTIONS", right=True),
    Column(key="thrash_reloads", title="THRASH", right=True),
)


def command(
    ctx: typer.Context,
    trace: Annotated[
        str,
        typer.Argument(metavar="[TRACE]", help="NAME.csv[.gz], or a pattern: quiet, office, busy."),
    ] = "",
    *,
    on: OnOption = "",
    from_history: Annotated[
        bool, typer.Option("--from-history", help="Replay what `serve` has seen on this host.")
    ] = False,
    policy: Annotated[
        str, typer.Option("--policy", metavar="A,B,…", help="Which policies, with commas.")
    ] = "",
    mode: Annotated[
        str,
        typer.Option(
            "--mode", help="sidecar: Ollama evicts by our ranks. admission: the policy evicts."
        ),
    ] = "sidecar",
    budget: BudgetOption = "",
    points: Annotated[
        int, typer.Option("--points", min=0, max=100, help="Sizes of memory in the curve.")
    ] = 8,
    hours: HoursOption = 8.0,
    seed: SeedOption = 1,
    svg: Annotated[
        str, typer.Option("--svg", metavar="FILE", help="Also write the curve as a picture.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Replay a demand on a host under several policies, with less and with more memory."""
    from warmset.errors import ConfigError
    from warmset.shell.replay_source import find_source
    from warmset.shell.simulate import DEFAULT_POLICIES, check, simulate

    options = options_of(ctx)
    words = dict.fromkeys(word.strip() for word in policy.split(","))
    names = tuple(filter(None, words)) or DEFAULT_POLICIES
    check(names)
    if mode not in ("sidecar", "admission"):
        raise ConfigError(f"--mode {mode!r}", hint="--mode sidecar, or --mode admission")
    if svg and not points:
        raise ConfigError("--svg draws the curve, and --points 0 leaves it out")
    source = find_source(
        trace,
        from_history=from_history,
        config=options.config,
        host=on or options.host,
        budget=budget,
        hours=hours,
        seed=seed,
        environ=os.environ,
    )
    made = simulate(
        source.trace,
        source.spec,
        names,
        mode="admission" if mode == "admission" else "sidecar",
        gpus=source.gpus,
        points=points,
    )
    if svg:
        _write_svg(svg, made, source)
    if output is Output.JSON:
        emit(describe(made, source))
    elif output is Output.NAME:
        emit_names([row.policy for row in sorted(made.rows, key=lambda r: r.score.cold_seconds)])
    else:
        _print(made, source, wide=output is Output.WIDE, no_color=options.no_color)
        for note in _notes(made, source):
            say(note, quiet=options.quiet)


def _print(made: Simulation, source: Source, *, wide: bool, no_color: bool) -> None:
    from warmset.core.units import format_bytes, format_count, format_seconds

    spec = made.spec
    trace = made.trace
    print(
        f"{source.label} on {source.host}: {format_count(len(trace), 'request')} for "
        f"{format_count(len(set(trace.models)), 'model')} in {format_seconds(trace.span_seconds)}; "
        f"{format_bytes(spec.budget_bytes)} for models, at most {spec.max_loaded} at once"
    )
    print()
    table([_row(row, made) for row in made.rows], COLUMNS, wide=wide, no_color=no_color)
    if made.bound_seconds is not None:
        print()
        print(f"bound: no schedule loads for less than {made.bound_seconds:.0f} s")
    if made.curve:
        from warmset.cli.chart import draw

        print()
        print(draw(_curves(made), x_title="GiB for models", y_title="cold seconds"))
        print()
        print(_enough(made))


def _row(row: Row, made: Simulation) -> dict[str, object]:
    from warmset.core.units import format_seconds

    score, bound = row.score, made.bound_seconds
    return {
        "policy": row.policy,
        "mode": row.mode,
        "requests": score.requests,
        "cold_starts": score.cold_starts,
        "cold_seconds": f"{score.cold_seconds:.0f}",
        "over_bound": f"{score.cold_seconds / bound:.2f}" if bound else None,
        "wait_mean": format_seconds(score.wait_mean_seconds),
        "wait_p95": format_seconds(score.wait_p95_seconds),
        "gib_hours": f"{score.gib_hours:.1f}",
        "loads": score.loads,
        "load_seconds": f"{score.load_seconds:.0f}",
        "preloads": score.preloads,
        "evictions": score.evictions,
        "thrash_reloads": score.thrash_reloads,
    }


def _enough(made: Simulation) -> str:
    """Returns how much memory ends the waiting, as far as the curve tells."""
    from warmset.core.units import format_bytes

    found = {row.policy: made.enough_bytes(row.policy) for row in made.rows}
    words = [f"{name} {format_bytes(size)}" for name, size in found.items() if size is not None]
    lacking = [name for name, size in found.items() if size is None]
    told = f"nobody waits but for first loads from: {', '.join(words)}" if words else ""
    never = f"waiting does not end in this range: {', '.join(lacking)}" if lacking else ""
    return "; ".join(filter(None, (told, never)))


def _curves(made: Simulation) -> Curves:
    from warmset.core.units import GIB

    return {
        row.policy: [
            (point.budget_bytes / GIB, point.cold_seconds[row.policy]) for point in made.curve
        ]
        for row in made.rows
    }


def _notes(made: Simulation, source: Source) -> list[str]:
    notes = [*source.notes]
    if made.left_out:
        notes.append(f"left out: {made.left_out} requests for models that never fit")
    if made.bound_note:
        notes.append(made.bound_note)
    if source.gpus > 1:
        notes.append(f"the memory of {source.gpus} GPUs counts as one pool")
    if made.bound_seconds is not None:
        notes.append("the bound is what perfect foresight loads; only preloads wait for less")
    return notes


def _write_svg(file: str, made: Simulation, source: Source) -> None:
    from warmset.cli.chart import svg
    from warmset.shell.trace_files import write_whole

    title = f"{source.label} on {source.host}"
    text = svg(_curves(made), title=title, x_title="GiB for models", y_title="cold seconds")
    write_whole(Path(file), text.encode())


def describe(made: Simulation, source: Source) -> dict[str, object]:
    """Returns the document of `-o json`. Units: bytes, seconds, GiB hours."""
    spec, trace = made.spec, made.trace
    return {
        "host": source.host,
        "demand": source.label,
        "requests": len(trace),
        "models": len(set(trace.models)),
        "span_seconds": trace.span_seconds,
        "left_out_requests": made.left_out,
        "budget_bytes": spec.budget_bytes,
        "max_loaded_models": spec.max_loaded,
        "fit_share": spec.fit_share,
        "bound_seconds": made.bound_seconds,
        "policies": [_policy(row, made) for row in made.rows],
        "curve": [
            {"budget_bytes": point.budget_bytes, "cold_seconds": point.cold_seconds}
            for point in made.curve
        ],
        "enough_bytes": {row.policy: made.enough_bytes(row.policy) for row in made.rows},
        "notes": _notes(made, source),
    }


def _policy(row: Row, made: Simulation) -> dict[str, object]:
    score, bound = row.score, made.bound_seconds
    return {
        "policy": row.policy,
        "mode": row.mode,
        "requests": score.requests,
        "cold_starts": score.cold_starts,
        "cold_seconds": score.cold_seconds,
        "wait_mean_seconds": score.wait_mean_seconds,
        "wait_p95_seconds": score.wait_p95_seconds,
        "gib_hours": score.gib_hours,
        "loads": score.loads,
        "load_seconds": score.load_seconds,
        "preloads": score.preloads,
        "unused_preloads": score.unused_preloads,
        "evictions": score.evictions,
        "thrash_reloads": score.thrash_reloads,
        "cold_over_bound": score.cold_seconds / bound if bound else None,
        "load_over_bound": score.load_seconds / bound if bound else None,
        "cold_starts_by_model": score.cold_by_model,
    }
