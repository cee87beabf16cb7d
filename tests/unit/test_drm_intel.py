"""Intel cards through their render node; the tests play the kernel, as its headers describe it."""

from __future__ import annotations

import ctypes
import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_drm import ARC, Tree, fdinfo, only

from warmset.adapters.drm import DrmProbe
from warmset.adapters.drm.intel import I915_QUERY, XE_DEVICE_QUERY, read_memory
from warmset.core.host.readings import GpuReading, MemoryKind
from warmset.core.model import Quality
from warmset.core.units import GIB

SYSTEM, OWN = 0, 1


class Kernel:
    """Answers both questions about memory regions, sizes first, and is strict about the sizes.

    Args:
        regions: class, total, and used bytes (xe) or unallocated ones (i915).
        count: how many regions the answer claims to have, if not as many as it has.
    """

    def __init__(self, *regions: tuple[int, int, int], count: int | None = None) -> None:
        rows = [struct.pack("=HHIQQ6Q16x", kind, i, 65536, total, other, 0, 0, 0, 0, 0, 0)
                for i, (kind, total, other) in enumerate(regions)]  # fmt: skip
        assert all(len(row) == 88 for row in rows)
        number = len(regions) if count is None else count
        self._body = b"".join(rows)
        self._heads = {XE_DEVICE_QUERY: struct.pack("=II", number, 0)}
        self._heads[I915_QUERY] = struct.pack("=IIII", number, 0, 0, 0)

    def __call__(self, descriptor: int, request: int, argument: bytearray) -> int:
        """Stands for ioctl(2) of a render node."""
        assert descriptor > 2
        answer = self._heads[request] + self._body
        if request == XE_DEVICE_QUERY:
            extensions, query, size, place, *reserved = struct.unpack("=QIIQQQ", argument)
            assert (extensions, query, reserved) == (0, 1, [0, 0])
            if size == 0:
                struct.pack_into("=I", argument, 12, len(answer))
                return 0
        else:
            count, flags, items = struct.unpack("=IIQ", argument)
            query, size, flags, place = struct.unpack("=QiIQ", ctypes.string_at(items, 24))
            assert (count, query, flags) == (1, 4, 0)
            if size == 0:
                ctypes.memmove(items + 8, struct.pack("=i", len(answer)), 4)
                return 0
        if size != len(answer):
            raise OSError(errno.EINVAL, "Invalid argument")
        ctypes.memmove(place, answer, size)
        return 0


def machine(tmp_path: Path, driver: str) -> Tree:
    """A machine with an Arc card of that driver and an empty file for its render node."""
    tree = Tree(tmp_path)
    tree.card(0, ARC, "0x8086", {})
    tree.put(f"sys/bus/pci/drivers/{driver}/bind", "")
    device = tree.root / "sys/devices/pci0000:00" / ARC
    (device / "driver").symlink_to(tree.root / "sys/bus/pci/drivers" / driver)
    tree.put("dev/dri/renderD128", "")
    tree.put("proc/self/status", "")
    return tree


def read(tree: Tree, kernel: Kernel) -> GpuReading:
    """One look."""
    return only(DrmProbe(tree.root, ioctl=kernel).survey())


@pytest.mark.parametrize(("driver", "other"), [("xe", 5 * GIB), ("i915", 11 * GIB)])
def test_total_and_use_come_from_the_driver(tmp_path: Path, driver: str, other: int) -> None:
    """xe tells used bytes, i915 unallocated ones; system memory is not the card's."""
    kernel = Kernel((SYSTEM, 64 * GIB, 1), (OWN, 16 * GIB, other))
    found = read(machine(tmp_path, driver), kernel)
    assert found.device.total_bytes.value == 16 * GIB
    assert found.used_bytes.value == 5 * GIB
    assert found.device.free_bytes.value == 11 * GIB
    assert found.device.free_bytes.quality is Quality.ESTIMATE  # the driver's own word for it
    assert found.device.free_bytes.source == f"{driver} total less {driver}"
    assert found.memory_kind is MemoryKind.DEDICATED


def test_the_tiles_of_one_card_add_up(tmp_path: Path) -> None:
    """A card with two regions of its own is as large as both."""
    kernel = Kernel((OWN, 16 * GIB, GIB), (OWN, 16 * GIB, 0))
    found = read(machine(tmp_path, "xe"), kernel)
    assert found.device.total_bytes.value == 32 * GIB
    assert found.used_bytes.value == GIB


@pytest.mark.parametrize(("driver", "other"), [("xe", 0), ("i915", 16 * GIB)])
def test_use_that_the_kernel_hides_is_not_zero(tmp_path: Path, driver: str, other: int) -> None:
    """Without CAP_PERFMON it says that nothing is used; then fdinfo counts, as a lower bound."""
    tree = machine(tmp_path, driver)
    tree.client(50, 3, fdinfo(ARC, **{"drm-resident-vram0": "2048 MiB"}))
    found = read(tree, Kernel((OWN, 16 * GIB, other)))
    assert found.used_bytes.value == 2 * GIB
    assert found.used_bytes.reason == "lower bound"
    assert found.device.free_bytes.value == 14 * GIB
    assert "upper bound" in found.device.free_bytes.reason


def test_a_card_that_sleeps_is_not_asked(tmp_path: Path) -> None:
    """To open its node would wake it; what was read before stays, as stale."""
    tree = machine(tmp_path, "xe")
    probe = DrmProbe(tree.root, ioctl=Kernel((OWN, 16 * GIB, GIB)))
    assert only(probe.survey()).device.free_bytes.value == 15 * GIB
    tree.put(f"sys/devices/pci0000:00/{ARC}/power/runtime_status", "suspended")
    (tree.root / "dev/dri/renderD128").unlink()
    found = only(probe.survey())
    assert found.device.free_bytes.value == 15 * GIB
    assert found.device.free_bytes.quality is Quality.STALE


def test_a_node_that_may_not_be_opened_says_which_group_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stands for the size; what the operator states still counts."""

    def deny(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    tree = machine(tmp_path, "xe")
    monkeypatch.setattr("warmset.adapters.drm.intel.os.open", deny)
    found = only(DrmProbe(tree.root).survey())
    assert found.device.total_bytes.value is None
    assert "group render" in found.device.total_bytes.reason
    stated = only(DrmProbe(tree.root, intel_total_bytes={ARC: 8 * GIB}).survey())
    assert stated.device.total_bytes.value == 8 * GIB


def test_a_kernel_that_does_not_know_the_question_is_no_error(tmp_path: Path) -> None:
    """Here a real kernel: an empty file is asked, and has no such call."""
    found = only(DrmProbe(machine(tmp_path, "i915").root).survey())
    assert found.device.total_bytes.value is None
    assert "Inappropriate ioctl" in found.device.total_bytes.reason


def test_the_drivers_word_counts_before_the_operators(tmp_path: Path) -> None:
    """`memory` of budgets.toml stands in only where the driver is silent."""
    tree = machine(tmp_path, "xe")
    probe = DrmProbe(
        tree.root, ioctl=Kernel((OWN, 16 * GIB, GIB)), intel_total_bytes={ARC: 8 * GIB}
    )
    assert only(probe.survey()).device.total_bytes.value == 16 * GIB


def test_an_impossible_count_is_discarded(tmp_path: Path) -> None:
    """More used than there is: no number comes of it."""
    found = read(machine(tmp_path, "xe"), Kernel((OWN, GIB, 2 * GIB)))
    assert found.device.free_bytes.value is None


regions = st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(
    rows=st.lists(regions, max_size=4),
    count=st.none() | st.integers(0, 2**32 - 1),
    driver=st.sampled_from(["xe", "i915"]),
)
def test_any_answer_is_read_within_its_bounds(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
    count: int | None,
    driver: str,
) -> None:
    """Whatever number of regions it claims: never beyond the answer, never below zero."""
    node = tmp_path_factory.getbasetemp() / "renderD128"
    node.touch()
    found = read_memory(node, driver, Kernel(*rows, count=count))
    assert found is None or found.used_bytes is None or found.used_bytes > 0
    assert found is None or found.total_bytes <= sum(total for _, total, _ in rows)
