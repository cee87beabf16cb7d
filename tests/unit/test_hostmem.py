"""RAM is what the server's control groups leave of it, and unknown stays unknown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from warmset.adapters.hostmem import HostMemoryProbe
from warmset.core.model import Quality
from warmset.core.units import GIB, MIB

PID = 4242


@pytest.fixture(autouse=True)
def _own_procfs() -> Iterator[None]:
    """The library's root is one for the whole process: give it back."""
    import psutil

    before = getattr(psutil, "PROCFS_PATH", "/proc")
    yield
    psutil.PROCFS_PATH = before


class Host:
    """A pretended /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.groups = root / "cgroup"
        self.groups.mkdir(parents=True)
        self.put("proc/meminfo", meminfo(total=64 * GIB, available=40 * GIB), root)
        self.put("proc/vmstat", "pswpin 0\npswpout 0\n", root)
        self.root = root

    @staticmethod
    def put(path: str, text: str, root: Path) -> None:
        """Writes one file."""
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def member(self, lines: str) -> None:
        """Says which groups the server is in."""
        self.put(f"proc/{PID}/cgroup", lines, self.root)

    def group(self, path: str, files: Mapping[str, object]) -> None:
        """Makes one group with its files."""
        (self.groups / path).mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            self.put(f"cgroup/{path}/{name}", f"{value}\n", self.root)

    def probe(self, pid: int | None = PID) -> HostMemoryProbe:
        """Returns a probe of this machine."""
        return HostMemoryProbe(pid, proc_root=self.proc, cgroup_root=self.groups)


def meminfo(*, total: int, available: int) -> str:
    """Returns the text of /proc/meminfo."""
    rows = {
        "MemTotal": total,
        "MemFree": GIB,
        "MemAvailable": available,
        "Buffers": 0,
        "Cached": 30 * GIB,
        "SwapTotal": 8 * GIB,
        "SwapFree": 6 * GIB,
    }
    return "".join(f"{key}: {value // 1024} kB\n" for key, value in rows.items())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine of 64 GiB with 40 GiB available."""
    return Host(tmp_path)


def test_without_limits_the_host_counts_exactly(host: Host) -> None:
    """With groups that all say "max" the host's available memory stands, and is exact."""
    host.member("0::/system.slice/ollama.service\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group("system.slice/ollama.service", {"memory.max": "max", "memory.current": 5 * GIB})
    found = host.probe().survey()
    assert found.memory.available_bytes.value == 40 * GIB
    assert found.memory.available_bytes.quality is Quality.EXACT
    assert found.is_limited is False
    assert found.swap_free_bytes.value == 6 * GIB


def test_available_is_meminfo_available_and_not_free(host: Host) -> None:
    """Page cache counts as available: MemFree is 1 GiB here and plays no part."""
    host.member("0::/\n")
    assert host.probe().read().available_bytes.value == 40 * GIB


def test_v2_limit_of_the_server_narrows_both_numbers(host: Host) -> None:
    """A MemoryMax of 16 GiB with 10 GiB used, 4 of them cache, leaves 10 GiB of 16."""
    host.member("0::/system.slice/ollama.service\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group(
        "system.slice/ollama.service",
        {
            "memory.max": 16 * GIB,
            "memory.current": 10 * GIB,
            "memory.stat": f"anon {6 * GIB}\ninactive_file {4 * GIB}",
        },
    )
    found = host.probe().survey()
    assert found.memory.total_bytes.value == 16 * GIB
    assert found.memory.available_bytes.value == 10 * GIB
    assert found.limit_bytes.value == 16 * GIB
    assert found.is_limited is True


def test_v2_parent_limits_a_child_that_says_max(host: Host) -> None:
    """The tightest ancestor counts, whatever the leaf says."""
    host.member("0::/machine/box\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group("machine", {"memory.max": 8 * GIB, "memory.current": 7 * GIB})
    host.group("machine/box", {"memory.max": "max", "memory.current": GIB})
    assert host.probe().read().available_bytes.value == GIB


def test_v2_high_below_max_counts_as_the_limit(host: Host) -> None:
    """Beyond memory.high the kernel throttles, so it is the limit that matters."""
    host.member("0::/box\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group(
        "box",
        {"memory.max": 32 * GIB, "memory.high": 12 * GIB, "memory.current": 2 * GIB},
    )
    found = host.probe().read()
    assert found.total_bytes.value == 12 * GIB
    assert found.available_bytes.value == 10 * GIB


def test_v1_limit_is_read_from_the_memory_controller(host: Host) -> None:
    """v1 has other file names and the same meaning."""
    host.member("4:cpuset,memory:/docker/abc\n1:cpu:/docker/abc\n")
    host.group(
        "memory/docker/abc",
        {
            "memory.limit_in_bytes": 16 * GIB,
            "memory.usage_in_bytes": 9 * GIB,
            "memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}",
        },
    )
    assert host.probe().read().available_bytes.value == 8 * GIB


def test_v1_almost_infinite_limit_is_none(host: Host) -> None:
    """About 2^63 is how v1 says that there is no limit."""
    host.member("4:memory:/box\n")
    host.group("memory/box", {"memory.limit_in_bytes": 2**63 - 4096, "memory.usage_in_bytes": 1})
    assert host.probe().survey().is_limited is False


def test_hybrid_host_with_an_empty_v2_tree_uses_v1(host: Host) -> None:
    """A v2 tree without memory files does not hide the v1 limit."""
    host.member("4:memory:/box\n0::/\n")
    host.group("unified", {"cgroup.controllers": ""})
    host.group("memory/box", {"memory.limit_in_bytes": 4 * GIB, "memory.usage_in_bytes": GIB})
    assert host.probe().read().available_bytes.value == 3 * GIB


def test_container_mount_is_the_group_itself(host: Host) -> None:
    """In our own container the line names a path of the host: the mount root is the group."""
    host.member("0::/docker/0123abcd\n")
    host.put("proc/self/cgroup", "0::/docker/0123abcd\n", host.root)
    host.group("", {"cgroup.controllers": "memory", "memory.max": 4 * GIB, "memory.current": GIB})
    assert host.probe().read().available_bytes.value == 3 * GIB


@pytest.mark.parametrize("line", ["0::/docker/0123abcd", "4:memory:/docker/0123abcd"])
def test_our_own_containers_limit_is_not_another_containers(host: Host, line: str) -> None:
    """Where only our group is mounted, a server in another one has a limit that is not known."""
    host.member(f"{line}\n")
    host.put("proc/self/cgroup", line.replace("0123abcd", "ffffffff") + "\n", host.root)
    host.group("", {"cgroup.controllers": "memory", "memory.max": 4 * GIB, "memory.current": GIB})
    host.group("memory", {"memory.limit_in_bytes": 4 * GIB, "memory.usage_in_bytes": GIB})
    found = host.probe().survey()
    assert found.memory.available_bytes.value == 40 * GIB
    assert found.memory.available_bytes.quality is Quality.ESTIMATE
    assert "is not mounted here" in found.limit_bytes.reason


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/box", {"memory.max": 16 * GIB}),
        ("4:memory:/box", {"memory.limit_in_bytes": 16 * GIB}),
    ],
)
def test_a_limit_without_its_use_is_unknown(
    host: Host, line: str, files: dict[str, object]
) -> None:
    """What is left of a limit whose use cannot be read is not everything."""
    host.member(f"{line}\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group("box" if line.startswith("0") else "memory/box", files)
    assert host.probe().survey().memory.available_bytes.quality is Quality.ESTIMATE


def test_of_nested_v1_groups_the_least_room_counts(host: Host) -> None:
    """The limit is the tightest one, the room the least, though they come from two groups."""
    host.member("4:cpu,memory:/outer/inner\n")
    for path, limit, used in (("outer", 20, 19), ("outer/inner", 8, 2)):
        host.group(
            f"memory/{path}",
            {"memory.limit_in_bytes": limit * GIB, "memory.usage_in_bytes": used * GIB},
        )
    found = host.probe().survey()
    assert found.limit_bytes.value == 8 * GIB
    assert found.memory.available_bytes.value == GIB


def test_huge_pages_are_not_available(host: Host) -> None:
    """The kernel leaves a pool of huge pages out of MemAvailable, and so do we."""
    text = meminfo(total=64 * GIB, available=8 * GIB) + "HugePages_Total: 16384\n"
    host.put("proc/meminfo", text + "HugePages_Free: 16384\n", host.root)
    host.member("0::/\n")
    assert host.probe().read().available_bytes.value == 8 * GIB


def test_use_above_the_limit_leaves_zero_not_less(host: Host) -> None:
    """A limit lowered under its use leaves nothing, never a negative number."""
    host.member("0::/box\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group("box", {"memory.max": GIB, "memory.current": 3 * GIB})
    assert host.probe().read().available_bytes.value == 0


def test_group_outside_our_namespace_makes_the_limit_unknown(host: Host) -> None:
    """A path that climbs out cannot be followed: host numbers, called an estimate, and said so."""
    host.member("0::/../other\n")
    host.group("", {"cgroup.controllers": "memory", "memory.max": GIB, "memory.current": 0})
    found = host.probe().survey()
    assert found.memory.available_bytes.value == 40 * GIB
    assert found.memory.available_bytes.quality is Quality.ESTIMATE
    assert found.is_limited is None
    assert [t.code for t in found.troubles] == ["limit-unknown"]


def test_unknown_server_gives_host_numbers_as_an_estimate(host: Host) -> None:
    """Our own limit is not the server's: without its PID the limit is unknown."""
    found = host.probe(pid=None).survey()
    assert found.memory.total_bytes.value == 64 * GIB
    assert found.memory.total_bytes.quality is Quality.ESTIMATE
    assert "limit of the server unknown" in found.memory.total_bytes.reason


def test_vanished_server_is_a_limit_unknown_with_its_pid(host: Host) -> None:
    """A process that is gone names itself in the trouble."""
    assert str(PID) in host.probe().survey().troubles[0].message


@pytest.mark.parametrize("text", ["lots", "-5", "", "12 34"])
def test_nonsense_in_a_group_file_is_no_limit_and_no_crash(host: Host, text: str) -> None:
    """A file of another form is skipped."""
    host.member("0::/box\n")
    host.group("", {"cgroup.controllers": "memory"})
    host.group("box", {"memory.max": text, "memory.current": 1})
    assert host.probe().read().available_bytes.value == 40 * GIB


def test_unreadable_limit_file_makes_the_limit_unknown(host: Host) -> None:
    """A file that exists and cannot be read may hide a limit (here: a folder in its place)."""
    host.member("0::/box\n")
    host.group("", {"cgroup.controllers": "memory"})
    (host.groups / "box/memory.max").mkdir(parents=True)
    assert host.probe().survey().is_limited is None


def test_ram_that_cannot_be_read_is_unknown(host: Host) -> None:
    """Without meminfo there is no number, and no zero in its place."""
    (host.proc / "meminfo").unlink()
    found = host.probe().read()
    assert found.available_bytes.value is None
    assert found.available_bytes.quality is Quality.UNKNOWN
    assert found.available_bytes.reason


def test_swap_that_cannot_be_read_costs_swap_only(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAM stands without swap."""
    import psutil

    def fail() -> None:
        raise PermissionError(13, "Permission denied", "/proc/swaps")

    monkeypatch.setattr(psutil, "swap_memory", fail)
    found = host.probe().survey()
    assert found.swap_free_bytes.value is None
    assert found.memory.available_bytes.value == 40 * GIB


def test_nonsense_in_meminfo_is_unknown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """More available than there is: discarded, with the raw numbers in the reason."""
    from types import SimpleNamespace

    import psutil

    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=9 * GIB)
    )
    found = host.probe().read()
    assert found.available_bytes.value is None
    assert str(9 * GIB) in found.available_bytes.reason


def test_host_without_control_groups_has_no_limit(host: Host) -> None:
    """Elsewhere than on Linux there is nothing to limit, and the numbers are exact."""
    probe = HostMemoryProbe(PID, proc_root=host.proc, cgroup_root=host.root / "nowhere")
    assert probe.survey().is_limited is False
    assert probe.read().available_bytes.quality is Quality.EXACT


def test_arc_of_another_form_is_unknown(host: Host) -> None:
    """A kstat file that changed its columns gives no number."""
    host.put("proc/spl/kstat/zfs/arcstats", "size 4\n", host.root)
    assert host.probe().survey().reclaimable_cache_bytes.value is None


def test_pressure_above_a_tenth_is_a_trouble(host: Host) -> None:
    """PSI "some avg10" over 10 stops preloads."""
    host.put("proc/pressure/memory", "some avg10=12.50 avg60=1 avg300=0 total=9\n", host.root)
    found = host.probe().survey()
    assert found.pressure_ratio.value == pytest.approx(0.125)
    assert "memory-pressure" in [t.code for t in found.troubles]
    assert found.memory.pressure == "tasks are waiting for memory"


@pytest.mark.parametrize("text", ["", "full avg10=99", "some avg10=many avg60=1", "some avg60=50"])
def test_pressure_of_another_form_is_unknown_and_holds_nothing_back(host: Host, text: str) -> None:
    """A kernel without PSI, or with another form of it, gives no number and no pressure."""
    host.put("proc/pressure/memory", text, host.root)
    found = host.probe().survey()
    assert found.pressure_ratio.value is None
    assert found.memory.pressure == ""


def test_swap_that_falls_between_two_looks_is_pressure(host: Host) -> None:
    """Free swap that shrinks by much is a sign as long as it does; a little is daily life."""

    def swap_free(count: int) -> str:
        text = meminfo(total=64 * GIB, available=40 * GIB)
        text = text.replace(f"SwapFree: {6 * GIB // 1024}", f"SwapFree: {count // 1024}")
        host.put("proc/meminfo", text, host.root)
        return probe.read().pressure

    probe = host.probe()
    assert swap_free(6 * GIB) == ""
    assert swap_free(6 * GIB - MIB) == ""
    assert swap_free(5 * GIB) == "the machine is swapping out"
    assert swap_free(5 * GIB) == ""
    assert swap_free(6 * GIB) == ""


def test_arc_is_shown_and_not_counted(host: Host) -> None:
    """What ZFS could give back is display only: available does not grow by it."""
    rows = f"13 1 0x01 2\nname type data\nsize 4 {9 * GIB}\nc_min 4 {GIB}\n"
    host.put("proc/spl/kstat/zfs/arcstats", rows, host.root)
    host.member("0::/\n")
    found = host.probe().survey()
    assert found.reclaimable_cache_bytes.value == 8 * GIB
    assert found.memory.available_bytes.value == 40 * GIB


def test_server_pid_may_be_found_at_each_read(host: Host) -> None:
    """A server that restarts under another PID is followed."""
    pids = iter([None, PID])
    host.member("0::/\n")
    probe = HostMemoryProbe(lambda: next(pids), proc_root=host.proc, cgroup_root=host.groups)
    assert probe.read().total_bytes.quality is Quality.ESTIMATE
    assert probe.read().total_bytes.quality is Quality.EXACT


def test_reads_the_real_machine() -> None:
    """On this machine our own process has some memory, below its total."""
    memory = HostMemoryProbe(os.getpid()).read()
    assert memory.available_bytes.value is not None
    assert memory.total_bytes.value is not None
    assert MIB < memory.available_bytes.value <= memory.total_bytes.value


def test_import_loads_no_psutil() -> None:
    """The library costs start-up time, so it waits for the first reading."""
    import subprocess

    code = (
        "import sys, warmset.adapters.hostmem, warmset.adapters.nvml\n"
        "sys.exit(any(m in sys.modules for m in ('psutil', 'pynvml')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
