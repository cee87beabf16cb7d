"""The freeze of Ollama's loading (issue #17408): it follows from the rules, and can be ended."""

from __future__ import annotations

from twin_rig import LOAD_SECONDS, Rig, cards, model

from warmset.core.model import FOREVER
from warmset.core.units import DAY, HOUR

VICTIM, LARGE, SMALL = model("victim", 12), model("large", 18), model("small", 1)


def frozen(keep: float = FOREVER) -> tuple[Rig, int]:
    """A load waits for a busy victim whose keep-alive was renewed before it became idle."""
    rig = Rig(VICTIM, LARGE, SMALL, gpus=cards(24))
    rig.use("small", FOREVER)
    small = rig.ask("small")
    rig.use("victim", 600.0)
    running = rig.ask("victim")
    head = rig.ask("large")
    ping = rig.ask("victim", keep)
    for number in (running, ping, small):
        rig.scheduler.finish(number)
    return rig, head


def test_a_renewed_victim_freezes_all_loading_while_residents_are_served() -> None:
    """After two virtual days the load still waits, and so does everything behind it."""
    rig, head = frozen()
    behind = rig.ask("large")
    rig.wait(2 * DAY)
    assert [rig.answer(n) for n in (head, behind)] == ["waiting"] * 2
    assert sorted(rig.resident) == ["small", "victim"]
    assert rig.scheduler.loading is None
    for name in ("small", "victim"):
        served = rig.ask(name)
        assert rig.answer(served) == "granted"
        rig.scheduler.finish(served)


def test_an_unload_of_any_idle_model_ends_the_freeze() -> None:
    """Not the victim's own: any unload wakes the loop, which then evicts what it needs."""
    rig, head = frozen()
    rig.wait(HOUR)
    rig.scheduler.unload(SMALL.key)
    rig.wait(6.0 + LOAD_SECONDS)
    assert rig.answer(head) == "granted"
    assert rig.resident == ["large"]


def test_a_finite_keep_alive_ends_the_freeze_at_its_deadline() -> None:
    """With a lease the freeze lasts as long as the lease: finite beats for ever."""
    rig, head = frozen(keep=HOUR)
    rig.wait(HOUR - 1.0)
    assert rig.answer(head) == "waiting"
    rig.wait(10.0 + LOAD_SECONDS)
    assert rig.answer(head) == "granted"


def test_without_the_ping_the_victim_goes_and_the_load_comes() -> None:
    """The same story, nobody renews: no freeze."""
    rig = Rig(VICTIM, LARGE, gpus=cards(24))
    rig.use("victim", FOREVER)
    running = rig.ask("victim")
    head = rig.ask("large")
    rig.scheduler.finish(rig.ask("victim"))
    rig.scheduler.finish(running)
    rig.wait(6.0 + LOAD_SECONDS)
    assert rig.answer(head) == "granted"


def test_steady_traffic_starves_the_load() -> None:
    """A victim that is never idle is never unloaded, keep-alive or not."""
    rig = Rig(VICTIM, LARGE, gpus=cards(24))
    rig.use("victim", 600.0)
    running = rig.ask("victim")
    head = rig.ask("large")
    for _ in range(2000):
        following = rig.ask("victim")
        rig.scheduler.finish(running)
        running = following
        rig.wait(5.0)
    assert rig.answer(head) == "waiting"
    rig.scheduler.finish(running)
    rig.wait(10.0)
    assert rig.answer(head) == "granted"


def test_a_reload_can_freeze_in_the_same_way() -> None:
    """A busy model asked for with other options, then pinged, never becomes unloaded."""
    rig = Rig(VICTIM, gpus=cards(24))
    rig.use("victim", 600.0, num_ctx=2048)
    running = rig.ask("victim", num_ctx=2048)
    head = rig.ask("victim", num_ctx=8192)
    rig.scheduler.finish(rig.ask("victim", FOREVER, num_ctx=2048))
    rig.scheduler.finish(running)
    rig.wait(DAY)
    assert rig.answer(head) == "waiting"
    rig.scheduler.unload(VICTIM.key)
    rig.wait(6.0 + LOAD_SECONDS)
    assert rig.answer(head) == "granted"
