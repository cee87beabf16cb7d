"""When a resident model serves a request, and when it is loaded anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmset.core.ollama.generation import generation_of
from warmset.core.ollama.reload import reload_reason
from warmset.core.ollama.types import LoadShape, RunnerOptions

RESIDENT = LoadShape(
    options=RunnerOptions(num_ctx=8192, num_batch=1024, num_gpu=20),
    num_ctx_auto=True,
    num_batch_auto=True,
    trained_context=8192,
)
OLD = generation_of("0.24.0")


def changed(shape: LoadShape, **options: object) -> LoadShape:
    return replace(shape, options=replace(shape.options, **options))


def test_the_same_request_is_served() -> None:
    """A model as it was loaded serves whoever asks for it so."""
    assert reload_reason(RESIDENT, RESIDENT) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"context_shift": False}, "shift"),
        ({"adapters": ("sha256:1",)}, "adapters"),
        ({"projectors": ("sha256:1",)}, "projectors"),
    ],
)
def test_shift_and_attached_files_reload_every_kind_of_model(
    change: dict[str, object], reason: str
) -> None:
    """The flag, adapters and projectors are compared, for MLX models too."""
    assert reload_reason(RESIDENT, replace(RESIDENT, **change)) == reason
    mlx = replace(RESIDENT, is_mlx=True)
    assert reload_reason(mlx, replace(mlx, **change)) == reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_gpu", 10),
        ("main_gpu", 0),
        ("use_mmap", True),
        ("num_thread", 8),
        ("draft_num_predict", 4),
    ],
)
def test_another_runner_option_reloads(name: str, value: object) -> None:
    """Each option that decides how a runner is started makes a new one necessary."""
    assert reload_reason(RESIDENT, changed(RESIDENT, **{name: value})) == name


def test_runner_options_are_not_compared_for_mlx() -> None:
    """A model without GGUF is not reloaded for its options."""
    mlx = replace(RESIDENT, is_mlx=True)
    assert reload_reason(mlx, changed(mlx, num_ctx=1, num_thread=9)) is None


def test_an_automatic_number_of_layers_is_never_a_reason() -> None:
    """`num_gpu` absent or negative accepts whatever is loaded; the converse reloads."""
    assert reload_reason(RESIDENT, changed(RESIDENT, num_gpu=-1)) is None
    assert reload_reason(RESIDENT, changed(RESIDENT, num_gpu=-5)) is None
    assert reload_reason(changed(RESIDENT, num_gpu=-1), RESIDENT) == "num_gpu"


def test_an_automatic_context_on_both_sides_is_ignored() -> None:
    """Two requests without a context never reload each other, whatever the tier is by now."""
    assert reload_reason(RESIDENT, changed(RESIDENT, num_ctx=4096)) is None
    explicit = replace(changed(RESIDENT, num_ctx=4096), num_ctx_auto=False)
    assert reload_reason(RESIDENT, explicit) == "num_ctx"
    assert reload_reason(replace(RESIDENT, num_ctx_auto=False), explicit) == "num_ctx"


def test_a_context_is_compared_after_clamping() -> None:
    """More than the trained length is the trained length."""
    explicit = replace(changed(RESIDENT, num_ctx=99999), num_ctx_auto=False)
    assert reload_reason(RESIDENT, explicit) is None


def test_echoing_the_loaded_context_is_safe() -> None:
    """The ping that names the context of `/api/ps` matches automatic and explicit loads."""
    echo = replace(changed(RESIDENT, num_ctx=8192, num_gpu=-1), num_ctx_auto=False)
    assert reload_reason(RESIDENT, echo) is None
    assert reload_reason(replace(RESIDENT, num_ctx_auto=False), echo) is None


def test_a_ping_without_options_reloads_an_explicit_load() -> None:
    """Default options against a model that somebody loaded with another context."""
    loaded = replace(changed(RESIDENT, num_ctx=2048), num_ctx_auto=False)
    assert reload_reason(loaded, changed(RESIDENT, num_ctx=4096)) == "num_ctx"


def test_an_automatic_batch_on_both_sides_is_ignored() -> None:
    """A batch counts as soon as one side named it."""
    assert reload_reason(RESIDENT, changed(RESIDENT, num_batch=512)) is None
    named = replace(changed(RESIDENT, num_batch=512), num_batch_auto=False)
    assert reload_reason(RESIDENT, named) == "num_batch"


def test_mmap_given_up_by_ollama_is_no_reason_for_requests_that_do_not_care() -> None:
    """Unset matches what was disabled automatically, not what a client disabled."""
    automatic = replace(changed(RESIDENT, use_mmap=False), use_mmap_auto=True)
    assert reload_reason(automatic, RESIDENT) is None
    assert reload_reason(automatic, changed(RESIDENT, use_mmap=True)) == "use_mmap"
    assert reload_reason(changed(RESIDENT, use_mmap=False), RESIDENT) == "use_mmap"


def test_older_versions_compare_plainly() -> None:
    """Before 0.30 neither clamping nor automatic values excuse a difference; layers do."""
    assert reload_reason(RESIDENT, changed(RESIDENT, num_ctx=4096), OLD) == "num_ctx"
    assert reload_reason(RESIDENT, changed(RESIDENT, num_ctx=99999), OLD) == "num_ctx"
    assert reload_reason(RESIDENT, changed(RESIDENT, num_gpu=-1), OLD) is None
