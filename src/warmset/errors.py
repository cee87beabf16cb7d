"""Every error that warmset raises on purpose.

    WarmsetError
    ├── ConfigError            budgets.toml, flags or host files are wrong            exit 3
    ├── CapacityError          a GPU or RAM reading that was needed is not to be had  exit 5
    │   ├── DriverMissing
    │   ├── DeviceLost
    │   └── NotSupported
    ├── BackendError           Ollama is unreachable or talks nonsense                exit 4
    │   ├── Unreachable
    │   ├── BackendTimeout
    │   ├── BadStatus
    │   ├── BadPayload
    │   └── UnknownModel
    ├── FactsError             model metadata that matters is missing or unknown      exit 6
    ├── ApplyError             what was asked for could not be made true              exit 8
    │   ├── NotConverged
    │   └── Refused                                                                   exit 6
    └── TraceError             a demand trace or a journal is malformed               exit 3

A negative verdict ("does not fit") is a value, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class WarmsetError(Exception):
    """Root of the tree.

    Args:
        message: What is wrong, naming the file, key, model or device and the value.
        hint: The next thing to try; empty if there is none.
        context: Machine-readable facts for JSON output and logs.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str = "", context: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context: Mapping[str, object] = MappingProxyType(dict(context or {}))


class ConfigError(WarmsetError):
    """A configuration file, flag or environment value that cannot be used."""

    exit_code = 3


class CapacityError(WarmsetError):
    """A capacity reading that was needed could not be taken."""

    exit_code = 5


class DriverMissing(CapacityError):
    """No GPU driver library, or one without its kernel module."""


class DeviceLost(CapacityError):
    """A GPU that was there has fallen off the bus or wants a reset."""


class NotSupported(CapacityError):
    """The device does not report this fact."""


class BackendError(WarmsetError):
    """Ollama could not be reached or answered with something unusable."""

    exit_code = 4


class Unreachable(BackendError):
    """No connection: refused, reset, unknown host."""

    retryable = True


class BackendTimeout(BackendError):
    """No answer in time: the state asked for is unknown, not empty."""

    retryable = True


class BadStatus(BackendError):
    """An HTTP status that means failure; `context` holds `status` and `error`."""


class BadPayload(BackendError):
    """A reply that is too large, not JSON, or not of the documented form."""


class UnknownModel(BackendError):
    """The server does not have the model that was named."""

    exit_code = 4


class FactsError(WarmsetError):
    """Model metadata that matters is missing or of an unknown kind; names the key."""

    exit_code = 6


class ApplyError(WarmsetError):
    """What was asked for could not be made true."""

    exit_code = 8


class NotConverged(ApplyError):
    """The host did not reach the wanted state in the time given."""

    retryable = True


class Refused(ApplyError):
    """Warmset declines to do what was asked, with the numbers."""

    exit_code = 6


class TraceError(WarmsetError):
    """A demand trace or a journal that cannot be read."""

    exit_code = 3
