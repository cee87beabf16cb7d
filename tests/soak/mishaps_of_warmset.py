"""What happens to the process of warmset, its files and its clocks."""

from __future__ import annotations

import contextlib
import sqlite3

from soak.earlier import NAMES as EARLIER
from soak.earlier import state_of
from soak.living import Living
from soak.story import TROUBLE_SECONDS
from soak.watched import Watcher
from warmset.core.control.loop import Loop
from warmset.errors import Refused
from warmset.shell.lock import Holder, take_lock


class OfWarmset(Living):
    """What happens to the process of warmset, its files and its clocks."""

    def _crash(self, seconds: float) -> None:
        self.crash(seconds)

    def _crash_at(self, steps: int, seconds: float) -> None:
        if self.warmset is not None:
            self.restart_after = seconds
            self.warmset.steps_left = steps

    def _stop(self, seconds: float) -> None:
        self.stop(seconds)

    def _release(self, seconds: float) -> None:
        """The process is told to end, and gives its leases back."""
        self.stop(seconds, releases=True)

    def _away(self) -> None:
        """The process is killed, and nobody starts another one before all is calm."""
        self.crash(TROUBLE_SECONDS + 10.0 - self.now)

    def _rot(self) -> None:
        """The journal is damaged while nobody holds it."""
        self.crash(3.0)
        for path in self.folder.glob("journal.sqlite3*"):
            content = bytearray(path.read_bytes())
            content[50:4000] = b"\xa5" * len(content[50:4000])
            path.write_bytes(bytes(content))
        self.races.loses_journal()
        self.witness.forgets()

    def _old_state(self) -> None:
        """A state of a version that nobody reads, or of an earlier one."""
        self.crash(3.0)
        path = next(self.folder.glob("journal.sqlite3"), None)
        name = (*EARLIER, "")[self.story.seed % (len(EARLIER) + 1)]
        body = state_of(name) if name else bytes(4)
        self.has_other_past = True
        if path is not None:
            database = sqlite3.connect(path)
            with contextlib.suppress(sqlite3.DatabaseError), database:  # it may have rotted before
                database.execute("UPDATE state SET body = ?", (body,))
            database.close()
        self.witness.forgets()

    def _disk_full(self, seconds: float) -> None:
        if self.journal is None:
            return
        self.is_disk_full = True
        self._fill_disk()

        def relieve() -> None:
            self.is_disk_full = False
            if self.journal is not None:
                self.journal._db.execute("PRAGMA max_page_count = 16384")

        self._later(seconds, relieve)

    def _second(self) -> None:
        """A second warmset for the same host is not let in while the first one runs."""
        if self.warmset is None or self.lock is None:
            return
        try:
            take_lock(self.folder, Holder(pid=2, since=0.0, verb="serve")).release()
        except Refused:
            return
        self.witness.breaks("a second warmset was let in")

    def _watcher(self) -> None:
        """A second one that only looks on needs no lock, and sends nothing."""
        loop = Loop(self.operator.said(self.wall, self.wall), is_read_only=True)
        watcher = Watcher(self, loop)
        watcher.clock_ahead = watcher.began_ahead = self.clock_ahead
        self.watchers.append(watcher)
        watcher.start()

    def _clock(self, seconds: float) -> None:
        self.clock_ahead += seconds
        self.tell_judges("breaks_off")
        for one in (self.warmset, *self.watchers):
            if one is not None:
                one.clock_ahead = self.clock_ahead
        self._holds_end()

    def _suspend(self, seconds: float) -> None:
        """The machine sleeps: no clock but the wall's goes on."""
        self._clock(seconds * 20)

    def _on_warmset(self, name: str, value: object, seconds: float, back: object) -> None:
        if self.warmset is not None:
            setattr(self.warmset, name, value)
        self._later(seconds, lambda: self.warmset and setattr(self.warmset, name, back))

    def _deaf(self, seconds: float) -> None:
        self._on_warmset("answers_ps", value=False, seconds=seconds, back=True)

    def _slow_ps(self, delay: float, seconds: float) -> None:
        self._on_warmset("ps_seconds", value=delay, seconds=seconds, back=0.0)

    def _slow_look(self, delay: float, seconds: float) -> None:
        self.faults.look_seconds = delay
        self._later(seconds, lambda: setattr(self.faults, "look_seconds", 0.0))
