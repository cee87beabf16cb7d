"""From the words of the operator to `Settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from warmset.adapters.config.document import KeyPath, dotted, is_text
from warmset.adapters.config.listen import parse_listen
from warmset.adapters.config.sources import Layers, read_layers
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ServerSettings, normalise_name
from warmset.core.settings import (
    DEFAULT_LEAST_ALARM,
    DEFAULT_PRIORITY,
    DEFAULT_URL,
    AlertSettings,
    Budget,
    GpuBudget,
    ModelPolicy,
    ServeSettings,
    Settings,
    YieldSettings,
    normalise_gpu,
)

if TYPE_CHECKING:
    from warmset.adapters.config.report import Fault
    from warmset.adapters.config.schema import (
        AlertsSection,
        BudgetsFile,
        GpuSection,
        ModelSection,
        OllamaSection,
        PolicySection,
        ServeSection,
    )


def load_settings(
    *,
    config: str | None = None,
    host: str | None = None,
    look_here: bool = True,
    changes: Sequence[str] = (),
) -> Settings:
    """Returns the settings of this run.

    Args:
        config: the file that `--config` names.
        host: what `--host` says.
        look_here: whether `./budgets.toml` counts.
        changes: `KEY=VALUE`, each put above the file and the environment.

    Raises:
        ConfigError: naming everything that is wrong, by file, line, key and value.
    """
    layers = read_layers(config=config, host=host, look_here=look_here, changes=changes)
    url = _url_alone(layers.tree)
    if url is not None:
        return Settings(
            url=url, origins=MappingProxyType(_said(layers)), path=layers.path
        )  # without pydantic, whose import is a third of `status`
    from pydantic import ValidationError

    from warmset.adapters.config.report import faults_of, refuse
    from warmset.adapters.config.schema import BudgetsFile

    faults = _cross_check(layers)
    try:
        file = BudgetsFile.model_validate(layers.tree)
    except ValidationError as error:
        raise refuse([*faults_of(error), *faults], layers) from error
    faults += _limits(file)
    if faults:
        raise refuse(faults, layers)
    return _convert(file, layers)


def _url_alone(tree: Mapping[str, object]) -> str | None:
    """Returns the server's address if no more than that is said, and it may be said so."""
    if tree.keys() - {"ollama"}:
        return None
    section = tree.get("ollama", {})
    if not isinstance(section, dict) or section.keys() - {"url"}:
        return None
    url = section.get("url", DEFAULT_URL)
    return url.strip() if isinstance(url, str) and is_text(url) else None


def _cross_check(layers: Layers) -> list[Fault]:
    """Returns what no single key can know: names used twice, classes and GPUs that are none."""
    from warmset.adapters.config.report import Fault, nearest
    from warmset.adapters.config.schema import GPU_NAME

    faults: list[Fault] = []
    classes = list(_table(layers.tree, "class"))
    models = _table(layers.tree, "model")
    for name, section in models.items():
        wanted = section.get("class") if isinstance(section, dict) else None
        if isinstance(wanted, str) and wanted not in classes:
            problem = f"no such class, [class.{wanted}] is missing{nearest(wanted, classes)}"
            faults.append(Fault(path=("model", name, "class"), problem=problem, value=wanted))
        if not can_be_named(name):
            faults.append(Fault(path=("model", name), problem="no model can have this name"))
    gpus = _table(_table(layers.tree, "budget"), "gpu")
    for key in gpus:
        if not GPU_NAME.fullmatch(key):
            problem = "no GPU; name it by UUID (GPU-…), PCI address (0000:01:00.0) or index (0)"
            faults.append(Fault(path=("budget", "gpu", key), problem=problem, value={}))
    faults += _twice(("model",), {name: normalise_name(name) for name in models}, layers)
    faults += _twice(("budget", "gpu"), {key: normalise_gpu(key) for key in gpus}, layers)
    return faults


def can_be_named(name: str) -> bool:
    """Returns whether a model can have this name: nothing that would have to be spelled out."""
    return bool(name) and name.isprintable() and not any(map(str.isspace, name))


def _limits(file: BudgetsFile) -> list[Fault]:
    """Returns the bounds of `[policy]` that are below what they bound."""
    from warmset.adapters.config.report import Fault

    said = file.policy
    faults = []
    for key in ("lease_base", "back_off"):
        limit = f"{key}_limit"
        lowest, highest = (
            getattr(LoopSettings(), k) if getattr(said, k) is None else getattr(said, k)
            for k in (key, limit)
        )
        if highest < lowest:
            path = ("policy", key if getattr(said, limit) is None else limit)
            problem = f"{limit} ({highest:g} s) is below {key} ({lowest:g} s)"
            faults.append(Fault(path=path, problem=problem, show_value=False))
    return faults


def _twice(table: KeyPath, meanings: Mapping[str, str], layers: Layers) -> list[Fault]:
    from warmset.adapters.config.report import Fault

    seen: dict[str, str] = {}
    faults = []
    for name, meaning in meanings.items():
        first = seen.setdefault(meaning, name)
        if first != name:
            where = layers.origin((*table, first))
            problem = f'means the same as "{first}" ({where}); keep one of them'
            faults.append(Fault(path=(*table, name), problem=problem, value={}))
    return faults


def _table(tree: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def _convert(file: BudgetsFile, layers: Layers) -> Settings:
    classes = {
        name: DEFAULT_PRIORITY if section.priority is None else section.priority
        for name, section in file.class_.items()
    }
    models = {
        normalise_name(name): _policy(name, section, file) for name, section in file.model.items()
    }
    default = _gpu_budget(file.budget, GpuBudget())
    gpus = {
        normalise_gpu(name): replace(_gpu_budget(section, default), stated_bytes=section.memory)
        for name, section in file.budget.gpu.items()
    }
    ram_limit = file.budget.ram_limit
    return Settings(
        url=file.ollama.url or DEFAULT_URL,
        server=_server(file.ollama),
        budget=Budget(
            default=default,
            gpus=MappingProxyType(gpus),
            ram_limit_bytes=None if ram_limit is None else int(ram_limit),
        ),
        loop=_loop(file.policy),
        models=MappingProxyType(models),
        classes=MappingProxyType(classes),
        serve=_serve(file.serve),
        alerts=_alerts(file.alerts),
        yields=YieldSettings(
            programs=tuple(file.yield_.programs or ()), on_battery=bool(file.yield_.on_battery)
        ),
        origins=MappingProxyType(_origins(file, layers)),
        path=layers.path,
    )


def _policy(name: str, section: ModelSection, file: BudgetsFile) -> ModelPolicy:
    shared = file.class_.get(section.class_ or "")

    def first(key: str) -> Any:  # noqa: ANN401 - the sections' fields are typed
        said = getattr(section, key)
        return getattr(shared, key, None) if said is None else said

    priority = first("priority")
    return ModelPolicy(
        name=name,
        priority=DEFAULT_PRIORITY if priority is None else priority,
        pin=section.pin,
        preload=section.preload,
        context=section.context,
        parallel=section.parallel,
        requests_per_day=section.requests_per_day,
        gpu=None if section.gpu is None else normalise_gpu(section.gpu),
        clients_send_context=section.clients_send_context,
        class_name=section.class_ or "",
        keep_alive=first("keep_alive"),
        windows=tuple(first("windows") or ()),
        timezone=first("timezone") or file.timezone or "",
    )


def _loop(section: PolicySection) -> LoopSettings:
    """Returns how eagerly the loop may act; what the section does not say has its default."""
    said = section.model_dump(exclude_none=True)
    manage = said.pop("manage", "configured")
    return LoopSettings(manages_all=manage == "all", **said)


def _gpu_budget(section: GpuSection, inherited: GpuBudget) -> GpuBudget:
    """Returns the budget a section describes; what it does not say is inherited."""
    limit = section.vram_limit
    reserve = section.vram_reserve
    ratio, limit_bytes = inherited.vram_limit_ratio, inherited.vram_limit_bytes
    if limit is not None:
        is_share = isinstance(limit, float)
        ratio, limit_bytes = (float(limit), None) if is_share else (None, int(limit))
    return GpuBudget(
        vram_reserve_bytes=inherited.vram_reserve_bytes if reserve is None else int(reserve),
        vram_limit_ratio=ratio,
        vram_limit_bytes=limit_bytes,
    )


def _server(section: OllamaSection) -> ServerSettings:
    """Returns the settings of the server; Ollama's 0 means "decide yourself", like no value."""
    overhead = section.gpu_overhead
    return ServerSettings(
        max_loaded_models=section.max_loaded_models or None,
        num_parallel=section.num_parallel or None,
        context_length=section.context_length or None,
        kv_cache_type=section.kv_cache_type,
        flash_attention=section.flash_attention,
        sched_spread=section.sched_spread,
        keep_alive_seconds=section.keep_alive,
        gpu_overhead_bytes=None if overhead is None else int(overhead),
    )


def _alerts(section: AlertsSection) -> AlertSettings:
    return AlertSettings(
        webhook=section.webhook or "",
        token_file=section.token_file or "",
        least=section.least or DEFAULT_LEAST_ALARM,
    )


def _serve(section: ServeSection) -> ServeSettings:
    said = ServeSettings(allow_remote=section.allow_remote, page=section.page)
    return said if section.listen is None else replace(said, listen=parse_listen(section.listen))


def _origins(file: BudgetsFile, layers: Layers) -> dict[str, str]:
    """Returns where each value came from; an inherited one came from where it was said."""
    from warmset.adapters.config.schema import ClassSection, keys_of

    origins = _said(layers)
    inherited: list[tuple[KeyPath, KeyPath]] = [
        (("model", name, key), ("class", section.class_ or "", key))
        for name, section in file.model.items()
        for key in keys_of(ClassSection)
    ]
    inherited += [(("model", name, "timezone"), ("timezone",)) for name in file.model]
    inherited += [
        (("budget", "gpu", name, key), ("budget", key))
        for name in file.budget.gpu
        for key in ("vram_reserve", "vram_limit")
    ]
    for path, source in inherited:
        if dotted(source) in origins:
            origins.setdefault(_origin_key(path), origins[dotted(source)])
    return origins


def _said(layers: Layers) -> dict[str, str]:
    """Returns where each value that was said came from."""
    return {_origin_key(path): layers.origin(path) for path in _leaves(layers.tree)}


def _origin_key(path: KeyPath) -> str:
    """Returns the dotted path, with GPUs named as `Budget` names them."""
    if path[:2] == ("budget", "gpu") and len(path) > 2:
        path = (*path[:2], normalise_gpu(path[2]), *path[3:])
    return dotted(path)


def _leaves(tree: Mapping[str, object], above: KeyPath = ()) -> list[KeyPath]:
    found: list[KeyPath] = []
    for key, value in tree.items():
        path = (*above, key)
        found += _leaves(value, path) if isinstance(value, dict) else [path]
    return found
