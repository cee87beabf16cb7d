"""Ollama, the machine under it and warmset as three processes, killed one by one and together."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from living_rig import CHAT, CODER, PINS
from three_rig import PATIENCE_SECONDS, Three

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
HOST = f"""
ram = "64GiB"
[gpu.0]
name = "NVIDIA GeForce RTX 4090"
memory = "24564MiB"
foreign = "600MiB"
[model."{CODER}"]
file = "200MB"
[model."{CHAT}"]
file = "300MB"
"""
WANTED = {CODER, CHAT}

ALL = ("server", "machine", "warmset")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Three]:
    """A host of a test's own, with everything running."""
    made = Three(tmp_path, HOST, PINS)
    try:
        made.start(*ALL)
        yield made
    finally:
        made.end()


def are_there(rig: Three) -> bool:
    """Whether the pins, and nothing else, are resident."""
    try:
        return rig.residents() == WANTED
    except httpx.HTTPError:
        return False


def nothing_is_left_to_do(rig: Three) -> bool:
    """Whether warmset plans no change, by the residents, runners and bytes that it sees."""
    return rig.run("plan", "--detailed-exitcode").returncode == 0


def test_whoever_is_killed_all_is_as_wanted_again(rig: Three) -> None:
    """kill -9 of the machine with driver and runners, of warmset, of Ollama, and of all three at
    once while pins are being loaded: started again, the pins come back, none of them was unloaded,
    and the journal is whole and decides the same again."""
    rig.wait_until(lambda: are_there(rig), PATIENCE_SECONDS)
    for victim in ("machine", "server", "warmset"):
        rig.kill(victim)
        rig.start(victim)
        rig.wait_until(lambda: are_there(rig), PATIENCE_SECONDS)
    daemon = rig.processes["warmset"]
    rig.kill("server")
    rig.start("server")
    daemon.wait_for("preloaded", PATIENCE_SECONDS)  # the other one is to come
    rig.kill(*ALL)
    rig.start(*ALL)
    rig.wait_until(lambda: are_there(rig) and nothing_is_left_to_do(rig), PATIENCE_SECONDS)
    daemon = rig.processes["warmset"]
    daemon.stop(PATIENCE_SECONDS)
    assert not {"decision_failed", "look_failed"} & set(daemon.events())
    check_journal(rig)


def check_journal(rig: Three) -> None:
    """What was written down is whole, and says what happened."""
    (path,) = rig.folder.rglob("journal.sqlite3")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(path.parent.glob("*damaged*"))
    told = json.loads(rig.run("history", "-o", "json", "--limit", "10000").stdout)["events"]
    kinds = [event["kind"] for event in told]
    assert kinds.count("started") == 3  # the first one, and one after each time it was killed
    assert not [e for e in told if e["kind"] == "unload_ordered"]
    again = rig.run("replay", "--detailed-exitcode", "-o", "json")
    assert again.returncode == 0, again.stdout + again.stderr
