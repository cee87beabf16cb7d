"""Where the state of one Ollama host is kept: a folder of its own below the state folder.

Every command that means the same host finds the same folder, however its address is written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from warmset.errors import ConfigError

STATE_VARIABLE: Final = "WARMSET_STATE"
"""Names the state folder of a service for commands that are run beside it."""

_LOOPBACK: Final = re.compile(r"localhost|(.+\.)?localhost|127(\.\d+){3}|::1")


def host_key(url: str) -> str:
    """Returns one text for all spellings of a server's address; loopback names are one host."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    name = "loopback" if _LOOPBACK.fullmatch(host) else host
    return f"{name}:{parts.port or 0}{parts.path.rstrip('/')}"


def state_folder(environ: Mapping[str, str], url: str) -> Path:
    """Returns the folder of one host; it need not exist.

    `$STATE_DIRECTORY` (systemd), else `$WARMSET_STATE`, else the user's state folder.

    Raises:
        ConfigError: the folder named is not an absolute path, or none is named and the account
            has no home.
    """
    given = environ.get("STATE_DIRECTORY", "").split(":")[0] or environ.get(STATE_VARIABLE, "")
    base = Path(given) if given else _of_the_user()
    if not base.is_absolute():
        raise ConfigError(
            f"the state folder {str(base)!r} is not an absolute path",
            hint=f"set {STATE_VARIABLE} to a folder such as /var/lib/warmset",
        )
    key = host_key(url)
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", key)[:40].strip("-.")
    return base / f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _of_the_user() -> Path:
    import platformdirs

    try:
        return Path(platformdirs.user_state_dir("warmset", appauthor=False))
    except RuntimeError:  # an account without a home; until platformdirs 4.14.5 a path with ~
        return Path("~")


def make_folder(folder: Path) -> Path:
    """Makes the folder, readable by us alone, and returns it.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                give_to_owner(handle, folder.parent)
            finally:
                os.close(handle)
        status = folder.stat()
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            folder.chmod(0o700)  # made by hand, or restored from somewhere
    except OSError as error:
        raise ConfigError(
            f"the state folder {folder} cannot be made: {error.strerror or error}",
            hint=f"set {STATE_VARIABLE} to a folder that this user may write",
            context={"path": str(folder)},
        ) from error
    return folder


def open_state(path: Path) -> int:
    """Returns the descriptor of a file in the state folder, made if need be for its owner alone.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or another thing that is no file.
    """
    handle = _open_plain(path, os.O_RDWR | os.O_CREAT)
    give_to_owner(handle, path.parent)
    return handle


def read_state(path: Path, *, limit_bytes: int) -> bytes:
    """Returns the content of a file in the state folder, at most a byte more than the limit.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or another thing that is no file.
    """
    with os.fdopen(_open_plain(path, os.O_RDONLY), "rb") as file:
        return file.read(limit_bytes + 1)


def _open_plain(path: Path, flags: int) -> int:
    """Opens without waiting: whoever put a pipe there would hold us for ever."""
    handle = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return handle


def give_to_owner(handle: int, folder: Path) -> None:
    """Gives what root has just made in another account's folder to that account.

    The service runs as a user of its own, and could not read what `sudo warmset` left there.

    Args:
        handle: an open file or folder, by its descriptor: a name could be replaced meanwhile.
        folder: whose owner it gets. What has a second name (a hard link) is left alone.
    """
    if os.geteuid() != 0:
        return
    made, owner = os.fstat(handle), folder.stat()
    if (
        owner.st_uid != 0
        and made.st_uid == 0
        and (stat.S_ISDIR(made.st_mode) or made.st_nlink == 1)
    ):
        os.fchown(handle, owner.st_uid, owner.st_gid)
