"""Each verb of the client against each answer that means harm: refused, in bounded time and memory.

Loads have no time limit, since a real one may take long: those that never end are ended by
`hang_up`, as the loop does it when it calls one off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hostile_server import ATTACKS, LIES, hostile

ROOT = Path(__file__).parents[2]
MOST_MIB = 800
"""Eight exchanges at once, each with up to 64 MiB of a reply and its parts."""

TAGS = json.dumps({"models": [{"name": "a:1b", "digest": "d" * 64, "size": 5}]}).encode()
GOOD = {
    "/api/version": b'{"version":"0.33.0"}',
    "/api/tags": TAGS,
    "/api/ps": b'{"models":[]}',
}
ASKED = {
    "residents": "/api/ps",
    "entries": "/api/tags",
    "version": "/api/version",
    "show": "/api/show",
    "unload": "/api/generate",
    "preload": "/api/generate",
    "ping": "/api/generate",
    "embed": "/api/embed",
    "time_request": "/api/generate",
    "pull": "/api/pull",
}
"""Each verb, and the path that answers it in a way that means harm."""

ENDLESS = {"dripping_headers", "dripping_body", "many_interim", "silent"}
"""What a load may wait for as long as nobody calls it off."""

VICTIM = """
import json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import warmset.adapters.ollama.client as client
from warmset.adapters.ollama.address import parse_address
from warmset.core.model import Entry, ModelKey, Resident
from warmset.errors import BackendError
for limit in ("PS", "TAGS", "VERSION", "SHOW", "UNLOAD"):
    setattr(client, f"{limit}_SECONDS", 1.0)
def entry(kind):
    return Entry(key=ModelKey("k"), names=("a:1b",), manifest_digests={"a:1b": "d"}, format="gguf",
                 family="", parameter_size="", quantization="", file_bytes=5, size_bytes=5,
                 capabilities=frozenset({kind}), basis="tags only")
LANGUAGE, EMBEDS = entry("completion"), entry("embedding")
ROW = Resident(name="a:1b", manifest_digest="d", key=ModelKey("k"), size_bytes=5,
               size_vram_bytes=5, context=8, expires_at=1.0)
def show(server):
    (found,) = server.entries()
    assert found.basis.startswith("tags only: "), found.basis
    raise BackendError("the model is listed, and what it is is unknown")
VERBS = {
    "residents": lambda s: s.residents(()), "entries": lambda s: s.entries(),
    "version": lambda s: s.version(), "show": show, "unload": lambda s: s.unload("a:1b"),
    "preload": lambda s: s.preload(LANGUAGE, keep_alive=60.0),
    "ping": lambda s: s.ping(LANGUAGE, ROW, keep_alive=60.0),
    "embed": lambda s: s.preload(EMBEDS, keep_alive=60.0),
    "time_request": lambda s: s.time_request(LANGUAGE, time.monotonic),
    "pull": lambda s: s.pull("a:1b"),
}
def ask(case):
    verb, url, hangs_up = case
    began = time.monotonic()
    with client.OllamaServer(parse_address(url)) as server:
        if hangs_up:
            threading.Timer(2.0, server.hang_up).start()
        try:
            VERBS[verb](server)
            told = "an answer was believed"
        except BackendError as error:
            told = "" if error.message.isprintable() else f"told with {error.message!r}"
        except BaseException as error:
            told = repr(error)
    return told, time.monotonic() - began
with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(ask, json.loads(sys.argv[1])))
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM")).split()[1]
print(json.dumps([answers, int(peak)]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to ask for memory")
def test_no_verb_believes_an_answer_that_means_harm() -> None:
    """190 of them: each ends in an error of ours that can be printed, none takes half a minute, and
    all together take less memory than twelve replies of full length."""
    with ExitStack() as opened:
        cases, names = [], []
        for attack in (*ATTACKS, *LIES):
            for verb, path in ASKED.items():
                good = {p: body for p, body in GOOD.items() if p != path}
                server = opened.enter_context(hostile(attack, good))
                is_endless = attack.__name__ in ENDLESS and path not in GOOD
                cases.append((verb, server.url, is_endless and verb not in ("show", "unload")))
                names.append(f"{verb}: {attack.__name__}")
        done = subprocess.run(
            [sys.executable, "-c", VICTIM, json.dumps(cases)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    answers, peak = json.loads(done.stdout)
    believed = {name: told for name, (told, _) in zip(names, answers, strict=True) if told}
    assert believed == {}
    slow = {name: took for name, (_, took) in zip(names, answers, strict=True) if took > 30.0}
    assert slow == {}
    assert peak >> 10 < MOST_MIB
    assert len(answers) == 190
