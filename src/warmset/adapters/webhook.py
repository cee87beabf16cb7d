"""One POST to an address of the operator's, which may hold a secret: no error repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from warmset.bounded import read_bounded
from warmset.errors import BackendError, BadStatus, ConfigError, Unreachable

TIMEOUT_SECONDS: Final = 5.0
MAX_TOKEN_BYTES: Final = 8192
"""Source: what web servers take of a header line, most of them."""

_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def post(url: str, document: Mapping[str, object], *, token_file: str = "") -> None:
    """Sends a document as JSON. Redirects are not followed: the token is for this address.

    Args:
        url: where to.
        document: what.
        token_file: read at every call, so that a new token counts at once.

    Raises:
        Unreachable: no answer, or one that may be another the next time.
        BackendError: an answer that will be the same the next time.
        ConfigError: the token cannot be read, or the address is none.
    """
    headers = {"authorization": f"Bearer {_token(token_file)}"} if token_file else {}
    try:
        with httpx.stream(  # the body is nobody's business, however long it is
            "POST", url, json=dict(document), headers=headers, timeout=TIMEOUT_SECONDS
        ) as reply:
            pass
    except httpx.HTTPError as error:
        raise Unreachable(f"{_host(url)}: {type(error).__name__}") from None
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigError("alerts.webhook: no address that can be used") from None
    if reply.is_success:
        return
    kind: type[BackendError] = Unreachable if reply.status_code in _WORTH_ANOTHER_TRY else BadStatus
    raise kind(f"{_host(url)}: HTTP {reply.status_code}")


def _host(url: str) -> str:
    """Returns what may be said of an address: whose it is."""
    return urlsplit(url).hostname or "the webhook"


def _token(path: str) -> str:
    try:
        token = read_bounded(Path(path), limit_bytes=MAX_TOKEN_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"{path}: the token cannot be read: {reason}") from None
    if not 0 < len(token) <= MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable():
        raise ConfigError(f"{path}: should hold one token, in one line")
    return token
