"""Laws of the NVIDIA probe, whatever the driver says: through the real nvidia-ml-py."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "fakenvml"))

from fakenvml import GIB, FakeNvml

from warmset.adapters.nvml import NvmlProbe
from warmset.core.host.budget import promise_bytes
from warmset.core.host.readings import GpuSurvey
from warmset.core.model import HostMemory, Quality, Reading, unknown

COUNTS = [None, 0, 1, 8 * GIB, 12 * GIB, 24 * GIB, 25 * GIB, 2**62, 2**64 - 1]
CODES = [
    None, "NOT_SUPPORTED", "NO_PERMISSION", "GPU_IS_LOST", "RESET_REQUIRED", "UNKNOWN",
    "UNINITIALIZED", "FUNCTION_NOT_FOUND", "INSUFFICIENT_SIZE", "NOT_FOUND", "77",
]  # fmt: skip
CALLS = [
    "*", "nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName",
    "nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo", "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses",
    "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMigDeviceHandleByIndex",
]  # fmt: skip

changes = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"),
            st.sampled_from([0, 1]),
            st.fixed_dictionaries(
                {},
                optional={
                    "total": st.sampled_from(COUNTS),
                    "used": st.sampled_from(COUNTS),
                    "free": st.sampled_from(COUNTS),
                    "reserved": st.sampled_from(COUNTS),
                    "mig": st.sampled_from([None, 0, 1]),
                    "name": st.sampled_from(["NVIDIA GB10", "NVIDIA GH200", "card"]),
                },
            ),
        ),
        st.tuples(
            st.just("fail"),
            st.sampled_from([None, 0, 1]),
            st.tuples(st.sampled_from(CALLS), st.sampled_from(CODES)),
        ),
        st.tuples(
            st.just("procs"),
            st.sampled_from([0, 1]),
            st.lists(st.tuples(st.integers(1, 9), st.sampled_from(COUNTS)), max_size=3),
        ),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.5, 5.0, 100.0])),
    ),
    max_size=8,
)


class Ram:
    """A host whose RAM is not readable."""

    def read(self) -> HostMemory:
        """Returns unknown numbers."""
        failed: Reading[int] = unknown("ram", "not readable")
        return HostMemory(total_bytes=failed, available_bytes=failed)


def check(survey: GpuSurvey) -> None:
    """No number without sense, no device twice, and nothing promised beyond what there is."""
    ids = [found.device.id for found in survey.devices]
    assert len(ids) == len(set(ids))
    for found in survey.devices:
        total, free = found.device.total_bytes, found.device.free_bytes
        promised = promise_bytes(free)
        assert promised >= 0
        if free.value is not None and total.value is not None:
            assert 0 <= free.value <= total.value
            assert promised <= total.value
        if free.quality in {Quality.UNKNOWN, Quality.STALE}:
            assert free.reason
            assert promised == 0
        assert found.used_bytes.value is None or found.used_bytes.value >= 0


@settings(max_examples=100, deadline=None)
@given(changes)
def test_whatever_the_driver_says_nothing_raises(steps: list) -> None:
    """Totals of None, 0, huge and shrinking, and any error of any call, in any order."""
    now = [0.0]
    with tempfile.TemporaryDirectory() as folder:
        fake = FakeNvml(Path(folder))
        for index in (0, 1):
            fake.gpu(index)
            fake.gpu(index, part=0, total=8 * GIB, gi=7, ci=0)
        fake.preload()
        probe = NvmlProbe(
            Ram(), timeout_seconds=10, monotonic=lambda: now[0], is_wsl=False, is_soc=False
        )
        check(probe.survey())
        for kind, index, what in steps:
            if kind == "set":
                fake.set(index, **what)
            elif kind == "fail":
                fake.fail(what[0], what[1], index=index)
            elif kind == "procs":
                fake.procs(index, what)
            else:
                now[0] += what
            check(probe.survey())
        probe.close()
