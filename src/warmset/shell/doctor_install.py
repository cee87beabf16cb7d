"""What the doctor finds of warmset itself: its files and the libraries it stands on."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from warmset.shell.doctor_probe import Health, Probe

LIBRARIES: Final = ("nvidia-ml-py", "psutil", "httpx", "msgspec", "pydantic", "typer")


def examine_files(environ: Mapping[str, str]) -> Iterator[Probe]:
    """Yields whether the folders that warmset writes to can be written."""
    from warmset.adapters.ollama.names import default_folder

    folder = default_folder(environ)
    if folder is None:
        yield Probe(
            area="files",
            name="metadata cache",
            health=Health.WARN,
            detail="no folder for it: every look asks the server for all metadata anew",
            hint="set HOME or XDG_CACHE_HOME",
        )
        return
    nearest = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    is_open = os.access(nearest, os.W_OK)
    yield Probe(
        area="files",
        name="metadata cache",
        health=Health.OK if is_open else Health.WARN,
        detail=str(folder) + ("" if is_open else f": {nearest} may not be written"),
        hint="" if is_open else "set XDG_CACHE_HOME to a folder of yours",
    )


def examine_configuration(path: str) -> Iterator[Probe]:
    """Yields who else may change the operator's words; nothing where no file says any."""
    if not path:
        return
    file = Path(path)
    try:
        status, folder = file.stat(), file.resolve().parent.stat()
    except OSError as error:
        detail = f"{path}: {error.strerror or error}"
        yield Probe(area="files", name="configuration", health=Health.UNKNOWN, detail=detail)
        return
    is_sticky = bool(folder.st_mode & stat.S_ISVTX)
    is_open = status.st_mode & stat.S_IWOTH or (folder.st_mode & stat.S_IWOTH and not is_sticky)
    is_foreign = status.st_uid not in {0, os.geteuid()}
    why = "everybody may change it" if is_open else "it belongs to another user"
    is_bad = bool(is_open) or is_foreign
    yield Probe(
        area="files",
        name="configuration",
        health=Health.WARN if is_bad else Health.OK,
        detail=f"{path}: {why}" if is_bad else path,
        hint="who may write it steers this host: chown and chmod o-w it, and its folder"
        if is_bad
        else "",
    )


def examine_token(path: str) -> Iterator[Probe]:
    """Yields who else may read the webhook's token; nothing where there is none."""
    if not path:
        return
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        detail = f"{path}: {error.strerror or error}"
        hint = "let the user of the service read it, and nobody else"
        yield Probe(area="files", name="token_file", health=Health.WARN, detail=detail, hint=hint)
        return
    is_open = bool(mode & (stat.S_IROTH | stat.S_IWOTH))
    yield Probe(
        area="files",
        name="token_file",
        health=Health.WARN if is_open else Health.OK,
        detail=f"{path}: everybody may read it" if is_open else path,
        hint=f"chmod 600 {path}" if is_open else "",
    )


def examine_software() -> Iterator[Probe]:
    """Yields the versions of warmset and of what it stands on."""
    from importlib.metadata import PackageNotFoundError, version

    from warmset import __version__

    yield Probe(
        area="software",
        name="warmset",
        health=Health.OK,
        detail=f"{__version__} on Python {platform.python_version()}, {platform.system()}",
    )
    for name in LIBRARIES:
        try:
            detail, health, hint = version(name), Health.OK, ""
        except PackageNotFoundError:
            detail, health = "not installed", Health.FAIL
            hint = f"pip install {name}"
        yield Probe(area="software", name=name, health=health, detail=detail, hint=hint)
    yield from _clashes()


def _clashes() -> Iterator[Probe]:
    """The packages that bring a module `pynvml` of their own: only one can win."""
    from importlib.metadata import packages_distributions

    owners = set(packages_distributions().get("pynvml", ())) - {"nvidia-ml-py"}
    if owners:
        yield Probe(
            area="software",
            name="pynvml",
            health=Health.WARN,
            detail=f"also provided by {', '.join(sorted(owners))}, which may hide nvidia-ml-py",
            hint=f"pip uninstall {' '.join(sorted(owners))}, then reinstall nvidia-ml-py",
        )
