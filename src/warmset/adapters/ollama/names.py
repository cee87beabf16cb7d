"""The names of installed models as they were last seen: what shell completion offers.

One small file per server. It may vanish or be damaged at any time; then nothing is offered. No
error leaves this module, and nothing here asks a server or imports anything slow.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

SCHEMA: Final = 1
MAX_FILE_BYTES: Final = 1 << 20
MAX_FILES: Final = 64
_FOLDER: Final = "model-names"


def default_folder(environ: Mapping[str, str]) -> Path | None:
    """Returns where caches belong: systemd's `$CACHE_DIRECTORY`, else the user's cache folder.

    `None` where neither can be found, as for a service account without a home.
    """
    given = environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if given:
        folder = Path(given)
    else:
        import platformdirs

        try:
            folder = Path(platformdirs.user_cache_dir("warmset", appauthor=False))
        except RuntimeError:  # no home; until platformdirs 4.14.5 a path with ~
            return None
    return folder if folder.is_absolute() else None


def remember_names(folder: Path | None, server: str, names: Iterable[str]) -> None:
    """Keeps the names of a server's models, if that can be done; an unchanged list is not written.

    Args:
        folder: the cache folder; `None` keeps nothing.
        server: its URL.
        names: of all installed models.
    """
    if folder is None:
        return
    path = folder / _FOLDER / f"{hashlib.sha256(server.encode()).hexdigest()[:32]}.json"
    document = {"schema_version": SCHEMA, "server": server, "names": sorted(set(names))}
    content = json.dumps(document)
    try:
        if path.is_file() and path.read_text("utf-8") == content:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(name).replace(path)
    except (OSError, ValueError):
        return


def recall_names(folder: Path | None, server: str = "") -> tuple[str, ...]:
    """Returns the names that were kept, in order.

    Args:
        folder: the cache folder.
        server: only of this URL, where something is known of it; else of all servers.
    """
    if folder is None:
        return ()
    try:
        files = sorted((folder / _FOLDER).glob("*.json"))[:MAX_FILES]
    except OSError:
        return ()
    by_server = dict(filter(None, map(_read, files)))
    if server in by_server:
        return by_server[server]
    return tuple(sorted({name for names in by_server.values() for name in names}))


def _read(path: Path) -> tuple[str, tuple[str, ...]] | None:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        said = json.loads(path.read_text("utf-8"))
        if said["schema_version"] != SCHEMA or not isinstance(said["names"], list):
            return None
        return str(said["server"]), tuple(n for n in said["names"] if isinstance(n, str))
    except (OSError, ValueError, KeyError, TypeError):
        return None
