"""An unmodified Ollama client, and plain HTTP on `/v1`, against the served twin."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import ollama
import pytest

from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.library import EMBEDDING, InstalledModel, Weights
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.core.units import GIB, MIB
from warmset.shell.twin_server import TwinServer

SPEED = 50.0


class QuickPhysics:
    """Every load takes one pretended second."""

    def load(self, order: LoadOrder) -> LoadResult:
        return LoadResult(seconds=1.0, total_bytes=order.model.file.file_bytes)


def installed(name: str, number: int, *capabilities: str) -> InstalledModel:
    facts = {
        "general.architecture": "llama",
        "llama.block_count": 4,
        "llama.context_length": 8192,
        "llama.embedding_length": 16,
        "llama.attention.head_count": 4,
        "tokenizer.ggml.tokens": ("a", "b"),
    }
    weights = Weights(digest=f"sha256:{number:064x}", size_bytes=20 * MIB, facts=facts)
    return InstalledModel(name=name, weights=weights, capabilities=capabilities or ("completion",))


@pytest.fixture
def server() -> Iterator[TwinServer]:
    spec = HostSpec(
        name="test",
        system_total_bytes=16 * GIB,
        models=(installed("talker:small", 1), installed("embedder", 2, EMBEDDING)),
        env=ServerEnv(),
    )
    host = TwinHost(spec, QuickPhysics(), Timeline(time.time()))
    with TwinServer(Api(host), speed=SPEED) as running:
        yield running


@pytest.fixture
def client(server: TwinServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as opened:
        yield opened


def resident(client: ollama.Client) -> list[str | None]:
    return [model.model for model in client.ps().models]


def test_the_client_lists_and_shows_what_is_installed(client: ollama.Client) -> None:
    """`list` and `show` of the client understand the twin."""
    assert sorted(str(m.model) for m in client.list().models) == ["embedder:latest", "talker:small"]
    shown = client.show("talker:small")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None


def test_the_client_generates_and_the_model_becomes_resident(client: ollama.Client) -> None:
    """A plain generate loads the model, answers with text, and leaves it resident."""
    reply = client.generate("talker:small", "hello", options={"num_predict": 5})
    assert reply.response
    assert reply.done_reason == "length"
    assert reply.eval_count == 5
    assert resident(client) == ["talker:small"]
    client.generate("talker:small", keep_alive=0)
    assert resident(client) == []


def test_the_client_streams_a_chat(client: ollama.Client) -> None:
    """A streamed chat arrives in several parts and ends with a reason."""
    parts = list(
        client.chat(
            "talker:small",
            [{"role": "user", "content": "hello"}],
            stream=True,
            options={"num_predict": 4},
        )
    )
    assert len(parts) == 5
    assert [part.done for part in parts] == [False] * 4 + [True]


def test_the_client_embeds(client: ollama.Client) -> None:
    """Embeddings have the model's length, and equal texts equal vectors."""
    reply = client.embed("embedder", ["one", "two", "one"])
    assert [len(vector) for vector in reply.embeddings] == [16, 16, 16]
    assert reply.embeddings[0] == reply.embeddings[2] != reply.embeddings[1]


def test_the_client_hears_ollamas_errors(client: ollama.Client) -> None:
    """An unknown model is a response error with Ollama's text."""
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
        client.generate("nope", "x")
    assert caught.value.status_code == 404


def test_the_client_copies_creates_and_deletes(client: ollama.Client) -> None:
    """Names come and go; a derived model shares the runner of its weights."""
    client.copy("talker:small", "other")
    client.create("short", from_="talker:small", parameters={"num_ctx": 1024})
    assert {"other:latest", "short:latest"} <= {str(m.model) for m in client.list().models}
    client.generate("short", "")
    assert client.ps().models[0].context_length == 1024
    client.delete("other")
    assert "other:latest" not in {str(m.model) for m in client.list().models}


def test_a_client_that_leaves_takes_its_load_with_it(server: TwinServer) -> None:
    """A read time-out during a load aborts the load."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/api/generate", json={"model": "talker:small"}, timeout=0.005)
    time.sleep(2.0 / SPEED)
    assert httpx.get(f"{server.url}/api/ps").json() == {"models": []}


def test_v1_chat_streams_events(server: TwinServer) -> None:
    """`/v1/chat/completions` streams a role, text, a finish reason, usage and the end mark."""
    body = {
        "model": "talker:small",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=10.0)
    assert reply.headers["content-type"] == "text/event-stream"
    lines = [line[len("data: ") :] for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 3


def test_v1_answers_in_whole(server: TwinServer) -> None:
    """Completions, embeddings, the model list and errors have OpenAI's forms."""
    with httpx.Client(base_url=server.url, timeout=10.0) as http:
        body = {"model": "talker:small", "prompt": "hi", "max_tokens": 2}
        completion = http.post("/v1/completions", json=body).json()
        assert completion["object"] == "text_completion"
        assert completion["usage"]["completion_tokens"] == 2
        vectors = http.post("/v1/embeddings", json={"model": "embedder", "input": "x"}).json()
        assert len(vectors["data"][0]["embedding"]) == 16
        listed = [model["id"] for model in http.get("/v1/models").json()["data"]]
        assert sorted(listed) == ["embedder:latest", "talker:small"]
        refused = http.post("/v1/completions", json={"model": "nope", "prompt": "x"})
        assert refused.status_code == 404
        assert refused.json()["error"]["type"] == "not_found_error"


def test_a_request_without_an_end_is_refused(server: TwinServer, monkeypatch) -> None:
    """The twin keeps no more of a body than its limit, however long the client goes on."""
    monkeypatch.setattr("warmset.shell.twin_asgi.MAX_BODY_BYTES", 1 << 20)
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, timeout=10) as connection, suppress(OSError):
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: x\r\n")
        connection.sendall(b"Content-Length: 10000000000\r\n\r\n")
        for _ in range(64):
            connection.sendall(b"a" * (1 << 18))
        assert b" 413 " in connection.recv(100)
    with ollama.Client(host=server.url) as other:
        assert len(other.list().models) == 2
