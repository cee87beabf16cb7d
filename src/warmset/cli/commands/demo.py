"""`warmset demo`: stock Ollama and ranked keep-alives side by side, on a host that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.twin.replay import Part
    from warmset.shell.demo import Comparison

COLUMNS = (
    Column(key="model", title="MODEL"),
    Column(key="rank", title="RANK"),
    Column(key="requests", title="REQUESTS", right=True),
    Column(key="stock_cold", title="COLD STOCK", right=True),
    Column(key="ranked_cold", title="COLD RANKED", right=True),
    Column(key="stock_waited", title="WAITED STOCK", right=True),
    Column(key="ranked_waited", title="WAITED RANKED", right=True),
    Column(key="stock_p95", title="P95 STOCK", right=True, wide=True),
    Column(key="ranked_p95", title="P95 RANKED", right=True, wide=True),
)


def command(
    ctx: typer.Context,
    *,
    twin: Annotated[
        str, typer.Option("--twin", metavar="NAME", help="The pretended host.")
    ] = "2x24",
    demand: Annotated[
        str, typer.Option("--demand", help="How busy its users are: idle, quiet, office, busy.")
    ] = "office",
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=168.0)] = 8.0,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another day.")] = 1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replay one demand on a pretended host, under stock Ollama and under ranked keep-alives."""
    from warmset.shell.demo import compare

    options = options_of(ctx)
    story = compare(twin, demand, hours=hours, seed=seed)
    if output is Output.JSON:
        emit(describe(story))
        return
    if output is Output.NAME:
        emit_names(story.pinned)
        return
    for line in _opening(story):
        say(line, quiet=options.quiet)
    rows = [_row(name, [name], story) for name in (*story.pinned, *story.others)]
    rows.append(_row("total", [*story.pinned, *story.others], story))
    table(rows, COLUMNS, wide=output is Output.WIDE, no_color=options.no_color)
    for line in _closing(story):
        say(line, quiet=options.quiet)


def _opening(story: Comparison) -> tuple[str, ...]:
    gpus = story.spec.gpus
    cards = f"{len(gpus)} x {gpus[0].name}" if gpus else "no GPU"
    return (
        (
            f"Host: {story.spec.name} ({cards}), pretended; {story.hours:g} hours of "
            f'"{story.pattern}" demand, seed {story.seed}.'
        ),
        "Stock: Ollama evicts the idle model with the shortest keep-alive, ties by file hash.",
        f"Ranked: warmset writes ranks into the keep-alives of {', '.join(story.pinned)}.",
        "",
    )


def _closing(story: Comparison) -> tuple[str, ...]:
    ranked = story.ranked
    return (
        "",
        (
            f"Warmset sent {ranked.pings} pings and {ranked.preloads} preloads; "
            f"loads in all: {story.stock.loads} stock, {ranked.loads} ranked."
        ),
        (
            "COLD counts requests that had to load their model; WAITED sums every request's wait, "
            "queueing included. Models without a rank pay for those with one."
        ),
    )


def _row(label: str, models: list[str], story: Comparison) -> Mapping[str, object]:
    from warmset.core.units import format_seconds

    stock, ranked = story.stock.of(models), story.ranked.of(models)
    rank = story.pinned.index(label) + 1 if label in story.pinned else None
    return {
        "model": label,
        "rank": rank,
        "requests": stock.requests,
        "stock_cold": stock.cold_starts,
        "ranked_cold": ranked.cold_starts,
        "stock_waited": f"{stock.waited_seconds:.0f} s",
        "ranked_waited": f"{ranked.waited_seconds:.0f} s",
        "stock_p95": format_seconds(stock.wait_p95_seconds),
        "ranked_p95": format_seconds(ranked.wait_p95_seconds),
    }


def describe(story: Comparison) -> Mapping[str, object]:
    """Returns the document of `-o json`. Units: seconds."""
    names = (*story.pinned, *story.others)
    return {
        "host": story.spec.name,
        "demand": story.pattern,
        "hours": story.hours,
        "seed": story.seed,
        "pinned": list(story.pinned),
        "stock": _part(story.stock.of(names)) | {"loads": story.stock.loads},
        "ranked": _part(story.ranked.of(names))
        | {
            "loads": story.ranked.loads,
            "pings": story.ranked.pings,
            "preloads": story.ranked.preloads,
        },
        "models": [
            {
                "model": name,
                "stock": _part(story.stock.of([name])),
                "ranked": _part(story.ranked.of([name])),
            }
            for name in names
        ],
    }


def _part(part: Part) -> dict[str, object]:
    return {
        "requests": part.requests,
        "cold_starts": part.cold_starts,
        "waited_seconds": round(part.waited_seconds, 3),
        "wait_p95_seconds": round(part.wait_p95_seconds, 3),
    }
