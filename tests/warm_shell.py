"""Runs verbs without their imports: a process that has loaded warmset forks one for each command.

Every command still has a process, an environment and a driver session of its own; what it does not
have is the second of start-up, which `test_startup.py` and the other end-to-end tests look at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fakenvml import build

ROOT = Path(__file__).parents[1]

PROGRAM = """
import importlib, json, os, signal, sys
LOADED = '''
    adapters.config.load adapters.drm adapters.hostmem adapters.nvml adapters.observations
    adapters.ollama.client adapters.procs cli.commands.fit cli.commands.footprint
    cli.commands.plan cli.commands.status cli.status_json cli.status_table
    core.footprint.calibrate shell.estimate shell.learn shell.load_history shell.observe
'''
import psutil, pynvml
for name in LOADED.split():
    importlib.import_module(f"warmset.{name}")
from warmset.adapters.procs import table
from warmset.cli.app import main
from warmset.core.host.processes import PidSpace

def run(order):
    os.environ.clear()
    os.environ.update(order["env"])
    for number, file in enumerate((os.devnull, order["stdout"], order["stderr"])):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    signal.alarm(60)  # ends a command that hangs
    table.read_pid_space = lambda *_, **__: PidSpace[order["space"]]
    try:
        main(order["arguments"])
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(json.loads(line))
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmShell:
    """Runs commands of warmset, one after the other."""

    def __init__(self) -> None:
        base = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "LD_LIBRARY_PATH": str(build())}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=base,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, env: Mapping[str, str], folder: Path, space: str = "HOST"
    ) -> subprocess.CompletedProcess[str]:
        """Returns what a command said and how it ended.

        Args:
            env: of the command.
            folder: where what it says may be kept.
            space: the PID space that it shall see itself in.
        """
        said = {name: folder / f"said.{name}" for name in ("stdout", "stderr")}
        order = {
            "arguments": arguments,
            "env": dict(env),
            "space": space,
            **{name: str(file) for name, file in said.items()},
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the shell has ended"
        texts = {name: file.read_text("utf-8") for name, file in said.items()}
        return subprocess.CompletedProcess(list(arguments), int(answer), **texts)

    def end(self) -> None:
        """Ends the shell."""
        self._process.kill()
        self._process.communicate()
