"""The server's variables: what each text means, and the way to settings and back."""

from __future__ import annotations

import pytest

from warmset.core.model import FOREVER, ServerSettings
from warmset.core.ollama.env import ServerEnv


def read(**variables: str) -> ServerEnv:
    return ServerEnv.from_environ({f"OLLAMA_{name}": text for name, text in variables.items()})


def test_nothing_set_means_ollamas_defaults() -> None:
    """Five minutes, one slot, 512 places, automatic count and context, no spread."""
    env = ServerEnv.from_environ({"PATH": "/bin"})
    assert env == ServerEnv()
    assert (env.keep_alive, env.max_queue, env.load_timeout) == (300.0, 512, 300.0)
    assert (env.max_loaded_models, env.num_parallel, env.context_length) == (0, 1, 0)
    assert (env.flash_attention, env.sched_spread, env.no_cloud) == (None, False, False)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("0", 0),
        (' "7" ', 7),
        ("'7'", 7),
        ("007", 7),
        ("18446744073709551615", (1 << 64) - 1),
        ("18446744073709551616", 512),
        ("9" * 5000, 512),
        ("-1", 512),
        ("+7", 512),
        ("7.0", 512),
        ("٧", 512),
        ("many", 512),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_whole_numbers_are_unsigned_or_the_default(text: str, number: int) -> None:
    """Blanks and quotes are trimmed; what is no unsigned 64-bit number means the default."""
    assert read(MAX_QUEUE=text).max_queue == number


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("F", False), ("0", False), ("no", True), ("2", True)],
)
def test_booleans_that_cannot_be_read_are_true(text: str, value: bool) -> None:
    """Go's words for true and false are known; anything else is true."""
    assert read(SCHED_SPREAD=text).sched_spread is value
    assert read(FLASH_ATTENTION=text).flash_attention is value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("90", 90.0), ("0", FOREVER), ("-1", FOREVER), ("?", 300.0), ("1.5", 300.0)],
)
def test_a_load_timeout_of_nothing_is_infinite(text: str, seconds: float) -> None:
    """A duration or whole seconds; zero and below never time out; unreadable is five minutes."""
    assert read(LOAD_TIMEOUT=text).load_timeout == seconds


def test_every_variable_reaches_its_setting() -> None:
    """Each variable fills its own field, and the raw texts are kept."""
    env = read(
        KEEP_ALIVE="24h",
        MAX_LOADED_MODELS="4",
        NUM_PARALLEL="2",
        CONTEXT_LENGTH="8192",
        KV_CACHE_TYPE="q8_0",
        FLASH_ATTENTION="1",
        GPU_OVERHEAD="1000",
        SCHED_SPREAD="1",
        NO_CLOUD="1",
    )
    assert env.no_cloud
    assert env.raw["OLLAMA_KEEP_ALIVE"] == "24h"
    assert env.to_settings() == ServerSettings(
        max_loaded_models=4,
        num_parallel=2,
        context_length=8192,
        kv_cache_type="q8_0",
        flash_attention=True,
        sched_spread=True,
        keep_alive_seconds=86400.0,
        gpu_overhead_bytes=1000,
    )


def test_settings_there_and_back_are_the_same() -> None:
    """What an environment amounts to makes the same environment again, as far as it decides."""
    env = ServerEnv(
        keep_alive=0.0,
        max_loaded_models=2,
        num_parallel=3,
        context_length=4096,
        kv_cache_type="q4_0",
        flash_attention=False,
        gpu_overhead_bytes=5,
        sched_spread=True,
    )
    assert ServerEnv.from_settings(env.to_settings()) == env


def test_unknown_settings_mean_ollamas_defaults() -> None:
    """Nothing known about a server is taken for nothing set."""
    assert ServerEnv.from_settings(ServerSettings()) == ServerEnv()


def test_automatic_values_are_unknown_as_settings() -> None:
    """0 for the count or the context says "automatic", which is no number; f16 is one."""
    settings = ServerEnv(num_parallel=0).to_settings()
    assert (settings.max_loaded_models, settings.context_length) == (None, None)
    assert (settings.num_parallel, settings.kv_cache_type) == (1, "f16")
