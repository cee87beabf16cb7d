"""What a process is, by its command line, for every generation of Ollama's runners.

Source: ollama-behaviour.md section 5 (v0.33) with the older forms named there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from warmset.core.model import ModelKey

BLOB: Final = re.compile(r"sha256[-:]([0-9a-f]+)$")
WRAPPERS: Final = re.compile(r"(python[\d.]*|sh|bash|dash|ld-.*|box64|qemu-.*|rosetta)$")
"""Programs that run another one named as their first argument."""

SERVER_VERBS: Final = frozenset({"serve", "start"})
CLIENT_VERBS: Final = frozenset(
    {
        "run", "pull", "push", "show", "list", "ls", "ps", "cp", "rm", "stop", "create", "help",
        "signin", "signout", "launch", "login", "logout",
    }
)  # fmt: skip


RUNNER_PROGRAMS: Final = ("llama-server", "ollama_llama_se")
"""Programs that only run models; the kernel cuts names to 15 characters."""


class Role(StrEnum):
    """What a process is to an Ollama server."""

    SERVER = "server"
    RUNNER = "runner"
    MLX_RUNNER = "mlx-runner"
    PROBE = "probe"  # looks at the GPUs for some seconds; no model
    FORWARD = "forward"  # passes a port of the host on to a container
    HIDDEN = "hidden"  # an Ollama program whose arguments may not be read
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line, understood.

    Attributes:
        key: The weights blob of a GGUF runner.
        model_name: The short name of an MLX runner's model.
        context: Context of all slots together, as on the command line.
    """

    role: Role
    program: str
    key: ModelKey | None = None
    model_name: str | None = None
    projector: ModelKey | None = None
    draft: ModelKey | None = None
    adapters: tuple[ModelKey, ...] = ()
    context: int | None = None
    parallel: int | None = None
    kv_cache_type: str | None = None
    batch: int | None = None
    gpu_layers: int | None = None
    main_gpu: int | None = None
    port: int | None = None
    is_embedding: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def slot_context(self) -> int | None:
        """Context of one slot, which is what `/api/ps` shows; `None` if not on the line."""
        if self.context is None:
            return None
        return self.context // max(1, self.parallel or 1)


def parse_command(argv: Sequence[str]) -> Command:
    """Returns what the command line says; a line of another program is `FOREIGN`."""
    program, rest = _program(argv)
    if program == "ollama":
        return _parse_ollama(program, rest)
    if program == "llama-server":
        return _parse_runner(program, rest)
    if program == "docker-proxy":
        return Command(role=Role.FORWARD, program=program, options=_read_options(rest))
    if program == "ollama_llama_server":
        return _parse_runner(program, rest[1:] if rest[:1] == ["runner"] else rest)
    return Command(role=Role.FOREIGN, program=program)


def judge_by_name(name: str, *, is_zombie: bool) -> Command:
    """Returns what a process is whose command line cannot be read: it ended, or is another user's.

    A dead runner has lost its arguments and is a runner still, whose model only an earlier look
    can tell.
    """
    program = _base_name(name)
    is_runner = program.startswith(RUNNER_PROGRAMS)
    if is_zombie and is_runner:
        return Command(role=Role.RUNNER, program=program)
    if is_runner or (program == "ollama" and not is_zombie):
        return Command(role=Role.HIDDEN, program=program)
    return Command(role=Role.FOREIGN, program=program)


def parse_blob(path: str) -> ModelKey | None:
    """Returns the key of a blob's path, `None` for any other path."""
    found = BLOB.search(_base_name(path))
    return ModelKey(f"sha256:{found.group(1)}") if found else None


def _program(argv: Sequence[str]) -> tuple[str, list[str]]:
    words = list(argv)
    if not words:
        return "", []
    name = _base_name(words[0])
    if WRAPPERS.match(name) and len(words) > 1 and not words[1].startswith("-"):
        return _base_name(words[1]), words[2:]
    return name, words[1:]


def _base_name(path: str) -> str:
    return re.split(r"[/\\]", path.strip())[-1].lower().removesuffix(".exe")


def _parse_ollama(program: str, rest: list[str]) -> Command:
    verb = next((word for word in rest if not word.startswith("-")), "")
    if verb in SERVER_VERBS:
        return Command(role=Role.SERVER, program=program)
    if verb == "runner":
        return _parse_runner(program, rest[rest.index(verb) + 1 :])
    if not rest or verb in CLIENT_VERBS:
        return Command(role=Role.FOREIGN, program=program)
    return Command(role=Role.PROBE, program=program)


def _parse_runner(program: str, words: list[str]) -> Command:
    options = _read_options(words)
    model = options.get("--model") or options.get("-m") or ""
    key = parse_blob(model)
    if "--mlx-engine" in options and model:
        role = Role.MLX_RUNNER
    elif key is not None:
        role = Role.RUNNER
    elif model:
        role = Role.FOREIGN  # somebody's own llama-server with a file of theirs
    else:
        role = Role.PROBE
    return Command(
        role=role,
        program=program,
        key=key if role is Role.RUNNER else None,
        model_name=model if role is Role.MLX_RUNNER else None,
        projector=parse_blob(options.get("--mmproj", "")),
        draft=parse_blob(options.get("--spec-draft-model", "")),
        adapters=tuple(blob for path in _all(words, "--lora") if (blob := parse_blob(path))),
        context=_number(options, "-c", "--ctx-size"),
        parallel=_number(options, "-np", "--parallel"),
        kv_cache_type=options.get("--cache-type-k") or options.get("--kv-cache-type") or None,
        batch=_number(options, "-b", "--batch-size"),
        gpu_layers=_number(options, "-ngl", "--n-gpu-layers"),
        main_gpu=_number(options, "--main-gpu"),
        port=_number(options, "--port"),
        is_embedding="--embedding" in options,
        options=options,
    )


def _read_options(words: Sequence[str]) -> dict[str, str]:
    """Returns options by name; a switch without a value has the empty text."""
    found: dict[str, str] = {}
    for at, word in enumerate(words):
        if not word.startswith("-") or _is_number(word):
            continue
        name, equals, value = word.partition("=")
        following = words[at + 1] if at + 1 < len(words) else ""
        if not equals and (not following.startswith("-") or _is_number(following)):
            value = following
        found[name] = value
    return found


def _all(words: Sequence[str], name: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words[:-1]) if word == name]


def _number(options: Mapping[str, str], *names: str) -> int | None:
    for name in names:
        if _is_number(options.get(name, "")):
            return int(options[name])
    return None


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()
