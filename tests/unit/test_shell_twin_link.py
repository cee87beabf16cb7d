"""`twin://` wherever a URL goes: addresses, and the same decisions as on a real host."""

from __future__ import annotations

import pytest

from warmset.core.model import find_entry
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.twin.hosts import named_host
from warmset.errors import ConfigError
from warmset.shell.decide import decide
from warmset.shell.demo import compare
from warmset.shell.observe import observe
from warmset.shell.twin_link import (
    DEFAULT_DEMAND,
    DEFAULT_HOURS,
    LONGEST_ANSWER_SECONDS,
    START,
    LiveTwin,
    TwinAddress,
    parse_twin_address,
)
from warmset.shell.wiring import Connection, SystemClock, connect

CHAT = "llama3.1:8b"


def linked(text: str, **words: object) -> tuple[Connection, Settings]:
    settings = Settings(url=f"twin://{text}", **words)
    return connect(settings, environ={}), settings


def test_an_address_has_a_host_and_what_its_users_did() -> None:
    """Words left out have their defaults."""
    assert parse_twin_address("laptop") == TwinAddress(
        host="laptop", demand=DEFAULT_DEMAND, hours=DEFAULT_HOURS, seed=0
    )
    assert parse_twin_address("./a.toml?demand=quiet&hours=0.5&seed=7") == TwinAddress(
        host="./a.toml", demand="quiet", hours=0.5, seed=7
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no host"),
        ("?hours=1", "no host"),
        ("laptop?speed=2", "no such word: speed"),
        ("laptop?hours=long", "must be numbers"),
        ("laptop?hours=", "must be numbers"),
        ("laptop?hours=-1", "must be numbers"),
        ("laptop?hours=nan", "must be numbers"),
        ("laptop?hours=745", "must be numbers"),
        ("laptop?seed=1.5", "must be numbers"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(text: str, complaint: str) -> None:
    """The error carries the address and what is wrong with it."""
    with pytest.raises(ConfigError, match=complaint) as problem:
        parse_twin_address(text)
    assert f"twin://{text}" in problem.value.message


@pytest.mark.parametrize("text", ["toaster", "laptop?demand=party"])
def test_unknown_hosts_and_demands_are_configuration_errors(text: str) -> None:
    """Connecting fails before anything is looked at."""
    with pytest.raises(ConfigError):
        linked(text)


def test_a_twin_is_looked_at_like_a_host() -> None:
    """Models, GPUs, RAM and settings are all read, and a note says that nothing is real."""
    connection, settings = linked("2x24?hours=0.2")
    seen = observe(connection, settings)
    assert seen.is_local
    assert [device.total_bytes.value for device in seen.devices] == [24564 << 20] * 2
    assert seen.memory.total_bytes.value == 128 << 30
    assert seen.settings.context_length == 32768
    assert find_entry(seen.entries, CHAT) is not None
    assert seen.at >= START + 0.2 * 3600
    assert any("nothing here is real" in note for note in seen.notes)
    connection.close()


def test_the_levers_of_a_twin_change_what_is_resident() -> None:
    """Preload, ping and unload go the way they go to a real server, in virtual time."""
    connection, settings = linked("workstation?hours=0")
    entry = find_entry(connection.server.entries(), CHAT)
    assert entry is not None
    before = connection.clock.monotonic()
    connection.server.preload(entry, keep_alive=600.0)
    assert connection.clock.monotonic() > before
    (row,) = observe(connection, settings).residents or ()
    connection.server.ping(entry, row, keep_alive=6000.0)
    (renewed,) = observe(connection, settings).residents or ()
    assert renewed.expires_at is not None
    assert row.expires_at is not None
    assert renewed.expires_at > row.expires_at + 5000.0
    connection.server.unload(CHAT)
    assert observe(connection, settings).residents == ()


def test_a_twin_that_hangs_says_so_after_a_quarter_of_an_hour() -> None:
    """A load that waits for a busy victim gets an answer, in virtual time, and is given up."""
    twin = LiveTwin(named_host("workstation"), parse_twin_address("workstation?hours=0"))
    twin.host.use("qwen2.5:14b", 1e6)
    body = b'{"model": "qwen2.5:32b"}'
    before = twin.now()
    status, _, answer = twin.answer("POST", "/api/generate", {}, body)
    assert (status, twin.now() - before) == (500, LONGEST_ANSWER_SECONDS)
    assert b"hangs" in answer
    assert twin.answer("GET", "/api/version", {}, b"")[0] == 200


def test_a_wait_passes_in_the_twin_too() -> None:
    """A look after the wait finds the twin's clock moved on."""
    connection, _ = linked("cpu?hours=0")
    before = connection.clock.now()
    connection.wait(0.01)
    assert connection.clock.now() == pytest.approx(before + 0.01)


def test_a_pinned_model_is_in_the_plan_of_a_twin() -> None:
    """The way from a look to a plan is the same for a pretended host."""
    connection, settings = linked(
        "workstation?hours=0", models={CHAT: ModelPolicy(name=CHAT, pin=True)}
    )
    decision = decide(observe(connection, settings), settings)
    assert decision.plan.conflict is None
    assert CHAT in [member.name for member in decision.plan.members if member.pin]


def test_a_real_address_opens_nothing_yet() -> None:
    """Connecting to a host that is away succeeds; only a look would fail."""
    connection = connect(Settings(url="http://gpu.example:11434"), environ={})
    assert not connection.is_local
    assert connection.survey().memory.memory.total_bytes.value is None
    connection.close()
    here = connect(Settings(url="http://127.0.0.1:1"), environ={})
    assert here.is_local
    here.close()


def test_the_machines_clocks_run() -> None:
    """Unix time is of this century, the monotonic one never steps back."""
    clock = SystemClock()
    assert clock.now() > 1.7e9
    assert clock.monotonic() <= clock.monotonic()


def test_the_demo_compares_the_same_requests_twice() -> None:
    """Stock and ranked answer as many requests; ranks never cost the pinned more cold starts."""
    found = compare("workstation", "quiet", hours=2, seed=1)
    stock, ranked = (score.of(found.pinned) for score in (found.stock, found.ranked))
    assert stock.requests == ranked.requests > 0
    assert ranked.cold_starts <= stock.cold_starts
    assert not set(found.others) & set(found.pinned)
    assert len(found.others) + len(found.pinned) == len(found.spec.models)
    with pytest.raises(ConfigError):
        compare("toaster", "quiet", hours=1, seed=1)
