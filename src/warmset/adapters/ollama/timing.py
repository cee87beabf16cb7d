"""One request with a stopwatch, and a download: what `warmset bench` measures.

The prompt is short and the answer is cut off early, so that what differs between a cold and a warm
run is the load. Sampling options are no load options: they never reload a model (ollama-behaviour
3.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from warmset.adapters.ollama.facts import printable
from warmset.adapters.ollama.levers import EMBED, GENERATE, is_cloud_name
from warmset.adapters.ollama.meaning import status_error
from warmset.adapters.ollama.transport import Http
from warmset.adapters.ollama.wire import StreamLine, bad_payload, parse_reply
from warmset.core.model import Entry
from warmset.core.ollama.keepalive import to_wire
from warmset.errors import Refused

PROMPT: Final = "Say hello."
TOKENS: Final = 16
"""Enough for a first token and a pace, over in a moment. Our choice."""

_MIB: Final = 1 << 20
_REPLY_BYTES: Final = 4 * _MIB
_PULL: Final = "/api/pull"
_UNFINISHED: Final = "the stream ended without saying that all is done"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRequest:
    """How long one request took.

    Attributes:
        first_seconds: until the first token came; `None`: an embedding has none.
        total_seconds: until its end.
        load_seconds: of the load in it, as the server tells; `None`: it does not.
    """

    first_seconds: float | None
    total_seconds: float
    load_seconds: float | None


def time_request(
    http: Http, entry: Entry, monotonic: Callable[[], float], *, keep_alive: float | None
) -> TimedRequest:
    """Sends one short request and returns how long its parts took.

    Raises:
        BackendError: it was not answered.
        Refused: it is a cloud model.
    """
    if is_cloud_name(entry.name):
        raise Refused(f"{entry.name!r} is a cloud model: nothing is loaded here")
    path = EMBED if entry.is_embedding else GENERATE
    body: dict[str, object] = {"model": entry.name}
    if entry.is_embedding:
        body["input"] = PROMPT
    else:
        body |= {"prompt": PROMPT, "stream": True, "options": {"num_predict": TOKENS}}
    if keep_alive is not None:
        body["keep_alive"] = to_wire(keep_alive)
    began = monotonic()
    first = load = None
    is_done = False
    for line in _told(http, path, body):
        if first is None and (line.response or line.thinking):
            first = monotonic() - began
        if line.load_duration is not None:
            load = line.load_duration / 1e9  # nanoseconds: `api/types.go: Metrics`
        is_done = bool(line.done) or line.embeddings is not None
    total = monotonic() - began
    if not is_done:
        raise bad_payload(f"POST {path}", "done", _UNFINISHED)
    return TimedRequest(first_seconds=first, total_seconds=total, load_seconds=load)


def pull(http: Http, name: str) -> int:
    """Downloads a model; returns the bytes that came now, 0 if all was there.

    Raises:
        BackendError: the server could not.
        Refused: it is a cloud model.
    """
    if is_cloud_name(name):
        raise Refused(f"{name!r} is a cloud model: nothing is downloaded for it")
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    status = None
    for line in _told(http, _PULL, {"model": name, "stream": True}):
        if line.digest and line.completed is not None:
            first.setdefault(line.digest, line.completed)
            last[line.digest] = line.completed
        status = line.status
    if status != "success":  # what the last line of a download says: `server/images.go: PullModel`
        raise bad_payload(f"POST {_PULL}", "status", _UNFINISHED)
    return sum(last[digest] - first[digest] for digest in last)


def _told(http: Http, path: str, body: Mapping[str, object]) -> Iterator[StreamLine]:
    """Yields what the server tells, line by line.

    Raises:
        BackendError: the stream tells of an error, or is none.
    """
    endpoint = f"POST {path}"
    for raw in http.lines(path, body, limit_bytes=_REPLY_BYTES):
        if raw.strip():
            line = parse_reply(StreamLine, raw, endpoint)
            if line.error is not None:
                raise status_error(200, raw, endpoint=endpoint, model=printable(str(body["model"])))
            yield line
