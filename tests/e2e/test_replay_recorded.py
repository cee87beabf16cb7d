"""A journal that a real `warmset serve` wrote, decided again: whole, in part, spoilt, reworded."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from living_rig import CHAT, CODER, LARGE, MEDIUM, PINS, SMALL, Living, holds, living
from typer.testing import CliRunner

from warmset.adapters.journal.schema import JOURNAL
from warmset.cli.app import app
from warmset.cli.options import Options

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
PRIORITIES = f'{PINS}[model."{SMALL}"]\npriority = 80\n[model."{MEDIUM}"]\npriority = 20\n'


class Done(NamedTuple):
    """How a verb ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What a daemon left: its journal whole, and as a power cut would leave it; its words; and
    around which moment its users came."""

    rig: Living
    journal: Path
    cut: Path
    words: Path
    middle: float

    def replay(self, *arguments: object) -> Done:
        """Runs the verb, in this process: that is quicker, and it asks nobody."""
        done = CliRunner().invoke(app, ["replay", *map(str, arguments)], obj=Options())
        return Done(done.exit_code, done.stdout, done.stderr)

    def told(self, *arguments: object) -> dict:
        """Returns the document of a replay that could read everything."""
        done = self.replay(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def copy_of(folder: Path, to: Path) -> Path:
    """Returns a journal as it lies on the disk at this moment, with what SQLite has beside it."""
    to.mkdir()
    for path in folder.glob(f"{JOURNAL.file_name}*"):
        if not path.name.endswith("-shm"):  # memory, not disk
            shutil.copy(path, to / path.name)
    return to / JOURNAL.file_name


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """Pins, users of four models and one that is too large for all beside it, for some seconds."""
    folder = tmp_path_factory.mktemp("host")
    with living(folder) as rig:
        rig.budgets.write_text(PRIORITIES)
        daemon = rig.serve()
        rig.wait_until(holds(rig, {CODER, CHAT, SMALL}))
        daemon.wait_for("decision", is_converged=True)
        time.sleep(1.0)
        middle = time.time()
        for name in (SMALL, MEDIUM, LARGE, CODER):
            rig.ask(name, keep_alive="2s").join()
        rig.wait_until(holds(rig, {CODER, CHAT, SMALL}))
        daemon.wait_for("decision", is_converged=True)
        (home,) = (path.parent for path in folder.rglob(JOURNAL.file_name))
        cut = copy_of(home, folder / "cut")
        daemon.stop()
        yield Kept(rig, home / JOURNAL.file_name, cut, rig.budgets, middle)


def stamp(at: float) -> str:
    """Returns a moment as a user writes it, to the microsecond."""
    return datetime.fromtimestamp(at).isoformat()  # noqa: DTZ006 - local time is what is read


def test_what_serve_did_is_decided_the_same(kept: Kept) -> None:
    """By the same version, from the file, its folder and the host's address: nothing differs, and
    loads, evictions and renewals are among it."""
    whole = kept.told(kept.journal, "--detailed-exitcode")
    assert whole["is_same"]
    assert whole["decisions"] > 10
    assert kept.told(kept.journal.parent)["counts"] == whole["counts"]
    here = kept.rig.run("replay", "-o", "json")  # with --config: the words of then, read again
    assert json.loads(here.stdout)["decisions"] == whole["decisions"], here.stderr
    kinds = {event.kind for event in kept.rig.events_of("preloaded", "model_left", "model_came")}
    assert kinds == {"preloaded", "model_left", "model_came"}


def test_a_recorded_part_becomes_a_test_that_other_words_fail(kept: Kept, tmp_path: Path) -> None:
    """`--since --until --test` over the seconds of the users: a file that passes wherever it is,
    holds just them, and tells (7) what another policy, budget, priority or pin would decide."""
    case = tmp_path / "part.json"
    span = ("--since", stamp(kept.middle - 0.5), "--until", stamp(kept.middle + 60.0))
    saved = kept.replay(kept.journal, *span, "--test", case)
    assert saved.returncode == 0, saved.stderr
    part, whole = kept.told(case), kept.told(kept.journal)
    assert 0 < part["decisions"] < whole["decisions"]
    assert f"saved {part['decisions']} decisions to {case}" in saved.stderr
    assert part["counts"] == kept.told(kept.journal, *span)["counts"]
    assert kept.replay(case, "--detailed-exitcode").returncode == 0
    words = ("--config", kept.words, "--detailed-exitcode")
    assert kept.replay(case, *words).returncode == 0  # the words of then
    for other in ("policy.name=saving", "budget.vram_limit=8GiB", f'model."{CODER}".pin=false'):
        done = kept.replay(case, *words, "--set", other)
        assert done.returncode == 7, f"{other}: {done.stdout}{done.stderr}"
        assert " different" in done.stdout.splitlines()[-1]
    wrong = kept.replay(case, *words, "--set", "policy.name=wort")
    assert (wrong.returncode, "'saving' or 'worth'" in wrong.stderr) == (3, True)


def test_a_part_of_nothing_is_no_test(kept: Kept, tmp_path: Path) -> None:
    """A test of no decision would always pass: it is refused and no file is left. So is a time
    that ends before it begins, as `--since 1h --until 2h` does."""
    case = tmp_path / "none.json"
    early = ("--since", "2020-01-01", "--until", "2020-01-02")
    assert kept.told(kept.journal, *early)["decisions"] == 0
    refused = kept.replay(kept.journal, *early, "--test", case)
    assert (refused.returncode, case.exists()) == (3, False), refused.stdout
    assert "no decision to save" in refused.stderr
    turned = kept.replay(kept.journal, "--since", "1h", "--until", "2h")
    assert (turned.returncode, "before --since" in turned.stderr) == (3, True)


def test_a_power_cut_costs_no_more_than_the_last_writes(kept: Kept, tmp_path: Path) -> None:
    """The files as they lay on the disk while serve ran, the last write torn at any byte: what was
    whole before is there and decided the same, never an error."""
    total = kept.told(kept.cut)["decisions"]
    assert total > 10
    log = Path(f"{kept.cut}-wal").read_bytes()
    counts = []
    for number, share in enumerate((0.0, 0.4, 0.8, 0.999)):
        torn = tmp_path / str(number) / JOURNAL.file_name
        torn.parent.mkdir()
        shutil.copy(kept.cut, torn)
        Path(f"{torn}-wal").write_bytes(log[: int(len(log) * share)])
        told = kept.told(torn, "--detailed-exitcode")
        assert told["is_same"]
        counts.append(told["decisions"])
    assert counts == sorted(counts)
    assert 0 < counts[1] < counts[2] <= total


def test_a_copy_that_ended_early_is_read_as_far_as_it_goes(kept: Kept, tmp_path: Path) -> None:
    """The end of the file is missing: the decisions in what is there are made again, what is
    missing is told, exit code 3. Where nothing but the beginning is there, that alone."""
    whole = kept.journal.read_bytes()
    part = tmp_path / "part.sqlite3"
    total = kept.told(kept.journal)["decisions"]
    read = []
    for share in (0.95, 0.8, 0.6, 0.03):
        part.write_bytes(whole[: int(len(whole) * share)])
        done = kept.replay(part, "-o", "json")
        told = json.loads(done.stdout)
        assert (done.returncode, told["is_same"]) == (3, True)
        assert "the file is damaged" in done.stderr
        read.append(told["decisions"])
    assert total >= read[0] > 0  # which pages are the last ones is SQLite's choice
    assert read == sorted(read, reverse=True)
    assert read[-1] == 0


def test_what_is_no_journal_of_ours_is_told_in_one_line(kept: Kept, tmp_path: Path) -> None:
    """Another program's file, noise, a newer journal: exit code 3 and what to name instead. An
    empty file is a journal of which nothing was written yet; an older one is read."""
    noise, empty = tmp_path / "noise", tmp_path / "empty"
    noise.write_bytes(b"\xa5" * 9000)
    empty.touch()
    for path in (noise, tmp_path, Path("/etc/hostname"), tmp_path / "gone"):
        done = kept.replay(path)
        assert done.returncode == 3, done.stdout
        assert "name a journal.sqlite3, the folder it is in, or a file of `replay --test`" in (
            done.stderr
        )
        assert "Traceback" not in done.stderr
    none = kept.replay(empty)
    assert (none.returncode, none.stdout) == (0, "0 decisions: none recorded\n")
    other = tmp_path / "other.sqlite3"
    shutil.copy(kept.journal, other)
    for version, code in ((JOURNAL.version + 1, 3), (1, 0)):
        with closing(sqlite3.connect(other)) as database:
            database.execute("DROP TABLE IF EXISTS loads")  # the first version had none
            database.execute(f"PRAGMA user_version = {version}")
        done = kept.replay(other, "--detailed-exitcode")
        assert done.returncode == code, done.stderr
        assert ("newer warmset" in done.stderr) == (code == 3)
