"""Clients and operators who want something else than warmset, and a server that changes under it,
as separate real processes on one living host."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from living_rig import CHAT, CODER, SMALL, Living, holds, living

from warmset.core.model import FOREVER
from warmset.core.units import MINUTE

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
BOTH = {CODER, CHAT}
LEASE = 30 * MINUTE


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Living]:
    """A host of a test's own."""
    with living(tmp_path) as made:
        yield made


def has_lease(rig: Living, name: str) -> bool:
    """Returns whether a model is resident with a keep-alive that only warmset gives."""
    return LEASE <= rig.duration(name) < FOREVER


def assert_no_ping_met_a_load(rig: Living) -> None:
    """No ping was on its way while a load of anybody ran, but those that were told as races."""
    sent = [event.at for event in rig.events_of("renewed")]
    assert sent
    for begun, end, name in rig.loads():
        assert not [at for at in sent if begun < at < end], name


def test_pins_come_one_after_the_other_without_a_tick_lost(rig: Living) -> None:
    """The first decision sends the first preload, and the first one after its end the second."""
    daemon = rig.serve()
    first = daemon.wait_for("decision")
    assert [order["do"] for order in first["sends"]] == ["preload"]
    rig.wait_until(holds(rig, BOTH))
    daemon.wait_for("decision", is_converged=True)
    daemon.stop()
    told = [line for line in daemon.lines if line["event"] in ("decision", "preloaded")]
    done = next(n for n, line in enumerate(told) if line["event"] == "preloaded")
    assert [order["do"] for order in told[done + 1]["sends"]] == ["preload"]
    assert len(rig.loads()) == 2


def test_leases_come_back_after_whatever_took_them(rig: Living) -> None:
    """After a client's own keep-alive, a client's reload, and a lack of memory that zeroed all;
    an endless one is told of and stays; no ping ever meets a load."""
    daemon = rig.serve()
    rig.wait_until(holds(rig, BOTH))
    rig.ask(CODER, keep_alive="20s").join()
    assert rig.duration(CODER) == 20.0
    rig.wait_until(lambda: has_lease(rig, CODER))
    time.sleep(1.0)  # the ping that brought it is over then
    rig.ask(CODER, keep_alive="20s", options={"num_ctx": 2048}).join()
    rig.wait_until(lambda: has_lease(rig, CODER))
    time.sleep(1.0)
    rig.ask(SMALL, keep_alive="3s").join()  # a load of somebody else's, in between
    with rig.server.locked() as host:
        host.scheduler.runtime_oom()
    gone: set[str] = set()  # one after the other: the first may be back before the last is away
    rig.wait_until(lambda: gone.update(BOTH - set(rig.residents())) or gone == BOTH)
    rig.wait_until(lambda: all(has_lease(rig, name) for name in BOTH))
    rig.ask(CHAT, keep_alive=-1).join()
    daemon.wait_for("alarm", code="infinite_keep_alive")
    time.sleep(1.0)
    assert rig.duration(CHAT) == FOREVER
    daemon.stop()
    assert_no_ping_met_a_load(rig)
    assert not rig.events_of("unload_sent")


FRONTEND = """
import http.client, json, socket, sys, time
kept = socket.create_connection(("127.0.0.1", int(sys.argv[1])))  # as a pool of connections has
server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
def ask(method, path, body=None):
    server.request(method, path, None if body is None else json.dumps(body))
    return json.loads(server.getresponse().read())
while True:
    if sys.argv[2] in [row["name"] for row in ask("GET", "/api/ps")["models"]]:
        ask("POST", "/api/generate", {"model": sys.argv[2], "keep_alive": 0})
    time.sleep(0.3)
"""


def test_a_client_that_unloads_a_pin_again_and_again_wins_for_a_while(rig: Living) -> None:
    """Three restorations, then a pause, and an alarm that names the model and the program that
    held a connection each time."""
    daemon = rig.serve()
    rig.wait_until(holds(rig, BOTH))
    program = rig.folder / "chat-frontend"
    program.symlink_to(Path(sys.executable).resolve())
    command = [str(program), "-IS", "-c", FRONTEND, str(rig.port), CODER]
    frontend = subprocess.Popen(command)
    rig.actors.show(frontend.pid)
    try:
        alarm = daemon.wait_for("alarm", seconds=60.0)
        while not alarm["code"].startswith("paused"):
            alarm = daemon.wait_for("alarm", seconds=60.0)
        assert CODER in alarm["text"]
        assert f"chat-frontend (PID {frontend.pid})" in alarm["text"]
        loads = [name for _, _, name in rig.loads()].count(CODER)
        assert loads <= 4
        time.sleep(2.0)
        assert [name for _, _, name in rig.loads()].count(CODER) == loads
    finally:
        frontend.kill()
        frontend.wait()
    daemon.stop()


def test_an_upgraded_server_is_learnt_anew(rig: Living) -> None:
    """Another version, nothing loaded: told, and the pins are back."""
    daemon = rig.serve()
    rig.wait_until(holds(rig, BOTH))
    daemon.wait_for("decision", seconds=30.0, is_converged=True)  # no load is open any more
    with rig.server.locked() as host:
        host.spec = replace(host.spec, version="0.34.0")
        host.restart(0.2)
    daemon.wait_for("server_changed", seconds=30.0)
    rig.wait_until(holds(rig, BOTH))
    daemon.wait_for("decision", seconds=30.0, is_converged=True)
    daemon.stop()
    assert not rig.events_of("unload_sent", "alarm_paused")


def test_a_pin_that_is_deleted_and_pulled_anew(rig: Living) -> None:
    """Deleted: named, and nothing is fetched. Other weights under the same name: those are
    loaded."""
    daemon = rig.serve()
    rig.wait_until(holds(rig, BOTH))
    with rig.server.locked() as host:
        model = host.library.find(CHAT)
        host.unload(model)
        host.library.delete(CHAT)
    absent = daemon.wait_for("alarm", seconds=30.0)
    assert absent["code"].startswith("pin_absent")
    assert CHAT in absent["text"]
    new = replace(model.weights, digest=f"sha256:{'5' * 64}")
    with rig.server.locked() as host:
        assert not [r for r in host.residents() if r.model.name == CHAT]
        host._physics._facts[new.digest] = new.facts
        host.library.install(replace(model, weights=new, digest=""))
    rig.wait_until(holds(rig, BOTH))
    with rig.server.locked() as host:
        assert new.digest in host.scheduler.loaded
    daemon.stop()
