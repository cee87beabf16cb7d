"""The options that every verb understands, before or after its name.

A verb takes `ctx: typer.Context` and asks `options_of(ctx)` for them, or `settings_of(ctx)`
for the configuration they lead to.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from warmset.cli.render import Output

if TYPE_CHECKING:
    from typer._click import Command, Parameter

    from warmset.core.settings import Settings

OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", help="Form of the result; `--json` is short for `-o json`."),
]


@dataclass(slots=True)
class Options:
    """The global options of one run. Written while the command line is parsed, then only read."""

    config: str | None = None
    host: str | None = None
    no_color: bool = False
    debug: bool = False
    quiet: bool = False
    verbose: bool = False


def new_app(cls: type[TyperGroup] | None = None) -> typer.Typer:
    """Returns a Typer application in the manner of this program: `-h`, rich only for people."""
    return typer.Typer(
        cls=cls,
        add_completion=cls is not None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout is not None and sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def options_of(ctx: typer.Context) -> Options:
    """Returns the global options of this run."""
    options = ctx.find_root().obj
    assert isinstance(options, Options), options
    return options


def settings_of(ctx: typer.Context) -> Settings:
    """Returns the configuration of this run: flags over environment over file over defaults.

    Raises:
        ConfigError: from the adapter, naming file, line, key and value.
    """
    from warmset.adapters.config import load_settings

    options = options_of(ctx)
    return load_settings(config=options.config, host=options.host)


def add_global_options(command: Command) -> None:
    """Lets `command` understand the global options too, wherever they stand."""
    parsed = typer.Typer(add_completion=False)
    parsed.command()(_declare)
    taken = {name for param in command.params for name in param.opts}
    for param in typer.main.get_command(parsed).params:
        if isinstance(param, TyperOption) and not taken.intersection(param.opts):
            param.__class__ = _GlobalOption
            param.expose_value = False
            command.params.append(param)


def spare_coercion(params: list[Parameter]) -> list[Parameter]:
    """Returns `params`, each of which now keeps a value that needs no coercion.

    Typer (0.29) loads pydantic to look at any value, even one that is absent: a third of `status`
    and half of shell completion.
    """
    for param in params:
        if type(param) is TyperOption:
            param.__class__ = _SparedOption
        elif type(param) is TyperArgument:
            param.__class__ = _SparedArgument
    return params


class _SparedArgument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - Typer's signature
        return _coerce(self, ctx, value, super().process_value)


class _SparedOption(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - Typer's signature
        return _coerce(self, ctx, value, super().process_value)


def _coerce(param: TyperArgument | TyperOption, ctx: Any, value: Any, otherwise: Any) -> Any:  # noqa: ANN401 - as above
    """Hands on what has its type already, and the exact word of a choice; Typer does the rest."""
    kind = param.type_descriptor.annotation
    is_many = param.multiple or param.nargs == -1
    if isinstance(kind, type) and issubclass(kind, StrEnum) and value in {*kind}:
        value = kind(value)
    is_absent = value is None and (not param.required or ctx.resilient_parsing)
    if not is_absent and type(value) is not kind:
        try:
            return otherwise(ctx, value)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's, not ours
            raise
    value = () if is_many and is_absent else value
    return value if param.callback is None else param.callback(ctx, param, value)


class _GlobalOption(TyperOption):
    """Stores itself in `Options`."""

    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - Typer's signature
        if value:
            setattr(ctx.find_root().obj, str(self.name), value)
        return value


def _declare(
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="Configuration instead of budgets.toml."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", "--url", metavar="URL", help="Ollama's address, or twin://NAME to pretend."
        ),
    ] = None,
    *,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text, no colour.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More on stderr.")] = False,
) -> None:
    """Declares the options for Typer to read; never run."""
