"""A loopback server that answers as the recorded Ollama did: by method, path and body."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TRANSCRIPTS = Path(__file__).parent / "transcripts"
Answer = tuple[int, str, bytes]  # status, content type, body
Answers = Callable[[str, str, Any], Answer]


def steps(*names: str) -> Iterator[dict[str, Any]]:
    """Yields the recorded requests of the named files (all without a name), in order."""
    paths = sorted(TRANSCRIPTS.glob("*.json"))
    for path in paths:
        if not names or path.name in names:
            transcript = json.loads(path.read_text("utf-8"))
            yield from (step for step in transcript["steps"] if "response" in step)


def is_whole(response: dict[str, Any]) -> bool:
    """Returns whether a response was recorded with its body, and not in a shortened form."""
    has_body = not {"json", "ndjson", "text"}.isdisjoint(response)
    return has_body and "(shortened)" not in str(response)


def answer_of(response: dict[str, Any]) -> Answer:
    """Returns a recorded response as bytes."""
    if "json" in response:
        body = json.dumps(response["json"])
    elif "ndjson" in response:
        body = "".join(json.dumps(line) + "\n" for line in response["ndjson"])
    else:
        body = response.get("text", "")
    return response["status"], response.get("content_type", ""), body.encode()


def recorded(*names: str) -> Answers:
    """Returns answers from the named transcripts; the first recorded one for a request counts."""
    known: dict[tuple[str, str, str], Answer] = {}
    for step in steps(*names):
        if not is_whole(step["response"]):
            continue
        request = step["request"]
        key = (request["method"], request["path"], _text(request.get("body")))
        known.setdefault(key, answer_of(step["response"]))

    def answer(method: str, path: str, body: Any) -> Answer:
        missing = (404, "text/plain", b"404 page not found")
        return known.get((method, path, _text(body)), missing)

    return answer


class RecordedHost:
    """The recorded answers, with the residency that loads and unloads would leave behind.

    Models, rows of ps, replies and errors are the recorded ones; only `expires_at` is made, from
    the keep-alive given, and a show with `verbose` falls back to the plain one where that alone
    was recorded. What was never recorded answers 404 as Ollama does.
    """

    def __init__(self) -> None:
        self._known = recorded("02-version-root-tags.json", "03-show.json")
        tags = json.loads(self._known("GET", "/api/tags", None)[2])["models"]
        shown = {"tiny-llama:20m", "tiny-embed:20m"}
        self._tags = [row for row in tags if row["name"] in shown]
        self._rows = {
            row["name"]: row
            for step in steps("04-ps-empty-one-several.json", "09-embedding-model.json")
            if step["request"]["path"] == "/api/ps"
            for row in step["response"]["json"]["models"]
        }
        self._expiries: dict[str, str] = {}
        self.requests: list[tuple[str, Any]] = []

    def __call__(self, method: str, path: str, body: Any) -> Answer:
        """Answers one request."""
        if method == "POST":
            self.requests.append((path, body))
        if path == "/api/tags":
            return _json(200, {"models": self._tags})
        if path == "/api/ps":
            rows = [{**self._rows[n], "expires_at": at} for n, at in self._expiries.items()]
            return _json(200, {"models": rows})
        if path == "/api/show":
            plain = self._known(method, path, {"model": body["model"]})
            verbose = self._known(method, path, body)
            return verbose if verbose[0] == 200 else plain
        if path in ("/api/generate", "/api/embed"):
            return self._load(path, body)
        return self._known(method, path, body)

    def _load(self, path: str, body: Any) -> Answer:
        name, is_embed = body["model"], path == "/api/embed"
        row = self._rows.get(name)
        if row is None or name not in [tag["name"] for tag in self._tags]:
            return _json(404, {"error": f"model '{name}' not found"})
        if not is_embed and body.get("keep_alive") == 0:
            self._expiries.pop(name, None)
            return _json(
                200, {"model": name, "response": "", "done": True, "done_reason": "unload"}
            )
        if not is_embed and row["details"]["family"] == "bert":
            return _json(400, {"error": f'"{name}" does not support generate'})
        seconds = body.get("keep_alive", 300)
        until = datetime.now(UTC) + timedelta(days=106_000 if seconds < 0 else seconds / 86_400)
        self._expiries[name] = until.isoformat()
        if is_embed:
            return _json(200, {"model": name, "embeddings": []})
        return _json(200, {"model": name, "response": "", "done": True, "done_reason": "load"})


def _json(status: int, value: Any) -> Answer:
    return status, "application/json; charset=utf-8", json.dumps(value).encode()


@contextmanager
def serving(answers: Answers) -> Iterator[str]:
    """Serves answers on loopback for as long as the block runs; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply("GET", None)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            self._reply("POST", json.loads(content) if content else None)

        def _reply(self, method: str, body: Any) -> None:
            status, content_type, content = answers(method, self.path, body)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Keeps the test output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
