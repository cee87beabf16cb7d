"""From a request to a load: merging, automatic values, types that Ollama refuses."""

from __future__ import annotations

import math

import pytest

from warmset.core.ollama.options import OptionError, check_options, context_shift, load_shape
from warmset.core.ollama.types import LoadShape, OptionValues, WeightsFile

FILE = WeightsFile(file_bytes=1, trained_context=131072, family="llama")


def shape(request: OptionValues | None = None, **said: object) -> LoadShape:
    words = {"modelfile": {}, "default_num_ctx": 4096, **said}
    return load_shape(FILE, request=request or {}, **words)


def test_nothing_said_is_automatic() -> None:
    """Without options the tier's context and the batch are automatic, layers and mmap unset."""
    found = shape()
    assert (found.num_ctx_auto, found.num_batch_auto) == (True, True)
    assert (found.options.num_ctx, found.options.num_batch) == (4096, 512)
    assert (found.options.num_gpu, found.options.main_gpu, found.options.use_mmap) == (
        -1,
        None,
        None,
    )


def test_the_request_wins_over_the_modelfile_and_that_over_the_environment() -> None:
    """Request options, then Modelfile, then OLLAMA_CONTEXT_LENGTH, then the tier."""
    in_file = {"num_ctx": 2000, "num_thread": 3}
    both = shape({"num_ctx": 1000}, modelfile=in_file, context_length_env=500)
    assert (both.options.num_ctx, both.options.num_thread) == (1000, 3)
    assert shape(modelfile=in_file, context_length_env=500).options.num_ctx == 2000
    assert shape(context_length_env=500).options.num_ctx == 500
    assert shape().options.num_ctx == 4096


@pytest.mark.parametrize(
    "words",
    [
        {"request": {"num_ctx": 4096}},
        {"modelfile": {"num_ctx": 4096}},
        {"context_length_env": 4096},
        {"request": {"num_ctx": None}},
    ],
    ids=str,
)
def test_a_context_that_anybody_names_is_not_automatic(words: dict[str, object]) -> None:
    """Even the value that would have come anyway, and even a key whose value is null."""
    found = shape(**words)
    assert not found.num_ctx_auto
    assert found.options.num_ctx == 4096


def test_null_changes_no_value() -> None:
    """An option of null leaves what the Modelfile says."""
    assert shape({"num_thread": None}, modelfile={"num_thread": 7}).options.num_thread == 7


def test_the_context_has_a_floor() -> None:
    """Never below 4 cells, never below 2048 for a model that sees."""
    assert shape({"num_ctx": 1}).options.num_ctx == 4
    assert shape({"num_ctx": 1}, has_vision=True).options.num_ctx == 2048
    assert shape({"num_ctx": 3000}, has_vision=True).options.num_ctx == 3000


@pytest.mark.parametrize(
    ("request_options", "batch"),
    [({}, 2048), ({"num_ctx": 512}, 512), ({"num_ctx": 0}, 2048), ({"num_batch": 64}, 64)],
    ids=str,
)
def test_embedders_have_a_batch_of_their_context(request_options: OptionValues, batch: int) -> None:
    """For models that embed the batch is min(2048, this request's num_ctx), never automatic."""
    found = shape(request_options, is_embedding=True)
    assert found.options.num_batch == batch
    assert not found.num_batch_auto


def test_drafting_is_four_with_a_draft_model_else_nothing_unless_said() -> None:
    """A draft model drafts 4 tokens; without one only an explicit number counts."""
    assert shape().options.draft_num_predict == 0
    assert shape(has_draft=True).options.draft_num_predict == 4
    assert shape({"draft_num_predict": 9}).options.draft_num_predict == 9
    assert shape({"draft_num_predict": None}).options.draft_num_predict == 4


def test_main_gpu_and_mmap_keep_the_difference_between_unset_and_said() -> None:
    """0 and false are values, not "unset"."""
    said = shape({"main_gpu": 0, "use_mmap": False, "num_gpu": 0}).options
    assert (said.main_gpu, said.use_mmap, said.num_gpu) == (0, False, 0)


def test_fractions_are_cut_to_whole_numbers() -> None:
    """JSON numbers are floats to Go, which cuts them."""
    assert shape({"num_ctx": 4096.9, "num_gpu": -1.5}).options.num_ctx == 4096


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ({"num_ctx": "4096"}, "of type integer"),
        ({"num_gpu": True}, "of type integer"),
        ({"num_ctx": math.inf}, "of type integer"),
        ({"seed": math.nan}, "of type integer"),
        ({"temperature": "hot"}, "of type float32"),
        ({"use_mmap": 1}, "of type boolean"),
        ({"stop": "end"}, "of type array"),
        ({"stop": ["end", 1]}, "of an array of strings"),
    ],
    ids=str,
)
def test_a_known_option_of_the_wrong_type_is_refused(option: OptionValues, kind: str) -> None:
    """The message is Ollama's, with the option's name and the type it must have."""
    with pytest.raises(OptionError, match=f'option "{next(iter(option))}" must be {kind}'):
        shape(option)
    with pytest.raises(OptionError):
        shape(modelfile=option)


def test_unknown_options_and_nulls_are_ignored() -> None:
    """What Ollama only warns of is no error: unknown names, null values, any size of number."""
    check_options({"low_vram": "yes", "num_ctx": None, "stop": ["a"], "top_k": 10**400})
    check_options({"temperature": 1, "use_mmap": True})


@pytest.mark.parametrize(
    ("family", "said", "flag"),
    [
        ("llama", None, True),
        ("llama", False, False),
        ("deepseek2", None, False),
        ("deepseek2", True, True),
        ("", None, True),
    ],
)
def test_context_shift_is_on_except_for_one_family(
    family: str, said: bool | None, flag: bool
) -> None:
    """The request's word counts, else true except for deepseek2."""
    assert context_shift(family, said) is flag


def test_a_model_without_gguf_shifts_nothing() -> None:
    """MLX models are never compared by the shift flag."""
    assert not shape(is_mlx=True, shift=True).context_shift
