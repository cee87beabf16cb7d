"""A story and all that can happen in it."""

from __future__ import annotations

from soak.mishaps_of_clients import OfClients
from soak.mishaps_of_memory import OfMemory
from soak.mishaps_of_operator import OfOperator
from soak.mishaps_of_server import OfServer
from soak.mishaps_of_warmset import OfWarmset
from warmset.core.settings import Budget


class Life(OfClients, OfServer, OfMemory, OfOperator, OfWarmset):
    """A host with everything that happens to it."""

    def heal(self) -> None:
        """Everything works again, and the models are where they were."""
        self.witness.disturbed()
        self.faults.heal()
        self.physics.failing, self.physics.slowness = 0, 1.0
        self.ram_pressure, self.snatches, self.meanwhile, self.jam = "", 0, (), ()
        self._unjam()
        vars(self.host.scheduler).pop("_evict_one", None)
        self.host.cards.release_lag_seconds = self.host.spec.release_lag_seconds
        for gpu in self.host.spec.gpus:
            count = self.host.spec.foreign_bytes.get(gpu.device, 0)
            self.host.cards.set_foreign(gpu.device, count)
        if self.warmset is not None:
            self.warmset.answers_ps, self.warmset.ps_seconds = True, 0.0
        for model in self.host.spec.models:
            if self.host.library.find(model.name) is None:
                self.host.library.install(model)
        self.operator.budget, self.operator.yielding = Budget(), ""
        self._edit("back")
