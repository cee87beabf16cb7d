"""The files that come with warmset for the programs around it, and how they get to their place.

Nothing that somebody changed is overwritten unasked, and either every file of a bundle is written
or none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Final

import warmset
from warmset.bounded import read_bounded
from warmset.errors import ConfigError, NotConverged, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Files that belong together.

    Attributes:
        files: name where they are written -> place in `share`.
        seeds: files that are the operator's own once they are there; never written again.
        folder: where they belong; "." is wherever the operator stands.
        next: the next thing to do.
    """

    name: str
    what: str
    files: Mapping[str, str]
    seeds: frozenset[str] = frozenset()
    folder: str = "."
    next: str = ""


_ALERTS: Final = {"warmset-alerts.yml": "prometheus/warmset-alerts.yml"}
_DASHBOARD: Final = {"warmset-dashboard.json": "grafana/warmset-dashboard.json"}

BUNDLES: Final = (
    Bundle(
        name="systemd",
        what="a service beside ollama.service, sandboxed, with a watchdog",
        files={"warmset.service": "systemd/warmset.service"},
        folder="/etc/systemd/system",
        next="systemctl daemon-reload && systemctl enable --now warmset",
    ),
    Bundle(
        name="prometheus",
        what="alert rules, and a scrape configuration to copy from",
        files={**_ALERTS, "warmset-scrape.yml": "prometheus/warmset-scrape.yml"},
        next="name them under rule_files and scrape_configs in prometheus.yml",
    ),
    Bundle(
        name="grafana",
        what="a dashboard",
        files=_DASHBOARD,
        next="import it in Grafana: Dashboards, New, Import",
    ),
    Bundle(
        name="compose",
        what="Ollama, warmset, Prometheus and Grafana in containers",
        files={
            **{
                name: f"compose/{name}"
                for name in (
                    "compose.yaml",
                    "Containerfile",
                    "budgets.toml",
                    "prometheus.yml",
                    "grafana-datasources.yml",
                    "grafana-dashboards.yml",
                )
            },
            **_ALERTS,
            **_DASHBOARD,
        },
        seeds=frozenset({"budgets.toml"}),
        next="build the image as Containerfile says, then: docker compose up -d",
    ),
    Bundle(
        name="callers",
        what="the right keep-alive from curl, Python, Node, LangChain and Open WebUI",
        files={
            name: f"callers/{name}"
            for name in (
                "curl.sh",
                "python_httpx.py",
                "python_ollama.py",
                "node_fetch.mjs",
                "node_ollama.mjs",
                "langchain_chat.py",
                "open-webui.txt",
            )
        },
        next="OLLAMA_HOST and CHAT_MODEL choose server and model",
    ),
    Bundle(
        name="kubernetes",
        what="a DaemonSet of Ollama with warmset beside it",
        files={"warmset-daemonset.yaml": "kubernetes/warmset-daemonset.yaml"},
        next="build the image as compose/Containerfile says, then: kubectl apply -f FILE",
    ),
)


class Change(StrEnum):
    """What writing a file means."""

    NEW = "new"
    SAME = "unchanged"
    DIFFERS = "differs"
    KEPT = "yours, kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """One file of a bundle at its place."""

    path: Path
    text: str
    change: Change


def find_bundle(name: str) -> Bundle:
    """Returns a bundle.

    Raises:
        ConfigError: there is none of this name.
    """
    for bundle in BUNDLES:
        if bundle.name == name:
            return bundle
    names = ", ".join(bundle.name for bundle in BUNDLES)
    raise ConfigError(f'there are no assets "{name}"', hint=f"there are {names}")


def read_asset(name: str) -> Iterator[tuple[str, str]]:
    """Yields file name and text: of a bundle, or of one file such as `compose/Containerfile`.

    Raises:
        ConfigError: there is none of this name.
    """
    first, _, file = name.partition("/")
    bundle = find_bundle(first)
    if file and file not in bundle.files:
        raise ConfigError(
            f'"{first}" has no file "{file}"', hint=f"it has {', '.join(bundle.files)}"
        )
    for each, place in bundle.files.items():
        if file in ("", each):
            yield each, _text_of(place)


def plan_writing(bundle: Bundle, folder: Path) -> tuple[Writing, ...]:
    """Returns what writing a bundle to a folder would change; writes nothing.

    Raises:
        ConfigError: what is there cannot be read.
    """
    return tuple(
        Writing(
            path=folder / name,
            text=text,
            change=_change(folder / name, text, is_seed=name in bundle.seeds),
        )
        for name, text in read_asset(bundle.name)
    )


def write_files(writings: tuple[Writing, ...], *, is_forced: bool) -> None:
    """Writes every file that is not there yet as it should be.

    Raises:
        Refused: a file differs, so somebody changed it, and nobody forced us.
        NotConverged: a file cannot be written; then none was changed.
    """
    changed = [str(one.path) for one in writings if one.change is Change.DIFFERS]
    if changed and not is_forced:
        raise Refused(
            f"{', '.join(changed)}: there already, with other content; nothing was written",
            hint="--dry-run shows the plan, --force overwrites",
        )
    wanted = [one for one in writings if one.change in (Change.NEW, Change.DIFFERS)]
    drafts: list[tuple[Path, Path]] = []
    try:
        for one in wanted:
            one.path.parent.mkdir(parents=True, exist_ok=True)
            draft = one.path.with_name(f".{one.path.name}.{os.getpid()}")
            drafts.append((draft, one.path))
            draft.write_text(one.text, "utf-8")
            draft.chmod(0o644)
        for draft, path in drafts:
            draft.replace(path)
    except OSError as error:
        for draft, _ in drafts:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        raise NotConverged(
            f"{error.filename}: {error.strerror or error}",
            hint="another folder: --to DIR; or as root: sudo",
        ) from error


def hidden_executable() -> str:
    """Returns the command's path if the service could not see it, which then would not start."""
    path = _executable()
    return path if path.startswith(("/home/", "/root/", "/run/user/", "/tmp/")) else ""  # noqa: S108 - compared, not used


def _executable() -> str:
    """Returns where the command lies that is running now."""
    run = Path(sys.argv[0])
    found = str(run.absolute()) if run.name == "warmset" and run.exists() else None
    beside = Path(sys.executable).with_name("warmset")
    return found or (str(beside) if beside.exists() else shutil.which("warmset") or str(beside))


def _text_of(place: str) -> str:
    text = resources.files("warmset").joinpath("share", place).read_text("utf-8")
    return text.replace("@WARMSET@", _executable()).replace("@VERSION@", warmset.__version__)


def _change(path: Path, text: str, *, is_seed: bool) -> Change:
    try:
        there = read_bounded(path, limit_bytes=len(text.encode()))
    except FileNotFoundError:
        return Change.NEW
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", hint="--to DIR") from error
    if there == text.encode():
        return Change.SAME
    return Change.KEPT if is_seed else Change.DIFFERS
