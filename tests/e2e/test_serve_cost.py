"""What a real `warmset serve` asks of Ollama, counted at the server: per look, and per ping."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from living_rig import CHAT, CODER, POLICY, SMALL, Living, holds

from warmset.core.twin.api import Exchange
from warmset.core.twin.events import Granted

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
ALL = {CODER, CHAT, SMALL}
WORDS = f'{POLICY}[model."{CODER}"]\npin = true\n[model."{CHAT}"]\npin = true\n[model."{SMALL}"]\n'
USER = "a user's own words"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the server got it; `at` in its own time."""

    at: float
    line: str
    body: bytes


class Counted(Living):
    """A living host that writes down what it is asked."""

    def count(self) -> None:
        """Begins."""
        self.asked: list[Asked] = []
        handle = self.server.api.handle

        def note(
            method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
        ) -> Exchange:
            self.asked.append(Asked(self.twin.timeline.now, f"{method} {path}", body))
            return handle(method, path, body, headers)

        self.server.api.handle = note  # type: ignore[method-assign]

    def lines(self, *, of_users: bool = False) -> list[str]:
        """Returns what was asked since the last `clear`, by warmset or by users."""
        return [a.line for a in tuple(self.asked) if (USER.encode() in a.body) == of_users]

    def looks(self, page: str) -> float:
        """Returns how many steps the loop has completed."""
        text = httpx.get(f"{page}/metrics", timeout=60).text
        rows = [r for r in text.splitlines() if r.startswith("warmset_reconcile_total{")]
        return sum(float(row.rpartition(" ")[2]) for row in rows)

    def use(self, model: str, **more: object) -> None:
        """A user's request, waited for."""
        body = {"model": model, "prompt": USER, "stream": False, "options": {"num_predict": 3}}
        httpx.post(f"{self.url}/api/generate", json=body | more, timeout=60).raise_for_status()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Counted]:
    """A host of a test's own, with three models to keep."""
    made = Counted(tmp_path)
    made.budgets.write_text(WORDS)
    made.count()
    try:
        yield made
    finally:
        made.end()


def orders(lines: list[str]) -> int:
    return sum(line in ("POST /api/generate", "POST /api/embed") for line in lines)


def wait_for_calm(rig: Counted) -> None:
    """Waits until every lease is placed: nothing was told to the server for three seconds."""
    rig.wait_until(holds(rig, ALL))
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 3.0:
        rig.asked.clear()
        time.sleep(0.5)
        if orders(rig.lines()):
            quiet_since = time.monotonic()


def test_a_look_asks_one_list_and_a_ping_two_more(rig: Counted) -> None:
    """Calm: one `/api/ps` a look, models and version at most every sixth time, nothing else. Then
    users overwrite keep-alives of pins: each ping adds two lists, the one before and the one after,
    and nothing more. All the while no request of a user to a resident model waits for anything."""
    daemon = rig.serve("--listen", "0")
    page = daemon.wait_for("listening")["url"]
    wait_for_calm(rig)

    rig.asked.clear()
    before = rig.looks(page)
    time.sleep(6.0)
    looks = rig.looks(page) - before
    lines = rig.lines()
    assert looks >= 5
    assert abs(lines.count("GET /api/ps") - looks) <= 1  # one may be under way at each end
    for path in ("GET /api/tags", "GET /api/version"):
        assert lines.count(path) <= looks / 6 + 1
    assert set(lines) <= {"GET /api/ps", "GET /api/tags", "GET /api/version"}

    rig.asked.clear()
    before = rig.looks(page)
    for model in (CODER, CHAT, SMALL, CODER, CHAT):
        rig.use(model, keep_alive="5m")
        time.sleep(2.0)
    rig.wait_until(lambda: orders(rig.lines()) >= 2)
    time.sleep(1.0)
    looks, lines = rig.looks(page) - before, rig.lines()
    pings = orders(lines)
    assert abs(lines.count("GET /api/ps") - looks - 2 * pings) <= 2, (looks, pings, lines)
    no_user_waits(rig)
    daemon.stop()
    assert len(rig.events_of("preload_ordered")) == len(ALL)


def no_user_waits(rig: Counted) -> None:
    """Each request of a user was granted in the very moment in which it came, by a warm model."""
    asked = [a.at for a in rig.asked if USER.encode() in a.body]
    with rig.server.locked():
        granted = [at for at, e in rig.happened if isinstance(e, Granted) and not e.was_cold]
    assert len(asked) == 5
    assert [at for at in asked if at not in granted] == []
