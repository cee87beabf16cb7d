"""How much memory an Intel card has, asked of its render node: sysfs does not tell.

Source: Linux 6.12 `include/uapi/drm/xe_drm.h` (`drm_xe_device_query`, `drm_xe_mem_region`) and
`i915_drm.h` (`drm_i915_query`, `drm_i915_memory_region_info`). Both are read by layout, since no
library of ours knows them; no such card was at hand, so the tests play the kernel's part.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Ioctl = Callable[[int, int, bytearray], object]
"""Takes a descriptor, a request and its argument, which the kernel changes in place."""

XE_DEVICE_QUERY: Final = 0xC0286440  # _IOWR('d', 0x40 + 0x00, 40 bytes)
I915_QUERY: Final = 0xC0106479  # _IOWR('d', 0x40 + 0x39, 16 bytes)
_XE_MEM_REGIONS: Final = 1
_I915_MEMORY_REGIONS: Final = 4

_XE_ARGUMENT: Final = struct.Struct("=QIIQQQ")  # extensions, query, size, data, reserved
_I915_ARGUMENT: Final = struct.Struct("=IIQ")  # number of items, flags, items
_I915_ITEM: Final = struct.Struct("=QiIQ")  # query, length, flags, data
_REGION: Final = struct.Struct("=HHIQQ")  # class, instance, page size, total, used or unallocated
_REGION_BYTES: Final = 88  # both; what follows is not asked for
_XE_HEAD_BYTES, _I915_HEAD_BYTES = 8, 16  # a number of regions and padding
_CARDS_OWN: Final = 1  # the class of a card's own memory, in both
_MOST_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CardMemory:
    """A card's own memory.

    Attributes:
        used_bytes: `None` where the kernel hides it: without CAP_PERFMON it says that nothing is
            used, which cannot be told from an idle card.
    """

    total_bytes: int
    used_bytes: int | None


def read_memory(node: Path, driver: str, ioctl: Ioctl | None = None) -> CardMemory | None:
    """Returns the memory of the card behind a render node; `None` if it has none of its own.

    Args:
        node: such as /dev/dri/renderD128. Opening it wakes a card that sleeps.
        driver: `xe` or `i915`.
        ioctl: stands for the kernel, in tests.

    Raises:
        OSError: the node may not be opened, or the driver does not know the question.
    """
    ask = ioctl or _ask_kernel
    descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if driver == "xe":
            rows = list(_regions(_ask_xe(descriptor, ask), _XE_HEAD_BYTES))
            used = [used for _, used in rows]
        else:
            rows = list(_regions(_ask_i915(descriptor, ask), _I915_HEAD_BYTES))
            used = [total - unallocated for total, unallocated in rows]
    finally:
        os.close(descriptor)
    if not rows:
        return None
    is_told = any(used) and min(used) >= 0
    return CardMemory(
        total_bytes=sum(total for total, _ in rows), used_bytes=sum(used) if is_told else None
    )


def _ask_xe(descriptor: int, ask: Ioctl) -> bytes:
    """Asks for the size of the answer, then for the answer."""
    argument = bytearray(_XE_ARGUMENT.pack(0, _XE_MEM_REGIONS, 0, 0, 0, 0))
    ask(descriptor, XE_DEVICE_QUERY, argument)
    size = _checked(_XE_ARGUMENT.unpack(argument)[2])
    answer = ctypes.create_string_buffer(size)
    place = ctypes.addressof(answer)
    ask(
        descriptor,
        XE_DEVICE_QUERY,
        bytearray(_XE_ARGUMENT.pack(0, _XE_MEM_REGIONS, size, place, 0, 0)),
    )
    return answer.raw


def _ask_i915(descriptor: int, ask: Ioctl) -> bytes:
    """Asks for the size of the answer, then for the answer; an error comes as a negative size."""
    item = ctypes.create_string_buffer(_I915_ITEM.pack(_I915_MEMORY_REGIONS, 0, 0, 0), 24)
    argument = _I915_ARGUMENT.pack(1, 0, ctypes.addressof(item))
    ask(descriptor, I915_QUERY, bytearray(argument))
    size = _checked(_I915_ITEM.unpack(item.raw)[1])
    answer = ctypes.create_string_buffer(size)
    item.raw = _I915_ITEM.pack(_I915_MEMORY_REGIONS, size, 0, ctypes.addressof(answer))
    ask(descriptor, I915_QUERY, bytearray(argument))
    _checked(_I915_ITEM.unpack(item.raw)[1])
    return answer.raw


def _checked(size: int) -> int:
    if not 0 < size <= _MOST_BYTES:
        code = -size if size < 0 else errno.EPROTO
        raise OSError(code, f"the driver answers with {size} bytes")
    return size


def _regions(answer: bytes, head_bytes: int) -> Iterator[tuple[int, int]]:
    """Yields both counts of each region of the card's own memory."""
    (count,) = struct.unpack_from("=I", answer.ljust(4, b"\0"))
    room = (len(answer) - head_bytes) // _REGION_BYTES
    for number in range(min(count, room)):
        kind, _, _, total, other = _REGION.unpack_from(answer, head_bytes + number * _REGION_BYTES)
        if kind == _CARDS_OWN:
            yield total, other


def _ask_kernel(descriptor: int, request: int, argument: bytearray) -> object:
    import fcntl

    return fcntl.ioctl(descriptor, request, argument, True)
