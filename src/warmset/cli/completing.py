"""Model names for shell completion: from what was last seen, at once, never from the network."""

from __future__ import annotations

import os


def complete_model(incomplete: str) -> list[str]:
    """Returns the installed models that begin with what was typed."""
    from warmset.adapters.ollama.names import default_folder, recall_names

    names = recall_names(default_folder(os.environ), _server())
    return [name for name in names if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Returns the same for a list with commas, as `run --with` takes it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in complete_model(last)]


def _server() -> str:
    """The address that the environment names, in the form under which names are kept."""
    said = os.environ.get("WARMSET_HOST") or os.environ.get("OLLAMA_HOST") or ""
    if not said:
        return ""
    from warmset.adapters.ollama.address import parse_address
    from warmset.errors import WarmsetError

    try:
        return parse_address(said).url
    except WarmsetError:
        return ""
