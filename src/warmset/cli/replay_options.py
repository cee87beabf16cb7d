"""The options of the verbs that replay a demand: whose host, how much memory, what pattern."""

from __future__ import annotations

from typing import Annotated

import typer

OnOption = Annotated[
    str, typer.Option("--on", metavar="HOST", help="A host: address, twin name, twin file.")
]
BudgetOption = Annotated[
    str, typer.Option("--budget", metavar="SIZE", help="Memory instead of the host's.")
]
HoursOption = Annotated[
    float, typer.Option("--hours", min=0.1, max=744, help="Length of a pattern.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of a pattern.")]
