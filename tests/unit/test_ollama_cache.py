"""The cache of show replies gives back what it was given, or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warmset.adapters.ollama import cache
from warmset.adapters.ollama.cache import ShowCache
from warmset.adapters.ollama.modelfile import Layers
from warmset.adapters.ollama.names import default_folder
from warmset.adapters.ollama.wire import Shown
from warmset.core.model import Tensor

URL = "http://127.0.0.1:11434"
SHOWN = Shown(
    main_gpu=None,
    layers=Layers(weights="/b/w", projectors=("/b/p",), adapters=("/b/a",), draft="/b/d"),
    num_ctx=4096,
    text_bytes=76,
    format="gguf",
    family="llama",
    parameter_size="9.24M",
    quantization="F16",
    capabilities=("completion", "tools"),
    facts={"a": 1, "b": 1e-05, "c": (1, (True, None), "x"), "d": None, "e": (1 << 64) - 1},
    projector_facts={"clip.n": 3},
    tensors=(Tensor(name="t", type="Q4_K", shape=(2, 3)),),
)


def only_file(folder: Path) -> Path:
    """The one record in a cache folder."""
    (path,) = (folder / "ollama-show").iterdir()
    return path


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """Nested arrays, big integers and unknown values survive; only we can read the file."""
    store = ShowCache(tmp_path, URL)
    store.store("d1", "0.33.0", SHOWN)
    assert ShowCache(tmp_path, URL).load("d1", "0.33.0") == SHOWN
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_record_counts_for_its_server_version_and_digest_only(tmp_path: Path) -> None:
    """Another server, another version and another manifest are asked anew."""
    ShowCache(tmp_path, URL).store("d1", "0.33.0", SHOWN)
    assert ShowCache(tmp_path, URL).load("d1", "0.34.0") is None
    assert ShowCache(tmp_path, URL).load("d2", "0.33.0") is None
    assert ShowCache(tmp_path, "http://other:11434").load("d1", "0.33.0") is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"server": "http://evil"},
        {"digest": "d9"},
        {"facts": {"x": {}}},
        {"more": 1},
        {"num_ctx": -5},
    ],
)
def test_a_changed_record_does_not_count_and_is_rewritten(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Schema, owner and form are checked; the next store puts it right."""
    store = ShowCache(tmp_path, URL)
    store.store("d1", "v", SHOWN)
    path = only_file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert store.load("d1", "v") is None
    store.store("d1", "v", SHOWN)
    assert store.load("d1", "v") == SHOWN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(content=st.binary(max_size=300) | st.sampled_from([b"[" * 5000, b"{}", b"\xff", b"1e999"]))
def test_any_content_is_a_record_or_nothing(tmp_path: Path, content: bytes) -> None:
    """A damaged file never gives a traceback."""
    store = ShowCache(tmp_path, URL)
    store.store("d1", "v", SHOWN)
    only_file(tmp_path).write_bytes(content)
    assert store.load("d1", "v") is None


def test_links_pipes_and_large_files_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read through a link, nothing waits for a pipe, nothing huge is read."""
    store = ShowCache(tmp_path, URL)
    store.store("d1", "v", SHOWN)
    path = only_file(tmp_path)
    other = tmp_path / "other"
    path.rename(other)
    path.symlink_to(other)
    assert store.load("d1", "v") is None
    path.unlink()
    os.mkfifo(path)
    assert store.load("d1", "v") is None
    path.unlink()
    other.rename(path)
    assert store.load("d1", "v") == SHOWN
    monkeypatch.setattr(cache, "MAX_FILE_BYTES", 10)
    assert store.load("d1", "v") is None


def test_a_folder_that_cannot_be_used_is_no_cache(tmp_path: Path) -> None:
    """A file in the place of the folder, as a full or read-only disk, costs the cache alone."""
    blocked = tmp_path / "file"
    blocked.write_text("x")
    store = ShowCache(blocked, URL)
    store.store("d1", "v", SHOWN)
    assert store.load("d1", "v") is None
    nowhere = ShowCache(None, URL)
    nowhere.store("d1", "v", SHOWN)
    assert nowhere.load("d1", "v") is None


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole or not at all: the old record stays, no half file is left."""
    store = ShowCache(tmp_path, URL)
    store.store("d1", "v", SHOWN)
    before = only_file(tmp_path).read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    store.store("d1", "w", SHOWN)
    assert only_file(tmp_path).read_bytes() == before


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    monkeypatch.setattr(cache, "MAX_FILES", 3)
    store = ShowCache(tmp_path, URL)
    for age, digest in enumerate(["d1", "d2", "d3", "d4"]):
        store.store(digest, "v", SHOWN)
        path = store._path(digest)
        assert path is not None
        if path.exists():
            os.utime(path, (age, age))
    store.store("d5", "v", SHOWN)
    kept = [d for d in ("d1", "d2", "d3", "d4", "d5") if store.load(d, "v")]
    assert kept == ["d3", "d4", "d5"]


def test_the_folder_is_systemds_then_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$CACHE_DIRECTORY` may name several; a place that is not absolute is none."""
    assert default_folder({"CACHE_DIRECTORY": "/var/cache/warmset:/x"}) == Path(
        "/var/cache/warmset"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder({}) == Path("/somewhere/warmset")
    assert default_folder({"CACHE_DIRECTORY": "relative"}) is None
