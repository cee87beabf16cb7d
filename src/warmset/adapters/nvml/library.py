"""The calls of nvidia-ml-py, with their two exception classes folded into one `CallFailed`.

Traps that this file keeps from the rest: a missing symbol is an NVMLError or, from wrapped
functions, a mismatch class that is not one; NVMLError objects are unhashable and their text is
fetched by another driver call; names need not be UTF-8.

Source: devices.md section 1, read in nvidia-ml-py 13.615.71.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from warmset.core.host.readings import GpuProcess, MemoryNumbers, merge_processes

UNINITIALIZED: Final = 1
NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
NOT_FOUND: Final = 6
INSUFFICIENT_SIZE: Final = 7
DRIVER_NOT_LOADED: Final = 9
LIBRARY_NOT_FOUND: Final = 12
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
LIB_RM_VERSION_MISMATCH: Final = 18
UNKNOWN: Final = 999

LOST_CODES: Final = frozenset({GPU_IS_LOST, RESET_REQUIRED})
EXPECTED_CODES: Final = frozenset(
    {NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE, FUNCTION_NOT_FOUND}
)
"""Codes that a healthy session gives; any other one asks for a fresh session."""

PROCESS_LISTS: Final = {
    "compute": "nvmlDeviceGetComputeRunningProcesses",
    "graphics": "nvmlDeviceGetGraphicsRunningProcesses",
    "mps": "nvmlDeviceGetMPSComputeRunningProcesses",
}

Handle = Any  # an opaque ctypes pointer; nvidia-ml-py has no types


class CallFailed(Exception):
    """A call into the driver failed.

    Args:
        code: The NVML return code.
        call: The function's name.
    """

    def __init__(self, code: int, call: str) -> None:
        super().__init__(f"{call} returned {code}")
        self.code = code
        self.call = call


class NvmlLibrary:
    """One process's view of NVML; remembers which functions this driver is too old for."""

    def __init__(self) -> None:
        self._missing: set[str] = set()

    @property
    def is_old(self) -> bool:
        """Whether this driver lacks a function that drivers since r515 have."""
        return bool(self._missing)

    def call(self, name: str, *args: object, **keys: object) -> Any:  # noqa: ANN401 - untyped lib
        """Returns what the function `name` of nvidia-ml-py returns.

        Raises:
            CallFailed: for every error of the driver or of the binding.
        """
        import pynvml

        try:
            return getattr(pynvml, name)(*args, **keys)
        except pynvml.NVMLError as error:
            raise CallFailed(error.value, name) from error
        except (pynvml.NVMLLibraryMismatchError, AttributeError) as error:
            raise CallFailed(FUNCTION_NOT_FOUND, name) from error
        except (UnicodeDecodeError, OSError) as error:
            raise CallFailed(UNKNOWN, name) from error

    def read_text(self, name: str, *args: object) -> str | None:
        """Returns a text that is only shown, or `None` if the driver does not give it."""
        try:
            value = self.call(name, *args)
        except CallFailed as failed:
            if failed.code in LOST_CODES:
                raise
            return None
        return value if isinstance(value, str) else None

    def read_memory(self, handle: Handle) -> MemoryNumbers:
        """Returns the memory counts: v2, or v1 where this driver has no v2.

        v1 counts the driver's own reserve as used, v2 tells the two apart; `free` is the same.

        Raises:
            CallFailed: when neither form answers.
        """
        import pynvml

        if "memory_v2" not in self._missing:
            try:
                raw = self.call("nvmlDeviceGetMemoryInfo", handle, version=pynvml.nvmlMemory_v2)
                return MemoryNumbers(
                    total_bytes=int(raw.total),
                    free_bytes=int(raw.free),
                    used_bytes=int(raw.used),
                    reserved_bytes=int(raw.reserved),
                )
            except CallFailed as failed:
                if failed.code != FUNCTION_NOT_FOUND:
                    raise
                self._missing.add("memory_v2")
        raw = self.call("nvmlDeviceGetMemoryInfo", handle)
        return MemoryNumbers(
            total_bytes=int(raw.total), free_bytes=int(raw.free), used_bytes=int(raw.used)
        )

    def read_processes(self, handle: Handle) -> tuple[GpuProcess, ...]:
        """Returns the compute, graphics and MPS processes of a device, one row for each PID.

        Raises:
            CallFailed: when the compute list cannot be read, or any list fails in a way that
                leaves the picture incomplete.
        """
        rows: list[GpuProcess] = []
        for kind, name in PROCESS_LISTS.items():
            try:
                found: Iterable[Any] = self._list(name, handle)
            except CallFailed as failed:
                if kind != "compute" and failed.code in {NOT_SUPPORTED, FUNCTION_NOT_FOUND}:
                    continue
                raise
            rows += [
                GpuProcess(pid=int(p.pid), used_bytes=p.usedGpuMemory, kinds=frozenset({kind}))
                for p in found
            ]
        return merge_processes(rows)

    def _list(self, name: str, handle: Handle) -> Iterable[Any]:
        for version in ("_v3", "_v2"):
            if name + version in self._missing:
                continue
            try:
                return self._list_once_more(name + version, handle)
            except CallFailed as failed:
                if failed.code != FUNCTION_NOT_FOUND:
                    raise
                self._missing.add(name + version)
        raise CallFailed(FUNCTION_NOT_FOUND, name)

    def _list_once_more(self, name: str, handle: Handle) -> Iterable[Any]:
        """Retries once when the list outgrew the binding's buffer between its two calls."""
        try:
            found: Iterable[Any] = self.call(name, handle)
        except CallFailed as failed:
            if failed.code != INSUFFICIENT_SIZE:
                raise
            found = self.call(name, handle)
        return found
