"""Laws of Ollama's rules that hold for any input."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from warmset.core.model import FOREVER
from warmset.core.ollama.admission import Forecast, forecast_load
from warmset.core.ollama.belief import RunnerView, refresh_free, subtract_known
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.keepalive import (
    OVERFLOWED,
    SAFE_MAX_SECONDS,
    DurationError,
    parse_go_duration,
    parse_keep_alive,
    to_wire,
)
from warmset.core.ollama.options import OptionError, load_shape
from warmset.core.ollama.placement import available_for, select_placement
from warmset.core.ollama.predict import batch_surcharge, fit_limit, predict_vram
from warmset.core.ollama.reload import reload_reason
from warmset.core.ollama.types import Gpu, LoadShape, RunnerOptions, WeightsFile
from warmset.core.ollama.victim import Candidate, choose_victim, eviction_order
from warmset.core.units import GIB

UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
UNITS["h"] = 60 * UNITS["m"]

digits = st.text("0123456789", max_size=6)
segments = st.lists(
    st.tuples(digits, st.none() | digits, st.sampled_from(sorted(UNITS))).filter(
        lambda s: bool(s[0] or s[1])
    ),
    min_size=1,
    max_size=4,
)


@given(st.sampled_from(["", "+", "-"]), segments)
def test_a_duration_is_the_sum_of_its_parts(
    sign: str, parts: list[tuple[str, str | None, str]]
) -> None:
    """Each number times its unit, cut to nanoseconds, added up, under one sign."""
    text, total = sign, 0
    for whole, fraction, unit in parts:
        text += whole + ("" if fraction is None else f".{fraction}") + unit
        total += int(Fraction(f"{whole or 0}.{fraction or 0}") * UNITS[unit])
    assert parse_go_duration(text) == (-total if sign == "-" else total) / 1e9


@given(st.text("0123456789.-+hmsuµn d٣", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_duration_or_gos_error(text: str) -> None:
    """No text makes the parser fail in another way, nor leads beyond Go's range."""
    try:
        seconds = parse_go_duration(text)
    except DurationError:
        return
    assert abs(seconds) <= 2.0**63 / 1e9


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(json_values)
@example(10**400)
@example("9" * 5000 + "h")
def test_any_keep_alive_is_a_duration_or_a_refusal(value: object) -> None:
    """Nothing, 0 and more, for ever, or overflowed: never another negative number."""
    try:
        seconds = parse_keep_alive(value)
    except DurationError:
        return
    assert seconds is None or seconds >= 0 or seconds == OVERFLOWED
    assert seconds is None or not math.isnan(seconds)


@given(st.floats(0, 1e12) | st.just(FOREVER))
def test_what_is_sent_means_what_was_meant(seconds: float) -> None:
    """A duration sent and read by Ollama is the same to the nanosecond, or for ever."""
    read = parse_keep_alive(to_wire(seconds))
    if seconds > SAFE_MAX_SECONDS:
        assert read == FOREVER
    else:
        assert read == pytest.approx(seconds, rel=1e-12, abs=1.1e-9)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3), st.booleans())
@example({"num_ctx": math.inf}, False)
@example({"num_batch": None, "stop": ["a", 1]}, True)
def test_any_options_are_a_shape_or_a_refusal(options: dict[str, object], embeds: bool) -> None:
    """Options from any JSON give a load or Ollama's own type error."""
    try:
        shape = load_shape(
            WeightsFile(file_bytes=1),
            request=options,
            modelfile={},
            default_num_ctx=4096,
            is_embedding=embeds,
        )
    except OptionError:
        return
    assert shape.options.num_ctx >= 4


@given(
    st.dictionaries(
        st.sampled_from(
            [
                f"OLLAMA_{name}"
                for name in (
                    "KEEP_ALIVE MAX_LOADED_MODELS NUM_PARALLEL MAX_QUEUE LOAD_TIMEOUT"
                    " CONTEXT_LENGTH KV_CACHE_TYPE FLASH_ATTENTION GPU_OVERHEAD SCHED_SPREAD"
                ).split()
            ]
        ),
        st.text(max_size=8) | st.integers().map(str) | st.floats().map(str),
    )
)
def test_any_environment_can_be_read(environ: dict[str, str]) -> None:
    """No variable of a server is an error, and its settings lead back to the same limits."""
    env = ServerEnv.from_environ(environ)
    assert env.keep_alive >= 0
    assert env.load_timeout > 0
    again = ServerEnv.from_settings(env.to_settings())
    assert again.max_loaded_models == env.max_loaded_models
    assert again.keep_alive == env.keep_alive


candidates = st.lists(
    st.builds(
        Candidate,
        path=st.sampled_from("abcdef"),
        duration=st.sampled_from([0.0, 1.0, 300.0, FOREVER, OVERFLOWED]),
        is_busy=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda c: c.path,
)


@given(candidates, st.randoms(use_true_random=False))
def test_a_busy_victim_means_that_all_are_busy(held: list[Candidate], chance: object) -> None:
    """There is a victim as soon as anything is resident, an idle one if any is."""
    victim = choose_victim(held)
    assert (victim is None) == (not held)
    if victim is not None and victim.is_busy:
        assert all(c.is_busy for c in held)
    shuffled = list(held)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert choose_victim(shuffled) == victim
    assert eviction_order(shuffled) == eviction_order(held)


sizes = st.integers(0, 96 * GIB)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Gpu, ...]:
    count = draw(st.integers(0, 4))
    gpus = []
    for number in range(count):
        total = draw(sizes)
        gpus.append(
            Gpu(
                library=draw(st.sampled_from(["CUDA", "ROCm", "Vulkan"])),
                id=str(number),
                total_bytes=total,
                free_bytes=draw(st.integers(0, total)),
                integrated=draw(st.booleans()),
            )
        )
    return tuple(gpus)


@given(hosts(), sizes, st.booleans(), st.integers(0, 64 * GIB))
def test_a_single_gpu_always_holds_the_prediction(
    gpus: tuple[Gpu, ...], predicted: int, spread: bool, system_free: int
) -> None:
    """On a host with a choice, one GPU is taken only if 80 % of it suffice, and the best one."""
    placement = select_placement(
        gpus, predicted_bytes=predicted, spread=spread, system_free_bytes=system_free
    )
    available = available_for(placement, system_free)
    assert available.available_bytes <= available.gpu_free_bytes
    if placement.main_gpu is None:
        assert len({gpu.library for gpu in placement.gpus}) <= 1 or len(gpus) <= 1
        libraries = {gpu.library for gpu in placement.gpus}
        assert placement.gpus == tuple(gpu for gpu in gpus if gpu.library in libraries)
        return
    (chosen,) = placement.gpus
    assert predicted <= fit_limit(available.available_bytes)
    for other in gpus:
        if other.integrated == chosen.integrated and not other.integrated:
            assert other.free_bytes <= chosen.free_bytes


files = st.builds(
    WeightsFile,
    file_bytes=st.integers(1, 80 * GIB),
    block_count=st.integers(0, 100),
    head_count_max=st.integers(0, 64),
    head_count_kv_min=st.integers(0, 16),
    embedding_length=st.sampled_from([0, 768, 4096, 8192]),
    trained_context=st.sampled_from([0, 2048, 131072]),
)


def forecast(file: WeightsFile, gpus: tuple[Gpu, ...], **options: object) -> Forecast:
    shape = LoadShape(options=RunnerOptions(**{"num_ctx": 8192, **options}))
    return forecast_load(file, shape, gpus, parallel=1, completes=True, others_loaded=True)


@given(files, hosts(), st.data(), st.sampled_from([4096, 262144]))
def test_more_free_memory_never_shuts_a_model_out(
    file: WeightsFile, gpus: tuple[Gpu, ...], data: st.DataObject, context: int
) -> None:
    """At a batch without surcharge, a load that is let in stays let in when a GPU gains memory."""
    gpus = tuple(replace(gpu, library="CUDA", integrated=False) for gpu in gpus)
    before = forecast(file, gpus, num_batch=512, num_ctx=context)
    if not gpus:
        assert before.admits
        return
    which = data.draw(st.integers(0, len(gpus) - 1))
    gained = data.draw(st.integers(0, 96 * GIB))
    more = replace(gpus[which], free_bytes=gpus[which].free_bytes + gained)
    after = forecast(
        file, (*gpus[:which], more, *gpus[which + 1 :]), num_batch=512, num_ctx=context
    )
    assert after.admits or not before.admits


def test_a_surcharge_can_make_more_memory_worse() -> None:
    """The single GPU is chosen without the surcharge and checked with it: a trap of Ollama's."""
    file = WeightsFile(file_bytes=9 * GIB)
    small = Gpu(library="CUDA", id="0", total_bytes=24 * GIB, free_bytes=10 * GIB)
    other = replace(small, id="1")
    grown = replace(small, free_bytes=12 * GIB)
    assert forecast(file, (small, other), num_batch=2048).admits
    assert not forecast(file, (grown, other), num_batch=2048).admits


@given(files, st.integers(0, 300000), st.integers(0, 300000))
def test_the_prediction_grows_with_the_context(file: WeightsFile, a: int, b: int) -> None:
    """More cells never take less, and none take the file alone."""
    low, high = sorted((a, b))
    assert file.file_bytes == predict_vram(file, 0)
    assert predict_vram(file, low) <= predict_vram(file, high)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_larger_batch_never_costs_less(a: int, b: int) -> None:
    """The surcharge rises with the batch."""
    assert batch_surcharge(min(a, b)) <= batch_surcharge(max(a, b))


shapes = st.builds(
    LoadShape,
    options=st.builds(
        RunnerOptions,
        num_ctx=st.sampled_from([4, 512, 4096, 99999]),
        num_batch=st.sampled_from([512, 1024]),
        num_gpu=st.sampled_from([-1, 0, 5]),
        main_gpu=st.sampled_from([None, 0]),
        use_mmap=st.sampled_from([None, True, False]),
    ),
    num_ctx_auto=st.booleans(),
    num_batch_auto=st.booleans(),
    use_mmap_auto=st.booleans(),
    context_shift=st.booleans(),
    trained_context=st.sampled_from([0, 4096]),
    is_mlx=st.booleans(),
)


@given(shapes)
def test_a_request_never_reloads_what_it_loaded_itself(shape: LoadShape) -> None:
    """The shape of a load, clamped as it is stored, serves the same request again."""
    clamped = shape.options.num_ctx
    if 0 < shape.trained_context < clamped:
        clamped = shape.trained_context
    resident = replace(shape, options=replace(shape.options, num_ctx=clamped))
    assert reload_reason(resident, shape) is None


views = st.lists(
    st.builds(
        RunnerView,
        gpus=st.just(("CUDA:0", "CUDA:1")) | st.just(("CUDA:1",)),
        bytes_by_gpu=st.dictionaries(st.sampled_from(["CUDA:0", "CUDA:1"]), sizes),
        free_at_load=st.dictionaries(st.sampled_from(["CUDA:0", "CUDA:1"]), sizes),
    ),
    max_size=3,
)


@given(hosts(), views, st.dictionaries(st.sampled_from(["CUDA:0", "ROCm:1"]), sizes))
def test_believed_free_memory_is_never_below_zero_nor_raised_by_runners(
    gpus: tuple[Gpu, ...], runners: list[RunnerView], driver: dict[str, int]
) -> None:
    """Belief lies between nothing and what was asked for; known bytes only ever lower it."""
    refreshed = refresh_free(gpus, runners, driver)
    for gpu, after in zip(gpus, refreshed, strict=True):
        assert 0 <= after.free_bytes <= max(gpu.total_bytes, driver.get(gpu.device, 0))
    for gpu, after in zip(refreshed, subtract_known(refreshed, runners), strict=True):
        assert 0 <= after.free_bytes <= gpu.free_bytes
