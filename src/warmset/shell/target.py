"""The model that a verb names, on the host that the settings name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from warmset.core.model import Entry, find_entry, normalise_name
from warmset.core.settings import Settings
from warmset.errors import UnknownModel
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
    entries = connection.server.entries()
    entry = find_entry(entries, name)
    if entry is None:
        known = [n for each in entries for n in each.names]
        close = difflib.get_close_matches(normalise_name(name), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `ollama list`"
        raise UnknownModel(f"there is no model {name!r} on this host", hint=hint)
    said = tuple(n for n in entry.names if normalise_name(n) in settings.models)
    return Target(entry=entry, said=said or (normalise_name(name),))
