"""A loopback server that answers as the recorded Ollama did: by method, path and body."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
        if "client_error" in step["response"] or "(shortened)" in str(step["response"]):
            continue
        request = step["request"]
        key = (request["method"], request["path"], _text(request.get("body")))
        known.setdefault(key, answer_of(step["response"]))

    def answer(method: str, path: str, body: Any) -> Answer:
        missing = (404, "text/plain", b"404 page not found")
        return known.get((method, path, _text(body)), missing)

    return answer


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


def distinct(values: Iterable[Any]) -> list[Any]:
    """Returns values in their first order, each once, compared as JSON."""
    return list({_text(value): value for value in values}.values())


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
