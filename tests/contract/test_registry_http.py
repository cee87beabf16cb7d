"""Published models read over real HTTP: good servers, bad servers, and none."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import gguf_bytes as raw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from range_server import RangeServer, serving

from warmset.adapters.gguf import read_header, read_parts
from warmset.adapters.registry import (
    RangedFile,
    RegistryCache,
    Web,
    find_link,
    find_model,
    is_link,
    parse_reference,
)
from warmset.core.model import Tensor
from warmset.core.units import MIB
from warmset.errors import (
    BackendError,
    BackendTimeout,
    BadPayload,
    BadStatus,
    ConfigError,
    FactsError,
    UnknownModel,
    Unreachable,
)

HEAD = raw.tiny_llama(vocabulary=120_000)  # 2 MiB, so that it takes several ranges
SIZE = len(HEAD) + 3 * MIB


@pytest.fixture
def server():
    with serving() as state:
        yield state


@pytest.fixture
def cache(tmp_path: Path) -> RegistryCache:
    return RegistryCache(tmp_path)


def weights(tmp_path: Path, size: int = SIZE) -> Path:
    return raw.write_sparse(tmp_path / "weights.gguf", HEAD, size)


def look_up(server: RangeServer, name: str, cache: RegistryCache):
    with Web() as web:
        return find_model(parse_reference(name, registry=server.url), web, cache)


def header_of(url: str):
    with Web() as web, find_link(url).opened(web) as source:
        return read_header(source), source


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        (
            "llama3.2",
            "https://registry.ollama.ai/v2/library/llama3.2/manifests/latest",
            "llama3.2:latest",
        ),
        ("me/m:7b", "https://registry.ollama.ai/v2/me/m/manifests/7b", "me/m:7b"),
        (
            "hf.co/bartowski/X-GGUF:Q4_K_M",
            "https://hf.co/v2/bartowski/X-GGUF/manifests/Q4_K_M",
            "hf.co/bartowski/X-GGUF:Q4_K_M",
        ),
        ("host:5000/n/m", "https://host:5000/v2/n/m/manifests/latest", "host:5000/n/m:latest"),
    ],
)
def test_names_lead_to_manifests(text: str, url: str, name: str) -> None:
    """The library, somebody's models, the hub, and any other registry."""
    reference = parse_reference(text)
    assert (reference.manifest_url, reference.name) == (url, name)


@pytest.mark.parametrize(
    "text", ["", "a/b/c/d", "a:b:c", "../etc", "a b", "x/../y", "-x", "h?/a/b"]
)
def test_what_cannot_be_a_name_is_refused(text: str) -> None:
    """Nothing that would change the path of the request gets through."""
    with pytest.raises(ConfigError, match="no model's name"):
        parse_reference(text)


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_refusal(text: str) -> None:
    """What is accepted is printable and stays inside /v2/."""
    try:
        reference = parse_reference(text)
    except ConfigError:
        return
    assert reference.name.isprintable()
    assert "/.." not in reference.manifest_url


def test_links() -> None:
    """A hub's page about a file leads to the file; other links stay; nonsense is refused."""
    page = "https://huggingface.co/u/r/blob/main/x.gguf"
    assert is_link(page)
    assert find_link(page).url == "https://huggingface.co/u/r/resolve/main/x.gguf"
    assert find_link("https://a.example/blob/x?sig=1").name == "https://a.example/blob/x"
    for text in ("http://", "https://h:port/x", "https://h/\x1b", "https://[h/x"):
        with pytest.raises(ConfigError, match="no URL"):
            find_link(text)


def test_a_published_model_is_known_before_the_download(
    server: RangeServer, cache: RegistryCache, tmp_path: Path
) -> None:
    """Sizes of every file, the Modelfile's context, and the header, for 2 MiB of 40 GB."""
    path = weights(tmp_path, 40 * 10**9)
    layers = {
        "model": path,
        "projector": b"p" * 500,
        "adapter": b"a" * 70,
        "params": json.dumps({"num_ctx": 2048, "stop": ["x"]}).encode(),
    }
    digest = server.publish(
        "library/tiny", "7b", layers, model_family="llama", model_type="7B", file_type="Q4_0"
    )
    model = look_up(server, "tiny:7b", cache)
    assert model.digest == digest
    assert model.file_bytes == 40 * 10**9
    assert (model.projector_bytes, model.adapter_bytes, model.num_ctx) == (500, 70, 2048)
    assert (model.family, model.parameter_size, model.quantization) == ("llama", "7B", "Q4_0")
    assert len(model.manifest_digest) == 64
    with Web() as web, model.opened(web) as source:
        header = read_header(source)
        assert source.transferred_bytes < len(HEAD) + MIB
        assert source.size_bytes == 40 * 10**9
    assert len(header.tensors) == 4
    assert server.sent_bytes < 16 * 10**6


@pytest.mark.parametrize("habit", ["good", "ignores", "crumbs", "more", "blind"])
def test_headers_come_from_servers_of_any_habit(
    server: RangeServer, tmp_path: Path, habit: str
) -> None:
    """Ranges ignored, cut short, too long, or without a total: the same header, few bytes."""
    server.files["/x.gguf"] = weights(tmp_path, 4 * 10**9)
    server.habit = habit
    header, source = header_of(f"{server.url}/x.gguf")
    assert len(header.tensors) == 4
    assert source.transferred_bytes < 6 * MIB
    assert server.sent_bytes < 16 * 10**6 or habit == "more"  # what sockets hold is lost


@pytest.mark.parametrize(
    ("habit", "kind", "words"),
    [
        ("truncates", BadPayload, "cut off|breaks off"),
        ("shifts", BadPayload, "it sends the range"),
        ("gzip", BadPayload, "encoded"),
    ],
)
def test_bad_servers_get_a_typed_error(
    server: RangeServer, tmp_path: Path, habit: str, kind: type[BackendError], words: str
) -> None:
    """The message names the URL and what is wrong with the answer."""
    server.files["/x.gguf"] = weights(tmp_path)
    server.habit = habit
    with pytest.raises(kind, match=words) as caught:
        header_of(f"{server.url}/x.gguf?signature=secret")
    assert server.url in caught.value.message
    assert "secret" not in caught.value.message


def test_a_file_shorter_than_its_header_is_refused(server: RangeServer) -> None:
    """Both where the server says how long it is, and where the stream just ends."""
    server.files["/x.gguf"] = HEAD[:5000]
    for habit in ("good", "ignores", "blind"):
        server.habit = habit
        with pytest.raises(FactsError, match="ends at byte 5000"):
            header_of(f"{server.url}/x.gguf")


def test_reading_past_the_end_gives_nothing(server: RangeServer) -> None:
    """The end is learnt from the answer, also the one that says: not satisfiable."""
    server.files["/x"] = b"0123456789"
    with Web() as web:
        with closing(RangedFile(web, f"{server.url}/x")) as file:
            assert file.read(10, 5) == b""
            assert file.size_bytes == 10
        with closing(RangedFile(web, f"{server.url}/x")) as file:
            assert file.read(2, 3) == b"234"
            assert file.read(8, 50) == b"89"
        server.habit = "ignores"
        with closing(RangedFile(web, f"{server.url}/x")) as file:
            assert (file.read(2, 3), file.read(7, 1), file.read(9, 9)) == (b"234", b"7", b"9")


def test_redirects_are_followed_and_remembered(server: RangeServer, tmp_path: Path) -> None:
    """Blobs live elsewhere: the first range is redirected, the others go there directly."""
    server.files["/cdn/x"] = weights(tmp_path)
    server.redirects = {"/x.gguf": "/hop", "/hop": f"{server.url}/cdn/x?sig=1"}
    header, _ = header_of(f"{server.url}/x.gguf")
    assert len(header.tensors) == 4
    assert [path for path, _ in server.requests].count("/x.gguf") == 1
    assert [path for path, _ in server.requests].count("/cdn/x?sig=1") > 1


@pytest.mark.parametrize(
    ("target", "words"),
    [("/x.gguf", "redirects"), ("file:///etc/passwd", "redirects to"), ("", "redirects to")],
)
def test_bad_redirects_end(server: RangeServer, target: str, words: str) -> None:
    """Circles, other schemes and empty targets are refused."""
    server.redirects = {"/x.gguf": target}
    with pytest.raises(BadPayload, match=words):
        header_of(f"{server.url}/x.gguf")


def test_https_never_becomes_http() -> None:
    """A redirect that gives up encryption is refused."""
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "http://a.example/x"})

    with (
        Web(transport=httpx.MockTransport(answer)) as web,
        pytest.raises(BadPayload, match="from https to http"),
    ):
        web.fetch("https://a.example/x", limit_bytes=10)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, UnknownModel), (401, UnknownModel), (403, UnknownModel), (500, BadStatus)],
)
def test_statuses_have_meanings(
    server: RangeServer, cache: RegistryCache, status: int, kind: type[BackendError]
) -> None:
    """Unknown and private models, and servers with trouble of their own."""
    server.statuses["/v2/library/x/manifests/latest"] = status
    server.files["/v2/library/x/manifests/latest"] = b"{}"
    with pytest.raises(kind) as caught:
        look_up(server, "x", cache)
    assert caught.value.context["status"] == status


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "not a manifest"),
        (b"[]", "not a manifest"),
        (b'{"config": {"digest": "sha256:x", "size": 1}, "layers": []}', "config.digest"),
        (b" " * (2 << 20), "longer than 1024 KiB"),
    ],
)
def test_what_is_no_manifest_is_told(
    server: RangeServer, cache: RegistryCache, content: bytes, words: str
) -> None:
    """Nonsense and floods are refused, and not remembered."""
    server.files["/v2/library/x/manifests/latest"] = content
    with pytest.raises(BadPayload, match=words):
        look_up(server, "x", cache)


def test_a_model_without_gguf_weights_is_refused(server: RangeServer, cache: RegistryCache) -> None:
    """Models of tensor layers have no header to read."""
    server.publish("library/mlx", "latest", {"model": b"x"})
    manifest = json.loads(server.files["/v2/library/mlx/manifests/latest"])
    manifest["layers"][0]["mediaType"] = "application/vnd.ollama.image.tensor"
    server.files["/v2/library/mlx/manifests/latest"] = json.dumps(manifest).encode()
    with pytest.raises(BadPayload, match="no GGUF weights"):
        look_up(server, "mlx", cache)


@pytest.mark.parametrize("params", [b"nonsense", b"[1]", b'{"num_ctx": "x"}', b'{"num_ctx": -1}'])
def test_small_texts_may_be_nonsense(
    server: RangeServer, cache: RegistryCache, params: bytes
) -> None:
    """They only cost what they would have told."""
    server.publish("library/x", "latest", {"model": HEAD, "params": params}, model_type="y" * 999)
    found = look_up(server, "x", cache)
    assert (found.num_ctx, found.parameter_size) == (None, "")
    config = json.loads(server.files["/v2/library/x/manifests/latest"])["config"]["digest"]
    del server.files[f"/v2/library/x/blobs/{config}"]
    assert look_up(server, "x", cache).file_bytes == len(HEAD)


def test_a_registry_that_is_down_is_replaced_by_what_it_last_said(
    cache: RegistryCache,
) -> None:
    """With the note that it may be out of date; without a memory the error stands."""
    with serving() as server:
        server.publish("library/x", "latest", {"model": HEAD})
        fresh = look_up(server, "x", cache)
    assert fresh.note == ""
    again = look_up(server, "x", cache)
    assert again.digest == fresh.digest
    assert "manifest as last seen" in again.note
    with pytest.raises(Unreachable, match="no connection"):
        look_up(server, "unseen", cache)


def test_the_whole_look_up_has_a_time_limit(server: RangeServer) -> None:
    """A server that drips is left when the time is over."""
    ticks = iter(range(1000))
    server.files["/x"] = bytes(10 * MIB)
    with (
        Web(monotonic=lambda: float(next(ticks)), total_seconds=3) as web,
        pytest.raises(BackendTimeout, match="in time"),
    ):
        web.fetch(f"{server.url}/x", limit_bytes=100 * MIB)


def test_split_files_are_read_by_their_urls(server: RangeServer) -> None:
    """Each part is opened beside the first."""
    facts = [raw.word("general.architecture", "llama")]
    server.files["/m-00001-of-00002.gguf"] = raw.header(facts, [raw.tensor("blk.0.x", (32,))])
    server.files["/m-00002-of-00002.gguf"] = raw.header([], [raw.tensor("blk.1.x", (32,))])
    model = find_link(f"{server.url}/m-00001-of-00002.gguf")
    with Web() as web:
        found = read_parts(model.url, lambda part: model.opened(web, part))
    assert [tensor.name for tensor in found.tensors] == ["blk.0.x", "blk.1.x"]


DIGEST = "sha256:" + "a" * 64
FACTS = {"a.b": 1, "a.c": (1, (2, None)), "a.d": 0.5, "a.e": True, "a.f": "x"}
TENSORS = (Tensor(name="t", type="F32", shape=(2, 3)),)


def test_headers_are_kept_by_digest(tmp_path: Path) -> None:
    """What is kept comes back, for us alone; an unknown digest and no folder give nothing."""
    cache = RegistryCache(tmp_path)
    cache.keep_header(DIGEST, FACTS, TENSORS)
    assert RegistryCache(tmp_path).header(DIGEST) == (FACTS, TENSORS)
    (path,) = (tmp_path / "registry").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert cache.header("sha256:" + "b" * 64) is None
    assert cache.header("") is None
    nowhere = RegistryCache(None)
    nowhere.keep_header(DIGEST, FACTS, TENSORS)
    assert nowhere.header(DIGEST) is None


@pytest.mark.parametrize("damage", ["text", "other", "object", "link", "large"])
def test_damaged_records_count_as_absent(tmp_path: Path, damage: str) -> None:
    """Cut, foreign, linked and oversized files are read anew from the registry."""
    cache = RegistryCache(tmp_path)
    cache.keep_header(DIGEST, FACTS, TENSORS)
    (path,) = (tmp_path / "registry").iterdir()
    if damage == "text":
        path.write_bytes(b"{")
    elif damage == "other":
        path.write_text(path.read_text().replace("aaa", "bbb"))
    elif damage == "object":
        path.write_text(path.read_text().replace('"a.b":1', '"a.b":{"x":1}'))
    elif damage == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.truncate(path, 9 << 20)
    assert cache.header(DIGEST) is None


def test_the_cache_is_bounded_and_never_fails(tmp_path: Path, monkeypatch) -> None:
    """The oldest go; a folder that cannot be made costs nothing but the memory."""
    from warmset.adapters.registry import cache as module

    monkeypatch.setattr(module, "MAX_FILES", 3)
    cache = RegistryCache(tmp_path)
    for number in range(6):
        cache.keep_manifest(f"u{number}", b"{}")
    assert len(list((tmp_path / "registry").iterdir())) == 3
    assert cache.manifest("u5") == b"{}"
    (tmp_path / "file").write_text("")
    RegistryCache(tmp_path / "file").keep_manifest("u", b"{}")
    assert RegistryCache(tmp_path / "file").manifest("u") is None
