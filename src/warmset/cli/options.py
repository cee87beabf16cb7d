"""The options that every verb understands, before or after its name.

A verb takes `ctx: typer.Context` and asks `options_of(ctx)` for them, or `settings_of(ctx)`
for the configuration they lead to.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption

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


def skip_coercion(params: Sequence[Parameter]) -> None:
    """Makes plain flags of options that Typer would load pydantic for (0.29), even when absent.

    Help of a verb and shell completion can do without: that is half of their time.
    """
    for param in params:
        if type(param) is TyperOption:
            param.__class__ = _PlainOption


class _PlainOption(TyperOption):
    """Takes its flag or text as it stands."""

    def process_value(self, ctx: Any, value: Any) -> Any:  # noqa: ANN401 - Typer's signature
        return value if self.callback is None else self.callback(ctx, self, value)


class _GlobalOption(_PlainOption):
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
