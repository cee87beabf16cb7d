"""`warmset advise`: how long to keep each model, from how it is really used. Reads only."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table
from warmset.cli.replay_options import BudgetOption, HoursOption, OnOption, SeedOption

if TYPE_CHECKING:
    from warmset.core.policy.advice import Advice
    from warmset.shell.advise import Counsel
    from warmset.shell.replay_source import Source

COLUMNS = (
    Column(key="model", title="MODEL"),
    Column(key="requests", title="REQUESTS", right=True),
    Column(key="sessions", title="SESSIONS", right=True),
    Column(key="gap", title="TYPICAL GAP", right=True),
    Column(key="w60", title="1M", right=True),
    Column(key="w300", title="5M", right=True),
    Column(key="w900", title="15M", right=True),
    Column(key="w3600", title="1H", right=True),
    Column(key="w14400", title="4H", right=True),
    Column(key="g60", title="GIB H AT 1M", right=True, wide=True),
    Column(key="g300", title="GIB H AT 5M", right=True, wide=True),
    Column(key="g900", title="GIB H AT 15M", right=True, wide=True),
    Column(key="g3600", title="GIB H AT 1H", right=True, wide=True),
    Column(key="g14400", title="GIB H AT 4H", right=True, wide=True),
    Column(key="keep_alive", title="KEEP"),
    Column(key="word", title="THAT IS"),
    Column(key="warm", title="WARM", right=True),
    Column(key="gib_hours", title="GIB HOURS", right=True),
)
_SHOWN = (60, 300, 900, 3600, 14400)


class Subject(StrEnum):
    """Whom the advice is for, if not for the operator."""

    CALLER = "caller"


def command(
    ctx: typer.Context,
    trace: Annotated[
        str,
        typer.Argument(metavar="[TRACE]", help="A trace or pattern instead of the host's history."),
    ] = "",
    *,
    on: OnOption = "",
    budget: BudgetOption = "",
    hours: HoursOption = 48.0,
    seed: SeedOption = 1,
    subject: Annotated[
        Subject | None,
        typer.Option("--for", help="caller: what each kind of client should send."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Advise how long to keep each model: what to pin, what not to keep, what works against it."""
    from warmset.shell.advise import counsel
    from warmset.shell.replay_source import find_source

    if subject is Subject.CALLER:
        from warmset.cli.advise_callers import show

        show(ctx, output, on=on)
        return
    options = options_of(ctx)
    source = find_source(
        trace,
        from_history=not trace,
        config=options.config,
        host=on or options.host,
        budget=budget,
        hours=hours,
        seed=seed,
        environ=os.environ,
    )
    made = counsel(source, environ=os.environ)
    if output is Output.JSON:
        emit(describe(made, source))
    elif output is Output.NAME:
        emit_names([advice.keeping.model for advice in made.models if advice.keep_alive])
    else:
        table(
            [_row(advice) for advice in made.models],
            COLUMNS,
            wide=output is Output.WIDE,
            no_color=options.no_color,
        )
        for line in _told(made):
            print(line)
        for note in source.notes:
            say(f"note: {note}", quiet=options.quiet)


def _row(advice: Advice) -> dict[str, object]:
    from warmset.core.demand.sessions import find_sessions
    from warmset.core.units import GIB, HOUR, format_seconds
    from warmset.shell.advise import wire_text

    keeping = advice.keeping
    gap = keeping.median_gap
    row: dict[str, object] = {
        "model": keeping.model,
        "requests": keeping.requests,
        "sessions": len(find_sessions(keeping.times)),
        "gap": None if gap is None else format_seconds(gap),
        "keep_alive": "pin" if advice.word == "pin" else wire_text(advice.keep_alive),
        "word": {"pin": "always", "none": "not at all"}.get(advice.word, advice.word),
        "warm": f"{advice.chosen.warm / keeping.requests:.0%}",
        "gib_hours": f"{advice.cost.bytes * advice.chosen.held_seconds / GIB / HOUR:.1f}",
    }
    for seconds in _SHOWN:
        point = keeping.at(float(seconds))
        row[f"w{seconds}"] = f"{point.warm / keeping.requests:.0%}"
        row[f"g{seconds}"] = f"{advice.cost.bytes * point.held_seconds / GIB / HOUR:.1f}"
    return row


def _told(made: Counsel) -> list[str]:
    from warmset.core.units import format_seconds
    from warmset.shell.advise import wire_text

    lines = [
        "",
        "1M to 4H: the share of requests that would be warm if kept so long and not evicted.",
    ]
    if made.models:
        lines += ["", "For every model without a value of its own, in the server's environment:"]
        lines.append(f"  OLLAMA_KEEP_ALIVE={wire_text(made.keep_alive)}")
        if made.max_loaded is not None:
            lines.append(f"  OLLAMA_MAX_LOADED_MODELS={made.max_loaded}")
        lines += ["", "In budgets.toml (or as keep_alive in each request):"]
    for advice in made.models:
        lines += ["  " + line for line in toml_lines(advice)]
    timers = [
        f"{a.keeping.model} is asked for every {format_seconds(a.period_seconds)}: "
        "`serve` can fetch it ahead, so it need not be kept in between"
        for a in made.models
        if a.period_seconds and a.keep_alive < a.period_seconds
    ]
    if timers:
        lines += ["", *timers]
    lines += _habits(made)
    if made.clients:
        lines += ["", "What clients send:"]
        lines += [
            f"  {c.model}: keep_alive of about {format_seconds(c.keep_alive)}: {c.text}"
            for c in made.clients
        ]
    if made.unknown:
        lines += ["", f"Larger than the memory, so never kept: {', '.join(made.unknown)}"]
    little = [a.keeping.model for a in made.models if a.is_little]
    if little:
        lines += ["", f"Too few requests to be sure: {', '.join(little)}"]
    return lines


def _habits(made: Counsel) -> list[str]:
    """Returns in which hours models are asked for, and after whom."""
    from json import dumps

    from warmset.core.windows import format_window

    lines = []
    for model, hours in made.hours.items():
        text = format_window(hours.window)
        lines.append(
            f"  {model}: {text} ({hours.share:.0%} of the hours with a request); to keep it warm "
            f"then and only then: windows = [{dumps(text)}]"
        )
    if lines:
        lines = ["", "Asked for at some times of the week only:", *lines]
    if made.follows:
        lines += ["", "Asked for within a minute of another:"]
        lines += [
            f"  {f.then} after {f.first}: {f.seen:.0f} of {f.uses:.0f} times, by chance "
            f"{f.expected:.1f}"
            for f in made.follows
        ]
    return lines


def toml_lines(advice: Advice) -> tuple[str, ...]:
    """Returns the advice as budgets.toml says it."""
    from json import dumps

    from warmset.shell.advise import wire_text

    head = f"[model.{dumps(advice.keeping.model, ensure_ascii=False)}]"
    if advice.word == "pin":
        return (head, "pin = true")
    return (head, f'keep_alive = "{wire_text(advice.keep_alive)}"')


def describe(made: Counsel, source: Source) -> dict[str, object]:
    """Returns the document of `-o json`. Units: bytes, seconds, GiB hours; `null`: for ever."""
    from warmset.core.windows import format_window
    from warmset.shell.advise import wire_text

    environment: dict[str, object] = {"OLLAMA_KEEP_ALIVE": wire_text(made.keep_alive)}
    if made.max_loaded is not None:
        environment["OLLAMA_MAX_LOADED_MODELS"] = str(made.max_loaded)
    return {
        "host": source.host,
        "demand": source.label,
        "span_seconds": source.trace.span_seconds,
        "budget_bytes": source.spec.budget_bytes,
        "models": [_document(advice) for advice in made.models],
        "unknown": list(made.unknown),
        "environment": environment,
        "clients": [
            {
                "model": client.model,
                "keep_alive_seconds": client.keep_alive,
                "overwrites": client.overwrites,
                "text": client.text,
            }
            for client in made.clients
        ],
        "hours": {
            model: {"window": format_window(hours.window), "share": hours.share}
            for model, hours in made.hours.items()
        },
        "follows": [
            {
                "first": f.first,
                "then": f.then,
                "times": f.seen,
                "of": f.uses,
                "by_chance": f.expected,
            }
            for f in made.follows
        ],
        "notes": list(source.notes),
    }


def _document(advice: Advice) -> dict[str, object]:
    from warmset.core.demand.sessions import find_sessions, single_share
    from warmset.core.units import GIB, HOUR
    from warmset.shell.advise import wire_text

    keeping, cost = advice.keeping, advice.cost
    sessions = find_sessions(keeping.times)
    return {
        "model": keeping.model,
        "requests": keeping.requests,
        "sessions": len(sessions),
        "single_request_share": single_share(sessions),
        "median_gap_seconds": keeping.median_gap,
        "period_seconds": advice.period_seconds,
        "bytes": cost.bytes,
        "load_seconds": cost.load_seconds,
        "curve": [
            {
                "keep_alive_seconds": point.keep_alive,
                "warm_share": point.warm / keeping.requests,
                "gib_hours": cost.bytes * point.held_seconds / GIB / HOUR,
                "cold_seconds": (keeping.requests - point.warm) * cost.load_seconds,
            }
            for point in keeping.points
        ],
        "advice": {
            "action": {"pin": "pin", "none": "do not keep"}.get(advice.word, "keep"),
            "word": advice.word,
            "keep_alive": wire_text(advice.keep_alive),
            "keep_alive_seconds": advice.keep_alive,
            "warm_share": advice.chosen.warm / keeping.requests,
            "mean_bytes": round(advice.mean_bytes),
            "is_little": advice.is_little,
        },
    }
