"""The address that the daemon answers at, as people write it."""

from __future__ import annotations

from typing import Final

from warmset.core.settings import Listen

OFF: Final = "off"
_FORM: Final = 'should be HOST:PORT such as "127.0.0.1:11436", a port, or "off"'


def parse_listen(text: str) -> Listen | None:
    """Returns the address that `text` means; `None` for "off".

    A bare port is on loopback; `:PORT` is on every interface, as in Prometheus and Go.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    if text == OFF:
        return None
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ValueError(_FORM)
    if not colon:
        return Listen(port=int(port))
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{_FORM}; brackets around an IPv6 address")
    if any(c.isspace() or c in "/@" for c in host):
        raise ValueError(_FORM)
    return Listen(host=host or "0.0.0.0", port=int(port))  # noqa: S104 - who says `:PORT` means it
