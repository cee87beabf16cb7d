"""`check` and names: what is wrong between a configuration and a host, and what is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from warmset.core.catalogue import known_model
from warmset.core.model import (
    Device,
    DeviceId,
    Entry,
    HostMemory,
    ModelKey,
    Observation,
    Reading,
    ServerSettings,
    unknown,
)
from warmset.core.settings import Budget, GpuBudget, ModelPolicy, Settings
from warmset.core.units import GIB
from warmset.errors import UnknownModel
from warmset.shell.checkup import Finding, Result, check_host
from warmset.shell.naming import require_entry
from warmset.shell.newcomer import (
    find_newcomer,
    with_demand_as_said,
    with_entry,
    with_policy,
)

CHAT, GIANT = "llama3.1:8b", "llama3.3:70b"


def reading(count: int) -> Reading[int]:
    return Reading(value=count, source="test")


def installed(name: str, *more: str) -> Entry:
    known = known_model(name)
    return Entry(
        key=ModelKey(known.key),
        names=tuple(sorted((name, *more))),
        manifest_digests={},
        file_bytes=known.file_bytes,
        capabilities=frozenset(known.capabilities),
        facts=known.facts,
    )


CARD = Device(
    id=DeviceId("GPU-1"),
    name="RTX 4090",
    library="CUDA",
    total_bytes=reading(24 * GIB),
    free_bytes=reading(23 * GIB),
    index=0,
)
HOST = Observation(
    at=0.0,
    server_url="http://127.0.0.1:11434",
    is_local=True,
    version="0.33.0",
    entries=(installed(CHAT, "alias:latest"), installed(GIANT)),
    residents=(),
    devices=(CARD,),
    memory=HostMemory(total_bytes=reading(64 * GIB), available_bytes=reading(60 * GIB)),
    settings=ServerSettings(context_length=8192),
)


def settings(*policies: ModelPolicy, **words: object) -> Settings:
    return Settings(models={p.name: p for p in policies}, **words)


def finding(subject: str, seen: Observation, said: Settings) -> Finding:
    (found,) = (f for f in check_host(seen, said) if f.subject.startswith(subject))
    return found


def test_a_good_host_has_only_good_findings() -> None:
    """Every check is listed, the good ones too."""
    found = check_host(HOST, settings(ModelPolicy(name=CHAT, pin=True), path="/etc/budgets.toml"))
    assert {f.result for f in found} == {Result.OK}
    assert {f.detail for f in found if f.subject == "configuration"} == {"/etc/budgets.toml"}
    assert finding("pins", HOST, settings()).detail == "none"
    assert "defaults" in finding("configuration", HOST, settings()).detail


@pytest.mark.parametrize(
    ("version", "result"), [("0.33.0", "ok"), ("0.24.0", "warn"), (None, "warn")]
)
def test_a_server_of_other_rules_or_of_no_version_is_a_warning(
    version: str | None, result: str
) -> None:
    """Before 0.30 forecasts are less certain, and an unknown version is said to be unknown."""
    found = finding("server", replace(HOST, version=version), settings())
    assert found.result == result
    assert (version or "unknown") in found.detail


def test_a_model_that_is_not_installed_fails_only_if_pinned() -> None:
    """A pin that cannot hold is a failure, another mention a warning."""
    pinned = finding("model", HOST, settings(ModelPolicy(name="gone", pin=True)))
    assert pinned.result is Result.FAIL
    assert "pin cannot hold" in pinned.detail
    assert finding("model", HOST, settings(ModelPolicy(name="gone"))).result is Result.WARN


def test_two_policies_for_one_set_of_weights_are_a_warning() -> None:
    """Both names have one runner, so two words on it cannot both hold."""
    said = settings(ModelPolicy(name=CHAT), ModelPolicy(name="alias:latest"))
    found = [f for f in check_host(HOST, said) if f.subject.startswith("model")]
    assert [f.result for f in found] == [Result.WARN] * 2
    assert "shares its weights with alias:latest" in found[0].detail


def test_a_budget_for_no_gpu_of_this_host_is_a_warning() -> None:
    """Most likely a mistake in the file."""
    said = settings(budget=Budget(gpus={"gpu-9": GpuBudget()}))
    assert finding('budget.gpu."gpu-9"', HOST, said).result is Result.WARN


def test_a_gpu_that_may_not_be_filled_or_cannot_be_read_is_a_warning() -> None:
    """A budget of nothing, and memory that the driver does not tell, with its reason."""
    full = settings(budget=Budget(default=GpuBudget(vram_reserve_bytes=24 * GIB)))
    assert finding("RTX 4090", HOST, full).result is Result.WARN
    silent = replace(CARD, free_bytes=unknown("nvml", "no permission"))
    found = finding("RTX 4090", replace(HOST, devices=(silent,)), settings())
    assert (found.result, found.detail) == (Result.WARN, "no permission")


def contexts(seen: Observation, **words: object) -> list[Finding]:
    said = settings(ModelPolicy(name=CHAT, **words))
    return [f for f in check_host(seen, said) if f.detail.startswith("context")]


def test_a_context_that_nobody_tells_the_server_is_a_warning() -> None:
    """Planned for, but neither the server nor the Modelfile nor a client says so."""
    (found,) = contexts(HOST, context=16384)
    assert found.result is Result.WARN
    assert "16384" in found.detail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, {"context": 8192}),
        ({}, {"context": 16384, "clients_send_context": True}),
        ({"settings": ServerSettings()}, {"context": 32768}),
        ({"settings": ServerSettings(), "devices": ()}, {"context": 4096}),
        ({"settings": ServerSettings(context_length=999999)}, {"context": 131072}),
        (
            {"entries": (replace(HOST.entries[0], modelfile_num_ctx={CHAT: 16384}),)},
            {"context": 16384},
        ),
    ],
    ids=["server", "clients", "tier", "tier without gpu", "trained length", "modelfile"],
)
def test_a_context_that_somebody_says_is_fine(
    change: dict[str, object], words: dict[str, object]
) -> None:
    """The server's length, its automatic tier, the trained length, clients or the Modelfile."""
    assert contexts(replace(HOST, **change), **words) == []


def test_the_tier_of_a_host_that_cannot_be_seen_excuses_nothing() -> None:
    """A remote host's GPUs are not known, nor is the tier of a card that cannot be read."""
    remote = replace(HOST, is_local=False, devices=(), settings=ServerSettings())
    assert len(contexts(remote, context=4096)) == 1
    silent = replace(CARD, total_bytes=unknown("nvml", "lost"))
    unread = replace(HOST, devices=(silent,), settings=ServerSettings())
    assert len(contexts(unread, context=4096)) == 1


def test_pins_that_do_not_fit_together_are_a_failure() -> None:
    """The reason is the plan's."""
    found = finding("pins", HOST, settings(ModelPolicy(name=GIANT, pin=True)))
    assert found.result is Result.FAIL
    assert found.detail
    held = finding("pins", HOST, settings(ModelPolicy(name=CHAT, pin=True)))
    assert CHAT in held.detail or "alias" in held.detail


def test_an_installed_model_is_found_by_any_name() -> None:
    """Case and tag do not matter."""
    assert require_entry(HOST.entries, "ALIAS", url="") is HOST.entries[0]
    assert find_newcomer(HOST, CHAT.upper(), {}, offline=True) is HOST.entries[0]


def test_a_model_that_is_not_installed_brings_what_comes_nearest() -> None:
    """A typing error is answered with the names that it may have meant."""
    with pytest.raises(UnknownModel, match="llama3.1:8") as near:
        require_entry(HOST.entries, "llama3.1:8", url="")
    assert CHAT in near.value.hint
    with pytest.raises(UnknownModel) as far:
        require_entry(HOST.entries, "zzzzzz", url="")
    assert "ollama list" in far.value.hint


def test_names_that_are_about_as_near_are_all_asked_for() -> None:
    """A word for several models names them; a slip of one letter means one."""
    entries = tuple(
        replace(HOST.entries[0], key=ModelKey(name), names=(name,))
        for name in ("llama3.1:8b", "llama3.2:3b", "phi4:14b")
    )
    for word, meant in (
        ("llama", "llama3.1:8b or llama3.2:3b"),
        ("llama3.1:9b", "llama3.1:8b"),
        ("p", "phi4:14b"),
        ("lama3.2:3b", "llama3.2:3b"),
    ):
        with pytest.raises(UnknownModel) as caught:
            require_entry(entries, word, url="")
        assert caught.value.hint == f"did you mean {meant}?"


def test_without_network_a_newcomer_is_taken_from_the_built_in_facts(tmp_path: Path) -> None:
    """It is marked as such; a name that nobody knows is an error with those that are known."""
    environ = {"CACHE_DIRECTORY": str(tmp_path)}
    found = find_newcomer(HOST, "QWEN3:8b", environ, offline=True)
    assert (found.name, found.basis) == ("qwen3:8b", "built-in facts (--offline)")
    assert found.file_bytes == known_model("qwen3:8b").file_bytes
    with pytest.raises(UnknownModel) as problem:
        find_newcomer(HOST, "gpt-9", environ, offline=True)
    assert "qwen3:8b" in problem.value.hint


def test_a_newcomer_takes_the_place_of_an_entry_without_facts() -> None:
    """The same weights or the same name are not weighed twice; what is known stays as it is."""
    known = HOST.entries[0]
    assert with_entry(HOST, known) is HOST
    again = replace(known, basis="header read from the registry")
    assert with_entry(HOST, again).entries == (*HOST.entries[1:], again)
    renewed = replace(known, key=ModelKey("sha256:new"))
    assert with_entry(HOST, renewed).entries == (*HOST.entries[1:], renewed)
    stranger = replace(known, key=ModelKey("sha256:new"), names=("new:1b",))
    assert with_entry(HOST, stranger).entries == (*HOST.entries, stranger)


def test_words_of_the_moment_are_added_to_a_models_policy() -> None:
    """What is `None` was not said; the rest of the policy and other models stay."""
    said = settings(ModelPolicy(name=CHAT, priority=80))
    assert with_policy(said, CHAT, context=None, pin=None) is said
    changed = with_policy(said, CHAT.upper(), context=4096, pin=False)
    assert changed.models[CHAT] == ModelPolicy(name=CHAT, priority=80, context=4096)
    added = with_policy(said, "New", pin=True)
    assert added.models["new:latest"] == ModelPolicy(name="New", pin=True)
    assert added.models[CHAT] == said.models[CHAT]


def test_what_is_said_for_a_trial_goes_before_what_was_measured() -> None:
    """`add --requests-per-day` asks about that demand, whatever the history of the model."""
    known, other = HOST.entries[0], "sha256:other"
    learnt = replace(HOST.learnt, requests_per_day={known.key: 3.0, other: 4.0})
    told = with_demand_as_said(replace(HOST, learnt=learnt), known)
    assert dict(told.learnt.requests_per_day) == {other: 4.0}
