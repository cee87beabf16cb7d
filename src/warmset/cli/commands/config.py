"""`warmset config`: what is configured, and where each value comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, new_app, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.loop_settings import LoopSettings
    from warmset.core.settings import GpuBudget, ModelPolicy, Settings

command = new_app()


@command.callback()
def _group() -> None:
    """Show the configuration and where each value comes from."""


@command.command()
def show(
    ctx: typer.Context,
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="Name the source of each value.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show every value in use: flag over environment over file over default."""
    lines = list(describe(settings_of(ctx)))
    if output is Output.JSON:
        document: dict[str, object] = {"values": {line.key: line.value for line in lines}}
        if origin:
            document["origins"] = {line.key: line.origin for line in lines}
        emit(document)
    elif output is Output.NAME:
        emit_names([line.key for line in lines])
    else:
        columns = (
            Column(key="key", title="KEY"),
            Column(key="text", title="VALUE"),
            Column(key="origin", title="ORIGIN", wide=not origin),
        )
        rows = [{"key": line.key, "text": line.text, "origin": line.origin} for line in lines]
        table(rows, columns, wide=output is Output.WIDE, no_color=options_of(ctx).no_color)


@command.command()
def path(ctx: typer.Context) -> None:
    """Print the file in use; without one, say where it is looked for."""
    from warmset.adapters.config import find_file, search_path

    options = options_of(ctx)
    found = find_file(options.config)
    if found is None:
        places = ", ".join(map(str, search_path()))
        say(
            f"no configuration file, so the defaults hold; looked for {places}", quiet=options.quiet
        )
    else:
        emit_names([str(found)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value in use.

    Units:
        `value` is bytes, seconds, ratios from 0 to 1, or `None` for what nobody said.
    """

    key: str
    value: object
    text: str
    origin: str


def describe(settings: Settings) -> Iterator[Line]:
    """Yields every value in use, in the order and with the words of the file."""
    said = settings.origins
    for key, value in _values(settings):
        yield Line(key=key, value=value, text=_text(key, value), origin=said.get(key, "default"))


def _values(settings: Settings) -> Iterator[tuple[str, object]]:
    from warmset.adapters.config import dotted

    _, at, host = settings.url.rpartition("@")
    yield "ollama.url", f"…@{host}" if at else settings.url  # refused when used, never shown
    for field in fields(settings.server):
        word = field.name.removesuffix("_seconds").removesuffix("_bytes")
        yield f"ollama.{word}", getattr(settings.server, field.name)
    yield from _gpu_values("budget", settings.budget.default)
    yield "budget.ram_limit", settings.budget.ram_limit_bytes
    for name, gpu in settings.budget.gpus.items():  # names are normalised, as they are compared
        yield from _gpu_values(dotted(("budget", "gpu", name)), gpu)
        yield dotted(("budget", "gpu", name, "memory")), gpu.stated_bytes
    yield from _policy_values(settings.loop)
    listen = settings.serve.listen
    yield "serve.listen", "off" if listen is None else listen.address
    yield "serve.allow_remote", settings.serve.allow_remote
    yield "serve.page", settings.serve.page
    alerts = settings.alerts
    yield "alerts.webhook", "set, not shown" if alerts.webhook else None
    yield "alerts.token_file", alerts.token_file or None
    yield "alerts.least", alerts.least
    yield "yield.programs", list(settings.yields.programs) or None
    yield "yield.on_battery", settings.yields.on_battery
    for name, priority in settings.classes.items():
        yield dotted(("class", name, "priority")), priority
    for policy in settings.models.values():
        yield from _model_values(dotted(("model", policy.name)), policy)


def _policy_values(loop: LoopSettings) -> Iterator[tuple[str, object]]:
    yield "policy.manage", "all" if loop.manages_all else "configured"
    for field in fields(loop):
        if field.name != "manages_all":
            yield f"policy.{field.name}", getattr(loop, field.name)


def _gpu_values(prefix: str, gpu: GpuBudget) -> Iterator[tuple[str, object]]:
    yield f"{prefix}.vram_reserve", gpu.vram_reserve_bytes
    limit = gpu.vram_limit_bytes if gpu.vram_limit_ratio is None else gpu.vram_limit_ratio
    yield f"{prefix}.vram_limit", limit


def _model_values(prefix: str, policy: ModelPolicy) -> Iterator[tuple[str, object]]:
    from warmset.core.windows import format_window

    yield f"{prefix}.class", policy.class_name or None
    yield f"{prefix}.windows", [format_window(window) for window in policy.windows] or None
    yield f"{prefix}.timezone", policy.timezone or None
    for field in fields(policy):
        if field.name not in ("name", "class_name", "windows", "timezone"):
            yield f"{prefix}.{field.name}", getattr(policy, field.name)


def _text(key: str, value: object) -> str:
    from warmset.core.units import format_bytes, format_seconds

    if value is None:
        return "Ollama decides" if key.startswith("ollama.") else "-"
    if isinstance(value, bool):
        return str(value).lower()
    is_time = key.startswith("policy.") or key.endswith(".keep_alive")
    if is_time and isinstance(value, float):
        return "forever" if math.isinf(value) else format_seconds(value)
    if key.endswith(".vram_limit") and isinstance(value, float):
        return f"{value:.0%}"
    if key.endswith(("_reserve", "_limit", "_overhead", ".memory")) and isinstance(value, int):
        return format_bytes(value)
    return "; ".join(value) if isinstance(value, list) else str(value)
