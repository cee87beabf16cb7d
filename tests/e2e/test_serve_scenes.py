"""The scenes that break today's tools, as separate real processes on one living host: Ollama's
twin over HTTP, its runners, a pretended driver, and `warmset serve`."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from living_rig import (
    CARD,
    CHAT,
    CODER,
    GIANT,
    LARGE,
    MEDIUM,
    POLICY,
    SMALL,
    Living,
    holds,
    living,
)
from serving_rig import PROMPT_SECONDS

from warmset.core.units import GIB

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
BOTH = {CODER, CHAT}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Living]:
    """A host of a test's own."""
    with living(tmp_path) as made:
        yield made


def events_of(rig: Living, *kinds: str) -> list[str]:
    """Returns the models of all events of some kinds in the journal."""
    return [event.name for event in rig.events_of(*kinds)]


def test_a_model_larger_than_the_card_passes_and_the_pins_return(rig: Living) -> None:
    """A user's 30 GB on 24 GB: warmset unloads nothing for it, waits, loads the pins again one
    after the other, and can say what happened."""
    daemon = rig.serve()
    rig.wait_until(holds(rig, BOTH))
    rig.ask(GIANT, keep_alive="1s").join()
    assert rig.answered == [GIANT]
    rig.wait_until(holds(rig, BOTH))
    daemon.wait_for("decision", is_converged=True)
    told = rig.run("explain", CODER).stdout
    assert f"it had to make room for {GIANT}" in told
    assert daemon.stop() < PROMPT_SECONDS
    assert not events_of(rig, "unload_sent")
    assert sorted(events_of(rig, "preloaded")) == sorted([*BOTH, *BOTH])


def test_pins_that_never_fit_cost_one_error_and_no_load(tmp_path: Path) -> None:
    """The numbers once; not a single load or ping while two minutes pass; an end in two seconds."""
    with living(tmp_path, speed=40.0) as rig:
        rig.budgets.write_text(
            f'{POLICY}[model."{MEDIUM}"]\npin = true\n[model."{LARGE}"]\npin = true\n'
        )
        daemon = rig.serve()
        alarm = daemon.wait_for("alarm", code="pins_conflict")
        assert "GiB" in alarm["text"]
        assert alarm["level"] == "error"
        until = rig.twin.timeline.now + 120.0
        rig.wait_until(lambda: rig.twin.timeline.now > until)
        assert daemon.events().count("alarm") == 1
        assert daemon.stop() < PROMPT_SECONDS
        assert rig.residents() == set()
        assert not rig.loads()
        assert not events_of(rig, "preload_ordered", "unload_sent", "renew_ordered")


def test_an_end_in_the_middle_of_it_all(rig: Living) -> None:
    """SIGTERM while a user's giant pushes the pins out: two seconds, and the user is answered."""
    daemon = rig.serve()
    rig.wait_until(holds(rig, BOTH))
    user = rig.ask(GIANT, keep_alive="1s")
    rig.wait_until(lambda: not rig.residents() & BOTH)
    assert daemon.stop() < PROMPT_SECONDS
    assert daemon.popen.returncode == 0
    user.join()
    assert rig.answered == [GIANT]


def test_a_successor_starts_while_the_first_one_dies(tmp_path: Path) -> None:
    """The first is told to stop in the middle of its load; the second waits for the lock, takes
    over, and loads what is missing once."""
    with living(tmp_path, bytes_per_second=2e9) as rig:
        first = rig.serve()
        first.wait_for("decision")
        rig.wait_until(lambda: rig.twin.scheduler.loading is not None)
        second = rig.serve()
        first.signal(signal.SIGTERM)
        second.wait_for("started", seconds=30)
        assert first.popen.wait(60) == 0
        rig.wait_until(holds(rig, BOTH))
        second.wait_for("decision", seconds=30, is_converged=True)
        assert second.stop() < PROMPT_SECONDS
        assert sorted(events_of(rig, "preloaded")) == sorted(BOTH)
        assert not events_of(rig, "unload_sent")


def test_the_lowest_ranks_give_way_to_a_game_and_come_back(rig: Living) -> None:
    """Another program takes ten gigabytes: an idle model of low rank leaves, the pin stays; when
    the program ends, all are back."""
    rig.budgets.write_text(
        f'{POLICY}[model."{CODER}"]\npin = true\n[model."{CHAT}"]\npriority = 80\n'
        f'[model."{SMALL}"]\npriority = 20\n'
    )
    daemon = rig.serve()
    everybody = {CODER, CHAT, SMALL}
    rig.wait_until(holds(rig, everybody))
    with rig.server.locked() as host:
        host.cards.set_foreign(CARD, 11 * GIB)
    rig.wait_until(lambda: rig.residents() < everybody)
    assert CODER in rig.residents()
    with rig.server.locked() as host:
        host.cards.set_foreign(CARD, GIB // 2)
    rig.wait_until(holds(rig, everybody))
    daemon.stop()
    assert CODER not in events_of(rig, "unload_sent", "model_left")


def test_everything_may_be_killed_at_any_moment(rig: Living) -> None:
    """Warmset, Ollama and its runners die in any order: in the end the pins are resident, each
    loaded at most once for each death, nothing was unloaded by us, and the journal is whole."""
    chance = random.Random(2)
    daemon = rig.serve()
    deaths = 0
    for _ in range(6):
        time.sleep(chance.uniform(0.1, 1.5))
        victim = chance.choice(["warmset", "ollama", "runner"])
        if victim == "warmset":
            daemon.kill()
            daemon = rig.serve()
        else:
            deaths += 1
            with rig.server.locked() as host:
                alive = [r.model.key for r in host.scheduler.loaded.values() if r.is_alive]
                if victim == "ollama" and host.is_up:
                    host.restart(chance.uniform(0.05, 0.5))
                elif alive:
                    host.kill_runner(chance.choice(alive))
        if chance.random() < 0.4:
            rig.ask(chance.choice([CODER, CHAT]), is_risky=True)
    # a killed runner is listed until somebody asks for it
    rig.wait_until(lambda: rig.twin.is_up)
    for model in BOTH:
        rig.ask(model).join()
    rig.wait_until(holds(rig, BOTH))
    daemon.wait_for("decision", seconds=30, is_converged=True)
    time.sleep(1.5)
    before = len(events_of(rig, "preload_ordered"))
    time.sleep(1.5)
    assert len(events_of(rig, "preload_ordered")) == before
    assert daemon.stop() < PROMPT_SECONDS
    assert not events_of(rig, "unload_sent", "journal_trouble")
    for model in BOTH:
        assert events_of(rig, "preload_ordered").count(model) <= 7 + deaths
