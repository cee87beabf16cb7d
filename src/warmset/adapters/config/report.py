"""What is wrong with a configuration, in words: place, key, value, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from warmset.adapters.config.document import KeyPath, dotted, shorten
from warmset.adapters.config.schema import keys_of, section_at
from warmset.adapters.config.sources import Layers
from warmset.errors import ConfigError

MAX_SHOWN = 20
"""Errors spelled out; a file with more is probably not ours."""


SECRETS = frozenset({("alerts", "webhook")})
"""Keys whose value is not repeated in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong."""

    path: KeyPath
    problem: str
    value: object = None
    show_value: bool = True

    def describe(self, layers: Layers) -> str:
        """Returns `FILE:LINE: KEY = VALUE: PROBLEM`."""
        shown = dotted(self.path)
        if self.show_value and self.path not in SECRETS and not isinstance(self.value, Mapping):
            shown += f" = {shorten(self.value)}"
        return f"{layers.origin(self.path)}: {shown}: {self.problem}"


def refuse(faults: Sequence[Fault], layers: Layers) -> ConfigError:
    """Returns the error that tells all faults, in the order of their lines."""
    ordered = sorted(faults, key=lambda fault: (_line_of(fault, layers), fault.path))
    told = [fault.describe(layers) for fault in ordered]
    message = told[0]
    if len(told) > 1:
        rest = len(told) - MAX_SHOWN
        shown = [*told[:MAX_SHOWN], *([f"and {rest} more"] if rest > 0 else [])]
        message = f"{layers.name}: {len(told)} errors\n" + "\n".join(f"  {line}" for line in shown)
    return ConfigError(
        message,
        hint="correct what is named above; nothing has been changed",
        context={"path": layers.path, "errors": tuple(told)},
    )


def faults_of(error: ValidationError) -> list[Fault]:
    """Returns pydantic's findings as faults of keys of the file."""
    faults = []
    for item in error.errors(include_url=False):
        path = tuple(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            faults.append(_unknown_key(path, item["input"]))
            continue
        while len(path) > 1 and section_at(path) is None and not _is_key(path):
            path = path[:-1]  # pydantic's own words for branches of a union
        problem = item["msg"].removeprefix("Value error, ")
        problem = problem.replace("Input should", "should", 1)
        if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
            problem = f"should be a table, [{dotted(path)}]"
        faults.append(Fault(path=path, problem=problem, value=item["input"]))
    return faults


def nearest(word: str, words: Sequence[str]) -> str:
    """Returns `; did you mean X?`, or what there is to choose from."""
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there is {', '.join(words)}" if words else ""


def _unknown_key(path: KeyPath, value: object) -> Fault:
    section = section_at(path[:-1])
    problem = "no such key" + nearest(path[-1], keys_of(section) if section else [])
    return Fault(path=path, problem=problem, value=value)


def _is_key(path: KeyPath) -> bool:
    section = section_at(path[:-1])
    return section is not None and path[-1] in keys_of(section)


def _line_of(fault: Fault, layers: Layers) -> int:
    for length in range(len(fault.path), 0, -1):
        if fault.path[:length] in layers.lines:
            return layers.lines[fault.path[:length]]
    return 0
