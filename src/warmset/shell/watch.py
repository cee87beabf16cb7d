"""Looks at one host again and again through one connection.

Rule: the first look may fail as any command does; a later one that fails is news about the host
and never the end of the watch.
"""

from __future__ import annotations

from collections.abc import Iterator

from warmset.core.settings import Settings
from warmset.errors import WarmsetError
from warmset.shell.observe import Seen, see
from warmset.shell.wiring import Connection


def watch(
    connection: Connection, settings: Settings, *, interval_seconds: float
) -> Iterator[Seen | WarmsetError]:
    """Yields look after look, each judged with the one before it; ends never.

    Args:
        connection: The host; its driver sessions stay open from look to look.
        settings: The operator's word.
        interval_seconds: From the end of one look to the begin of the next.

    Raises:
        WarmsetError: the first look fails.
    """
    seen = see(connection, settings)
    yield seen
    while True:
        connection.wait(interval_seconds)
        try:
            seen = see(connection, settings, before=seen.picture)
        except WarmsetError as error:
            yield error
        else:
            yield seen
