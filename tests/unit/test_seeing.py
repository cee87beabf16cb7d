"""One look joined from survey, server and the look before: observed bytes, RAM, twins, watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from warmset.core.host.attribution import Owner
from warmset.core.host.commands import parse_command
from warmset.core.host.observed import observe_by_device, observe_model, runner_of
from warmset.core.host.picture import Picture, draw_picture
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView
from warmset.core.host.ram import available_after_models, uncharged_bytes
from warmset.core.host.readings import GpuProcess, GpuReading, GpuSurvey, Severity, Trouble
from warmset.core.host.runners import Phase
from warmset.core.host.survey import HostSurvey, plain_memory, survey_of_elsewhere
from warmset.core.host.vantage import Lever, Vantage
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
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.units import GIB
from warmset.errors import BackendTimeout, Unreachable, WarmsetError
from warmset.shell.observe import see
from warmset.shell.observe_twin import SERVER_PID, survey_twin
from warmset.shell.watch import watch
from warmset.shell.wiring import Connection, SystemClock, connect

HEX = "ab" * 32
KEY = ModelKey(f"sha256:{HEX}")
GPU_0, GPU_1 = DeviceId("GPU-0"), DeviceId("GPU-1")
ROW = Resident(
    name="qwen:7b",
    manifest_digest="",
    key=KEY,
    size_bytes=8 * GIB,
    size_vram_bytes=8 * GIB,
    context=4096,
    expires_at=2e9,
)
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


def read(value: int, quality: Quality = Quality.EXACT) -> Reading[int]:
    """Returns a reading."""
    return Reading(value=value, source="nvml", quality=quality)


def gpu(
    id_: DeviceId, rows: Mapping[int, int | None] | None, *, quality: Quality = Quality.EXACT
) -> GpuReading:
    """Returns a card with 16 GiB taken and these processes; `None` lists none."""
    nothing: Reading[int] = unknown("nvml", "not reported")
    listed = tuple(
        GpuProcess(pid=pid, used_bytes=used, kinds=frozenset({"compute"}))
        for pid, used in (rows or {}).items()
    )
    return GpuReading(
        device=Device(
            id=id_,
            name="card",
            library="CUDA",
            total_bytes=read(24 * GIB, quality),
            free_bytes=read(8 * GIB, quality),
        ),
        used_bytes=nothing,
        reserved_bytes=nothing,
        processes=unknown("nvml", "not permitted")
        if rows is None
        else Reading(value=listed, source="nvml", quality=quality),
        utilization=unknown("nvml", "not reported"),
    )


def table(*processes: ProcessFacts) -> ProcessView:
    """Returns a process table of the host."""
    return ProcessView(processes={p.pid: p for p in processes}, pid_space=PidSpace.HOST)


def draw(
    *cards: GpuReading, view: ProcessView | None = None, row: Resident = ROW, same: bool = True
) -> Picture:
    """Returns the picture of one look."""
    return draw_picture(
        [GpuSurvey(source="nvml", devices=cards)],
        table(SERVER, RUNNER) if view is None else view,
        (row,),
        at=1e9,
        server_pid=100,
        is_same_machine=same,
    )


def test_observed_bytes_are_the_drivers_over_all_cards() -> None:
    """The sum and the split are exact where the driver counts."""
    found = draw(gpu(GPU_0, {200: 5 * GIB}), gpu(GPU_1, {200: 3 * GIB}))
    assert observe_by_device(found, ROW) == {GPU_0: 5 * GIB, GPU_1: 3 * GIB}
    observed = observe_model(found, ROW)
    assert (observed.value, observed.quality) == (8 * GIB, Quality.EXACT)


def test_zero_is_said_only_where_every_list_is_known() -> None:
    """A model on the CPU holds nothing of the cards; behind a closed list nobody can say so."""
    assert observe_model(draw(gpu(GPU_0, {}), gpu(GPU_1, {})), ROW).value == 0
    closed = observe_model(draw(gpu(GPU_0, {}), gpu(GPU_1, None)), ROW)
    assert (closed.value, closed.quality) == (None, Quality.UNKNOWN)
    stale = observe_model(draw(gpu(GPU_0, {}, quality=Quality.STALE), gpu(GPU_1, {})), ROW)
    assert stale.value is None
    hidden = observe_model(draw(gpu(GPU_0, {}), gpu(GPU_1, {}), view=table(SERVER)), ROW)
    assert "not visible" in hidden.reason
    assert observe_model(draw(), ROW).reason == "no GPU is read here"


def test_a_process_without_a_count_is_unknown_on_several_cards() -> None:
    """No number is made up where the driver names the process and counts nothing."""
    found = draw(gpu(GPU_0, {200: None}), gpu(GPU_1, {}))
    assert observe_by_device(found, ROW) == {GPU_0: None}
    assert observe_model(found, ROW).value is None


def test_one_card_takes_ollamas_word_as_an_estimate() -> None:
    """Where the driver counts nothing by process, the report stands, and says whose it is."""
    observed = observe_model(draw(gpu(GPU_0, {200: None})), ROW)
    assert (observed.value, observed.quality) == (8 * GIB, Quality.ESTIMATE)
    assert (observed.source, bool(observed.reason)) == ("/api/ps", True)


def test_stale_numbers_are_observed_as_stale() -> None:
    """The worst quality of the parts is the quality of the sum."""
    cards = (gpu(GPU_0, {200: GIB}, quality=Quality.STALE), gpu(GPU_1, {200: GIB}))
    assert observe_model(draw(*cards), ROW).quality is Quality.STALE


def test_a_reload_keeps_the_two_runners_of_a_model_apart() -> None:
    """The resident holds what its own process holds, not what the next one has begun to take."""
    fresh = replace(RUNNER, pid=201, started_at=3.0)
    found = draw(
        gpu(GPU_0, {200: 5 * GIB, 201: GIB}), gpu(GPU_1, {}), view=table(SERVER, RUNNER, fresh)
    )
    runner = runner_of(found, ROW)
    assert runner is not None
    assert runner.process.pid == 200
    assert observe_by_device(found, ROW) == {GPU_0: 5 * GIB}


def test_models_of_a_tunnels_far_end_are_not_looked_for_here() -> None:
    """One card and an address of our own prove nothing: the card's bytes stay nobody's."""
    found = draw(gpu(GPU_0, {}), view=table(), same=False)
    owners = {share.owner for share in found.attributions[GPU_0].shares}
    assert owners == {Owner.UNATTRIBUTED}
    assert {s.owner for s in draw(gpu(GPU_0, {}), view=table()).attributions[GPU_0].shares} == {
        Owner.MODEL,
        Owner.UNATTRIBUTED,
    }


@pytest.mark.parametrize(
    ("anonymous", "charged"), [(None, 6 * GIB), (0, 6 * GIB), (2 * GIB, 4 * GIB), (9 * GIB, 0)]
)
def test_models_in_ram_are_charged_what_the_kernel_calls_available(
    anonymous: int | None, charged: int
) -> None:
    """Their mapped weights count, less the memory that has left the available count already."""
    row = replace(ROW, size_vram_bytes=2 * GIB)
    runner = replace(RUNNER, anonymous_bytes=anonymous)
    found = draw(gpu(GPU_0, {}), view=table(SERVER, runner), row=row)
    assert uncharged_bytes(found) == charged
    memory = HostMemory(total_bytes=read(64 * GIB), available_bytes=read(30 * GIB))
    assert available_after_models(memory, found).value == 30 * GIB - charged


def test_rows_without_sizes_are_charged_nothing() -> None:
    """An unknown size is no zero, and no guess either."""
    assert uncharged_bytes(draw(row=replace(ROW, size_bytes=None))) == 0


class Server:
    """A server whose answers come in turn; an exception is raised."""

    url = "http://127.0.0.1:11434"

    def __init__(self, *answers: tuple[Resident, ...] | Exception) -> None:
        self.answers = list(answers)

    def version(self) -> str:
        """Returns a version."""
        return "0.33.0"

    def entries(self) -> tuple[Entry, ...]:
        """Returns nothing, or raises the next answer if nobody listens."""
        if isinstance(self.answers[0], Unreachable):
            raise self.answers.pop(0)
        return ()

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        """Returns the next answer."""
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def connection(server: Server, machine: HostSurvey, waits: list[float] | None = None) -> Connection:
    """Returns a connection to a server on a machine."""
    return Connection(
        server=server,  # type: ignore[arg-type] - no lever is pulled
        clock=SystemClock(),
        is_local=machine.is_own_address,
        survey=lambda: machine,
        wait=([] if waits is None else waits).append,
    )


def machine(view: ProcessView, *, server: ProcessFacts | None = SERVER) -> HostSurvey:
    """Returns a machine with one card, whose runner holds 8 GiB, and this process table."""
    return HostSurvey(
        memory=plain_memory(read(64 * GIB), read(32 * GIB), reason="not read"),
        gpus=(GpuSurvey(source="nvml", devices=(gpu(GPU_0, {200: 8 * GIB}),)),),
        processes=view,
        server=server,
        system="linux",
    )


def test_a_look_from_the_servers_machine() -> None:
    """Everything is seen and every lever is open."""
    seen = see(connection(Server((ROW,)), machine(table(SERVER, RUNNER))), Settings())
    assert seen.sight.vantage is Vantage.LOCAL
    assert seen.sight.levers == frozenset(Lever)
    assert seen.sight.blind_spots == ()
    assert seen.observation.notes == ()
    assert observe_model(seen.picture, ROW).value == 8 * GIB


def test_a_runner_of_a_listed_model_proves_the_machine() -> None:
    """The server's process may be hidden: a runner of what it lists is evidence enough."""
    view = table(replace(RUNNER, parent_pid=None))
    seen = see(connection(Server((ROW,)), machine(view, server=None)), Settings())
    assert seen.sight.vantage is Vantage.LOCAL


def test_a_tunnel_is_said_and_closes_the_preload() -> None:
    """Without any process of the server the GPUs here may be another machine's than its."""
    seen = see(connection(Server((ROW,)), machine(table(), server=None)), Settings())
    assert seen.sight.vantage is Vantage.UNCONFIRMED
    assert Lever.PRELOAD not in seen.sight.levers
    assert any("tunnel" in note for note in seen.observation.notes)
    assert observe_model(seen.picture, ROW).value is None


def test_another_machine_never_gets_the_gpus_of_this_one() -> None:
    """Its address is enough: no probe of this machine is asked."""
    there = connect(Settings(url="http://192.0.2.1:11434"), environ={})
    survey = there.survey()
    there.close()
    assert not there.is_local
    assert survey.readings == ()
    assert survey.processes.processes == {}
    assert survey.memory.memory.available_bytes.value is None
    seen = see(connection(Server((ROW,)), survey_of_elsewhere("rig")), Settings())
    assert seen.sight.vantage is Vantage.REMOTE
    assert seen.picture.attributions == {}
    assert len(seen.sight.blind_spots) == 4
    assert any("another machine" in note for note in seen.observation.notes)


@pytest.mark.parametrize(
    ("system", "is_wsl", "words"),
    [("darwin", False, "macOS"), ("windows", False, "Windows"), ("linux", True, "WSL2")],
)
def test_what_a_system_does_not_tell_is_said(system, is_wsl: bool, words: str) -> None:
    """Where drivers count nothing by process, a note says so, and the blind spot has a name."""
    place = replace(machine(table(SERVER, RUNNER)), system=system, is_wsl=is_wsl)
    seen = see(connection(Server((ROW,)), place), Settings())
    assert any(words in note for note in seen.observation.notes)
    assert seen.sight.blind_spots == ("bytes of single processes on a GPU",)
    assert Lever.PRELOAD in seen.sight.levers


def test_a_list_that_does_not_come_is_unknown() -> None:
    """Runners are then in a phase that nobody knows, not loading."""
    late = connection(Server(BackendTimeout("late")), machine(table(SERVER, RUNNER)))
    seen = see(late, Settings())
    assert seen.observation.residents is None
    assert [runner.phase for runner in seen.picture.runners] == [Phase.UNKNOWN]


def test_a_watch_carries_the_picture_from_look_to_look() -> None:
    """What was resident and no longer is, is stopping; an error is news, not the end."""
    waits: list[float] = []
    server = Server((ROW,), Unreachable("gone"), ())
    looks = watch(
        connection(server, machine(table(SERVER, RUNNER)), waits), Settings(), interval_seconds=7.0
    )
    first, error, last = next(looks), next(looks), next(looks)
    assert isinstance(error, WarmsetError)
    assert not isinstance(first, WarmsetError)
    assert not isinstance(last, WarmsetError)
    assert [runner.phase for runner in first.picture.runners] == [Phase.RESIDENT]
    assert [runner.phase for runner in last.picture.runners] == [Phase.STOPPING]
    assert waits == [7.0, 7.0]


def test_a_watch_of_nothing_fails_as_a_command_does() -> None:
    """A wrong address is told at once instead of watched."""
    looks = watch(
        connection(Server(Unreachable("nobody")), machine(table())), Settings(), interval_seconds=1
    )
    with pytest.raises(Unreachable):
        next(looks)


def test_troubles_of_every_source_are_told() -> None:
    """Drivers first, then processes and memory."""
    trouble = Trouble(code="x", message="m", severity=Severity.ERROR)
    survey = machine(replace(table(), troubles=(replace(trouble, code="p"),)))
    survey = replace(
        survey,
        gpus=(replace(survey.gpus[0], troubles=(trouble,)),),
        memory=replace(survey.memory, troubles=(replace(trouble, code="r"),)),
    )
    assert [one.code for one in survey.troubles] == ["x", "p", "r"]


def twin(name: str = "workstation") -> TwinHost:
    """Returns a twin in which nothing happened yet."""
    return TwinHost(named_host(name), physics_of(named_host(name)), Timeline(1e9))


def picture_of(host: TwinHost) -> Picture:
    """Returns what its survey says, without a word of its server."""
    survey = survey_twin(host)
    return draw_picture(
        survey.gpus,
        survey.processes,
        (),
        at=host.timeline.now,
        server_pid=SERVER_PID,
        leaving=survey.leaving,
    )


def bytes_of(host: TwinHost, owner: Owner) -> int:
    """Returns the bytes of an owner on the only card; the sum is the driver's."""
    (found,) = picture_of(host).attributions.values()
    assert found.sum_bytes() - found.excess_bytes == found.taken.value
    return found.sum_bytes(owner)


def test_a_twin_tells_its_runners_and_its_foreign_programs() -> None:
    """Bytes by process come from its cards; a load in progress is one that loads."""
    host = twin()
    foreign = sum(host.spec.foreign_bytes.values())
    assert bytes_of(host, Owner.FOREIGN) == foreign
    host.use("llama3.1:8b", 5.0)
    host.timeline.advance(host.timeline.now + 0.5)
    assert host.scheduler.loading is not None
    (runner,) = picture_of(host).runners
    assert runner.phase is Phase.LOADING
    assert runner.key == survey_twin(host).processes.processes[runner.process.pid].command.key
    held = bytes_of(host, Owner.MODEL)
    assert held == sum(host.cards.held_by(runner.process.pid).values()) > 0
    host.stop()
    assert set(survey_twin(host).processes.processes) == set()


def test_a_twin_tells_what_is_on_its_way_back() -> None:
    """Freed bytes that the pretended driver has not given back are draining, at the first look."""
    host = twin()
    host.use("llama3.1:8b", 1.0, keep_alive=600.0)
    host.timeline.advance(host.timeline.now + 60)
    held = bytes_of(host, Owner.MODEL)
    model = host.library.find("llama3.1:8b")
    assert model is not None
    host.unload(model)
    host.timeline.advance(host.timeline.now + 0.1)
    assert bytes_of(host, Owner.DRAINING) == held > 0
    host.timeline.advance(host.timeline.now + 60)
    assert bytes_of(host, Owner.DRAINING) == 0


def test_a_twin_is_a_vantage_of_its_own() -> None:
    """Its levers are all open, and its settings are its environment's."""
    survey = survey_twin(twin("2x24"))
    assert survey.sight(is_server_seen=False).vantage is Vantage.TWIN
    assert survey.settings.context_length == 32768
    assert survey.settings.max_loaded_models == 6
