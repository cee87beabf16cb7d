"""The label values of models and GPUs: as many as the operator named, however long it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from warmset.core.control.config import Config
from warmset.core.model import Device, Entry, ModelKey, Observation, normalise_name

OTHER: Final = "other"
"""All models that nobody configured."""

MOST_NAMES: Final = 200
"""Configured names beyond this count as `other`. Our choice: a scrape stays below a megabyte."""

_GPU_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Labels:
    """Which model stands under which name, at one look.

    Args:
        observation: for the installed models.
        config: for the configured names.
    """

    observation: Observation
    config: Config

    @property
    def names(self) -> tuple[str, ...]:
        """The configured names, held ones included."""
        known = dict.fromkeys((*self.config.settings.models, *self.config.holds))
        return tuple(known)[:MOST_NAMES]

    def of_entry(self, entry: Entry) -> str:
        """Returns the configured name of an installed model, or `other`."""
        settings = self.config.settings
        said = normalise_name(settings.policy_for(entry.names).name)
        listed = {normalise_name(name) for name in entry.names}
        return next((n for n in (said, *sorted(listed)) if n in self.names and n in listed), OTHER)

    def of(self, key: ModelKey | None, name: str) -> str:
        """Returns the configured name of a model that may be gone, or `other`."""
        entry = next((e for e in self.observation.entries if key and e.key == key), None)
        if entry is not None:
            return self.of_entry(entry)
        return normalise_name(name) if normalise_name(name) in self.names else OTHER

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


def gpu_label(device: Device) -> str:
    """Returns the start of a GPU's UUID, as `nvidia-smi -L` shows it; else its whole id."""
    kind, dash, rest = device.id.partition("-")
    if dash and kind in ("GPU", "MIG"):
        return f"{kind}-{rest[:_GPU_DIGITS]}"
    return device.id
