"""`warmset footprint`: models on the host, in files, behind URLs and names, and nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf_bytes as raw
import pytest
from range_server import RangeServer, serving

from warmset.core.footprint import estimate_footprint
from warmset.core.settings import Settings
from warmset.core.units import GIB, MIB
from warmset.errors import ConfigError, FactsError, UnknownModel, Unreachable
from warmset.shell.estimate import Asked, Room, Subject, find_subject
from warmset.shell.fitting import find_max_context, fits_now, tabulate, warn
from warmset.shell.learn import keep_lessons, observe_residents
from warmset.shell.observe import see
from warmset.shell.wiring import connect

ROOT = Path(__file__).parents[2]
TWIN = "twin://workstation?demand=office&hours=3&seed=5"
IDLE = "twin://workstation?demand=idle"
NOBODY = "http://127.0.0.1:9"
HEAD = raw.tiny_llama(vocabulary=1000)
FIELDS = (
    "weights_vram_bytes weights_ram_bytes kv_bytes recurrent_bytes compute_bytes overhead_bytes"
    " vram_bytes vram_upper_bytes ram_bytes devices ollama_forecast_bytes basis unknowns"
).split()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "WARMSET_REGISTRY": NOBODY,
        "CACHE_DIRECTORY": str(tmp_path / "cache"),
        "WARMSET_STATE": str(tmp_path / "state"),
    }


@pytest.fixture
def server():
    with serving() as state:
        yield state


Find = Callable[..., Subject]


@pytest.fixture
def find(environ: dict[str, str]) -> Find:
    def find(name: str, host: str = IDLE, **asked: object) -> Subject:
        return find_subject(Asked(name=name, **asked), Settings(url=host), environ)

    return find


def run(*arguments: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmset", "footprint", *arguments],
        cwd=folder,
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_document_has_the_fields_of_the_contract(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """JSON on stdout with every documented field; the parts add up."""
    done = run(
        "llama3.1:8b", "--host", TWIN, "--max-context", "--json", environ=environ, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema_version"] == 1
    assert set(FIELDS) <= set(found)
    parts = ("weights_vram_bytes", "kv_bytes", "compute_bytes", "overhead_bytes")
    assert sum(found[part] for part in parts) == found["vram_bytes"] < found["vram_upper_bytes"]
    assert found["devices"][0]["vram_bytes"] == found["vram_bytes"]
    assert found["max_context"]["context"] > 0
    rows = {(row["context"], row["kv_type"]): row["vram_bytes"] for row in found["table"]}
    assert rows[8192, "f16"] > rows[8192, "q8_0"] > rows[8192, "q4_0"]
    assert rows[found["context"], found["kv_type"]] == found["vram_bytes"]


def test_people_get_tables(environ: dict[str, str], tmp_path: Path) -> None:
    """Parts, contexts by cache type, every term, and the largest context."""
    done = run(
        "qwen2.5-coder:7b",
        *("--host", TWIN, "--explain", "--max-context", "--context", "5000"),
        environ=environ,
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for words in ("Ollama expects", "CONTEXT", "KV q8_0", "FORMULA", "largest context:", "5000"):
        assert words in done.stdout


def test_names_and_wide(environ: dict[str, str], tmp_path: Path) -> None:
    """`-o name` prints the name alone, `-o wide` each GPU."""
    done = run("LLAMA3.1:8b", "--host", IDLE, "-o", "name", environ=environ, folder=tmp_path)
    assert done.stdout == "llama3.1:8b\n"
    done = run("llama3.1:8b", "--host", IDLE, "-o", "wide", environ=environ, folder=tmp_path)
    assert "LAYERS" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nosuch:1b", "--host", IDLE), 4, "no connection"),
        (("nosuch:1b", "--offline", "--host", IDLE), 4, "without the network"),
        (("./missing.gguf", "--host", IDLE), 3, "missing.gguf"),
        (("a/b/c/d", "--host", IDLE), 3, "no model's name"),
        (("llama3.1:8b", "--kv-type", "q9", "--host", IDLE), 3, "q9"),
        (("llama3.1:8b", "--engine", "vllm-1", "--host", IDLE), 6, "engine"),
        (("llama3.1:8b", "--context", "0", "--host", IDLE), 2, "--context"),
    ],
)
def test_wrong_input_is_explained_by_footprint(
    environ: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Exit code and words for each way of asking wrongly; never a traceback."""
    done = run(*arguments, environ=environ, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_is_estimated_exactly(find: Find, tmp_path: Path) -> None:
    """Its tensor table gives the weights, its size what Ollama expects."""
    path = raw.write_sparse(tmp_path / "m.gguf", HEAD, 5 * MIB)
    subject = find(str(path), context=4096)
    found = subject.estimate()
    assert (found.basis, found.grounds) == ("estimated", "tensor table and facts")
    assert subject.entry.basis == "GGUF file"
    assert found.weights_vram_bytes == 2 * (2 * 64 * 256 + 64 * 1000)
    assert found.weights_ram_bytes == 2 * 64 * 1000
    assert found.ollama_forecast_bytes > 5 * MIB
    assert subject.trained_context == 8192


def test_a_cut_off_file_says_so(find: Find, tmp_path: Path) -> None:
    """A download that broke off is estimated as if it were whole."""
    path = tmp_path / "m.gguf"
    path.write_bytes(HEAD)
    assert "is cut off" in find(str(path)).entry.basis


def test_a_published_name_is_estimated_before_the_download(
    find: Find, environ: dict[str, str], server: RangeServer, tmp_path: Path
) -> None:
    """Manifest and header of 40 GB; the second time the header comes from the cache."""
    path = raw.write_sparse(tmp_path / "w", HEAD, 40 * 10**9)
    layers = {"model": path, "projector": bytes(MIB), "params": b'{"num_ctx": 2048}'}
    server.publish("library/tiny", "1b", layers, model_type="1B", file_type="F16")
    environ["WARMSET_REGISTRY"] = server.url
    subject = find("tiny:1b")
    assert subject.entry.basis == "header read from the registry"
    assert subject.entry.file_bytes == 40 * 10**9
    assert subject.context == 2048
    assert "vision" in subject.entry.capabilities
    first = subject.estimate()
    assert first.weights_vram_bytes == 2 * (2 * 64 * 256 + 64 * 1000) + MIB
    assert server.sent_bytes < 16 * 10**6
    again = find("tiny:1b")
    assert again.entry.basis == "header read earlier"
    assert again.estimate() == first
    offline = find("tiny:1b", offline=True)
    assert "--offline" in offline.entry.basis
    assert offline.entry.tensors == subject.entry.tensors


def test_a_url_is_estimated(find: Find, server: RangeServer) -> None:
    """The size comes from the server's answer."""
    server.files["/x.gguf"] = HEAD + bytes(MIB)
    subject = find(f"{server.url}/x.gguf")
    assert subject.entry.basis == "header read from its URL"
    assert subject.entry.file_bytes == len(HEAD) + MIB
    with pytest.raises(UnknownModel):
        find(f"{server.url}/x.gguf", offline=True)
    server.files["/x.gguf"] = b"<html>"
    with pytest.raises(FactsError, match="does not begin with GGUF"):
        find(f"{server.url}/x.gguf")


def test_without_network_well_known_names_have_built_in_facts(find: Find) -> None:
    """And the basis says so, with the reason."""
    subject = find("llama3.3:70b", "twin://cpu?demand=idle")
    assert subject.entry.basis.startswith("built-in facts (no connection")
    assert find("phi4:14b", NOBODY, offline=True).entry.basis == "built-in facts (--offline)"
    with pytest.raises(Unreachable):
        find("nosuch:1b")


def test_without_a_host_the_assumptions_are_told(find: Find) -> None:
    """One GPU of unknown size, Ollama's smallest context; nothing is said to fit."""
    subject = find("llama3.1:8b", NOBODY)
    assert (subject.context, subject.gpus, subject.engine) == (4096, 1, "ollama")
    assert "a context of 4096 is assumed" in subject.notes[-1]
    found = subject.estimate()
    assert fits_now(subject, found) is None
    assert warn(subject, found) == ()
    largest = find_max_context(subject)
    assert largest.context is None
    assert "free memory is not known" in largest.reason


def test_what_is_asked_goes_before_what_the_host_does(find: Find) -> None:
    """Context, slots, cache type, GPUs and engine."""
    subject = find(
        "llama3.1:8b", context=3000, parallel=3, kv_type="q8_0", gpus=2, engine="llama.cpp-2025"
    )
    found = subject.estimate()
    assert (found.context, found.slots, found.kv_type) == (3000, 3, "q8_0")
    assert (len(found.devices), subject.engine) == (2, "llama.cpp-2025")


def test_a_model_goes_where_ollama_would_put_it(find: Find) -> None:
    """On the GPU that holds it, over all where none does, in RAM where there is none."""
    assert find("llama3.1:8b", "twin://2x24?demand=idle").gpus == 1
    assert find("qwen3:32b", "twin://2x24?demand=idle").gpus == 2
    assert find("llama3.1:8b", "twin://cpu?demand=idle").gpus == 0


def test_the_largest_context_is_the_largest(find: Find) -> None:
    """One step more would not fit; on an idle host there is more than beside others."""
    busy, idle = find("qwen2.5:32b", TWIN), find("qwen2.5:32b", "twin://2x24?demand=idle")
    largest = find_max_context(idle)
    assert largest.context == idle.trained_context
    small = replace(idle, room=Room(gpus=(22 * GIB,), free=(24 * GIB,)), gpus=1)
    fitting = find_max_context(small)
    assert 0 < fitting.context < small.trained_context
    assert fits_now(small, small.estimate(context=fitting.context))
    assert not fits_now(small, small.estimate(context=fitting.context + 256))
    assert find_max_context(busy).context is None
    in_ram = find("llama3.2:1b", "twin://cpu?demand=idle")
    assert find_max_context(in_ram).context > 4096


def test_the_table_has_what_was_asked_and_what_is_refused(find: Find) -> None:
    """Odd contexts have their row, odd cache types their column, impossible ones a gap."""
    subject = find("llama3.1:8b", context=5000, kv_type="q5_1")
    grid = dict(tabulate(subject))
    assert list(grid[5000]) == ["f16", "q8_0", "q4_0", "q5_1"]
    assert max(grid) == subject.trained_context
    refused = dict(tabulate(replace(subject, flash=False)))
    assert refused[5000]["q5_1"] is None


def with_free(subject: Subject, free: int, **changes: object) -> Subject:
    room = Room(gpus=(max(free - GIB, 0),), free=(free,))
    return replace(subject, room=room, is_resident=False, **changes)


def test_disagreements_with_ollama_are_warned_of(find: Find) -> None:
    """It evicts for what would fit, and loads what will not; otherwise silence."""
    subject = find("gemma3:12b", context=32768, parallel=1)
    found = subject.estimate()
    assert found.ollama_forecast_bytes > 1.2 * found.vram_upper_bytes  # it ignores the windows
    free = found.vram_upper_bytes + GIB // 4
    (evicts,) = warn(with_free(subject, free, residents=("other:1b",)), found)
    assert "it would evict from other:1b" in evicts
    (spreads,) = warn(with_free(subject, free, residents=()), found)
    assert "spread the model or keep layers in RAM" in spreads
    dense = find("llama3.1:8b", context=4096)
    need = dense.estimate()
    tight = with_free(dense, max(need.vram_bytes, need.ollama_forecast_bytes * 10 // 8 + 1))
    (partial,) = warn(tight, need)
    assert "some layers would stay in RAM" in partial
    assert warn(with_free(dense, 100 * GIB), need) == ()
    assert warn(with_free(dense, GIB), need) == ()  # both say no
    assert warn(replace(tight, is_resident=True), need) == ()


def test_residents_teach_the_next_estimate(find: Find, environ: dict[str, str]) -> None:
    """What `--learn` keeps makes seen shapes exact and is kept once; others come nearer."""
    connection = connect(Settings(url=TWIN), environ=environ)
    seen = see(connection, Settings(url=TWIN))
    loads = tuple(observe_residents(seen))
    assert loads
    assert keep_lessons(connection, seen) == f"learnt from {len(loads)} loads"
    assert keep_lessons(connection, seen) == "learnt from 0 loads"
    connection.close()
    assert set(see(connection, Settings(url=TWIN)).observation.learnt.loads) == set(loads)
    load = loads[0]
    entry = next(e for e in seen.observation.entries if e.key == load.key.model)
    subject = find(entry.name, TWIN)
    found = subject.estimate()
    assert found.basis == "observed"
    assert "measured here in this shape, 1 time" in found.grounds
    assert found.vram_bytes == sum(load.driver_bytes)
    others = [e for e in seen.observation.entries if e.key not in {o.key.model for o in loads}]
    assert find(others[0].name, TWIN, gpus=1).estimate().basis == "calibrated"
    stranger = find(entry.name, TWIN, engine="ollama-0.12").estimate()
    assert stranger.basis == "estimated"


def test_learning_from_the_command_line(environ: dict[str, str], tmp_path: Path) -> None:
    """`--learn` says how many, and the estimate uses them."""
    arguments = ("qwen2.5-coder:7b", "--host", TWIN, "--learn")
    done = run(*arguments, environ=environ, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "learnt from" in done.stderr
    assert "bytes: observed (" in done.stdout or "bytes: calibrated (" in done.stdout


def test_paths_with_an_unknown_home_are_a_usage_error(find: Find) -> None:
    """`~nobody` cannot be expanded."""
    with pytest.raises(ConfigError):
        find("~nosuchuser/x.gguf")


def test_the_estimate_is_the_public_one(find: Find) -> None:
    """Without observations the verb says what `estimate_footprint` says."""
    subject = find("llama3.1:8b", context=4096, parallel=1, engine="ollama-0.33")
    entry = subject.entry
    assert subject.estimate() == estimate_footprint(
        entry.facts, num_ctx=4096, file_bytes=entry.file_bytes, tensors=entry.tensors
    )
