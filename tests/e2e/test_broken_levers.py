"""An Ollama that no longer does what it is told, beside a real `warmset serve`.

What `doctor` says of it, and what the loop still does.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from living_rig import CHAT, CODER, POLICY, SMALL, Living, holds, living
from serving_rig import Process

from warmset.core.twin.api import Exchange

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
HURRY = (
    f'{POLICY}back_off = "60s"\nrestores_per_window = 30\nreloads_per_window = 60\n'
    "reasserts_per_window = 30\n"
)
WORDS = (
    f'{HURRY}[model."{CODER}"]\npin = true\n[model."{CHAT}"]\npriority = 80\n'
    f'[model."{SMALL}"]\npriority = 10\n'
)
ALL = {CODER, CHAT, SMALL}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Living]:
    """A host of a test's own."""
    with living(tmp_path) as made:
        made.budgets.write_text(WORDS)
        yield made


def told_by_warmset(rig: Living, change: Callable[[dict], dict]) -> list[dict]:
    """Lets the server understand orders otherwise; returns all that come from now on, as sent."""
    handle = rig.server.api.handle
    orders: list[dict] = []

    def misunderstand(
        method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        said = json.loads(body) if body else {}
        if path in ("/api/generate", "/api/embed") and not {"prompt", "input"} & set(said):
            orders.append(said)
            body = json.dumps(change(dict(said))).encode()
        return handle(method, path, body, headers)

    rig.server.api.handle = misunderstand  # type: ignore[method-assign]
    return orders


def doctor_on(rig: Living, lever: str) -> str:
    """Returns what the doctor says of a lever; it is what is wrong with this host."""
    done = rig.run("doctor")
    assert done.returncode == 6, done.stdout
    row, hint = [line for line in done.stdout.splitlines() if f"lever {lever} " in line]
    assert row.split()[:2] == ["fail", "server"]
    assert "upgrade warmset or go back" in hint
    assert "broken for" in row
    assert "tried again in" in row
    return row


def drop(rig: Living, name: str) -> None:
    """A client unloads a model."""
    with rig.server.locked() as host:
        model = host.library.find(name)
        assert model is not None
        host.unload(model)


def is_load(rig: Living, said: dict) -> bool:
    """Whether an order would load a model that is not there."""
    with rig.server.locked() as host:
        model = host.library.find(said["model"])
        return model is not None and model.key not in host.scheduler.loaded


def ends_well(rig: Living, daemon: Process) -> None:
    """Nothing was unloaded for it, and the loop never stumbled."""
    daemon.stop()
    assert not {"decision_failed", "look_failed"} & set(daemon.events())
    assert not rig.events_of("unload_ordered")


def test_pings_that_set_another_keep_alive(rig: Living) -> None:
    """After four of them `doctor` says so and nothing is pinged; what is missing still comes."""
    orders = told_by_warmset(rig, lambda said: {**said, "keep_alive": "7m"})
    daemon = rig.serve()
    daemon.wait_for("alarm", code="lever_broken ping")
    told = doctor_on(rig, "ping")
    assert "pings do not renew keep-alives" in told
    assert "nothing is pinged" in told
    drop(rig, CODER)
    orders.clear()
    rig.wait_until(holds(rig, ALL))
    time.sleep(3.0)
    assert [said["model"] for said in orders] == [CODER]
    ends_well(rig, daemon)


def test_preloads_that_load_nothing(rig: Living) -> None:
    """After four of them `doctor` says so and nothing is preloaded; what users load is kept in its
    order all the same."""
    orders = told_by_warmset(
        rig, lambda said: {**said, "model": SMALL} if is_load(rig, said) else said
    )
    rig.ask(SMALL).join()
    daemon = rig.serve()
    daemon.wait_for("alarm", code="lever_broken preload")
    told = doctor_on(rig, "preload")
    assert "preloads load nothing" in told
    assert "nothing is loaded" in told
    orders.clear()
    rig.ask(CODER).join()
    rig.wait_until(lambda: rig.duration(CODER) > rig.duration(SMALL) > 600.0)
    time.sleep(2.0)
    assert CHAT not in {said["model"] for said in orders}
    ends_well(rig, daemon)
