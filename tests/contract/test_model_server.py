"""What every `ModelServer` promises, whatever stands behind it.

To add an implementation, add a context manager to `HOSTS` that yields a server with these models
installed and nothing resident: `tiny-llama:20m` (completion) and `tiny-embed:20m` (embedding).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from recorded_server import TRANSCRIPTS, RecordedHost, serving

from warmset.adapters.ollama.address import parse_address
from warmset.adapters.ollama.client import OllamaServer
from warmset.core.model import FOREVER, Entry, Resident, find_entry
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.core.units import GIB
from warmset.errors import Refused, UnknownModel
from warmset.ports import ModelServer
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import read_recording
from warmset.shell.twin_server import TwinServer


@contextmanager
def recorded_host() -> Iterator[ModelServer]:
    """The HTTP client against the recorded answers on loopback."""
    with serving(RecordedHost()) as url, OllamaServer(parse_address(url)) as server:
        yield server


@contextmanager
def served_twin() -> Iterator[ModelServer]:
    """The HTTP client against a served twin with the recorded models."""
    recordings = [read_recording(path) for path in sorted(TRANSCRIPTS.glob("*.json"))]
    show = next(recording for recording in recordings if recording.name.startswith("02-"))
    spec = HostSpec(
        name="recorded",
        system_total_bytes=16 * GIB,
        models=ModelKnowledge(recordings).installed(show),
    )
    host = TwinHost(spec, physics_of(spec), Timeline(time.time()))
    with (
        TwinServer(Api(host), speed=20.0) as twin,
        OllamaServer(parse_address(twin.url)) as server,
    ):
        yield server


HOSTS: dict[str, Callable[[], AbstractContextManager[ModelServer]]] = {
    "recorded": recorded_host,
    "twin": served_twin,
}


@pytest.fixture(params=sorted(HOSTS))
def server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    """One server of each kind."""
    with HOSTS[request.param]() as host:
        yield host


def installed(server: ModelServer, name: str) -> Entry:
    """The entry of a model that must be installed."""
    entry = find_entry(server.entries(), name)
    assert entry is not None
    return entry


def resident(server: ModelServer, name: str) -> Resident:
    """The row of a model that must be resident."""
    (row,) = [r for r in server.residents(server.entries()) if r.name == name]
    return row


def wait_until_gone(server: ModelServer, name: str) -> None:
    """An unload takes effect soon after its answer."""
    for _ in range(100):
        if name not in [row.name for row in server.residents(())]:
            return
        time.sleep(0.01)
    pytest.fail(f"{name} is still resident")


def test_it_says_who_it_is(server: ModelServer) -> None:
    """URL and version are there for messages and rules."""
    assert "://" in server.url
    assert server.version()


def test_entries_know_names_facts_and_kind(server: ModelServer) -> None:
    """One entry per weights blob, with what the footprint needs."""
    llama, embed = installed(server, "tiny-llama:20m"), installed(server, "TINY-EMBED:20m")
    assert llama.key.startswith("sha256:")
    assert llama.key != embed.key
    assert llama.facts["llama.block_count"] == 5
    assert llama.facts["llama.context_length"] == 8192
    assert (llama.is_embedding, embed.is_embedding) == (False, True)
    assert llama.file_bytes is not None
    assert llama.size_bytes is not None
    assert llama.file_bytes <= llama.size_bytes


def test_entries_are_the_same_twice(server: ModelServer) -> None:
    """Reading changes nothing, and what is remembered equals what was read."""
    assert server.entries() == server.entries()


def test_nothing_resident_is_an_empty_tuple(server: ModelServer) -> None:
    """Empty is a statement, not a failure."""
    assert server.residents(server.entries()) == ()


def test_a_preload_makes_its_model_resident(server: ModelServer) -> None:
    """The row carries the entry's key, the context, the sizes and the deadline."""
    entry = installed(server, "tiny-llama:20m")
    server.preload(entry, keep_alive=600.0)
    row = resident(server, "tiny-llama:20m")
    assert row.key == entry.key
    assert row.context == 4096
    assert row.size_bytes is not None
    assert row.size_bytes > 0
    assert row.expires_at == pytest.approx(time.time() + 600, abs=30)


def test_an_embedding_model_is_preloaded_and_pinged_too(server: ModelServer) -> None:
    """It needs another endpoint, which the caller does not have to know."""
    entry = installed(server, "tiny-embed:20m")
    server.preload(entry, keep_alive=600.0)
    server.ping(entry, resident(server, "tiny-embed:20m"), keep_alive=1200.0)
    row = resident(server, "tiny-embed:20m")
    assert (row.key, row.context) == (entry.key, 512)


def test_for_ever_is_for_ever(server: ModelServer) -> None:
    """The year 2318 is told apart from a deadline."""
    server.preload(installed(server, "tiny-llama:20m"), keep_alive=FOREVER)
    assert resident(server, "tiny-llama:20m").expires_at == FOREVER


def test_a_ping_moves_the_deadline_and_nothing_else(server: ModelServer) -> None:
    """Same context, same sizes: no reload."""
    entry = installed(server, "tiny-llama:20m")
    server.preload(entry, keep_alive=300.0)
    before = resident(server, "tiny-llama:20m")
    server.ping(entry, before, keep_alive=3600.0)
    after = resident(server, "tiny-llama:20m")
    assert (after.context, after.size_bytes) == (before.context, before.size_bytes)
    assert after.expires_at is not None
    assert before.expires_at is not None
    assert after.expires_at - before.expires_at == pytest.approx(3300, abs=30)


@pytest.mark.parametrize("name", ["tiny-llama:20m", "tiny-embed:20m"])
def test_an_unload_ends_residency(server: ModelServer, name: str) -> None:
    """Of both kinds of models, and a second one does no harm."""
    server.preload(installed(server, name), keep_alive=600.0)
    server.unload(name)
    wait_until_gone(server, name)
    server.unload(name)
    assert server.residents(()) == ()


def test_a_row_without_an_entry_has_no_key(server: ModelServer) -> None:
    """What is resident but not installed is seen all the same."""
    server.preload(installed(server, "tiny-llama:20m"), keep_alive=600.0)
    (row,) = server.residents(())
    assert (row.name, row.key) == ("tiny-llama:20m", None)


def test_an_unknown_model_is_a_typed_error(server: ModelServer) -> None:
    """The name stands in the message."""
    with pytest.raises(UnknownModel, match="nope"):
        server.unload("nope:7b")


def test_cloud_names_never_leave_the_house(server: ModelServer) -> None:
    """They are refused before any request."""
    with pytest.raises(Refused):
        server.unload("gpt-oss:120b-cloud")
