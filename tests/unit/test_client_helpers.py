"""`warmset.client`: keep-alives added to the calls of Python programs, on a pretended Ollama."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.client import (
    AsyncKeepAliveTransport,
    Caller,
    KeepAlive,
    KeepAliveTransport,
    async_keep_alive_hook,
    keep_alive_hook,
)
from warmset.core.callers import HABITS, caller_of
from warmset.core.ollama.keepalive import parse_keep_alive
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.shell.twin_server import TwinServer

CHAT, EMBED = "llama3.2:3b", "nomic-embed-text:latest"
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture(scope="module")
def server() -> Iterator[TwinServer]:
    """A workstation two hundred times as fast as the clock, for all tests of this file."""
    spec = named_host("workstation")
    host = TwinHost(spec, physics_of(spec), Timeline(time.time()))
    with TwinServer(Api(host), speed=200.0) as started:
        yield started


def duration(server: TwinServer, name: str) -> float:
    """Returns the keep-alive of a resident, as the pretended scheduler has it."""
    with server.locked() as host:
        model = host.library.find(name)
        assert model is not None
        return host.scheduler.loaded[model.key].duration


def generate(url: str, client: httpx.Client, **fields: object) -> httpx.Response:
    body = {"model": CHAT, "prompt": "hi", "options": {"num_predict": 2}, **fields}
    return client.post(f"{url}/api/generate", json=body, timeout=60)


@pytest.mark.parametrize(("caller", "seconds"), [(Caller.INTERACTIVE, HOUR), (Caller.BATCH, 60.0)])
def test_a_transport_and_a_hook_do_the_same(
    server: TwinServer, caller: Caller, seconds: float
) -> None:
    """Either gives the caller's keep-alive to a plain httpx client; replies stream as ever."""
    chosen = KeepAlive(caller)
    clients = (
        httpx.Client(transport=KeepAliveTransport(chosen)),
        httpx.Client(event_hooks={"request": [keep_alive_hook(chosen)]}),
    )
    for client in clients:
        with client:
            generate(server.url, client, keep_alive=77.0)
            assert duration(server, CHAT) == 77.0
            reply = generate(server.url, client)
            assert duration(server, CHAT) == seconds
            lines = [json.loads(line) for line in reply.text.splitlines()]
            assert len(lines) > 1
            assert lines[-1]["done"]


def test_async_clients_too(server: TwinServer) -> None:
    """As transport and as hook."""

    async def ask(client: httpx.AsyncClient) -> None:
        async with client:
            body = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}]}
            for extra in ({"keep_alive": 77.0}, {}):
                reply = await client.post(
                    f"{server.url}/api/chat", json={**body, **extra}, timeout=60
                )
                assert reply.status_code == 200

    chosen = KeepAlive(Caller.BATCH)
    asyncio.run(ask(httpx.AsyncClient(transport=AsyncKeepAliveTransport(chosen))))
    assert duration(server, CHAT) == 60.0
    hooks = {"request": [async_keep_alive_hook()]}
    asyncio.run(ask(httpx.AsyncClient(event_hooks=hooks)))
    assert duration(server, CHAT) == HOUR


def test_the_ollama_package_needs_no_change_of_its_calls(server: TwinServer) -> None:
    """Chat, streaming and embeddings; embeddings get theirs whoever asks."""
    client = ollama.Client(server.url, transport=KeepAliveTransport(KeepAlive(Caller.BATCH)))
    message = {"role": "user", "content": "hi"}
    parts = list(client.chat(CHAT, messages=[message], stream=True, options={"num_predict": 3}))
    assert parts[-1].done
    assert duration(server, CHAT) == 60.0
    assert len(client.embed(EMBED, input=["a", "b"]).embeddings) == 2
    assert duration(server, EMBED) == DAY
    client.generate(CHAT, prompt="hi", keep_alive="7m")
    assert duration(server, CHAT) == 420.0
    client._client.close()


def test_a_model_may_have_a_value_of_its_own(server: TwinServer) -> None:
    """By name in any form; and who overrides replaces what the caller says."""
    chosen = KeepAlive(models={"nomic-embed-text": "2h"}, overrides=True)
    with httpx.Client(transport=KeepAliveTransport(chosen)) as client:
        client.post(
            f"{server.url}/api/embed",
            json={"model": "Nomic-Embed-Text", "input": "x", "keep_alive": "1s"},
            timeout=60,
        ).raise_for_status()
    assert duration(server, EMBED) == 2 * HOUR
    with pytest.raises(ValueError, match="a: '1 day' is no keep-alive"):
        KeepAlive(models={"a": "1 day"})


def sent(method: str, path: str, **request: object) -> httpx.Request:
    """Returns a request as it leaves the transport."""
    seen: list[httpx.Request] = []

    def answer(outgoing: httpx.Request) -> httpx.Response:
        seen.append(outgoing)
        return httpx.Response(200)

    transport = KeepAliveTransport(inner=httpx.MockTransport(answer))
    with httpx.Client(transport=transport, base_url="http://h/ollama") as client:
        client.request(method, path, **request)
    return seen[0]


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/v1/chat/completions", b'{"model":"a"}'),
        ("POST", "/v1/api/chat", b'{"model":"a"}'),
        ("POST", "/api/show", b'{"model":"a"}'),
        ("GET", "/api/generate", b'{"model":"a"}'),
        ("POST", "/api/generate", b'{"model":"a","keep_alive":0}'),
        ("POST", "/api/generate", b'{"model":"a","Keep_Alive":"5m"}'),
        ("POST", "/api/generate", b'{"model":"gpt-oss:120b-cloud"}'),
        ("POST", "/api/generate", b'["model"]'),
        ("POST", "/api/generate", b'{"model":'),
        ("POST", "/api/generate", b"\xff\xfe{}"),
        ("POST", "/api/generate", b'{"prompt":"x"}'),
    ],
)
def test_what_cannot_or_must_not_carry_one_is_left_alone(
    method: str, path: str, content: bytes
) -> None:
    """Byte for byte: other endpoints, said values, cloud models, and what is not understood."""
    assert sent(method, path, content=content).content == content


def test_a_streamed_body_is_not_read() -> None:
    """It may have no end."""

    def parts() -> Iterator[bytes]:
        yield b'{"model":'
        yield b'"a"}'

    request = sent("POST", "/api/generate", content=parts())
    assert "content-length" not in request.headers
    assert request.read() == b'{"model":"a"}'


@given(
    st.dictionaries(
        st.text().filter(lambda key: key.lower() not in ("model", "keep_alive")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=5,
    ),
    st.sampled_from(["/api/generate", "/api/chat", "/api/embed/", "/api/embeddings"]),
)
def test_nothing_is_added_but_the_keep_alive(fields: dict[str, object], path: str) -> None:
    """Whatever else a request says, it says it still, and its length is right."""
    said = {"model": "llama3", **fields}
    request = httpx.Request("POST", f"http://h{path}", json=said)
    keep_alive_hook()(request)
    arrived = json.loads(request.content)
    assert parse_keep_alive(arrived.pop("keep_alive")) in (HOUR, DAY)
    assert arrived == said
    assert int(request.headers["content-length"]) == len(request.content)


def test_the_habits_are_what_ollama_takes() -> None:
    """Text and seconds of each say the same."""
    assert set(HABITS) == set(Caller)
    for habit in HABITS.values():
        assert parse_keep_alive(habit.text) == habit.keep_alive
    assert caller_of(is_embedding=True, priority_class="batch") is Caller.EMBEDDING
    assert caller_of(is_embedding=False, priority_class="Batch") is Caller.BATCH
    assert caller_of(is_embedding=False, priority_class="office") is Caller.INTERACTIVE
