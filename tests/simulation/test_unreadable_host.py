"""A fact that cannot be read costs nobody a model: devices.md's rules, at the loop itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from loop_hosts import config, words, world

from warmset.core.control.actions import Preload, Unload, Wait
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.model import HostMemory, Observation, Quality, unknown
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar import Sidecar
from warmset.core.twin.sidecar_view import observe_twin

START = 1_760_000_000.0
LARGE, OTHER = "qwen2.5:14b", "phi4:14b"
SAID = words({"gemma3:12b": {"pin": True, "priority": 90}, OTHER: {"priority": 60}})


def converged(name: str, said: Config) -> Observation:
    """A look at a host where the loop has had its way for a quarter of an hour."""
    spec = named_host(name)
    host = TwinHost(spec, physics_of(spec), Timeline(START))
    Sidecar(host, Loop(said)).start()
    host.timeline.advance(START + 900.0)
    return observe_twin(host)


def moves(look: Observation, said: Config, minutes: int = 10) -> tuple[list[object], set[str]]:
    """What a new loop would load and unload if it saw this for so long; and why it waits."""
    loop, found, reasons = Loop(said), [], set()
    for number in range(minutes * 12):
        loop.look(replace(look, at=look.at + 5.0 * number), START + 905.0 + 5.0 * number)
        actions = loop.decision.actions
        found += [a for a in actions if isinstance(a, Preload | Unload)]
        reasons |= {a.reason for a in actions if isinstance(a, Wait)}
    return found, reasons


def lose(look: Observation, device_id: str) -> Observation:
    """The card has fallen off the bus: its last numbers are old, the model on it is gone."""

    def old(reading):
        return replace(reading, quality=Quality.STALE, age_seconds=60.0, reason="GPU_IS_LOST")

    gone = {key for key, place in look.located.items() if device_id in place}
    return replace(
        look,
        devices=tuple(
            replace(d, free_bytes=old(d.free_bytes)) if d.id == device_id else d
            for d in look.devices
        ),
        residents=tuple(r for r in look.residents or () if r.key not in gone),
        located={key: place for key, place in look.located.items() if key not in gone},
    )


def test_for_a_lost_gpu_nothing_is_evicted_elsewhere() -> None:
    """The pin that was on it would fit where the other model is; nobody pays for the card."""
    look = converged("2x24", SAID)
    pin = next(r for r in look.residents or () if r.name.startswith("gemma3"))
    assert pin.key is not None
    (place,) = look.located[pin.key]
    found, reasons = moves(lose(look, place), SAID)
    assert not found
    assert "the memory of a GPU is not known: nothing is moved" in reasons


def _no_ram(look: Observation) -> Observation:
    missing = unknown("psutil", "RAM cannot be read")
    return replace(look, memory=HostMemory(total_bytes=missing, available_bytes=missing))


def _no_ps(look: Observation) -> Observation:
    return replace(look, residents=None)


@pytest.mark.parametrize("blind", [_no_ram, _no_ps])
def test_without_ram_or_a_list_nothing_is_loaded_and_nobody_goes(
    blind: Callable[[Observation], Observation],
) -> None:
    """On a host without GPUs RAM is all there is: unknown is no room, and no reason to make any."""
    first, second, third = (m.name for m in named_host("cpu").models[:3])
    look = converged("cpu", words({first: {"priority": 50}, second: {"priority": 40}}))
    assert look.residents
    wanted = words({third: {"pin": True}, first: {"priority": 50}})
    assert moves(look, wanted)[0]  # a sound look leads to something
    assert not moves(blind(look), wanted)[0]


def test_who_does_not_answer_is_asked_ever_more_rarely() -> None:
    """And at least twice a minute, so that an Ollama that is back is found soon."""
    scene = world(config(CODER={"pin": True})).run(60)
    scene.sidecar.answers_ps = False
    scene.run(400)
    asked = [d.at for d in scene.sidecar.log.decisions if d.trouble]
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 5.0
    assert pauses[-1] == 30.0
    scene.sidecar.answers_ps = True
    scene.run(431)
    assert not scene.sidecar.loop.decision.trouble
