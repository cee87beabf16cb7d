"""The model that a verb names, on the host that the settings name."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.model import Entry, normalise_name
from warmset.core.settings import Settings
from warmset.shell.naming import require_entry
from warmset.shell.wiring import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One installed model, by all names that count for it.

    Attributes:
        said: its names that the operator's file speaks of; else the name that was given.
    """

    entry: Entry
    said: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name shown to people."""
        return self.entry.name


def find_target(connection: Connection, settings: Settings, name: str) -> Target:
    """Returns the model of that name.

    Raises:
        UnknownModel: the server does not have it; the nearest name is told.
        BackendError: the server does not answer.
    """
    entry = require_entry(connection.server.entries(), name, url=connection.server.url)
    said = tuple(n for n in entry.names if normalise_name(n) in settings.models)
    return Target(entry=entry, said=said or (normalise_name(name),))
