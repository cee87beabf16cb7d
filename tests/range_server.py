"""A web server on loopback with files, ranges, and the ways in which servers are bad at them."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Content = bytes | Path
_PIECE = 1 << 16


class RangeServer:
    """Files by path; `habit` is how ranges are treated.

    Habits:
        good, ignores (200 and everything), truncates (closes early), crumbs (a few bytes of each
        range), shifts (another range than asked), gzip, more (beyond the range), blind (no total).
    """

    def __init__(self) -> None:
        self.files: dict[str, Content] = {}
        self.redirects: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.habit = "good"
        self.requests: list[tuple[str, str]] = []
        self.sent_bytes = 0
        self.url = ""

    def publish(self, name: str, tag: str, layers: Mapping[str, Content], **config: str) -> str:
        """Adds a model with its manifest; returns the digest of its weights."""
        rows = [self._layer(name, kind, content) for kind, content in layers.items()]
        head = self._layer(name, "config", json.dumps(config).encode())
        manifest = {"schemaVersion": 2, "config": head, "layers": rows}
        self.files[f"/v2/{name}/manifests/{tag}"] = json.dumps(manifest).encode()
        return next(row["digest"] for row in rows if row["mediaType"].endswith(".model"))

    def _layer(self, name: str, kind: str, content: Content) -> dict:
        if isinstance(content, Path):
            digest, size = hashlib.sha256(str(content).encode()).hexdigest(), content.stat().st_size
        else:
            digest, size = hashlib.sha256(content).hexdigest(), len(content)
        self.files[f"/v2/{name}/blobs/sha256:{digest}"] = content
        media = f"application/vnd.ollama.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, wanted = handler.path, handler.headers.get("Range", "")
        self.requests.append((path, wanted))
        if path in self.redirects:
            handler.send_response(307)
            handler.send_header("Location", self.redirects[path])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = self.files.get(path.partition("?")[0])
        status = self.statuses.get(path, 404 if content is None else 200)
        if status != 200 or content is None:
            handler.send_response(status)
            handler.send_header("Content-Length", "2")
            handler.end_headers()
            handler.wfile.write(b"no")
            return
        self._send(handler, content, wanted)

    def _send(self, handler: BaseHTTPRequestHandler, content: Content, wanted: str) -> None:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        begin, end, habit = 0, size, self.habit
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if match and habit != "ignores":
            begin, end = int(match[1]), min(int(match[2]) + 1, size)
            if begin >= size:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{size}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            if habit == "more":
                end = size
            handler.send_response(206)
            shown = begin + 1 if habit == "shifts" else begin
            total = "*" if habit == "blind" else size
            handler.send_header("Content-Range", f"bytes {shown}-{end - 1}/{total}")
        else:
            handler.send_response(200)
        if habit == "gzip":
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(end - begin))
        handler.end_headers()
        stop = {"truncates": begin, "crumbs": min(end, begin + 400_000)}.get(habit, end)
        self._write(handler, content, begin, stop)
        handler.close_connection = stop < end

    def _write(
        self, handler: BaseHTTPRequestHandler, content: Content, begin: int, end: int
    ) -> None:
        if isinstance(content, Path):
            with content.open("rb") as file:
                file.seek(begin)
                while begin < end:
                    piece = file.read(min(_PIECE, end - begin))
                    handler.wfile.write(piece)
                    begin += len(piece)
                    self.sent_bytes += len(piece)
            return
        handler.wfile.write(content[begin:end])
        self.sent_bytes += end - begin


@contextmanager
def serving(
    prepare: Callable[[RangeServer], None] | None = None, *, tls: ssl.SSLContext | None = None
) -> Iterator[RangeServer]:
    """Serves on a free port of loopback, encrypted where `tls` is given."""
    state = RangeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                state.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the reader has what it wants

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # readers leave early
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    state.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    if prepare is not None:
        prepare(state)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
