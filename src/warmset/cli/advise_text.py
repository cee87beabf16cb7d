"""How `warmset advise` looks to people: the curve of each model, and what to write where."""

from __future__ import annotations

from json import dumps

from warmset.cli.render import Column, table
from warmset.core.demand.sessions import find_sessions
from warmset.core.policy.advice import Advice
from warmset.core.units import GIB, HOUR, format_seconds
from warmset.core.windows import format_window
from warmset.shell.advise import Counsel, wire_text

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


def print_advice(made: Counsel, *, wide: bool, no_color: bool) -> None:
    """Prints the table and, below it, what follows from it.

    Args:
        made: the advice.
        wide: with all columns.
        no_color: plain even on a terminal.
    """
    table([_row(advice) for advice in made.models], COLUMNS, wide=wide, no_color=no_color)
    for line in _told(made):
        print(line)


def _row(advice: Advice) -> dict[str, object]:
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
        lines += ["  " + line for line in _toml_lines(advice)]
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


def _toml_lines(advice: Advice) -> tuple[str, ...]:
    """Returns the advice as budgets.toml says it."""
    head = f"[model.{dumps(advice.keeping.model, ensure_ascii=False)}]"
    if advice.word == "pin":
        return (head, "pin = true")
    return (head, f'keep_alive = "{wire_text(advice.keep_alive)}"')
