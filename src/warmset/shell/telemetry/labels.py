"""The label values of models and GPUs: as many as the operator named, however long it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from warmset.core.control.config import Config
from warmset.core.model import Device, Entry, ModelKey, Observation, normalise_name

OTHER: Final = "other"
"""All models that nobody configured."""

MOST_NAMES: Final = 200
"""Configured names beyond this count as `other`. Our choice: a scrape stays below a megabyte."""

_GPU_DIGITS: Final = 8


class Labels:
    """Which model and GPU stand under which name, at one look.

    Args:
        observation: for the installed models and the GPUs.
        config: for the configured names, held ones included.

    Attributes:
        names: the configured names, at most `MOST_NAMES`.
    """

    def __init__(self, observation: Observation, config: Config) -> None:
        self.observation = observation
        self.config = config
        known = dict.fromkeys((*config.settings.models, *config.holds))
        self.names = tuple(known)[:MOST_NAMES]
        self._known = frozenset(self.names)
        self._entries = {entry.key: entry for entry in observation.entries}
        self._told: dict[ModelKey, str] = {}
        self._short = Counter(_short_id(device) for device in observation.devices)

    def of_entry(self, entry: Entry) -> str:
        """Returns the configured name of an installed model, or `other`."""
        label = self._told.get(entry.key)
        if label is None:
            label = self._told[entry.key] = self._find(entry)
        return label

    def _find(self, entry: Entry) -> str:
        listed = {normalise_name(name) for name in entry.names}
        if not listed & self._known:
            return OTHER
        said = normalise_name(self.config.settings.policy_for(entry.names).name)
        return said if said in listed & self._known else min(listed & self._known)

    def of(self, key: ModelKey | None, name: str) -> str:
        """Returns the configured name of a model that may be gone, or `other`."""
        entry = self._entries.get(key) if key else None
        if entry is not None:
            return self.of_entry(entry)
        return normalise_name(name) if normalise_name(name) in self._known else OTHER

    def configured(self) -> Iterator[tuple[str, Entry | None]]:
        """Yields each configured name once, with its model if that is installed."""
        told: set[str] = set()
        aliases: set[str] = set()
        for entry in self.observation.entries:
            label = self.of_entry(entry)
            aliases |= {normalise_name(name) for name in entry.names}
            if label != OTHER and label not in told:
                told.add(label)
                yield label, entry
        for name in self.names:
            if name not in told and name not in aliases:
                yield name, None

    def of_gpu(self, device: Device) -> str:
        """Returns the start of a GPU's UUID, the whole of it where two begin alike."""
        short = _short_id(device)
        return short if self._short[short] == 1 else device.id


def _short_id(device: Device) -> str:
    kind, dash, rest = device.id.partition("-")
    return f"{kind}-{rest[:_GPU_DIGITS]}" if dash and kind in ("GPU", "MIG") else device.id
