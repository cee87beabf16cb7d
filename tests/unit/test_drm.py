"""AMD and Intel GPUs from pretended sysfs and procfs trees."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from warmset.adapters.drm import DrmProbe
from warmset.core.host.readings import (
    DeviceState,
    GpuReading,
    GpuSurvey,
    MemoryKind,
    normalise_pci,
)
from warmset.core.model import HostMemory, Quality, Reading, unknown
from warmset.core.settings import Budget, GpuBudget
from warmset.core.units import GIB, MIB
from warmset.shell.local import LocalHost

DGPU, APU, ARC = "0000:03:00.0", "0000:c4:00.0", "0000:04:00.0"


class Ram:
    """A host with some RAM available, or none that can be read."""

    def __init__(self, available: int | None) -> None:
        self.available = available

    def read(self) -> HostMemory:
        """Returns 64 GiB in all."""
        free: Reading[int] = unknown("ram", "not readable")
        if self.available is not None:
            free = Reading(value=self.available, source="ram")
        return HostMemory(total_bytes=Reading(value=64 * GIB, source="ram"), available_bytes=free)


class Tree:
    """A pretended root with /sys and /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, text: object) -> None:
        """Writes one file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def card(self, number: int, pci: str, vendor: str, files: Mapping[str, object]) -> None:
        """Adds a card with its render node and a connector, linked as the kernel links them."""
        device = self.root / "sys/devices/pci0000:00" / pci
        for name, value in ({"vendor": vendor, "device": "0x744c"} | dict(files)).items():
            self.put(f"sys/devices/pci0000:00/{pci}/{name}", value)
        for node in (f"card{number}", f"renderD{128 + number}"):
            folder = self.root / "sys/class/drm" / node
            folder.mkdir(parents=True)
            (folder / "device").symlink_to(device)
        self.put(f"sys/class/drm/card{number}-DP-1/status", "connected")

    def client(self, pid: int, fd: int, rows: Mapping[str, object]) -> None:
        """Adds one open descriptor of a DRM client."""
        text = "\n".join(f"{key}:\t{value}" for key, value in rows.items())
        self.put(f"proc/{pid}/fdinfo/{fd}", f"pos:\t0\nflags:\t02\n{text}")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine with a Radeon of 24 GiB, 10 of them used."""
    made = Tree(tmp_path)
    made.card(
        1,
        DGPU,
        "0x1002",
        {
            "mem_info_vram_total": 24 * GIB,
            "mem_info_vram_used": 10 * GIB,
            "mem_info_vram_vendor": "samsung",
            "mem_info_gtt_total": 32 * GIB,
            "mem_info_gtt_used": GIB,
            "product_name": "Radeon RX 7900 XTX",
            "gpu_busy_percent": 40,
        },
    )
    made.put("proc/self/status", "")
    return made


def only(survey: GpuSurvey) -> GpuReading:
    """Returns the one device."""
    assert len(survey.devices) == 1, survey
    return survey.devices[0]


def fdinfo(pci: str = DGPU, client: int = 7, **rows: object) -> dict[str, object]:
    """Returns the rows of one client."""
    base: dict[str, object] = {
        "drm-driver": "amdgpu",
        "drm-pdev": pci,
        "drm-client-id": client,
    }
    return base | {key.replace("_", "-"): value for key, value in rows.items()}


def test_amd_card_has_total_and_free_from_sysfs(tree: Tree) -> None:
    """Free is total minus used; the PCI slot is the identity, `card1` a decoration."""
    found = only(DrmProbe(tree.root).survey())
    assert found.device.id == DGPU
    assert found.device.index == 1
    assert found.device.name == "Radeon RX 7900 XTX"
    assert found.device.library == "ROCm"
    assert found.device.free_bytes.value == 14 * GIB
    assert found.device.free_bytes.quality is Quality.EXACT
    assert found.memory_kind is MemoryKind.DEDICATED
    assert found.utilization.value == pytest.approx(0.4)


def test_machine_without_drm_has_no_devices(tmp_path: Path) -> None:
    """A CPU-only host is no error."""
    assert DrmProbe(tmp_path).read() == ()


def test_nvidia_cards_are_left_to_nvml(tree: Tree) -> None:
    """A vendor that this probe does not read is not shown twice."""
    tree.card(0, "0000:01:00.0", "0x10de", {})
    assert [d.id for d in DrmProbe(tree.root).read()] == [DGPU]


def test_apu_is_carve_out_plus_what_gtt_and_ram_allow(tmp_path: Path) -> None:
    """VRAM free + min(GTT free, RAM available), called an estimate."""
    tree = Tree(tmp_path)
    tree.card(0, APU, "0x1002", apu_files())
    found = only(DrmProbe(tree.root, Ram(20 * GIB)).survey())
    assert found.device.free_bytes.value == 256 * MIB + 20 * GIB
    assert found.device.free_bytes.quality is Quality.ESTIMATE
    assert found.device.integrated
    assert found.memory_kind is MemoryKind.UNIFIED
    plenty = only(DrmProbe(tree.root, Ram(60 * GIB)).survey())
    assert plenty.device.free_bytes.value == 256 * MIB + 30 * GIB


def test_apu_without_ram_reading_is_unknown(tmp_path: Path) -> None:
    """GTT alone promises nothing: its pages are RAM."""
    tree = Tree(tmp_path)
    tree.card(0, APU, "0x1002", apu_files())
    assert only(DrmProbe(tree.root, Ram(None)).survey()).device.free_bytes.value is None


def test_strix_halo_has_what_the_ttm_limit_allows(tmp_path: Path) -> None:
    """Neither VRAM and GTT together nor RAM available: GTT is the driver's cap, RAM the bound."""
    tree = Tree(tmp_path)
    halo = {"mem_info_gtt_total": 108 * GIB, "mem_info_gtt_used": 20 * GIB}
    tree.card(0, APU, "0x1002", apu_files() | halo)
    probe = DrmProbe(tree.root, Ram(100 * GIB))
    found = only(probe.survey())
    assert found.device.free_bytes.value == 256 * MIB + 88 * GIB
    assert found.device.total_bytes.value == 512 * MIB + 108 * GIB
    assert found.device.total_bytes.quality is Quality.ESTIMATE


def apu_files() -> dict[str, object]:
    """Returns the sysfs files of an APU with 512 MiB carved out and 31 GiB of GTT."""
    return {
        "mem_info_vram_total": 512 * MIB,
        "mem_info_vram_used": 256 * MIB,
        "mem_info_vram_vendor": "unknown",
        "mem_info_gtt_total": 31 * GIB,
        "mem_info_gtt_used": GIB,
    }


def test_intel_total_is_unknown_unless_stated(tmp_path: Path) -> None:
    """Sysfs does not tell an Arc's memory; the reason says so, and no number stands there."""
    tree = Tree(tmp_path)
    tree.card(0, ARC, "0x8086", {})
    found = only(DrmProbe(tree.root).survey())
    assert found.device.total_bytes.value is None
    assert f'[budget.gpu."{ARC}"] memory' in found.device.total_bytes.reason
    assert not found.device.integrated


def test_intel_on_the_root_bus_is_integrated(tmp_path: Path) -> None:
    """Every Intel laptop has one; it is no card that a model could be planned on."""
    tree = Tree(tmp_path)
    tree.card(0, "0000:00:02.0", "0x8086", {})
    (device,) = DrmProbe(tree.root).read()
    assert device.integrated
    assert device.free_bytes.value is None


def test_odd_entries_of_a_process_are_passed_over(tree: Tree) -> None:
    """Files that are no DRM client, clients without an id, and processes without fdinfo."""
    tree.put("proc/50/fdinfo/0", "pos: 0")
    tree.client(51, 3, {"drm-driver": "amdgpu", "drm-pdev": DGPU})
    tree.put("proc/52/status", "")
    tree.put("sys/class/kfd/kfd/proc/60/vram_1", "many")
    assert only(DrmProbe(tree.root).survey()).processes.value == ()


def test_intel_with_a_stated_total_is_an_estimate(tmp_path: Path) -> None:
    """Use is what fdinfo shows, a lower bound, so free is an estimate."""
    tree = Tree(tmp_path)
    tree.card(0, ARC, "0x8086", {})
    tree.client(50, 3, fdinfo(ARC, **{"drm-resident-vram0": "2048 MiB"}))
    probe = DrmProbe(tree.root, intel_total_bytes={ARC: 16 * GIB})
    found = only(probe.survey())
    assert found.device.free_bytes.value == 14 * GIB
    assert found.device.free_bytes.quality is Quality.ESTIMATE
    assert found.used_bytes.value == 2 * GIB


def test_a_size_stated_in_the_configuration_reaches_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `[budget.gpu]` says of a card whose driver tells no size is its total."""
    tree = Tree(tmp_path)
    tree.card(0, ARC, "0x8086", {})
    tree.put("proc/self/status", "")
    monkeypatch.setattr("warmset.adapters.drm.DrmProbe", partial(DrmProbe, tmp_path))
    here = LocalHost(11434, Budget(gpus={ARC: GpuBudget(stated_bytes=16 * GIB)}))
    (card,) = [r for r in here.survey().readings if r.device.id == ARC]
    here.close()
    assert card.device.total_bytes.value == 16 * GIB
    assert card.device.free_bytes.quality is Quality.ESTIMATE


def test_duplicated_descriptors_count_once(tree: Tree) -> None:
    """A client is counted once however many descriptors or processes hold it."""
    rows = fdinfo(**{"drm-resident-vram": "1048576 KiB", "drm-engine-gfx": "2500000000 ns"})
    tree.client(50, 3, rows)
    tree.client(50, 4, rows)
    tree.client(51, 3, rows)
    processes = only(DrmProbe(tree.root).survey()).processes.value
    assert processes is not None
    assert [(p.pid, p.used_bytes, p.busy_seconds) for p in processes] == [(50, GIB, 2.5)]


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("drm-memory-vram", "1024 MiB", GIB),
        ("drm-resident-vram0", "1048576 KiB", GIB),
        ("drm-resident-local0", "1 MiB", MIB),
        ("drm-resident-system", "1024 MiB", None),
        ("drm-total-vram", "1024 MiB", None),
        ("drm-resident-vram", "4096", 4096),
        ("drm-resident-gtt", "1024 MiB", None),
        ("drm-resident-vram", "lots KiB", None),
        ("drm-resident-vram", "3 furlongs", None),
    ],
)
def test_units_and_regions(tree: Tree, key: str, text: str, expected: int | None) -> None:
    """KiB, MiB or none; memory outside the card, or another form, is not the card's bytes."""
    tree.client(50, 3, fdinfo(**{key: text}))
    processes = only(DrmProbe(tree.root).survey()).processes.value
    assert processes is not None
    assert processes[0].used_bytes == expected


def test_rocm_process_is_found_through_kfd(tree: Tree) -> None:
    """ROCm memory may be absent from fdinfo; kfd has it, by GPU."""
    tree.card(2, "0000:43:00.0", "0x1002", {})
    tree.put("sys/class/kfd/kfd/topology/nodes/0/gpu_id", 0)
    tree.put("sys/class/kfd/kfd/topology/nodes/1/gpu_id", 4711)
    tree.put("sys/class/kfd/kfd/topology/nodes/1/properties", "domain 0\nlocation_id 768")
    tree.put("sys/class/kfd/kfd/proc/60/vram_4711", 9 * GIB)
    by_id = {d.device.id: d for d in DrmProbe(tree.root).survey().devices}
    rows = by_id[DGPU].processes.value
    assert rows is not None
    assert [(p.pid, p.used_bytes) for p in rows] == [(60, 9 * GIB)]
    assert by_id["0000:43:00.0"].processes.value == ()


@pytest.mark.parametrize(
    ("version", "compute"),
    [("110000", "gfx1100"), ("110501", "gfx1151"), ("90010", "gfx90a"), ("0", ""), ("x", "")],
)
def test_rocm_tells_what_kind_a_gpu_is(tree: Tree, version: str, compute: str) -> None:
    """Ollama decides by it whether an integrated GPU is used."""
    tree.put("sys/class/kfd/kfd/topology/nodes/1/gpu_id", 4711)
    rows = f"domain 0\nlocation_id 768\ngfx_target_version {version}"
    tree.put("sys/class/kfd/kfd/topology/nodes/1/properties", rows)
    assert only(DrmProbe(tree.root).survey()).device.compute == compute


def test_bytes_that_two_lists_tell_are_not_added(tree: Tree) -> None:
    """Newer kernels count ROCm memory in fdinfo and in kfd: one process, the larger number."""
    tree.client(60, 3, fdinfo(**{"drm-resident-vram": f"{9 * 1024} MiB"}))
    tree.put("sys/class/kfd/kfd/proc/60/vram_1", 9 * GIB + 4096)
    rows = only(DrmProbe(tree.root).survey()).processes.value
    assert rows is not None
    assert [(p.pid, p.used_bytes) for p in rows] == [(60, 9 * GIB + 4096)]


def test_a_process_on_two_cards_holds_its_bytes_on_each(tree: Tree) -> None:
    """Client numbers are per card: the same number on another card is another client."""
    tree.card(2, "0000:43:00.0", "0x1002", {"mem_info_vram_vendor": "hynix"})
    tree.client(50, 3, fdinfo(**{"drm-resident-vram": "1 MiB"}))
    tree.client(50, 4, fdinfo("0000:43:00.0", **{"drm-resident-vram": "2 MiB"}))
    held = {d.device.id: d.processes.value for d in DrmProbe(tree.root).survey().devices}
    assert {card: rows[0].used_bytes for card, rows in held.items() if rows} == {
        DGPU: MIB,
        "0000:43:00.0": 2 * MIB,
    }


def test_kfd_without_topology_is_the_only_cards(tree: Tree) -> None:
    """With one AMD card there is no question whose bytes they are."""
    tree.put("sys/class/kfd/kfd/proc/60/vram_1", GIB)
    rows = only(DrmProbe(tree.root).survey()).processes.value
    assert rows is not None
    assert rows[0].used_bytes == GIB


def test_unreadable_processes_make_the_list_partial(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other users' processes cannot be asked: the list is an estimate, and that is said."""
    tree.client(50, 3, fdinfo(**{"drm-resident-vram": "1 MiB"}))
    tree.client(77, 3, fdinfo(client=8))
    forbidden = tree.root / "proc/77/fdinfo"
    real = Path.iterdir

    def iterdir(path: Path) -> object:
        if path == forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = DrmProbe(tree.root).survey()
    assert only(found).processes.quality is Quality.ESTIMATE
    assert [t.code for t in found.troubles] == ["partial-view"]
    assert only(found).device.free_bytes.quality is Quality.EXACT


def test_sleeping_card_is_not_woken(tree: Tree) -> None:
    """A suspended card shows its last numbers as stale, and unknown if there are none."""
    probe = DrmProbe(tree.root)
    before = only(probe.survey()).device.free_bytes.value
    tree.put(f"sys/devices/pci0000:00/{DGPU}/power/runtime_status", "suspended")
    asleep = only(probe.survey())
    assert asleep.state is DeviceState.ASLEEP
    assert asleep.device.free_bytes.value == before
    assert asleep.device.free_bytes.quality is Quality.STALE
    assert only(DrmProbe(tree.root).survey()).device.free_bytes.value is None


def test_a_card_that_wakes_is_read_again(tree: Tree) -> None:
    """Stale ends with the sleep, and the numbers are the new ones."""
    probe = DrmProbe(tree.root)
    probe.read()
    state = f"sys/devices/pci0000:00/{DGPU}/power/runtime_status"
    tree.put(state, "suspended")
    probe.read()
    tree.put(state, "active")
    tree.put(f"sys/devices/pci0000:00/{DGPU}/mem_info_vram_used", 2 * GIB)
    awake = only(probe.survey())
    assert awake.state is DeviceState.OK
    assert awake.device.free_bytes == Reading(value=22 * GIB, source="drm")


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("mem_info_vram_total", 0),
        ("mem_info_vram_used", 25 * GIB),
        ("mem_info_vram_total", 96 * GIB),
        ("mem_info_vram_total", "nonsense"),
    ],
)
def test_implausible_numbers_leave_the_last_ones_as_stale(
    tree: Tree, file: str, value: object
) -> None:
    """Total 0, more used than there is, a total that jumps, or text: discarded."""
    probe = DrmProbe(tree.root)
    probe.read()
    tree.put(f"sys/devices/pci0000:00/{DGPU}/{file}", value)
    found = only(probe.survey())
    assert found.device.free_bytes.value == 14 * GIB
    assert found.device.free_bytes.quality is Quality.STALE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00000000:0A:00.0", "0000:0a:00.0"),
        ("0000:c4:00.1", "0000:c4:00.1"),
        ("10000:01:00.0", "10000:01:00.0"),
        ("xyz:01:00.0", "xyz:01:00.0"),
        ("platform", "platform"),
    ],
)
def test_pci_addresses_are_written_as_sysfs_does(text: str, expected: str) -> None:
    """NVML writes eight digits of domain and capitals, sysfs four and small letters."""
    assert normalise_pci(text) == expected


def test_same_card_under_two_numbers_is_one_device(tree: Tree) -> None:
    """One PCI slot is one device."""
    folder = tree.root / "sys/class/drm/card5"
    folder.mkdir()
    (folder / "device").symlink_to(tree.root / "sys/devices/pci0000:00" / DGPU)
    assert len(DrmProbe(tree.root).read()) == 1
