"""What a runner found free when it was loaded, and Ollama goes on counting with: what warmset takes
it for must never be more, or a preload would push somebody out."""

from __future__ import annotations

from dataclasses import replace

from loop_hosts import CARD, CODER, EMBED, GIANT, SMALL, START, World, config, gib, world

from warmset.core.control.found_free import find_free
from warmset.core.units import MIB


def remembered(scene: World, name: str) -> tuple[int, int, int]:
    """What was free when a model came: at least, in truth, and at most, in MiB."""
    known = scene.sidecar.loop.state.of(scene.key(name))
    runner = scene.host.scheduler.loaded[scene.key(name)]
    found = (known.free_low[CARD], runner.view.free_at_load[CARD], known.free_high[CARD])
    return tuple(count // MIB for count in found)


def test_a_runner_that_a_client_had_loaded_anew_found_other_memory() -> None:
    """Another context is another runner: it came when the memory of the last one was not back."""
    scene = world(config(CODER={"pin": True})).run(60)
    lowest, found, _ = remembered(scene, CODER)
    assert lowest == found
    begin = scene.sidecar.loop.wake_at - START + 0.1
    scene.at(begin, lambda host: host.use(CODER, 1.0, options={"num_ctx": 16384}))
    scene.run(begin + 30)
    assert scene.findings("model_reloaded") == [CODER]
    lowest, found, highest = remembered(scene, CODER)
    assert lowest <= found < highest


def test_who_of_two_came_first_is_doubt_where_processes_are_hidden() -> None:
    """Both were loaded between two looks: either may have found the other there."""
    said = config(SMALL={"preload": False}, CODER={"preload": False})
    scene = world(said, sees_processes=False).run(60)
    begin = scene.sidecar.loop.wake_at - START + 0.1
    scene.at(begin, lambda host: host.use(EMBED, 60.0))
    scene.at(begin, lambda host: host.use(SMALL, 60.0))
    scene.run(begin + 30)
    for name, other in ((EMBED, 2000), (SMALL, 200)):
        lowest, found, highest = remembered(scene, name)
        assert lowest <= found
        assert highest - lowest > other  # the other one may not have been there


def test_an_own_load_may_begin_before_the_memory_of_one_that_left_is_back() -> None:
    """Nothing is on its way out when a preload is sent, but somebody may leave while it waits."""
    scene = world(config(CODER={"pin": True})).run(60)
    seen, state = scene.sidecar.observe(), scene.sidecar.loop.state
    (row,) = seen.residents
    left = replace(state, at_rest={}, freed={CARD: gib(5)}, freed_at=START + 40)
    low, high = find_free(row, (row,), seen, left, asked_at=START + 50)
    assert low == high
    low, _ = find_free(row, (row,), seen, left, asked_at=START + 30)
    assert high[CARD] - low[CARD] == gib(5)


def test_one_that_found_no_room_for_itself_is_asked_what_is_free_all_the_same() -> None:
    """A small model came to live in RAM beside a giant. The giant is gone, and Ollama still takes
    the card for full: a preload would push the small one out for nothing."""
    said = config(SMALL={"preload": False})
    scene = world(said, sees_processes=False).run(30)
    scene.host.use(GIANT, 1.0, keep_alive=120.0, options={"num_ctx": 16384})
    scene.host.use(EMBED, 1.0, keep_alive=900.0)
    scene.run(170)
    assert scene.host.scheduler.loaded[scene.key(EMBED)].vram_bytes == 0
    scene.sidecar.loop.configure(config(CODER={"pin": True}))
    scene.run(900)
    assert scene.resident() == {EMBED}
    assert any("it believes free" in text for text in scene.waits())
    scene.run(1200)
    assert scene.resident() == {CODER}


def test_who_came_and_went_while_the_server_was_deaf_left_its_mark() -> None:
    """`/api/ps` does not answer, and the driver does: what it showed is what the next one may have
    found, however much is free once that one is seen."""
    scene = world(config(CODER={"pin": True})).run(60)
    scene.sidecar.answers_ps = False
    scene.host.use(SMALL, 1.0, keep_alive=20.0)
    scene.run(83)
    scene.sidecar.answers_ps = True
    scene.host.cards.release_lag_seconds = 15.0  # longer than Ollama waits
    scene.host.unload(scene.host.library.find(SMALL))
    scene.host.use(EMBED, 60.0)
    scene.run(120)
    lowest, found, highest = remembered(scene, EMBED)
    assert lowest <= found < highest
