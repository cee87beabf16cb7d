"""Windows and keep-alives beside a pretended Ollama: who is fetched, kept and let go, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from loop_hosts import CODER, EMBED, SMALL, START, World, world

from warmset.core.control.config import Config
from warmset.core.control.orders import SendUnload
from warmset.core.loop_settings import LoopSettings
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.windows import Span, find_spans, parse_window

HOUR = 3600.0
NAMES = {"CODER": CODER, "EMBED": EMBED, "SMALL": SMALL}
SOME = (parse_window("daily 08:00-18:00"),)  # when it is open, `openings` say


def said(models: dict[str, dict], *, tick: float = 15.0, **openings: tuple[float, float]) -> Config:
    """Words under which some models are wanted only between two moments after the start."""
    policies = {
        NAMES[key]: ModelPolicy(name=NAMES[key], **facts, windows=SOME if key in openings else ())
        for key, facts in models.items()
    }
    spans = {
        NAMES[key]: (Span(start=START + since, end=START + until),)
        for key, (since, until) in openings.items()
    }
    settings = Settings(models=policies, loop=LoopSettings(tick=tick))
    return Config(settings=settings, openings=spans)


def unloads(scene: World, name: str) -> list[float]:
    return [
        at - START
        for at, command in scene.sidecar.log.sent
        if isinstance(command, SendUnload) and command.name == name
    ]


def ready_at(scene: World, name: str) -> list[float]:
    return [end for _, end, loaded in scene.loads() if loaded == name]


def test_a_model_is_ready_when_its_window_opens_and_not_much_sooner() -> None:
    """It is fetched ahead by the time of its load, pinned or not."""
    for facts in ({"pin": True}, {"priority": 10}):
        scene = world(said({"CODER": facts}, CODER=(HOUR, 2 * HOUR))).run(HOUR)
        assert scene.resident() == {CODER}
        (ready,) = ready_at(scene, CODER)
        assert HOUR - 120 < ready <= HOUR


def test_a_model_leaves_after_its_window_and_is_not_fetched_again() -> None:
    """The unload is explicit, its lease having hours to run; others stay."""
    scene = world(said({"CODER": {"pin": True}, "SMALL": {}}, CODER=(0.0, 2 * HOUR)))
    scene.run(4 * HOUR)
    assert scene.resident() == {SMALL}
    (left,) = unloads(scene, CODER)
    assert 2 * HOUR <= left < 2 * HOUR + 60
    assert scene.preloads(since=left) == []
    assert "outside its windows" in {o.reason for o in scene.sidecar.loop.decision.left_out}


def test_who_works_on_after_hours_is_not_cut_short() -> None:
    """Outside its window a model that is used lives as long as stock Ollama would let it."""
    scene = world(said({"CODER": {"pin": True}}, CODER=(0.0, HOUR)))
    for minute in range(56, 75, 2):
        scene.at(minute * 60.0, lambda host: host.use(CODER, 20.0))
    scene.run(75 * 60.0)
    assert scene.resident() == {CODER}
    scene.run(85 * 60.0)
    assert scene.resident() == set()
    assert len(ready_at(scene, CODER)) == 1


def test_a_hold_counts_before_windows() -> None:
    """`warmset hold` keeps a model over the end of its window."""
    config = said({"CODER": {}}, CODER=(0.0, HOUR))
    config = replace(config, holds={CODER: START + 3 * HOUR})
    scene = world(config).run(2 * HOUR)
    assert scene.resident() == {CODER}
    scene.run(3 * HOUR + 120)
    assert scene.resident() == set()


def test_what_was_held_and_nobody_configured_goes_as_from_stock_ollama() -> None:
    """Its lease says nothing of how long it stays: five minutes unused after the hold's end."""
    config = replace(said({"EMBED": {}}), holds={CODER: START + HOUR})
    scene = world(config).at(HOUR, lambda host: host.use(CODER, 60.0)).run(HOUR + 240)
    assert scene.resident() == {CODER, EMBED}
    scene.run(HOUR + 600)
    assert scene.resident() == {EMBED}
    assert scene.unloads() == [CODER]


def test_what_was_held_goes_though_its_lease_was_forgotten() -> None:
    """The clock is set just before the hold ends, so that no keep-alive is known any more."""
    config = replace(said({"EMBED": {}}), holds={CODER: START + HOUR})
    scene = world(config)
    scene.at(HOUR - 1.0, lambda _: setattr(scene.sidecar, "clock_ahead", 4000.0))
    scene.run(HOUR + 600)
    assert scene.findings("clock_stepped")
    assert scene.unloads() == [CODER]


def test_an_unused_model_is_let_go_after_its_keep_alive() -> None:
    """An hour after its last use, not after its load; then it waits for the next request."""
    scene = world(said({"CODER": {"keep_alive": HOUR}, "EMBED": {}}))
    scene.at(HOUR / 2, lambda host: host.use(CODER, 10.0))
    scene.run(4 * HOUR)
    (left,) = unloads(scene, CODER)
    assert 1.5 * HOUR <= left < 1.5 * HOUR + 120
    assert scene.resident() == {EMBED}
    scene.at(4 * HOUR, lambda host: host.use(CODER, 10.0))
    scene.run(4.5 * HOUR)
    assert scene.resident() == {CODER, EMBED}
    scene.run(6 * HOUR)
    assert len(unloads(scene, CODER)) == 2
    assert sorted(scene.preloads()) == sorted([CODER, EMBED])


def test_a_pin_is_kept_whatever_its_class_says() -> None:
    """A keep-alive is for what is not pinned."""
    scene = world(said({"CODER": {"keep_alive": 60.0, "pin": True}})).run(HOUR)
    assert scene.resident() == {CODER}
    assert unloads(scene, CODER) == []


def test_a_batch_model_is_never_fetched_and_leaves_when_idle() -> None:
    """`keep_alive = 0`: loaded by its users only, and gone soon after them."""
    scene = world(said({"CODER": {"keep_alive": 0.0}}))
    scene.at(600.0, lambda host: host.use(CODER, 120.0))
    scene.run(700.0)
    assert scene.resident() == {CODER}
    scene.run(900.0)
    assert scene.resident() == set()
    assert scene.preloads() == []
    assert scene.evicted() == [CODER]


def test_the_next_window_fetches_what_was_let_go_in_the_last() -> None:
    """A window that opens is a claim, whatever its keep-alive ended before."""
    config = said({"CODER": {"keep_alive": 0.5 * HOUR}}, CODER=(0.0, 2 * HOUR))
    second = Span(start=START + 6 * HOUR, end=START + 8 * HOUR)
    config = replace(config, openings={CODER: (*config.openings[CODER], second)})
    scene = world(config).run(5 * HOUR)
    assert scene.resident() == set()
    scene.run(6 * HOUR)
    assert scene.resident() == {CODER}
    assert len(scene.preloads()) == 2


def test_a_week_of_office_hours_is_one_load_and_one_unload_a_day() -> None:
    """Five working days in local time, two days off, over the week in which clocks are set."""
    zone = ZoneInfo("Europe/Berlin")
    monday = datetime(2026, 3, 23, tzinfo=zone).timestamp()
    spans = find_spans([parse_window("Mon-Fri 08:00-18:00")], zone, monday, monday + 8 * 86400)
    moved = tuple(Span(start=s.start - monday + START, end=s.end - monday + START) for s in spans)
    config = replace(said({"EMBED": {}}, tick=300.0, EMBED=(0.0, 1.0)), openings={EMBED: moved})
    scene = world(config).run(8 * 86400.0)
    hours = [datetime.fromtimestamp(t + monday, zone).hour for t in unloads(scene, EMBED)]
    assert hours == [18] * 6
    days = [
        datetime.fromtimestamp(t + monday, UTC).astimezone(zone) for t in ready_at(scene, EMBED)
    ]
    assert [(d.hour, d.minute >= 45) for d in days] == [(7, True)] * 6
    assert days[-1].day == 30


def test_a_pin_counts_only_while_the_model_is_wanted() -> None:
    """No alarm is raised for one outside its windows, or that makes way; a hold counts."""
    config = said({"CODER": {"pin": True}, "SMALL": {"pin": True}, "EMBED": {}}, CODER=(0.0, HOUR))
    pinned = [(CODER, 1.0, True), (CODER, HOUR, False), (SMALL, HOUR, True), (EMBED, 1.0, False)]
    for name, at, expected in pinned:
        assert config.is_pinned((name,), START + at) is expected
    yields = replace(config, yielding="a game", holds={EMBED: START + HOUR})
    assert not yields.is_pinned((SMALL,), START)
    assert yields.is_pinned((EMBED,), START)
