"""Whose bytes are on each GPU, in the order in which a bar is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.host.attribution import Attribution, Owner
from warmset.core.host.picture import Picture
from warmset.core.model import Device, Observation
from warmset.core.settings import Settings
from warmset.shell.board.values import Gpu, Part

ORDER: Final = (
    Owner.MODEL,
    Owner.RUNNER,
    Owner.FOREIGN,
    Owner.RESERVED,
    Owner.UNATTRIBUTED,
    Owner.DRAINING,
)
FREE: Final = "free"
MOST_FOREIGN: Final = 4
"""Programs named one by one; a desktop has dozens. The rest is one part. Our choice."""


def gpus_of(
    observation: Observation,
    picture: Picture | None,
    settings: Settings,
    marks: Mapping[str, str],
) -> tuple[Gpu, ...]:
    """Returns the GPUs of a look.

    Args:
        observation: the look.
        picture: whose bytes are where; `None`: not known.
        settings: for the budgets.
        marks: name -> letter.
    """
    names: dict[str, str] = {entry.key: entry.name for entry in observation.entries}
    names.update({row.key: row.name for row in observation.residents or () if row.key})
    told = {} if picture is None else picture.attributions
    return tuple(
        _gpu(device, told.get(device.id), settings, names, marks) for device in observation.devices
    )


def label_of(device: Device) -> str:
    """Returns how people call a GPU."""
    return device.name if device.index is None else f"GPU {device.index}"


def _gpu(
    device: Device,
    whose: Attribution | None,
    settings: Settings,
    names: Mapping[str, str],
    marks: Mapping[str, str],
) -> Gpu:
    total, free = device.total_bytes.value, device.free_bytes.value
    budget = None
    if total is not None:
        budget = settings.budget.budget_bytes(device.id, device.index, total, pci_id=device.pci_id)
    parts = () if whose is None else _parts(whose, names, marks)
    if free is not None:
        parts = (*parts, Part(owner=FREE, name=FREE, mark="", bytes=free))
    return Gpu(
        label=label_of(device),
        name=device.name,
        state="" if free is not None else device.free_bytes.reason or "memory not known",
        total_bytes=total,
        free_bytes=free,
        budget_bytes=budget,
        parts=parts,
    )


def _parts(
    whose: Attribution, names: Mapping[str, str], marks: Mapping[str, str]
) -> tuple[Part, ...]:
    found: list[Part] = []
    for owner in ORDER:
        sums: dict[str, int | None] = {}
        for share in whose.shares:
            if share.owner is not owner:
                continue
            name = names.get(share.key, share.name) if share.key else share.name
            known = sums.get(name, 0)
            count = share.used_bytes
            sums[name] = None if known is None or count is None else known + count
        parts = [
            Part(owner=owner.value, name=name, mark=marks.get(name, ""), bytes=count)
            for name, count in sums.items()
        ]
        parts.sort(key=lambda part: (-(part.bytes or 0), part.name))
        found += _with_the_rest_as_one(parts) if owner is Owner.FOREIGN else parts
    return tuple(found)


def _with_the_rest_as_one(parts: list[Part]) -> list[Part]:
    shown, rest = parts[:MOST_FOREIGN], parts[MOST_FOREIGN:]
    if not rest:
        return shown
    counts = [part.bytes for part in rest]
    known = [count for count in counts if count is not None]
    total = sum(known) if len(known) == len(counts) else None
    name = f"{len(rest)} more programs"
    return [*shown, Part(owner=Owner.FOREIGN.value, name=name, mark="", bytes=total)]
