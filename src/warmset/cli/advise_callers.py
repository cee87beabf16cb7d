"""`warmset advise --for caller`: what requests should say, as a table to copy from."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from warmset.cli.options import options_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    import typer

COLUMNS = (
    Column(key="model", title="MODEL"),
    Column(key="caller", title="CALLER"),
    Column(key="keep_alive", title="KEEP_ALIVE"),
    Column(key="endpoint", title="IN REQUESTS TO", wide=True),
    Column(key="reason", title="SINCE"),
)


def show(ctx: typer.Context, output: Output, *, on: str = "") -> None:
    """Prints the advice for every model of the host.

    Args:
        ctx: of the run.
        output: the form of it.
        on: another host than the configured one, as `--on` names it.

    Raises:
        BackendError: the server does not answer.
    """
    from warmset.adapters.config import load_settings
    from warmset.shell.callers import advise_callers
    from warmset.shell.ordering import Desk
    from warmset.shell.replay_host import host_url
    from warmset.shell.wiring import TWIN_SCHEME, connect

    options = options_of(ctx)
    host = host_url(on) if on else options.host
    settings = load_settings(config=options.config, host=host)
    connection = connect(settings, environ=os.environ)
    try:
        entries = connection.server.entries()
        is_twin = settings.url.startswith(TWIN_SCHEME)
        holder = Desk(os.environ, connection, is_twin=is_twin).holder
    finally:
        connection.close()
    is_steered = holder is not None and holder.verb == "serve"
    advices = advise_callers(entries, settings, is_steered=is_steered)
    rows = [asdict(advice) for advice in advices]
    if output is Output.JSON:
        emit({"is_steered": is_steered, "callers": rows})
    elif output is Output.NAME:
        emit_names([advice.model for advice in advices])
    else:
        shown = [row | {"keep_alive": row["keep_alive"] or "none"} for row in rows]
        table(shown, COLUMNS, wide=output is Output.WIDE, no_color=options.no_color)
        say(
            "`warmset.client` adds these to Python clients; `warmset assets show callers` has "
            "examples for others",
            quiet=options.quiet,
        )
