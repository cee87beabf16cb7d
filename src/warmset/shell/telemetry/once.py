"""The metrics of a host without staying: asked of its daemon, or from one look."""

from __future__ import annotations

from collections.abc import Mapping

from warmset.adapters.journal import state_folder
from warmset.adapters.metrics import Metrics, scrape
from warmset.core.control.config import Config
from warmset.core.settings import Settings
from warmset.shell.lock import find_holder
from warmset.shell.observe import see
from warmset.shell.telemetry.gauges import Gauges
from warmset.shell.telemetry.labels import Labels
from warmset.shell.wiring import TWIN_SCHEME, Connection


def ask_daemon(
    connection: Connection, *, environ: Mapping[str, str], path: str = "/metrics"
) -> str | None:
    """Returns what the daemon of this host answers; `None` if none does."""
    url = connection.server.url
    if url.startswith(TWIN_SCHEME):
        return None
    holder = find_holder(state_folder(environ, url))
    return scrape(holder.url, path) if holder is not None and holder.url else None


def look_once(connection: Connection, settings: Settings) -> str:
    """Returns the gauges of one look.

    Raises:
        BackendError: Ollama does not answer.
    """
    seen = see(connection, settings)
    labels = Labels(seen.observation, Config(settings=settings))
    values = Gauges().of_look(seen.observation, seen.picture, labels, now=seen.observation.at)
    values["last_success_timestamp_seconds"] = {(): seen.observation.at}
    text, _ = Metrics(lambda: values, counts=False).render()
    return text.decode()
