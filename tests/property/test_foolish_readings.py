"""Whatever is read of memory, look after look: no error, no negative budget, no load on a guess."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from loop_hosts import words

from warmset.core.control.actions import Preload
from warmset.core.control.loop import Loop
from warmset.core.host.readings import STALE_AFTER_SECONDS
from warmset.core.model import HostMemory, Observation, Quality, Reading, unknown
from warmset.core.planner import build_candidates, build_host, plan
from warmset.core.settings import Settings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar_view import observe_twin
from warmset.core.units import GIB

START = 1_760_000_000.0
PINS = words({"qwen2.5-coder:7b": {"pin": True}, "llama3.1:8b": {"pin": True}})
COUNTS = [None, 0, 1, GIB, 5 * GIB, 12 * GIB, 24 * GIB, 25 * GIB, 119 * GIB, 2**62, 2**64 - 1]
TRUSTED = {Quality.EXACT, Quality.ESTIMATE}


@st.composite
def readings(draw: st.DrawFn) -> Reading[int]:
    """Any count of any quality and age, or none."""
    value = draw(st.sampled_from(COUNTS))
    if value is None:
        return unknown("test", "not read")
    quality = draw(st.sampled_from([*TRUSTED, Quality.STALE]))
    age = draw(st.sampled_from([0.0, 3.0, 9.9, 10.1, 1e6])) if quality is Quality.STALE else 0.0
    return Reading(value=value, source="test", quality=quality, age_seconds=age)


@cache
def seen(name: str, *, is_used: bool) -> Observation:
    """One look at a pretended host, with or without a model on it."""
    spec = named_host(name)
    host = TwinHost(spec, physics_of(spec), Timeline(START))
    if is_used:
        host.use(spec.models[0].name, 1.0, keep_alive=86400.0)
        host.timeline.advance(START + 60.0)
    return observe_twin(host)


@st.composite
def looks(draw: st.DrawFn) -> list[Observation]:
    """Looks at one host, whose numbers have gone mad."""
    name = draw(st.sampled_from(["laptop", "workstation", "2x24", "unified", "cpu"]))
    found = []
    for number in range(draw(st.integers(1, 4))):
        look = seen(name, is_used=draw(st.booleans()))
        found.append(
            replace(
                look,
                at=look.at + 5.0 * number,
                devices=tuple(
                    replace(d, total_bytes=draw(readings()), free_bytes=draw(readings()))
                    for d in look.devices
                ),
                memory=HostMemory(total_bytes=draw(readings()), available_bytes=draw(readings())),
            )
        )
    return found


@settings(max_examples=150, deadline=None)
@given(looks())
def test_no_budget_is_negative_or_larger_than_its_gpu(found: list[Observation]) -> None:
    """Totals of None, 0, huge and shrinking; what is not known promises nothing."""
    for look in found:
        host, where = build_host(look, Settings(), located=look.located)
        for gpu, device in zip(host.gpus, look.devices, strict=True):
            total, free = device.total_bytes, device.free_bytes
            is_aged = free.age_seconds > STALE_AFTER_SECONDS
            if total.value is None or free.value is None or is_aged:
                assert gpu.usable_bytes is None
                assert gpu.unknown
            else:
                assert gpu.usable_bytes is not None
                assert 0 <= gpu.usable_bytes <= total.value
        assert host.ram_bytes is None or host.ram_bytes >= 0
        outcome = plan(build_candidates(look, Settings(), host, where), host)
        for gpu in host.gpus:
            taken = sum(member.upper.get(gpu.id, 0) for member in outcome.members)
            assert taken <= (gpu.usable_bytes or 0)


@settings(max_examples=150, deadline=None)
@given(looks())
def test_the_loop_never_fails_and_loads_nothing_on_a_guess(found: list[Observation]) -> None:
    """A load is decided only while every number that it goes by is fresh."""
    loop = Loop(PINS)
    for number, look in enumerate(found):
        loop.look(look, START + 5.0 * number)
        loads = [a for a in loop.decision.actions if isinstance(a, Preload)]
        fresh = [d for d in look.devices if d.free_bytes.quality in TRUSTED]
        is_hanging = any(
            d.free_bytes.quality is Quality.STALE
            and d.free_bytes.age_seconds <= STALE_AFTER_SECONDS
            for d in look.devices
        )
        assert not loads or not is_hanging
        assert not loads or fresh or not look.devices
