"""How `add --dry-run` shows its report: as text, and as the document of `-o json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from warmset.cli.commands.fit import describe as describe_fit
from warmset.cli.demand_text import demand_text, describe_demand
from warmset.cli.render import Column, table
from warmset.core.units import format_bytes, format_count

if TYPE_CHECKING:
    from warmset.shell.newcomer_report import GpuRoom, Loss, Report, Share
    from warmset.shell.rehearsal import Happening

VERDICTS: Mapping[str, str] = {
    "fits": "fits",
    "fits-with-evictions": "fits with evictions",
    "splits": "splits over the GPUs",
    "spills": "spills to RAM",
    "refused": "never fits beside the pins",
}
BASES: Mapping[str, str] = {"show verbose": "those that the server itself shows"}
ROOM_COLUMNS = (
    Column(key="gpu", title="GPU"),
    Column(key="usable", title="FOR MODELS", right=True),
    Column(key="before", title="WITHOUT IT", right=True),
    Column(key="after", title="WITH IT", right=True),
    Column(key="margin", title="LEFT", right=True),
    Column(key="sure", title="LEFT AT LEAST", right=True),
)
CHOICE_COLUMNS = (
    Column(key="choice", title="IF"),
    Column(key="verdict", title="VERDICT"),
    Column(key="need", title="NEEDS AT MOST", right=True),
    Column(key="joins", title="WARM SET"),
    Column(key="costs", title="COSTS OTHERS"),
)


MOST_LINES = 20  # of the first hour; where models take turns it repeats itself
COLD_SECONDS = 1.0  # who waits less had its model warm


def print_report(report: Report, *, no_color: bool) -> None:
    """Prints everything below the placement."""
    if report.gpus:
        print()
        table([_room_row(room) for room in report.gpus], ROOM_COLUMNS, no_color=no_color)
    print()
    for line in _lines(report):
        print(line)
    print()
    print("The first hour, rehearsed on a copy of this host:")
    for line in hour_lines(report.hour):
        print(f"  {line}")
    if report.alternatives:
        print()
        rows = [
            {
                "choice": f"{a.kind} {a.value}",
                "verdict": VERDICTS[a.verdict],
                "need": format_bytes(a.need_bytes),
                "joins": "joins" if a.joins else "stays out",
                "costs": "; ".join(_loss_text(loss) for loss in a.losses) or "nothing",
            }
            for a in report.alternatives
        ]
        table(rows, CHOICE_COLUMNS, no_color=no_color)


def _room_row(room: GpuRoom) -> Mapping[str, object]:
    return {
        "gpu": room.label,
        "usable": format_bytes(room.usable_bytes),
        "before": format_bytes(sum(share.upper_bytes for share in room.before)),
        "after": format_bytes(sum(share.upper_bytes for share in room.after)),
        "margin": format_bytes(room.margin_bytes),
        "sure": format_bytes(room.sure_margin_bytes),
    }


def _lines(report: Report) -> Iterator[str]:
    outcome = report.outcome
    basis = report.entry.basis or "what the server says"
    yield f"facts: {BASES.get(basis, basis)}"
    newcomer = report.candidate
    yield (
        f"requests a day: {demand_text(newcomer.demand)}; being resident saves"
        f" {newcomer.value:.0f} s of waiting a day"
    )
    if outcome.forecast is not None:
        total = format_bytes(outcome.forecast.total_bytes)
        yield f"Ollama itself expects {total} for it, batch surcharge included"
    yield (
        "it would join the warm set"
        if outcome.joins
        else "it would not join the warm set by its own priority and value"
    )
    if report.losses:
        words = "it would push out" if outcome.joins else "resident all the same, it would keep out"
        yield (
            f"{words} {', '.join(loss.name for loss in report.losses)}:"
            f" about {report.lost_value:.0f} s of waiting more a day"
        )
        for loss in report.losses:
            yield f"  {_loss_text(loss)}"
    if outcome.ollama_reason:
        evicts = ", ".join(outcome.ollama_evicts) or "nobody that would help"
        yield f"asked for right now, Ollama would evict {evicts}: {outcome.ollama_reason}"


def _loss_text(loss: Loss) -> str:
    reloads = "reload" if loss.reloads_per_day == 1 else "reloads"
    return (
        f"{loss.name}: {loss.reloads_per_day:g} {reloads} a day ({loss.demand.basis})"
        f" x {loss.load_seconds:.1f} s"
        f" = {loss.seconds_per_day:.0f} s"
    )


def hour_lines(hour: tuple[Happening, ...]) -> Iterator[str]:
    """Yields the story without requests that found their model warm, and what it comes to."""
    waits = [h for h in hour if h.what == "answered" and h.waited_seconds >= COLD_SECONDS]
    told = [h for h in hour if h.what != "answered" or h in waits]
    is_cut = len(told) > MOST_LINES + 1  # a lone line more is as short as to say so
    yield from map(happening_text, told[:MOST_LINES] if is_cut else told)
    if is_cut:
        yield f"... and {len(told) - MOST_LINES} more like these: see -o json or --html"
    loads = Counter(h.by for h in hour if h.what == "loads")
    by = ", ".join(f"{count} by {who}" for who, count in sorted(loads.items()))
    warm = sum(h.what == "answered" for h in hour) - len(waits)
    waited = sum(h.waited_seconds for h in waits)
    yield (
        f"in all: {format_count(loads.total(), 'load')}{f' ({by})' if by else ''};"
        f" {format_count(len(waits), 'request')} waited {waited:.1f} s,"
        f" {warm} found {'its model' if warm == 1 else 'their models'} warm"
    )


def happening_text(happening: Happening) -> str:
    """Returns one line of the story."""
    minutes, seconds = divmod(round(happening.at_seconds), 60)
    words = {
        "loads": f"{happening.by} loads {happening.name}",
        "loaded": f"{happening.name} is loaded",
        "load-failed": f"{happening.name} fails to load",
        "unloaded": f"{happening.by} unloads {happening.name}",
        "answered": f"a request for {happening.name} has waited {happening.waited_seconds:.1f} s",
    }
    return f"{minutes:2}:{seconds:02} {words[happening.what]}"


def describe(report: Report) -> Mapping[str, object]:
    """Returns the document of `-o json`. Units: seconds, bytes."""
    outcome = report.outcome
    forecast = outcome.forecast
    return {
        "model": report.entry.name,
        "basis": report.entry.basis,
        "demand": describe_demand(report.candidate.demand),
        "value_seconds_per_day": report.candidate.value,
        **describe_fit(outcome.fit),
        "joins_warm_set": outcome.joins,
        "pushed_out": list(outcome.pushed_out),
        "absent_with_it": list(outcome.absent),
        "losses": [_describe_loss(loss) for loss in report.losses],
        "lost_value_seconds_per_day": report.lost_value,
        "ollama_forecast_bytes": None if forecast is None else forecast.total_bytes,
        "ollama_evicts_now": list(outcome.ollama_evicts),
        "ollama_reason": outcome.ollama_reason,
        "gpus": [_describe_room(room) for room in report.gpus],
        "first_hour": [
            {
                "at_seconds": h.at_seconds,
                "what": h.what,
                "name": h.name,
                "by": h.by,
                "waited_seconds": h.waited_seconds,
            }
            for h in report.hour
        ],
        "alternatives": [
            {
                "kind": a.kind,
                "value": a.value,
                "verdict": a.verdict,
                "reason": a.reason,
                "upper_bytes": a.need_bytes,
                "joins_warm_set": a.joins,
                "losses": [_describe_loss(loss) for loss in a.losses],
            }
            for a in report.alternatives
        ],
    }


def _describe_loss(loss: Loss) -> Mapping[str, object]:
    return {
        "name": loss.name,
        "reloads_per_day": loss.reloads_per_day,
        "demand_basis": loss.demand.basis,
        "load_seconds": loss.load_seconds,
        "seconds_per_day": loss.seconds_per_day,
    }


def _describe_room(room: GpuRoom) -> Mapping[str, object]:
    return {
        "id": room.id,
        "label": room.label,
        "name": room.name,
        "total_bytes": room.total_bytes,
        "foreign_bytes": room.foreign_bytes,
        "usable_bytes": room.usable_bytes,
        "margin_bytes": room.margin_bytes,
        "sure_margin_bytes": room.sure_margin_bytes,
        "before": [_describe_share(share) for share in room.before],
        "after": [_describe_share(share) for share in room.after],
    }


def _describe_share(share: Share) -> Mapping[str, object]:
    return {
        "name": share.name,
        "point_bytes": share.point_bytes,
        "upper_bytes": share.upper_bytes,
        "is_new": share.is_new,
    }
