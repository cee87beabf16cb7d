"""Demand in and out of a host's store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warmset.adapters.journal import DemandStore, ModelRow, UseRow, make_folder, state_folder
from warmset.core.model import normalise_name
from warmset.core.settings import Settings
from warmset.errors import ConfigError, TraceError
from warmset.shell.demand_history import Past, read_history
from warmset.shell.replay_host import ReplayHost, look_at
from warmset.shell.request_logs import Logged, read_log
from warmset.shell.trace_files import is_trace_file, read_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was added. `strangers`: models that the host does not have."""

    count: int
    models: int
    folder: str
    strangers: tuple[str, ...]


def import_file(
    path: Path,
    settings: Settings,
    *,
    environ: Mapping[str, str],
    now: float,
    model: str = "",
    start: str = "",
) -> Imported:
    """Adds the requests of a file to the demand store, all or none of them.

    Args:
        path: a trace (`.csv`, `.csv.gz`) or a log.
        settings: the host.
        environ: for the state folder.
        now: where a trace ends that says nothing else, in Unix seconds.
        model: whose requests an access log has.
        start: when a trace began.

    Raises:
        TraceError: the file is wrong, or the store cannot be written.
        WarmsetError: the host cannot be reached.
    """
    if is_trace_file(path.name):
        logged, source = _as_logged(path, start, now), "import"
    elif start:
        raise ConfigError("--start is for traces: a log has its own moments")
    else:
        logged, source = read_log(path, model=model), "log"
    host = look_at(settings)
    names = {row.model: _key(host, row.model) for row in logged}
    folder = make_folder(state_folder(environ, host.url))
    store = DemandStore(folder, may_mend=False)
    try:
        for name, key in names.items():
            if key == name:
                store.note_model(ModelRow(key=key, name=name))
            else:
                cost = host.costs.get(normalise_name(name))
                store.note_model(ModelRow(key=key, name=name, bytes=cost.bytes if cost else None))
        rows = [
            UseRow(at=row.at, key=names[row.model], seconds=row.seconds, source=source)
            for row in logged
        ]
        is_kept, trouble = store.add_uses(rows), store.take_trouble()
    finally:
        store.close()
    if not is_kept or trouble:
        raise TraceError(
            trouble or f"{folder}: nothing could be kept",
            hint="set WARMSET_STATE to a folder that this user may write",
        )
    strangers = tuple(sorted(name for name, key in names.items() if key == name))
    return Imported(
        count=len(rows), models=len(set(names.values())), folder=str(folder), strangers=strangers
    )


def history_of(settings: Settings, environ: Mapping[str, str], *, since: float = 0.0) -> Past:
    """Returns what was seen of the host that the settings name.

    Raises:
        TraceError: there is nothing.
        WarmsetError: the host cannot be reached.
    """
    host = look_at(settings)
    return read_history(environ, host.url, host, since)


def _as_logged(path: Path, start: str, now: float) -> list[Logged]:
    trace = read_trace(path)
    if not len(trace):
        raise TraceError(f"{path}: there is no request in it")
    begins = _parse_moment(start) if start else now - trace.span_seconds
    return [Logged(at=begins + r.at, model=r.model, seconds=r.seconds) for r in trace.requests()]


def _parse_moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--start {text!r}: should be a moment", hint="--start 2026-01-05T09:00:00Z"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _key(host: ReplayHost, name: str) -> str:
    """Returns the weights of a name; what is not installed is kept by its name."""
    return host.keys.get(normalise_name(name), name)
