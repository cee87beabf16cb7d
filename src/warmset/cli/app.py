"""The command `warmset`: which verbs there are, and how one of them starts.

A verb is a module `warmset.cli.commands.NAME` with a function `command` (or a `typer.Typer`
of that name, for a verb with sub-verbs), plus one line in `VERBS`. The module is imported only
when its verb runs: `warmset --help` and shell completion read the table alone.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from warmset.cli import exits
from warmset.cli.options import Options, add_global_options, new_app, spare_coercion
from warmset.cli.other_words import OTHER_WORDS

if TYPE_CHECKING:  # Typer ships click under a private name; only hints need it
    from typer._click import Command, Context, Parameter


@dataclass(frozen=True, slots=True)
class Verb:
    """One line of the table of verbs."""

    name: str
    help: str
    module: str
    hidden: bool = False  # an alias


VERBS = (
    Verb("status", "Show the GPUs and the resident models.", "status"),
    Verb("ps", "The same as status.", "status", hidden=True),
    Verb("top", "Watch the host as a picture: GPUs, models, loads, next steps.", "top"),
    Verb("plan", "Show which models fit together, and what would be done.", "plan"),
    Verb("fit", "Tell whether models fit together.", "fit"),
    Verb("add", "Report what adding a model would change (--dry-run).", "add"),
    Verb("footprint", "Show the bytes of a model before it is loaded or downloaded.", "footprint"),
    Verb("check", "Check the configuration against the host.", "check"),
    Verb("doctor", "Examine drivers, permissions, limits and server settings.", "doctor"),
    Verb("apply", "Make the plan true once.", "apply"),
    Verb("serve", "Keep the warm set resident until stopped.", "serve"),
    Verb("pin", "Keep a model resident always.", "pin"),
    Verb("unpin", "Let a pinned model go when its rank says so.", "unpin"),
    Verb("hold", "Keep a model as if it were pinned, for a while.", "hold"),
    Verb("run", "Keep models warm while a command runs.", "run"),
    Verb("warm", "Load a model before anybody asks for it.", "warm"),
    Verb("evict", "Unload a model that is idle.", "evict"),
    Verb("bench", "Measure cold starts against warm requests.", "bench"),
    Verb("explain", "Tell why a model is resident or not.", "explain"),
    Verb("history", "Show what was done and seen on this host.", "history"),
    Verb("replay", "Make recorded decisions again and show what differs.", "replay"),
    Verb("metrics", "Print the metrics of this host once, in Prometheus' format.", "metrics"),
    Verb("assets", "Files for systemd, Prometheus, Grafana, Compose, Kubernetes.", "assets"),
    Verb("advise", "Advise how long to keep each model, from how it is used.", "advise"),
    Verb("simulate", "Replay a demand on a host under several policies.", "simulate"),
    Verb("trace", "Import, export or make up demand.", "trace"),
    Verb("init", "Write a first budgets.toml from what the host has.", "init"),
    Verb("demo", "Show what ranked keep-alives change, on a pretended host.", "demo"),
    Verb("twin", "Serve a pretended Ollama host on loopback.", "twin"),
    Verb("config", "Show the configuration and where each value comes from.", "config"),
)


class LeanCommand(TyperCommand):
    """A verb whose options are not all coerced by Typer, and that knows `--json`."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Returns the options, `--help` among them."""
        return spare_coercion(super().get_params(ctx))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Reads the words of the verb; `--json` is `-o json` where there is an `-o`."""
        if any("--output" in param.opts for param in self.params):
            ours, others = _split_at_dashes(args)
            args = [*("--output=json" if arg == "--json" else arg for arg in ours), *others]
        return super().parse_args(ctx, args)


class LeanGroup(TyperGroup):
    """The same, for verbs that have verbs."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Returns the options, `--help` among them."""
        return spare_coercion(super().get_params(ctx))


class LazyGroup(LeanGroup):
    """A group that knows its verbs by name, and imports the one that is called."""

    def __init__(self, **attrs: Any) -> None:  # noqa: ANN401 - Typer's signature
        """Adds the global options to those that Typer found."""
        super().__init__(**attrs)
        add_global_options(self)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: Context | None = None,
        **extra: Any,  # noqa: ANN401 - Typer's signature
    ) -> Context:
        """Returns the context of a run, with `Options` for the global options to write to."""
        extra.setdefault("obj", Options())
        return super().make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: Context) -> list[str]:
        """Returns the names of the verbs in the order of the table."""
        del ctx
        return [verb.name for verb in VERBS]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Returns what help and completion need: name and help line, without the verb's code."""
        del ctx
        verb = _find_verb(cmd_name)
        if verb is None:
            return None
        return TyperCommand(verb.name, help=verb.help, hidden=verb.hidden)

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """Returns the verb's real command, imported now."""
        if args[0] in OTHER_WORDS:
            ctx.fail(f"No such command '{args[0]}'. Here that is {OTHER_WORDS[args[0]]}")
        self.commands = {verb.name: TyperCommand(verb.name) for verb in VERBS}  # for suggestions
        name, command, rest = super().resolve_command(ctx, args)
        verb = _find_verb(name or "")
        return (name, command, rest) if verb is None else (name, _load(verb), rest)

    def invoke(self, ctx: Context) -> Any:  # noqa: ANN401 - Typer's signature
        """Runs the verb; errors that warmset raises on purpose become text and an exit code."""
        with exits.reporting_errors():
            return super().invoke(ctx)


def _split_at_dashes(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Returns our own arguments, and those from `--` on: words of somebody else's command."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at:]


def _find_verb(name: str) -> Verb | None:
    return next((verb for verb in VERBS if verb.name == name), None)


def _load(verb: Verb) -> Command:
    """Imports the module of `verb` and returns its command, global options included."""
    member = import_module(f"warmset.cli.commands.{verb.module}").command
    if not isinstance(member, typer.Typer):
        function, member = member, new_app()
        member.command(verb.name)(function)
    command = typer.main.get_command(member)
    inner = command.commands.values() if isinstance(command, TyperGroup) else ()
    for each in (command, *inner):
        each.__class__ = LeanGroup if isinstance(each, TyperGroup) else LeanCommand
        add_global_options(each)
    return command


def _print_version(*, wanted: bool) -> None:
    if wanted:
        import warmset

        sys.stdout.write(f"warmset {warmset.__version__}\n")
        raise typer.Exit


app = new_app(cls=LazyGroup)

COLLECT_EVERY: Final = 50_000
"""New objects between two searches for garbage. Python's own 700 make a command that imports
libraries search dozens of times in what will stay: a tenth of the CPU time of `status`. At the end
it would search all of that three times more, a sixth of it: so all is frozen then."""


@app.callback(no_args_is_help=True)
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Decides which models an Ollama host keeps warm."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with a code of `ExitCode`."""
    gc.set_threshold(COLLECT_EVERY)
    atexit.register(gc.freeze)
    exits.exit_on_sigterm()
    exits.replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII locale keeps the answer
    options = Options()
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--no-color" in _split_at_dashes(arguments)[0]:
        os.environ["NO_COLOR"] = "1"  # help and usage errors are drawn before options are read
    if arguments and arguments[0] in ("help", "version"):  # as other programs have it
        arguments = [*arguments[1:], f"--{arguments[0]}"]
    if arguments and arguments[0] in ("--show-completion", "--install-completion"):
        from warmset.cli.completing import use_own_bash_script

        use_own_bash_script()
    try:
        typer.main.get_command(app).main(arguments, prog_name="warmset", obj=options)
    except Exception as error:  # noqa: BLE001 - the last place where anything can be reported
        exits.report_bug(error, debug=options.debug)
    raise SystemExit(exits.ExitCode.OK)
