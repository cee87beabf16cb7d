"""Which demand on which host: what `simulate` was asked for, made ready to be replayed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from warmset.adapters.config import load_settings, parse_size
from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import ModelCost
from warmset.core.settings import Settings
from warmset.core.twin.demand import PATTERNS, generate_demand
from warmset.core.twin.hosts import HOSTS
from warmset.core.twin.memory import PoolSpec
from warmset.errors import ConfigError, TraceError, Unreachable
from warmset.shell.replay_host import ReplayHost, host_url, look_at
from warmset.shell.trace_files import is_trace_file, read_models, read_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A demand and the host it is to be replayed on.

    Attributes:
        label, host: for people.
        begins: Unix seconds of the trace's zero; `None`: of no day in particular.
        notes: what limits the answer.
    """

    label: str
    host: str
    url: str
    trace: Trace
    spec: PoolSpec
    gpus: int
    begins: float | None = None
    notes: tuple[str, ...] = ()


def find_source(
    word: str,
    *,
    from_history: bool,
    config: str | None,
    host: str | None,
    budget: str,
    hours: float,
    seed: int,
    environ: Mapping[str, str],
) -> Source:
    """Returns the demand that a word means: a trace file, a pattern, or the host's own history.

    Args:
        word: a file, a pattern; empty with `from_history`.
        from_history: what was seen on the host.
        config, host: as given on the command line.
        budget: a size instead of the host's; empty: the host's.
        hours, seed: of a pattern.
        environ: for the state folder.

    Raises:
        ConfigError: two sources or none, no such pattern, a wrong size.
        TraceError: the trace is wrong or empty, or speaks of unknown models.
        WarmsetError: the host cannot be reached.
    """
    if from_history == bool(word):
        raise ConfigError(
            "one demand at a time: a TRACE, or --from-history" if word else "no demand given",
            hint=f"a .csv.gz file, --from-history, or one of {', '.join(PATTERNS)}",
        )
    settings = load_settings(config=config, host=host_url(host) if host else None)
    size = parse_size(budget, "--budget") if budget else None
    path = Path(word).expanduser() if is_trace_file(word) else None
    # A file that is wrong is told before a server is asked.
    told = None if path is None else (read_trace(path), read_models(path))
    on = _look_at(settings, host)
    given: Mapping[str, ModelCost] | None = None
    begins: float | None = None
    notes: tuple[str, ...] = ()
    if from_history:
        from warmset.shell.demand_history import read_history, without_unknown

        past = without_unknown(read_history(environ, on.url, on), on.costs)
        trace, given, notes, label = past.trace, past.costs, past.notes, "history"
        begins = past.begins
    elif path is not None and told is not None:
        (trace, given), label = told, path.name
    else:
        trace, label = _pattern(word, on, hours=hours, seed=seed), f"{word} demand"
    if not len(trace):
        raise TraceError(f"{label}: there is no request in it")
    return Source(
        label=label,
        host=on.label,
        url=on.url,
        trace=trace,
        spec=on.spec(trace.models, given=given, budget_bytes=size),
        gpus=on.gpus,
        begins=begins,
        notes=notes,
    )


def _look_at(settings: Settings, word: str | None) -> ReplayHost:
    """Returns the host; where a word that is nearly a twin's leads to no server, says which."""
    try:
        return look_at(settings)
    except Unreachable as error:
        name = re.split(r"[.:]", word or "", maxsplit=1)[0]
        close = difflib.get_close_matches(name, HOSTS, n=1)
        if not close:
            raise
        hint = f"did you mean the twin {close[0]!r}? {error.hint}"
        raise Unreachable(error.message, hint=hint) from error


def _pattern(word: str, on: ReplayHost, *, hours: float, seed: int) -> Trace:
    arrivals = generate_demand(word, on.names, hours=hours, seed=seed)
    return Trace.of(Request(a.at, a.model, a.seconds) for a in arrivals)
