"""When the loop plans anew, and when the plan that it has holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_hosts import CARD, CHAT, CODER, SMALL, START, config, world

from warmset.core.control.question import GPU_GRAINS, ask
from warmset.core.control.wanted import make_wish
from warmset.core.model import Observation, unknown
from warmset.core.twin.sidecar_view import observe_twin
from warmset.core.units import MIB

SAID = config(CODER={"pin": True}, CHAT={"priority": 80})
GRAIN = 24564 * MIB // GPU_GRAINS


def looked() -> Observation:
    """A host with two residents."""
    scene = world(SAID).run(60)
    scene.host.use(SMALL, 1.0, keep_alive=4000.0)
    scene.run(90)
    return observe_twin(scene.host)


def plans_anew(before: Observation, present: Observation, said=SAID) -> bool:
    earlier = make_wish(before, SAID, {}, START)
    return make_wish(present, said, {}, START + 5.0, planned=earlier)[0] is not earlier[0]


def moved(look: Observation, *, free: int = 0, ram: int = 0, held: int = 0, size: int = 0):
    """The same look with other amounts."""
    (device,), rows = look.devices, look.residents
    reading = look.memory.available_bytes
    return replace(
        look,
        at=look.at + 5.0,
        devices=(
            replace(
                device,
                free_bytes=replace(device.free_bytes, value=device.free_bytes.value + free),
            ),
        ),
        memory=replace(look.memory, available_bytes=replace(reading, value=reading.value + ram)),
        located={key: {CARD: place[CARD] + held} for key, place in look.located.items()},
        residents=tuple(
            replace(row, size_vram_bytes=row.size_vram_bytes + size, expires_at=row.expires_at + 9)
            for row in rows
        ),
    )


LOOK = looked()


@given(
    free=st.integers(-GRAIN + 1, GRAIN - 1),
    held=st.integers(-GRAIN + 1, GRAIN - 1),
    ram=st.integers(-(500 * MIB), 500 * MIB),
)
def test_flutter_within_a_grain_is_no_reason(free: int, held: int, ram: int) -> None:
    """Wherever the amounts lie, moves smaller than a grain keep the plan."""
    assert not plans_anew(LOOK, moved(LOOK, free=free, held=held, ram=ram))


@pytest.mark.parametrize("what", ["free", "held", "size"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_whole_grain_is_a_reason(what: str, sign: int) -> None:
    """Counted from the look that the plan was made from, so that no drift goes unnoticed."""
    assert plans_anew(LOOK, moved(LOOK, **{what: sign * GRAIN}))
    small = moved(LOOK, **{what: sign * (GRAIN // 2)})
    earlier = make_wish(LOOK, SAID, {}, START)
    kept = make_wish(small, SAID, {}, START, planned=earlier)
    drifted = moved(LOOK, **{what: sign * (GRAIN + 1)})
    assert make_wish(drifted, SAID, {}, START, planned=kept)[0] is not earlier[0]


def test_what_becomes_unknown_or_known_is_a_reason() -> None:
    """Unknown is not an amount that moved."""
    (device,) = LOOK.devices
    blind = replace(LOOK, devices=(replace(device, free_bytes=unknown("nvml", "lost")),))
    assert plans_anew(LOOK, blind)
    nowhere = replace(LOOK, located={})
    assert plans_anew(LOOK, nowhere)


def test_other_words_or_residents_are_a_reason() -> None:
    """A priority, a model that left, a hold."""
    assert plans_anew(LOOK, LOOK, config(CODER={"pin": True}, CHAT={"priority": 70}))
    assert plans_anew(LOOK, replace(LOOK, residents=LOOK.residents[1:]))
    assert plans_anew(LOOK, LOOK, replace(SAID, holds={SMALL: START + 60.0}))
    assert not plans_anew(LOOK, replace(LOOK, at=LOOK.at + 1.0))


def test_models_that_nobody_configured_and_nobody_loaded_do_not_count() -> None:
    """A pull of something else is no reason."""
    known = ask(LOOK, SAID, {}, START).facts.entries
    assert {entry.name for entry in known} == {CODER, CHAT, SMALL}
