"""One look at a host, everything asked at the same time: the slowest answer sets the wait.

What cannot be read is named in the notes and left unknown; only an Ollama that does not answer
at all is an error, since nothing can be said of a host without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields

from warmset.core.model import Device, Entry, Observation, Resident, ServerSettings
from warmset.core.settings import Settings
from warmset.errors import BackendError, BackendTimeout, Unreachable
from warmset.shell.wiring import Connection, connect


def observe(connection: Connection, settings: Settings) -> Observation:
    """Returns what the host says now.

    Raises:
        Unreachable: nothing listens at the server's address.
        BackendError: the list of installed models cannot be had.
    """
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="observe") as pool:
        devices = pool.submit(connection.read_devices)
        memory = pool.submit(connection.read_memory)
        version = pool.submit(connection.server.version)
        entries = connection.server.entries()
        residents, notes = _residents(connection, entries)
        found = tuple(devices.result())
        return Observation(
            at=connection.clock.now(),
            server_url=connection.server.url,
            is_local=connection.is_local,
            version=_version(version),
            entries=entries,
            residents=residents,
            devices=found,
            memory=memory.result(),
            settings=merge_settings(settings.server, connection.read_settings()),
            notes=(*connection.notes, *notes, *_device_notes(connection, found)),
        )


def look(settings: Settings) -> Observation:
    """Returns what the host that the settings name says now.

    Raises:
        WarmsetError: the host cannot be reached, or its address is wrong.
    """
    connection = connect(settings, environ=os.environ)
    try:
        return observe(connection, settings)
    finally:
        connection.close()


def merge_settings(said: ServerSettings, seen: ServerSettings) -> ServerSettings:
    """Returns the server's settings: what was seen of it beats what the operator said of it."""
    values = {}
    for item in fields(ServerSettings):
        found = getattr(seen, item.name)
        values[item.name] = getattr(said, item.name) if found is None else found
    return ServerSettings(**values)


def _residents(
    connection: Connection, entries: tuple[Entry, ...]
) -> tuple[tuple[Resident, ...] | None, tuple[str, ...]]:
    """A list that does not come is unknown, never empty."""
    try:
        return connection.server.residents(entries), ()
    except Unreachable:
        raise
    except BackendTimeout:
        return None, ("resident models unknown: /api/ps did not answer in time",)
    except BackendError as error:
        return None, (f"resident models unknown: {error.message}",)


def _version(answer: Future[str]) -> str | None:
    try:
        return answer.result()
    except BackendError:
        return None  # /api/tags answered, so the server is there; the version only tunes rules


def _device_notes(connection: Connection, devices: Sequence[Device]) -> tuple[str, ...]:
    if devices:
        unread = (d for d in devices if d.total_bytes.value is None or d.free_bytes.value is None)
        return tuple(
            f"{d.name}: {d.free_bytes.reason or d.total_bytes.reason or 'memory unknown'}"
            for d in unread
        )
    if connection.is_local:
        return ("no GPU found: models run on the CPU",)
    return ("the server is another machine: its GPUs and RAM cannot be read from here",)
