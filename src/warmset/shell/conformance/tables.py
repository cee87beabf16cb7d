"""Decision tables of the real scheduler's functions, each row recomputed by `core.ollama`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from warmset.core.ollama.context import (
    default_context,
    effective_context,
    next_lower_auto_context,
    server_context,
)
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.placement import Placement, available_for, select_placement
from warmset.core.ollama.predict import (
    FlashAttention,
    automatic_batch,
    batch_surcharge,
    flash_attention,
    predict_vram,
)
from warmset.core.ollama.reload import reload_reason
from warmset.core.ollama.types import Gpu, LoadShape, RunnerOptions, WeightsFile
from warmset.core.units import MIB

Row = Mapping[str, Any]
Miss = str


def check_tables(document: Row) -> Iterator[tuple[int, list[Miss]]]:
    """Yields (rows, misses) for every known table in one document."""
    for table, check in _TABLES.items():
        rows = document.get(table)
        if isinstance(rows, list) and (table != "cases" or rows):
            yield len(rows), [f"{table}[{i}]: {m}" for i, r in enumerate(rows) for m in check(r)]


def _differs(row: Row, computed: Mapping[str, object]) -> list[Miss]:
    return [
        f"{key}: recorded {row[key]!r}, computed {value!r}"
        for key, value in computed.items()
        if key in row and row[key] != value
    ]


def read_gpu(row: Row) -> Gpu:
    """Reads a GPU of the vectors; `compute` is text such as `8.9`, absent = never detected."""
    major, _, minor = str(row.get("compute", "0.0")).partition(".")
    total = row["total_mib"] * MIB if "total_mib" in row else row["total"]
    return Gpu(
        library=row["library"],
        id=str(row["id"]),
        total_bytes=total,
        free_bytes=row.get("free", total),
        integrated=row.get("integrated", False),
        name=row.get("name", ""),
        compute_major=int(major),
        compute_minor=int(minor or 0),
        driver_major=row.get("driver_major", 0),
    )


def _gpus(row: Row) -> list[Gpu]:
    return [read_gpu(gpu) for gpu in row["gpus"]]


def readable_keys(gguf: Row, types: Row) -> dict[str, Any]:
    """Returns the keys that Ollama can read: scalars only as u32, arrays as u32 or i32."""
    readable = {}
    for key, value in gguf.items():
        kind = types.get(key, "u32")
        is_array = isinstance(value, list)
        if kind in (("u32", "u32[]", "i32[]") if is_array else ("u32",)):
            readable[key] = tuple(value) if is_array else value
    return readable


def _predict(row: Row) -> list[Miss]:
    file = WeightsFile.from_facts(
        row["file_size"],
        {
            "general.architecture": row["arch"],
            **readable_keys(row["gguf"], row.get("types", {})),
        },
    )
    cells = server_context(row["num_ctx"], file, row["parallel"])
    return _differs(row, {"effective_ctx": cells, "predicted": predict_vram(file, cells)})


def _placement(row: Row) -> list[Miss]:
    gpus = _gpus(row)
    placement = select_placement(
        gpus,
        predicted_bytes=row["predicted"],
        num_gpu=row["num_gpu"],
        main_gpu=row["main_gpu"],
        spread=row["spread"],
        system_free_bytes=row["system_free"],
    )
    available = available_for(placement, row["system_free"])
    return _differs(
        row,
        {
            "selected": [gpu.device for gpu in placement.gpus],
            "main_gpu_out": placement.main_gpu,
            "available": available.available_bytes,
            "gpu_free": available.gpu_free_bytes,
            "system_limited": available.is_system_limited,
        },
    )


def _case(row: Row) -> list[Miss]:
    return _predict(row) if "gguf" in row else _placement(row)


def _available(row: Row) -> list[Miss]:
    placement = Placement(gpus=tuple(_gpus(row)), main_gpu=row["main_gpu"])
    available = available_for(placement, row["system_free"])
    return _differs(
        row,
        {
            "available": available.available_bytes,
            "gpu_free": available.gpu_free_bytes,
            "system_limited": available.is_system_limited,
        },
    )


def _automatic(row: Row) -> list[Miss]:
    batch = automatic_batch(
        row["ctx"], row["predicted"], row["available"], FlashAttention(row["flash"]), _gpus(row)
    )
    return _differs(row, {"batch": batch, "surcharge": batch_surcharge(batch)})


def _surcharge(row: Row) -> list[Miss]:
    batch = row["batch"]
    return _differs(
        row,
        {
            "surcharge": batch_surcharge(batch),
            "surcharge_completion_true": batch_surcharge(batch),
            "surcharge_completion_false": batch_surcharge(batch, completes=False),
        },
    )


def _apply(row: Row) -> list[Miss]:
    batch = row["num_batch_before"]
    if row["completion"] and row["num_batch_auto"]:
        flash = FlashAttention(row["flash"])
        batch = automatic_batch(row["ctx"], row["predicted"], row["available"], flash, _gpus(row))
    return _differs(row, {"num_batch_after": batch})


def _flash(row: Row) -> list[Miss]:
    env = ServerEnv.from_environ({"OLLAMA_FLASH_ATTENTION": row["OLLAMA_FLASH_ATTENTION"]})
    return _differs(row, {"flash": flash_attention(_gpus(row), env.flash_attention).value})


def _default_num_ctx(row: Row) -> list[Miss]:
    totals = [mib * MIB for mib in row["gpu_total_mib"]]
    return _differs(row, {"default_num_ctx": default_context(totals, row["gpu_overhead"])})


def _shape(options: Row, auto: Row, other: Sequence[str], row: Row, *, wanted: bool) -> LoadShape:
    changed = set(other) if wanted else set()
    return LoadShape(
        options=RunnerOptions(
            num_ctx=options["num_ctx"],
            num_batch=options["num_batch"],
            num_gpu=options["num_gpu"],
            main_gpu=options["main_gpu"],
            use_mmap=options["use_mmap"],
            num_thread=options["num_thread"],
            draft_num_predict=int(wanted and row.get("note") == "draft_num_predict"),
        ),
        num_ctx_auto=auto["num_ctx"],
        num_batch_auto=auto["num_batch"],
        use_mmap_auto=auto.get("use_mmap", False),
        context_shift="shift_false" not in changed,
        adapters=("changed",) if "adapter" in changed else (),
        projectors=("changed",) if "projector" in changed else (),
        trained_context=row["train_ctx"],
    )


def _needs_reload(row: Row) -> list[Miss]:
    other = row["other"] or ()
    resident = _shape(row["resident"], row["resident_auto"], other, row, wanted=False)
    wanted = _shape(row["request"], row["request_auto"], other, row, wanted=True)
    return _differs(row, {"reload": reload_reason(resident, wanted) is not None})


def _effective_context(row: Row) -> list[Miss]:
    file = WeightsFile(file_bytes=0, trained_context=row["train_ctx"])
    return _differs(
        row,
        {
            "effective_model_context": effective_context(row["num_ctx"], row["train_ctx"]),
            "effective_server_context": server_context(row["num_ctx"], file, row["parallel"]),
        },
    )


def _next_lower(row: Row) -> list[Miss]:
    lower = next_lower_auto_context(row["num_ctx"])
    return _differs(row, {"next": lower or 0, "ok": lower is not None})


_TABLES: Mapping[str, Callable[[Row], list[Miss]]] = {
    "cases": _case,
    "available_memory": _available,
    "automatic": _automatic,
    "surcharge": _surcharge,
    "apply": _apply,
    "flash_attention": _flash,
    "default_num_ctx": _default_num_ctx,
    "needs_reload": _needs_reload,
    "effective_context": _effective_context,
    "next_lower_auto_num_ctx": _next_lower,
}
