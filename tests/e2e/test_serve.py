"""`warmset serve` as a process of its own beside an Ollama that is another one."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_rig import PROMPT_SECONDS, SLOW, Rig, rigged

BOTH = {"nomic-embed-text:latest", "llama3.2:3b"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A host of a test's own."""
    with rigged(tmp_path) as made:
        yield made


def settled(rig: Rig, *options: str):
    """Starts a daemon and waits until the plan is true."""
    daemon = rig.serve(*options)
    daemon.wait_for("decision", is_converged=True)
    return daemon


def test_the_plan_becomes_true_and_stays_after_the_end(rig: Rig) -> None:
    """Pins and wanted models are loaded; SIGTERM ends it in two seconds and unloads nothing."""
    daemon = settled(rig)
    assert rig.residents() == BOTH
    assert daemon.stop() < PROMPT_SECONDS
    assert daemon.popen.returncode == 0
    assert daemon.events()[-1] == "stopped"
    assert rig.residents() == BOTH


def test_a_load_in_flight_is_called_off_at_the_end(rig: Rig) -> None:
    """SIGTERM during an own load ends within two seconds; Ollama gives the load up; it is told."""
    rig.budgets.write_text(f'[model."{SLOW}"]\npin = true\n')
    daemon = rig.serve()
    daemon.wait_for("decision")
    time.sleep(0.5)
    assert daemon.stop() < PROMPT_SECONDS
    assert "load_aborted" in daemon.events()
    assert rig.residents() == set()
    told = json.loads(rig.run("history", "-o", "json").stdout)
    kinds = [event["kind"] for event in told["events"]]
    assert kinds[-2:] == ["load_aborted", "stopped"]


def test_killed_at_any_moment_it_goes_on_where_it_was(rig: Rig) -> None:
    """SIGKILL before, during and after a load: the next process keeps what is there, adds the
    rest, and loads nothing twice."""
    for seconds in (0.3, 0.9, 1.6):
        daemon = rig.serve()
        daemon.wait_for("started")
        time.sleep(seconds)
        daemon.kill()
    settled(rig).stop()
    assert rig.residents() == BOTH
    told = json.loads(rig.run("history", "-o", "json", "--limit", "200").stdout)
    loaded = [e["name"] for e in told["events"] if e["kind"] == "preloaded"]
    assert len(loaded) == len(set(loaded))


def test_one_warmset_per_host(rig: Rig) -> None:
    """A second one waits a little for the first to end, then names it; it touches nothing."""
    first = rig.serve()
    first.wait_for("started")
    second = rig.serve()
    assert second.popen.wait(60) == 6
    told = "".join(second.raw)
    assert f"process {first.popen.pid}" in told
    assert "since 20" in told
    assert first.popen.poll() is None


def test_a_successor_takes_over_from_one_that_ends(rig: Rig) -> None:
    """Started while the first one is ending, the second waits for the lock and finds all done."""
    first = settled(rig)
    second = rig.serve()
    time.sleep(0.3)
    first.signal(signal.SIGTERM)
    second.wait_for("started")
    assert first.popen.wait(60) == 0
    second.wait_for("decision", is_converged=True)
    second.stop()
    assert "preloaded" not in second.events()
    assert "unload_sent" not in second.events()


def test_sighup_reads_the_file_again(rig: Rig) -> None:
    """A wrong file is refused with its line and the old words stay; a right one counts at once."""
    daemon = settled(rig)
    rig.budgets.write_text('[model."llama3.2:3b"]\npinn = true\n')
    daemon.signal(signal.SIGHUP)
    refused = daemon.wait_for("config_refused")
    assert "config.toml:2" in refused["error"]
    assert rig.residents() == BOTH
    rig.budgets.write_text('[model."llama3.2:3b"]\npin = true\n[model."qwen2.5-coder:7b"]\n')
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("config_reloaded")
    daemon.wait_for("preloaded", model="qwen2.5-coder:7b")
    daemon.signal(signal.SIGUSR1)
    dump = daemon.wait_for("state")
    assert dump["state"]["models"]
    daemon.stop()


def test_an_ollama_that_dies_is_unreachable_and_not_empty(rig: Rig) -> None:
    """Nothing is decided while it does not answer; when it is back, its losses are noticed, and
    nothing is loaded in haste."""
    daemon = settled(rig)
    rig.kill_twin()
    daemon.wait_for("alarm", code="unreachable")
    rig.start_twin()
    daemon.wait_for("model_left")
    time.sleep(0.7)
    assert daemon.events().count("preloaded") == len(BOTH)
    assert daemon.stop() < PROMPT_SECONDS


def test_observing_writes_nothing(rig: Rig) -> None:
    """`--observe` and `--dry-run` say what they would do, load nothing and leave no file."""
    daemon = rig.serve("--observe")
    line = daemon.wait_for("decision")
    assert [send["do"] for send in line["sends"]] == ["preload"]
    daemon.stop()
    once = rig.serve("--dry-run")
    assert once.popen.wait(60) == 0
    assert rig.residents() == set()
    assert not (rig.folder / "state").exists()


def test_who_is_to_decide_once_and_hears_nothing_fails(rig: Rig) -> None:
    """A script that asks what would be done is not told that all is well."""
    rig.kill_twin()
    assert rig.serve("--dry-run").popen.wait(60) == 4


def test_leases_are_given_back_if_asked_to(rig: Rig) -> None:
    """`--on-stop release` leaves the models resident, with the server's own keep-alive."""
    daemon = settled(rig, "--on-stop", "release")
    assert rig.longest_left_seconds() > 1000
    assert daemon.stop() < PROMPT_SECONDS
    assert rig.residents() == BOTH
    assert rig.longest_left_seconds() < 301


def test_users_go_on_while_it_ends(rig: Rig) -> None:
    """Under load SIGTERM ends it in two seconds, and no request of anybody is cut or refused."""
    daemon = settled(rig)
    codes: list[int] = []

    def use() -> None:
        body = {"model": "llama3.2:3b", "prompt": "hello", "stream": False}
        for _ in range(4):
            reply = httpx.post(f"{rig.url}/api/generate", json=body, timeout=30)
            codes.append(reply.status_code)

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    time.sleep(0.3)
    assert daemon.stop() < PROMPT_SECONDS
    for user in users:
        user.join()
    assert codes == [200] * 12
    assert rig.residents() == BOTH


def test_a_server_that_never_answers_does_not_keep_it(rig: Rig) -> None:
    """While a look hangs on a server that accepts and says nothing, SIGTERM ends it in time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rig.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        daemon = rig.serve()
        daemon.wait_for("started")
        time.sleep(0.5)
        assert daemon.stop() < PROMPT_SECONDS
    assert daemon.popen.returncode == 0
