"""Changing a word in budgets.toml: comments, order and everything else stay as they are.

The file is replaced whole, after the changed text was found right; its mode and, through a link,
its place stay.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from warmset.core.model import normalise_name
from warmset.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

Check = Callable[[Path], object]
"""Reads a file as warmset does, and raises for what is wrong."""


def set_pin(path: Path, names: Iterable[str], *, pin: bool, check: Check) -> bool:
    """Sets `pin` of models in a file; returns whether that changed it.

    A model without a section gets one, at the end of the file. To unpin takes the key away, since
    false is the default.

    Args:
        path: the file.
        names: as to be written where there is no section yet.
        pin: wanted.
        check: of the changed text, before it counts.

    Raises:
        ConfigError: the file cannot be read or written, or would be wrong afterwards.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = _read(path)
    try:
        document = tomlkit.parse(text)
        for name in names:
            _set(document, name, pin=pin)
        changed = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be edited: {error}", hint="edit it by hand, then `warmset check`"
        ) from error
    if changed == text:
        return False
    _replace(path, changed, check)
    return True


def _set(document: TOMLDocument, name: str, *, pin: bool) -> None:
    """Raises TypeError where `model` is no table."""
    import tomlkit

    models = document.get("model")
    if models is not None and not isinstance(models, dict):
        raise TypeError("`model` is no table")
    section = _section(models, name)
    if section is not None and pin:
        section["pin"] = True
    elif section is not None:
        section.pop("pin", None)
    elif pin:
        if models is None:
            document["model"] = models = tomlkit.table(is_super_table=True)
        fresh = tomlkit.table()
        fresh["pin"] = True
        models[name] = fresh


def _section(models: object, name: str) -> dict[str, object] | None:
    """The section of a model, however its name is written there."""
    if not isinstance(models, dict):
        return None
    for written, section in models.items():
        if normalise_name(str(written)) == normalise_name(name) and isinstance(section, dict):
            return section
    return None


def write_new(path: Path, text: str, *, check: Check, may_replace: bool) -> None:
    """Writes a new file, and makes the folder for it where there is none.

    Raises:
        ConfigError: it is there already, cannot be written, or would be wrong.
    """
    if not may_replace and path.exists():
        raise ConfigError(
            f"{path} is there already", hint="--force replaces it, --out FILE writes another"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    _replace(path, text, check)


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():  # a pipe gives its words once
        raise ConfigError(f"{path}: no plain file", hint="name a file that can be replaced")
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read: {error}", hint="`warmset init` writes a new one"
        ) from error


def _replace(path: Path, text: str, check: Check) -> None:
    target = Path(os.path.realpath(path))
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".budgets-", suffix=".toml")
    except OSError as error:
        raise _unwritable(path, error) from error
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        check(fresh)
        fresh.chmod(mode)
        fresh.replace(target)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        fresh.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be written: {error.strerror or error}",
        hint="check who may write there, or name another file: --config, or --out of `init`",
        context={"path": str(path)},
    )
