"""Models by name: those of the host, and those that are not here yet."""

from __future__ import annotations

import difflib
from dataclasses import replace

from warmset.core.model import Entry, ModelKey, Observation, find_entry, normalise_name
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.twin.catalogue import CATALOGUE, KnownModel
from warmset.errors import UnknownModel

BUILT_IN = "built-in facts"


def require_entry(observation: Observation, name: str) -> Entry:
    """Returns the installed model of that name.

    Raises:
        UnknownModel: there is none; names what comes nearest.
    """
    found = find_entry(observation.entries, name)
    if found is not None:
        return found
    if normalise_name(name) in CATALOGUE:
        raise UnknownModel(
            f'"{name}" is not installed on {observation.server_url}',
            hint=f"It is a well-known model: try `warmset add {name} --dry-run`.",
            context={"model": name},
        )
    names = [_compared(n) for entry in observation.entries for n in entry.names]
    close = difflib.get_close_matches(_compared(name), names, n=3, cutoff=0.5)
    raise UnknownModel(
        f'"{name}" is not installed on {observation.server_url}',
        hint=f"Did you mean {', '.join(close)}?" if close else "`ollama list` names what is.",
        context={"model": name},
    )


def _compared(name: str) -> str:
    """Without the tag that says nothing, which would make all short names alike."""
    return normalise_name(name).removesuffix(":latest")


def find_newcomer(observation: Observation, name: str) -> Entry:
    """Returns a model that may not be on the host: installed, else from the built-in facts.

    Raises:
        UnknownModel: nothing is known of the name.
    """
    installed = find_entry(observation.entries, name)
    if installed is not None:
        return installed
    known = CATALOGUE.get(normalise_name(name))
    if known is None:
        raise UnknownModel(
            f'"{name}" is neither installed nor among the models with built-in facts',
            hint=f"Pull it first, or try one of {', '.join(sorted(CATALOGUE))}.",
            context={"model": name},
        )
    return built_in_entry(known, BUILT_IN)


def built_in_entry(known: KnownModel, basis: str) -> Entry:
    """Returns a well-known model as if it were installed; `basis` says that it is not."""
    return Entry(
        key=ModelKey(known.key),
        names=(known.name,),
        manifest_digests={},
        file_bytes=known.file_bytes,
        family=known.arch,
        parameter_size=known.parameter_size,
        quantization=known.quantization,
        capabilities=frozenset(known.capabilities),
        facts=known.facts,
        basis=basis,
    )


def with_policy(settings: Settings, name: str, **changes: object) -> Settings:
    """Returns the settings with some words of one model changed; `None` changes nothing."""
    said = {key: value for key, value in changes.items() if value is not None}
    if not said:
        return settings
    key = normalise_name(name)
    policy = settings.models.get(key) or ModelPolicy(name=name)
    models = {**settings.models, key: replace(policy, **said)}  # type: ignore[arg-type]  # words of ModelPolicy
    return replace(settings, models=models)
