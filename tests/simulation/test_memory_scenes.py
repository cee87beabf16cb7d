"""What a runner found free when it was loaded, and Ollama goes on counting with: what warmset takes
it for must never be more, or a preload would push somebody out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loop_hosts import (
    CARD,
    CHAT,
    CODER,
    EMBED,
    GIANT,
    MEDIUM,
    SMALL,
    START,
    World,
    config,
    gib,
    world,
)
from test_fault_scenes import frail

from warmset.core.control.actions import Preload
from warmset.core.control.found_free import find_free
from warmset.core.control.looking import note_rest
from warmset.core.control.state import Running
from warmset.core.twin.events import Unloaded
from warmset.core.twin.hosts import named_host
from warmset.core.twin.sidecar import Sidecar
from warmset.core.units import MIB


def remembered(scene: World, name: str) -> tuple[int, int, int]:
    """What was free when a model came: at least, in truth, and at most, in MiB."""
    known = scene.sidecar.loop.state.of(scene.key(name))
    runner = scene.host.scheduler.loaded[scene.key(name)]
    ((card, free),) = runner.view.free_at_load.items()
    found = (known.free_low[card], free, known.free_high[card])
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


def test_the_least_that_was_free_while_an_own_load_waits_counts_for_who_comes_before_it() -> None:
    """Our preload stands in Ollama's queue while another program takes memory and gives it back:
    a client's model may have been loaded in that moment."""
    scene = world(config(CODER={"pin": True})).run(60)
    seen, state = scene.sidecar.observe(), scene.sidecar.loop.state
    order = Preload(key=scene.key(EMBED), name=EMBED, keep_alive=60.0, num_ctx=None, reason="")
    running = Running(number=9, stage="preload", order=order, since=START + 55)
    state = replace(state, orders=replace(state.orders, running=running))
    free = state.at_rest[CARD]
    for shown, least in ((free - gib(8), free - gib(8)), (free, free - gib(8))):
        (card,) = seen.devices
        now = replace(card, free_bytes=replace(card.free_bytes, value=shown))
        state = note_rest(replace(seen, devices=(now,)), state)
        assert state.at_rest == {CARD: least}


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


def test_who_waited_for_another_load_may_have_come_before_old_memory_was_back() -> None:
    """A model leaves, and two more come one after the other. The second one begins while the
    driver still holds the memory of the first, which is back when it is seen."""
    scene = world(config(SMALL={"preload": False}))
    scene.host.use(CODER, 1.0, keep_alive=900.0)
    scene.run(60)
    begin = scene.sidecar.loop.wake_at - START + 4.4
    scene.run(begin)
    scene.host.cards.release_lag_seconds = 5.3
    scene.host.unload(scene.host.library.find(CODER))
    scene.host.use(MEDIUM, 60.0)
    scene.host.use(SMALL, 60.0)
    scene.run(begin + 20)
    lowest, found, highest = remembered(scene, SMALL)
    assert lowest <= found < highest


def test_who_came_while_the_driver_showed_other_gpus_found_less_than_is_free_now() -> None:
    """The card shows as cut in two for a while. One leaves then, and the next comes before that
    memory is back: what the first held is known from before."""
    scene = frail(config(SMALL={"preload": False}, CODER={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    scene.host.use(SMALL, 1.0, keep_alive=600.0)
    scene.run(70)
    scene.sidecar.faults.driver = "reshaped"
    scene.run(100)
    scene.run(scene.sidecar.loop.wake_at - START + 0.1)
    scene.host.cards.release_lag_seconds = 3.0
    scene.host.unload(scene.host.library.find(SMALL))
    scene.host.use(EMBED, 60.0)
    scene.run(scene.sidecar.loop.wake_at - START - 0.1)
    scene.sidecar.faults.driver = "well"
    scene.run(130)
    lowest, found, highest = remembered(scene, EMBED)
    assert lowest <= found < highest


def test_who_came_while_nobody_looked_may_have_found_what_was_free_before() -> None:
    """A giant pushed the pins out one by one while no warmset ran, and came beside memory that was
    not back. By what it remembers, a pin that fits beside it by the bytes would push it out."""
    said = config(MEDIUM={"pin": True}, CHAT={"pin": True})
    scene = world(said).run(60)
    assert scene.resident() == {MEDIUM, CHAT}
    scene.sidecar.stop()
    scene.host.use(GIANT, 60.0)
    scene.run(140)
    assert scene.resident() == {GIANT}
    scene.sidecar.loop.resume()
    Sidecar(scene.host, scene.sidecar.loop).start()
    scene.run(400)
    lowest, found, _ = remembered(scene, GIANT)
    assert lowest <= found
    assert scene.resident() == {GIANT}
    scene.run(900)
    assert scene.resident() == {MEDIUM, CHAT}
    gone = [event for _, event in scene.events if isinstance(event, Unloaded)]
    assert GIANT not in [event.name for event in gone if event.is_evicted]


def test_who_was_seen_loading_and_never_listed_was_in_the_way_of_the_next() -> None:
    """Two clients load models one right after the other. The first is gone at its next look: the
    second came beside it all the same, and counts with what was left."""
    scene = world(config(SMALL={"preload": False}, CODER={"pin": True})).run(60)
    scene.host.use(SMALL, 1.0, keep_alive=10.0)
    scene.run(100)  # so it is known what it holds
    begin = scene.sidecar.loop.wake_at - START
    scene.at(begin - 1.0, lambda host: host.use(SMALL, 0.1, keep_alive=2.5))
    scene.at(begin - 0.9, lambda host: host.use(EMBED, 60.0))
    scene.run(begin + 0.1)
    assert set(scene.sidecar.loop.state.loading) == {scene.key(SMALL)}
    scene.run(begin + 8)
    assert scene.resident() == {CODER, EMBED}
    lowest, found, highest = remembered(scene, EMBED)
    assert lowest <= found < highest


def test_who_was_loading_while_the_server_was_deaf_was_in_the_way_of_the_next() -> None:
    """Nothing is known of the model that came and went then, so what the next one found free may
    have been nothing: no preload is let in beside it that Ollama would evict for."""
    scene = world(config(SMALL={"preload": False})).run(60)
    scene.sidecar.answers_ps = False
    scene.run(70)
    begin = scene.sidecar.loop.wake_at - START
    scene.at(begin - 1.0, lambda host: host.use(GIANT, 0.1, keep_alive=0.0))
    scene.at(begin, lambda host: host.use(EMBED, 600.0))
    scene.run(begin + 1.0)
    assert set(scene.sidecar.loop.state.loading) == {scene.key(GIANT)}
    scene.sidecar.answers_ps = True
    scene.run(begin + 60)
    assert scene.resident() == {EMBED}
    assert remembered(scene, EMBED)[0] <= 0


def test_after_a_restart_the_memory_of_those_who_ended_with_the_server_is_waited_for() -> None:
    """The server is begun anew between two looks, and the card still looks full: a pin that came
    now would remember that, and keep the next one out as long as it lives."""
    scene = world(config(CODER={"pin": True}, CHAT={"pin": True})).run(60)
    assert scene.resident() == {CODER, CHAT}
    scene.host.cards.release_lag_seconds = 4.0
    begin = scene.sidecar.loop.wake_at - START
    scene.at(begin - 0.5, lambda host: host.restart(0.2))
    scene.run(begin + 60)
    assert scene.findings("server_restarted")
    assert scene.resident() == {CODER, CHAT}
    assert "pin_blocked" not in scene.alarms()


def test_who_had_to_go_for_ours_is_missing_in_what_ours_found() -> None:
    """Nobody could see that a client's model found the card full: another program left between two
    looks. Our preload pushes it out, begins before that memory is back, and so is known to have
    found less: by Ollama's word, where the driver hides whose bytes are whose."""
    scene = world(config(SMALL={"preload": False}), sees_processes=False).run(30)
    taken = scene.host.cards.foreign(CARD)
    begin = scene.sidecar.loop.wake_at - START + 0.1
    scene.at(begin, lambda host: host.cards.set_foreign(CARD, taken + gib(21)))
    scene.at(begin + 0.1, lambda host: host.use(EMBED, 1.0, keep_alive=900.0))
    scene.at(begin + 4, lambda host: host.cards.set_foreign(CARD, taken))
    scene.run(110)
    assert scene.resident() == {EMBED}
    scene.sidecar.loop.configure(config(CODER={"pin": True}, EMBED={"pin": True}))
    scene.run(200)
    assert scene.findings("preload_evicted") == [EMBED]
    lowest, found, highest = remembered(scene, CODER)
    assert lowest <= found < highest
    scene.run(900)
    assert scene.resident() == {CODER, EMBED}
    assert scene.findings("preload_evicted") == [EMBED]


def test_one_that_spilled_beside_free_memory_found_less_than_that() -> None:
    """Another program takes half of the card and gives it back between two looks, while a giant is
    loaded: it spills. By what the looks showed a pin would be let in, and push it out."""
    scene = world(config(SMALL={"preload": False})).run(60)
    taken = scene.host.cards.foreign(CARD)
    begin = scene.sidecar.loop.wake_at - START + 0.1
    scene.at(begin, lambda host: host.cards.set_foreign(CARD, taken + gib(8)))
    scene.at(begin + 0.1, lambda host: host.use(GIANT, 1.0, keep_alive=900.0))
    scene.at(begin + 4, lambda host: host.cards.set_foreign(CARD, taken))
    scene.run(begin + 30)
    assert scene.resident() == {GIANT}
    lowest, found, _ = remembered(scene, GIANT)
    assert lowest <= found
    scene.sidecar.loop.configure(config(CODER={"pin": True}))
    scene.run(600)
    assert scene.resident() == {GIANT}
    assert any("it believes free" in text for text in scene.waits())
    scene.run(1200)
    assert scene.resident() == {CODER}


def test_what_was_free_while_a_model_was_loading_is_the_most_that_it_found() -> None:
    """Another program holds half of the card for a few seconds, and a look in between shows it: a
    client's model is being loaded then. By what the looks before and after showed a pin would be
    let in beside it, and push it out."""
    scene = world(config(SMALL={"preload": False})).run(60)
    taken = scene.host.cards.foreign(CARD)
    look = scene.sidecar.loop.wake_at - START
    scene.at(look - 1.1, lambda host: host.cards.set_foreign(CARD, taken + gib(12)))
    scene.at(look - 1, lambda host: host.use(CODER, 1.0, keep_alive=900.0))
    scene.at(look + 1, lambda host: host.cards.set_foreign(CARD, taken))
    scene.run(look + 30)
    lowest, found, _ = remembered(scene, CODER)
    assert lowest <= found
    scene.sidecar.loop.configure(config(CHAT={"pin": True}, CODER={"pin": True}))
    scene.run(600)
    assert scene.resident() == {CODER}
    assert "pin_blocked" in scene.alarms()
    scene.run(1200)
    assert scene.findings("preload_evicted") == []


def spilled_giant(taken_for: float) -> World:
    """A pin makes room for a giant while another program takes a third of the card for a while:
    the giant finds neither that nor what the pin held, and spills. Then the pin is to come back."""
    scene = world(config(CODER={"pin": True})).run(86)
    taken = scene.host.cards.foreign(CARD)
    scene.at(86.5, lambda host: host.cards.set_foreign(CARD, taken + gib(8)))
    scene.at(86.6, lambda host: host.use(GIANT, 1.0, keep_alive=900.0))
    scene.at(86.5 + taken_for, lambda host: host.cards.set_foreign(CARD, taken))
    return scene.run(120)


@pytest.mark.parametrize("taken_for", [1.0, 4.0], ids=["between two looks", "a look shows it"])
def test_who_spilled_took_all_that_it_found(taken_for: float) -> None:
    """Not even what was free by the looks would have been enough for all of it."""
    scene = spilled_giant(taken_for)
    lowest, found, _ = remembered(scene, GIANT)
    assert lowest <= found < 12_000
    scene.run(900)
    assert scene.resident() == {GIANT}
    assert scene.findings("preload_evicted") == []


def test_who_came_after_another_that_was_loading_found_no_more_than_was_free_then() -> None:
    """Another program holds most of the card. One model is loaded, right after it a second one
    that goes to RAM, and then all is given back: a pin would push the second one out."""
    scene = world(config(SMALL={"preload": False}))
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(14))
    scene.run(60)
    look = scene.sidecar.loop.wake_at - START
    scene.at(look - 4.6, lambda host: host.use(MEDIUM, 60.0, keep_alive=900.0))
    scene.at(look - 0.5, lambda host: host.use(EMBED, 1.0, keep_alive=900.0))
    scene.at(look + 4.9, lambda host: host.cards.set_foreign(CARD, taken))
    scene.run(look + 15)
    assert scene.resident() == {MEDIUM, EMBED}
    lowest, found, _ = remembered(scene, EMBED)
    assert lowest <= found


def test_a_load_of_ours_that_went_to_ram_found_nothing() -> None:
    """A client may want no layers on the GPU, warmset does not: another program was there."""
    scene = world(config(EMBED={"pin": True})).run(60)
    seen, state = scene.sidecar.observe(), scene.sidecar.loop.state
    row = replace(seen.residents[0], size_vram_bytes=0)
    in_ram = replace(seen, residents=(row,), located={row.key: {CARD: 0}})
    low, high = find_free(row, (row,), in_ram, state)
    assert low == high != {CARD: 0}
    low, _ = find_free(row, (row,), in_ram, state, asked_at=START + 50)
    assert low == {CARD: 0}


def test_who_went_to_ram_for_want_of_room_found_nothing() -> None:
    """By what the looks show a part of it would have fitted; another program took that too, for a
    moment."""
    scene = world(config(SMALL={"preload": False})).run(40)
    nearly_all = scene.host.cards.foreign(CARD) + scene.host.cards.free(CARD) - gib(0.9)
    scene.host.cards.set_foreign(CARD, nearly_all)
    look = scene.run(60).sidecar.loop.wake_at - START + 0.1
    scene.at(look, lambda host: host.cards.set_foreign(CARD, nearly_all + gib(0.9)))
    scene.at(look + 0.1, lambda host: host.use(SMALL, 1.0, keep_alive=900.0))
    scene.at(look + 2.5, lambda host: host.cards.set_foreign(CARD, nearly_all))
    scene.run(look + 30)
    assert scene.resident() == {SMALL}
    lowest, found, _ = remembered(scene, SMALL)
    assert lowest <= found


def test_a_name_that_comes_back_is_that_of_the_same_runner() -> None:
    """A model is deleted while it is loaded beside another program, and installed again later: it
    goes on counting with what it found."""
    scene = world(config(EMBED={"preload": False}))
    scene.at(10, lambda host: host.use(CODER, 1.0, keep_alive=10.0)).run(40)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(8))
    model = scene.host.library.find(CODER)
    begin = scene.sidecar.loop.wake_at - START - 1.0
    scene.at(begin, lambda host: host.use(CODER, 1.0, keep_alive=900.0))
    scene.at(begin + 2, lambda host: host.library.delete(CODER)).run(70)
    scene.host.cards.set_foreign(CARD, taken)
    scene.run(90)
    scene.host.library.install(model)
    scene.run(120)
    lowest, found, _ = remembered(scene, CODER)
    assert lowest <= found
    assert scene.findings("model_came") == [CODER, CODER]


def test_what_a_split_model_found_is_known_where_processes_are_hidden() -> None:
    """Nobody says which GPU holds what. A model that lies over two of them held what Ollama says,
    and so much more was free before it came: the next one is let in, and nobody goes for it."""
    two = replace(
        named_host("workstation"),
        gpus=tuple(
            replace(gpu, id=str(n), total_bytes=gib(12), free_bytes=gib(12))
            for n in (0, 1)
            for gpu in named_host("workstation").gpus
        ),
        foreign_bytes={},
    )
    scene = world(config(CHAT={"pin": True}, MEDIUM={"priority": 60}), two, sees_processes=False)
    scene.run(900)
    assert scene.unloads() == []
    assert scene.resident() == {CHAT, MEDIUM}


@pytest.mark.parametrize("after_a_look", [0.1, 1.0, 2.0, 3.0, 4.0, 4.8])
def test_who_was_loaded_after_one_that_was_never_seen_resident_found_no_more(
    after_a_look: float,
) -> None:
    """The largest model is seen while it is being loaded, and gone at the next look. It held more
    than the last time, and the one after it began before that memory was back."""
    scene = world(config(CODER={"preload": False})).run(60)
    scene.host.use(GIANT, 0.3, keep_alive=10.0, options={"num_gpu": 20})
    scene.run(120)
    begin = scene.sidecar.loop.wake_at - START + after_a_look
    options = {"num_ctx": 16384}
    scene.at(begin, lambda host: host.use(GIANT, 0.3, keep_alive=0.0, options=options))
    scene.at(begin + 1, lambda host: host.use(CHAT, 60.0, options=options))
    scene.run(begin + 60)
    lowest, found, _ = remembered(scene, CHAT)
    assert lowest <= found
