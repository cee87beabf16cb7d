"""`warmset assets`: files for systemd, Prometheus, Grafana, Compose and Kubernetes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from warmset.cli.options import OutputOption, new_app, options_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

command = new_app()

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As `assets list` shows it.")]


@command.callback()
def _group() -> None:
    """Files for the programs around: systemd, Prometheus, Grafana, Compose, Kubernetes."""


@command.command("list")
def list_assets(ctx: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List what there is."""
    from warmset.shell.assets import BUNDLES

    rows = [
        {"name": b.name, "folder": b.folder, "files": ", ".join(b.files), "what": b.what}
        for b in BUNDLES
    ]
    if output is Output.JSON:
        emit(
            {
                "assets": [
                    row | {"files": list(b.files)} for row, b in zip(rows, BUNDLES, strict=True)
                ]
            }
        )
    elif output is Output.NAME:
        emit_names([b.name for b in BUNDLES])
    else:
        columns = (
            Column(key="name", title="NAME"),
            Column(key="folder", title="WRITTEN TO"),
            Column(key="what", title="WHAT"),
            Column(key="files", title="FILES", wide=True),
        )
        table(rows, columns, wide=output is Output.WIDE, no_color=options_of(ctx).no_color)


@command.command()
def show(name: NameArgument) -> None:
    """Print the files of one, or one file such as compose/Containerfile."""
    from warmset.shell.assets import read_asset

    files = list(read_asset(name))
    for file, text in files:
        if len(files) > 1:
            sys.stdout.write(f"# --- {file}\n")
        sys.stdout.write(text)


@command.command()
def write(
    ctx: typer.Context,
    name: NameArgument,
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Another folder than the usual one.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written where.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that were changed.")
    ] = False,
) -> None:
    """Write the files of one to their place; changed files are left alone without --force."""
    from warmset.shell.assets import find_bundle, hidden_executable, plan_writing, write_files

    options = options_of(ctx)
    bundle = find_bundle(name)
    writings = plan_writing(bundle, Path(bundle.folder) if to is None else to)
    if not dry_run:
        write_files(writings, is_forced=force)
    rows = [
        {"path": str(one.path), "change": one.change.value, "bytes": len(one.text.encode())}
        for one in writings
    ]
    columns = (
        Column(key="path", title="WOULD WRITE" if dry_run else "FILE"),
        Column(key="change", title="CHANGE" if dry_run else "WAS"),
        Column(key="bytes", title="BYTES", right=True),
    )
    table(rows, columns, wide=False, no_color=options.no_color)
    if name == "systemd" and (path := hidden_executable()):
        say(f"warning: the service cannot see {path}; install warmset below /opt or /usr/local")
    if bundle.next:
        say(f"next: {bundle.next}", quiet=options.quiet)
