"""Memory that GPU and CPU share (GB10, Jetson, Apple) is one budget: counted once, never twice."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loop_hosts import words

from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.model import DeviceId
from warmset.core.ollama.env import ServerEnv
from warmset.core.planner import build_candidates, build_host, plan
from warmset.core.settings import Budget, GpuBudget, Settings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.mirror import mirror_host
from warmset.core.twin.sidecar import Sidecar
from warmset.core.twin.sidecar_view import observe_twin
from warmset.core.units import GIB

START = 1_760_000_000.0
OS_BYTES = 2 * GIB
CODER, CHAT, LARGE = "qwen2.5-coder:7b", "llama3.1:8b", "qwen2.5:14b"
OPEN = Settings(budget=Budget(default=GpuBudget(vram_reserve_bytes=0)))


def machine(gib: int) -> HostSpec:
    """A box with one pool of memory, of which the system keeps 2 GiB."""
    spec = named_host("unified")
    card = replace(spec.gpus[0], total_bytes=gib * GIB, free_bytes=gib * GIB)
    env = {"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_MAX_LOADED_MODELS": "6"}
    return replace(
        spec,
        gpus=(card,),
        system_total_bytes=gib * GIB,
        system_used_bytes=OS_BYTES,
        env=ServerEnv.from_environ(env),
    )


class Box:
    """Such a machine; with a loop beside it it never holds more than it has.

    Args:
        gib: all of its memory.
        said: what the loop is told; without it there is none, and users may overfill it.
    """

    def __init__(self, gib: int, said: Config | None = None) -> None:
        self.spec = machine(gib)
        self.timeline = Timeline(START)
        self.is_kept = said is not None
        physics = physics_of(self.spec)
        self.twin = TwinHost(self.spec, physics, self.timeline, on_event=self._check)
        if said is not None:
            Sidecar(self.twin, Loop(said)).start()

    @property
    def taken_bytes(self) -> int:
        """What models hold, on the GPU and beside it."""
        loaded = self.twin.scheduler.loaded.values()
        card = self.spec.gpus[0]
        on_gpu = card.total_bytes - self.twin.cards.free(card.device)
        return on_gpu + sum(runner.total_bytes - runner.vram_bytes for runner in loaded)

    def _check(self, _event: Event) -> None:
        if self.is_kept:
            assert self.taken_bytes + OS_BYTES <= self.spec.system_total_bytes


def test_gpu_and_ram_show_the_same_room() -> None:
    """What a model takes on the GPU is gone from RAM, and what the system takes from the GPU."""
    box = Box(32)
    look = observe_twin(box.twin)
    assert look.devices[0].free_bytes.value == look.memory.available_bytes.value == 30 * GIB
    box.twin.use(CHAT, 1.0, keep_alive=3600.0)
    box.timeline.advance(START + 60.0)
    look = observe_twin(box.twin)
    left = 30 * GIB - box.taken_bytes
    assert box.taken_bytes > 5 * GIB
    assert look.devices[0].free_bytes.value == look.memory.available_bytes.value == left


def test_the_loop_fills_the_pool_and_no_more() -> None:
    """Three models of 23 GiB in all fit the 30 GiB of 32, though each is there twice: on the GPU
    and out of RAM. None is kept out for that, and the pool is never overfull."""
    box = Box(32, words({LARGE: {"pin": True}, CHAT: {"pin": True}, CODER: {"priority": 80}}))
    box.timeline.advance(START + 900.0)
    assert {row.model.name for row in box.twin.residents()} == {LARGE, CHAT, CODER}


def test_what_does_not_fit_the_pool_stays_out() -> None:
    """The GPU alone would say that 20 GiB hold all three; the system's part says no."""
    box = Box(24, words({LARGE: {"pin": True}, CHAT: {"pin": True}, CODER: {"priority": 80}}))
    box.timeline.advance(START + 900.0)
    assert {row.model.name for row in box.twin.residents()} == {LARGE, CHAT}


def test_a_rehearsal_has_the_same_pool() -> None:
    """The copy that `add --dry-run` plays on has the room that the host has without its models."""
    box = Box(32)
    box.twin.use(CHAT, 1.0, keep_alive=3600.0)
    box.timeline.advance(START + 60.0)
    look = observe_twin(box.twin)
    host, _ = build_host(look, OPEN, located=look.located)
    copy = mirror_host(look, host, host.env)
    twin = TwinHost(copy, physics_of(copy), Timeline(START))
    assert twin.system_memory().free_bytes == 30 * GIB
    assert twin.free_bytes(copy.gpus[0]) == 30 * GIB


@settings(max_examples=25, deadline=None)
@given(
    gib=st.integers(8, 64),
    used=st.lists(st.sampled_from([CODER, CHAT, LARGE, "nomic-embed-text"]), max_size=3),
)
def test_no_plan_counts_a_byte_twice_or_takes_one_too_many(gib: int, used: list[str]) -> None:
    """All members together, at most, fit what the pool has without models; what is resident and
    may stay is not thrown out by its own weight."""
    box = Box(gib)
    for name in used:
        box.twin.use(name, 1.0, keep_alive=3600.0)
        box.timeline.advance(box.timeline.now + 60.0)
    assume(box.taken_bytes + OS_BYTES <= gib * GIB)  # a user's first load is checked by nobody
    look = observe_twin(box.twin)
    host, where = build_host(look, OPEN, located=look.located)
    outcome = plan(build_candidates(look, OPEN, host, where), host)
    room = gib * GIB - OS_BYTES
    assert host.ram_bytes is not None
    assert 0 <= host.ram_bytes <= room
    taken = sum(m.ram_bytes + sum(m.upper.values()) for m in outcome.members)
    assert taken <= room
    on_gpu = sum(m.upper.get(DeviceId(box.spec.gpus[0].device), 0) for m in outcome.members)
    assert on_gpu <= (host.gpus[0].usable_bytes or 0)


HOST = """
ram = "32GiB"
[gpu.0]
name = "NVIDIA GB10"
memory = "32GiB"
integrated = true
[env]
OLLAMA_MAX_LOADED_MODELS = "6"
OLLAMA_CONTEXT_LENGTH = "8192"
[model."qwen2.5-coder:7b"]
[model."llama3.1:8b"]
[model."qwen2.5:14b"]
"""


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """Returns what a verb says of that host."""
    done = subprocess.run(
        [sys.executable, "-m", "warmset", *arguments, "-o", "json", "--host", "twin://box.toml"],
        cwd=folder,
        env={"WARMSET_STATE": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in {0, 6}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the host and what is wanted of it."""
    (tmp_path / "box.toml").write_text(HOST)
    (tmp_path / "budgets.toml").write_text('[model."qwen2.5:14b"]\npin = true\n')
    return tmp_path


def test_every_verb_shows_one_pool(folder: Path) -> None:
    """`status`, `plan` and `add --dry-run` agree on it."""
    (device,) = (seen := run(folder, "status"))["devices"]
    assert device["memory_kind"] == "unified"
    assert device["free_bytes"]["value"] == seen["memory"]["available_bytes"]["value"]
    planned = run(folder, "plan", "--all")
    warm = planned["warm_set"]
    at_most = sum(sum(m["placement_upper_bytes"].values()) + m["ram_bytes"] for m in warm)
    assert at_most <= 32 * GIB
    assert len(warm) == 3
    assert run(folder, "add", "phi4:14b", "--dry-run", "--offline")["verdict"]
