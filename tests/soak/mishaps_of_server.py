"""What happens to Ollama and to its models."""

from __future__ import annotations

from dataclasses import replace

from loop_hosts import GIANT

from soak.living import OUT_OF_MEMORY, Living
from warmset.core.twin.library import digest_of


class OfServer(Living):
    """What happens to Ollama and to its models."""

    def _restart(self, seconds: float) -> None:
        if self.host.is_up:
            self.witness.server_restarts(seconds)
            self.tell_judges("breaks_off", is_server=True)
            self.host.restart(seconds)

    def _upgrade(self, seconds: float) -> None:
        """The server ends, and another version of it begins."""
        self.host.spec = replace(self.host.spec, version=f"0.33.{self.host.starts}")
        self._restart(seconds)

    def _wedge(self, busy: float) -> None:
        """A client's keep-alive reaches a busy victim: all loading stops (issue #17408)."""
        if not self.host.is_up:
            return

        def use_all(keep: float) -> None:
            for row in self.host.residents():
                self._use(row.model.name, busy, keep, None)

        use_all(600.0)
        self._use(GIANT, 5.0, None, None)
        self._later(busy / 2, lambda: use_all(86400.0))

    def _kill_runner(self, name: str) -> None:
        model = self.host.library.find(name)
        if model is not None and self.host.is_up:
            self.host.kill_runner(model.key)

    def _load_fails(self, count: int) -> None:
        self.physics.failing, self.physics.error = count, "llama runner process has terminated"

    def _load_oom(self, count: int) -> None:
        self.physics.failing, self.physics.error = count, OUT_OF_MEMORY

    def _runtime_oom(self) -> None:
        if self.host.is_up:
            self.host.scheduler.runtime_oom()

    def _slow_loads(self, factor: float, seconds: float) -> None:
        self.physics.slowness = factor
        self._later(seconds, lambda: setattr(self.physics, "slowness", 1.0))

    def _delete(self, name: str) -> None:
        model = self.host.library.find(name)
        if model is not None:
            self.witness.is_deleted(model.key)
            self.tell_judges("is_deleted", model.key)
            self.host.library.delete(name)

    def _repull(self, name: str) -> None:
        model = self.host.library.find(name)
        if model is None:
            return
        weights = replace(model.weights, digest="sha256:" + digest_of(name, str(self.now)))
        self.physics.inner._facts = {**self.physics.inner._facts, weights.digest: weights.facts}
        self.host.library.install(replace(model, weights=weights, digest=""))

    def _jam(self, what: str, seconds: float) -> None:
        """From our next preload on the server answers, but its queue stands still, or all of its
        scheduler: no unload wakes it."""
        self.jam = (what, seconds)

    def jams(self, what: str, seconds: float) -> None:
        """Lets the server stand still for a while."""
        self.jam, scheduler = (), self.host.scheduler
        if not self.host.is_up or "_run" in vars(scheduler):
            return
        self.witness.disturbed()
        if what == "all":
            scheduler._unloader.run = lambda: None  # type: ignore[method-assign]
        scheduler._run = scheduler._unloader.run  # type: ignore[method-assign]
        self._later(seconds, self._unjam)

    def _unjam(self) -> None:
        scheduler = self.host.scheduler
        if vars(scheduler).pop("_run", None) is not None:
            vars(scheduler._unloader).pop("run", None)
            scheduler._run()

    def _broken_lever(self, lever: str, seconds: float) -> None:
        """A new version of the server takes a command and does nothing."""
        self.faults.broken |= {lever}  # type: ignore[operator]

        def mend() -> None:
            self.faults.broken -= {lever}

        self._later(seconds, mend)

    def _order_broken(self, seconds: float) -> None:
        """A new version of the server evicts the longest keep-alive first."""
        scheduler = self.host.scheduler

        def evict_one() -> None:
            loaded = list(scheduler.loaded.values())
            idle = [runner for runner in loaded if runner.refs == 0]
            scheduler._evict(max(idle or loaded, key=lambda r: (r.duration, r.model.name)))

        scheduler._evict_one = evict_one  # type: ignore[method-assign]
        self._later(seconds, lambda: vars(scheduler).pop("_evict_one", None))

    def _lost_reply(self, count: int) -> None:
        self.faults.lost_replies = count

    def _no_effect(self, count: int) -> None:
        self.faults.without_effect = count

    def _refused(self, count: int) -> None:
        self.faults.refused = count

    def _doubled(self, count: int) -> None:
        self.faults.doubled = count
