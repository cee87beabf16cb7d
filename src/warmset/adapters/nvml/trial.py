"""NVML in a child process first, where it is known to crash inside the library.

Source: devices.md section 3, WSL2: NVML has segfaulted inside the library (WSL #11277).
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from warmset.core.host.readings import Severity, Trouble

TRIAL_SECONDS: Final = 10.0

_SCRIPT: Final = """
import pynvml
try:
    pynvml.nvmlInit()
    for i in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(i)
        pynvml.nvmlDeviceGetMemoryInfo(handle)
        pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
except Exception:
    pass
"""


def survives_trial() -> Trouble | None:
    """Returns why NVML must not be used in this process, or `None` if a child came through.

    An error that NVML reports is no crash: it is met again, and understood, in our own process.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-c", _SCRIPT],
            check=False,
            capture_output=True,
            timeout=TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        why = f"did not answer a child process within {TRIAL_SECONDS:.0f} s"
    except OSError:
        return None
    else:
        if done.returncode == 0:
            return None
        why = f"ended a child process with status {done.returncode}"
    return Trouble(
        code="driver-crashes",
        message=f"NVML {why}; it is not used here",
        hint="update WSL (wsl --update) and the Windows driver",
        severity=Severity.ERROR,
        blocks_loads=True,
    )
