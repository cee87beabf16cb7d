"""`warmset bench` against a pretended Ollama over real HTTP, in accelerated time."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actors import wait_until
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.journal import state_folder
from warmset.cli.app import main
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.units import GIB
from warmset.shell.bench.spread import Spread
from warmset.shell.bench.worth import Worth
from warmset.shell.lock import Holder, take_lock
from warmset.shell.twin_server import TwinServer

CHAT, EMBED, LARGE = "llama3.1:8b", "nomic-embed-text:latest", "qwen2.5:32b"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[TwinServer]:
    """A workstation with nothing loaded, forty times as fast as the clock."""
    spec = named_host("workstation")
    host = TwinHost(spec, physics_of(spec), Timeline(time.time()))
    with TwinServer(Api(host), speed=40.0) as started:
        yield started


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: TwinServer,
) -> Run:
    """Runs `warmset bench` on that host; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*arguments: str, host: str = server.url) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["bench", *arguments, "--host", host])
        printed = capsys.readouterr()
        return int(str(end.value.code)), printed.out, printed.err

    return call


def residents(server: TwinServer) -> set[str]:
    with server.locked() as host:
        return {row.model.name for row in host.residents()}


def wait_for_peace(server: TwinServer) -> None:
    """Until what was asked for has come and its request is over, however slow the machine is."""

    def is_idle() -> bool:
        with server.locked() as host:
            rows = host.residents()
            return bool(rows) and all(row.runner.expires_at is not None for row in rows)

    wait_until(is_idle)


def test_cold_and_warm_runs_are_measured_and_told_apart(run: Run, server: TwinServer) -> None:
    """Each part for itself; a cold run holds the load, a warm one none; nobody is left behind."""
    arguments = (CHAT, EMBED, "--cold", "2", "--warm", "3", "--svg", "b.svg", "-o", "json")
    code, out, err = run(*arguments)
    assert code == 0, err
    chat, embed = json.loads(out)["models"]
    assert (chat["name"], embed["name"]) == (CHAT, EMBED)
    for measured in (chat, embed):
        assert measured["download"] is None
        assert (measured["cold"]["load_seconds"]["count"]) == 2
        assert measured["warm"]["load_seconds"]["most"] < 0.1
        assert measured["cold"]["load_seconds"]["least"] > 1.0
        assert measured["warm"]["total_seconds"]["count"] == 3
        assert measured["penalty_seconds"] > 0
    assert chat["held_bytes"] > 4 * GIB
    assert chat["cold"]["first_seconds"]["median"] > chat["warm"]["first_seconds"]["median"]
    assert embed["cold"]["first_seconds"] is None  # an embedding has no token
    assert chat["is_worth_it"] is None  # nobody said how often it is asked for
    assert residents(server) == set()
    assert f"{CHAT}: cold run 2 of 2" in err
    drawn = ET.fromstring(Path("b.svg").read_text())
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert f"{CHAT} cold" in texts


def test_the_verdict_follows_demand_and_price(run: Run) -> None:
    """With both it says yes or no, and for how long to keep it; with neither what is missing."""
    quick = (CHAT, "--cold", "1", "--warm", "1")
    _, out, _ = run(*quick)
    assert "depends on its use: give --requests-per-day" in out
    assert f"{CHAT} cold  ####" in out
    _, out, _ = run(*quick, "--requests-per-day", "1e6", "--price", "0.001")
    assert "that is worth it" in out
    assert "At that price keep it for" in out
    Path("budgets.toml").write_text(f'[model."{CHAT}"]\nrequests_per_day = 1\n')
    _, out, _ = run(*quick, "--price", "1e6")
    assert "At 1 requests a day" in out
    assert "that is not worth it" in out


def test_a_twin_in_this_process_is_measured_in_its_own_time(run: Run) -> None:
    """Then what is waited for is what the server tells, and nothing takes real time."""
    code, out, _ = run(CHAT, "-o", "json", host="twin://workstation")
    assert code == 0
    (measured,) = json.loads(out)["models"]
    cold = measured["cold"]
    assert cold["first_seconds"]["median"] >= cold["load_seconds"]["median"] > 1.0


def test_a_model_that_was_resident_stays_so(run: Run, server: TwinServer) -> None:
    """With about the time that it had left."""
    with server.locked() as host:
        host.use(CHAT, 1.0, keep_alive=7200.0)
    wait_for_peace(server)
    assert run(CHAT, "--cold", "1", "--warm", "1")[0] == 0
    assert residents(server) == {CHAT}
    with server.locked() as host:
        (row,) = host.residents()
        assert host.scheduler.loaded[row.model.key].duration > 6000


def test_a_busy_host_is_not_disturbed_unless_told(run: Run, server: TwinServer) -> None:
    """A request in flight, or a resident that would have to go, is reason enough to refuse."""
    with server.locked() as host:
        host.use(EMBED, 1e6, keep_alive=600.0)
    wait_until(lambda: residents(server) == {EMBED})
    code, out, err = run(CHAT, "--cold", "1", "--warm", "1")
    assert (code, out) == (6, "")
    assert "the host is in use" in err
    assert "--force" in err
    assert residents(server) == {EMBED}
    assert run(CHAT, "--cold", "1", "--warm", "1", "--force")[0] == 0
    assert residents(server) == {EMBED}


def test_a_model_that_would_push_others_out_is_refused(run: Run, server: TwinServer) -> None:
    """Before anything is touched; and so is one that no room can be made for."""
    with server.locked() as host:
        host.use("qwen2.5:14b", 0.5, keep_alive=90_000.0)
    wait_for_peace(server)
    code, _, err = run(LARGE)
    assert code == 6
    assert LARGE in err
    assert residents(server) == {"qwen2.5:14b"}


def test_a_host_that_is_steered_is_left_to_who_steers_it(
    run: Run, server: TwinServer, tmp_path: Path
) -> None:
    """A running `serve` would load again what is unloaded here."""
    folder = state_folder({"WARMSET_STATE": str(tmp_path / "state")}, server.url)
    folder.mkdir(parents=True)
    with take_lock(folder, Holder(pid=1, since=time.time(), verb="serve")):
        code, _, err = run(CHAT, "--force")
    assert code == 6
    assert "`warmset serve`, process 1" in err


def test_what_cannot_be_measured_is_told(run: Run) -> None:
    """An unknown model, one without a registry, a picture that cannot be written."""
    code, _, err = run("llama3.1:9b")
    assert (code, "did you mean llama3.1:8b?" in err) == (4, True)
    code, _, err = run("llama3.1:9b", "--pull")
    assert code == 4
    assert "no registry" in err
    code, _, err = run(CHAT, "--cold", "1", "--warm", "1", "--svg", "no/such/folder.svg")
    assert (code, "no/such/folder.svg" in err) == (3, True)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_a_spread_is_ordered_and_inside_its_values(values: list[float]) -> None:
    """Least, median, 95th percentile and most stand in this order, the ends being values."""
    spread = Spread.of(values)
    assert spread is not None
    assert spread.least == min(values)
    assert spread.least <= spread.median <= spread.p95 <= spread.most == max(values)
    assert sum(value <= spread.p95 for value in values) >= 0.95 * len(values)


@given(st.floats(0.01, 1e3), st.integers(1, 80 * GIB), st.floats(0.01, 1e6), st.floats(1e-3, 1e6))
def test_a_price_divides_what_is_worth_it_from_what_is_not(
    penalty: float, held: int, requests: float, price: float
) -> None:
    """Below the break-even it is, above not; a higher price never keeps a model longer."""
    worth = Worth(penalty_seconds=penalty, held_bytes=held, requests_per_day=requests, price=price)
    assert worth.is_worth_it == (worth.break_even_price >= price)
    dearer = Worth(penalty_seconds=penalty, held_bytes=held, price=price * 2)
    assert dearer.keep_alive_seconds == pytest.approx(worth.keep_alive_seconds / 2)
    assert dearer.is_worth_it is None
    assert Worth(penalty_seconds=1.0, held_bytes=0, requests_per_day=5.0).break_even_price is None
