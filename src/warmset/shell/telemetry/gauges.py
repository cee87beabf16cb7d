"""From one look to the values of the gauges. What is not known gets no value, never zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import warmset
from warmset.core.control.actions import Decision
from warmset.core.control.state import State
from warmset.core.footprint import Footprint
from warmset.core.host.attribution import Attribution, Owner
from warmset.core.host.observed import observe_model
from warmset.core.host.picture import Picture
from warmset.core.model import Device, Entry, ModelKey, Observation, Resident
from warmset.shell.footprints import footprint_of
from warmset.shell.telemetry.labels import OTHER, Labels

Values = dict[str, dict[tuple[str, ...], float]]

WEDGED_AFTER_SECONDS: Final = 90.0
"""An own load that waits so long while no runner of the server loads. Our choice: Ollama waits at
most 5 s for memory, and starts the runner then (ollama-behaviour 3.5, 3.7)."""

MOST_ESTIMATES: Final = 1000
"""Contexts that clients choose make ever new shapes; so many are kept. Our choice."""


class Gauges:
    """Reads looks."""

    def __init__(self) -> None:
        self._estimates: dict[object, Footprint | None] = {}
        self._basis: object = None  # what all of them were made on

    def of_look(
        self, observation: Observation, picture: Picture | None, labels: Labels, *, now: float
    ) -> Values:
        """Returns what one look tells.

        Args:
            observation: the look.
            picture: whose bytes are where.
            labels: of the same look.
            now: in the time of the holds.
        """
        values: Values = {"build_info": {(warmset.__version__,): 1.0}}
        is_up = observation.residents is not None and not observation.trouble
        values["ollama_up"] = {(): float(is_up)}
        if observation.version:
            values["ollama_info"] = {(observation.version,): 1.0}
        memory = observation.memory
        _put(values, "host_memory_total_bytes", memory.total_bytes.value)
        _put(values, "host_memory_available_bytes", memory.available_bytes.value)
        for device in observation.devices:
            whose = None if picture is None else picture.attributions.get(device.id)
            _put_device(values, device, whose, labels)
        for name, entry in labels.configured():
            names = (name,) if entry is None else entry.names
            _put(values, "model_pinned", float(labels.config.is_pinned(names, now)), name)
        if is_up and picture is not None:
            self._put_residents(values, observation, picture, labels)
        return values

    def _put_residents(
        self, values: Values, observation: Observation, picture: Picture, labels: Labels
    ) -> None:
        resident = values["model_resident"] = {(name,): 0.0 for name, _ in labels.configured()}
        resident[(OTHER,)] = 0.0
        entries = {entry.key: entry for entry in observation.entries}
        for row in observation.residents or ():
            label = labels.of(row.key, row.name)
            resident[(label,)] = resident.get((label,), 0.0) + 1.0
            held = observe_model(picture, row).value
            _add(values, "model_footprint_bytes", held, label, "vram")
            in_ram = None
            if row.size_bytes is not None and row.size_vram_bytes is not None:
                in_ram = max(0, row.size_bytes - row.size_vram_bytes)
            _add(values, "model_footprint_bytes", in_ram, label, "ram")
            found = self._estimate(row, entries.get(row.key) if row.key else None, picture, labels)
            if found is None:
                continue
            expected = found.vram_bytes
            _add(values, "model_footprint_estimate_bytes", expected, label, "vram")
            _add(values, "model_footprint_estimate_bytes", found.ram_bytes, label, "ram")
            if held and expected is not None and label != OTHER:
                _put(values, "model_footprint_error_ratio", expected / held - 1.0, label)

    def _estimate(
        self, row: Resident, entry: Entry | None, picture: Picture, labels: Labels
    ) -> Footprint | None:
        """Returns what is expected from metadata; each shape is estimated once."""
        basis = (labels.observation.settings, labels.observation.learnt)
        if basis != self._basis or len(self._estimates) > MOST_ESTIMATES:
            self._estimates.clear()
            self._basis = basis
        shape = (row.key, row.context, row.size_vram_bytes)
        if shape not in self._estimates:
            self._estimates[shape] = footprint_of(row, entry, labels.observation, picture)
        return self._estimates[shape]


def add_plan(
    values: Values,
    labels: Labels,
    state: State,
    decision: Decision,
    planned: Decision | None,
) -> None:
    """Adds what the loop knows beyond the look: ranks, leases, the warm set, alarms."""

    def name_of(key: ModelKey) -> str:
        return labels.of(key, state.of(key).name)

    residents = {row.key for row in labels.observation.residents or ()}
    values["alarms"] = {}
    for code in decision.standing:
        _add(values, "alarms", 1.0, code.split()[0])
    if decision.trouble:
        return
    _put_ranks(values, state, name_of)
    for key, known in state.models.items():
        keep = known.lease if known.lease is not None else known.foreign
        if key in residents and keep is not None and name_of(key) != OTHER:
            _put(values, "model_keep_alive_seconds", keep, name_of(key))
    if planned is not None:
        values["model_wanted"] = {(name,): 0.0 for name, _ in labels.configured()}
        for member in planned.members:
            name = name_of(member.key)
            if name == OTHER:
                continue
            _put(values, "model_wanted", 1.0, name)
            if member.key not in residents:
                expected = sum(member.point.values())
                _put(values, "model_footprint_estimate_bytes", expected, name, "vram")
                _put(values, "model_footprint_estimate_bytes", member.ram_bytes, name, "ram")
        _put(values, "drift_actions", float(len(planned.changes)))
    stuck = _is_wedged(labels.observation, state, decision.at)
    _put(values, "wedge_suspected", None if stuck is None else float(stuck))


def _put_ranks(values: Values, state: State, name_of: Callable[[ModelKey], str]) -> None:
    if not state.planned:
        return
    ranked = [name for key in state.planned[0].wish.ranked if (name := name_of(key)) != OTHER]
    for place, name in enumerate(reversed(ranked), start=1):
        _put(values, "model_rank", float(place), name)


def _is_wedged(observation: Observation, state: State, now: float) -> bool | None:
    """Whether an own load waits while nothing is being loaded; `None` where that cannot be seen."""
    running = state.orders.running
    if running is None or running.stage != "preload" or now - running.since < WEDGED_AFTER_SECONDS:
        return False
    if observation.runners is None:
        return None
    listed = {row.key for row in observation.residents or ()}
    is_loading = any(runner.phase == "loading" for runner in observation.runners)
    return not is_loading and running.order.key not in listed


def _put_device(values: Values, device: Device, whose: Attribution | None, labels: Labels) -> None:
    gpu = labels.of_gpu(device)
    total, free = device.total_bytes.value, device.free_bytes.value
    _put(values, "device_memory_total_bytes", total, gpu)
    budget = None
    if total is not None:
        budget = labels.config.settings.budget.budget_bytes(
            device.id, device.index, total, pci_id=device.pci_id
        )
        _put(values, "device_budget_bytes", budget, gpu)
    if whose is None:
        return
    _put(values, "device_memory_used_bytes", whose.taken.value, gpu)
    models = _sum(whose, Owner.MODEL)
    _put(values, "device_models_bytes", models, gpu)
    _put(values, "device_foreign_bytes", _sum(whose, Owner.FOREIGN, Owner.RUNNER), gpu)
    if whose.taken.value is not None:
        _put(values, "device_draining_bytes", _sum(whose, Owner.DRAINING), gpu)
        rest = _sum(whose, Owner.UNATTRIBUTED, Owner.RESERVED)
        _put(values, "device_unattributed_bytes", rest, gpu)
    if None not in (budget, models, free):
        assert budget is not None
        assert models is not None
        assert free is not None
        _put(values, "device_headroom_bytes", min(budget - models, free), gpu)


def _sum(whose: Attribution, *owners: Owner) -> int | None:
    """Returns the bytes of these owners, `None` if one of them is not counted."""
    if any(share.used_bytes is None for share in whose.shares if share.owner in owners):
        return None
    return whose.sum_bytes(*owners)


def _put(values: Values, name: str, value: float | None, *labels: str) -> None:
    if value is not None and not math.isnan(value):
        values.setdefault(name, {})[labels] = float(value)


def _add(values: Values, name: str, value: float | None, *labels: str) -> None:
    """Adds to what stands under `other` or an alarm's code already."""
    if value is not None:
        series = values.setdefault(name, {})
        series[labels] = series.get(labels, 0.0) + float(value)
