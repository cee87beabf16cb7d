"""Making way: real processes by name, a battery in a pretended sysfs, and the loop that yields."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from loop_hosts import CHAT, CODER, EMBED, START, config, world
from serving_rig import rigged

from warmset.adapters.yielding import find_program, is_on_battery
from warmset.core.settings import Settings, YieldSettings
from warmset.shell.yielding import why_yield

GAME = "warmset-game"


class Game:
    """A program of that name, which does nothing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / GAME
        shutil.copy(shutil.which("sleep") or "", self.path)
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.popen = subprocess.Popen([self.path, "600"])

    def end(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()


@pytest.fixture
def game(tmp_path: Path) -> Iterator[Game]:
    """Not running yet."""
    made = Game(tmp_path)
    yield made
    made.end()


def test_a_listed_program_is_found_while_it_runs(game: Game) -> None:
    """By its name in the process table, in any case, with or without `.exe`."""
    names = ["no-such-program", "Warmset-Game.EXE"]
    assert find_program(names) is None
    game.start()
    assert find_program(names) == "Warmset-Game.EXE"
    game.end()
    assert find_program(names) is None
    assert find_program([]) is None


def supply(folder: Path, name: str, **facts: str) -> None:
    """Writes one power supply as the kernel shows it."""
    (folder / name).mkdir()
    for fact, value in facts.items():
        (folder / name / fact).write_text(value + "\n")


@pytest.mark.parametrize(
    ("online", "status", "expected"),
    [("0", "Discharging", True), ("1", "Charging", False), ("1", "Not charging", False)],
)
def test_the_battery_is_read_from_sysfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: str, status: str, expected: bool
) -> None:
    """As psutil reads it: the mains adapter counts, and a machine without a battery has none."""
    monkeypatch.setattr(psutil._pslinux, "POWER_SUPPLY_PATH", str(tmp_path))
    assert is_on_battery() is False
    supply(tmp_path, "AC0", type="Mains", online=online)
    supply(
        tmp_path,
        "BAT0",
        type="Battery",
        status=status,
        capacity="60",
        energy_now="30000000",
        energy_full="50000000",
        power_now="10000000",
    )
    assert is_on_battery() is expected
    said = Settings(yields=YieldSettings(on_battery=True))
    assert why_yield(said, is_local=True) == ("the battery" if expected else "")
    assert why_yield(said, is_local=False) == ""


def test_every_configured_model_makes_way_and_comes_back() -> None:
    """Pins too; what is held stays, and what nobody configured is not touched."""
    said = config(CODER={"pin": True}, CHAT={}, EMBED={})
    said = replace(said, holds={EMBED: START + 1e6})
    scene = world(said).run(200.0)
    assert scene.resident() == {CODER, CHAT, EMBED}
    scene.sidecar.loop.configure(replace(said, yielding="steam"))
    scene.run(400.0)
    assert scene.resident() == {EMBED}
    assert set(scene.unloads()) == {CODER, CHAT}
    scene.run(1000.0)
    assert scene.resident() == {EMBED}
    scene.sidecar.loop.configure(said)
    scene.run(1400.0)
    assert scene.resident() == {CODER, CHAT, EMBED}


def test_a_model_in_use_makes_way_when_it_is_idle() -> None:
    """Nobody's request is cut off for a game."""
    said = config(CODER={"pin": True})
    scene = world(said).run(100.0)
    scene.at(110.0, lambda host: host.use(CODER, 300.0))
    scene.run(120.0)
    scene.sidecar.loop.configure(replace(said, yielding="steam"))
    scene.run(400.0)
    assert scene.resident() == {CODER}
    scene.run(700.0)
    assert scene.resident() == set()


def test_serve_yields_to_a_real_process(game: Game, tmp_path: Path) -> None:
    """The game starts: the memory is given back. It ends: the models come back."""
    with rigged(tmp_path) as rig:
        rig.budgets.write_text(
            f'[yield]\nprograms = ["{GAME}"]\n'
            '[policy]\nmin_residency = "0s"\nidle_after = "1s"\ncool_down = "1s"\n'
            '[model."nomic-embed-text"]\npin = true\n'
        )
        daemon = rig.serve()
        daemon.wait_for("decision", seconds=60, is_converged=True)
        rig.wait_until(lambda: bool(rig.residents()), 60)
        game.start()
        assert game.popen is not None
        rig.show(game.popen.pid)
        sent = daemon.wait_for("unload_sent", seconds=60)
        assert f"it makes way for {GAME}" in sent["text"]
        rig.wait_until(lambda: not rig.residents(), 60)
        assert f"makes way for {GAME}" in rig.run("explain", "nomic-embed-text").stdout
        game.end()
        daemon.wait_for("preloaded", seconds=60)
