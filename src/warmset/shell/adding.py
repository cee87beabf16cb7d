"""`warmset add --dry-run`: from what was asked to the report. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from warmset.core.settings import Settings
from warmset.shell.cache_types import check_server_cache_type
from warmset.shell.decide import locate
from warmset.shell.newcomer import (
    find_newcomer,
    with_demand_as_said,
    with_entry,
    with_policy,
    with_somebody,
)
from warmset.shell.newcomer_report import Report, report_on
from warmset.shell.observe import look_closely


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked about a model; `None` is what the configuration or the server says.

    Attributes:
        name: a path, a model's name, or a URL.
        context: tokens of one slot.
        kv_type: cache type of the server; empty: as it is.
        offline: ask no registry.
    """

    name: str
    context: int | None = None
    parallel: int | None = None
    priority: int | None = None
    requests_per_day: float | None = None
    kv_type: str = ""
    offline: bool = False


def report_for(asked: Asked, settings: Settings, environ: Mapping[str, str]) -> Report:
    """Returns what the model would change on the host that the settings name.

    Raises:
        ConfigError: the file cannot be read, no model can have that name, or there is no such cache
            type.
        FactsError: what the file or the network gives is not sound GGUF.
        BackendError: the server does not answer, or nothing is known of the name.
    """
    if asked.kv_type:
        check_server_cache_type(asked.kv_type)
    close = look_closely(settings)
    seen = close.observation
    entry = find_newcomer(seen, asked.name, environ, offline=asked.offline)
    settings = with_policy(
        with_somebody(settings),
        entry.name,
        context=asked.context,
        parallel=asked.parallel,
        priority=asked.priority,
        requests_per_day=asked.requests_per_day,
    )
    seen = with_entry(seen, entry)
    if asked.requests_per_day is not None:
        seen = with_demand_as_said(seen, entry)
    if asked.kv_type:
        server = replace(seen.settings, kv_cache_type=asked.kv_type)
        seen = replace(seen, settings=server)
    return report_on(seen, settings, locate(close), entry)
