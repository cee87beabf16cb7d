"""`warmset twin`: a pretended Ollama host on a loopback port."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import options_of
from warmset.cli.render import emit_names, say

if TYPE_CHECKING:
    from warmset.shell.twin_server import TwinServer

DEFAULT_PORT = 11435  # the one after Ollama's


def command(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="[NAME|FILE.toml]", help="The pretended host.")
    ] = "workstation",
    *,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1; 0 takes any free port.")
    ] = DEFAULT_PORT,
    speed: Annotated[
        float, typer.Option("--speed", min=0.01, max=100_000, help="Pretended seconds per second.")
    ] = 1.0,
    demand: Annotated[
        str,
        typer.Option(
            "--demand",
            metavar="PATTERN|TRACE.csv",
            help="Users who live in it: idle, quiet, office, busy, or a trace.",
        ),
    ] = "",
    hours: Annotated[
        float, typer.Option("--hours", min=0.1, max=744, help="Pretended hours that they stay.")
    ] = 24.0,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another day.")] = 0,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Only this model installed; repeatable."),
    ] = None,
    list_hosts: Annotated[
        bool, typer.Option("--list", help="Print the names of the known hosts and stop.")
    ] = False,
) -> None:
    """Serve a pretended Ollama on loopback, for any client, until interrupted.

    The OLLAMA_* variables of this process decide as they would on a real server.
    """
    from warmset.core.twin.hosts import HOSTS
    from warmset.shell.twin_serve import TwinOrder, serve

    if list_hosts:
        emit_names(list(HOSTS))
        return
    quiet = options_of(ctx).quiet
    order = TwinOrder(
        host=name,
        port=port,
        speed=speed,
        demand=demand,
        hours=hours,
        seed=seed,
        models=tuple(models or ()),
        environ=os.environ,
    )
    serve(order, lambda server: _announce(server, order.speed, quiet=quiet))


def _announce(server: TwinServer, speed: float, *, quiet: bool) -> None:
    spec = server.api.host.spec
    emit_names([f"OLLAMA_HOST={server.url}"])
    sys.stdout.flush()  # whoever started it reads the address from a pipe
    pace = "in real time" if speed == 1.0 else f"{speed:g} times as fast as real time"
    names = ", ".join(model.name for model in spec.models)
    say(f"{spec.name} is a twin: nothing here is real; it runs {pace}", quiet=quiet)
    say(f"installed: {names or 'nothing'}", quiet=quiet)
