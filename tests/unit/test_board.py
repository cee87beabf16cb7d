"""The picture of a host: whose bytes, who comes next, what happened."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.control.actions import Alarm, Severity, Wait
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.host.attribution import Attribution, Owner, Share
from warmset.core.host.picture import Picture
from warmset.core.model import DeviceId, Quality, Reading
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.units import GIB
from warmset.shell.board.draw import draw_look
from warmset.shell.board.gaps import Gaps
from warmset.shell.board.gpus import MOST_FOREIGN, gpus_of
from warmset.shell.board.keeper import BoardKeeper
from warmset.shell.board.timeline import MOST, Timeline
from warmset.shell.board.values import Board, board_from_plain, board_to_plain
from warmset.shell.board.words import gaps_text, printable
from warmset.shell.loop_look import look_for_loop
from warmset.shell.observe import Seen, see
from warmset.shell.telemetry.listening import Step
from warmset.shell.wiring import connect

PIN, LOW = "qwen2.5-coder:7b", "llama3.1:8b"
MODELS = {
    PIN: ModelPolicy(name=PIN, priority=100, pin=True),
    LOW: ModelPolicy(name=LOW, priority=80),
    "gone:1b": ModelPolicy(name="gone:1b", pin=True),
}
SETTINGS = Settings(url="twin://workstation?hours=3&seed=5", models=MODELS)


class Watched:
    """A twin that is looked at step by step; nothing is sent to it."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.connection = connect(settings, environ={})
        self.loop = Loop(Config(settings=settings), is_read_only=True)
        self.keeper = BoardKeeper()
        self.picture: Picture | None = None

    def step(self, skip: float = 5.0) -> Step:
        self.connection.skip(skip)
        observation, self.picture = look_for_loop(
            self.connection, self.loop.config.settings, self.picture
        )
        self.loop.look(observation, observation.at)
        assert self.loop.decision is not None
        return Step(
            observation=observation,
            picture=self.picture,
            config=self.loop.config,
            state=self.loop.state,
            decision=self.loop.decision,
            planned=self.loop.planned,
            seconds=0.1,
        )

    def board(self, step: Step | None = None) -> Board:
        self.keeper.stepped(step or self.step())
        board = self.keeper.board()
        assert board is not None
        return board


@pytest.fixture(scope="module")
def seen() -> Seen:
    connection = connect(SETTINGS, environ={})
    return see(connection, SETTINGS)


def test_a_step_is_drawn_with_ranks_steps_and_letters() -> None:
    """Who is kept longest has rank 1, what is to be loaded is a step, absent pins are told."""
    watched = Watched()
    watched.step()
    board = watched.board(watched.step(120))
    models = {model.name: model for model in board.models}
    assert (models[PIN].rank, models[LOW].rank) == (1, 2)
    assert models[PIN].is_pinned
    assert models["gone:1b"].state == "not installed"
    assert {step.name for step in board.steps} == {PIN, LOW}
    assert all(step.kind == "preload" for step in board.steps)
    marked = [model.mark for model in board.models if model.mark]
    assert len(set(marked)) == len(marked) == 3
    for part in board.gpus[0].parts:
        assert part.mark == (models[part.name].mark if part.owner == "model" else "")


def test_a_look_is_drawn_without_decisions(seen: Seen) -> None:
    """Nobody steers: no steps, no ranks, and the verdict says so."""
    board = draw_look(seen, SETTINGS)
    assert board.verdict == "look"
    assert board.steps == board.pauses == board.moments == ()
    assert all(model.rank is None for model in board.models)
    assert {m.name for m in board.models if m.state == "resident"} == {
        row.name for row in seen.observation.residents or ()
    }


def test_the_parts_of_a_gpu_are_its_bytes(seen: Seen) -> None:
    """Known parts and free memory together are the whole GPU, nothing twice."""
    (gpu,) = draw_look(seen, SETTINGS).gpus
    assert sum(part.bytes or 0 for part in gpu.parts) == gpu.total_bytes
    assert gpu.parts[-1].owner == "free"
    assert gpu.budget_bytes == (gpu.total_bytes or 0) - GIB


def test_bytes_that_are_not_counted_are_unknown(seen: Seen) -> None:
    """One program without a count makes the sum of the rest unknown, never zero."""
    (device,) = seen.observation.devices
    shares = tuple(
        Share(
            owner=Owner.FOREIGN,
            used_bytes=None if number == 0 else number,
            quality=Quality.EXACT,
            name=f"program {number}",
        )
        for number in range(MOST_FOREIGN + 3)
    )
    whose = Attribution(
        device=DeviceId(device.id), taken=Reading(value=9, source="test"), shares=shares
    )
    picture = replace(seen.picture, attributions={device.id: whose})
    (gpu,) = gpus_of(seen.observation, picture, SETTINGS, {})
    *named, rest, free = gpu.parts
    assert [part.bytes for part in named] == [6, 5, 4, 3]
    assert (rest.name, rest.bytes) == ("3 more programs", None)
    assert free.owner == "free"


def test_the_json_form_is_the_same_picture() -> None:
    """What a daemon writes, `top` reads back to the last byte; another version is refused."""
    board = Watched().board()
    plain = json.loads(json.dumps(board_to_plain(board), allow_nan=False))
    assert board_from_plain(plain) == board
    assert board_from_plain({**plain, "schema_version": 2}) is None
    assert board_from_plain({**plain, "news": 1}) is None
    assert board_from_plain([]) is None


def test_alarms_stand_as_long_as_the_loop_says() -> None:
    """The text is kept from when it was raised; one of an earlier process is known by its code."""
    watched = Watched()
    step = watched.step()
    alarm = Alarm(code="ping_races", severity=Severity.ERROR, text="two pings met a load")
    raised = replace(step.decision, actions=(alarm,), standing=("ping_races", "reload_budget"))
    first = watched.board(replace(step, decision=raised))
    assert [(a.severity, a.text) for a in first.alarms] == [
        ("error", "two pings met a load"),
        ("warning", "reload budget"),
    ]
    later = replace(raised, actions=(), standing=("ping_races",))
    assert watched.board(replace(step, decision=later)).alarms[0].text == "two pings met a load"
    assert watched.board(replace(step, decision=replace(later, standing=()))).alarms == ()


def test_waits_and_trouble_are_told() -> None:
    """A wait has its reason and the time that is left; without an answer nothing is planned."""
    watched = Watched()
    step = watched.step()
    wait = Wait(key=None, name="", reason="a load may be pending", until=step.decision.at + 7)
    board = watched.board(replace(step, decision=replace(step.decision, actions=(wait,))))
    assert [(p.reason, p.left_seconds) for p in board.pauses] == [("a load may be pending", 7.0)]
    silent = replace(step.decision, trouble="no answer", actions=())
    board = watched.board(replace(step, decision=silent))
    assert (board.verdict, board.trouble, board.steps) == ("unreachable", "no answer", ())


def test_reasons_of_orders_are_told_with_their_ends() -> None:
    """A load by warmset carries why it was ordered; an eviction too; one explained later, that."""
    line = Timeline()
    line.hear(1, "preload_ordered", "a", "pinned")
    line.hear(2, "preloaded", "a", "loaded in 3.0 s")
    line.hear(3, "unload_ordered", "a", "room for b")
    line.hear(4, "unload_sent", "a", "room for b")
    line.hear(5, "unloaded", "a", "gone")
    line.hear(6, "model_came", "b", "loaded by a client")
    line.hear(7, "model_left", "b", "pushed out, or unloaded by somebody")
    line.hear(8, "pushed_out", "b", "it had to make room for c")
    line.hear(9, "pushed_out", "unheard", "of")
    line.hear(10, "load_aborted", "d", "called off")
    line.hear(11, "server_restarted", "", "a new server")
    told = [(m.at, m.kind, m.name, m.text) for m in reversed(line.moments)]
    assert told == [
        (2, "load", "a", "loaded in 3.0 s by warmset: pinned"),
        (5, "eviction", "a", "by warmset: room for b"),
        (6, "load", "b", "loaded by a client"),
        (7, "eviction", "b", "it had to make room for c"),
        (10, "failure", "d", "called off"),
        (11, "server", "", "a new server"),
    ]


def test_the_timeline_is_bounded() -> None:
    """The newest moments stay."""
    line = Timeline()
    for number in range(MOST + 5):
        line.hear(number, "model_came", "a", "")
    assert len(line.moments) == MOST
    assert line.moments[0].at == MOST + 4


@given(st.lists(st.floats(min_value=0.5, max_value=1e6), min_size=3, max_size=60))
def test_a_curve_never_falls_and_is_a_share(gaps: list[float]) -> None:
    """More time never makes a next use less likely; all is between never and always."""
    at, uses = 0.0, [("a", 0.0)]
    for gap in gaps:
        at += gap
        uses.append(("a", at))
    count, curve = Gaps(uses).curve("a")
    chances = [point.chance for point in curve]
    assert count == len(gaps)
    assert chances == sorted(chances)
    assert all(0 <= chance <= 1 for chance in chances)


def test_a_curve_tells_a_timer() -> None:
    """A model that is asked for each ten minutes is back within twenty, and hardly within five."""
    gaps = Gaps(("timer", 600.0 * number) for number in range(40))
    chance = {point.seconds: point.chance for point in gaps.curve("timer")[1]}
    assert chance[300.0] < 0.1
    assert chance[1200.0] > 0.9
    assert gaps.curve("unheard of") == (0.0, ())
    gaps.used("once", 1.0)
    gaps.used("once", 1.0)  # the same look again is no gap
    assert gaps.curve("once") == (0.0, ())


def test_names_from_elsewhere_cannot_steer_a_terminal() -> None:
    """Control characters and direction marks are replaced, letters of all scripts stay."""
    assert printable("a\x1b[2J\u202e模") == "a\ufffd[2J\ufffd模"


def test_a_model_without_a_curve_says_so() -> None:
    """Too few gaps are said in words, not drawn."""
    (model, *_) = Watched().board().models
    assert "too few for a curve" in gaps_text(model)
