"""The twin's HTTP interface without sockets: what recordings do not show, and its small parts."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.api import Api, Exchange, Speech, Work
from warmset.core.twin.api.creation import human_number
from warmset.core.twin.api.gojson import GoJsonError, decode, encode, instant
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.library import EMBEDDING, InstalledModel, Library, Weights
from warmset.core.twin.names import is_cloud_name, parse_name
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.core.units import GIB, MIB

START = 1_700_000_000.0
FACTS = {
    "general.architecture": "llama",
    "general.parameter_count": 9_244_800,
    "general.file_type": 1,
    "llama.context_length": 8192,
    "llama.embedding_length": 8,
    "tokenizer.ggml.tokens": ("a", "b"),
}


class OneSecond:
    """Loads take a second, answers two: four tokens."""

    def load(self, order: LoadOrder) -> LoadResult:
        error = "llama-server process has terminated" if order.shape.options.num_ctx == 7 else ""
        return LoadResult(seconds=1.0, total_bytes=order.model.file.file_bytes, error=error)

    def serve(self, work: Work) -> Speech:
        if "explode" in json.dumps(work.body):
            return Speech(prompt_seconds=0.5, seconds=0.0, error="boom", status=500)
        return Speech(prompt_seconds=1.0, seconds=1.0, tokens=("a", "b", "c", "d"))


def installed(name: str, number: int, **more: Any) -> InstalledModel:
    weights = Weights(digest=f"sha256:{number:064x}", size_bytes=20 * MIB, facts=FACTS)
    return InstalledModel(name=name, weights=weights, **more)


def new_api(*more: InstalledModel, **env: str) -> Api:
    spec = HostSpec(
        name="test",
        system_total_bytes=16 * GIB,
        models=(
            installed("chat:1b", 1),
            installed("embed", 2, capabilities=(EMBEDDING,)),
            *more,
        ),
        env=ServerEnv.from_environ(env),
    )
    rules = OneSecond()
    return Api(TwinHost(spec, rules, Timeline(START)), rules)


def send(api: Api, method: str, path: str, body: Any = None, *, seconds: float = 60.0) -> Exchange:
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    exchange = api.handle(method, path, content)
    api.host.timeline.advance(api.host.timeline.now + seconds)
    return exchange


def body_of(exchange: Exchange) -> Any:
    return json.loads(exchange.take())


def residents(api: Api) -> list[str]:
    return [row["name"] for row in body_of(send(api, "GET", "/api/ps", seconds=0))["models"]]


# -- requests that wait --------------------------------------------------------------------------


def test_an_answer_waits_for_its_load_and_its_text() -> None:
    """A cold generate is pending for its load and its answer, then complete at once."""
    api = new_api()
    exchange = send(api, "POST", "/api/generate", _ask("hi", stream=False), seconds=2.9)
    assert (exchange.status, exchange.is_done) == (0, False)
    api.host.timeline.advance(START + 3.0)
    assert exchange.is_done
    body = body_of(exchange)
    assert body["response"] == "abcd"
    assert body["load_duration"] == pytest.approx(1e9, rel=1e-6)


def test_streamed_tokens_come_one_by_one() -> None:
    """Lines appear as time moves, the first when the prompt has been read."""
    api = new_api()
    exchange = send(api, "POST", "/api/generate", _ask("hi"), seconds=2.3)
    lines = exchange.take().splitlines()
    assert [json.loads(line)["response"] for line in lines] == ["a", "b"]
    api.host.timeline.advance(START + 10)
    assert [json.loads(line)["done"] for line in exchange.take().splitlines()] == [
        False,
        False,
        True,
    ]


def test_a_client_that_leaves_during_text_ends_its_use_of_the_runner() -> None:
    """Abandoning an answer lets the keep-alive timer start."""
    api = new_api()
    exchange = send(api, "POST", "/api/generate", _ask("hi", keep_alive="5s"), seconds=1.5)
    exchange.abandon()
    api.host.timeline.advance(START + 6.0)
    assert residents(api) == ["chat:1b"]
    api.host.timeline.advance(START + 6.6)
    assert residents(api) == []


def test_a_client_that_leaves_during_a_load_takes_it_away() -> None:
    """Nothing becomes resident."""
    api = new_api()
    exchange = send(api, "POST", "/api/generate", _ask(""), seconds=0.5)
    exchange.abandon()
    api.host.timeline.advance(START + 5)
    assert residents(api) == []


def test_a_runner_error_is_a_status_before_and_a_line_after_the_head() -> None:
    """An error of the runner keeps its status while nothing has been sent."""
    exchange = send(new_api(), "POST", "/api/generate", _ask("explode"))
    assert exchange.status == 500
    assert body_of(exchange) == {"error": "boom"}


def test_a_failing_load_is_an_answer() -> None:
    """What the runner said is the text of a 500."""
    body = {**_ask("", stream=False), "options": {"num_ctx": 7}}
    exchange = send(new_api(), "POST", "/api/generate", body)
    assert (exchange.status, body_of(exchange)["error"]) == (
        500,
        "llama-server process has terminated",
    )


def test_a_stopped_server_drops_what_is_open_and_what_comes() -> None:
    """Both end without an answer."""
    api = new_api()
    exchange = send(api, "POST", "/api/generate", _ask("hi", stream=False), seconds=0.5)
    api.host.stop()
    api.host.timeline.advance(START + 1)
    assert exchange.is_dropped
    assert api.handle("GET", "/api/version").is_dropped


def _ask(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "chat:1b", "prompt": prompt, **more}


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/generate", {"model": "x:cloud"}, 502, "cloud"),
        ("/api/generate", _ask("a", suffix="b"), 400, "does not support insert"),
        ("/api/generate", _ask("a", think=True), 400, '"chat:1b" does not support thinking'),
        ("/api/generate", _ask("a", raw=True, system="b"), 400, "raw mode"),
        ("/api/generate", _ask("a", stream="no"), 400, "GenerateRequest.stream of type bool"),
        ("/api/generate", [], 400, "cannot unmarshal array into Go value"),
        ("/api/chat", {"model": "chat:1b", "messages": "a"}, 400, "of type []api.Message"),
        ("/api/embed", {"model": "embed", "input": 5}, 400, "invalid input type"),
        ("/api/embed", {"model": "embed", "input": ["a", 5]}, 400, "invalid input type"),
        ("/api/embeddings", {"model": ""}, 400, "model is required"),
        ("/api/show", {"model": "a b"}, 400, "invalid model name"),
        ("/api/copy", {"source": "!", "destination": "x"}, 400, 'source "!" is invalid'),
        ("/api/copy", {"source": "chat:1b", "destination": "!"}, 400, "destination"),
        ("/api/create", {"model": "!", "from": "chat:1b"}, 400, "invalid model name"),
        ("/api/pull", {"model": "!"}, 400, "invalid model name"),
    ],
)
def test_bad_requests_get_ollamas_words(path: str, body: Any, status: int, error: str) -> None:
    """Status and text are those of Ollama's handlers."""
    exchange = send(new_api(), "POST", path, body)
    assert exchange.status == status
    assert error in body_of(exchange)["error"]


def test_a_strange_host_header_is_an_empty_403() -> None:
    """A server on loopback answers only to local names."""
    api = new_api()
    assert api.handle("GET", "/", headers={"host": "evil.example.com"}).status == 403
    for name in ("localhost:11434", "127.0.0.1:1", "[::1]:5", "mybox", "192.168.1.4"):
        assert api.handle("GET", "/", headers={"host": name}).status == 200


def test_a_cloud_stub_is_listed_and_never_loaded() -> None:
    """Its requests would go away from this host, so they are refused."""
    stub = installed("far:1b", 3, remote_host="https://x.test", remote_model="far:1b")
    api = new_api(stub, OLLAMA_NO_CLOUD="1")
    rows = body_of(send(api, "GET", "/api/tags"))["models"]
    assert [row["name"] for row in rows if row.get("remote_host")] == ["far:1b"]
    exchange = send(api, "POST", "/api/generate", {"model": "far:1b", "prompt": "a"})
    assert exchange.status == 403


# -- OpenAI's forms -----------------------------------------------------------------------------


def events_of(exchange: Exchange) -> list[Any]:
    parts = [part.removeprefix(b"data: ") for part in exchange.take().split(b"\n\n") if part]
    assert parts[-1] == b"[DONE]"
    return [json.loads(part) for part in parts[:-1]]


def test_a_streamed_completion_ends_with_reason_and_usage() -> None:
    """Text chunks, then the reason, then the counts when asked for."""
    body = {
        "model": "chat:1b",
        "prompt": "hi",
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    events = events_of(send(new_api(), "POST", "/v1/completions", body))
    assert [e["choices"][0]["text"] for e in events[:4]] == ["a", "b", "c", "d"]
    assert events[4]["choices"][0]["finish_reason"] == "length"
    assert events[5]["usage"]["completion_tokens"] == 4


def test_a_chat_completion_in_whole_has_its_message() -> None:
    """Content parts are joined, and the answer is one object."""
    content = [{"type": "text", "text": "hi"}, {"type": "text", "text": "!"}]
    body = {"model": "chat:1b", "messages": [{"role": "user", "content": content}]}
    answer = body_of(send(new_api(), "POST", "/v1/chat/completions", body))
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "abcd"},
        "finish_reason": "stop",
    }


def test_vectors_can_be_packed() -> None:
    """Base64 holds four bytes per number."""
    body = {"model": "embed", "input": ["x", "y"], "encoding_format": "base64"}
    data = body_of(send(new_api(), "POST", "/v1/embeddings", body))["data"]
    assert [len(base64.b64decode(row["embedding"])) for row in data] == [32, 32]


@pytest.mark.parametrize(("wanted", "length"), [(3, 3), (0, 8), (8, 8), (99, 8)])
def test_vectors_are_cut_to_the_wanted_dimensions_and_have_length_one(
    wanted: int, length: int
) -> None:
    """`dimensions` keeps the first ones, scaled anew, on both interfaces; more than all is all."""
    body = {"model": "embed", "input": "x", "dimensions": wanted}
    native = body_of(send(new_api(), "POST", "/api/embed", body))["embeddings"][0]
    openai = body_of(send(new_api(), "POST", "/v1/embeddings", body))["data"][0]["embedding"]
    assert native == openai
    assert len(native) == length
    assert sum(x * x for x in native) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "chat:1b", "messages": []}, 400),
        ("/v1/chat/completions", {"model": "chat:1b", "messages": [5]}, 400),
        ("/v1/chat/completions", b"", 400),
        ("/v1/embeddings", {"model": "embed"}, 400),
        ("/v1/embeddings", {"model": "embed", "input": "x", "encoding_format": "hex"}, 400),
        ("/v1/embeddings", {"model": "chat:1b", "input": "x"}, 501),
        ("/v1/completions", {"model": "chat:1b", "prompt": "explode"}, 500),
    ],
)
def test_openai_errors_are_objects(path: str, body: Any, status: int) -> None:
    """Message, type, param and code, whatever went wrong."""
    exchange = send(new_api(), "POST", path, body)
    assert exchange.status == status
    assert set(body_of(exchange)["error"]) == {"message", "type", "param", "code"}


def test_single_models_are_found_by_name() -> None:
    """`/v1/models/NAME` knows the installed ones."""
    api = new_api()
    assert body_of(send(api, "GET", "/v1/models/chat:1b"))["owned_by"] == "library"
    assert send(api, "GET", "/v1/models/none").status == 404


# -- what is installed -----------------------------------------------------------------------


def test_show_hides_arrays_unless_verbose_and_prints_parameters_as_go() -> None:
    """Arrays are null in the cheap form; numbers have Go's exponents."""
    model = installed(
        "p:1b", 4, parameters={"num_ctx": 1_048_576, "stop": ["x", "y"], "top_p": 0.5}
    )
    api = new_api(model)
    cheap = body_of(send(api, "POST", "/api/show", {"model": "p:1b"}))
    verbose = body_of(send(api, "POST", "/api/show", {"model": "p:1b", "verbose": True}))
    assert cheap["model_info"]["tokenizer.ggml.tokens"] is None
    assert verbose["model_info"]["tokenizer.ggml.tokens"] == ["a", "b"]
    lines = [line.split(maxsplit=1) for line in cheap["parameters"].splitlines()]
    assert lines == [
        ["num_ctx", "1.048576e+06"],
        ["stop", '"x"'],
        ["stop", '"y"'],
        ["top_p", "0.5"],
    ]
    assert "PARAMETER num_ctx 1048576" in cheap["modelfile"]


def test_uploads_are_checked_against_their_digest() -> None:
    """A wrong digest is refused, a right one kept, and what is no GGUF is no model."""
    api = new_api()
    content = b"no model"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert send(api, "POST", f"/api/blobs/sha256:{'0' * 64}", content).status == 400
    assert send(api, "HEAD", f"/api/blobs/{digest}").status == 404
    assert send(api, "POST", f"/api/blobs/{digest}", content).status == 201
    assert send(api, "POST", f"/api/blobs/{digest}", content).status == 200
    assert send(api, "HEAD", f"/api/blobs/{digest}").status == 200
    assert send(api, "HEAD", "/api/blobs/x").status == 400
    body = {"model": "new", "files": {"a.gguf": digest}, "stream": False}
    exchange = send(api, "POST", "/api/create", body)
    assert (exchange.status, body_of(exchange)["error"]) == (
        500,
        "supplied file was not in GGUF format",
    )


def test_names_that_share_weights_share_the_runner_and_its_name() -> None:
    """A copy is served by the runner of the original, which keeps its name."""
    api = new_api()
    send(api, "POST", "/api/copy", {"source": "chat:1b", "destination": "twin"})
    send(api, "POST", "/api/generate", _ask(""))
    send(api, "POST", "/api/generate", {"model": "TWIN"})
    assert residents(api) == ["chat:1b"]
    send(api, "POST", "/api/generate", {"model": "twin", "keep_alive": 0})
    assert residents(api) == []


def test_pulling_what_is_installed_succeeds() -> None:
    """The stream ends with success; an unknown name ends with an error."""
    lines = send(new_api(), "POST", "/api/pull", {"model": "chat:1b"}).take().splitlines()
    assert json.loads(lines[-1]) == {"status": "success"}
    lines = send(new_api(), "POST", "/api/pull", {"model": "none"}).take().splitlines()
    assert "error" in json.loads(lines[-1])


def test_a_file_cut_off_is_broken_at_its_first_lost_tensor() -> None:
    """Reading it fails with the tensor's name and both sizes."""
    library = Library([installed("a", 1)])
    library.truncate(f"sha256:{1:064x}", 10 * MIB)
    model = library.find("a")
    assert model is not None
    assert model.weights.size_bytes == 10 * MIB
    assert f"exceeds file size ({10 * MIB})" in model.as_loaded().broken


def test_a_missing_file_is_missed_at_its_next_load_only() -> None:
    """A resident model goes on without its file; loading it again answers 404."""
    api = new_api()
    send(api, "POST", "/api/generate", _ask(""))
    api.host.library.change_weights(f"sha256:{1:064x}", is_missing=True)
    assert send(api, "POST", "/api/generate", _ask("")).status == 200
    send(api, "POST", "/api/generate", _ask("", keep_alive=0))
    exchange = send(api, "POST", "/api/generate", _ask(""))
    assert exchange.status == 404
    assert body_of(exchange)["error"] == 'model "chat:1b" not found, try pulling it first'


# -- small parts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("llama3", "llama3:latest"),
        ("Llama3:8B", "Llama3:8B"),
        ("user/m", "user/m:latest"),
        ("library/m:x", "m:x"),
        ("host.io:5000/u/m:x", "host.io:5000/u/m:x"),
        ("registry.ollama.ai/library/m", "m:latest"),
    ],
)
def test_names_are_shown_as_short_as_they_can_be(text: str, shown: str) -> None:
    """Defaults of host and namespace are left out, the tag never."""
    name = parse_name(text)
    assert name is not None
    assert name.display == shown
    assert parse_name(shown.upper()) == name


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "a:", ":a", "/a", "a/", "a!", "-a", "a:b:c/d", "é"]
)
def test_invalid_names_are_none(text: str) -> None:
    """Nothing that Ollama refuses becomes a name."""
    assert parse_name(text) is None


def test_cloud_names_are_told_by_their_tag() -> None:
    """`:cloud` and `-cloud` in the tag, not elsewhere."""
    assert is_cloud_name("m:cloud")
    assert is_cloud_name("m:120b-cloud")
    assert not is_cloud_name("cloud")
    assert not is_cloud_name("x:5/m-cloud")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "EOF"),
        ("{bad", "invalid character 'b' looking for beginning of object key string"),
        ('{"a":1', "unexpected EOF"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 2}', "invalid character '2' after object key:value pair"),
        ('{"a":[1 2]}', "invalid character '2' after array element"),
        ('{"a":}', "invalid character '}' looking for beginning of value"),
        ('{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        ('{"a":"b', "unexpected EOF"),
        ("[" * 100_000, "exceeded max depth"),
    ],
)
def test_malformed_json_has_gos_words(text: str, error: str) -> None:
    """The decoder's error is Go's for the same text."""
    with pytest.raises(GoJsonError) as caught:
        decode(text.encode())
    assert str(caught.value) == error


def test_what_follows_a_value_is_ignored() -> None:
    """Only the first value of a body is read."""
    assert decode(b' {"a": 1} trailing') == {"a": 1}


def test_instants_have_no_zeros_at_their_end() -> None:
    """As Go writes them, up to nine digits, far into the future."""
    assert instant(0.5) == "1970-01-01T00:00:00.5Z"
    assert instant(1.0) == "1970-01-01T00:00:01Z"
    assert instant(11_000_000_000.0).startswith("2318-")


def test_markup_is_escaped_as_go_does() -> None:
    """`<`, `>` and `&` become escapes."""
    assert encode({"a": "<&>"}) == b'{"a":"\\u003c\\u0026\\u003e"}'


@pytest.mark.parametrize(
    ("count", "shown"),
    [(7, "7"), (1500, "2K"), (9_244_800, "9.24M"), (2_000_000, "2M"), (7_600_000_000, "7.6B")],
)
def test_parameter_counts_are_shown_as_ollama_does(count: int, shown: str) -> None:
    """Two decimals for millions, one for billions, none for whole numbers."""
    assert human_number(count) == shown
