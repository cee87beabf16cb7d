"""Where a server listens: every form of `OLLAMA_HOST`, and whether that is this machine.

Source: Ollama v0.33 `envconfig/config.go: Var, Host, ConnectableHost`. What Ollama would only
fail on later (other schemes, credentials, blanks inside) is refused here with a reason.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

from warmset.errors import ConfigError

DEFAULT_PORT: Final = 11434
_SCHEME_PORTS: Final = {"http": 80, "https": 443}
_CLOUD_HOST: Final = "ollama.com"
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_PATH: Final = re.compile(r"[A-Za-z0-9._~/%:@!$&'()*+,;=-]*")
_PORT: Final = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server to connect to.

    Invariants:
        `host` is a name or an IP address without brackets, never an "any" address; `path` is
        empty or begins with a slash and does not end with one.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    notes: tuple[str, ...] = ()  # what was put right, for the user to read

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the address never leaves the machine, judged without asking a name server."""
        name = self.host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ip = _parse_ip(name)
        return ip is not None and ip.is_loopback


def parse_address(text: str | None) -> Address:
    """Returns the address that a value of `OLLAMA_HOST` (or of `[ollama] url`) means.

    Args:
        text: the value; `None` or blank means Ollama's default.

    Raises:
        ConfigError: for a scheme, host or path that no HTTP client could use.
    """
    value = (text or "").strip().strip("\"'").strip()
    scheme, default_port, rest = _split_scheme(value)
    hostport, _, path = rest.partition("/")
    if "@" in hostport:
        raise ConfigError(
            f"Ollama address with credentials (…@{hostport.rpartition('@')[2]}) is not supported",
            hint="put the host and port alone; Ollama itself has no login",
        )
    notes: list[str] = []
    host, port = _split_port(hostport, default_port, notes)
    host = _connectable(host, value, notes)
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f"Ollama address {value!r} has characters in its path that a URL cannot hold",
            hint="use http://HOST:PORT/PREFIX without a query or fragment",
        )
    prefix = "/".join(part for part in path.split("/") if part)
    return Address(
        scheme=scheme,
        host=host,
        port=port,
        path=f"/{prefix}" if prefix else "",
        notes=tuple(notes),
    )


def is_local(address: Address) -> bool:
    """Returns whether the server runs on this machine: loopback, our name or one of our IPs.

    No name is looked up: an alias in DNS counts as another machine, since then GPU readings taken
    here may be those of the wrong host.
    """
    if address.is_loopback:
        return True
    ip = _parse_ip(address.host)
    if ip is not None:
        return _is_own_ip(ip)
    ours = socket.gethostname().lower().rstrip(".")
    name = address.host.lower().rstrip(".")
    return bool(ours) and (name == ours or name == ours.partition(".")[0])


def _split_scheme(value: str) -> tuple[str, int, str]:
    scheme, separator, rest = value.partition("://")
    if not separator:
        if value.lower() == _CLOUD_HOST:
            return "https", 443, value
        return "http", DEFAULT_PORT, value
    scheme = scheme.lower()
    if scheme not in _SCHEME_PORTS:
        raise ConfigError(
            f"Ollama address {value!r} has the scheme {scheme!r}, which is not HTTP",
            hint="use HOST:PORT, http://HOST:PORT, https://HOST or twin://NAME",
        )
    return scheme, _SCHEME_PORTS[scheme], rest


def _split_port(hostport: str, default_port: int, notes: list[str]) -> tuple[str, int]:
    """Splits as Go's `net.SplitHostPort` does, with Ollama's defaults where that fails."""
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", hostport)
    if bracketed:
        host, port_text = bracketed.group(1), bracketed.group(2)
    elif hostport.count(":") == 1:
        host, _, port_text = hostport.partition(":")
    else:
        host, port_text = hostport, None
    if port_text is None:
        return host, default_port
    if _PORT.fullmatch(port_text) and 0 < int(port_text) <= 65535:
        return host, int(port_text)
    notes.append(f"port {port_text!r} is not usable; the default {default_port} is used")
    return host, default_port


def _connectable(host: str, value: str, notes: list[str]) -> str:
    """Returns a host that can be connected to; "any" addresses become loopback."""
    if not host:
        return "127.0.0.1"
    ip = _parse_ip(host)
    if ip is None:
        if _HOST_NAME.fullmatch(host):
            return host
        raise ConfigError(
            f"Ollama address {value!r} has no usable host ({host!r})",
            hint="use HOST:PORT, http://HOST:PORT or [IPv6]:PORT",
        )
    if ip.is_unspecified:
        loopback = "127.0.0.1" if ip.version == 4 else "::1"
        notes.append(f"{host} means every interface; connecting to {loopback}")
        return loopback
    return str(ip)


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        return None if ip.scope_id else ip.ipv4_mapped or ip
    return ip


def _is_own_ip(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Returns whether this machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
