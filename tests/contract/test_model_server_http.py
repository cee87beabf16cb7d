"""The HTTP client reads every recorded reply, and turns every failure into a typed error."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_server import RecordedHost, answer_of, is_whole, serving, steps

from warmset.adapters.ollama import client, wire
from warmset.adapters.ollama.address import parse_address
from warmset.adapters.ollama.client import OllamaServer
from warmset.adapters.ollama.meaning import Meaning, status_error
from warmset.core.model import FOREVER, Entry, ModelKey, Resident
from warmset.errors import (
    BackendError,
    BackendTimeout,
    BadPayload,
    BadStatus,
    ConfigError,
    UnknownModel,
    Unreachable,
    WarmsetError,
)

FORMS = {
    ("GET", "/api/version"): wire.VersionReply,
    ("GET", "/api/tags"): wire.TagsReply,
    ("POST", "/api/show"): wire.ShowReply,
    ("GET", "/api/ps"): wire.PsReply,
}
HEX = "ab" * 32
MODEL = Entry(
    key=ModelKey(f"sha256:{HEX}"), names=("m:7b",), manifest_digests={"m:7b": "d1"}, file_bytes=1
)
ROW = Resident(
    name="m:7b", manifest_digest="d1", key=MODEL.key, size_bytes=1, size_vram_bytes=1,
    context=4096, expires_at=1.0,
)  # fmt: skip
VERSION = {"version": "0.33.0"}
Reply = dict[str, Any] | bytes | httpx.Response | Exception


def show_reply(blob: str = HEX, extra: str = "", **more: Any) -> dict[str, Any]:
    """A show reply of a model with one weights blob."""
    return {
        "details": {"format": "gguf", "family": "llama"},
        "modelfile": f"FROM /b/sha256-{blob}\n{extra}TEMPLATE x\n",
        "template": "12345",
        "model_info": {"general.architecture": "llama", "llama.block_count": 2},
        "tensors": [{"name": "t", "type": "F16", "shape": [100]}],
        "capabilities": ["completion"],
        **more,
    }


def server_with(
    replies: dict[str, Reply | Callable[[Any], Reply]], **options: Any
) -> tuple[OllamaServer, list[tuple[str, Any]]]:
    """A server whose paths answer as given, and the requests that it will have got."""
    seen: list[tuple[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        seen.append((request.url.path, body))
        reply = replies.get(request.url.path, VERSION)
        reply = reply(body) if callable(reply) else reply
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, content=reply if isinstance(reply, bytes) else json.dumps(reply))

    address = parse_address(options.pop("host", "http://192.0.2.1:11434"))
    return OllamaServer(address, transport=httpx.MockTransport(handle), **options), seen


def tag(name: str, digest: str = "d1", size: int = 1000, **more: Any) -> dict[str, Any]:
    """A row of tags."""
    return {"name": name, "digest": digest, "size": size, "details": {"format": "gguf"}, **more}


# --- recorded replies ------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "transcripts").glob("*.json")),
                         ids=lambda path: path.stem)  # fmt: skip
def test_every_recorded_reply_is_understood(path: Path) -> None:
    """Good replies have their documented form, failing ones their meaning."""
    for step in steps(path.name):
        response, request = step["response"], step["request"]
        if not is_whole(response):
            continue
        status, _, body = answer_of(response)
        endpoint = f"{request['method']} {request['path']}"
        form = FORMS.get((request["method"], request["path"]))
        if status == 200 and form is not None:
            wire.parse_reply(form, body, endpoint)
        if status >= 400 and body:
            error = status_error(status, body, endpoint=endpoint, model="x")
            assert error.context["meaning"] is not Meaning.UNEXPECTED, endpoint


def test_recorded_weights_sizes_are_met_within_a_kilobyte() -> None:
    """The weights file is 18512960 and 18998720 bytes; the estimate is never below that."""
    with serving(RecordedHost()) as url, OllamaServer(parse_address(url)) as server:
        sizes = {entry.name: entry.file_bytes or 0 for entry in server.entries()}
    assert 0 <= sizes["tiny-llama:20m"] - 18512960 < 1000
    assert 0 <= sizes["tiny-embed:20m"] - 18998720 < 1000


# --- entries ---------------------------------------------------------------------------------


def test_names_of_the_same_weights_are_one_entry() -> None:
    """A copy and a derived model share a runner, so they share an entry."""
    shows = {"a:1": show_reply(), "c:1": show_reply(parameters="num_ctx 1024")}
    server, _ = server_with({
        "/api/tags": {"models": [tag("c:1", "d2"), tag("b:latest"), tag("a:1")]},
        "/api/show": lambda body: shows.get(body["model"], show_reply()),
    })  # fmt: skip
    (entry,) = server.entries()
    assert entry.names == ("a:1", "b:latest", "c:1")
    assert entry.manifest_digests == {"a:1": "d1", "b:latest": "d1", "c:1": "d2"}
    assert entry.modelfile_num_ctx == {"c:1": 1024}
    assert entry.file_bytes == 995


def test_a_manifest_is_asked_about_once(tmp_path: Path) -> None:
    """Neither a second read, nor a second name, nor a second process asks again."""
    replies: dict[str, Any] = {
        "/api/tags": {"models": [tag("a:1"), tag("b:1")]}, "/api/show": show_reply(),
    }  # fmt: skip
    first, seen = server_with(replies, cache_folder=tmp_path)
    entries = first.entries()
    assert first.entries() is entries  # nothing is made anew of what has not changed
    replies["/api/tags"] = {"models": [tag("a:1")]}
    assert [entry.names for entry in first.entries()] == [("a:1",)]
    replies["/api/tags"] = {"models": [tag("a:1"), tag("b:1")]}
    assert first.entries() == entries
    assert [path for path, _ in seen].count("/api/show") == 1
    second, seen = server_with(replies, cache_folder=tmp_path)
    assert second.entries() == entries
    assert "/api/show" not in [path for path, _ in seen]


def test_cloud_stubs_are_left_out_and_not_asked_about() -> None:
    """By remote host, remote model or name; a stub found out by show goes too."""
    server, seen = server_with({
        "/api/tags": {"models": [
            tag("a:1", "1", remote_host="https://ollama.com"), tag("b:1", "2", remote_model="b"),
            tag("c:cloud", "3"), tag("d:7b-cloud", "4"), tag("e:1", "5"),
        ]},
        "/api/show": show_reply(remote_host="https://ollama.com"),
    })  # fmt: skip
    assert server.entries() == ()
    assert [body["model"] for path, body in seen if path == "/api/show"] == ["e:1"]


@pytest.mark.parametrize(
    "failure", [httpx.Response(500, json={"error": "no"}), b"nonsense", httpx.ReadTimeout("slow")]
)
def test_one_failing_show_does_not_lose_the_others(failure: Reply) -> None:
    """The model keeps its place, says "tags only", and is asked about again next time."""
    answers: dict[str, Reply] = {"a:1": show_reply(), "b:1": failure}
    server, _ = server_with({
        "/api/tags": {"models": [tag("a:1", "1"), tag("b:1", "2", capabilities=["embedding"])]},
        "/api/show": lambda body: answers[body["model"]],
    })  # fmt: skip
    good, bad = server.entries()
    assert (good.basis, good.file_bytes) == ("show verbose", 995)
    assert bad.basis.startswith("tags only")
    assert (bad.key, bad.file_bytes, bad.size_bytes) == ("manifest:2", None, 1000)
    assert (bad.facts, bad.is_embedding) == ({}, True)
    answers["b:1"] = show_reply("cd" * 32)
    assert [entry.basis for entry in server.entries()] == ["show verbose", "show verbose"]


def test_after_a_show_that_timed_out_the_round_ends() -> None:
    """A stuck server is not asked forty more times a minute each."""
    rows = [tag(f"m{n}:1", str(n)) for n in range(40)]
    server, seen = server_with({
        "/api/tags": {"models": rows}, "/api/show": httpx.ReadTimeout("slow"),
    })  # fmt: skip
    entries = server.entries()
    assert len(entries) == 40
    assert any("another show timed out" in entry.basis for entry in entries)
    assert [path for path, _ in seen].count("/api/show") < 40


def test_a_look_does_not_wait_until_a_thousand_models_have_told_all() -> None:
    """What a round did not come to is listed, and asked about in the next one; nothing twice."""
    rows = [tag(f"m{n}:1", str(n)) for n in range(40)]
    passed = iter(range(100_000))  # each glance at the clock takes a second
    server, seen = server_with(
        {
            "/api/tags": {"models": rows},
            "/api/show": lambda body: show_reply(f"{int(body['model'][1:-2]):064x}"),
        },
        monotonic=lambda: float(next(passed)),
    )
    looks = [server.entries() for _ in range(12)]
    assert {len(entries) for entries in looks} == {40}
    assert any("not asked yet" in entry.basis for entry in looks[0])
    assert {entry.basis for entry in looks[-1]} == {"show verbose"}
    asked = [body["model"] for path, body in seen if path == "/api/show"]
    assert sorted(asked) == sorted(row["name"] for row in rows)


def test_more_facts_than_fit_are_not_kept() -> None:
    """A server with endless news of its models is told to stop: all are listed, some are known."""
    rows = [tag(f"m{n}:1", str(n)) for n in range(30)]
    info = {"general.architecture": "llama", "llama.rope": list(range(200_000))}
    server, seen = server_with({
        "/api/tags": {"models": rows},
        "/api/show": lambda body: show_reply(f"{int(body['model'][1:-2]):064x}", model_info=info),
    })  # fmt: skip
    for _ in range(4):
        entries = server.entries()
        assert len(entries) == 30
        kept = sum(isinstance(e.facts.get("llama.rope"), tuple) for e in entries)
        assert 1 <= kept <= 20
    assert len([path for path, _ in seen if path == "/api/show"]) < 4 * 15


def test_a_download_or_an_answer_that_does_not_end_well_is_none() -> None:
    """A stream that stops without its last word was cut off, whatever it said before."""
    lines = b'{"status":"pulling","digest":"d","completed":1}\n{"response":"Hi"}\n'
    server, _ = server_with({"/api/pull": lines, "/api/generate": lines})
    with pytest.raises(BadPayload, match="without saying"):
        server.pull("a:1")
    with pytest.raises(BadPayload, match="without saying"):
        server.time_request(MODEL, lambda: 0.0)


def test_a_model_deleted_between_tags_and_show_is_left_out() -> None:
    """It is gone; another name of its weights still answers for them."""
    gone = httpx.Response(404, json={"error": "model 'a:1' not found"})
    server, _ = server_with({
        "/api/tags": {"models": [tag("a:1", "1"), tag("b:1", "1"), tag("c:1", "2")]},
        "/api/show": lambda body: show_reply() if body["model"] == "b:1" else gone,
    })  # fmt: skip
    assert [entry.names for entry in server.entries()] == [("a:1", "b:1")]


def test_a_server_that_goes_away_between_tags_and_shows_is_an_error() -> None:
    """Half a catalogue would look like uninstalled models."""
    server, _ = server_with({
        "/api/tags": {"models": [tag("a:1")]}, "/api/show": httpx.ConnectError("refused"),
    })  # fmt: skip
    with pytest.raises(Unreachable):
        server.entries()


def test_extra_files_have_an_upper_bound_and_leave_the_weights_unknown() -> None:
    """Sum minus texts minus tensors: 1000 - 5 - 224 (200 bytes, padded to 32)."""
    sizes = []
    for extra in (f"FROM /b/sha256-{'1' * 64}\n", f"ADAPTER /b/sha256-{'1' * 64}\n"):
        server, _ = server_with({
            "/api/tags": {"models": [tag("a:1")]}, "/api/show": show_reply(extra=extra),
        })  # fmt: skip
        (entry,) = server.entries()
        sizes.append((entry.file_bytes, entry.projector_bytes, entry.adapter_bytes))
    assert sizes == [(None, 771, 0), (None, 0, 771)]


@pytest.mark.parametrize(
    "show",
    [
        show_reply(extra=f"FROM /b/sha256-{'1' * 64}\nDRAFT /b/sha256-{'2' * 64}\n"),
        show_reply(extra=f"FROM /b/sha256-{'1' * 64}\n", tensors=None),
        show_reply(
            extra=f"FROM /b/sha256-{'1' * 64}\n",
            tensors=[{"name": "t", "type": "Q9_X", "shape": [1]}],
        ),
    ],
)
def test_a_size_that_cannot_be_told_is_unknown(show: dict[str, Any]) -> None:
    """Two kinds of extra files, no tensors or unknown tensor types: no number is made up."""
    server, _ = server_with({"/api/tags": {"models": [tag("a:1")]}, "/api/show": show})
    (entry,) = server.entries()
    assert (entry.file_bytes, entry.projector_bytes) == (None, None)


def test_blobs_that_can_be_seen_give_the_real_sizes(tmp_path: Path) -> None:
    """On this machine the files themselves are asked; on another they are not looked for."""
    (tmp_path / "blobs").mkdir()
    paths = [tmp_path / "blobs" / f"sha256-{digit * 64}" for digit in "12"]
    for path, size in zip(paths, (700, 50), strict=True):
        path.write_bytes(b"x" * size)
    show = show_reply(modelfile=f"FROM {paths[0]}\nFROM {paths[1]}\n")
    replies: dict[str, Any] = {"/api/tags": {"models": [tag("a:1")]}, "/api/show": show}
    here, _ = server_with(replies, host="127.0.0.1")
    (entry,) = here.entries()
    assert (entry.file_bytes, entry.projector_bytes) == (700, 50)
    assert "blob sizes" in entry.basis
    there, _ = server_with(replies)
    assert there.entries()[0].file_bytes is None


# --- residents -------------------------------------------------------------------------------


def test_a_replaced_tag_is_matched_by_the_weights_it_stood_for() -> None:
    """New parameters keep the weights; new weights leave the old runner without an entry."""
    tags = {"models": [tag("a:1", "old")]}
    blob = {"now": HEX}
    ps = {"models": [{"name": "a:1", "digest": "old", "size": 5, "size_vram": 0}]}
    server, _ = server_with({
        "/api/tags": lambda _: tags, "/api/ps": ps, "/api/show": lambda _: show_reply(blob["now"]),
    })  # fmt: skip
    server.entries()
    tags["models"] = [tag("a:1", "new")]
    (row,) = server.residents(server.entries())
    assert row.key == f"sha256:{HEX}"
    tags["models"], blob["now"] = [tag("a:1", "newer")], "cd" * 32
    (row,) = server.residents(server.entries())
    assert row.key is None


def test_a_deadline_that_is_no_instant_is_a_bad_payload() -> None:
    """The message shows the field and the text."""
    server, _ = server_with({"/api/ps": {"models": [{"name": "a", "expires_at": "soon"}]}})
    with pytest.raises(BadPayload, match=r"expires_at.*soon"):
        server.residents(())


def test_a_row_without_context_or_digest_is_read() -> None:
    """Versions before 0.10 send no context; a name alone still finds its entry."""
    ps = {"models": [{"name": "M:7B", "expires_at": "2318-01-01T00:00:00Z"}]}
    server, _ = server_with({"/api/ps": ps})
    (row,) = server.residents((MODEL,))
    assert (row.key, row.context, row.size_bytes) == (MODEL.key, None, None)
    assert row.expires_at == FOREVER


# --- levers ----------------------------------------------------------------------------------


def test_a_model_that_turns_out_to_only_embed_is_loaded_through_embed() -> None:
    """Trap 32: that 400 is not a failure of the model."""
    server, seen = server_with({
        "/api/generate": httpx.Response(400, json={"error": '"m:7b" does not support generate'}),
        "/api/embed": {"embeddings": []},
    })  # fmt: skip
    server.preload(MODEL, keep_alive=60)
    assert seen[-1] == ("/api/embed", {"model": "m:7b", "keep_alive": 60})


def test_a_ping_asks_for_the_version_once() -> None:
    """Before 0.30 an echo of the context could itself reload."""
    done = {"done": True, "done_reason": "load"}
    server, seen = server_with({"/api/generate": done, "/api/version": {"version": "0.24.0"}})
    server.ping(MODEL, ROW, keep_alive=60)
    server.ping(MODEL, ROW, keep_alive=60)
    assert [path for path, _ in seen] == ["/api/version", "/api/generate", "/api/generate"]
    assert "options" not in seen[-1][1]


@pytest.mark.parametrize(
    "reply",
    [{"done": True, "done_reason": "unload"}, {"done": False}, {}, {"done": 1}, b"", b"{", []],
)
def test_a_load_that_is_not_confirmed_is_a_bad_payload(reply: Any) -> None:
    """200 alone does not mean that the model was loaded."""
    server, _ = server_with({"/api/generate": json.dumps(reply).encode() if reply == [] else reply})
    with pytest.raises(BadPayload, match="/api/generate"):
        server.preload(MODEL, keep_alive=60)


def test_an_embed_load_that_is_not_confirmed_is_a_bad_payload() -> None:
    """An embedding model's reply must hold its list."""
    server, _ = server_with({"/api/embed": {"done": True}})
    with pytest.raises(BadPayload, match="embeddings"):
        server.preload(replace(MODEL, capabilities=frozenset({"embedding"})), keep_alive=60)


def test_an_error_line_inside_a_good_status_is_an_error() -> None:
    """Ollama may only find out after it has sent 200."""
    server, _ = server_with({"/api/generate": {"error": "cudaMalloc failed: out of memory"}})
    with pytest.raises(BadStatus) as caught:
        server.preload(MODEL, keep_alive=60)
    assert caught.value.context["meaning"] is Meaning.OUT_OF_MEMORY


def test_an_unload_by_an_old_server_is_accepted() -> None:
    """Before 0.3.11 the reply says "load", and the model goes right after."""
    server, _ = server_with({"/api/generate": {"done": True, "done_reason": "load"}})
    server.unload("m:7b")


def test_loads_have_no_read_limit_and_everything_else_has_one() -> None:
    """A client that gives up ends the load."""
    limits: dict[str, Any] = {}

    def handle(request: httpx.Request) -> httpx.Response:
        limits.setdefault(request.url.path, request.extensions["timeout"])
        return httpx.Response(200, json={**VERSION, "models": [], "done": True, "details": {}})

    address = parse_address("127.0.0.1")
    with OllamaServer(address, transport=httpx.MockTransport(handle)) as server:
        server.residents(server.entries())
        server.preload(MODEL, keep_alive=60)
    assert limits["/api/generate"]["read"] is None
    assert limits["/api/generate"]["connect"] == 3.0
    assert 15 <= limits["/api/ps"]["read"] <= 30
    assert all(limits[path]["read"] for path in ("/api/version", "/api/tags"))


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), Unreachable),
        (httpx.ConnectTimeout("slow"), Unreachable),
        (httpx.ReadError("reset"), Unreachable),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), Unreachable),
        (httpx.RemoteProtocolError("illegal status line"), BadPayload),
        (httpx.ReadTimeout("slow"), BackendTimeout),
        (httpx.WriteTimeout("slow"), BackendTimeout),
        (httpx.PoolTimeout("slow"), BackendTimeout),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), BadStatus),
        (httpx.Response(403), BadStatus),
        (httpx.Response(200, content=b"Ollama is running"), BadPayload),
    ],
)
def test_each_failure_has_its_error(failure: Reply, kind: type[BackendError]) -> None:
    """A timed-out ps is "unknown", never "empty", and no httpx error gets out."""
    server, _ = server_with({"/api/ps": failure})
    with pytest.raises(kind) as caught:
        server.residents(())
    assert type(caught.value) is kind
    assert "/api/ps" in caught.value.message


def test_no_server_gives_the_hint_to_start_it() -> None:
    """A refused connection on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = OllamaServer(parse_address(f"127.0.0.1:{port}"))
    with server, pytest.raises(Unreachable) as caught:
        server.version()
    assert caught.value.hint == f"is Ollama running? OLLAMA_HOST=http://127.0.0.1:{port}"
    assert caught.value.retryable


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    """`.invalid` is reserved never to resolve."""
    with OllamaServer(parse_address("nowhere.invalid")) as server, pytest.raises(Unreachable):
        server.version()


def test_replies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply above its limit is refused while it arrives."""
    monkeypatch.setattr(client, "LIST_BYTES", 1000)
    server, _ = server_with({"/api/ps": {"models": [], "x": "y" * 1000}})
    with pytest.raises(BadPayload, match="larger"):
        server.residents(())


def test_compressed_replies_are_refused_not_unpacked() -> None:
    """Nobody asked for compression, and a small body could unpack to gigabytes."""
    bomb = httpx.Response(
        200, content=gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"}
    )
    server, _ = server_with({"/api/ps": bomb})
    with pytest.raises(BadPayload, match="encoded"):
        server.residents(())


def test_a_reply_that_trickles_in_for_ever_times_out() -> None:
    """Each part comes in time, the whole does not."""
    clock = iter(range(0, 10_000, 5))

    def drip() -> Iterator[bytes]:
        while True:
            yield b" "

    server, _ = server_with(
        {"/api/ps": lambda _: httpx.Response(200, content=drip())},
        monotonic=lambda: float(next(clock)),
    )
    with pytest.raises(BackendTimeout):
        server.residents(())


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """Sends the same bytes to whoever connects once, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", BadPayload),
        (HEAD + b'content-length: 100\r\n\r\n{"models":[]}', BadPayload),
        (HEAD + b'transfer-encoding: chunked\r\n\r\nff\r\n{"models":', BadPayload),
        (HEAD + b"content-length: 2\r\n\r\n{}", BadPayload),
        (HEAD + b"content-encoding: zstd\r\ncontent-length: 2\r\n\r\n{}", BadPayload),
        (HEAD + b"x: " + b"y" * 200_000 + b"\r\n\r\n", BadPayload),
    ],
)
def test_broken_answers_on_the_wire_have_their_error(
    answer: bytes, kind: type[BackendError]
) -> None:
    """Cut off, foreign, empty, oversized."""
    with raw_server(answer) as url:
        server = OllamaServer(parse_address(url))
        with server, pytest.raises(kind):
            server.residents(())


HOSTILE = [b'{"models":[{}]}', b'{"models":[[]]}', b"[" * 9000, b'{"version":"\\ud800"}']


@settings(max_examples=60, deadline=None)
@given(
    status=st.sampled_from([200, 200, 204, 301, 400, 404, 500, 503]),
    body=st.binary(max_size=80) | st.sampled_from(HOSTILE),
)
def test_no_reply_gives_a_traceback(status: int, body: bytes) -> None:
    """Every method gives a value or a warmset error, whatever comes back."""
    anything = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    server = OllamaServer(parse_address("192.0.2.1"), transport=anything)
    calls: list[Callable[[], object]] = [
        server.version, server.entries, lambda: server.residents((MODEL,)),
        lambda: server.preload(MODEL, keep_alive=5), lambda: server.unload("m:7b"),
        lambda: server.ping(MODEL, ROW, keep_alive=5),
    ]  # fmt: skip
    for call in calls:
        with suppress(WarmsetError):
            call()


def test_an_unknown_model_names_itself() -> None:
    """404 about a model is its own error."""
    missing = httpx.Response(404, json={"error": "model 'm:7b' not found"})
    server, _ = server_with({"/api/generate": missing})
    with pytest.raises(UnknownModel, match="m:7b"):
        server.preload(MODEL, keep_alive=60)


def test_a_path_prefix_is_part_of_every_request() -> None:
    """Ollama behind a reverse proxy."""
    server, seen = server_with({}, host="https://gpu.lan/ollama/")
    server.version()
    assert seen == [("/ollama/api/version", None)]


def test_proxies_do_not_stand_before_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable would send requests for this machine elsewhere, or fail."""
    monkeypatch.setenv("http_proxy", "http://192.0.2.9:1")
    with serving(RecordedHost()) as url, OllamaServer(parse_address(url)) as server:
        assert server.version() == "0.33.0-rc2"


def test_a_proxy_variable_that_makes_no_sense_is_a_config_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hint names the variables."""
    monkeypatch.setenv("http_proxy", "gopher://x")
    with pytest.raises(ConfigError) as caught:
        OllamaServer(parse_address("http://192.0.2.1"))
    assert "HTTP_PROXY" in caught.value.hint
