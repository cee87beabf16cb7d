"""Other people's tools see the same host: ollama-mtop the server, nvitop and gpustat the driver."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fakenvml import GIB, MIB
from scenes import MODEL, OTHER, Scene

NVITOP = """
import json
from nvitop import Device
print(json.dumps([
    {
        "uuid": card.uuid(),
        "total": card.memory_total(),
        "free": card.memory_free(),
        "used": card.memory_used(),
        "processes": {pid: one.gpu_memory() for pid, one in card.processes().items()},
    }
    for card in Device.all()
]))
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A machine with two models on two cards."""
    made = Scene(tmp_path)
    yield made
    made.end()


def run(scene: Scene, *arguments: str) -> Any:
    """Returns the JSON that a Python program prints on the scene's machine."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=scene.nvml.env(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_mtop_agrees_on_models_bytes_and_expiry(scene: Scene) -> None:
    """What ollama-mtop reads of the twin's server is what `status` says, row by row."""
    scene.list_model(MODEL)
    scene.list_model(OTHER)
    theirs = run(scene, "-m", "mtop", "--json", "-m", "api", "-u", scene.server.url)
    ours = scene.look()
    assert theirs["server"]["version"] == ours["server"]["version"]
    rows = {row["name"]: row for row in theirs["models"]}
    assert set(rows) == {MODEL, OTHER}
    for resident in ours["residents"]:
        row = rows[resident["name"]]
        assert row["size"] == resident["size_bytes"]
        assert row["size_vram"] == resident["size_vram_bytes"]
        assert row["context_length"] == resident["context"]
        assert row["digest"] == resident["digest"]
        expires = datetime.fromisoformat(row["expires_at"]).timestamp()
        assert expires == pytest.approx(resident["expires_at"], abs=1e-3)


def test_nvitop_and_gpustat_agree_on_the_driver(scene: Scene) -> None:
    """Totals, free bytes and bytes by process are the same, to the byte where they count bytes."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    game = scene.actors.start("/opt/game.x86_64 -fullscreen")
    scene.hold(0, (runner, 9 * GIB + 12345), rest=777)
    scene.hold(1, (game.pid, 10 * GIB, "G"))
    ours = {device["id"]: device for device in scene.look()["devices"]}
    for card in run(scene, "-c", NVITOP):
        device = ours[card["uuid"]]
        assert card["total"] == device["total_bytes"]["value"]
        assert card["free"] == device["free_bytes"]["value"]
        assert card["used"] == device["used_bytes"]["value"]
        shares = {str(s["pid"]): s["used_bytes"] for s in device["shares"] if s["pid"]}
        assert card["processes"] == shares
    for card in run(scene, "-m", "gpustat", "--json")["gpus"]:
        device = ours[card["uuid"]]
        assert card["memory.total"] == device["total_bytes"]["value"] // MIB
        assert card["memory.used"] == device["used_bytes"]["value"] // MIB
        shares = {s["pid"]: s["used_bytes"] // MIB for s in device["shares"] if s["pid"]}
        assert {p["pid"]: p["gpu_memory_usage"] for p in card["processes"]} == shares
