"""What the loop writes down, what a saved plan holds, and what orders change."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from warmset.adapters.journal import Journal, Orders
from warmset.core.control.actions import Alarm, Decision, Finding, Preload, Severity, Wait
from warmset.core.control.config import Config
from warmset.core.control.preview import Preview, preview
from warmset.core.control.state import State
from warmset.core.model import HostMemory, ModelKey, Observation, Resident, unknown
from warmset.core.planner.result import Action, ActionKind
from warmset.core.settings import ModelPolicy, Settings
from warmset.errors import ConfigError, Refused
from warmset.shell.log import EventLog
from warmset.shell.record import Recorder, digest_of
from warmset.shell.said import Said, with_orders
from warmset.shell.saved_plan import load_plan, plan_of, refuse_stale, save_plan

KEY = ModelKey("sha256:aa")
PRELOAD = Preload(
    key=KEY,
    name="a:1b",
    keep_alive=1800.0,
    num_ctx=None,
    reason="wanted",
    basis={"point_bytes": 100, "upper_bytes": 120, "load_seconds": 2.0, "ram_bytes": 7},
)


def seen(at: float, *residents: Resident) -> Observation:
    """Returns a look at a small host."""
    nothing = HostMemory(total_bytes=unknown("x", "y"), available_bytes=unknown("x", "y"))
    return Observation(
        at=at,
        server_url="http://h:1",
        is_local=True,
        version="0.33.0",
        entries=(),
        residents=residents,
        devices=(),
        memory=nothing,
    )


def row(vram: int) -> Resident:
    """Returns the model's row."""
    return Resident(
        name="a:1b",
        manifest_digest="d",
        key=KEY,
        size_bytes=90,
        size_vram_bytes=vram,
        context=1,
        expires_at=None,
    )


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A recorder with a journal of its own."""
    made = Recorder(Journal(tmp_path))
    yield made
    made.journal.close()


def record(recorder: Recorder, decision: Decision, look: Observation) -> None:
    """Records a decision."""
    recorder.decision(look, Config(), State(), decision, after=State())


def test_a_quiet_time_is_one_row_and_every_change_is_another(recorder: Recorder) -> None:
    """Reasons that only count seconds are no news; an alarm or an order is."""
    for at in (1.0, 2.0, 3.0):
        wait = Wait(key=KEY, name="a", reason=f"it left {at} s ago")
        record(recorder, Decision(at=at, actions=(wait,)), seen(at))
    alarm = Alarm(code="paused x", severity=Severity.ERROR, text="no", keys=(KEY,))
    record(recorder, Decision(at=4.0, actions=(alarm,)), seen(4.0))
    for at in (5.0, 6.0):
        record(recorder, Decision(at=at, actions=(PRELOAD,)), seen(at))
    rows = recorder.journal.decisions()
    assert [(r.at, r.repeats) for r in rows] == [(1.0, 2), (4.0, 0), (5.0, 0), (6.0, 0)]
    kinds = [(e.kind, e.severity) for e in recorder.journal.events()]
    assert kinds == [("alarm_paused", "error")] + [("preload_ordered", "note")] * 2


def test_a_decision_keeps_all_it_was_made_from(recorder: Recorder) -> None:
    """Look, configuration, state and time stand beside what was decided."""
    record(recorder, Decision(at=7.5, actions=(PRELOAD,)), seen(7.0, row(5)))
    number = recorder.journal.decisions()[0].id
    assert number is not None
    told = recorder.journal.decision(number)
    assert told is not None
    assert set(told.parts) == {"entries", "config", "candidates", "learnt"}
    assert told.body["now"] == 7.5
    look = told.body["observation"]
    assert isinstance(look, dict)
    assert look["residents"][0]["key"] == KEY
    assert "models" in str(told.body["state"])


def test_a_load_is_compared_with_its_forecast(recorder: Recorder) -> None:
    """Predicted and actual bytes and seconds, once it is done and seen."""
    record(recorder, Decision(at=1.0, actions=(PRELOAD,)), seen(1.0))
    record(recorder, Decision(at=1.5), seen(1.5, row(5)))  # listed, not yet answered
    done = Finding(kind="preloaded", key=KEY, name="a:1b", text="", basis={"seconds": 3.5})
    recorder.findings([done], 4.0)
    record(recorder, Decision(at=5.0), seen(5.0, row(95)))
    record(recorder, Decision(at=6.0), seen(6.0, row(95)))
    (load,) = recorder.journal.loads()
    assert (load.predicted_bytes, load.upper_bytes, load.actual_bytes) == (100, 120, 95)
    assert (load.predicted_seconds, load.actual_seconds) == (2.0, 3.5)


def test_bytes_that_the_driver_counted_come_first(recorder: Recorder) -> None:
    """Ollama's own word is taken where no driver told; in RAM it is all there is."""
    done = Finding(kind="preloaded", key=KEY, name="a:1b", text="", basis={"seconds": 1.0})
    for look in (replace(seen(2.0, row(95)), located={KEY: {"GPU": 111}}), seen(3.0, row(0))):
        record(recorder, Decision(at=1.0, actions=(PRELOAD,)), seen(1.0))
        recorder.findings([done], 1.0)
        record(recorder, Decision(at=2.0), look)
    assert [load.actual_bytes for load in recorder.journal.loads()] == [111, 90]


@pytest.mark.parametrize(
    ("kind", "outcome"), [("preload_failed", "failed"), ("load_aborted", "aborted")]
)
def test_a_load_that_fails_is_a_row_too(recorder: Recorder, kind: str, outcome: str) -> None:
    """Without bytes, with the seconds that it cost."""
    record(recorder, Decision(at=1.0, actions=(PRELOAD,)), seen(1.0))
    finding = Finding(kind=kind, key=KEY, name="a:1b", text="", basis={"seconds": 9.0})
    recorder.findings([finding, finding], 2.0)
    (load,) = recorder.journal.loads()
    assert (load.outcome, load.actual_bytes, load.actual_seconds) == (outcome, None, 9.0)


def test_the_state_survives_the_process(recorder: Recorder) -> None:
    """What was learnt is there again; what cannot be read is said and begun anew."""
    assert recorder.restore() == (State(), "")
    state = State(at=5.0).note(KEY, "a:1b", load_seconds=3.0, slot=8)
    recorder.state(state, 5.0)
    found, remark = recorder.restore()
    assert (found.models, remark) == (state.models, "")
    recorder.journal.save_state({"version": 99}, 6.0)
    found, remark = recorder.restore()
    assert found == State()
    assert "99" in remark


def test_the_state_is_written_when_it_says_something_new(recorder: Recorder) -> None:
    """Time alone is no news for a minute; the end always is."""
    written = []
    recorder.journal.save_state = lambda _, at: written.append(at)  # type: ignore[method-assign]
    state = State(at=1.0)
    recorder.state(state, 1.0)
    recorder.state(replace(state, at=2.0), 2.0)
    recorder.state(replace(state, unreachable=1), 3.0)
    recorder.state(replace(state, unreachable=1, at=70.0), 70.0)
    recorder.state(replace(state, unreachable=1, at=71.0), 71.0, is_last=True)
    assert written == [1.0, 3.0, 70.0, 71.0]


def test_an_order_that_was_left_open_is_told(recorder: Recorder) -> None:
    """A process that was killed during a load leaves a word of it to the next."""
    plain = {
        "version": 1,
        "orders": {
            "running": {"stage": "preload", "number": 3, "since": 1.0, "order": PRELOAD_PLAIN}
        },
    }
    recorder.journal.save_state(plain, 1.0)
    assert recorder.restore()[1] == "an earlier process ended during its preload of a:1b"


PRELOAD_PLAIN = {
    "type": "Preload",
    "key": KEY,
    "name": "a:1b",
    "keep_alive": 1.0,
    "num_ctx": None,
    "reason": "",
}


def test_a_digest_hears_what_changes() -> None:
    """Another victim, another member, another trouble: another decision."""
    base = Decision(at=1.0)
    unload = Action(kind=ActionKind.UNLOAD, key=KEY, name="a", reason="x")
    others = [
        replace(base, changes=(unload,)),
        replace(base, trouble="gone"),
        replace(base, standing=("unreachable",)),
        replace(base, actions=(PRELOAD,)),
    ]
    assert len({digest_of(d) for d in (base, *others)}) == 5
    assert digest_of(replace(base, at=9.0)) == digest_of(base)


def test_orders_count_before_the_file() -> None:
    """Pins and rests of the operator change what the file says; what has run out does not."""
    policy = ModelPolicy(name="a:1b", pin=True, priority=7)
    settings = Settings(models={"a:1b": policy})
    orders = Orders(
        pins={"a:1b": False, "b:latest": True}, holds={"c:latest": 110.0}, rests={"a:1b": 90.0}
    )
    config = Said(settings=settings, orders=orders).config(wall=100.0, now=1000.0)
    assert config.settings.models["a:1b"] == replace(policy, pin=False)
    assert config.settings.models["b:latest"].pin
    assert dict(config.holds) == {"c:latest": 1010.0}
    assert not with_orders(settings, orders).models["a:1b"].preload
    rested = with_orders(settings, Orders(rests={"a:1b": 110.0, "d:latest": 110.0})).models
    assert rested == {"a:1b": replace(policy, pin=False, preload=False)}
    assert with_orders(settings, Orders()) is settings


def shown(look: Observation, config: Config | None = None, **decided: object) -> Preview:
    """What a verb shows of a look, with another decision."""
    real = preview(look, config or Config(), State(), look.at)
    return replace(real, decision=Decision(at=1.0, **decided))


def test_a_saved_plan_comes_back_and_tells_what_moved(tmp_path: Path) -> None:
    """Bytes that wobble do not count; residents, configuration and steps do, each by its name."""
    path = tmp_path / "p.json"
    plan = plan_of(shown(seen(1.0, row(5))))
    save_plan(path, plan, made_at=1.0)
    assert load_plan(path) == plan
    refuse_stale(plan, plan_of(shown(seen(9.0, row(6)))))
    unload = Action(kind=ActionKind.UNLOAD, key=KEY, name="a", reason="x")
    moved = plan_of(shown(seen(1.0), changes=(unload,)))
    with pytest.raises(Refused, match="moved on since the plan was made: what is resident, what w"):
        refuse_stale(plan, moved)
    other = Config(settings=Settings(models={"a:1b": ModelPolicy(name="a:1b", pin=True)}))
    with pytest.raises(Refused, match="the configuration"):
        refuse_stale(plan, plan_of(shown(seen(1.0, row(5)), other)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("{", "not a saved plan"),
        ("[]", "not a saved plan"),
        ('{"kind": "warmset-plan", "schema_version": 2}', "another version"),
        ('{"kind": "warmset-plan", "schema_version": 1, "facts": {}, "digest": ""}', "changed"),
        ('{"kind": "warmset-plan", "schema_version": 1, "facts": 3, "digest": ""}', "changed"),
        (" " * (17 << 20), "larger"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    """Missing, broken, edited or another program's: each is named."""
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_plan(path)
    with pytest.raises(ConfigError, match="cannot be written"):
        save_plan(tmp_path / "x" / "p", plan_of(shown(seen(1.0))), made_at=1)


def test_log_lines_are_json_with_constant_names(capsys: pytest.CaptureFixture[str]) -> None:
    """One object per line, quieter levels left away, and a reader that is gone ends nothing."""
    log = EventLog(lambda: 0.0)
    log.write("decision", members=("a", "b"), trouble=None)
    log.write("noise", "debug")
    line = json.loads(capsys.readouterr().err)
    assert line == {
        "at": "1970-01-01T00:00:00.000+00:00",
        "level": "note",
        "event": "decision",
        "members": ["a", "b"],
    }

    class Gone:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            """Has nothing."""

    EventLog(lambda: 0.0, stream=Gone()).write("decision")  # type: ignore[arg-type]


def test_a_terminal_gets_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events, not as JSON; without colour where it is not wanted."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    coloured, plain = Terminal(), Terminal()
    EventLog(lambda: 0.0, stream=coloured).write("preloaded", model="a")
    monkeypatch.setenv("NO_COLOR", "1")
    EventLog(lambda: 0.0, stream=plain).write("preloaded", "warning", model="a")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    for word in ("1970-01-01T00:00:00", "warning", "preloaded", "model=a"):
        assert word in plain.getvalue()
