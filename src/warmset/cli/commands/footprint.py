"""`warmset footprint NAME|PATH|URL`: the bytes of one model, before it is loaded or downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

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


def command(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME|PATH|URL", help="A model, here or not.")],
    *,
    context: Annotated[
        int | None, typer.Option("--context", "--ctx", min=1, help="Of one slot, in tokens.")
    ] = None,
    parallel: Annotated[int | None, typer.Option("--parallel", min=1, max=256)] = None,
    kv_type: Annotated[
        str | None, typer.Option("--kv-type", help="Cache type: f16, q8_0, or keys/values.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=0, max=64, help="GPUs used; 0 for RAM.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="TOOL-VERSION, such as ollama-0.12.")
    ] = None,
    max_context: Annotated[
        bool, typer.Option("--max-context", help="The largest context that fits now.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Every term: formula, source.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no registry.")] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="First keep what the resident models hold.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the bytes a model will hold once loaded, and what Ollama expects of it."""
    import os

    from warmset.shell.estimate import Asked, find_subject
    from warmset.shell.fitting import find_max_context, tabulate, warn

    settings, options = settings_of(ctx), options_of(ctx)
    if learn:
        from warmset.shell.learn import learn_from_residents

        say(learn_from_residents(settings, os.environ), quiet=options.quiet)
    asked = Asked(
        name=model,
        context=context,
        parallel=parallel,
        kv_type=kv_type,
        gpus=gpus,
        engine=engine,
        offline=offline,
    )
    subject = find_subject(asked, settings, os.environ)
    found = subject.estimate()
    largest = find_max_context(subject) if max_context else None
    warnings = warn(subject, found)
    if output is Output.JSON:
        emit(describe(subject, found, largest, warnings))
        return
    if output is Output.NAME:
        emit_names([subject.entry.name])
        return
    print_parts(subject, found, no_color=options.no_color)
    if output is Output.WIDE or len(found.devices) > 1:
        print()
        table(_shares(found), SHARES, no_color=options.no_color)
    print()
    _print_table(subject, tabulate(subject), no_color=options.no_color)
    if explain:
        print()
        table(_terms(found), TERMS, no_color=options.no_color)
    if largest is not None:
        print()
        print(_max_context_line(largest))
    for warning in warnings:
        say(f"warning: {warning}")
    for note in (*subject.notes, *found.unknowns):
        say(f"note: {note}", quiet=options.quiet)


def print_parts(subject: Subject, found: Footprint, *, no_color: bool) -> None:
    """Prints the load and its bytes by part and tier."""
    from warmset.core.units import format_bytes

    flash = "flash attention" if found.flash_attention else "no flash attention"
    slots = f"{found.slots} slot{'s' if found.slots > 1 else ''}"
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
    from warmset.core.units import format_bytes

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
    from warmset.core.units import format_bytes

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
    from warmset.shell.fitting import fits_now

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
    from warmset.core.units import format_bytes

    if found is None:
        return "refused"
    return format_bytes(found.vram_bytes if found.devices else found.ram_bytes)


def _max_context_line(largest: MaxContext) -> str:
    if largest.context is None:
        return f"largest context: none ({largest.reason})"
    return f"largest context: {largest.context} {_place(largest.gpus)} ({largest.reason})"


def _place(gpus: int) -> str:
    return f"on {gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "in RAM"


def describe(
    subject: Subject,
    found: Footprint,
    largest: MaxContext | None,
    warnings: tuple[str, ...],
) -> Mapping[str, object]:
    """Returns the document of `-o json`: bytes, and where each number comes from."""
    from dataclasses import asdict

    from warmset.shell.fitting import fits_now, tabulate

    shape = ("context", "slots", "batch", "kv_type", "flash_attention")
    sums = (
        "weights_vram_bytes",
        "weights_ram_bytes",
        "kv_bytes",
        "recurrent_bytes",
        "compute_bytes",
        "overhead_bytes",
        "vram_bytes",
        "vram_upper_bytes",
        "ram_bytes",
        "ollama_forecast_bytes",
        "gpu_layers",
        "layer_count",
        "basis",
        "grounds",
    )
    return {
        "model": subject.entry.name,
        "key": subject.entry.key,
        "engine": subject.engine,
        "gpus": subject.gpus,
        **{name: getattr(found, name) for name in (*shape, *sums)},
        "devices": [asdict(share) for share in found.devices],
        "facts_basis": subject.entry.basis,
        "unknowns": list(found.unknowns),
        "terms": [asdict(term) for term in found.terms],
        "fits_now": fits_now(subject, found),
        "max_context": None if largest is None else asdict(largest),
        "table": [
            {
                "context": context,
                "kv_type": kind,
                "vram_bytes": each.vram_bytes,
                "vram_upper_bytes": each.vram_upper_bytes,
                "ram_bytes": each.ram_bytes,
                "fits_now": fits_now(subject, each),
            }
            for context, row in tabulate(subject)
            for kind, each in row.items()
            if each is not None
        ],
        "warnings": list(warnings),
        "notes": list(subject.notes),
    }
