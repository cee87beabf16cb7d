"""`warmset advise`: keep-alives from measured gaps, and which clients work against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf

from warmset.adapters.config.zones import find_zone
from warmset.core.demand.coactivity import Follows, find_follows
from warmset.core.demand.hours import Hours, find_hours
from warmset.core.demand.keeping import weigh_keep_alives
from warmset.core.policy.advice import Advice, advise, most_at_once, one_for_all
from warmset.core.units import format_seconds
from warmset.shell.pages import read_story
from warmset.shell.replay_source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A keep-alive that clients send. Units: seconds; infinity: for ever."""

    model: str
    keep_alive: float
    overwrites: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counsel:
    """What to do on a host.

    Attributes:
        models: the most asked-for first.
        unknown: models of which nothing is known but their requests.
        keep_alive: one value for all models, where nobody sets more.
        max_loaded: what `OLLAMA_MAX_LOADED_MODELS` should be; `None`: it is enough.
        clients: what works against it.
        hours: by model, when it is asked for, if only then; in the local time of this machine.
        follows: who is asked for right after whom, the surest first.
    """

    models: tuple[Advice, ...]
    unknown: tuple[str, ...]
    keep_alive: float
    max_loaded: int | None
    clients: tuple[Client, ...]
    hours: Mapping[str, Hours]
    follows: tuple[Follows, ...]


def counsel(source: Source, *, environ: Mapping[str, str]) -> Counsel:
    """Returns the advice for a demand on a host.

    Args:
        source: the demand, the host.
        environ: for what `serve` has noticed of clients there.

    Raises:
        TraceError: the journal of the host cannot be read.
    """
    spec = source.spec
    keepings = weigh_keep_alives(source.trace)
    room = spec.budget_bytes * spec.fit_share  # beyond it a load finds no room beside the others
    span = source.trace.span_seconds
    costs = spec.servable()
    models = advise(keepings, costs, budget_bytes=room, span_seconds=span)
    needed = most_at_once(models)
    limit = spec.max_loaded
    return Counsel(
        models=models,
        unknown=tuple(k.model for k in keepings if k.model not in costs),
        keep_alive=one_for_all(keepings, costs, budget_bytes=room, span_seconds=span),
        max_loaded=needed if limit is not None and needed > limit else None,
        clients=_clients(source, models, environ),
        hours=_hours(source, models),
        follows=find_follows(source.trace),
    )


def _hours(source: Source, models: tuple[Advice, ...]) -> dict[str, Hours]:
    """Returns when models are asked for; nothing where the demand is of no day in particular."""
    if source.begins is None:
        return {}
    begins, zone = source.begins, find_zone("")
    found = {
        advice.keeping.model: find_hours([begins + at for at in advice.keeping.times], zone)
        for advice in models
    }
    return {model: hours for model, hours in found.items() if hours is not None}


def _clients(
    source: Source, models: tuple[Advice, ...], environ: Mapping[str, str]
) -> tuple[Client, ...]:
    """Returns what the running or last `serve` noticed of keep-alives that clients send."""
    state = read_story(environ, source.url, limit=1).state
    wanted = {advice.keeping.model: advice.keep_alive for advice in models}
    found = []
    for known in (state.models if state else {}).values():
        if known.foreign is None or not (known.overwrites or isinf(known.foreign)):
            continue  # the server's own default is no client's word
        advised, sent = wanted.get(known.name), known.foreign
        if isinf(sent):
            text = "sent for ever: no pin, and nothing it does not need is given back"
        elif advised is not None and sent < advised:
            text = f"shorter than advised ({format_seconds(advised)}): leave it out of the request"
        elif advised is not None and sent > advised:
            text = f"longer than advised ({format_seconds(advised)}): it holds room others need"
        else:
            continue
        found.append(
            Client(model=known.name, keep_alive=sent, overwrites=len(known.overwrites), text=text)
        )
    return tuple(sorted(found, key=lambda client: client.model))


def wire_text(keep_alive: float) -> str:
    """Returns a keep-alive as requests and budgets.toml write it; a pin as a day.

    An endless value is no pin: Ollama evicts such models in the order of their hashes.
    """
    if isinf(keep_alive):
        return "24h"
    if keep_alive == 0:
        return "0"
    hours, rest = divmod(round(keep_alive), 3600)
    return f"{hours}h" if not rest else f"{round(keep_alive) // 60}m"
