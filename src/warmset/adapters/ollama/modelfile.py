"""The two texts in a reply of `/api/show` that matter for memory: `modelfile` and `parameters`.

Source: Ollama v0.33 `server/images.go: Model.String` (order: weights, adapters, draft,
projectors, then texts), `server/routes.go: GetModelInfo` (parameters in Go syntax).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_BLOB: Final = re.compile(r"(?:^|[\\/])sha256[-:]([0-9a-f]{64})$")
_MAX_NUM_CTX: Final = 1 << 40
_MAX_GPUS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The files that a model is made of, as paths on the server; empty if it has none."""

    weights: str = ""
    projectors: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    draft: str = ""


def parse_layers(modelfile: str) -> Layers:
    """Returns the files named at the head of a Modelfile.

    Reading stops at the first other command: the text of a TEMPLATE or SYSTEM follows, and may
    itself hold lines that begin with FROM.
    """
    froms: list[str] = []
    adapters: list[str] = []
    draft = ""
    for line in modelfile.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        command, _, rest = line.partition(" ")
        path = _unquote(rest.strip())
        if command == "FROM":
            froms.append(path)
        elif command == "ADAPTER":
            adapters.append(path)
        elif command == "DRAFT":
            draft = path
        else:
            break
    return Layers(
        weights=froms[0] if froms else "",
        projectors=tuple(froms[1:]),
        adapters=tuple(adapters),
        draft=draft,
    )


def blob_digest(path: str) -> str | None:
    """Returns the hex digest in the name of a blob file, `None` if it is not one."""
    match = _BLOB.search(path)
    return match.group(1) if match else None


def parse_num_ctx(parameters: str) -> int | None:
    """Returns `num_ctx` of the `parameters` text, `None` if absent or not a usable number."""
    return _parse_number(parameters, "num_ctx", range(1, _MAX_NUM_CTX + 1))


def parse_main_gpu(parameters: str) -> int | None:
    """Returns `main_gpu` of the `parameters` text, `None` if absent or no index of a GPU."""
    return _parse_number(parameters, "main_gpu", range(_MAX_GPUS))


def _parse_number(parameters: str, name: str, allowed: range) -> int | None:
    """Returns the last usable value of a parameter.

    Go prints numbers from 1e6 on as `1.048576e+06`; a text value would stand in quotes.
    """
    found: int | None = None
    for line in parameters.splitlines():
        words = line.split(maxsplit=1)
        if len(words) != 2 or words[0] != name:
            continue
        try:
            number = float(_unquote(words[1].strip()))
        except ValueError:
            continue
        if math.isfinite(number) and int(number) in allowed:
            found = int(number)
    return found


def _unquote(text: str) -> str:
    for quote in ('"""', '"'):
        if text.startswith(quote) and text.endswith(quote) and len(text) >= 2 * len(quote):
            return text[len(quote) : -len(quote)]
    return text
