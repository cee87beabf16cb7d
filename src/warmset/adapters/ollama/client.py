"""`OllamaServer`: what is installed, what is resident, and the three levers, over HTTP.

Each call has its own time limit; loads have none, since Ollama gives up a load when its client
goes away (ollama-behaviour 1.7).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from warmset.adapters.ollama import levers, timing, wire
from warmset.adapters.ollama.address import Address, is_local
from warmset.adapters.ollama.cache import ShowCache
from warmset.adapters.ollama.catalogue import Catalogue
from warmset.adapters.ollama.facts import printable
from warmset.adapters.ollama.meaning import Meaning, status_error
from warmset.adapters.ollama.names import default_folder, remember_names
from warmset.adapters.ollama.sizes import local_blob_bytes
from warmset.adapters.ollama.timing import TimedRequest
from warmset.adapters.ollama.transport import Http
from warmset.core.model import Entry, Resident
from warmset.core.ollama.generation import generation_of
from warmset.errors import BadPayload, BadStatus

if TYPE_CHECKING:
    import httpx

MIB: Final = 1 << 20
VERSION_SECONDS: Final = 5.0
TAGS_SECONDS: Final = 30.0  # blocks at server start until its list is read
SHOW_SECONDS: Final = 60.0  # reads headers from disk, cold
PS_SECONDS: Final = 20.0  # waits for runner locks; ollama-behaviour 1.4 asks for 15 to 30
UNLOAD_SECONDS: Final = 30.0  # answers at once, but after the same locks
SMALL_BYTES: Final = 1 * MIB
LIST_BYTES: Final = 32 * MIB
SHOW_BYTES: Final = 64 * MIB  # 262144 tokens with merges are 19 MB; parsing takes 7 times that


class OllamaServer:
    """Implements `warmset.ports.ModelServer` for a real server.

    Args:
        address: where it listens, from `parse_address`.
        cache_folder: where show replies are kept; `None` keeps them in memory only.
        transport: replaces the network, in tests.
        now: wall clock, Unix seconds.
        monotonic: the clock of time limits.
    """

    def __init__(
        self,
        address: Address,
        *,
        cache_folder: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._now = now
        self._cache_folder = cache_folder
        self._version: str | None = None
        self._entries: tuple[Entry, ...] | None = None  # the last answer
        self._http = Http(address, transport=transport, monotonic=monotonic)
        self._catalogue = Catalogue(
            show=self._show,
            cache=ShowCache(cache_folder, address.url),
            blob_bytes=local_blob_bytes if is_local(address) else lambda _path: None,
            monotonic=monotonic,
        )

    @property
    def url(self) -> str:
        """The base URL, for messages."""
        return self._address.url

    def close(self) -> None:
        """Closes idle connections."""
        self._http.close()

    def hang_up(self) -> None:
        """Ends every call that is open, from any thread; a load in flight is given up by Ollama.

        Nothing can be asked afterwards.
        """
        self._http.hang_up()

    def __enter__(self) -> Self:
        """Returns the server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes idle connections."""
        self.close()

    def version(self) -> str:
        """Returns the version text."""
        reply = self._ask(
            wire.VersionReply,
            "GET",
            "/api/version",
            seconds=VERSION_SECONDS,
            limit_bytes=SMALL_BYTES,
        )
        self._version = printable(reply.version)
        return self._version

    def entries(self) -> tuple[Entry, ...]:
        """Returns the installed models, one entry per weights blob, cloud stubs left out."""
        version = self._known_version()
        reply = self._ask(
            wire.TagsReply, "GET", "/api/tags", seconds=TAGS_SECONDS, limit_bytes=LIST_BYTES
        )
        entries = self._catalogue.entries(reply.models or (), version)
        if entries is not self._entries:
            self._entries = entries
            names = (name for entry in entries for name in entry.names)
            remember_names(self._cache_folder, self._address.url, names)
        return entries

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        """Returns the rows of `/api/ps`, matched with `entries` by manifest.

        A manifest that no tag has any more (changed or deleted) is matched by the weights it stood
        for; if those are not installed either, the row's key is `None`.
        """
        reply = self._ask(
            wire.PsReply, "GET", "/api/ps", seconds=PS_SECONDS, limit_bytes=LIST_BYTES
        )
        now = self._now()
        return tuple(self._resident(row, entries, now) for row in reply.models)

    def preload(self, entry: Entry, *, keep_alive: float, num_ctx: int | None = None) -> None:
        """Loads a model without a prompt; waits as long as the load takes."""
        self._load(levers.preload_call(entry, keep_alive=keep_alive, num_ctx=num_ctx))

    def ping(self, entry: Entry, resident: Resident, *, keep_alive: float) -> None:
        """Renews the keep-alive of a resident model in the form that does not reload it.

        It has no read limit either: if the model vanished meanwhile, the ping is a load.
        """
        generation = generation_of(self._known_version())
        self._load(levers.ping_call(entry, resident, keep_alive=keep_alive, generation=generation))

    def unload(self, name: str) -> None:
        """Asks for an unload; returns before the memory is back."""
        reasons = ("unload", "load", "")  # before 0.3.11: "load", and gone right after
        self._pull_lever(levers.unload_call(name), reasons, seconds=UNLOAD_SECONDS)

    def time_request(
        self, entry: Entry, monotonic: Callable[[], float], *, keep_alive: float | None = None
    ) -> TimedRequest:
        """Sends one short request and returns how long its parts took.

        Args:
            entry: loaded by it if need be.
            monotonic: the clock to measure with.
            keep_alive: in seconds; `None`: as the server has it.
        """
        return timing.time_request(self._http, entry, monotonic, keep_alive=keep_alive)

    def pull(self, name: str) -> int:
        """Downloads a model; returns the bytes that came."""
        return timing.pull(self._http, name)

    def _known_version(self) -> str:
        if self._version is None:
            try:
                self.version()
            except (BadStatus, BadPayload):
                self._version = ""  # counts as the newest
        return self._version or ""

    def _show(self, name: str) -> wire.Shown:
        body = {"model": name, "verbose": True}
        reply = self._ask(
            wire.ShowReply, "POST", "/api/show", body, seconds=SHOW_SECONDS, limit_bytes=SHOW_BYTES
        )
        return wire.to_shown(reply)

    def _resident(self, row: wire.PsRow, entries: tuple[Entry, ...], now: float) -> Resident:
        digest = wire.bare_digest(row.digest)
        return Resident(
            name=printable(row.name),
            manifest_digest=digest,
            key=self._catalogue.match(entries, digest, printable(row.name)),
            size_bytes=row.size,
            size_vram_bytes=row.size_vram,
            context=row.context_length or None,
            expires_at=wire.expiry_of(row, now),
        )

    def _load(self, call: levers.Call) -> None:
        """Sends a load-type call; a model that turns out to only embed goes through embed."""
        try:
            self._pull_lever(call, ("load", ""), seconds=None)  # before 0.1.38 without a reason
        except BadStatus as error:
            if error.context.get("meaning") is not Meaning.EMBEDDING_ONLY:
                raise
            self._pull_lever(levers.through_embed(call), (), seconds=None)

    def _pull_lever(
        self, call: levers.Call, reasons: tuple[str, ...], *, seconds: float | None
    ) -> None:
        """Sends a call and makes sure that the reply says it was done, for one of the reasons."""
        endpoint = f"POST {call.path}"
        body = self._http.exchange(
            "POST", call.path, call.body, seconds=seconds, limit_bytes=SMALL_BYTES
        )
        reply = wire.parse_reply(wire.LoadReply, body, endpoint)
        if reply.error is not None:
            raise status_error(200, body, endpoint=endpoint, model=call.model)
        if call.path == levers.EMBED:
            if reply.embeddings is None:
                raise wire.bad_payload(endpoint, "embeddings", "a list was expected")
        elif not reply.done or (reply.done_reason or "") not in reasons:
            found = f"done={reply.done}, done_reason={reply.done_reason!r}"
            raise wire.bad_payload(endpoint, "done_reason", f"{found}; expected {reasons[0]!r}")

    def _ask(
        self,
        form: type[wire.ReplyT],
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float,
        limit_bytes: int,
    ) -> wire.ReplyT:
        content = self._http.exchange(method, path, body, seconds=seconds, limit_bytes=limit_bytes)
        return wire.parse_reply(form, content, f"{method} {path}")


def connect(address: Address, *, environ: Mapping[str, str] | None = None) -> OllamaServer:
    """Returns a server whose show replies are cached in the usual folder."""
    folder = default_folder(os.environ if environ is None else environ)
    return OllamaServer(address, cache_folder=folder)
