"""The installed model that a word means, or what was probably meant."""

from __future__ import annotations

import difflib
from typing import Final

from warmset.core.catalogue import CATALOGUE
from warmset.core.model import Entry, find_entry, normalise_name
from warmset.errors import UnknownModel

LEAST: Final = 0.5
CLOSE: Final = 0.05
"""Likenesses by difflib, 0 to 1. Our choice: `llama3.1:9b` means one, `qwen2.5:24b` two."""


def require_entry(entries: tuple[Entry, ...], name: str, *, url: str) -> Entry:
    """Returns the installed model of that name.

    Args:
        entries: what is installed.
        name: as somebody typed it.
        url: of the server, for the message.

    Raises:
        UnknownModel: there is none; names what comes nearest.
    """
    found = find_entry(entries, name)
    if found is not None:
        return found
    if normalise_name(name) in CATALOGUE:
        hint = f"it is a well-known model: try `warmset add {name} --dry-run`"
    else:
        close = _nearest(name, [n for entry in entries for n in entry.names])
        hint = f"did you mean {' or '.join(close)}?" if close else "`ollama list` names what is"
    raise UnknownModel(f'"{name}" is not installed on {url}', hint=hint, context={"model": name})


def _nearest(name: str, known: list[str]) -> list[str]:
    """Returns the names that were probably meant: those that begin so; else the nearest."""
    wanted = _compared(name)
    begun = [each for each in map(_compared, known) if wanted and each.startswith(wanted)]
    if begun:
        return begun[:3]
    likeness = {
        each: difflib.SequenceMatcher(None, each, wanted).ratio() for each in map(_compared, known)
    }
    best = max(likeness.values(), default=0.0)
    close = [each for each, ratio in likeness.items() if ratio >= max(best - CLOSE, LEAST)]
    return sorted(close, key=lambda each: (-likeness[each], each))[:3]


def _compared(name: str) -> str:
    """Without the tag that says nothing, which would make all short names alike."""
    return normalise_name(name).removesuffix(":latest")
