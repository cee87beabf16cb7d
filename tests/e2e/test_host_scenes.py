"""Scripted scenes on one machine, right to the byte: a pretended driver, real processes.

NVML is the C double behind the real nvidia-ml-py; servers, runners and games are real child
processes with the command lines of the real ones, found by the real process table.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors import Actors
from fakenvml import GIB, MIB, FakeNvml

from warmset.adapters.nvml import NvmlProbe
from warmset.adapters.procs import ProcessTable, table
from warmset.core.host.attribution import Owner
from warmset.core.host.budget import promise_bytes
from warmset.core.host.evidence import Sign
from warmset.core.host.picture import Picture, draw_picture
from warmset.core.host.processes import PidSpace
from warmset.core.host.readings import DeviceState
from warmset.core.host.runners import Phase
from warmset.core.model import DeviceId, ModelKey, Quality, Resident

HEX_A, HEX_B = "a1" * 32, "b2" * 32
KEY_A, KEY_B = ModelKey(f"sha256:{HEX_A}"), ModelKey(f"sha256:{HEX_B}")
GPU_0 = DeviceId("GPU-00000000-0000-4000-8000-000000000000")
GPU_1 = DeviceId("GPU-00000000-0000-4000-8000-000001000000")


class Stage:
    """A machine with two cards of 24 GiB, an Ollama server, and whatever a scene starts."""

    def __init__(self, folder: Path) -> None:
        self.nvml = FakeNvml(folder)
        for index in (0, 1):
            self.nvml.gpu(index, total=24 * GIB, reserved=400 * MIB)
        self.nvml.preload()
        self.actors = Actors(folder)
        self.runners: set[int] = set()
        self.probe = NvmlProbe(timeout_seconds=0.2, is_wsl=False, is_soc=False)
        self.table = ProcessTable()
        self.picture: Picture | None = None
        self.now = 1_000_000.0

    def load(self, hexes: str) -> int:
        """Lets the server start a runner; returns its PID."""
        pid = self.actors.load(hexes)
        self.runners.add(pid)
        return pid

    def phases(self, picture: Picture) -> list[Phase]:
        """Returns the phases of this scene's runners; the machine may have others."""
        return [r.phase for r in picture.runners if r.process.pid in self.runners]

    def look(self, *residents: Resident, seconds: float = 1.0) -> Picture:
        """Looks at the machine once, as the loop does."""
        self.now += seconds
        survey = self.probe.survey()
        named = [p.pid for d in survey.devices for p in d.processes.value or ()]
        self.picture = draw_picture(
            [survey],
            self.table.read(named),
            residents,
            at=self.now,
            server_pid=self.actors.server.pid,
            before=self.picture,
        )
        return self.picture

    def end(self) -> None:
        """Ends every process of the scene."""
        self.nvml.hang("*", None)
        self.nvml.hang("nvmlDeviceGetMemoryInfo", None, index=0)
        self.actors.end()
        self.probe.close()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A machine for one scene, seen as from its host even where the tests run in a container."""
    monkeypatch.setattr(table, "read_pid_space", lambda *_, **__: PidSpace.HOST)
    made = Stage(tmp_path)
    yield made
    made.end()


def row(key: ModelKey, name: str, used: int, expires_at: float = 1_000_300.0) -> Resident:
    """Returns a row of /api/ps."""
    return Resident(
        name=name,
        manifest_digest="",
        key=key,
        size_bytes=used,
        size_vram_bytes=used,
        context=4096,
        expires_at=expires_at,
    )


def by_owner(picture: Picture, device: DeviceId) -> dict[Owner, int]:
    """Returns known bytes by owner, and checks that the sum is the driver's."""
    found = picture.attributions[device]
    assert found.sum_bytes() - found.excess_bytes == found.taken.value
    owners = {share.owner for share in found.shares}
    return {owner: found.sum_bytes(owner) for owner in owners}


def test_two_gpus_and_a_game(stage: Stage) -> None:
    """A model on one card, a game of 10 GiB on the other: each to its owner, to the byte."""
    pid = stage.load(HEX_A)
    game = stage.actors.start("/opt/game.x86_64 -fullscreen")
    stage.nvml.set(0, used=9 * GIB + 12345)
    stage.nvml.procs(0, [(pid, 9 * GIB)])
    stage.nvml.set(1, used=10 * GIB)
    stage.nvml.procs(1, [(game.pid, 10 * GIB, "G")])
    found = stage.look(row(KEY_A, "qwen:7b", 8 * GIB))
    assert by_owner(found, GPU_0) == {
        Owner.MODEL: 9 * GIB,
        Owner.RESERVED: 400 * MIB,
        Owner.UNATTRIBUTED: 12345,
    }
    assert by_owner(found, GPU_1) == {Owner.FOREIGN: 10 * GIB, Owner.RESERVED: 400 * MIB}
    assert found.attributions[GPU_1].shares[0].name == "game.x86_64"
    assert found.model_bytes(KEY_A) == {GPU_0: 9 * GIB}
    assert stage.phases(found) == [Phase.RESIDENT]


def test_model_split_over_two_cards(stage: Stage) -> None:
    """One runner may hold bytes on both."""
    pid = stage.load(HEX_A)
    for index, used in ((0, 5 * GIB), (1, 6 * GIB)):
        stage.nvml.set(index, used=used)
        stage.nvml.procs(index, [(pid, used)])
    found = stage.look(row(KEY_A, "qwen:7b", 11 * GIB))
    assert found.model_bytes(KEY_A) == {GPU_0: 5 * GIB, GPU_1: 6 * GIB}


def test_runner_that_loads_grows_and_becomes_resident(stage: Stage) -> None:
    """A load is seen before /api/ps lists it, as a sign of use, with the bytes it has so far."""
    pid = stage.load(HEX_B)
    stage.nvml.set(0, used=2 * GIB)
    stage.nvml.procs(0, [(pid, 2 * GIB)])
    loading = stage.look()
    assert stage.phases(loading) == [Phase.LOADING]
    assert Sign.LOADING in [u.sign for u in loading.use if u.key == KEY_B]
    assert loading.model_bytes(KEY_B) == {GPU_0: 2 * GIB}
    stage.nvml.set(0, used=7 * GIB)
    stage.nvml.procs(0, [(pid, 7 * GIB)])
    resident = stage.look(row(KEY_B, "b", 7 * GIB))
    assert stage.phases(resident) == [Phase.RESIDENT]
    assert resident.model_bytes(KEY_B) == {GPU_0: 7 * GIB}


def test_late_release(stage: Stage) -> None:
    """A killed runner's bytes drain: charged until they are back, then nobody's, then free."""
    pid = stage.load(HEX_A)
    stage.nvml.set(0, used=8 * GIB)
    stage.nvml.procs(0, [(pid, 8 * GIB)])
    stage.look(row(KEY_A, "qwen:7b", 8 * GIB))
    stage.actors.kill(pid)
    stage.nvml.procs(0, [])
    draining = stage.look()
    assert by_owner(draining, GPU_0)[Owner.DRAINING] == 8 * GIB
    assert stage.phases(draining) == [Phase.STOPPING]
    stage.nvml.set(0, used=5 * GIB)
    assert by_owner(stage.look(), GPU_0)[Owner.DRAINING] == 5 * GIB
    stage.nvml.set(0, used=0)
    assert by_owner(stage.look(), GPU_0) == {Owner.RESERVED: 400 * MIB}


def test_release_that_never_comes_is_nobodys_after_five_seconds(stage: Stage) -> None:
    """Patience ends: the bytes are unattributed, not draining for ever."""
    pid = stage.load(HEX_A)
    stage.nvml.set(0, used=8 * GIB)
    stage.nvml.procs(0, [(pid, 8 * GIB)])
    stage.look(row(KEY_A, "qwen:7b", 8 * GIB))
    stage.actors.kill(pid)
    stage.nvml.procs(0, [])
    stage.look()
    assert by_owner(stage.look(seconds=6.0), GPU_0)[Owner.UNATTRIBUTED] == 8 * GIB


def test_runner_that_is_stopping(stage: Stage) -> None:
    """Listed before, alive and listed no longer: on its way out, not a new load."""
    pid = stage.load(HEX_A)
    stage.nvml.procs(0, [(pid, GIB)])
    stage.look(row(KEY_A, "qwen:7b", GIB))
    found = stage.look()
    assert stage.phases(found) == [Phase.STOPPING]


def test_orphan_after_a_server_crash(stage: Stage) -> None:
    """A runner that outlived its server is no model of the new one."""
    pid = stage.load(HEX_A)
    stage.nvml.set(0, used=3 * GIB)
    stage.nvml.procs(0, [(pid, 3 * GIB)])
    stage.actors.crash_server()
    found = stage.look()
    assert stage.phases(found) == [Phase.ORPHAN]
    assert by_owner(found, GPU_0)[Owner.RUNNER] == 3 * GIB
    assert found.model_bytes(KEY_A) == {}


def test_mig_card(stage: Stage) -> None:
    """Each instance is a device of its own; the card itself is none."""
    pid = stage.load(HEX_A)
    stage.nvml.gpu(0, mig=1, total=80 * GIB, name="NVIDIA H100")
    stage.nvml.gpu(0, part=0, total=10 * GIB, used=4 * GIB, gi=7, ci=0)
    stage.nvml.gpu(0, part=1, total=10 * GIB, gi=8, ci=0)
    stage.nvml.procs(0, [(pid, 4 * GIB)], part=0)
    found = stage.look(row(KEY_A, "qwen:7b", 4 * GIB))
    assert GPU_0 not in found.attributions
    (device,) = found.model_bytes(KEY_A)
    assert device.startswith("MIG-")
    assert by_owner(found, device) == {Owner.MODEL: 4 * GIB}


def test_hung_driver(stage: Stage) -> None:
    """The last picture stays, marked stale; nothing may be promised from it."""
    pid = stage.load(HEX_A)
    stage.nvml.set(0, used=9 * GIB)
    stage.nvml.procs(0, [(pid, 9 * GIB)])
    stage.look(row(KEY_A, "qwen:7b", 9 * GIB))
    stage.nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    began = time.monotonic()
    found = stage.look(row(KEY_A, "qwen:7b", 9 * GIB))
    assert time.monotonic() - began < 20  # it hangs for 30
    assert by_owner(found, GPU_0)[Owner.MODEL] == 9 * GIB
    assert found.attributions[GPU_0].taken.quality is Quality.STALE
    assert "driver-silent" in [t.code for t in found.troubles]
    survey = stage.probe.survey()
    assert [d.state for d in survey.devices] == [DeviceState.SILENT] * 2
    assert [promise_bytes(d.device.free_bytes) for d in survey.devices] == [0, 0]


def test_container_view(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a PID space of its own the driver's numbers are named as the host's, and no more."""
    monkeypatch.setattr(table, "read_pid_space", lambda *_, **__: PidSpace.INNER)
    stage.nvml.set(0, used=9 * GIB)
    stage.nvml.procs(0, [(os.getpid(), 9 * GIB)])
    found = stage.look(row(KEY_A, "qwen:7b", 8 * GIB))
    assert by_owner(found, GPU_0) == {Owner.RESERVED: 400 * MIB, Owner.UNATTRIBUTED: 9 * GIB}
    assert f"host PID {os.getpid()}" in found.attributions[GPU_0].notes[0]
    assert found.unseen == (row(KEY_A, "qwen:7b", 8 * GIB),)


def test_wsl_view_of_one_card(stage: Stage) -> None:
    """No bytes by process: one card's models take what Ollama reports, as an estimate."""
    pid = stage.load(HEX_A)
    stage.nvml.remove(1)
    stage.nvml.set(0, used=9 * GIB)
    stage.nvml.procs(0, [(pid, None)])
    found = stage.look(row(KEY_A, "qwen:7b", 8 * GIB))
    assert by_owner(found, GPU_0) == {
        Owner.MODEL: 8 * GIB,
        Owner.RESERVED: 400 * MIB,
        Owner.UNATTRIBUTED: GIB,
    }
    (share, *_rest) = [s for s in found.attributions[GPU_0].shares if s.owner is Owner.MODEL]
    assert share.quality is Quality.ESTIMATE


def test_gpu_time_of_a_runner_is_a_sign_of_use() -> None:
    """Engine time that a driver counts by process reaches the evidence."""
    from dataclasses import replace

    from warmset.core.host.commands import parse_command
    from warmset.core.host.processes import ProcessFacts, ProcessView
    from warmset.core.host.readings import GpuProcess, GpuReading, GpuSurvey
    from warmset.core.model import Device, Reading, unknown

    runner = ProcessFacts(
        pid=7,
        parent_pid=1,
        name="llama-server",
        command=parse_command(["llama-server", "--model", f"/x/sha256-{HEX_A}"]),
        started_at=1.0,
    )
    view = ProcessView(processes={7: runner}, pid_space=PidSpace.HOST)
    card = GpuReading(
        device=Device(
            id=DeviceId("0000:03:00.0"),
            name="card",
            library="ROCm",
            total_bytes=Reading(value=24 * GIB, source="drm"),
            free_bytes=Reading(value=20 * GIB, source="drm"),
        ),
        used_bytes=unknown("drm", "-"),
        reserved_bytes=unknown("drm", "-"),
        utilization=unknown("drm", "-"),
        processes=unknown("drm", "-"),
    )

    def survey(seconds: float) -> GpuSurvey:
        row = GpuProcess(pid=7, used_bytes=GIB, kinds=frozenset({"compute"}), busy_seconds=seconds)
        rows = Reading(value=(row,), source="fdinfo")
        return GpuSurvey(source="drm", devices=(replace(card, processes=rows),))

    residents = (row(KEY_A, "qwen:7b", GIB),)
    first = draw_picture([survey(1.0)], view, residents, at=1_000_000.0)
    second = draw_picture([survey(4.0)], view, residents, at=1_000_005.0, before=first)
    assert [(u.sign, u.is_busy) for u in second.use] == [(Sign.GPU_TIME, True)]


def test_remote_server_has_no_devices_of_this_machine() -> None:
    """With no survey and no table, a picture has residents and nothing else."""
    from warmset.core.host.processes import ProcessView

    found = draw_picture([], ProcessView(), (row(KEY_A, "qwen:7b", GIB),), at=1.0)
    assert found.attributions == {}
    assert len(found.unseen) == 1
