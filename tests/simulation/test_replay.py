"""A recorded history decided again: nothing differs, until something does."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from loop_hosts import CARD, CODER, EMBED, MEDIUM, config, gib, world
from soak.life import Life
from soak.story import Story, tell
from typer.testing import CliRunner

from warmset.adapters.journal import Journal
from warmset.adapters.journal.schema import JOURNAL
from warmset.cli.app import app
from warmset.cli.options import Options
from warmset.core.control.actions import Finding
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.plain import from_plain, to_plain
from warmset.core.control.redecide import Sameness, redecide
from warmset.core.model import ModelKey
from warmset.core.settings import ModelPolicy, Settings
from warmset.errors import TraceError
from warmset.shell.record import Recorder
from warmset.shell.recorded import open_span
from warmset.shell.redeciding import decide_again, reword

ROOT = Path(__file__).parents[2]
CASES = sorted((ROOT / "tests/replays").glob("*.json"))
SEEDS = (4, 11, 402788)
NEWS = Finding(kind="news", key=None, name="", text="")


def live(story: Story, folder: Path) -> Path:
    """Lives through a story; returns the journal that is left."""
    folder.mkdir()
    Life(story, folder).live()
    return folder / JOURNAL.file_name


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of one seed, not to be written to."""
    return live(replace(tell(3), is_read_only=False), tmp_path_factory.mktemp("kept") / "host")


@pytest.fixture
def journal(kept: Path, tmp_path: Path) -> Path:
    """A copy of that journal, to spoil."""
    return Path(shutil.copy(kept, tmp_path / JOURNAL.file_name))


@pytest.fixture
def database(journal: Path) -> Iterator[sqlite3.Connection]:
    """The copy, open."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as opened:
        yield opened


def run(*arguments: object) -> tuple[int, str, str]:
    """Runs the verb; returns exit code, stdout and stderr."""
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)], obj=Options())
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("seed", SEEDS)
def test_no_story_is_decided_otherwise_the_second_time(tmp_path: Path, seed: int) -> None:
    """Whatever mishaps a seed holds, each journaled decision follows from what stands beside it."""
    story = replace(tell(seed), is_read_only=False)
    report = decide_again(open_span(live(story, tmp_path / "host")))
    assert sum(report.counts.values()) > 10
    assert report.unreadable == ()
    odd = [v for v in report.verdicts if v.sameness is not Sameness.REMEMBERED]
    assert [(v.recorded.number, v.differences, v.error) for v in odd] == []


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_saved_decisions_are_made_again(path: Path) -> None:
    """Each file of tests/replays is a recorded hour; `replay --test FILE` makes another."""
    report = decide_again(open_span(path))
    assert report.counts[Sameness.SAME] == sum(report.counts.values()) > 0
    assert report.unreadable == ()


def test_there_are_saved_decisions() -> None:
    """The pattern that finds the files finds them."""
    assert CASES


def test_a_remembered_plan_is_told_apart(journal: Path) -> None:
    """With the amounts it was planned on the decision is the same; planned anew it differs, and a
    journal that kept no such amounts says that only numbers do."""
    for recorded in open_span(journal):
        if recorded.decision is None or not recorded.decision.members:
            continue
        members = tuple(
            replace(m, upper={d: n + (1 << 20) for d, n in m.upper.items()})
            for m in recorded.decision.members
        )
        other = replace(recorded, decision=replace(recorded.decision, members=members))
        assert redecide(other).sameness is Sameness.DIFFERENT
        assert redecide(replace(other, planned_on=None)).sameness is Sameness.GRAIN
        return
    pytest.fail("no decision with members")


def test_memory_that_moves_by_less_than_a_grain_is_accounted_for(tmp_path: Path) -> None:
    """Another program's memory trembles: plans are remembered, and the journal says on what, so
    that every decision is made again; a fresh plan may differ and is told apart."""
    loop = Loop(config(CODER={"pin": True}, MEDIUM={"priority": 50}), is_read_only=True)
    scene = world(loop.config, starts=False, loop=loop)
    journal = Journal(tmp_path)
    recorder = Recorder(journal)
    now = scene.host.timeline.now
    for tick in range(60):
        now += 5.0
        scene.host.timeline.advance(now)
        scene.host.cards.set_foreign(CARD, gib(0.6) + tick % 7 * (9 << 20))
        if tick % 9 == 8:
            scene.host.use(EMBED, 1.0)
        look, before = scene.sidecar.observe(), loop.state
        loop.look(look, now)
        assert loop.decision is not None
        found = (*loop.decision.findings, NEWS)  # so that every look is kept
        news = replace(loop.decision, findings=found)
        recorder.decision(look, loop.config, before, news, after=loop.state)
    journal.close()
    remembered = 0
    for recorded in open_span(tmp_path):
        assert recorded.decision is not None
        remembered += bool(recorded.planned_on)
        found = tuple(f for f in recorded.decision.findings if f != NEWS)
        decided = replace(recorded.decision, findings=found)
        verdict = redecide(replace(recorded, decision=decided))
        assert verdict.sameness in (Sameness.SAME, Sameness.REMEMBERED), verdict.differences
    assert remembered > 10


def test_other_words_of_the_operator_show_what_they_change(journal: Path, tmp_path: Path) -> None:
    """Under a file that wants nothing, the orders are gone; `--set` alone changes one word."""
    file = tmp_path / "other.toml"
    file.write_text(f'[model."{CODER}"]\npreload = false\n')
    code, out, _ = run(journal, "--config", file, "--detailed-exitcode", "-o", "json")
    assert code == 7
    told = json.loads(out)
    assert not told["is_same"]
    lines = [line for one in told["differing"] for line in one["differences"]]
    gone = {line["then"].split()[0] for line in lines if line["what"] == "action" and line["then"]}
    assert {"preload", "renew"} <= gone
    code, out, _ = run(journal, "--config", file, "--set", "policy.tick=9s", "--decision", "1")
    assert code == 0
    assert "1 different" in out
    code, _, _ = run(journal, "--set", "policy.tick")
    assert code != 0


def test_budgets_and_policies_are_compared_word_by_word(journal: Path, tmp_path: Path) -> None:
    """Above the same file, less memory for models shows pins that no longer fit, and another policy
    other keep-alives for the same models."""
    file = tmp_path / "words.toml"
    file.write_text(
        f'[model."{CODER}"]\npin = true\n[model."{EMBED}"]\npriority = 50\n'
        f'[model."{MEDIUM}"]\npriority = 50\n'
    )

    def told(*words: str) -> str:
        code, out, err = run(journal, "--config", file, *words, "-o", "json")
        assert code == 0, err
        return json.dumps(json.loads(out)["differing"])

    plain = told()
    assert "pins that never fit" not in plain
    assert "pins that never fit" in told("--set", "budget.vram_limit=4GiB")
    assert told("--set", "policy.name=saving") != plain
    assert told("--set", "policy.name=worth") == plain


def test_what_a_record_does_not_say_is_what_held_then() -> None:
    """Before ranks by worth could be chosen, and were the default, ranks went by saving: decisions
    of then are made again so."""
    written = json.loads(json.dumps(to_plain(Config(settings=Settings()))))
    assert from_plain(Config, written).loop.name == "worth"
    del written["settings"]["loop"]["name"]
    assert from_plain(Config, written).loop.name == "saving"


def test_holds_of_then_still_count(journal: Path) -> None:
    """Other settings replace the file, not what was ordered beside it."""
    span = open_span(journal)
    recorded = next(r for r in span if r.decision is not None and r.decision.members)
    held = {CODER: recorded.now + 600}
    holding = replace(recorded, config=replace(recorded.config, holds=held))
    policy = ModelPolicy(name=CODER)
    assert reword(holding, Settings(models={CODER: policy})).holds == held


def test_a_span_becomes_a_test_case(journal: Path, tmp_path: Path) -> None:
    """Saved, it is read again and decided the same, without the journal."""
    case = tmp_path / "case.json"
    code, out, err = run(journal, "--test", case)
    assert code == 0, err
    assert "saved" in err
    assert run(case)[:2] == (0, out)
    number = next(iter(open_span(journal))).number
    assert run(case, "--decision", number)[0] == 0
    code, _, _ = run(journal, "--test", tmp_path)
    assert code == 3


def test_a_time_span_is_kept_to(journal: Path) -> None:
    """--since and --until take a moment or a duration; nothing outside is read."""
    everything = [r.number for r in open_span(journal)]
    middle = list(open_span(journal))[len(everything) // 2]
    later = [r.number for r in open_span(journal, since=middle.at)]
    assert later == [n for n in everything if n >= middle.number] or middle.number in later
    earlier = [r.number for r in open_span(journal, until=middle.at)]
    assert earlier == [n for n in everything if n <= middle.number]
    assert run(journal, "--since", "1h")[1].startswith("0 decisions")
    assert run(journal, "--since", "yesterday")[0] != 0


def test_a_newer_journal_is_refused(journal: Path, database: sqlite3.Connection) -> None:
    """A file of a schema that is not known yet is not guessed at."""
    database.execute(f"PRAGMA user_version = {JOURNAL.version + 1}")
    with pytest.raises(TraceError, match=f"version {JOURNAL.version + 1}"):
        open_span(journal)


def test_an_older_journal_is_read(journal: Path, database: sqlite3.Connection) -> None:
    """One of the first version is brought up to date in memory; the file stays as it is."""
    expected = decide_again(open_span(journal)).counts
    database.execute("DROP TABLE loads")
    database.execute("PRAGMA user_version = 1")
    before = journal.read_bytes()
    assert decide_again(open_span(journal)).counts == expected
    assert journal.read_bytes() == before


def test_what_is_damaged_is_left_out_and_told(journal: Path, database: sqlite3.Connection) -> None:
    """Rows that cannot be read are counted; the others are decided again; exit code 3."""
    total = len(open_span(journal).numbers)
    database.execute("UPDATE decisions SET body = x'00ff' WHERE id = 2")
    bad = zlib.compress(
        json.dumps({"observation": {"at": "noon"}, "state": {"version": 1}}).encode()
    )
    database.execute("UPDATE decisions SET body = ? WHERE id = 3", (bad,))
    newer = zlib.compress(json.dumps({"observation": {}, "state": {"version": 99}}).encode())
    database.execute("UPDATE decisions SET body = ? WHERE id = 4", (newer,))
    code, out, err = run(journal)
    assert code == 3
    assert out.splitlines()[-1] == f"{total - 3} decisions: {total - 3} the same, 3 not read"
    for words in ("decision 2", "decision 3", "state of version 99"):
        assert words in err


def test_a_hole_in_the_file_costs_no_more_than_itself(kept: Path, tmp_path: Path) -> None:
    """Pages of noise in the middle: what is before and behind is still read, and it is told."""
    whole = kept.read_bytes()
    total = len(open_span(kept).numbers)
    for share in (0.3, 0.5, 0.8):
        path = tmp_path / "holed.sqlite3"
        at = int(len(whole) * share) // 4096 * 4096
        path.write_bytes(whole[:at] + b"\xa5" * 8192 + whole[at + 8192 :])
        report = decide_again(open_span(path))
        assert 0 < sum(report.counts.values()) < total or report.unreadable == ()
        assert report.is_same


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    """A file with other tables is no journal, and stays as it is."""
    path = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE things (id)")
    before = path.read_bytes()
    assert run(path)[0] == 3
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is no database", "cannot be read"),
        (b"{}", "no test case"),
        (b'{"kind":"warmset-replay","schema_version":99}', "version 99"),
        (b'{"kind":"warmset-replay","schema_version":1,"cases":[{}],"parts":[]}', "body"),
        (b"{" * 100_000, "no test case"),
    ],
    ids=["text", "object", "newer", "hollow", "deep"],
)
def test_what_is_no_history_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """One clear line, exit code 3."""
    path = tmp_path / "file"
    path.write_bytes(content)
    code, _, err = run(path)
    assert code == 3
    assert words in err
    missing, _, err = run(tmp_path / "nowhere")
    assert missing == 3
    assert "nowhere" in err


def test_a_failed_decision_is_tried_again(journal: Path) -> None:
    """What failed then and does not now is told, and so is what fails now."""
    recorded = next(iter(open_span(journal)))
    mended = redecide(replace(recorded, decision=None, error="KeyError: 'x'"))
    assert mended.sameness is Sameness.FAILED
    looked = recorded.observation
    assert looked.residents is not None
    broken = replace(recorded, state=replace(recorded.state, models={ModelKey("x"): None}))
    assert redecide(broken).sameness is Sameness.FAILED
