"""What the NVIDIA probe says in every state of the driver, through the real nvidia-ml-py.

The library behind it is the C double in `tests/fakenvml`; one copy is loaded into this process
and each test has its own state file. Where another library is needed a child process loads it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fakenvml"))

from fakenvml import GIB, MIB, SONAME, FakeNvml

from warmset.adapters.nvml import NvmlProbe
from warmset.core.host.readings import DeviceState, GpuReading, GpuSurvey, MemoryKind
from warmset.core.model import HostMemory, Quality, Reading

LIBRARY = Path(__file__).parents[1] / "fakenvml"
UUID_0 = "GPU-00000000-0000-4000-8000-000000000000"
PATIENCE_SECONDS = 0.15


class Ticks:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Returns the instant."""
        return self.now


class Ram:
    """A host of 120 GiB with 90 GiB available."""

    def read(self) -> HostMemory:
        """Returns both numbers, exact."""
        return HostMemory(
            total_bytes=Reading(value=120 * GIB, source="ram"),
            available_bytes=Reading(value=90 * GIB, source="ram"),
        )


@pytest.fixture
def nvml(tmp_path: Path) -> FakeNvml:
    """One RTX 4090: 24 GiB, 400 MiB reserved, 2 GiB used."""
    fake = FakeNvml(tmp_path)
    fake.gpu(0, total=24 * GIB, reserved=400 * MIB, used=2 * GIB)
    fake.preload()
    return fake


@pytest.fixture
def ticks() -> Ticks:
    """The probe's clock."""
    return Ticks()


@pytest.fixture
def probe(nvml: FakeNvml, ticks: Ticks) -> Iterator[NvmlProbe]:
    """A probe with little patience, and RAM beside it."""
    made = NvmlProbe(
        Ram(), timeout_seconds=PATIENCE_SECONDS, monotonic=ticks, is_wsl=False, is_soc=False
    )
    yield made
    for function in ("*", "nvmlDeviceGetMemoryInfo", "nvmlInit"):
        nvml.hang(function, None)
    made.close()


def only(survey: GpuSurvey) -> GpuReading:
    """Returns the one device of a survey."""
    assert len(survey.devices) == 1, survey
    return survey.devices[0]


def codes(survey: GpuSurvey) -> list[str]:
    """Returns the troubles' codes."""
    return [trouble.code for trouble in survey.troubles]


def wait_until(fact: Callable[[], bool]) -> None:
    """Waits a little for what another thread is about to do."""
    deadline = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in 5 s"
        time.sleep(0.01)


def test_free_is_what_the_driver_says(probe: NvmlProbe) -> None:
    """Free knows of the driver's reserve: total minus used would promise 400 MiB too much."""
    device = only(probe.survey()).device
    assert device.id == UUID_0
    assert device.pci_id == "0000:01:00.0"
    assert device.compute == "8.9"
    assert device.library == "CUDA"
    assert device.total_bytes.value == 24 * GIB
    assert device.free_bytes.value == 22 * GIB - 400 * MIB
    assert device.free_bytes.quality is Quality.EXACT


def test_used_and_reserved_stand_apart_and_add_up(probe: NvmlProbe) -> None:
    """With v2 memory the three parts are the whole card."""
    found = only(probe.survey())
    parts = (found.used_bytes.value, found.reserved_bytes.value, found.device.free_bytes.value)
    assert sum(part or 0 for part in parts) == 24 * GIB


def test_each_read_is_a_fresh_look_in_one_held_session(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Numbers follow the driver; NVML is opened once."""
    nvml.log_calls()
    probe.read()
    nvml.set(0, used=20 * GIB)
    assert probe.read()[0].free_bytes.value == 4 * GIB - 400 * MIB
    probe.read()
    assert nvml.called("nvmlInit_v2") == 1
    assert nvml.called("nvmlShutdown") == 0


def test_processes_of_three_lists_are_one_row_for_each_pid(
    nvml: FakeNvml, probe: NvmlProbe
) -> None:
    """Compute, graphics and MPS lists are merged by PID, no byte counted twice."""
    nvml.procs(0, [(10, GIB, "CG"), (11, 2 * GIB, "M"), (12, MIB, "G")])
    rows = only(probe.survey()).processes.value
    assert rows is not None
    assert [(r.pid, r.used_bytes, set(r.kinds)) for r in rows] == [
        (10, GIB, {"compute", "graphics"}),
        (11, 2 * GIB, {"mps"}),
        (12, MIB, {"graphics"}),
    ]


def test_wddm_and_wsl_processes_have_no_bytes(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """All-ones from the driver is unknown, never a number; totals stay usable."""
    nvml.procs(0, [(10, None)])
    found = only(probe.survey())
    assert found.processes.value is not None
    assert found.processes.value[0].used_bytes is None
    assert found.device.free_bytes.quality is Quality.EXACT


def test_order_of_the_driver_is_decoration(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Devices are told apart by UUID; index and bus order may disagree."""
    nvml.gpu(1, pci="00000000:00:01.0", total=8 * GIB)
    found = probe.read()
    assert [d.index for d in found] == [0, 1]
    assert [d.pci_id for d in found] == ["0000:01:00.0", "0000:00:01.0"]
    assert len({d.id for d in found}) == 2


def test_device_without_a_uuid_goes_by_its_pci_address(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """UUID, else PCI address."""
    nvml.fail("nvmlDeviceGetUUID", "NOT_SUPPORTED", index=0)
    assert probe.read()[0].id == "0000:01:00.0"


def test_name_that_is_not_utf8_does_not_hide_the_device(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """A garbled name costs the name, nothing else."""
    raw = nvml.state.read_bytes().replace(b"NVIDIA GeForce RTX 4090", b"NVIDIA \xff\xfe")
    nvml.state.write_bytes(raw)
    found = probe.read()[0]
    assert found.name == "NVIDIA GPU"
    assert found.total_bytes.value == 24 * GIB


# -- the rows of "when a fact cannot be read" -----------------------------------------------


def test_no_driver_library_is_no_error(tmp_path: Path) -> None:
    """LIBRARY_NOT_FOUND: nothing found, said as information."""
    fake = FakeNvml(tmp_path)
    found = survey_in_child(fake.env_without_driver())
    assert found["devices"] == []
    assert found["troubles"] == [["no-driver-library", "info", False]]


def test_missing_library_is_looked_for_again_rarely(
    nvml: FakeNvml, probe: NvmlProbe, ticks: Ticks
) -> None:
    """One attempt, then none for five minutes, then another that may succeed."""
    nvml.fail("nvmlInit", "LIBRARY_NOT_FOUND")
    probe.read()
    nvml.fail("nvmlInit", None)
    ticks.now += 299
    assert probe.read() == ()
    ticks.now += 2
    assert len(probe.read()) == 1


def test_driver_not_loaded_is_tried_again_each_minute(
    nvml: FakeNvml, probe: NvmlProbe, ticks: Ticks
) -> None:
    """DRIVER_NOT_LOADED: a warning now, devices as soon as the module is there."""
    nvml.fail("nvmlInit", "DRIVER_NOT_LOADED")
    assert codes(probe.survey()) == ["driver-not-loaded"]
    nvml.fail("nvmlInit", None)
    ticks.now += 30
    assert codes(probe.survey()) == ["driver-not-loaded"]
    ticks.now += 31
    found = probe.survey()
    assert codes(found) == []
    assert len(found.devices) == 1


def test_updated_driver_blocks_new_loads(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """LIB_RM_VERSION_MISMATCH: an error that asks for a reboot, and no new loads by VRAM."""
    nvml.fail("nvmlInit", "LIB_RM_VERSION_MISMATCH")
    (trouble,) = probe.survey().troubles
    assert trouble.code == "driver-updated"
    assert trouble.severity == "error"
    assert trouble.blocks_loads
    assert "reboot" in trouble.hint


@pytest.mark.parametrize("name", ["NVIDIA GB10", "NVIDIA Thor", "Orin (nvgpu)"])
def test_unified_memory_is_the_hosts_ram_as_an_estimate(
    nvml: FakeNvml, probe: NvmlProbe, name: str
) -> None:
    """NOT_SUPPORTED on memory of a known shared-memory GPU: one pool, RAM's numbers."""
    nvml.set(0, name=name, total=None)
    nvml.procs(0, [(10, 3 * GIB), (11, GIB)])
    found = only(probe.survey())
    assert found.memory_kind is MemoryKind.UNIFIED
    assert found.device.integrated
    assert found.device.free_bytes.value == 90 * GIB
    assert found.device.free_bytes.quality is Quality.ESTIMATE
    assert found.used_bytes.value == 4 * GIB


@pytest.mark.parametrize("total", [0, 120 * GIB])
def test_unified_memory_that_claims_success_is_still_unified(
    nvml: FakeNvml, probe: NvmlProbe, total: int
) -> None:
    """A GB10 that reports RAM, or zero, as its own memory is not believed."""
    nvml.set(0, name="NVIDIA GB10", total=total)
    found = only(probe.survey())
    assert found.memory_kind is MemoryKind.UNIFIED
    assert found.device.total_bytes.value == 120 * GIB


def test_big_card_is_not_taken_for_unified(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Size alone says nothing: a card as large as RAM keeps its own memory."""
    nvml.set(0, name="NVIDIA GeForce RTX 5090", total=120 * GIB)
    assert only(probe.survey()).memory_kind is MemoryKind.DEDICATED


def test_jetson_is_unified_whatever_its_name(nvml: FakeNvml) -> None:
    """A system on a chip has no memory of its own."""
    nvml.set(0, name="NVIDIA Something", total=None)
    probe = NvmlProbe(Ram(), is_wsl=False, is_soc=True)
    assert only(probe.survey()).memory_kind is MemoryKind.UNIFIED
    probe.close()


def test_grace_keeps_its_memory_and_is_called_os_managed(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """HBM as a NUMA node: the driver's numbers, with the word that explains late release."""
    nvml.set(0, name="NVIDIA GH200 480GB")
    found = only(probe.survey())
    assert found.memory_kind is MemoryKind.OS_MANAGED
    assert found.device.free_bytes.quality is Quality.EXACT


def test_memory_not_reported_stays_unknown(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """NOT_SUPPORTED on memory of an unknown card: no guess, and the processes still shown."""
    nvml.set(0, total=None)
    nvml.procs(0, [(10, GIB)])
    found = only(probe.survey())
    assert found.memory_kind is MemoryKind.UNREPORTED
    assert found.device.total_bytes.value is None
    assert "does not report" in found.device.free_bytes.reason
    assert found.processes.value


def test_not_supported_elsewhere_hides_the_field_only(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """No utilization and no MPS list: memory is as exact as ever, and nobody is told."""
    nvml.set(0, util=None)
    nvml.fail("nvmlDeviceGetMPSComputeRunningProcesses", "NOT_SUPPORTED", index=0)
    found = probe.survey()
    assert only(found).utilization.value is None
    assert only(found).processes.value == ()
    assert codes(found) == []


@pytest.mark.parametrize(
    ("error", "code"), [("GPU_IS_LOST", "gpu-lost"), ("RESET_REQUIRED", "gpu-reset-required")]
)
def test_lost_gpu_keeps_its_last_numbers_as_stale(
    nvml: FakeNvml, probe: NvmlProbe, ticks: Ticks, error: str, code: str
) -> None:
    """A card that fell off the bus: named, stale with its age, and a state that says lost."""
    probe.read()
    nvml.fail("*", error, index=0)
    ticks.now += 3
    found = probe.survey()
    device = only(found)
    assert device.state is DeviceState.LOST
    assert device.device.name == "NVIDIA GeForce RTX 4090"
    assert device.device.free_bytes.value == 22 * GIB - 400 * MIB
    assert device.device.free_bytes.quality is Quality.STALE
    assert device.device.free_bytes.age_seconds == pytest.approx(3)
    assert code in codes(found)
    assert found.troubles[0].device == UUID_0


def test_lost_gpu_leaves_the_others_exact(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """One lost card makes no other card's numbers doubtful."""
    nvml.gpu(1, total=8 * GIB)
    probe.read()
    nvml.remove(0)
    by_index = {d.device.index: d for d in probe.survey().devices}
    assert by_index[0].state is DeviceState.LOST
    assert by_index[1].state is DeviceState.OK
    assert by_index[1].device.free_bytes.quality is Quality.EXACT


def test_card_that_is_no_longer_listed_is_lost_and_not_forgotten(
    nvml: FakeNvml, probe: NvmlProbe
) -> None:
    """A driver that renumbers after a card is gone does not make it disappear from the report."""
    nvml.gpu(1, total=8 * GIB)
    probe.read()
    nvml.remove(1)
    by_index = {d.device.index: d for d in probe.survey().devices}
    assert by_index[1].state is DeviceState.LOST
    assert by_index[1].device.total_bytes.quality is Quality.STALE


def test_lost_gpu_reopens_the_session_with_back_off(
    nvml: FakeNvml, probe: NvmlProbe, ticks: Ticks
) -> None:
    """NVML is opened afresh at once, then after 1, 2, 4 … seconds, not at every poll."""
    nvml.log_calls()
    probe.read()
    nvml.fail("nvmlDeviceGetMemoryInfo", "GPU_IS_LOST", index=0)
    opened = []
    for _ in range(8):
        probe.read()
        opened.append(nvml.called("nvmlInit_v2"))
        ticks.now += 1
    assert opened == [2, 3, 3, 4, 4, 4, 4, 5]


def test_recovered_gpu_is_exact_again(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """After a reset the numbers are believed at once."""
    probe.read()
    nvml.fail("*", "GPU_IS_LOST", index=0)
    probe.read()
    nvml.fail("*", None, index=0)
    assert only(probe.survey()).device.free_bytes.quality is Quality.EXACT


def test_card_of_another_tenant_is_skipped_and_said(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """NO_PERMISSION on the handle: counted by the driver, no device of ours, a hint."""
    nvml.gpu(1)
    nvml.fail("nvmlDeviceGetHandleByIndex", "NO_PERMISSION", index=1)
    found = probe.survey()
    assert [d.device.index for d in found.devices] == [0]
    (trouble,) = found.troubles
    assert trouble.code == "not-permitted"
    assert "nvmlDeviceGetHandleByIndex" in trouble.message
    assert trouble.hint


def test_process_list_not_permitted_is_unknown(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """NO_PERMISSION on a field: that field is unknown, memory is not touched by it."""
    nvml.fail("nvmlDeviceGetComputeRunningProcesses", "NO_PERMISSION", index=0)
    found = probe.survey()
    assert only(found).processes.value is None
    assert only(found).device.free_bytes.quality is Quality.EXACT
    assert codes(found) == ["not-permitted"]


@pytest.mark.parametrize(
    ("omit", "has_reserve"),
    [
        (["nvmlDeviceGetMemoryInfo_v2"], False),
        (["nvmlDeviceGetComputeRunningProcesses_v3"], True),
    ],
)
def test_older_driver_is_read_through_its_older_functions(
    tmp_path: Path, omit: list[str], has_reserve: bool
) -> None:
    """FUNCTION_NOT_FOUND: v3 to v2, v2 to v1, free is the same, and it is said once."""
    fake = FakeNvml(tmp_path, omit=omit)
    fake.gpu(0, total=24 * GIB, reserved=400 * MIB, used=2 * GIB)
    fake.procs(0, [(10, GIB)])
    found = survey_in_child(fake.env())
    (device,) = found["devices"]
    assert device["free"] == 22 * GIB - 400 * MIB
    assert (device["reserved"] is not None) == has_reserve
    assert device["pids"] == [10]
    assert found["troubles"] == [["driver-too-old", "info", False]]


def test_driver_without_any_process_list_says_unknown(tmp_path: Path) -> None:
    """Neither v3 nor v2: no list, which is not an empty list."""
    name = "nvmlDeviceGetComputeRunningProcesses"
    fake = FakeNvml(tmp_path, omit=[f"{name}_v3", f"{name}_v2"])
    fake.gpu(0)
    (device,) = survey_in_child(fake.env())["devices"]
    assert device["pids"] is None
    assert device["free"] == 24 * GIB


def test_list_that_outgrows_its_buffer_is_retried_once(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """INSUFFICIENT_SIZE: one retry, then unknown; memory stands."""
    nvml.procs(0, [(10, GIB)])
    nvml.set(0, grow=50)
    nvml.log_calls()
    found = only(probe.survey())
    assert found.processes.value is None
    assert found.device.free_bytes.quality is Quality.EXACT
    assert nvml.called("nvmlDeviceGetComputeRunningProcesses_v3") == 4  # two calls, twice


@pytest.mark.parametrize("error", ["UNINITIALIZED", "UNKNOWN", "77"])
def test_unexpected_code_reopens_once_and_is_unknown_with_its_number(
    nvml: FakeNvml, probe: NvmlProbe, error: str
) -> None:
    """UNINITIALIZED, UNKNOWN or a new code: one fresh session, then the code and the call."""
    nvml.log_calls()
    nvml.fail("nvmlDeviceGetMemoryInfo", error, index=0)
    found = probe.survey()
    number = {"UNINITIALIZED": "1", "UNKNOWN": "999"}.get(error, error)
    assert nvml.called("nvmlInit_v2") == 2
    assert only(found).device.free_bytes.value is None
    assert f"nvmlDeviceGetMemoryInfo returned code {number}" in found.troubles[0].message


def test_lost_session_heals_within_one_read(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """A session that somebody else ended is opened again before anything is reported."""
    import pynvml

    probe.read()
    pynvml.nvmlShutdown()
    found = probe.survey()
    assert only(found).device.free_bytes.quality is Quality.EXACT
    assert codes(found) == []


def test_hung_driver_holds_nobody_up(nvml: FakeNvml, probe: NvmlProbe, ticks: Ticks) -> None:
    """A call that hangs costs the patience once; then the last numbers, stale, at once."""
    probe.read()
    nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    began = time.monotonic()
    found = probe.survey()
    first_seconds = time.monotonic() - began
    ticks.now += 12
    began = time.monotonic()
    later = probe.survey()
    second_seconds = time.monotonic() - began
    assert PATIENCE_SECONDS <= first_seconds < PATIENCE_SECONDS + 0.5
    assert second_seconds < PATIENCE_SECONDS
    assert codes(found) == ["driver-silent"]
    assert found.troubles[0].blocks_loads
    assert only(later).state is DeviceState.SILENT
    assert only(later).device.free_bytes.quality is Quality.STALE
    assert only(later).device.free_bytes.age_seconds == pytest.approx(12)


def test_hung_driver_gets_no_second_thread(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """However often one looks, one thread waits in the driver, and it is a daemon."""
    import threading

    nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    for _ in range(5):
        probe.read()
    threads = [t for t in threading.enumerate() if t.name == "warmset-nvml" and t.is_alive()]
    hung = [t for t in threads if t is probe._worker._thread]
    assert len(hung) == 1
    assert hung[0].daemon


def test_hang_that_ends_is_followed_by_fresh_numbers(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """The same session goes on when the driver comes back."""
    probe.read()
    nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    probe.read()
    nvml.hang("nvmlDeviceGetMemoryInfo", None, index=0)
    wait_until(lambda: probe._worker.running_since is None)
    assert only(probe.survey()).device.free_bytes.quality is Quality.EXACT


def test_first_call_that_hangs_still_names_the_cards(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Cards are listed before any memory is read, so even the first hang shows which they are."""
    nvml.gpu(1)
    nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=0)
    found = probe.survey()
    assert [d.state for d in found.devices] == [DeviceState.SILENT] * 2
    assert found.devices[0].device.free_bytes.quality is Quality.UNKNOWN


def test_card_read_before_the_hang_is_exact(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """A card that hangs hides nothing that was read before it."""
    nvml.gpu(1)
    nvml.hang("nvmlDeviceGetMemoryInfo", 30, index=1)
    first, second = probe.survey().devices
    assert first.device.free_bytes.quality is Quality.EXACT
    assert second.device.free_bytes.quality is Quality.UNKNOWN


@pytest.mark.parametrize(
    "nonsense",
    [{"total": 0}, {"free": 25 * GIB}, {"total": 48 * GIB, "free": GIB}, {"total": 12 * GIB}],
    ids=["total 0", "free above total", "total doubled", "total halved"],
)
def test_implausible_numbers_are_discarded(
    nvml: FakeNvml, probe: NvmlProbe, nonsense: dict[str, int]
) -> None:
    """The last good numbers stay, as stale; the raw ones are in the trouble."""
    probe.read()
    nvml.set(0, **nonsense)
    found = probe.survey()
    assert only(found).device.total_bytes.value == 24 * GIB
    assert only(found).device.free_bytes.quality is Quality.STALE
    assert codes(found) == ["implausible"]
    assert only(found).processes.quality is Quality.EXACT


def test_driver_that_goes_away_leaves_stale_numbers_and_says_so(
    nvml: FakeNvml, probe: NvmlProbe
) -> None:
    """The module is unloaded under an open session: no fresh session, last numbers as stale."""
    probe.read()
    nvml.fail("*", "DRIVER_NOT_LOADED")
    found = probe.survey()
    assert codes(found) == ["driver-not-loaded"]
    assert only(found).state is DeviceState.FAILED
    assert only(found).device.free_bytes.quality is Quality.STALE


def test_devices_that_cannot_be_counted_are_a_trouble(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """A driver that opens and then counts nothing is an error with its call and code."""
    nvml.fail("nvmlDeviceGetCount", "UNKNOWN")
    found = probe.survey()
    assert found.devices == ()
    assert "nvmlDeviceGetCount returned code 999" in found.troubles[0].message


def test_card_that_is_taken_from_us_is_not_called_lost(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Permission withdrawn later: the card is skipped like another tenant's."""
    nvml.gpu(1)
    probe.read()
    nvml.fail("nvmlDeviceGetHandleByIndex", "NO_PERMISSION", index=1)
    assert [d.device.index for d in probe.survey().devices] == [0]


def test_closed_probe_ends_its_session_once(nvml: FakeNvml) -> None:
    """Closing shuts NVML down, and closing twice is closing once."""
    nvml.log_calls()
    probe = NvmlProbe(is_wsl=False, is_soc=False)
    probe.read()
    probe.close()
    probe.close()
    assert nvml.called("nvmlShutdown") == 1


def test_memory_not_permitted_is_unknown(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """NO_PERMISSION on memory: the device is listed, its memory unknown with the reason."""
    nvml.fail("nvmlDeviceGetMemoryInfo", "NO_PERMISSION", index=0)
    found = probe.survey()
    assert only(found).device.free_bytes.value is None
    assert "not permitted" in only(found).device.free_bytes.reason


def test_grace_without_memory_counts_is_unified(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """NOT_SUPPORTED on a Grace board: its pool is the host's."""
    nvml.set(0, name="NVIDIA GH200 480GB", total=None)
    assert only(probe.survey()).memory_kind is MemoryKind.UNIFIED


def test_unified_memory_without_process_bytes_has_no_sum(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """A process that does not tell makes the GPU's use unknown, not smaller."""
    nvml.set(0, name="NVIDIA GB10", total=None)
    nvml.procs(0, [(10, GIB), (11, None)])
    assert only(probe.survey()).used_bytes.value is None


def test_bug_in_the_worker_reaches_the_caller(probe: NvmlProbe) -> None:
    """An unexpected exception is raised where someone waits, and the thread lives on."""

    def fail(*_args: object) -> None:
        raise ZeroDivisionError

    real, probe._reader.read_all = probe._reader.read_all, fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        probe.read()
    probe._reader.read_all = real  # type: ignore[method-assign]
    assert len(probe.read()) == 1


def test_jetson_is_told_by_its_device_tree(tmp_path: Path) -> None:
    """A Tegra names itself in the device tree; other machines have none."""
    from warmset.adapters.nvml.probe import runs_on_soc

    assert not runs_on_soc(tmp_path)
    file = tmp_path / "proc/device-tree/compatible"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"nvidia,p3737-0000\0nvidia,tegra234\0")
    assert runs_on_soc(tmp_path)


def test_implausible_first_reading_is_unknown(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """With nothing to fall back on there is no number, and no zero."""
    nvml.set(0, total=0)
    assert only(probe.survey()).device.free_bytes.value is None


def test_new_total_is_believed_once_the_old_one_is_old(
    nvml: FakeNvml, probe: NvmlProbe, ticks: Ticks
) -> None:
    """A minute-old number is no evidence against the driver."""
    probe.read()
    nvml.set(0, total=80 * GIB)
    ticks.now += 61
    assert only(probe.survey()).device.total_bytes.value == 80 * GIB


def test_freed_memory_may_jump(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Only the total is a constant: free may go from 1 to 23 GiB in one look."""
    nvml.set(0, used=23 * GIB)
    probe.read()
    nvml.set(0, used=0)
    assert only(probe.survey()).device.free_bytes.quality is Quality.EXACT


# -- MIG --------------------------------------------------------------------------------------


def test_mig_instances_are_the_devices_and_the_card_is_none(
    nvml: FakeNvml, probe: NvmlProbe
) -> None:
    """One device for each instance with its own memory and processes."""
    nvml.gpu(0, mig=1, total=80 * GIB, name="NVIDIA H100")
    nvml.gpu(0, part=0, total=10 * GIB, used=GIB, gi=7, ci=0)
    nvml.gpu(0, part=1, total=20 * GIB, gi=8, ci=0)
    nvml.procs(0, [(10, GIB)], part=0)
    first, second = probe.survey().devices
    assert first.device.id.startswith("MIG-")
    assert first.parent_id == UUID_0
    assert first.device.free_bytes.value == 9 * GIB
    assert first.processes.value is not None
    assert [p.pid for p in first.processes.value] == [10]
    assert second.processes.value == ()
    assert second.device.total_bytes.value == 20 * GIB


def test_mig_without_instances_is_said(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """A card in MIG mode that is not cut up can hold nothing."""
    nvml.set(0, mig=1)
    found = probe.survey()
    assert found.devices == ()
    assert codes(found) == ["mig-without-instances"]


def test_card_that_is_cut_up_later_disappears_in_favour_of_its_instances(
    nvml: FakeNvml, probe: NvmlProbe
) -> None:
    """Turning MIG on is no lost card, and removing an instance is none either."""
    probe.read()
    nvml.set(0, mig=1)
    nvml.gpu(0, part=0, total=10 * GIB, gi=7, ci=0)
    nvml.gpu(0, part=1, total=10 * GIB, gi=8, ci=0)
    assert [d.state for d in probe.survey().devices] == [DeviceState.OK] * 2
    nvml.remove(0, part=1)
    assert len(probe.survey().devices) == 1


# -- WSL2: the library may take the process with it ------------------------------------------


def test_library_that_crashes_takes_only_a_child_with_it(tmp_path: Path) -> None:
    """On WSL2 NVML is tried in a child first; a crash there leaves us alive, without NVML."""
    source = tmp_path / "crash.c"
    source.write_text(
        "#include <stdlib.h>\nint nvmlInitWithFlags(unsigned f) { (void)f; abort(); }\n"
    )
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}", "-o", tmp_path / SONAME, source],
        check=True,
    )
    env = FakeNvml(tmp_path).env() | {"LD_LIBRARY_PATH": str(tmp_path)}
    found = survey_in_child(env, is_wsl=True)
    assert found["devices"] == []
    assert found["troubles"] == [["driver-crashes", "error", True]]


def test_healthy_library_on_wsl_is_used_after_the_trial(tmp_path: Path) -> None:
    """A child that comes through clears the way."""
    fake = FakeNvml(tmp_path)
    fake.gpu(0)
    assert len(survey_in_child(fake.env(), is_wsl=True)["devices"]) == 1


@pytest.mark.parametrize(
    ("error", "is_healthy"),
    [(subprocess.TimeoutExpired("python", 10), False), (OSError("no fork"), True)],
)
def test_trial_that_hangs_is_a_crash_and_one_that_cannot_start_is_none(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_healthy: bool
) -> None:
    """A child that never answers warns us off; a machine that starts no children does not."""
    from warmset.adapters.nvml import trial

    def fail(*_args: object, **_keys: object) -> None:
        raise error

    monkeypatch.setattr(trial.subprocess, "run", fail)
    assert (trial.survives_trial() is None) == is_healthy


@pytest.mark.parametrize(
    "call", ["nvmlDeviceGetPciInfo", "nvmlDeviceGetCudaComputeCapability", "nvmlDeviceGetMigMode"]
)
def test_card_that_is_lost_while_it_is_identified_is_lost(
    nvml: FakeNvml, probe: NvmlProbe, call: str
) -> None:
    """Whichever call meets it first, the card is lost; any other error costs that field only."""
    probe.read()
    nvml.fail(call, "GPU_IS_LOST", index=0)
    assert only(probe.survey()).state is DeviceState.LOST
    nvml.fail(call, "NO_PERMISSION", index=0)
    found = only(probe.survey())
    assert found.state is DeviceState.OK
    assert found.device.free_bytes.quality is Quality.EXACT


def test_card_without_any_identity_is_skipped_and_said(nvml: FakeNvml, probe: NvmlProbe) -> None:
    """Neither UUID nor PCI address: it cannot be told from others, so it is no device."""
    nvml.set(0, uuid=None, pci=None)
    found = probe.survey()
    assert found.devices == ()
    assert found.troubles


CHILD = """
import json, sys
from warmset.adapters.nvml import NvmlProbe
found = NvmlProbe(is_wsl=sys.argv[1] == "wsl", is_soc=False, timeout_seconds=30).survey()
print(json.dumps({
    "devices": [{
        "free": d.device.free_bytes.value,
        "reserved": d.reserved_bytes.value,
        "pids": None if d.processes.value is None else [p.pid for p in d.processes.value],
    } for d in found.devices],
    "troubles": sorted({(t.code, str(t.severity), t.blocks_loads) for t in found.troubles
                        if t.severity != "warning"}),
}))
"""


def survey_in_child(env: dict[str, str], *, is_wsl: bool = False) -> dict[str, list]:
    """Returns what a fresh process with this library sees."""
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "wsl" if is_wsl else "linux"],
        env=env | {"PYTHONPATH": source},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, list] = json.loads(done.stdout)
    return found
