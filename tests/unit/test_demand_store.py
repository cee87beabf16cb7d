"""The demand store: real SQLite, restarts, bounds, damage; and what is learnt from it."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmset.adapters.journal import (
    DemandStore,
    Departure,
    LoadSeen,
    ModelRow,
    UseRow,
    read_demand,
)
from warmset.core.demand.loads import LoadTimes, SeenLoad
from warmset.core.loads import START_SECONDS, Learnt
from warmset.core.planner import build_candidates, build_host
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar_view import observe_twin
from warmset.errors import TraceError
from warmset.shell.daily import sum_up
from warmset.shell.lessons import learn_demand

KEYS = st.sampled_from(["sha256:a", "sha256:b"])
STEPS = st.lists(
    st.one_of(
        st.builds(UseRow, at=st.floats(0, 1e9), key=KEYS, seconds=st.none() | st.floats(0, 1e4)),
        st.builds(LoadSeen, at=st.floats(0, 1e9), key=KEYS, cause=st.just("demand")),
        st.builds(Departure, at=st.floats(0, 1e9), key=KEYS, cause=st.just("expired")),
        st.just("restart"),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_what_was_kept_is_there_after_any_restart(tmp_path_factory, steps) -> None:
    """Compared with plain lists; a read-only look sees the same as the writer."""
    folder = tmp_path_factory.mktemp("store")
    store, kept = DemandStore(folder), []
    add = {UseRow: "add_use", LoadSeen: "add_load", Departure: "add_departure"}
    for step in steps:
        if step == "restart":
            store.close()
            store = DemandStore(folder)
        else:
            getattr(store, add[type(step)])(step)
            kept.append(step)
    seen = read_demand(folder)
    assert seen == store.read()
    assert sorted(map(str, (*seen.uses, *seen.loads, *seen.departures))) == sorted(map(str, kept))
    assert list(seen.uses) == sorted(seen.uses, key=lambda row: row.at)
    store.close()


def test_the_store_is_bounded(tmp_path: Path) -> None:
    """The first rows written go first, and an import counts too."""
    store = DemandStore(tmp_path, max_uses=100)
    assert store.add_uses(UseRow(at=float(i), key="k") for i in range(250))
    assert [row.at for row in store.read().uses] == [float(i) for i in range(150, 250)]
    store.close()


def test_an_import_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    """A row that cannot be written takes the others with it."""
    store = DemandStore(tmp_path)
    rows = [UseRow(at=1.0, key="k"), UseRow(at=None, key="k")]  # type: ignore[arg-type]
    assert not store.add_uses(rows)
    assert "NOT NULL" in store.take_trouble()
    assert store.read().uses == ()
    store.close()


def test_a_model_keeps_what_was_known_of_it(tmp_path: Path) -> None:
    """A later look that knows less forgets nothing; a new name replaces the old."""
    store = DemandStore(tmp_path)
    store.note_model(ModelRow(key="k", name="old", bytes=5, file_bytes=4))
    store.note_model(ModelRow(key="k", name="new"))
    assert store.read().models == {"k": ModelRow(key="k", name="new", bytes=5, file_bytes=4)}
    store.close()


def test_a_damaged_store_is_set_aside(tmp_path: Path) -> None:
    """Reading verbs say so; `serve` begins a new one and keeps the old file."""
    (tmp_path / "demand.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(TraceError, match="demand store"):
        read_demand(tmp_path)
    store = DemandStore(tmp_path)
    assert "demand-aside.sqlite3" in store.take_trouble()
    assert store.add_use(UseRow(at=1.0, key="k")) == 1
    store.close()
    assert len(read_demand(tmp_path).uses) == 1
    assert (tmp_path / "demand-aside.sqlite3").exists()


def test_the_store_is_in_wal_mode_and_private(tmp_path: Path) -> None:
    """Readers do not wait for the daemon, and demand is nobody else's business."""
    DemandStore(tmp_path).close()
    path = tmp_path / "demand.sqlite3"
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
    assert path.stat().st_mode & 0o077 == 0


def test_days_are_summed_up_by_model(tmp_path: Path) -> None:
    """Cold starts wait, preloads do not; a timer's end is no eviction."""
    store = DemandStore(tmp_path)
    noon = 1_767_614_400.0
    store.note_model(ModelRow(key="k", name="m:1"))
    store.add_uses([UseRow(at=noon, key="k"), UseRow(at=noon + 60, key="k")])
    store.add_load(LoadSeen(at=noon, key="k", cause="demand", seconds=7.5))
    store.add_load(LoadSeen(at=noon + 9, key="k", cause="preload", seconds=3.0))
    store.add_departure(Departure(at=noon + 5, key="k", cause="displaced"))
    store.add_departure(Departure(at=noon + 50, key="k", cause="expired"))
    (day,) = sum_up(store.read())
    assert (day.model, day.uses, day.loads, day.cold_starts) == ("m:1", 2, 2, 1)
    assert (day.waited_seconds, day.evictions, day.expired) == (7.5, 1, 1)
    assert sum_up(store.read(), model="other:1") == ()
    store.close()


GB = 10**9


def test_a_load_time_is_measured_before_it_is_reckoned() -> None:
    """The median of a model's own loads; for others the file's bytes at this host's bandwidth,
    apart for files that were read lately; nothing where nothing is known."""
    seen = [
        SeenLoad(key="a", seconds=START_SECONDS + 4, file_bytes=8 * GB, cache="cold"),
        SeenLoad(key="a", seconds=START_SECONDS + 1, file_bytes=8 * GB, cache="warm"),
    ]
    times = LoadTimes(seen)
    assert times.bytes_per_second("cold") == 2 * GB
    assert times.bytes_per_second("warm") == 8 * GB
    measured, reckoned = times.expect("a", 8 * GB), times.expect("b", 20 * GB)
    assert measured is not None
    assert (measured.basis, measured.seconds) == ("measured", 5.0)
    assert reckoned is not None
    assert (reckoned.basis, reckoned.seconds) == ("bandwidth", 11.0)
    quick = times.expect("b", 16 * GB, "warm")
    assert quick is not None
    assert quick.seconds == 3.0
    assert times.expect("b", None) is None
    assert LoadTimes(()).expect("a", GB) is None


@given(
    speed=st.floats(1e8, 1e10),
    sizes=st.lists(st.integers(10**8, 10**11), min_size=1, max_size=9),
    asked=st.integers(10**8, 10**11),
)
def test_a_bandwidth_is_learnt_whatever_the_models(speed, sizes, asked) -> None:
    """From loads at one speed the time of a file of any size follows."""
    loads = [
        SeenLoad(key=f"m{i}", seconds=START_SECONDS + s / speed, file_bytes=s, cache="cold")
        for i, s in enumerate(sizes)
    ]
    expected = LoadTimes(loads).expect("new", asked)
    assert expected is not None
    assert expected.seconds == pytest.approx(START_SECONDS + asked / speed, rel=1e-6)


def test_history_counts_before_the_operators_expectation(tmp_path: Path) -> None:
    """Two days of uses give a rate, a few hours give none; loads give seconds and a bandwidth,
    and candidates of the planner are weighed with them."""
    spec = named_host("laptop")
    host = TwinHost(spec, physics_of(spec))
    observation = observe_twin(host)
    key, file_bytes = observation.entries[0].key, observation.entries[0].file_bytes
    assert file_bytes is not None
    store = DemandStore(tmp_path)
    store.note_model(ModelRow(key=key, name=observation.entries[0].name, file_bytes=file_bytes))
    store.add_use(UseRow(at=0.0, key=key))
    store.add_load(LoadSeen(at=0.0, key=key, cause="demand", seconds=START_SECONDS + 4.0))
    store.add_use(UseRow(at=7200.0, key=key))
    early = learn_demand(tmp_path)
    assert early.requests_per_day == {}
    assert early.load_seconds == {key: START_SECONDS + 4.0}
    store.add_uses(UseRow(at=day * 86400.0, key=key) for day in (1, 2))
    store.close()
    learnt = learn_demand(tmp_path)
    assert learnt.requests_per_day == {key: 2.0}
    settings = Settings(
        models={n: ModelPolicy(name=n, requests_per_day=9.0) for n in observation.entries[0].names}
    )

    def weighed(seen):
        capacity, where = build_host(seen, settings)
        return {c.key: c for c in build_candidates(seen, settings, capacity, where)}

    before, after = weighed(observation), weighed(replace(observation, learnt=learnt))
    assert before[key].value == pytest.approx(9.0 * before[key].load_seconds)
    assert (before[key].demand.basis, after[key].demand.basis) == ("said", "measured")
    assert after[key].load_seconds == START_SECONDS + 4.0
    assert after[key].value == pytest.approx(2.0 * (START_SECONDS + 4.0))
    other = observation.entries[1]
    assert other.file_bytes is not None
    reckoned = START_SECONDS + other.file_bytes / (file_bytes / 4.0)
    assert after[other.key].load_seconds == pytest.approx(reckoned)
    assert learn_demand(tmp_path / "nowhere") == Learnt()
