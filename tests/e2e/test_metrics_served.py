"""`/metrics` and health of the real daemon, and `warmset metrics`, as an operator meets them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakenvml import GIB, MIB
from scenes import MODEL, Scene
from serving_rig import PROMPT_SECONDS, Rig, rigged


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A host of a test's own."""
    with rigged(tmp_path) as made:
        yield made


def clean(text: str) -> None:
    """Asserts that Prometheus' own linter finds nothing."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_daemon_is_ready_after_its_first_answer(rig: Rig) -> None:
    """Live at once; ready while Ollama answers, not ready while it is gone, and never a guess."""
    daemon = rig.serve("--listen", "0")
    url = daemon.wait_for("listening")["url"]
    daemon.wait_for("decision", is_converged=True)
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    text = httpx.get(f"{url}/metrics", timeout=60).text
    assert 'warmset_model_resident{model="llama3.2:3b"} 1.0' in text
    assert 'warmset_preloads_total{model="llama3.2:3b",outcome="loaded"} 1.0' in text
    clean(text)
    assert rig.run("metrics").stdout.count("warmset_reconcile_total{") == 4
    rig.kill_twin()
    daemon.wait_for("alarm", code="unreachable")
    rig.wait_until(lambda: httpx.get(f"{url}/readyz", timeout=60).status_code == 503)
    text = httpx.get(f"{url}/metrics", timeout=60).text
    assert "warmset_ollama_up 0.0" in text
    assert "warmset_model_resident{" not in text
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    assert httpx.post(f"{url}/metrics", timeout=60).status_code == 405
    assert httpx.get(f"{url}/status", timeout=60).status_code == 404
    assert daemon.stop() < PROMPT_SECONDS
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", timeout=60)


def test_metrics_without_a_daemon_are_one_look(rig: Rig) -> None:
    """Gauges on stdout, a remark on stderr, and Prometheus' linter is content."""
    done = rig.run("metrics")
    assert done.returncode == 0
    assert "no running daemon" in done.stderr
    assert "warmset_ollama_up 1.0" in done.stdout
    assert "_total{" not in done.stdout
    clean(done.stdout)
    rig.kill_twin()
    done = rig.run("metrics")
    assert (done.returncode, done.stdout) == (4, "")


def test_bytes_of_a_driver_by_owner(tmp_path: Path) -> None:
    """Two cards whose UUIDs begin alike, a model and a game: each byte at its owner."""
    scene = Scene(tmp_path)
    try:
        pid = scene.start_runner(MODEL)
        scene.list_model(MODEL)
        game = scene.actors.start("game.x86_64").pid
        scene.hold(0, (pid, 6 * GIB), (game, GIB))
        scene.hold(1, rest=300 * MIB)
        (tmp_path / "budgets.toml").write_text(f'[model."{MODEL}"]\npin = true\n')
        done = scene.run("metrics", "--look", "--config", str(tmp_path / "budgets.toml"))
    finally:
        scene.end()
    assert done.returncode == 0, done.stderr
    clean(done.stdout)
    cards = sorted({line.split('"')[1] for line in done.stdout.splitlines() if "gpu=" in line})
    assert len(cards) == 2

    def value(name: str, card: str) -> float:
        (line,) = [x for x in done.stdout.splitlines() if x.startswith(f'{name}{{gpu="{card}"}}')]
        return float(line.split()[1])

    assert value("warmset_device_models_bytes", cards[0]) == 6 * GIB
    assert value("warmset_device_foreign_bytes", cards[0]) == GIB
    assert value("warmset_device_memory_total_bytes", cards[0]) == 24 * GIB
    assert value("warmset_device_models_bytes", cards[1]) == 0
    assert value("warmset_device_headroom_bytes", cards[0]) == min(
        value("warmset_device_budget_bytes", cards[0]) - 6 * GIB,
        24 * GIB - value("warmset_device_memory_used_bytes", cards[0]),
    )
    assert f'warmset_model_pinned{{model="{MODEL}"}} 1.0' in done.stdout


def test_an_address_in_use(rig: Rig) -> None:
    """Asked for: refused with the place that asked. By default: told, and the loop goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = rig.serve("--listen", f"127.0.0.1:{port}")
        assert refused.popen.wait(60) == 3
        assert f"--listen: cannot listen on 127.0.0.1:{port}" in "".join(refused.raw)
        rig.budgets.write_text(f'[serve]\nlisten = "127.0.0.1:{port}"\n')
        refused = rig.serve()
        assert refused.popen.wait(60) == 3
        assert "config.toml:2" in "".join(refused.raw)


def test_other_machines_are_let_in_only_by_two_words(rig: Rig) -> None:
    """`--listen :0` alone is refused; with `--allow-remote`, or both keys, it listens."""
    refused = rig.run("serve", "--listen", ":0")
    assert refused.returncode == 3
    assert "allow_remote" in refused.stderr
    rig.budgets.write_text("[serve]\nallow_remote = true\n")
    daemon = rig.serve("--listen", ":0")
    url = daemon.wait_for("listening")["url"]
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    assert rig.run("serve", "--listen", "nonsense").returncode == 2


def test_a_silent_daemon_answers_nowhere(rig: Rig) -> None:
    """`listen = "off"` opens no socket."""
    rig.budgets.write_text('[serve]\nlisten = "off"\n')
    daemon = rig.serve()
    daemon.wait_for("decision")
    assert "listening" not in daemon.events()
    assert rig.run("metrics").stderr.startswith("no running daemon")
