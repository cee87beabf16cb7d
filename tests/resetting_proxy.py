"""A proxy on loopback that passes bytes on, and resets connections when it is told to."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading


class ResettingProxy:
    """Stands before a server.

    Args:
        port: of the server on loopback.

    Attributes:
        every: resets one connection of so many once its answer has begun; 0: none.
        resets: how many it has reset.
    """

    def __init__(self, port: int) -> None:
        self.every = 0
        self.resets = 0
        self._count = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Accepts nobody any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # One thread for both ways: a socket that another thread reads is not closed by `close`.
        address = ("127.0.0.1", self._port)
        with client, contextlib.suppress(OSError), socket.create_connection(address) as up:
            while True:
                ready, _, _ = select.select([client, up], [], [])
                source, target = (up, client) if up in ready else (client, up)
                part = source.recv(65536)
                if not part:
                    return
                if source is up and self._is_next():
                    client.sendall(part[: len(part) // 2])
                    linger = struct.pack("ii", 1, 0)  # then close sends RST
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                target.sendall(part)

    def _is_next(self) -> bool:
        self._count += 1
        is_next = bool(self.every) and self._count % self.every == 0
        self.resets += is_next
        return is_next
