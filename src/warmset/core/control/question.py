"""What the warm set depends on, so that a host that stands as before is not planned for again.

Planning takes longer than looking, by orders of magnitude. An answer holds while the host is the
same in everything that is named or counted, and no amount of memory has moved by a whole grain
since the look that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from warmset.core.control.config import Config
from warmset.core.host.budget import if_fresh
from warmset.core.model import ModelKey, Observation, Quality, Reading, Resident
from warmset.core.planner.locate import guessed, locate_residents, where_told
from warmset.core.replacing import replace
from warmset.core.settings import Settings

GPU_GRAINS: Final = 512
RAM_GRAINS: Final = 64
"""Into how many grains a memory is divided. Our choice: 48 MiB of a 24 GiB card is less than any
estimate's error, and RAM is never known closer than a few per cent while programs come and go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted:
    """The configured models that are not wanted at the moment.

    Attributes:
        closed: outside their windows: neither pinned nor fetched.
        dismissed: key -> why it is to leave, or not to come. The same reason at every look.
    """

    closed: frozenset[ModelKey] = frozenset()
    dismissed: Mapping[ModelKey, str] = field(default_factory=dict)


EVERYTHING: Final = Unwanted()
"""Nothing is unwanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that the warm set depends on, and nothing else.

    Attributes:
        looked: one look without moments.
        facts: the same without amounts of memory.
        amounts: what was measured -> bytes; not rounded.
        grains: what was measured -> by how much it may move.
    """

    facts: Observation
    settings: Settings
    managed: frozenset[ModelKey]
    guessed: frozenset[ModelKey]
    held: frozenset[ModelKey]
    load_seconds: Mapping[ModelKey, float]
    busy: frozenset[ModelKey] = frozenset()
    unwanted: Unwanted = EVERYTHING
    looked: Observation = field(compare=False)
    amounts: Mapping[tuple[str, ...], int] = field(compare=False)
    grains: Mapping[tuple[str, ...], int] = field(compare=False)

    @property
    def observation(self) -> Observation:
        """What an answer is made from: the look, with free memory rounded down to whole grains.

        So two looks at a calm host have one answer. What is rounded is what would be free without
        the residents, so that one who leaves takes no grain of the others' room along.
        """
        return _rounded(self.looked)

    def has_answer_of(self, earlier: Question) -> bool:
        """Returns whether the answer to an earlier question holds for this one."""
        if self.amounts.keys() != earlier.amounts.keys() or self != earlier:
            return False
        return all(
            abs(count - earlier.amounts[what]) < earlier.grains[what]
            for what, count in self.amounts.items()
        )


def ask(
    observation: Observation,
    config: Config,
    load_seconds: Mapping[ModelKey, float],
    now: float,
    unwanted: Unwanted = EVERYTHING,
) -> Question:
    """Returns the question that a look asks; see `make_wish`."""
    resident = {row.key for row in observation.residents or ()}
    managed = frozenset(e.key for e in observation.entries if config.is_managed(e.names, now))
    entries = tuple(e for e in observation.entries if e.key in resident or e.key in managed)
    rows = [replace(r, expires_at=None) for r in observation.residents or ()]
    rows.sort(key=lambda r: (r.name, r.manifest_digest))
    looked = Observation(
        at=0.0,
        server_url=observation.server_url,
        is_local=observation.is_local,
        version=observation.version,
        entries=entries,
        residents=None if observation.residents is None else tuple(rows),
        devices=tuple(replace(d, free_bytes=if_fresh(d.free_bytes)) for d in observation.devices),
        memory=replace(observation.memory, pressure=""),  # holds loads back, changes no plan
        settings=observation.settings,
        notes=observation.notes,
        located={key: place for key, place in observation.located.items() if place},
        placed=observation.placed,
        learnt=replace(observation.learnt, gaps={}),  # they move who is unwanted, and nothing else
    )
    amounts, grains = _measure(looked)
    return Question(
        looked=looked,
        facts=_without_amounts(looked),
        settings=config.settings,
        managed=managed,
        guessed=guessed(observation),
        held=frozenset(e.key for e in entries if config.is_held(e.names, now)),
        load_seconds={e.key: load_seconds[e.key] for e in entries if e.key in load_seconds},
        unwanted=unwanted,
        amounts=amounts,
        grains=grains,
    )


def _measure(
    looked: Observation,
) -> tuple[dict[tuple[str, ...], int], dict[tuple[str, ...], int]]:
    """Returns every amount that is known, and by how much each may move."""
    ram_grain = _grain(looked.memory.total_bytes.value, RAM_GRAINS)
    gpu_grains = {d.id: _grain(d.total_bytes.value, GPU_GRAINS) for d in looked.devices}
    found: dict[tuple[str, ...], tuple[int | None, int]] = {
        ("ram",): (looked.memory.available_bytes.value, ram_grain)
    }
    for device in looked.devices:
        found["free", device.id] = (device.free_bytes.value, gpu_grains[device.id])
    for key, place in looked.located.items():
        for device_id, count in place.items():
            found["held", key, device_id] = (count, gpu_grains.get(device_id, 1))
    least = min(gpu_grains.values(), default=ram_grain)
    for row in looked.residents or ():
        found["size", row.name, row.manifest_digest] = (row.size_bytes, least)
        found["vram", row.name, row.manifest_digest] = (row.size_vram_bytes, least)
    known = {what: pair for what, pair in found.items() if pair[0] is not None}
    amounts = {what: count for what, (count, _) in known.items() if count is not None}
    return amounts, {what: grain for what, (_, grain) in known.items()}


def _without_amounts(looked: Observation) -> Observation:
    return replace(
        looked,
        residents=None
        if looked.residents is None
        else tuple(_without_size(row) for row in looked.residents),
        devices=tuple(replace(d, free_bytes=_emptied(d.free_bytes)) for d in looked.devices),
        memory=replace(looked.memory, available_bytes=_emptied(looked.memory.available_bytes)),
        located={},
        placed={key: dict.fromkeys(place, 0) for key, place in looked.placed.items()},
    )


def _without_size(row: Resident) -> Resident:
    return replace(row, size_bytes=None, size_vram_bytes=None)


def _emptied(reading: Reading[int]) -> Reading[int]:
    """Returns the reading without amount and age; whence it comes, and how sure it is, stays."""
    if reading.quality is Quality.UNKNOWN:
        return replace(reading, age_seconds=0.0)
    return replace(reading, value=0, age_seconds=0.0)


def _rounded(looked: Observation) -> Observation:
    held = locate_residents(looked, where_told(looked)).on_device
    available, total_ram = looked.memory.available_bytes, looked.memory.total_bytes.value
    return replace(
        looked,
        devices=tuple(
            replace(
                d,
                free_bytes=_in_grains(
                    d.free_bytes, _grain(d.total_bytes.value, GPU_GRAINS), held.get(d.id, 0)
                ),
            )
            for d in looked.devices
        ),
        memory=replace(
            looked.memory, available_bytes=_in_grains(available, _grain(total_ram, RAM_GRAINS))
        ),
    )


def _in_grains(free: Reading[int], grain: int, held: int = 0) -> Reading[int]:
    """Returns the reading such that free and held are whole grains together; age left out."""
    if free.value is None:
        return replace(free, age_seconds=0.0)
    whole = (free.value + held) // grain * grain
    return replace(free, value=max(0, whole - held), age_seconds=0.0)


def _grain(total: int | None, grains: int) -> int:
    return max(1, (total or 0) // grains)
