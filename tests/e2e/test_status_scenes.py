"""`warmset status` and `doctor` in scripted scenes, right to the byte, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakenvml import GIB
from scenes import CARD_0, MODEL, OTHER, RESERVED, Scene, phase, split, until


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A machine for one scene."""
    made = Scene(tmp_path)
    yield made
    made.end()


def test_a_model_and_a_game(scene: Scene) -> None:
    """Two cards, a model on one and a game of 10 GiB on the other: each to its owner."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    game = scene.actors.start("/opt/game.x86_64 -fullscreen")
    scene.hold(0, (runner, 9 * GIB), rest=12345)
    scene.hold(1, (game.pid, 10 * GIB, "G"))
    found = scene.look()
    assert split(found, 0) == {"model": 9 * GIB, "reserved": RESERVED, "unattributed": 12345}
    assert split(found, 1) == {"foreign": 10 * GIB, "reserved": RESERVED}
    assert found["devices"][1]["shares"][0]["name"] == "game.x86_64"
    assert found["devices"][1]["free_bytes"]["value"] == 14 * GIB - RESERVED
    (resident,) = found["residents"]
    assert resident["observed_bytes"]["value"] == 9 * GIB
    assert resident["observed_bytes"]["quality"] == "exact"
    assert resident["observed_by_device"] == {found["devices"][0]["id"]: 9 * GIB}
    assert resident["pid"] == runner
    assert 0 < resident["footprint_estimate_bytes"] < 24 * GIB
    assert [d["process_count"]["value"] for d in found["devices"]] == [1, 1]
    assert found["vantage"]["name"] == "local"
    assert found["server"]["pid"] == scene.actors.server.pid


def test_a_model_over_two_cards(scene: Scene) -> None:
    """One runner on both cards: the split is told by card, the sum as what the model holds."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    scene.hold(0, (runner, 5 * GIB + 1))
    scene.hold(1, (runner, 6 * GIB))
    (resident,) = scene.look()["residents"]
    assert sorted(resident["observed_by_device"].values()) == [5 * GIB + 1, 6 * GIB]
    assert resident["observed_bytes"]["value"] == 11 * GIB + 1


def test_a_runner_that_loads(scene: Scene) -> None:
    """A load is named before /api/ps lists it, is evidence of use, and becomes resident."""
    runner = scene.start_runner(OTHER)
    scene.hold(0, (runner, 2 * GIB))
    loading = scene.look()
    (row,) = [row for row in loading["runners"] if row["pid"] == runner]
    assert (row["phase"], row["name"]) == ("loading", OTHER)
    assert (row["context"], row["parallel"]) == (4096, 2)
    assert split(loading, 0)["model"] == 2 * GIB
    assert [(u["key"], u["sign"], u["strength"]) for u in loading["use"]] == [
        (scene.key(OTHER), "loading", "strong")
    ]
    assert loading["residents"] == []
    scene.list_model(OTHER)
    scene.hold(0, (runner, 7 * GIB))
    resident = scene.look()
    assert phase(resident, runner) == "resident"
    assert resident["residents"][0]["observed_bytes"]["value"] == 7 * GIB


def test_late_release(scene: Scene) -> None:
    """A watch sees a killed runner's bytes drain, to the byte, until the driver has them back."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    scene.hold(0, (runner, 8 * GIB))
    watch = scene.watch("-o", "json")
    first = until(watch, lambda d: bool(d["residents"]))
    assert split(first, 0) == {"model": 8 * GIB, "reserved": RESERVED}
    scene.actors.kill(runner)
    scene.unlist_model(MODEL)
    scene.hold(0, rest=8 * GIB)
    draining = until(watch, lambda d: d["residents"] == [] and "draining" in split(d, 0))
    assert split(draining, 0) == {"draining": 8 * GIB, "reserved": RESERVED}
    assert phase(draining, runner) == "stopping"
    scene.hold(0, rest=5 * GIB)
    until(watch, lambda d: split(d, 0).get("draining") == 5 * GIB)
    scene.hold(0)
    back = until(watch, lambda d: "draining" not in split(d, 0))
    assert split(back, 0) == {"reserved": RESERVED}


def test_a_runner_that_stops(scene: Scene) -> None:
    """Listed at one look and alive but not listed at the next: stopping, not loading."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    scene.hold(0, (runner, 8 * GIB))
    watch = scene.watch("-o", "json")
    until(watch, lambda d: bool(d["residents"]))
    scene.unlist_model(MODEL)
    found = until(watch, lambda d: d["residents"] == [])
    assert phase(found, runner) == "stopping"
    assert split(found, 0)["model"] == 8 * GIB


def test_an_orphan(scene: Scene) -> None:
    """A runner that outlived its server is another's runner, and no model of this one."""
    runner = scene.start_runner(MODEL)
    scene.hold(0, (runner, 3 * GIB))
    scene.actors.crash_server()
    found = scene.look()
    assert phase(found, runner) == "orphan"
    assert split(found, 0) == {"other-runner": 3 * GIB, "reserved": RESERVED}


def test_a_mig_card(scene: Scene) -> None:
    """Each instance is a device with its own bytes; the card that was cut up is none."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    scene.nvml.gpu(0, mig=1, total=80 * GIB, name="NVIDIA H100")
    scene.nvml.gpu(0, part=0, total=10 * GIB, used=4 * GIB, gi=7, ci=0)
    scene.nvml.gpu(0, part=1, total=10 * GIB, gi=8, ci=0)
    scene.nvml.procs(0, [(runner, 4 * GIB)], part=0)
    scene.nvml.remove(1)
    found = scene.look()
    assert [d["id"][:4] for d in found["devices"]] == ["MIG-", "MIG-"]
    assert {d["parent_id"] for d in found["devices"]} == {
        "GPU-00000000-0000-4000-8000-000000000000"
    }
    shares = [[(s["owner"], s["used_bytes"]) for s in d["shares"]] for d in found["devices"]]
    assert shares == [[("model", 4 * GIB)], []]
    assert found["residents"][0]["observed_bytes"]["value"] == 4 * GIB
    lines = scene.run("status").stdout.splitlines()
    (line,) = [line for line in lines if "models 4.0 GiB" in line]
    assert line.startswith(f"GPU 0 {found['devices'][0]['id']}: ")


def test_a_driver_that_hangs_from_the_start(scene: Scene) -> None:
    """The command answers within its limit: the card is there, its memory unknown, not 0."""
    scene.nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    began = time.monotonic()
    found = scene.look()
    assert time.monotonic() - began < 25  # it hangs for 30
    first = found["devices"][0]
    assert first["state"] == "silent"
    assert first["free_bytes"]["value"] is None
    assert first["budget_bytes"] is None
    (trouble,) = [t for t in found["troubles"] if t["code"] == "driver-silent"]
    assert trouble["blocks_loads"]
    assert trouble["hint"]


@pytest.mark.parametrize("code", ["LIB_RM_VERSION_MISMATCH", "UNKNOWN"])
def test_a_driver_that_cannot_be_opened_is_no_machine_without_gpus(scene: Scene, code: str) -> None:
    """Updated under the running module, or broken: nothing is planned, not into RAM either."""
    scene.nvml.fail("nvmlInit", code)
    found = scene.look()
    assert any(t["blocks_loads"] for t in found["troubles"])
    done = scene.run("plan", "--all", "-o", "json")
    planned = json.loads(done.stdout)
    assert planned["warm_set"] == []
    assert [d["usable_bytes"] for d in planned["devices"]] == [None]
    assert (
        "NVIDIA" in planned["devices"][0]["unknown"] or "NVML" in planned["devices"][0]["unknown"]
    )


def test_gpus_that_the_server_does_not_see_are_not_planned_on(tmp_path: Path) -> None:
    """Its own environment says which it may use; the picture shows all, with a note."""
    scene = Scene(tmp_path, {"CUDA_VISIBLE_DEVICES": "1"})
    try:
        found = scene.look()
        assert [d["index"] for d in found["devices"]] == [0, 1]
        assert any(CARD_0 in note and "hidden from Ollama" in note for note in found["notes"])
        planned = json.loads(scene.run("plan", "--all", "-o", "json").stdout)
        assert [d["id"] for d in planned["devices"]] == [
            CARD_0.replace("-0000000000", "-0000010000")
        ]
        assert planned["warm_set"]
    finally:
        scene.end()


def test_a_driver_that_hangs_later(scene: Scene) -> None:
    """A watch goes on with the last numbers, called stale and with their age."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    scene.hold(0, (runner, 9 * GIB))
    watch = scene.watch("-o", "json")
    until(watch, lambda d: bool(d["residents"]))
    scene.nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    found = until(watch, lambda d: d["devices"][0]["state"] == "silent")
    free = found["devices"][0]["free_bytes"]
    assert (free["value"], free["quality"]) == (15 * GIB - RESERVED, "stale")
    assert free["age_seconds"] > 1.0
    assert found["residents"][0]["observed_bytes"]["quality"] == "stale"


def test_the_view_from_a_container(scene: Scene) -> None:
    """The driver's numbers are the host's: nothing is named by a process of the same number."""
    scene.list_model(MODEL)
    scene.hold(0, (os.getpid(), 9 * GIB))
    found = scene.look(space="INNER")
    assert split(found, 0) == {"unattributed": 9 * GIB, "reserved": RESERVED}
    assert f"host PID {os.getpid()}" in found["devices"][0]["notes"][0]
    assert found["vantage"]["name"] == "container"
    observed = found["residents"][0]["observed_bytes"]
    assert (observed["value"], observed["quality"]) == (None, "unknown")


def test_a_busy_model_has_its_evidence(scene: Scene) -> None:
    """A deadline that has passed with the model still listed is a strong sign, with its reason."""
    scene.start_runner(MODEL)
    with scene.server.locked() as host:
        host.use(MODEL, 0.0, keep_alive=60.0)
    scene.server.advance(scene.twin.timeline.now + 30)
    with scene.server.locked() as host:
        host.use(MODEL, 10_000.0)
    (resident,) = scene.look()["residents"]
    assert resident["is_busy"] is True
    (sign,) = resident["use"]
    assert (sign["sign"], sign["strength"]) == ("expiry-passed", "strong")
    assert "deadline passed" in sign["reason"]


def test_a_runner_that_computes(scene: Scene) -> None:
    """CPU time between two looks is a moderate sign of use, with the cores it took."""
    runner = scene.start_runner(MODEL, "-c 8192 --spin")
    scene.list_model(MODEL)
    scene.hold(0, (runner, 8 * GIB))
    watch = scene.watch("-o", "json")
    found = until(watch, lambda d: any(use["sign"] == "cpu-time" for use in d["use"]))
    (resident,) = found["residents"]
    (sign,) = [use for use in resident["use"] if use["sign"] == "cpu-time"]
    assert sign["strength"] == "moderate"
    assert "cores" in sign["reason"]
    assert resident["is_busy"] is True


def test_a_watch_survives_a_server_that_goes_away(scene: Scene) -> None:
    """The watch says so, goes on, and a driver session is opened once for all looks."""
    scene.nvml.log_calls()
    watch = scene.watch("-o", "json")
    for _ in range(3):
        until(watch, lambda _: True)
    assert scene.nvml.called("nvmlInit_v2") == 1
    assert scene.nvml.called("nvmlShutdown") == 0
    scene.server.stop()
    error = until(watch, lambda _: False)
    assert "no connection" in error["error"]["message"]
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(60) == 143
    assert scene.nvml.called("nvmlShutdown") == 1


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_watch_ends_cleanly(scene: Scene, sent: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end a watch with their exit codes and without a traceback."""
    watch = scene.watch("-o", "json")
    until(watch, lambda _: True)
    watch.send_signal(sent)
    _, talk = watch.communicate(timeout=60)
    assert watch.returncode == code
    assert "Traceback" not in talk


def test_a_watch_ends_when_nobody_reads(scene: Scene) -> None:
    """A broken pipe ends a watch with the shell's code for it, quietly."""
    watch = scene.watch()
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("at ")
    watch.stdout.close()
    assert watch.wait(60) == 141
    assert watch.stderr is not None
    assert "Traceback" not in watch.stderr.read()


def test_the_doctor_sees_the_machine(scene: Scene) -> None:
    """Driver, cards, server and settings are examined; a sound host ends with 0."""
    done = scene.run("doctor", "-o", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (0, True)
    probes = {probe["probe"]: probe for probe in document["probes"]}
    assert probes["NVIDIA"]["detail"] == "driver 580.95.05, 2 devices"
    assert f"PID {scene.actors.server.pid}" in probes["ollama serve"]["detail"]
    assert probes["vantage"]["detail"].startswith("local")
    assert probes[f"NVIDIA GeForce RTX 4090 ({CARD_0})"]["result"] == "ok"
    assert "262144" in probes["OLLAMA_CONTEXT_LENGTH"]["detail"]
    assert {"warn", "ok"} <= {probe["result"] for probe in document["probes"]}


def test_the_doctor_reads_the_servers_own_environment(tmp_path: Path) -> None:
    """What the server was started with counts, and what hurts is named with its cure."""
    scene = Scene(
        tmp_path,
        {
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_SCHED_SPREAD": "yes",
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_KV_CACHE_TYPE": "q8_0",
            "OLLAMA_FLASH_ATTENTION": "0",
            "OLLAMA_GPU_OVERHEAD": str(GIB),
        },
    )
    try:
        document = json.loads(scene.run("doctor", "-o", "json").stdout)
    finally:
        scene.end()
    hurting = {p["probe"] for p in document["probes"] if p["result"] == "warn" and p["hint"]}
    assert hurting >= {
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_SCHED_SPREAD",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_GPU_OVERHEAD",
    }
    (origin,) = [p for p in document["probes"] if p["probe"] == "environment"]
    assert "own process" in origin["detail"]


def test_the_doctor_of_a_sick_driver(scene: Scene) -> None:
    """An updated driver fails with what to do, on stdout, and exit code 6."""
    scene.nvml.fail("nvmlInit", "LIB_RM_VERSION_MISMATCH")
    done = scene.run("doctor")
    assert done.returncode == 6
    assert "updated" in done.stdout
    assert "reboot" in done.stdout
    assert "NVIDIA" in scene.run("doctor", "-o", "name").stdout.splitlines()


def test_what_people_read(scene: Scene) -> None:
    """The table tells whose bytes are where; `-o wide` shows each reading with its source."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    loading = scene.start_runner(OTHER)
    game = scene.actors.start("/opt/game.x86_64 -fullscreen")
    scene.hold(0, (runner, 9 * GIB), (loading, 2 * GIB))
    scene.hold(1, (game.pid, 10 * GIB, "G"), rest=GIB)
    done = scene.run("status")
    assert (
        f"GPU 0: models 11.0 GiB ({MODEL}, {OTHER}), reserved 400 MiB, free 12.6 GiB" in done.stdout
    )
    assert (
        "GPU 1: foreign 10.0 GiB (game.x86_64), reserved 400 MiB, unattributed 1.0 GiB,"
        " free 12.6 GiB" in done.stdout
    )
    assert f"PID {loading}  {OTHER}" in done.stdout
    assert done.stderr == ""
    wide = scene.run("status", "-o", "wide").stdout
    assert "GPU 0 free" in wide
    assert "RAM limit" in wide
    assert "someone asked for it" in wide
    assert scene.run("status", "-o", "name").stdout.split() == [MODEL]
    assert scene.run("status", "3").returncode == 2
