"""One warmset per Ollama host: a lock that ends with its holder, and tells who that is.

The lock is the kernel's (`flock`), so a holder that is killed holds nothing. What stands in the
file is only for people: it may be old, the lock itself never is.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from warmset.adapters.journal import open_state
from warmset.errors import ConfigError, Refused

FILE_NAME: Final = "lock"
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a host.

    Units:
        `since` is Unix seconds.
    """

    pid: int
    since: float
    verb: str
    config: str = ""  # the file it reads
    url: str = ""  # where it answers `/metrics`

    def describe(self) -> str:
        """Returns who, what and since when, for people."""
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"`warmset {self.verb}`, process {self.pid}, since {began}"


class HostLock:
    """The right to steer one Ollama host, until `release` or the end of the process."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle = handle
        self._path = path

    def tell(self, holder: Holder) -> None:
        """Writes who holds it; on a full disk nobody is named, and the lock holds all the same."""
        content = json.dumps(asdict(holder)).encode()
        with suppress(OSError):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, content, 0)

    def release(self) -> None:
        """Lets the next one in."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        """Returns the lock itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets the next one in."""
        self.release()


def take_lock(
    folder: Path,
    holder: Holder,
    *,
    wait_seconds: float = 0.0,
    may_wait: Callable[[], bool] = lambda: True,
) -> HostLock:
    """Returns the lock of a host, once a holder that is about to end has ended.

    Args:
        folder: the host's state folder.
        holder: who asks.
        wait_seconds: for a holder to end.
        may_wait: false ends the waiting at once.

    Raises:
        Refused: somebody else holds it; names who and since when.
        ConfigError: the lock file cannot be written.
    """
    path = folder / FILE_NAME
    deadline = time.monotonic() + wait_seconds
    try:
        handle = open_state(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the lock cannot be taken: {error.strerror or error}",
            hint="set WARMSET_STATE to a folder that this user may write",
        ) from error
    while not _try_lock(handle):
        if time.monotonic() >= deadline or not may_wait():
            os.close(handle)
            raise _refusal(folder)
        time.sleep(_POLL_SECONDS)
    lock = HostLock(handle, path)
    lock.tell(holder)
    return lock


def find_holder(folder: Path) -> Holder | None:
    """Returns who steers the host now, `None` if nobody does."""
    path = folder / FILE_NAME
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if _try_lock(handle, fcntl.LOCK_SH):
            return None
        return _read(handle)
    finally:
        os.close(handle)


def _refusal(folder: Path) -> Refused:
    holder = find_holder(folder)
    who = holder.describe() if holder else "another warmset"
    return Refused(
        f"this Ollama host is steered by {who}",
        hint="stop that one first; it also does what `warmset apply` would do",
        context={} if holder is None else asdict(holder),
    )


def _try_lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: int) -> Holder:
    """What a holder wrote of itself; while it has not yet, nobody is named."""
    try:
        plain = json.loads(os.pread(handle, 4096, 0))
        return Holder(
            pid=int(plain["pid"]),
            since=float(plain["since"]),
            verb=str(plain["verb"]),
            config=str(plain.get("config", "")),
            url=str(plain.get("url", "")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Holder(pid=0, since=time.time(), verb="serve")
