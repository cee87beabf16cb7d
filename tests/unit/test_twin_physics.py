"""Loads on pretended hosts: what the driver counts, what Ollama knows of it, what spills."""

import pytest

from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import HOSTS, named_host, physics_of
from warmset.core.units import MIB


@pytest.mark.parametrize("name", HOSTS)
def test_ollama_knows_less_than_the_driver_and_never_more_than_the_whole(name: str) -> None:
    """`size_vram` leaves out the driver's context of each process, and `size` holds it all."""
    spec = named_host(name)
    host = TwinHost(spec, physics_of(spec))
    for model in spec.models[:3]:
        host.use(model.name, 1.0, keep_alive=3600.0)
        host.timeline.advance(host.timeline.now + 120.0)
    for row in host.residents():
        runner = row.runner
        driver = sum(host.cards.held_by(runner.pid).values())
        assert runner.vram_bytes <= runner.total_bytes
        if spec.gpus:
            assert 100 * MIB < driver - runner.vram_bytes < 1024 * MIB
        else:
            assert driver == runner.vram_bytes == 0


def test_what_does_not_fit_lies_in_ram() -> None:
    """A 70B model on one 24 GB card is loaded in part, and `size` tells the rest."""
    spec = named_host("2x24")
    host = TwinHost(spec, physics_of(spec))
    host.use("llama3.3:70b", 1.0)
    host.timeline.advance(host.timeline.now + 120.0)
    (row,) = host.residents()
    assert 0 < row.runner.vram_bytes < row.runner.total_bytes
