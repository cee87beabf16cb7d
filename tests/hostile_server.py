"""A server that means harm: real sockets, endless or poisonous answers, nothing of HTTP's manners.

One thread per connection; each path of Ollama gets the same answer, from a generator of bytes that
is cut off only when the client goes away.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator

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


class HostileServer:
    """Listens on loopback until `stop`."""

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
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
            self.requests.append(connection.recv(65536))
            for part in self.attack():
                if self._is_ending.is_set():
                    return
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)  # closed with a request unread, it would be a reset
            connection.settimeout(5)
            while connection.recv(65536):
                pass

    def stop(self) -> None:
        """Lets go of everything."""
        self._is_ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def hostile(attack: Attack) -> Iterator[HostileServer]:
    """Gives a server that answers everything so."""
    server = HostileServer(attack)
    try:
        yield server
    finally:
        server.stop()
