"""How `warmset footprint` looks to people: parts, contexts by cache types, terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from warmset.cli.render import Column, table
from warmset.core.units import format_bytes, format_count
from warmset.shell.fitting import fits_now, tabulate

if TYPE_CHECKING:
    from warmset.core.footprint import Footprint
    from warmset.shell.estimate import Subject
    from warmset.shell.fitting import MaxContext

PARTS = (
    Column(key="part", title="PART"),
    Column(key="gpu", title="GPU", right=True),
    Column(key="ram", title="RAM", right=True),
)
TERMS = (
    Column(key="name", title="TERM"),
    Column(key="tier", title="IN"),
    Column(key="size", title="BYTES", right=True),
    Column(key="certainty", title="CERTAINTY"),
    Column(key="formula", title="FORMULA"),
    Column(key="source", title="SOURCE"),
)
SHARES = (
    Column(key="index", title="GPU"),
    Column(key="layers", title="LAYERS", right=True),
    Column(key="weights", title="WEIGHTS", right=True),
    Column(key="kv", title="KV", right=True),
    Column(key="compute", title="COMPUTE", right=True),
    Column(key="total", title="TOTAL", right=True),
    Column(key="upper", title="AT MOST", right=True),
)


def print_footprint(
    subject: Subject,
    found: Footprint,
    largest: MaxContext | None,
    *,
    by_gpu: bool,
    by_term: bool,
    no_color: bool,
) -> None:
    """Prints the bytes of a load, and those of the same model at other contexts.

    Args:
        subject: what was asked about.
        found: its footprint.
        largest: the largest context that fits now, where that was asked for.
        by_gpu: each GPU's share too; always where there are several.
        by_term: each term with formula and source too.
        no_color: plain even on a terminal.
    """
    _print_parts(subject, found, no_color=no_color)
    if by_gpu or len(found.devices) > 1:
        print()
        table(_shares(found), SHARES, no_color=no_color)
    print()
    _print_table(subject, tabulate(subject), no_color=no_color)
    if by_term:
        print()
        table(_terms(found), TERMS, no_color=no_color)
    if largest is not None:
        print()
        print(_max_context_line(largest))


def _print_parts(subject: Subject, found: Footprint, *, no_color: bool) -> None:
    """Prints the load and its bytes by part and tier."""
    flash = "flash attention" if found.flash_attention else "no flash attention"
    slots = format_count(found.slots, "slot")
    print(f"{subject.entry.name} {_place(subject.gpus)}, {subject.engine}")
    print(f"context {found.context} in {slots}, KV {found.kv_type}, batch {found.batch}, {flash}")
    print(f"facts: {subject.entry.basis or 'what the server says'}")
    print(f"bytes: {found.basis} ({found.grounds})")
    print()
    on_gpu = bool(found.devices)
    forecast = found.ollama_forecast_bytes
    kv_gpu = sum(share.kv_bytes for share in found.devices)
    state_gpu = sum(share.recurrent_bytes for share in found.devices)
    rows = [
        ("weights", found.weights_vram_bytes if on_gpu else 0, found.weights_ram_bytes),
        ("kv cache", kv_gpu, found.kv_bytes - kv_gpu),
        ("recurrent state", state_gpu, found.recurrent_bytes - state_gpu),
        ("compute buffer", *((found.compute_bytes, 0) if on_gpu else (0, found.compute_bytes))),
        ("process overhead", found.overhead_bytes, 0),
        ("total", found.vram_bytes if on_gpu else 0, found.ram_bytes),
        ("at most", found.vram_upper_bytes if on_gpu else 0, 0),
        ("Ollama expects", *((forecast, 0) if on_gpu else (0, forecast))),
    ]
    shown = [
        {
            "part": part,
            "gpu": "" if gpu == 0 else format_bytes(gpu),
            "ram": "" if ram == 0 else format_bytes(ram),
        }
        for part, gpu, ram in rows
        if gpu != 0 or ram != 0
    ]
    table(shown, PARTS, no_color=no_color)


def _shares(found: Footprint) -> list[Mapping[str, object]]:
    return [
        {
            "index": share.index,
            "layers": share.layers,
            "weights": format_bytes(share.weights_bytes),
            "kv": format_bytes(share.kv_bytes + share.recurrent_bytes),
            "compute": format_bytes(share.compute_bytes),
            "total": format_bytes(share.vram_bytes),
            "upper": format_bytes(share.vram_upper_bytes),
        }
        for share in found.devices
    ]


def _terms(found: Footprint) -> list[Mapping[str, object]]:
    return [
        {
            "name": term.name,
            "tier": {"gpu": "GPU", "ram": "RAM", "bound": "at most"}[term.tier],
            "size": format_bytes(term.size_bytes),
            "certainty": term.certainty,
            "formula": term.formula,
            "source": term.source,
        }
        for term in found.terms
    ]


def _print_table(
    subject: Subject,
    grid: tuple[tuple[int, dict[str, Footprint | None]], ...],
    *,
    no_color: bool,
) -> None:
    """Prints bytes by context and cache type; a star marks what fits beside the current set."""
    kinds = list(grid[0][1])
    columns = [Column(key="context", title="CONTEXT", right=True)]
    columns += [Column(key=kind, title=f"KV {kind}", right=True) for kind in kinds]
    rows, has_stars = [], False
    for context, by_kind in grid:
        row: dict[str, object] = {"context": context}
        for kind, found in by_kind.items():
            fits = found is not None and fits_now(subject, found)
            has_stars = has_stars or bool(fits)
            row[kind] = _held(found) + ("*" if fits else "")
        rows.append(row)
    table(rows, columns, no_color=no_color)
    if has_stars:
        print("* fits beside the current set")


def _held(found: Footprint | None) -> str:
    if found is None:
        return "refused"
    return format_bytes(found.vram_bytes if found.devices else found.ram_bytes)


def _max_context_line(largest: MaxContext) -> str:
    if largest.context is None:
        return f"largest context: none ({largest.reason})"
    return f"largest context: {largest.context} {_place(largest.gpus)} ({largest.reason})"


def _place(gpus: int) -> str:
    return f"on {format_count(gpus, 'GPU')}" if gpus else "in RAM"
