"""Laws of host readings: whatever a driver says, nothing raises and no budget is negative."""

from __future__ import annotations

import contextlib
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from warmset.cli.render import emit
from warmset.cli.status_json import describe
from warmset.cli.status_table import print_status
from warmset.core.host.attribution import Owner, attribute, find_departures
from warmset.core.host.budget import charge_mapped_weights, promise_bytes
from warmset.core.host.commands import parse_command
from warmset.core.host.draining import Leaving, draining_bytes, keep_leaving
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView
from warmset.core.host.readings import (
    STALE_AFTER_SECONDS,
    DeviceState,
    GpuProcess,
    GpuReading,
    GpuSurvey,
    MemoryKind,
    MemoryNumbers,
    find_implausible,
    mark_device_stale,
    merge_processes,
    normalise_pci,
)
from warmset.core.host.runners import judge_runners
from warmset.core.host.survey import HostSurvey, plain_memory
from warmset.core.model import (
    Device,
    DeviceId,
    Entry,
    HostMemory,
    ModelKey,
    Quality,
    Reading,
    Resident,
    unknown,
)
from warmset.core.settings import Settings
from warmset.errors import BackendTimeout
from warmset.shell.observe import see
from warmset.shell.wiring import Connection, SystemClock

GPU = DeviceId("GPU-1")
HEXES = ("aa", "bb", "cc")

counts = st.one_of(
    st.none(), st.just(0), st.integers(0, 2**40), st.integers(2**60, 2**64), st.integers(-5, 5)
)
ages = st.floats(0, 1e6)


@st.composite
def readings(draw: st.DrawFn) -> Reading[int]:
    """Any reading of bytes, however foolish."""
    value = draw(counts)
    if value is None:
        return unknown("test", "not read")
    known = (Quality.EXACT, Quality.ESTIMATE, Quality.STALE)
    return Reading(
        value=value,
        source="test",
        quality=draw(st.sampled_from(known)),
        age_seconds=draw(ages),
    )


rows = st.lists(
    st.builds(
        GpuProcess,
        pid=st.integers(1, 12),
        used_bytes=counts.map(lambda c: None if c is None else max(0, c)),
        kinds=st.just(frozenset({"compute"})),
    ),
    max_size=8,
)


@st.composite
def gpus(draw: st.DrawFn) -> GpuReading:
    """Any reading of a GPU."""
    listed = draw(st.one_of(st.none(), rows.map(merge_processes)))
    return GpuReading(
        device=Device(
            id=GPU,
            name="card",
            library="CUDA",
            total_bytes=draw(readings()),
            free_bytes=draw(readings()),
        ),
        memory_kind=draw(st.sampled_from(MemoryKind)),
        used_bytes=draw(readings()),
        reserved_bytes=draw(readings()),
        processes=unknown("test", "no list")
        if listed is None
        else Reading(value=listed, source="test"),
        utilization=unknown("test", "not read"),
    )


@st.composite
def processes(draw: st.DrawFn, pid: int) -> ProcessFacts:
    """Any process of this PID: server, runner, probe or stranger."""
    line = draw(
        st.sampled_from(
            [
                "ollama serve",
                *(f"llama-server --model /x/sha256-{h}" for h in HEXES),
                "llama-server --list-devices",
                "ollama runner --mlx-engine --model m",
                "game",
            ]
        )
    )
    return ProcessFacts(
        pid=pid,
        parent_pid=draw(st.one_of(st.none(), st.integers(0, 12))),
        name="x",
        command=parse_command(line.split()),
        started_at=draw(st.floats(0, 10)),
        is_zombie=draw(st.booleans()),
    )


@st.composite
def tables(draw: st.DrawFn) -> ProcessView:
    """Any process table."""
    pids = draw(st.sets(st.integers(1, 12), max_size=8))
    return ProcessView(
        processes={pid: draw(processes(pid)) for pid in pids},
        pid_space=draw(st.sampled_from(PidSpace)),
    )


residents = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            Resident,
            name=st.sampled_from(["m", "n", "M:latest"]),
            manifest_digest=st.just(""),
            key=st.one_of(st.none(), st.sampled_from(HEXES).map(lambda h: ModelKey(f"sha256:{h}"))),
            size_bytes=counts,
            size_vram_bytes=counts,
            context=st.none(),
            expires_at=st.none(),
        ),
        max_size=4,
    ).map(tuple),
)

departures = st.lists(
    st.builds(
        Leaving,
        device=st.sampled_from([GPU, DeviceId("GPU-2")]),
        pid=st.integers(1, 12),
        name=st.just("m"),
        used_bytes=st.integers(0, 2**64),
        unattributed_before_bytes=st.integers(0, 2**64),
        since=st.floats(0, 100),
    ),
    max_size=4,
).map(tuple)


@given(readings(), st.integers(-(2**40), 2**40))
def test_no_promise_is_negative_or_rests_on_a_guess(free: Reading[int], reserve: int) -> None:
    """A budget lies between 0 and free; unknown, stale and old readings promise nothing."""
    promised = promise_bytes(free, reserve_bytes=reserve)
    assert 0 <= promised <= max(0, free.value or 0)
    is_usable = free.quality in {Quality.EXACT, Quality.ESTIMATE}
    if not is_usable or free.age_seconds > STALE_AFTER_SECONDS:
        assert promised == 0


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_more_free_memory_never_promises_less(one: int, two: int) -> None:
    """Margins do not turn the order round, and an estimate promises no more than a count."""
    low, high = sorted((one, two))

    def promise(value: int, quality: Quality = Quality.EXACT) -> int:
        return promise_bytes(Reading(value=value, source="test", quality=quality))

    assert promise(low) <= promise(high)
    assert promise(low, Quality.ESTIMATE) <= promise(low)


@given(readings(), st.integers(-(2**40), 2**64))
def test_charged_ram_is_never_negative_or_more_trusted(
    available: Reading[int], mapped: int
) -> None:
    """Charging CPU models only lowers RAM, to zero at the least."""
    memory = HostMemory(total_bytes=unknown("test", "not read"), available_bytes=available)
    charged = charge_mapped_weights(memory, mapped)
    if available.value is None:
        assert charged.value is None
    elif mapped > 0:
        assert charged.value is not None
        assert 0 <= charged.value <= max(0, available.value)
        assert charged.quality is not Quality.EXACT


@given(gpus(), tables(), residents, departures, st.dictionaries(st.sampled_from(HEXES), counts))
def test_attribution_sums_to_the_drivers_count(
    reading: GpuReading,
    view: ProcessView,
    listed: tuple[Resident, ...] | None,
    leaving: tuple[Leaving, ...],
    reported: dict[str, int | None],
) -> None:
    """Whatever is read, the known parts less the excess are what the driver counts as taken."""
    runners = judge_runners(view, listed, server_pid=None)
    found = attribute(
        reading,
        view,
        runners,
        leaving=leaving,
        reported_bytes={
            ModelKey(f"sha256:{h}"): count for h, count in reported.items() if count is not None
        },
    )
    negative = [s for s in found.shares if s.used_bytes is not None and s.used_bytes < 0]
    assert not negative
    assert found.excess_bytes >= 0
    if found.taken.value is not None:
        assert found.sum_bytes() - found.excess_bytes == found.taken.value
    gone = find_departures(found, ProcessView(), now=1.0)
    assert all(one.used_bytes > 0 for one in gone)
    if view.pid_space is not PidSpace.HOST:
        assert not any(s.owner is Owner.FOREIGN for s in found.shares)


@given(departures, st.one_of(st.none(), st.integers(0, 2**64)), st.floats(0, 200))
def test_draining_is_bounded(leaving: tuple[Leaving, ...], rest: int | None, now: float) -> None:
    """Draining never exceeds what nobody owns, nor what those who left held."""
    held = sum(one.used_bytes for one in leaving if one.device == GPU)
    if rest is not None:
        assert 0 <= draining_bytes(leaving, GPU, rest) <= min(rest, held)
    assert set(keep_leaving(leaving, GPU, rest, now=now)) <= set(leaving)


@given(tables(), residents, st.one_of(st.none(), st.integers(1, 12)))
def test_each_resident_has_at_most_one_runner(
    view: ProcessView, listed: tuple[Resident, ...] | None, server_pid: int | None
) -> None:
    """Every runner is judged once, and no row of /api/ps is two processes."""
    runners = judge_runners(view, listed, server_pid=server_pid)
    pids = [runner.process.pid for runner in runners]
    assert len(pids) == len(set(pids))
    paired = [id(runner.resident) for runner in runners if runner.resident is not None]
    assert len(paired) == len(set(paired))


@given(
    st.integers(-5, 2**64),
    st.integers(-5, 2**64),
    st.integers(-5, 2**64),
    st.one_of(st.none(), st.integers(0, 2**64)),
)
def test_plausible_numbers_make_sense(total: int, free: int, used: int, last: int | None) -> None:
    """What passes is positive, not freer than it is large, and no jump from the last total."""
    numbers = MemoryNumbers(total_bytes=total, free_bytes=free, used_bytes=used)
    if find_implausible(numbers, last) is None:
        assert 0 <= free <= total
        assert 0 <= used <= total
        assert total > 0
        assert not last or last / 2 < total < last * 2


@given(gpus(), ages)
def test_stale_devices_promise_nothing(reading: GpuReading, age: float) -> None:
    """Once marked stale, no reading of a device can back a load."""
    stale = mark_device_stale(reading, age, "silent", DeviceState.SILENT)
    assert promise_bytes(stale.device.free_bytes) == 0


@given(st.text(max_size=20))
def test_pci_addresses_settle(text: str) -> None:
    """Normalising twice is normalising once, and no text raises."""
    once = normalise_pci(text)
    assert normalise_pci(once) == once


@given(st.lists(st.text(max_size=12), max_size=8))
def test_no_command_line_raises(argv: list[str]) -> None:
    """Any argv is understood as something."""
    parse_command(argv)


class AnyServer:
    """A server with these rows; `None` is a list that does not come in time."""

    url = "http://127.0.0.1:11434"

    def __init__(self, rows: tuple[Resident, ...] | None) -> None:
        self.rows = rows

    def version(self) -> str:
        """Returns a version."""
        return "0.33.0"

    def entries(self) -> tuple[Entry, ...]:
        """Returns one of the models that runners may have."""
        entry = Entry(
            key=ModelKey(f"sha256:{HEXES[0]}"),
            names=("m:latest",),
            manifest_digests={},
            file_bytes=1,
        )
        return (entry,)

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        """Returns the rows, or times out."""
        if self.rows is None:
            raise BackendTimeout("late")
        return self.rows


@given(
    st.lists(st.tuples(gpus(), tables(), residents), min_size=1, max_size=3),
    readings(),
    st.booleans(),
)
def test_status_can_always_be_shown_and_invents_nothing(
    looks: list[tuple[GpuReading, ProcessView, tuple[Resident, ...] | None]],
    available: Reading[int],
    is_own: bool,
) -> None:
    """Any run of looks gives JSON without NaN and a table; sums hold and unknown is never 0."""
    picture = None
    for reading, view, rows in looks:
        machine = HostSurvey(
            memory=plain_memory(available, available, reason="test"),
            gpus=(GpuSurvey(source="test", devices=(reading,)),),
            processes=view,
            is_own_address=is_own,
        )
        connection = Connection(
            server=AnyServer(rows),  # type: ignore[arg-type] - no lever is pulled
            clock=SystemClock(),
            is_local=is_own,
            survey=lambda machine=machine: machine,
        )
        seen = see(connection, Settings(), before=picture)
        picture = seen.picture
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            emit(describe(seen, Settings()), one_line=True)
            print_status(seen, Settings(), wide=True, no_color=True)
        document = json.loads(text.getvalue().splitlines()[0])
        (device,) = document["devices"]
        known = sum(share["used_bytes"] or 0 for share in device["shares"])
        taken = device["taken_bytes"]["value"]
        assert taken is None or known - device["excess_bytes"] == taken
        for resident in document["residents"] or ():
            observed = resident["observed_bytes"]
            assert (observed["value"] is None) == (observed["quality"] == "unknown")
            counted = resident["observed_by_device"].values()
            if observed["value"] is not None:
                assert observed["value"] == sum(counted)
        if rows is None:
            assert document["residents"] is None
