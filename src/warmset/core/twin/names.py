"""Names of models: what Ollama accepts, compares as equal, and shows.

Source: Ollama v0.33 `types/model/name.go: ParseName, IsValid, EqualFold, DisplayShortest`,
`internal/modelref` (the suffixes `:cloud`, `-cloud` and `:local`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name with all of its parts.

    Invariants:
        Two names are equal when they differ in case only; `display` keeps the case.
    """

    key: tuple[str, str, str, str]
    display: str = field(compare=False)


def parse_name(text: str) -> ModelName | None:
    """Returns the name that a text means, `None` for what is no valid name."""
    rest, tag = text, DEFAULT_TAG
    if text.rfind(":") > text.rfind("/"):
        rest, _, tag = text.rpartition(":")
    head, slash, model = rest.rpartition("/")
    host, namespace = DEFAULT_HOST, DEFAULT_NAMESPACE
    if slash:
        before, second, namespace = head.rpartition("/")
        if second:
            host = before.rpartition("://")[2]
    patterns = ((_HOST, host), (_NAMESPACE, namespace), (_PART, model), (_PART, tag))
    if not all(pattern.fullmatch(part) for pattern, part in patterns):
        return None
    shown = f"{model}:{tag}"
    if host.lower() != DEFAULT_HOST:
        shown = f"{host}/{namespace}/{shown}"
    elif namespace.lower() != DEFAULT_NAMESPACE:
        shown = f"{namespace}/{shown}"
    return ModelName((host.lower(), namespace.lower(), model.lower(), tag.lower()), shown)


def is_cloud_name(text: str) -> bool:
    """Returns whether a request for this name goes to the cloud instead of to the scheduler."""
    _, colon, tag = text.lower().rpartition(":")
    return bool(colon) and "/" not in tag and (tag == "cloud" or tag.endswith("-cloud"))
