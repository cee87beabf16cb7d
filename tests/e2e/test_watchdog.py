"""A queue of Ollama's that stands still (issue #17408), beside real processes over HTTP."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from living_rig import CHAT, CODER, LARGE, POLICY, SMALL, Living, holds, living

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
HURRY = 'stuck_after = "10s"\nback_off = "5s"\n'
TWO = f'[model."{CODER}"]\npin = true\n[model."{SMALL}"]\npriority = 10\n'
THREE = f'{TWO}[model."{CHAT}"]\npin = true\n'


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Living]:
    """A host of a test's own."""
    with living(tmp_path) as made:
        yield made


def freeze(rig: Living) -> None:
    """A load waits for busy models, and a client renews their keep-alives before they are idle."""
    with rig.server.locked() as host:
        for name in (CODER, SMALL):
            host.use(name, 2.0, keep_alive=600.0)
        host.use(LARGE, 0.5, keep_alive=0.0)
    time.sleep(0.5)
    with rig.server.locked() as host:
        for name in (CODER, SMALL):
            host.use(name, 2.0, keep_alive=86400.0)
    time.sleep(3.0)


def test_loads_that_no_longer_happen_are_told_and_woken_only_if_allowed(rig: Living) -> None:
    """`/api/ps` answers all the time. As long as warmset wants nothing it asks for nothing; its own
    preload that never begins is the evidence. Nothing is unloaded until the operator allows it:
    then one idle model that is no pin, and every load happens."""
    rig.budgets.write_text(POLICY + HURRY + TWO)
    daemon = rig.serve()
    rig.wait_until(holds(rig, {CODER, SMALL}))
    daemon.wait_for("decision", is_converged=True)
    asked = len(rig.events_of("preload_ordered"))
    freeze(rig)
    assert len(rig.events_of("preload_ordered")) == asked
    rig.budgets.write_text(POLICY + HURRY + THREE)
    daemon.signal(signal.SIGHUP)
    alarm = daemon.wait_for("alarm", 60.0, code="loads_stuck")
    assert "may_rescue" in alarm["text"]
    time.sleep(3.0)
    assert rig.residents() == {CODER, SMALL}
    assert not rig.events_of("unload_ordered")
    rig.budgets.write_text(POLICY + HURRY + "may_rescue = true\n" + THREE)
    daemon.signal(signal.SIGHUP)
    rig.wait_until(lambda: LARGE in [name for _, _, name in rig.loads()], 30.0)
    rig.wait_until(holds(rig, {CODER, SMALL, CHAT}), 60.0)
    assert [event.name for event in rig.events_of("unload_ordered")] == [SMALL]
    daemon.wait_for("loads_resumed")
    daemon.stop()
    assert "decision_failed" not in daemon.events()
