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


def test_who_leaves_takes_no_room_of_others_along() -> None:
    """Amounts are planned with in whole grains. Rounded is what is free without residents, so that
    the others find as much room with one of them or without it."""
    rooms = set()
    for gone in LOOK.residents:
        (device,) = LOOK.devices
        free = device.free_bytes.value + LOOK.located[gone.key][CARD]
        left = replace(
            LOOK,
            devices=(replace(device, free_bytes=replace(device.free_bytes, value=free)),),
            residents=tuple(row for row in LOOK.residents if row is not gone),
            located={k: place for k, place in LOOK.located.items() if k != gone.key},
        )
        for look in (LOOK, left):
            (wish, *_) = make_wish(look, SAID, {}, START)
            rooms.add(wish.wish.host.gpus[0].gpu.free_bytes)
    assert len(rooms) == 1


def test_a_runners_context_is_no_program_that_may_grow() -> None:
    """Where the driver hides whose bytes are whose, what Ollama's word leaves out of a model is
    taken once, and not held free a second time."""
    scene = world(SAID, sees_processes=False).run(60)
    assert scene.resident() == {CODER, CHAT}
    look = observe_twin(scene.host, sees_processes=False)
    (gpu,) = make_wish(look, SAID, {}, START)[0].wish.host.gpus
    others = gpu.gpu.total_bytes - gpu.gpu.free_bytes
    assert others > SAID.settings.budget.of(CARD, index=0).vram_reserve_bytes
    assert gpu.usable_bytes == gpu.gpu.free_bytes


def test_only_what_spilled_of_a_resident_is_charged_in_ram() -> None:
    """The rest that it holds there is gone from what is available. Where nobody says how much
    spilled, its whole need is charged."""
    row = LOOK.residents[0]
    charged = {}
    for size in (row.size_vram_bytes, row.size_vram_bytes + 77 * MIB, None):
        look = replace(LOOK, residents=(replace(row, size_bytes=size), *LOOK.residents[1:]))
        wish = make_wish(look, SAID, {}, START)[0].wish
        charged[size] = wish.candidate(row.key).on_one.ram_bytes
    assert list(charged.values())[:2] == [0, 77 * MIB]
    assert charged[None] > 100 * MIB
