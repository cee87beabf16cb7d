"""The calls that steer Ollama have the one form that does what is meant."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.ollama.levers import (
    is_cloud_name,
    ping_call,
    preload_call,
    through_embed,
    unload_call,
)
from warmset.core.model import FOREVER, Entry, ModelKey, Resident
from warmset.core.ollama.generation import generation_of
from warmset.errors import Refused

KEY = ModelKey("sha256:" + "a" * 64)
NEW = generation_of("0.33.0")


def entry(*names: str, capability: str = "completion", form: str = "gguf") -> Entry:
    """An installed model."""
    names = names or ("m:7b",)
    return Entry(
        key=KEY,
        names=names,
        manifest_digests=dict.fromkeys(names, "d"),
        file_bytes=1,
        capabilities=frozenset({capability}),
        format=form,
    )


def resident(
    context: int | None = 4096, name: str = "m:7b", key: ModelKey | None = KEY
) -> Resident:
    """Its row in ps."""
    return Resident(
        name=name, manifest_digest="d", key=key, size_bytes=1, size_vram_bytes=1,
        context=context, expires_at=1.0,
    )  # fmt: skip


def test_preload_of_a_generative_model_has_no_prompt() -> None:
    """An empty generate loads; `num_ctx` goes along only if it was asked for."""
    call = preload_call(entry(), keep_alive=1800.0)
    assert (call.path, dict(call.body)) == (
        "/api/generate", {"model": "m:7b", "keep_alive": 1800, "stream": False},
    )  # fmt: skip
    asked = preload_call(entry(), keep_alive=1.5, num_ctx=8192)
    assert asked.body["options"] == {"num_ctx": 8192}
    assert asked.body["keep_alive"] == 1.5


def test_preload_of_an_embedding_model_goes_through_embed() -> None:
    """Generate would refuse it with 400."""
    call = preload_call(entry(capability="embedding"), keep_alive=FOREVER)
    assert (call.path, dict(call.body)) == ("/api/embed", {"model": "m:7b", "keep_alive": -1})


def test_a_ping_echoes_the_context_of_the_resident_model() -> None:
    """Other load options would reload it."""
    call = ping_call(entry(), resident(8192), keep_alive=60, generation=NEW)
    assert dict(call.body) == {
        "model": "m:7b", "keep_alive": 60, "stream": False, "options": {"num_ctx": 8192},
    }  # fmt: skip


@pytest.mark.parametrize(("context", "is_sent"), [(512, False), (2047, False), (2048, True)])
def test_a_ping_of_an_embedding_model_echoes_only_a_long_context(
    context: int, is_sent: bool
) -> None:
    """Below 2048 an echo would change the batch and so reload the model."""
    model = entry(capability="embedding")
    call = ping_call(model, resident(context), keep_alive=60, generation=NEW)
    assert call.path == "/api/embed"
    assert ("options" in call.body) is is_sent
    assert "input" not in call.body


@pytest.mark.parametrize(
    ("form", "version", "context"),
    [("safetensors", "0.33.0", 4096), ("gguf", "0.24.0", 4096), ("gguf", "0.33.0", None)],
)
def test_a_ping_carries_no_options_where_an_echo_could_reload(
    form: str, version: str, context: int | None
) -> None:
    """MLX needs none, versions before 0.30 compare otherwise, an unknown context is not guessed."""
    generation = generation_of(version)
    call = ping_call(entry(form=form), resident(context), keep_alive=60, generation=generation)
    assert "options" not in call.body


def test_a_ping_uses_the_tag_that_caused_the_load() -> None:
    """Its Modelfile matches the runner; only if that tag is gone another name serves."""
    model = entry("m:7b", "other:latest")
    names = {"OTHER": "other:latest", "deleted:1": "m:7b"}
    for loaded, sent in names.items():
        call = ping_call(model, resident(name=loaded), keep_alive=60, generation=NEW)
        assert call.model == sent


def test_a_ping_of_other_weights_is_refused() -> None:
    """After a re-pull the name means other weights: the ping would load them."""
    with pytest.raises(Refused, match="other weights"):
        ping_call(entry(), resident(key=None), keep_alive=60, generation=NEW)


def test_unload_goes_through_generate_for_every_kind() -> None:
    """Embed with zero would load an absent model first."""
    call = unload_call("nomic-embed-text:latest")
    assert (call.path, call.body["keep_alive"]) == ("/api/generate", 0)
    assert "prompt" not in call.body


@pytest.mark.parametrize("name", ["x:cloud", "x:120b-cloud", "a/b:CLOUD", "x:7B-Cloud", "x: cloud"])
def test_cloud_names_are_refused_before_any_request(name: str) -> None:
    """Even an unload would be sent on to the cloud."""
    assert is_cloud_name(name)
    with pytest.raises(Refused, match="cloud"):
        unload_call(name)
    with pytest.raises(Refused, match="cloud"):
        preload_call(entry(name), keep_alive=60)


@pytest.mark.parametrize(
    "name", ["cloud", "cloud:7b", "my-cloud", "h:5000/my-cloud", "x:cloudy", "cloud/x:7b"]
)
def test_names_that_only_mention_a_cloud_are_local(name: str) -> None:
    """Only the tag decides."""
    assert not is_cloud_name(name)


@pytest.mark.parametrize("seconds", [0, -1, -math.inf, math.nan, 1e-10])
def test_a_keep_alive_that_would_unload_is_refused(seconds: float) -> None:
    """Zero unloads and a negative number means for ever, neither by accident."""
    with pytest.raises(Refused, match="keep-alive"):
        preload_call(entry(), keep_alive=seconds)


def test_an_empty_name_is_refused() -> None:
    """Ollama would answer 404 for it."""
    with pytest.raises(Refused):
        unload_call("  ")


@given(st.floats(min_value=0.001, allow_nan=False))
def test_what_is_sent_never_overflows(seconds: float) -> None:
    """A number above 9.2e9 would act as zero: load, then unload at once."""
    sent = preload_call(entry(), keep_alive=seconds).body["keep_alive"]
    assert isinstance(sent, int | float)
    assert sent == -1 or 0 < sent <= 9e9
    assert (sent == -1) == math.isinf(seconds)


def test_a_load_moved_to_embed_loses_a_short_context() -> None:
    """It would set the batch; a long one stays."""
    short = through_embed(preload_call(entry(), keep_alive=60, num_ctx=512))
    long = through_embed(preload_call(entry(), keep_alive=60, num_ctx=4096))
    assert dict(short.body) == {"model": "m:7b", "keep_alive": 60}
    assert long.body["options"] == {"num_ctx": 4096}
    assert short.path == "/api/embed"
