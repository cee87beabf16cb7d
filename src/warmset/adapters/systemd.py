"""Words to the service manager: one datagram each, nothing if there is none.

Source: systemd `sd_notify(3)`: `NOTIFY_SOCKET` names a datagram socket, `@` in front means the
abstract namespace; `WATCHDOG_PID` names the process that the watchdog is meant for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Whoever started us and wants to know how we are.

    Args:
        environ: with the variables that systemd sets.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.wants_watchdog = bool(environ.get("WATCHDOG_USEC")) and is_ours

    def tell(self, *words: str) -> None:
        """Sends assignments such as `READY=1`; a manager that does not listen is no error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto("\n".join(words).encode(), address)
        except OSError:
            return
