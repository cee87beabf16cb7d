"""Models by name: those of the host, and those that are not here yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from warmset.core.model import Entry, Observation, find_entry, normalise_name
from warmset.core.ollama.types import WeightsFile
from warmset.core.settings import ModelPolicy, Settings
from warmset.shell.remote import find_remote, is_path, read_path


def find_newcomer(
    observation: Observation | None,
    name: str,
    environ: Mapping[str, str],
    *,
    offline: bool = False,
) -> Entry:
    """Returns a model that may not be on the host: a file, installed, or published.

    Args:
        observation: the host; `None` where there is none to look at.
        name: a path, a model's name, or a URL.
        environ: where caches and registry are.
        offline: ask no registry.

    Raises:
        ConfigError: the file cannot be read, or no model can have that name.
        FactsError: what the file or the network gives is not sound GGUF.
        BackendError: nothing is known of the name; says why.
    """
    if is_path(name):
        return read_path(name)
    installed = None if observation is None else find_entry(observation.entries, name)
    if installed is not None and installed.facts:
        return installed
    return find_remote(name, environ, offline=offline)


def with_policy(settings: Settings, name: str, **changes: object) -> Settings:
    """Returns the settings with some words of one model changed; `None` changes nothing."""
    said = {key: value for key, value in changes.items() if value is not None}
    if not said:
        return settings
    key = normalise_name(name)
    policy = settings.models.get(key) or ModelPolicy(name=name)
    models = {**settings.models, key: replace(policy, **said)}  # type: ignore[arg-type]  # words of ModelPolicy
    return replace(settings, models=models)


def with_somebody(settings: Settings) -> Settings:
    """Returns settings by which something is weighed: where no model is configured, all are."""
    if settings.models:
        return settings
    return replace(settings, loop=replace(settings.loop, manages_all=True))


def notes_on_context(entries: Iterable[Entry], context: int | None) -> list[str]:
    """Returns which models get less context than asked for: Ollama stops at the trained one."""
    trained = {e.name: WeightsFile.from_facts(0, e.facts).trained_context for e in entries}
    return [
        f"{name} was trained for a context of {most}, and gets no more of the {context}"
        for name, most in trained.items()
        if context is not None and 0 < most < context
    ]


def with_entry(observation: Observation, entry: Entry) -> Observation:
    """Returns the host as if `entry` were installed, in place of an entry without its facts."""
    if entry in observation.entries:
        return observation
    names = set(entry.names)
    others = [e for e in observation.entries if e.key != entry.key and not names & set(e.names)]
    return replace(observation, entries=(*others, entry))


def with_demand_as_said(observation: Observation, entry: Entry) -> Observation:
    """Returns the host as if nothing were measured of a model's demand: what is said now counts."""
    learnt = observation.learnt
    rates = {key: rate for key, rate in learnt.requests_per_day.items() if key != entry.key}
    return replace(observation, learnt=replace(learnt, requests_per_day=rates))
