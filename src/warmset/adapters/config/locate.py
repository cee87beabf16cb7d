"""Where the configuration file is: the first place that has one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from warmset.errors import ConfigError

FILE_NAME = "budgets.toml"


def find_file(config: str | None = None, *, look_here: bool = True) -> Path | None:
    """Returns the file to read, or `None` when there is none and the defaults hold.

    Args:
        config: what `--config` says.
        look_here: whether `./budgets.toml` counts; a daemon must not depend on where it starts.

    Raises:
        ConfigError: if a file was named, by flag or `WARMSET_CONFIG`, and is not there, or the one
            in the current folder is not ours.
    """
    for source, named in (
        ("--config", config),
        ("WARMSET_CONFIG", os.environ.get("WARMSET_CONFIG")),
    ):
        if named:
            if not _is_there(named):
                raise ConfigError(
                    f"{source} names {named}, which does not exist",
                    hint="check the path, or leave it out to use the defaults",
                    context={"path": named},
                )
            return Path(named)
    found = next((p for p in search_path(look_here=look_here) if _is_there(p)), None)
    if found is not None and not found.is_absolute():
        _refuse_a_strangers(found)
    return found


def find_aside(config: str | None = None) -> Path | None:
    """Returns the file in the current folder that a daemon leaves aside, if none was named.

    Args:
        config: what `--config` says.
    """
    here = Path(FILE_NAME)
    is_named = bool(config or os.environ.get("WARMSET_CONFIG"))
    if is_named or not _is_there(here):
        return None
    used = find_file(look_here=False)
    return None if used is not None and used.samefile(here) else here


def _refuse_a_strangers(path: Path) -> None:
    """Raises if others wrote what was merely found where somebody stands, or may write it.

    A file that is named counts whosever it is. As `git` and `ssh` do, root's is trusted, and that
    of whoever called sudo.
    """
    if not hasattr(os, "geteuid"):
        return
    ours = {0, os.geteuid()}
    caller = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and caller.isdecimal():
        ours.add(int(caller))
    try:
        status = path.stat()
        owners = {status.st_uid, path.lstat().st_uid}  # of the file, and of a link to it
    except OSError:
        return  # whoever reads it tells why
    is_open = bool(status.st_mode & stat.S_IWOTH)
    if owners <= ours and not is_open:
        return
    why = "everybody may write it" if owners <= ours else "it belongs to another user"
    raise ConfigError(
        f"{path.absolute()}: {why}, and it was not named: it does not count",
        hint=f"--config {path} takes it all the same; else chmod o-w it, or leave this folder",
        context={"path": str(path)},
    )


def search_path(*, look_here: bool = True) -> tuple[Path, ...]:
    """Returns the places looked at when no file is named, in order."""
    places = [Path(FILE_NAME)] if look_here else []
    service = os.environ.get("CONFIGURATION_DIRECTORY")  # systemd names its own first
    if service:
        places += [Path(part, FILE_NAME) for part in service.split(":") if part]
    return (*places, *_of_the_user(), Path("/etc/warmset", FILE_NAME))


def _of_the_user() -> tuple[Path, ...]:
    """Returns the place in the user's configuration, which an account without a home has not."""
    from platformdirs import user_config_path

    try:
        return (user_config_path("warmset") / FILE_NAME,)
    except RuntimeError:  # since platformdirs 4.14.6; before, a path that begins with ~
        return ()


def _is_there(path: str | Path) -> bool:
    """Whether a file can be seen; `Path.exists` raises where a directory may not be searched."""
    return os.path.exists(path)  # noqa: PTH110 - see above
