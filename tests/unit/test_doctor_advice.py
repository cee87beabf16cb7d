"""The environment that the doctor would start Ollama with."""

from __future__ import annotations

import math
from dataclasses import replace

from warmset.core.model import Device, DeviceId, Reading, ServerSettings
from warmset.core.ollama.generation import generation_of
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.units import GIB
from warmset.shell.doctor import recommend
from warmset.shell.doctor_advice import Host, advise
from warmset.shell.wiring import connect

TWIN = "twin://workstation?hours=0&demand=idle"
CODER, CHAT, BIG = "qwen2.5-coder:7b", "llama3.1:8b", "qwen2.5:14b"


def host(*names: str, gib: int = 24, **server: object) -> Host:
    """A host with these models configured, and one GPU."""
    models = {name: ModelPolicy(name=name, context=8192) for name in names}
    settings = Settings(url=TWIN, models=models)
    connection = connect(settings, environ={})
    count = Reading(value=gib * GIB, source="nvml")
    gpu = Device(
        id=DeviceId("GPU-1"), name="card", library="CUDA", total_bytes=count, free_bytes=count
    )
    said: dict = {"context_length": 8192, "max_loaded_models": 6, **server}
    return Host(
        entries=connection.server.entries(),
        settings=settings,
        server=ServerSettings(**said),
        generation=generation_of("0.33.0"),
        devices=(gpu,),
    )


def told(one: Host) -> dict[str, str]:
    """Returns the advice as an environment."""
    return {advice.name: advice.value for advice in advise(one)}


def test_a_server_that_is_fine_gets_no_advice() -> None:
    """Nothing is told for the sake of telling, nor where nothing is configured."""
    assert told(host(CODER, CHAT)) == {}
    assert told(host()) == {}


def test_there_is_room_for_the_wanted_models_and_a_guest() -> None:
    """A maximum that the wanted models fill evicts one of them for every guest."""
    full = host(CODER, CHAT, max_loaded_models=2)
    assert told(full) == {"OLLAMA_MAX_LOADED_MODELS": "3"}
    automatic = host(CODER, CHAT, BIG, gib=80, max_loaded_models=None)
    assert told(automatic) == {"OLLAMA_MAX_LOADED_MODELS": "4"}


def test_the_servers_keep_alive_stays_below_the_ranks() -> None:
    """For ever, too long and nothing at all are told; five minutes and the default are fine."""
    for seconds in (math.inf, 7200.0, 0.0):
        assert told(host(CODER, keep_alive_seconds=seconds)) == {"OLLAMA_KEEP_ALIVE": "5m"}
    for fine in (None, 300.0):
        assert told(host(CODER, keep_alive_seconds=fine)) == {}


def test_an_automatic_context_of_a_large_host_is_named() -> None:
    """The tier of 24 GiB and more is far beyond what most clients need."""
    assert told(host(CODER, context_length=None))["OLLAMA_CONTEXT_LENGTH"] == "8192"
    assert "OLLAMA_CONTEXT_LENGTH" not in told(host(CODER, gib=12, context_length=None))


def test_fewer_slots_are_told_only_if_they_help() -> None:
    """Where the wanted models fit with one slot and not with four, one is told."""
    names = (CODER, CHAT, BIG)
    assert told(host(*names, gib=28, num_parallel=4)) == {"OLLAMA_NUM_PARALLEL": "1"}
    assert told(host(*names, gib=80, num_parallel=4)) == {}
    assert told(host(*names, gib=12, num_parallel=4)) == {}


def test_a_quantised_cache_is_told_where_it_makes_them_fit() -> None:
    """With one slot already; and never where flash attention was switched off."""
    one = host(CODER, CHAT, num_parallel=1)
    policies = {n: replace(p, context=65536) for n, p in one.settings.models.items()}
    long = replace(one, settings=replace(one.settings, models=policies))
    fits = [gib for gib in range(12, 40) if "OLLAMA_KV_CACHE_TYPE" in told(_sized(long, gib))]
    assert fits
    advice = told(_sized(long, fits[0]))
    assert advice == {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}
    off = replace(long, server=replace(long.server, flash_attention=False))
    assert told(_sized(off, fits[0])) == {}


def _sized(one: Host, gib: int) -> Host:
    count = Reading(value=gib * GIB, source="nvml")
    (gpu,) = one.devices or ()
    return replace(one, devices=(replace(gpu, total_bytes=count, free_bytes=count),))


def test_a_host_whose_gpus_are_not_seen_gets_no_numbers() -> None:
    """Unknown memory is no reason for advice; a short maximum still is."""
    far = replace(host(CODER, CHAT, max_loaded_models=1), devices=None)
    assert told(far) == {"OLLAMA_MAX_LOADED_MODELS": "3"}


def test_the_doctor_asks_the_server_itself() -> None:
    """The advice for a twin comes from its own environment and models."""
    models = {name: ModelPolicy(name=name) for name in (CODER, CHAT)}
    settings = Settings(url=TWIN, models=models, server=ServerSettings(keep_alive_seconds=math.inf))
    advice = recommend(connect(settings, environ={}), settings)
    assert "OLLAMA_MAX_LOADED_MODELS" not in {one.name for one in advice}
