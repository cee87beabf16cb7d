"""A server that means harm: real sockets, endless or poisonous answers, nothing of HTTP's manners.

One thread per connection; each path of Ollama gets the same answer, from a generator of bytes that
is cut off only when the client goes away, or else what is good of it is passed on.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNK = 1 << 16

Attack = Callable[[], Iterator[bytes]]


def ten_gigabytes() -> Iterator[bytes]:
    """A list of models that goes on and on, with a length that says so."""
    yield HEAD + b"content-length: 10000000000\r\n\r\n" + b'{"models":['
    for _ in range(10_000_000_000 // CHUNK):
        yield b'{"name":"a"},' * (CHUNK // 13)


def many_rows() -> Iterator[bytes]:
    """Just below the limit of a reply, as many wrong rows as fit in."""
    yield HEAD + b"connection: close\r\n\r\n" + b'{"models":['
    for _ in range((30 << 20) // CHUNK):
        yield b"{}," * (CHUNK // 3)
    yield b"{}]}"


def deep() -> Iterator[bytes]:
    """Brackets within brackets."""
    yield HEAD + b"connection: close\r\n\r\n" + b'{"models":' + b"[" * 5_000_000


def endless_headers() -> Iterator[bytes]:
    """Headers without end."""
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"x-more: " + b"y" * 4000 + b"\r\n"


def one_long_header() -> Iterator[bytes]:
    """One header line that never ends."""
    yield b"HTTP/1.1 200 OK\r\nx: "
    while True:
        yield b"y" * CHUNK


def dripping_headers() -> Iterator[bytes]:
    """A byte of a header now and then: each read succeeds, the answer never begins."""
    yield b"HTTP/1.1 200 OK\r\nx: "
    while True:
        time.sleep(0.05)
        yield b"y"


def dripping_body() -> Iterator[bytes]:
    """A byte of the body now and then."""
    yield HEAD + b"content-length: 1000000\r\n\r\n"
    while True:
        time.sleep(0.05)
        yield b" "


def bomb() -> Iterator[bytes]:
    """A few hundred kilobytes that unpack to a third of a gigabyte."""
    packed = gzip.compress(b" " * (300 << 20), 1)
    length = str(len(packed)).encode()
    yield HEAD + b"content-encoding: gzip\r\ncontent-length: " + length + b"\r\n\r\n" + packed


def endless_chunks() -> Iterator[bytes]:
    """One line that never ends, in chunks of HTTP."""
    yield HEAD + b"transfer-encoding: chunked\r\n\r\n"
    while True:
        yield b"%x\r\n" % CHUNK + b" " * CHUNK + b"\r\n"


def endless_error() -> Iterator[bytes]:
    """An error page without end."""
    yield b"HTTP/1.1 500 Oh\r\n\r\n"
    while True:
        yield b"x" * CHUNK


def huge_number() -> Iterator[bytes]:
    """A number of a million digits, which takes quadratic time to read."""
    yield HEAD + b"connection: close\r\n\r\n"
    yield b'{"models":[{"name":"a","size":' + b"9" * 1_000_000 + b"}]}"


def many_interim() -> Iterator[bytes]:
    """Interim answers for ever."""
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\n\r\n"


def silent() -> Iterator[bytes]:
    """Nothing at all."""
    while True:
        time.sleep(0.05)
        yield b""


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Returns a reply that is as it should be, but for what it says."""
    length = str(len(body)).encode()
    head = b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return head + b"content-length: " + length + b"\r\n\r\n" + body


def wrong_types() -> Iterator[bytes]:
    """Words of the wrong kind wherever one is looked for."""
    yield whole(b'{"models":{"name":7},"version":[],"done":"yes","details":3,"embeddings":1}')


def other_document() -> Iterator[bytes]:
    """A list where an object should be."""
    yield whole(b'[{"models":[]}]')


def broken_text() -> Iterator[bytes]:
    """Bytes that are no text, in a name."""
    yield whole(b'{"models":[{"name":"\xff\xfe\xc0"}],"version":"\xff","done":"\xff"}')


def elsewhere() -> Iterator[bytes]:
    """A redirect to where nobody asked to go."""
    target = b"location: http://127.0.0.1:9/api/ps\r\n"
    yield b"HTTP/1.1 308 There\r\n" + target + b"content-length: 0\r\nconnection: close\r\n\r\n"


def no_http() -> Iterator[bytes]:
    """Another protocol."""
    yield b"SSH-2.0-OpenSSH_9.2p1\r\n" * 100


def cut_short() -> Iterator[bytes]:
    """Less than was announced."""
    yield HEAD + b'content-length: 5000\r\n\r\n{"models":['


ATTACKS: tuple[Attack, ...] = (
    ten_gigabytes,
    many_rows,
    deep,
    endless_headers,
    one_long_header,
    dripping_headers,
    dripping_body,
    bomb,
    endless_chunks,
    endless_error,
    huge_number,
    many_interim,
    silent,
)
"""What never ends, or grows."""

LIES: tuple[Attack, ...] = (
    wrong_types,
    other_document,
    broken_text,
    elsewhere,
    no_http,
    cut_short,
)
"""What ends at once, and is no answer."""


def read_request(connection: socket.socket) -> bytes:
    """Returns a request whole: head and body come in parts of their own."""
    asked = b""
    while part := connection.recv(65536):
        asked += part
        head, found, body = asked.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if found and len(body) >= int(length[1] if length else 0):
            break
    return asked


class HostileServer:
    """Listens on loopback until `stop`.

    Args:
        attack: what it answers.
        good: paths that get a decent document instead.
    """

    def __init__(self, attack: Attack, good: Mapping[str, bytes] | None = None) -> None:
        self.attack = attack
        self.good = good or {}
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_ending = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self._is_ending.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            asked = read_request(connection)
            self.requests.append(asked)
            for part in self.answer_to(asked):
                if self._is_ending.is_set():
                    return
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)  # closed with a request unread, it would be a reset
            connection.settimeout(5)
            while connection.recv(65536):
                pass

    def answer_to(self, asked: bytes) -> Iterator[bytes]:
        """Yields what is answered to a request."""
        path = asked.split(b" ", 2)[1].decode() if asked.count(b" ") > 1 else ""
        return iter((whole(self.good[path]),)) if path in self.good else self.attack()

    def stop(self) -> None:
        """Lets go of everything."""
        self._is_ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def hostile(attack: Attack, good: Mapping[str, bytes] | None = None) -> Iterator[HostileServer]:
    """Gives a server that answers everything so, but for what is good."""
    server = HostileServer(attack, good)
    try:
        yield server
    finally:
        server.stop()
