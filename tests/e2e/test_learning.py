"""What loads of a host teach, from the driver's list to the plan, as a user calls the verbs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakenvml import GIB, MIB
from scenes import MODEL, OTHER, Scene
from warm_shell import WarmShell

CONTEXT = 32768  # of the twin's loads
ALL_OF_IT = f"-c {CONTEXT} -np 1 --flash-attn auto"
HELD = 9 * GIB + 200 * MIB + 12345 * 1024


@pytest.fixture(scope="module")
def shell() -> Iterator[WarmShell]:
    """What runs the verbs of all scenes."""
    made = WarmShell()
    yield made
    made.end()


@pytest.fixture
def scene(tmp_path: Path, shell: WarmShell) -> Iterator[Scene]:
    """A machine for one scene."""
    made = Scene(tmp_path, shell=shell)
    yield made
    made.end()


def resident(scene: Scene, name: str = MODEL, held: int = HELD, options: str = ALL_OF_IT) -> int:
    """Lets the users load a model; returns its process."""
    scene.list_model(name)
    runner = scene.start_runner(name, options)
    scene.hold(0, (runner, held))
    return runner


def configured(scene: Scene) -> str:
    """Names a configuration that wants one model, with the context that its users have."""
    path = scene.folder / "wanted.toml"
    path.write_text(f'[model."{MODEL}"]\ncontext = {CONTEXT}\n')
    return str(path)


def shown(scene: Scene, *arguments: str) -> dict[str, Any]:
    """Returns the document of a verb under this scene's own configuration."""
    done = scene.run(*arguments, "--config", configured(scene), "-o", "json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def basis(scene: Scene, name: str = MODEL) -> tuple[str, int]:
    """Returns basis and bytes of a resident as `status` shows them."""
    (row,) = [row for row in scene.look()["residents"] if row["name"] == name]
    return row["footprint_basis"], row["footprint_estimate_bytes"]


def member_of(rows: list[dict[str, Any]]) -> tuple[str, list[int]] | None:
    """Returns basis and bytes of the model in a plan."""
    found = [row for row in rows if row["name"] == MODEL]
    return (found[0]["basis"], list(found[0]["placement_bytes"].values())) if found else None


def come_true(find: Callable[[], object], wanted: object) -> None:
    """Asks again until the answer is the wanted one: a busy machine may not read its driver."""
    deadline = time.monotonic() + 60
    while (found := find()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def teach(scene: Scene) -> None:
    """Lets `status` keep the one resident."""
    come_true(lambda: scene.run("status", "--learn").stderr.splitlines()[0], "learnt from 1 load")


def test_a_shape_that_was_seen_has_its_own_bytes(scene: Scene) -> None:
    """Kept by `status --learn`, they are told by every verb after the model is gone."""
    runner = resident(scene)
    assert basis(scene)[0] == "estimated"
    teach(scene)
    assert "learnt from 0 loads" in scene.run("status", "--learn").stderr
    come_true(lambda: basis(scene), ("observed", HELD))
    assert "observed" in scene.run("status", "-o", "wide").stdout
    scene.actors.kill(runner)
    scene.unlist_model(MODEL)
    scene.hold(0)
    come_true(lambda: member_of(shown(scene, "fit", MODEL)["members"]), ("observed", [HELD]))
    footprint = shown(scene, "footprint", MODEL, "--gpus", "1")
    assert (footprint["basis"], footprint["vram_bytes"]) == ("observed", HELD)
    assert "measured here in this shape, 1 time" in footprint["grounds"]
    assert shown(scene, "footprint", OTHER, "--gpus", "1")["basis"] == "calibrated"


def test_the_plan_counts_with_what_was_seen(scene: Scene) -> None:
    """The bytes that were seen stand in `plan`, and it says so."""
    runner = resident(scene)
    teach(scene)
    scene.actors.kill(runner)
    scene.unlist_model(MODEL)
    scene.hold(0)
    come_true(lambda: member_of(shown(scene, "plan")["warm_set"]), ("observed", [HELD]))
    assert "observed" in scene.run("plan", "--config", configured(scene), "-o", "wide").stdout


def test_the_daemon_learns_what_users_load(scene: Scene) -> None:
    """Each load that `serve` sees is kept; growing memory of one process is the same load."""
    runner = resident(scene)
    scene.serve("--config", configured(scene))
    come_true(lambda: basis(scene), ("observed", HELD))
    scene.hold(0, (runner, HELD + 64 * MIB))
    come_true(lambda: basis(scene), ("observed", HELD + 64 * MIB))
    footprint = shown(scene, "footprint", MODEL, "--gpus", "1")
    assert "measured here in this shape, 1 time" in footprint["grounds"]


def test_who_only_observes_leaves_no_trace(scene: Scene) -> None:
    """`serve --observe` keeps nothing."""
    resident(scene)
    daemon = scene.serve("--observe", "--dry-run")
    assert daemon.wait(60) == 0
    assert not (scene.folder / "state").exists()


def test_an_upgrade_is_learnt_anew(scene: Scene) -> None:
    """After a new driver the old bytes do not count until the shape is seen again."""
    resident(scene)
    teach(scene)
    come_true(lambda: basis(scene), ("observed", HELD))
    scene.nvml.set(None, driver="999.1")
    assert basis(scene)[0] == "estimated"
    teach(scene)
    come_true(lambda: basis(scene), ("observed", HELD))


def test_another_card_teaches_nothing_here(scene: Scene) -> None:
    """Loads of a GPU that was taken out do not count."""
    resident(scene)
    teach(scene)
    scene.nvml.remove(0)
    assert shown(scene, "footprint", MODEL, "--gpus", "1")["basis"] == "estimated"


@pytest.mark.parametrize(
    "guess", ["two runners", "other context", "no process list", "hung driver", "draft", "in RAM"]
)
def test_a_guess_teaches_nothing(scene: Scene, guess: str) -> None:
    """Whatever makes it doubtful whose bytes they are, or of which shape."""
    options = ALL_OF_IT
    if guess == "other context":
        options = "-c 99999 -np 1"
    elif guess == "draft":
        options += f" --spec-draft-model /m/blobs/sha256-{'d' * 64}"
    runner = resident(scene, options=options)
    if guess == "two runners":
        second = scene.start_runner(MODEL, ALL_OF_IT)
        scene.hold(0, (runner, HELD), (second, GIB))
    elif guess == "no process list":
        scene.nvml.fail("nvmlDeviceGetComputeRunningProcesses_v3", "NOT_SUPPORTED")
    elif guess == "hung driver":
        scene.nvml.hang("*", 8000)
    elif guess == "in RAM":
        with scene.server.locked() as host:
            (loaded,) = host.scheduler.loaded.values()
            loaded.vram_bytes -= 1
    done = scene.run("status", "--learn")
    assert "learnt from 0 loads" in done.stderr, done.stderr
    assert not (scene.folder / "state").exists()
