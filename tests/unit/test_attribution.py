"""Whose bytes are on a GPU: the driver's count is the sum, and nothing is invented."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmset.core.host.attribution import Attribution, Owner, attribute, find_departures
from warmset.core.host.commands import Command, Role, parse_command
from warmset.core.host.draining import Leaving, draining_bytes, keep_leaving
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView
from warmset.core.host.readings import GpuProcess, GpuReading, MemoryKind
from warmset.core.host.runners import Runner, judge_runners
from warmset.core.model import Device, DeviceId, ModelKey, Quality, Reading, Resident, unknown
from warmset.core.units import GIB, MIB

HEX = "ab" * 32
KEY = ModelKey(f"sha256:{HEX}")
GPU = DeviceId("GPU-1")
SERVER = ProcessFacts(
    pid=100,
    parent_pid=1,
    name="ollama",
    command=parse_command(["ollama", "serve"]),
    started_at=1.0,
)
RUNNER = ProcessFacts(
    pid=200,
    parent_pid=100,
    name="llama-server",
    command=parse_command(["llama-server", "--model", f"/x/sha256-{HEX}"]),
    started_at=2.0,
)
ORPHAN = replace(RUNNER, pid=201, parent_pid=1)
PROBE = replace(RUNNER, pid=202, command=parse_command(["llama-server", "--list-devices"]))
GAME = ProcessFacts(
    pid=900,
    parent_pid=1,
    name="game.x86_64",
    command=Command(role=Role.FOREIGN, program="game"),
    started_at=1.0,
)
ROW = Resident(
    name="qwen:7b",
    manifest_digest="",
    key=KEY,
    size_bytes=8 * GIB,
    size_vram_bytes=8 * GIB,
    context=4096,
    expires_at=0.0,
)


def gpu(
    *rows: tuple[int, int | None],
    total: int | None = 24 * GIB,
    free: int | None = 6 * GIB,
    reserved: int = 400 * MIB,
) -> GpuReading:
    """Returns a card with these processes."""
    return GpuReading(
        device=Device(
            id=GPU,
            name="card",
            library="CUDA",
            total_bytes=count(total),
            free_bytes=count(free),
        ),
        used_bytes=count(None),
        reserved_bytes=Reading(value=reserved, source="test"),
        processes=Reading(
            value=tuple(
                GpuProcess(pid=pid, used_bytes=used, kinds=frozenset({"compute"}))
                for pid, used in rows
            ),
            source="test",
        ),
        utilization=unknown("test", "not read"),
    )


def count(value: int | None) -> Reading[int]:
    """Returns a reading of this number."""
    return unknown("test", "not read") if value is None else Reading(value=value, source="test")


def table(*processes: ProcessFacts, space: PidSpace = PidSpace.HOST) -> ProcessView:
    """Returns a process table."""
    return ProcessView(processes={p.pid: p for p in processes}, pid_space=space)


def judged(view: ProcessView) -> tuple[Runner, ...]:
    """Returns the runners, with the model listed by /api/ps."""
    return judge_runners(view, (ROW,), server_pid=100)


def owned(found: Attribution) -> dict[Owner, int | None]:
    """Returns bytes by owner."""
    return {share.owner: share.used_bytes for share in found.shares}


def assert_sum(found: Attribution) -> None:
    """The known parts less the excess are the driver's count."""
    assert found.sum_bytes() - found.excess_bytes == found.taken.value


def test_every_owner_has_its_bytes_and_the_sum_is_the_drivers() -> None:
    """Model, orphan, probe, game, reserve, and what nobody owns add up to the byte."""
    view = table(SERVER, RUNNER, ORPHAN, PROBE, GAME)
    reading = gpu((200, 8 * GIB), (201, GIB), (202, 300 * MIB), (900, 5 * GIB), free=6 * GIB)
    found = attribute(reading, view, judged(view))
    by_name = {(s.owner, s.name): s.used_bytes for s in found.shares}
    assert by_name == {
        (Owner.MODEL, "qwen:7b"): 8 * GIB,
        (Owner.RUNNER, KEY): GIB,
        (Owner.RUNNER, "llama-server (probe)"): 300 * MIB,
        (Owner.FOREIGN, "game.x86_64"): 5 * GIB,
        (Owner.RESERVED, "driver"): 400 * MIB,
        (Owner.UNATTRIBUTED, "nobody named by the driver"): 4 * GIB - 700 * MIB,
    }
    assert_sum(found)


def test_process_without_a_count_makes_nobody_foreign() -> None:
    """With one unknown entry the rest is unattributed, and says what it includes."""
    view = table(SERVER, RUNNER, GAME)
    found = attribute(gpu((200, None), (900, 5 * GIB)), view, judged(view))
    assert owned(found)[Owner.MODEL] is None
    rest = next(s for s in found.shares if s.owner is Owner.UNATTRIBUTED)
    assert rest.used_bytes == 13 * GIB - 400 * MIB
    assert "1 without a count" in rest.name
    assert_sum(found)


def test_uncounted_model_takes_what_ollama_reports_as_an_estimate() -> None:
    """WSL2 and WDDM: /api/ps fills the gap, called an estimate."""
    view = table(SERVER, RUNNER)
    found = attribute(gpu((200, None)), view, judged(view), reported_bytes={KEY: 8 * GIB})
    share = next(s for s in found.shares if s.owner is Owner.MODEL)
    assert (share.used_bytes, share.quality, share.pid) == (8 * GIB, Quality.ESTIMATE, 200)
    assert sum(s.owner is Owner.MODEL for s in found.shares) == 1
    assert_sum(found)


def test_drivers_count_wins_over_ollamas() -> None:
    """What Ollama reports is a lower bound; where the driver counts, it is not used."""
    view = table(SERVER, RUNNER)
    found = attribute(gpu((200, 9 * GIB)), view, judged(view), reported_bytes={KEY: 8 * GIB})
    assert owned(found)[Owner.MODEL] == 9 * GIB


def test_parts_that_exceed_the_driver_stand_as_excess() -> None:
    """Shared buffers may count twice: said, not hidden, and nothing becomes negative."""
    view = table(SERVER, RUNNER, GAME)
    found = attribute(gpu((200, 12 * GIB), (900, 9 * GIB)), view, judged(view))
    assert found.excess_bytes == 3 * GIB + 400 * MIB
    assert Owner.UNATTRIBUTED not in owned(found)
    assert found.notes
    assert_sum(found)


def test_in_a_container_the_drivers_pids_are_nobody() -> None:
    """The same number in here may be anyone: no share is named by it."""
    view = table(SERVER, RUNNER, GAME, space=PidSpace.INNER)
    found = attribute(gpu((200, 8 * GIB), (900, 5 * GIB)), view, judged(view))
    assert set(owned(found)) == {Owner.RESERVED, Owner.UNATTRIBUTED}
    assert "host PID 200" in found.notes[0]
    assert_sum(found)


def test_container_model_is_carved_out_of_the_unnamed() -> None:
    """Ollama's own report is not added to the host's rows, which may be the same bytes."""
    view = table(SERVER, RUNNER, space=PidSpace.INNER)
    found = attribute(
        gpu((4711, 9 * GIB), free=14 * GIB),
        view,
        judged(view),
        reported_bytes={KEY: 8 * GIB},
    )
    assert owned(found)[Owner.MODEL] == 8 * GIB
    assert found.excess_bytes == 0
    assert_sum(found)


def test_pid_that_is_not_visible_is_unattributed_not_foreign() -> None:
    """A process hidden from us may be a runner."""
    view = table(SERVER)
    found = attribute(gpu((555, GIB)), view, ())
    (share, _reserve, _rest) = found.shares
    assert share.owner is Owner.UNATTRIBUTED
    assert "555" in share.name


def test_ollama_program_with_hidden_arguments_is_unattributed() -> None:
    """It is named, and not called foreign."""
    hidden = replace(RUNNER, command=Command(role=Role.HIDDEN, program="llama-server"))
    found = attribute(gpu((200, GIB)), table(hidden), ())
    assert found.shares[0].owner is Owner.UNATTRIBUTED
    assert "llama-server" in found.shares[0].name


def test_empty_list_with_used_memory_is_unattributed() -> None:
    """Normal in containers: nothing is claimed."""
    found = attribute(gpu(), table(SERVER), ())
    assert owned(found)[Owner.UNATTRIBUTED] == 18 * GIB - 400 * MIB
    assert_sum(found)


def test_unknown_memory_keeps_the_parts_without_a_sum() -> None:
    """Without the driver's count there is no rest and no zero."""
    view = table(SERVER, RUNNER)
    found = attribute(gpu((200, 8 * GIB), free=None), view, judged(view))
    assert found.taken.value is None
    assert owned(found)[Owner.MODEL] == 8 * GIB
    assert Owner.UNATTRIBUTED not in owned(found)


def test_unified_memory_sums_the_processes() -> None:
    """What RAM has lost is not the GPU's: the processes' own sum is."""
    view = table(SERVER, RUNNER)
    reading = replace(
        gpu((200, 8 * GIB), reserved=0),
        memory_kind=MemoryKind.UNIFIED,
        used_bytes=count(8 * GIB),
    )
    found = attribute(reading, view, judged(view))
    assert found.taken.value == 8 * GIB
    assert owned(found) == {Owner.MODEL: 8 * GIB}


def test_stale_numbers_give_stale_shares() -> None:
    """What is old is called old in each part."""
    reading = gpu()
    old = replace(reading.device.free_bytes, quality=Quality.STALE, age_seconds=30.0)
    reading = replace(reading, device=replace(reading.device, free_bytes=old))
    found = attribute(reading, table(SERVER), ())
    assert found.taken.quality is Quality.STALE
    assert found.shares[-1].quality is Quality.STALE


# -- late release -----------------------------------------------------------------------------


def gone(before: GpuReading) -> tuple[Leaving, ...]:
    """Returns what leaves when the runner of `before` is gone."""
    view = table(SERVER, RUNNER)
    earlier = attribute(before, view, judged(view))
    return find_departures(earlier, table(SERVER), now=10.0)


def test_late_release_is_draining_until_it_is_back() -> None:
    """A runner that went holds its bytes until the driver shows them free."""
    leaving = gone(gpu((200, 8 * GIB)))
    late = attribute(gpu(), table(SERVER), (), leaving=leaving)
    assert owned(late)[Owner.DRAINING] == 8 * GIB
    assert owned(late)[Owner.UNATTRIBUTED] == 10 * GIB - 400 * MIB
    assert_sum(late)
    half = attribute(gpu(free=10 * GIB), table(SERVER), (), leaving=leaving)
    assert owned(half)[Owner.DRAINING] == 4 * GIB
    back = attribute(gpu(free=14 * GIB), table(SERVER), (), leaving=leaving)
    assert Owner.DRAINING not in owned(back)


def test_bytes_of_a_new_load_are_not_taken_for_draining() -> None:
    """Draining is what no process owns, so a load that starts meanwhile changes nothing."""
    leaving = gone(gpu((200, 8 * GIB)))
    fresh = replace(RUNNER, pid=300)
    view = table(SERVER, fresh)
    found = attribute(gpu((300, 5 * GIB), free=9 * GIB), view, judged(view), leaving=leaving)
    assert owned(found)[Owner.MODEL] == 5 * GIB
    assert Owner.DRAINING not in owned(found)
    assert_sum(found)


@pytest.mark.parametrize(
    ("rest", "now", "still"),
    [
        (8 * GIB, 11.0, True),
        (3 * GIB, 11.0, True),
        (2 * GIB, 11.0, False),
        (8 * GIB, 15.1, False),
        (None, 11.0, True),
    ],
)
def test_patience_ends_at_three_quarters_or_five_seconds(
    rest: int | None, now: float, still: bool
) -> None:
    """As Ollama itself waits."""
    leaving = (
        Leaving(
            device=GPU,
            pid=200,
            name="x",
            used_bytes=8 * GIB,
            unattributed_before_bytes=0,
            since=10.0,
        ),
    )
    assert bool(keep_leaving(leaving, GPU, rest, now=now)) is still


def test_other_devices_drain_apart() -> None:
    """A runner that left another card is no explanation here."""
    leaving = gone(gpu((200, 8 * GIB)))
    assert draining_bytes(leaving, DeviceId("GPU-2"), 8 * GIB) == 0
