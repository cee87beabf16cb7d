"""Single facts of a process, each `None` where it may not be asked or has ended."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from warmset.core.host.commands import Command, judge_by_name, parse_command

if TYPE_CHECKING:
    import psutil

KEPT_ENVIRONMENT: Final = ("OLLAMA_", "CUDA_", "LLAMA_ARG_", "HIP_", "ROCR_", "GGML_", "HSA_")
"""Settings of the server and its runners; nothing else of a process's environment is kept."""


def read_command(process: psutil.Process) -> Command | None:
    """Returns the understood command line; by the name alone where the line cannot be read."""
    import psutil

    try:
        argv = process.cmdline()
        if argv:
            return _understand(tuple(argv))
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return judge_by_name(process.name(), is_zombie=is_zombie)
    except psutil.ZombieProcess:
        return judge_by_name(ask(process, "name") or "", is_zombie=True)
    except psutil.AccessDenied:
        return judge_by_name(ask(process, "name") or "", is_zombie=False)
    except (psutil.Error, OSError):
        return None


_understand = lru_cache(maxsize=256)(parse_command)


def ask(process: psutil.Process, what: str, **keys: object) -> Any:  # noqa: ANN401 - psutil's
    """Returns one fact of a process, `None` where it may not be asked or has ended."""
    import psutil

    try:
        return getattr(process, what)(**keys)
    except (psutil.Error, OSError):
        return None


def read_listen_ports(process: psutil.Process) -> frozenset[int] | None:
    """Returns the TCP ports on which it listens; `None` too if it listens nowhere."""
    import psutil

    connections = ask(process, "net_connections", kind="tcp")
    if connections is None:
        return None
    ports = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return frozenset(ports) or None


def read_environment(process: psutil.Process) -> dict[str, str] | None:
    """Returns its settings of Ollama and of the GPU drivers."""
    environment = ask(process, "environ")
    if environment is None:
        return None
    return dict(_settings(environment.items()))


def read_net_space(process: Path) -> str | None:
    """Returns the name of a process's network namespace, `None` where it may not be read.

    Args:
        process: its folder below /proc.
    """
    try:
        return os.readlink(process / "ns/net")  # noqa: PTH115 - the link is a name, not a path
    except OSError:
        return None


def read_ports_in_space(process: Path) -> frozenset[int] | None:
    """Returns the TCP ports on which a process listens in its own network namespace.

    psutil reads the sockets of ours only, whatever process it is asked about.

    Source: Linux Documentation/networking/proc_net_tcp.rst: the local address and port in hex, the
    state (0A is LISTEN), and as the tenth word the inode.
    """
    ports = set()
    try:
        sockets = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        for name in ("tcp", "tcp6"):
            rows = (process / "net" / name).read_text("ascii", "replace").splitlines()[1:]
            for words in map(str.split, rows):
                if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                    ports.add(int(words[1].rpartition(":")[2], 16))
    except (OSError, LookupError, ValueError):
        return None
    return frozenset(ports) or None


def read_addresses(process: Path) -> frozenset[str] | None:
    """Returns the IPv4 addresses of a process's network namespace.

    Source: Linux `net/ipv4/fib_trie.c: fib_trie_seq_show`: each address, then its kind in a row of
    its own; "host LOCAL" is the namespace's own.
    """
    try:
        rows = (process / "net/fib_trie").read_text("ascii", "replace").split("\n")
    except OSError:
        return None
    pairs = pairwise(rows)
    return frozenset(
        row.split()[-1] for row, kind in pairs if kind.split()[1:] == ["host", "LOCAL"]
    )


def _settings(rows: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in sorted(rows) if key.startswith(KEPT_ENVIRONMENT))
