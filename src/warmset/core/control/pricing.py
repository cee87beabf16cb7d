"""How long holding an idle model pays, where memory has a price.

The rule is `policy.retention`: ski rental on the measured gaps. Other programs on the model's GPUs
make what is left dearer. What others hold is counted only where every resident's bytes are known:
what cannot be told apart presses nobody.
"""

from __future__ import annotations

from collections.abc import Collection

from warmset.core.control.state import State
from warmset.core.demand.measured import laws_of
from warmset.core.model import DeviceId, Entry, ModelKey, Observation, Resident
from warmset.core.planner.candidates import expected_saving
from warmset.core.policy.retention import price_under_pressure, retention_seconds


class Prices:
    """What memory costs at one look.

    Args:
        observation: with residents that are known.
        state: measured load times, and bytes that are on their way back.
        price_per_gib_hour: the operator's, not 0; see `policy.retention`.
    """

    def __init__(self, observation: Observation, state: State, price_per_gib_hour: float) -> None:
        self._observation = observation
        self._state = state
        self._price = price_per_gib_hour
        self._laws = laws_of(observation.learnt.gaps)

    def worth_seconds(self, entry: Entry) -> float | None:
        """Returns the idle time after which a model should go; `None`: holding always pays."""
        rows = [row for row in self._observation.residents or () if row.key == entry.key]
        sizes = [row.size_vram_bytes or row.size_bytes for row in rows]
        size = sum(filter(None, sizes)) or entry.file_bytes or entry.size_bytes
        if not size:
            return None
        learnt = self._observation.learnt
        known = self._state.of(entry.key).load_seconds
        load_seconds = known or learnt.expect_load_seconds(entry.key, entry.file_bytes)
        _, load_seconds = expected_saving(
            entry.file_bytes, load_seconds=load_seconds, requests_per_day=None
        )
        price = self._price_beside_others(_places(entry.key, rows, self._observation))
        return retention_seconds(self._laws.get(entry.key), size, load_seconds, price)

    def _price_beside_others(self, devices: Collection[DeviceId]) -> float:
        total = others = 0
        for device in self._observation.devices:
            size, free = device.total_bytes.value, device.free_bytes.value
            if device.id not in devices:
                continue
            held = self._held_by_models(device.id)
            if not size or free is None or held is None:
                return self._price
            total += size
            now = max(0, size - free - held - self._state.freed.get(device.id, 0))
            others += min(now, self._lasting(device.id, now))
        return price_under_pressure(self._price, total, others) if total else self._price

    def _lasting(self, device: DeviceId, now: int) -> int:
        """Returns what others hold for good: what they took a moment ago presses nobody yet."""
        known = self._state.others.get(device)
        return now if known is None else known.lasting

    def _held_by_models(self, device: DeviceId) -> int | None:
        held = 0
        for row in self._observation.residents or ():
            place = {} if row.key is None else self._observation.located.get(row.key, {})
            if not place and row.size_vram_bytes != 0:
                return None
            held += place.get(device, 0)
        return held


def _places(
    key: ModelKey, rows: Collection[Resident], observation: Observation
) -> Collection[DeviceId]:
    """Returns the GPUs that a resident lies on, as far as they are known."""
    return observation.located.get(key, {}) if rows else ()
