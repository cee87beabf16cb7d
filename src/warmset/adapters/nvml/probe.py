"""The NVIDIA probe: one held session, one thread, last good values marked stale.

Rule: `read` and `survey` come back within `timeout_seconds` whatever the driver does, and a
number that is not from this very look is called stale.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from warmset.adapters.nvml.devices import Identity, unreadable
from warmset.adapters.nvml.library import CallFailed, NvmlLibrary
from warmset.adapters.nvml.look import DeviceReader, Look
from warmset.adapters.nvml.meaning import (
    OTHER_RETRY_SECONDS,
    RETRY_SECONDS,
    explain_no_session,
)
from warmset.adapters.nvml.trial import survives_trial
from warmset.adapters.nvml.worker import Worker
from warmset.core.host.readings import (
    DeviceState,
    GpuReading,
    GpuSurvey,
    Severity,
    Trouble,
    mark_device_stale,
)
from warmset.core.model import Device, DeviceId
from warmset.ports import HostProbe

TIMEOUT_SECONDS: Final = 2.0
"""The longest a command waits for the driver. Source: devices.md section 8."""

LONGEST_BACK_OFF_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The last news of one device, and the last reading with memory numbers in it."""

    reading: GpuReading
    at: float
    run: int
    good: GpuReading | None = None
    good_at: float = 0.0


class NvmlProbe:
    """Reads the NVIDIA GPUs of this machine. Make one for each program: it owns the session.

    Args:
        host: Reads RAM for GPUs that have no memory of their own (GB10, Jetson).
        timeout_seconds: The longest wait for the driver in one call.
        monotonic: Seconds that never step back.
        is_wsl: Whether to try NVML in a child process first; found out if `None`.
        is_soc: Whether this is a Jetson; found out if `None`.
    """

    def __init__(
        self,
        host: HostProbe | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        is_wsl: bool | None = None,
        is_soc: bool | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._needs_trial = runs_in_wsl() if is_wsl is None else is_wsl
        self._library = NvmlLibrary()
        self._reader = DeviceReader(
            self._library,
            read_memory=host.read if host else None,
            last_total=self._last_total,
            is_soc=runs_on_soc() if is_soc is None else is_soc,
        )
        self._worker = Worker("warmset-nvml", self._run)
        self._lock = threading.Lock()  # guards what the worker writes and callers read
        self._kept: dict[DeviceId, _Kept] = {}
        self._troubles: tuple[Trouble, ...] = ()
        self._driver: str | None = None
        self._run_number = 0
        self._is_open = False
        self._open_at = float("-inf")  # not before this instant
        self._reopen_at = float("-inf")
        self._back_off_seconds = 0.0

    def read(self) -> tuple[Device, ...]:
        """Returns the devices; what failed is `unknown` or `stale` with its reason."""
        return tuple(reading.device for reading in self.survey().devices)

    def survey(self) -> GpuSurvey:
        """Returns everything known about the NVIDIA GPUs, within the time limit."""
        is_fresh = self._worker.run(self._timeout_seconds)
        with self._lock:
            troubles = self._troubles
            if not is_fresh:
                troubles = (self._report_silence(),)
            return GpuSurvey(
                source="nvml",
                devices=tuple(self._present(kept, is_fresh) for kept in self._kept.values()),
                troubles=troubles,
                driver=self._driver,
            )

    def close(self) -> None:
        """Ends the session if the driver answers; a hung one is left to the process's end.

        Shutting NVML down while a call is inside it can crash, so this goes through the thread.
        """
        if self._is_open and self._worker.running_since is None:
            self._open_at = float("inf")
            self._reopen_at = float("-inf")
            self._worker.run(self._timeout_seconds)

    # -- in the worker's thread --------------------------------------------------------

    def _run(self) -> None:
        try:
            self._look()
        except CallFailed as failed:
            with self._lock:
                self._troubles = (explain_no_session(failed.code, failed.call),)

    def _look(self) -> None:
        now = self._monotonic()
        with self._lock:
            self._run_number += 1
        if self._is_open and self._open_at > now:
            self._shut()
        if not self._is_open and (now < self._open_at or not self._open(now)):
            return
        look = self._try_look()
        if not look.needs_new_session:
            self._back_off_seconds = 0.0
            self._reopen_at = float("-inf")
        elif now >= self._reopen_at:
            self._back_off_seconds = min(
                LONGEST_BACK_OFF_SECONDS, max(1.0, 2 * self._back_off_seconds)
            )
            self._reopen_at = now + self._back_off_seconds
            self._shut()
            if not self._open(now):
                return
            look = self._try_look()
        self._finish(look)

    def _try_look(self) -> Look:
        try:
            return self._reader.read_all(self._publish, self._announce)
        except CallFailed as failed:
            look = Look(needs_new_session=True)
            look.troubles.append(explain_no_session(failed.code, failed.call))
            return look

    def _open(self, now: float) -> bool:
        if self._needs_trial:
            verdict = survives_trial()
            if verdict is not None:
                self._open_at = now + OTHER_RETRY_SECONDS
                with self._lock:
                    self._troubles = (verdict,)
                return False
            self._needs_trial = False
        try:
            self._library.call("nvmlInit")
        except CallFailed as failed:
            self._open_at = now + RETRY_SECONDS.get(failed.code, OTHER_RETRY_SECONDS)
            with self._lock:
                self._troubles = (explain_no_session(failed.code, failed.call),)
            return False
        self._is_open = True
        driver = self._library.read_text("nvmlSystemGetDriverVersion")
        with self._lock:
            self._driver = driver
        return True

    def _shut(self) -> None:
        self._is_open = False
        try:
            self._library.call("nvmlShutdown")
        except CallFailed:
            return  # the session is gone either way

    def _announce(self, identity: Identity) -> None:
        """A device exists: known from now on, even if its first reading never comes back."""
        with self._lock:
            if identity.id not in self._kept:
                skeleton = unreadable(identity, None, "not read yet: the driver does not answer")
                self._kept[identity.id] = _Kept(
                    reading=skeleton, at=self._monotonic(), run=self._run_number - 1
                )

    def _publish(self, reading: GpuReading) -> None:
        now = self._monotonic()
        with self._lock:
            before = self._kept.get(reading.device.id)
            is_good = reading.device.free_bytes.value is not None
            self._kept[reading.device.id] = _Kept(
                reading=reading,
                at=now,
                run=self._run_number,
                good=reading if is_good else before.good if before else None,
                good_at=now if is_good or before is None else before.good_at,
            )

    def _finish(self, look: Look) -> None:
        """After a whole look: forgets MIG slices that are gone and cards that are no target now.

        Any other card that is no longer listed stays, and is shown as lost.
        """
        troubles = list(look.troubles)
        with self._lock:
            for gone in [id_ for id_ in self._kept if id_ not in look.seen]:
                kept = self._kept[gone]
                is_no_target = gone in look.denied or self._is_now_cut_up(gone)
                if kept.reading.parent_id is not None or is_no_target:
                    del self._kept[gone]
            if self._library.is_old:
                troubles.append(_OLD_DRIVER)
            self._troubles = tuple(troubles)

    def _is_now_cut_up(self, device: DeviceId) -> bool:
        return any(kept.reading.parent_id == device for kept in self._kept.values())

    # -- what callers see --------------------------------------------------------------

    def _last_total(self, device: DeviceId) -> int | None:
        with self._lock:
            kept = self._kept.get(device)
            if kept is None or kept.good is None:
                return None
            if self._monotonic() - kept.good_at > LONGEST_BACK_OFF_SECONDS:
                return None  # too old to call a new number nonsense
            return kept.good.device.total_bytes.value

    def _present(self, kept: _Kept, is_fresh: bool) -> GpuReading:
        is_current = kept.run == self._run_number
        if is_current and kept.good is kept.reading:
            return kept.reading
        state = kept.reading.state
        if not is_current and not is_fresh:
            state = DeviceState.SILENT
        elif not is_current:
            state = DeviceState.LOST if self._is_open else DeviceState.FAILED
        reason = kept.reading.device.free_bytes.reason or _REASONS.get(state, "not read just now")
        if kept.good is None:
            return replace(kept.reading, state=state)
        age_seconds = self._monotonic() - kept.good_at
        stale = mark_device_stale(kept.good, age_seconds, reason, state)
        if is_current:
            return replace(stale, processes=kept.reading.processes)
        return stale

    def _report_silence(self) -> Trouble:
        since = self._worker.running_since
        waited = self._timeout_seconds if since is None else time.monotonic() - since
        return Trouble(
            code="driver-silent",
            message=f"NVML has not answered for {waited:.0f} s",
            hint="see dmesg for an Xid; nvidia-smi will hang as well",
            severity=Severity.ERROR,
            blocks_loads=True,
        )


_REASONS: Final = {
    DeviceState.SILENT: "NVML is not answering",
    DeviceState.LOST: "the driver no longer lists this GPU",
}

_OLD_DRIVER: Final = Trouble(
    code="driver-too-old",
    message="NVIDIA driver older than r515: read through its older functions",
    hint="update the driver to see all processes and the reserve",
    severity=Severity.INFO,
)


def runs_in_wsl() -> bool:
    """Returns whether this is Linux under Windows, by the kernel's name."""
    return "microsoft" in platform.release().lower()


def runs_on_soc(root: Path = Path("/")) -> bool:
    """Returns whether this is a Jetson: a system on a chip whose GPU has no memory of its own."""
    try:
        compatible = (root / "proc/device-tree/compatible").read_bytes()
    except OSError:
        return False
    return b"nvidia,tegra" in compatible
