"""Half an hour of users in a minute: Ollama, a GPU, warmset and what kills them, as real processes.

Everything is thirty times shorter: requests, keep-alives, leases, the pauses of the loop, the
loads. The server keeps three of four models; each runner is a process that the
driver knows. What happened is asked of the journal and of the server's own lists, read by a
bystander.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from serving_rig import PROMPT_SECONDS, Process, Rig
from three_rig import Three

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)

SECONDS = 75.0
MODELS = ("llama3.2:3b", "nomic-embed-text:latest", "qwen2.5-coder:7b", "llama3.1:8b")
PINNED = "nomic-embed-text:latest"
HOST = """
ram = "16GiB"
[gpu.0]
name = "NVIDIA GeForce RTX 4060"
memory = "8GiB"
foreign = "600MiB"
""" + "".join(f'[model."{name}"]\nfile = "20MB"\n' for name in MODELS)
BUDGETS = f"""
[policy]
tick = "0.3s"
calm = "1s"
settle = "0.5s"
idle_after = "1s"
cool_down = "2s"
pressure = "1s"
min_residency = "2s"
fight_window = "20s"
back_off = "10s"
lease_base = "60s"
[model."{PINNED}"]
pin = true
[model."llama3.2:3b"]
priority = 80
[model."qwen2.5-coder:7b"]
priority = 20
preload = false
"""


MISHAPS = (
    (0.15, "SIGKILL"),
    (0.30, "SIGSTOP"),
    (0.35, "SIGCONT"),
    (0.50, "server ends"),
    (0.52, "server begins"),
    (0.70, "SIGKILL"),
)
"""What happens to warmset and to Ollama, by share of the time."""


class Bystander:
    """Reads `/api/ps` again and again, and uses the models as people do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[float, frozenset[str]]] = []
        self.answers: list[int] = []
        self._is_ending = threading.Event()
        self._rng = random.Random(8)
        self._threads = [threading.Thread(target=self._watch), threading.Thread(target=self._use)]
        for thread in self._threads:
            thread.start()

    def _watch(self) -> None:
        while not self._is_ending.wait(0.2):
            try:
                rows = httpx.get(f"{self.url}/api/ps", timeout=5).json()["models"]
            except httpx.HTTPError:
                continue
            self.seen.append((time.time(), frozenset(row["name"] for row in rows)))

    def _use(self) -> None:
        while not self._is_ending.wait(self._rng.expovariate(0.8)):
            body = {"model": self._rng.choice(MODELS), "prompt": "hello", "stream": False}
            if self._rng.random() < 0.3:
                body["keep_alive"] = self._rng.choice(("10s", "3s", 0))
            path = "embed" if body["model"] == PINNED else "generate"
            try:
                reply = httpx.post(
                    f"{self.url}/api/{path}", json={**body, "input": "a"}, timeout=20
                )
            except httpx.HTTPError:
                continue
            self.answers.append(reply.status_code)

    def end(self) -> None:
        """Looks away."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def rig(tmp_path: Path):
    """A host with a small card, and users in a hurry."""
    made = Three(tmp_path, HOST, BUDGETS, max_loaded=3)
    try:
        made.start("server", "machine")
        yield made
    finally:
        made.end()


def is_beginning(share: float) -> bool:
    """Whether Ollama was started so little before that a pin may be on its way."""
    starts = (0.0, *(at for at, what in MISHAPS if what == "server begins"))
    return any(at <= share < at + 0.1 for at in starts)


def memory_mib(daemon: Process) -> float:
    """What a process holds now."""
    pages = int(Path(f"/proc/{daemon.popen.pid}/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def test_half_an_hour_in_a_minute(rig: Three) -> None:
    """With users all the time, warmset is killed twice and stopped once, Ollama is killed once.

    In the end: the pin is there; warmset never unloaded it; it had one load open at a time; its
    reloads are within the bound; no user was refused while Ollama lived; every decision of the
    journal is made again the same; memory has not grown beyond reason."""
    users = Bystander(rig.url)
    began = time.time()
    daemon = rig.serve()
    logs = [daemon]
    for share, what in MISHAPS:
        time.sleep(max(0.0, began + share * SECONDS - time.time()))
        if what == "server ends":
            rig.kill_twin()
        elif what == "server begins":
            rig.start_twin()
        else:
            daemon.signal(signal.Signals[what])
        if what == "SIGKILL":
            daemon.popen.wait()
            daemon = rig.serve()
            logs.append(daemon)
    time.sleep(max(0.0, began + SECONDS - time.time()))
    users.end()
    rig.wait_until(lambda: PINNED in rig.residents(), 60)
    rig.wait_until(lambda: PINNED in on_the_card(rig), 60)
    assert memory_mib(daemon) < 250
    assert daemon.stop() < PROMPT_SECONDS
    for log in logs:
        assert not {"decision_failed", "look_failed", "listener_failed"} & set(log.events())
    check_journal(rig)
    assert users.answers
    assert set(users.answers) == {200}
    seen = [names for at, names in users.seen if not is_beginning((at - began) / SECONDS)]
    there = sum(PINNED in names for names in seen) / len(seen)
    line = "".join("#" if PINNED in names else "." for names in seen)
    assert there > 0.5, f"the pin was resident in {there:.0%} of the lists: {line}"


ENDS = ("started", "preloaded", "preload_failed", "load_aborted")
PINGS = ("renewed", "ping_left_out", "ping_met_request")
"""One command is open at a time: the load that was ordered with a ping is not, when that ends, and
is left out where the ping showed somebody else's load."""


def check_journal(rig: Rig) -> None:
    """What must hold of everything that was recorded."""
    told = json.loads(rig.run("history", "-o", "json", "--limit", "10000").stdout)["events"]
    assert not [e for e in told if e["kind"] == "unload_ordered" and e["name"] == PINNED]
    assert not [e for e in told if e["kind"] == "decision_failed"]
    is_open = False
    for event in told:
        if event["kind"] in ENDS + PINGS:
            is_open = False
        elif event["kind"] == "preload_ordered":
            assert not is_open, f"two loads open at once: {event}"
            is_open = True
    held = json.loads(rig.run("history", "-o", "json", "--limit", "10000").stdout)["loads"]
    seen = [load for load in held if load["outcome"] == "loaded" and load["actual_bytes"]]
    assert seen, "no load was measured on the card"
    assert all(load["actual_bytes"] <= load["upper_bytes"] for load in seen)
    loads = [e["at"] for e in told if e["kind"] == "preload_ordered"]
    assert loads
    for at in loads:  # six reloads and the first loads of a process and a server
        assert sum(at <= other < at + 20.0 for other in loads) <= 14
    again = rig.run("replay", "--detailed-exitcode", "-o", "json")
    assert again.returncode == 0, again.stdout + again.stderr


def on_the_card(rig: Rig) -> list[str]:
    """Whose bytes lie on the card, as the driver and the server's list show it."""
    (card,) = json.loads(rig.run("status", "-o", "json").stdout)["devices"]
    assert card["state"] == "ok"
    assert card["used_bytes"]["source"] == "nvml"
    assert card["excess_bytes"] == 0
    return [share["name"] for share in card["shares"]]
