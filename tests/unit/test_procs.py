"""Command lines of every generation, the phases of runners, and the real process table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from warmset.adapters.procs import ProcessTable, read_pid_space
from warmset.adapters.procs.table import STRANGER_LOOKS, TURNS
from warmset.core.host.commands import Command, Role, judge_by_name, parse_command
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView, choose_server
from warmset.core.host.runners import Phase, Runner, find_unseen, judge_runners
from warmset.core.model import ModelKey, Resident

TABLE = "warmset.adapters.procs.table"
HEX = "ab" * 32
OTHER_HEX = "cd" * 32
BLOB = f"/usr/share/ollama/.ollama/models/blobs/sha256-{HEX}"
KEY = ModelKey(f"sha256:{HEX}")
OTHER_KEY = ModelKey(f"sha256:{OTHER_HEX}")

LLAMA_SERVER = (
    f"/usr/lib/ollama/llama-server --model {BLOB} --port 35001 --host 127.0.0.1 --no-webui "
    f"--offline -c 16384 -np 4 --log-verbosity 4 --mmproj {BLOB} --cache-type-k q8_0 "
    "--cache-type-v q8_0 --flash-attn on -b 512 -ub 512 --split-mode none --main-gpu 1"
)

GENERATIONS = [
    (LLAMA_SERVER, Role.RUNNER),
    (f"/usr/bin/ollama runner --ollama-engine --model {BLOB} --port 41000", Role.RUNNER),
    (f"/usr/bin/ollama runner --model {BLOB} --ctx-size 8192 --parallel 2 --port 4", Role.RUNNER),
    (f"/tmp/ollama1/runners/cuda/ollama_llama_server runner --model {BLOB} --port 4", Role.RUNNER),
    (f"/tmp/ollama1/runners/cuda/ollama_llama_server --model {BLOB} --port 4", Role.RUNNER),
    (rf"C:\Ollama\lib\ollama\llama-server.exe --model C:\m\blobs\sha256-{HEX}", Role.RUNNER),
    ("/usr/bin/ollama runner --mlx-engine --model qwen3:4b --port 4", Role.MLX_RUNNER),
    ("/usr/lib/ollama/llama-server --port 4 --verbose", Role.PROBE),
    ("/usr/lib/ollama/llama-server --list-devices", Role.PROBE),
    ("/usr/bin/ollama runner --ollama-engine --port 4", Role.PROBE),
    ("/usr/bin/ollama native-probe", Role.PROBE),
    ("/usr/local/bin/ollama serve", Role.SERVER),
    ("/usr/local/bin/ollama start", Role.SERVER),
    (r"C:\Users\x\Ollama\ollama.exe serve", Role.SERVER),
    ("/usr/local/bin/ollama run llama3", Role.FOREIGN),
    ("/usr/local/bin/ollama", Role.FOREIGN),
    ("llama-server -m /home/x/my.gguf -c 4096", Role.FOREIGN),
    ("grep ollama serve", Role.FOREIGN),
    ("vim llama-server", Role.FOREIGN),
    ("/usr/bin/steam", Role.FOREIGN),
    ("", Role.FOREIGN),
]


@pytest.mark.parametrize(("line", "role"), GENERATIONS)
def test_roles_by_command_line(line: str, role: Role) -> None:
    """Each generation's runner is told from servers, probes, clients and strangers."""
    command = parse_command(line.split())
    assert command.role is role
    assert (command.key == KEY) == (role is Role.RUNNER)


def test_a_runner_started_by_an_interpreter_is_still_one() -> None:
    """A wrapper in front of the program does not hide it."""
    line = ["/usr/bin/python3.11", "/opt/llama-server", "--model", BLOB]
    assert parse_command(line).role is Role.RUNNER


def test_load_shape_is_read_from_the_line() -> None:
    """Context of all slots, slots, KV type, batch, placement and projector are on the line."""
    command = parse_command(LLAMA_SERVER.split())
    assert (command.context, command.parallel, command.slot_context) == (16384, 4, 4096)
    assert command.kv_cache_type == "q8_0"
    assert (command.batch, command.main_gpu, command.port) == (512, 1, 35001)
    assert command.projector == KEY
    assert command.gpu_layers is None


def test_slot_context_is_unknown_when_the_line_has_none() -> None:
    """From 0.11.5 to 0.24 the load request carried the context: not on the line, not guessed."""
    assert parse_command(f"ollama runner --model {BLOB} --port 1".split()).slot_context is None


@pytest.mark.parametrize(
    ("words", "layers"), [("-ngl -1", -1), ("--n-gpu-layers=7", 7), ("-ngl x", None)]
)
def test_option_values_may_be_negative_joined_or_nonsense(words: str, layers: int | None) -> None:
    """Options are read in every form, and a value that is no number is unknown."""
    command = parse_command(f"llama-server --model {BLOB} {words}".split())
    assert command.gpu_layers == layers
    assert command.role is Role.RUNNER


def test_process_without_readable_arguments_is_judged_by_name() -> None:
    """Hidden arguments make an Ollama program `hidden`, never foreign; a dead one is a runner."""
    assert judge_by_name("llama-server", is_zombie=False).role is Role.HIDDEN
    assert judge_by_name("llama-server", is_zombie=True).role is Role.RUNNER
    assert judge_by_name("firefox", is_zombie=False).role is Role.FOREIGN


# -- phases -----------------------------------------------------------------------------------


def server(pid: int = 100, ports: frozenset[int] | None = None) -> ProcessFacts:
    """Returns an Ollama server's process."""
    return ProcessFacts(
        pid=pid,
        parent_pid=1,
        name="ollama",
        command=parse_command(["ollama", "serve"]),
        started_at=1.0,
        listen_ports=ports,
    )


def runner(
    pid: int = 200, *, parent: int = 100, key: str = HEX, at: float = 2.0, zombie: bool = False
) -> ProcessFacts:
    """Returns a runner's process."""
    return ProcessFacts(
        pid=pid,
        parent_pid=parent,
        name="llama-server",
        command=parse_command(["llama-server", "--model", f"/x/sha256-{key}"]),
        started_at=at,
        is_zombie=zombie,
    )


def view(*processes: ProcessFacts) -> ProcessView:
    """Returns a process table on the host."""
    return ProcessView(processes={p.pid: p for p in processes}, pid_space=PidSpace.HOST)


def resident(key: ModelKey | None = KEY, name: str = "qwen:7b") -> Resident:
    """Returns a row of /api/ps."""
    return Resident(
        name=name,
        manifest_digest="",
        key=key,
        size_bytes=1,
        size_vram_bytes=1,
        context=4096,
        expires_at=0.0,
    )


def judge(
    table: ProcessView,
    residents: tuple[Resident, ...] | None,
    *,
    server_pid: int | None = 100,
    seen: frozenset[tuple[int, float]] = frozenset(),
) -> dict[int, Runner]:
    """Returns the judged runners by PID."""
    judged = judge_runners(table, residents, server_pid=server_pid, seen_resident=seen)
    return {one.process.pid: one for one in judged}


def test_listed_runner_is_resident() -> None:
    """A runner whose blob /api/ps lists is resident, and knows its row."""
    found = judge(view(server(), runner()), (resident(),))[200]
    assert found.phase is Phase.RESIDENT
    assert found.resident == resident()
    assert found.key == KEY


def test_unlisted_runner_is_loading() -> None:
    """A runner with a model that is not listed yet is a load under way."""
    assert judge(view(server(), runner()), ())[200].phase is Phase.LOADING


def test_runner_that_was_listed_before_is_stopping() -> None:
    """The same picture means stopping if an earlier look saw this very process resident."""
    found = judge(view(server(), runner()), (), seen=frozenset({(200, 2.0)}))
    assert found[200].phase is Phase.STOPPING


def test_same_pid_of_a_later_process_is_not_the_one_seen_before() -> None:
    """PIDs are used again; the start time tells them apart."""
    found = judge(view(server(), runner(at=9.0)), (), seen=frozenset({(200, 2.0)}))
    assert found[200].phase is Phase.LOADING


def test_zombie_runner_is_stopping() -> None:
    """Killed and not reaped yet; without a server to reap it, it is nothing at all."""
    found = judge(view(server(), runner(zombie=True)), (resident(),))
    assert found[200].phase is Phase.STOPPING
    assert judge(view(server(), runner(parent=1, zombie=True)), ()) == {}


def test_silent_ps_makes_the_phase_unknown_not_loading() -> None:
    """A timed-out /api/ps is unknown, never empty."""
    assert judge(view(server(), runner()), None)[200].phase is Phase.UNKNOWN


def test_runner_without_a_server_is_an_orphan() -> None:
    """A runner that survived its server belongs to nobody, even if its blob is listed again."""
    table = view(server(), runner(200), runner(201, parent=1))
    found = judge(table, (resident(),))
    assert found[200].phase is Phase.RESIDENT
    assert found[201].phase is Phase.ORPHAN
    assert not found[201].is_ours


def test_runner_of_another_server_is_not_ours() -> None:
    """Two servers on one machine do not share runners."""
    table = view(server(100), server(101), runner(200), runner(201, parent=101))
    found = judge(table, (resident(),))
    assert found[201].phase is Phase.OTHER
    assert "101" in found[201].reason


def test_without_any_visible_server_a_listed_runner_is_resident() -> None:
    """Where the server is hidden (another user's), /api/ps is believed."""
    found = judge(view(runner(parent=77)), (resident(),), server_pid=None)
    assert found[200].phase is Phase.RESIDENT


def test_children_of_a_visible_server_are_ours_while_it_is_not_told_which() -> None:
    """Without the server's PID a server's child may be ours, and a stray one is an orphan."""
    table = view(server(), runner(200), runner(201, parent=1))
    found = judge(table, (), server_pid=None)
    assert found[200].phase is Phase.LOADING
    assert found[201].phase is Phase.ORPHAN


def test_row_with_a_key_that_no_runner_has_stays_unmatched() -> None:
    """A runner of another blob is not taken for it."""
    found = judge(view(server(), runner()), (resident(OTHER_KEY),))
    assert found[200].phase is Phase.LOADING


def test_mlx_runner_never_stands_in_for_a_gguf_row() -> None:
    """A zombie without arguments and an MLX runner of another name fit no row."""
    mlx = ProcessFacts(
        pid=300,
        parent_pid=100,
        name="ollama",
        command=Command(role=Role.MLX_RUNNER, program="ollama"),
        started_at=2.0,
    )
    assert judge(view(server(), mlx), (resident(),))[300].phase is Phase.LOADING


def test_of_two_runners_of_one_blob_the_older_is_resident() -> None:
    """One row of /api/ps is one process; the younger one is loading."""
    found = judge(view(server(), runner(201, at=9.0), runner(202, at=3.0)), (resident(),))
    assert found[202].phase is Phase.RESIDENT
    assert found[201].phase is Phase.LOADING


def test_two_rows_and_two_runners_are_paired_by_blob() -> None:
    """Models are told apart by their blobs, not by order."""
    table = view(server(), runner(201, key=OTHER_HEX), runner(202))
    found = judge(table, (resident(), resident(OTHER_KEY, "b")))
    assert found[201].key == OTHER_KEY
    assert found[202].resident == resident()


def test_row_without_a_key_goes_to_the_only_runner_left() -> None:
    """A model whose tag was pulled anew keeps its runner; with two left nothing is guessed."""
    nameless = resident(None, "old")
    assert judge(view(server(), runner()), (nameless,))[200].phase is Phase.RESIDENT
    both = judge(view(server(), runner(200), runner(201, key=OTHER_HEX)), (nameless,))
    assert {one.phase for one in both.values()} == {Phase.LOADING}


def test_mlx_runner_is_matched_by_name() -> None:
    """MLX runners carry a short name instead of a blob."""
    mlx = ProcessFacts(
        pid=300,
        parent_pid=100,
        name="ollama",
        command=parse_command("ollama runner --mlx-engine --model Qwen3 --port 4".split()),
        started_at=2.0,
    )
    row = resident(ModelKey("manifest:12"), "qwen3:latest")
    found = judge(view(server(), mlx), (row,))[300]
    assert found.phase is Phase.RESIDENT
    assert found.key == "manifest:12"


def test_resident_without_a_process_is_reported() -> None:
    """A row for which no process is seen is hidden or was just killed."""
    judged = judge_runners(view(server()), (resident(),), server_pid=100)
    assert find_unseen((resident(),), judged) == (resident(),)
    assert find_unseen(None, judged) == ()


def test_server_is_chosen_by_its_port() -> None:
    """With two servers the one that listens on the port of the URL is it."""
    table = view(server(100, frozenset({11434})), server(101, frozenset({11500})))
    chosen = choose_server(table, 11500)
    assert chosen is not None
    assert chosen.pid == 101
    assert choose_server(table, 1) is None


def proxy(host_port: int, address: str) -> ProcessFacts:
    """Returns Docker's process that forwards a port of the host."""
    line = f"docker-proxy -proto tcp -host-port {host_port} -container-ip {address}"
    command = parse_command([*line.split(), "-container-port", "11434"])
    assert command.role is Role.FORWARD
    return replace(server(host_port), command=command, name="docker-proxy")


def contained(pid: int, address: str | None = None) -> ProcessFacts:
    """Returns a server that listens on 11434 in a network namespace of its own."""
    known = None if address is None else frozenset({address})
    ports = frozenset({11434})
    return replace(server(pid, ports), net_space=f"net:[{pid}]", addresses=known)


def test_servers_of_other_network_namespaces_are_told_apart() -> None:
    """Ours first, then where the port leads; what could be either is nobody, never the first."""
    one, two = contained(201, "172.17.0.2"), contained(202, "172.17.0.3")
    ours = replace(server(100, frozenset({11434})), net_space="net:[1]")
    both = replace(view(one, two), net_space="net:[1]")
    assert choose_server(both, 11434) is None
    assert choose_server(replace(view(one, two, ours), net_space="net:[1]"), 11434) == ours
    led = (proxy(11434, "172.17.0.3"), proxy(11435, "172.17.0.2"))
    assert choose_server(view(one, two, *led), 11434) == two
    assert choose_server(view(one, two, *led), 11435) == one
    assert choose_server(view(one, proxy(11435, "172.17.0.9")), 11435) is None
    assert choose_server(view(one), 11434) == one
    unread = contained(203)  # its addresses may not be read
    assert choose_server(view(one, unread, proxy(11435, "172.17.0.9")), 11435) is None


def test_two_that_listen_on_one_port_are_not_guessed_between() -> None:
    """On two addresses of one machine that is possible, and the port alone tells neither."""
    ports = frozenset({11434})
    assert choose_server(view(server(100, ports), server(101, ports)), 11434) is None


def test_a_lone_server_behind_a_forwarded_port_is_taken_where_nothing_can_be_read() -> None:
    """Another user sees neither ports nor addresses: the only Ollama of the machine is it."""
    table = view(server(), proxy(11434, "172.17.0.2"))
    assert choose_server(table, 11434) == server()


def test_lone_server_with_hidden_ports_is_taken_and_two_are_not() -> None:
    """Ports of another user's process are not visible: one server is clear, two are not."""
    assert choose_server(view(server()), None) == server()
    assert choose_server(view(server()), 11434) == server()
    assert choose_server(view(server(100), server(101)), 11434) is None


# -- the real table ---------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[list[str]], subprocess.Popen[bytes]]]:
    """Starts sleeping processes with a command line of the test's choice."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(argv: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            executable=sleeper(tmp_path),
            env={"OLLAMA_NUM_PARALLEL": "3", "SECRET": "x"},
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()


def sleeper(folder: Path) -> str:
    """Compiles a program that sleeps whatever its arguments are; returns its path."""
    program = folder / "sleeper"
    if not program.exists():
        source = folder / "sleeper.c"
        source.write_text("#include <unistd.h>\nint main(void) { sleep(60); return 0; }\n")
        subprocess.run(["cc", "-o", program, source], check=True)
    return str(program)


def wait_for(fact: Callable[[], bool]) -> None:
    """Waits a little for a process to appear."""
    deadline = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < deadline, "it did not appear in 5 s"
        time.sleep(0.02)


def test_real_children_are_found_by_their_command_lines(
    start: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    """A running server and runner are seen with parent, times, bytes and settings."""
    pids = [start(["ollama", "serve"]).pid, start(LLAMA_SERVER.split()).pid]
    table = ProcessTable()
    wait_for(lambda: all(pid in table.read().processes for pid in pids))
    found = table.read()
    serving, running = (found.processes[pid] for pid in pids)
    assert serving.command.role is Role.SERVER
    assert serving.environment == {"OLLAMA_NUM_PARALLEL": "3"}
    assert running.command.key == KEY
    assert running.parent_pid == os.getpid()
    assert running.cpu_seconds is not None
    assert running.resident_bytes


def test_a_stranger_that_becomes_a_server_is_found_and_stays_found(
    start: Callable[[list[str]], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Who was believed to be a stranger is asked again in turns; afterwards at every look."""
    table = ProcessTable()
    running = start(LLAMA_SERVER.split()).pid
    wait_for(lambda: running in table.read().processes)
    script = f"read line; exec -a ollama {sleeper(tmp_path)} serve"
    with subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE) as late:
        for _ in range(STRANGER_LOOKS + 1):
            assert late.pid not in table.read().processes
        assert late.stdin is not None
        late.stdin.write(b"now\n")
        late.stdin.flush()
        wait_for(lambda: psutil.Process(late.pid).cmdline() == ["ollama", "serve"])
        looks = [table.read().processes.get(late.pid) for _ in range(2 * TURNS)]
        late.kill()
    assert looks[-1] is not None
    assert looks[-1].command.role is Role.SERVER
    first = next(n for n, facts in enumerate(looks) if facts is not None)
    assert first < TURNS
    assert None not in looks[first:]


def test_what_a_process_keeps_is_the_same_at_every_look(
    start: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    """Settings are read once and told at every look."""
    pid = start(["ollama", "serve"]).pid
    table = ProcessTable()
    wait_for(lambda: pid in table.read().processes)
    first, second = table.read().processes[pid], table.read().processes[pid]
    assert second.environment == first.environment == {"OLLAMA_NUM_PARALLEL": "3"}
    assert (second.command, second.identity) == (first.command, first.identity)


def test_a_runner_whose_parent_ended_has_another_at_the_next_look(
    start: Callable[[list[str]], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """What is kept of a process does not outlive the parent's end: it is an orphan then."""
    server = start(["ollama", "serve"]).pid  # while one is seen, strangers are asked in turns only
    table = ProcessTable()
    script = f"(exec -a llama-server {sleeper(tmp_path)} --model {BLOB}) & echo $!; wait"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        runner = int(parent.stdout.readline())
        wait_for(lambda: {server, runner} <= table.read().processes.keys())
        for _ in range(2):
            assert table.read().processes[runner].parent_pid == parent.pid
        parent.kill()
        parent.wait()
    try:
        found = table.read().processes[runner]
        assert found.parent_pid != parent.pid
        assert found.parent_pid == psutil.Process(runner).ppid()
    finally:
        os.kill(runner, signal.SIGKILL)


def test_foreign_processes_are_named_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table is not copied: strangers appear when a driver names their PID."""
    monkeypatch.setattr(f"{TABLE}.read_pid_space", lambda *_, **__: PidSpace.HOST)
    assert os.getpid() not in ProcessTable().read().processes
    asked = ProcessTable().read([os.getpid(), 2**22 + 1])
    assert asked.processes[os.getpid()].command.role is Role.FOREIGN
    assert 2**22 + 1 not in asked.processes


@pytest.mark.parametrize(
    ("link", "status", "init", "expected"),
    [
        ("pid:[4026531836]", "", "anything", PidSpace.HOST),
        ("pid:[4026532201]", "", "systemd", PidSpace.INNER),
        (None, "NSpid:\t4711\t1\n", "systemd", PidSpace.INNER),
        (None, "NSpid:\t4711\n", "systemd", PidSpace.HOST),
        (None, "NSpid:\t1\n", "ollama", PidSpace.INNER),
        (None, "", None, PidSpace.UNKNOWN),
    ],
)
def test_pid_space(
    tmp_path: Path, link: str | None, status: str, init: str | None, expected: PidSpace
) -> None:
    """The namespace's own name decides; else NSpid and what PID 1 is."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "1").mkdir()
    (tmp_path / "self/status").write_text(status)
    if link:
        (tmp_path / "self/ns/pid").symlink_to(link)
    if init:
        (tmp_path / "1/comm").write_text(init + "\n")
    assert read_pid_space(tmp_path) is expected


@pytest.mark.parametrize(
    ("link", "init", "expected"),
    [
        ("pid:[4026531836]", "anything", PidSpace.HOST),
        ("pid:[4026532201]", "systemd", PidSpace.INNER),
        (None, "systemd", PidSpace.HOST),
        (None, "ollama", PidSpace.INNER),
        (None, None, PidSpace.UNKNOWN),
    ],
)
def test_pid_space_of_a_table_that_is_mounted(
    tmp_path: Path, link: str | None, init: str | None, expected: PidSpace
) -> None:
    """Its first process decides; that we ourselves are in a container says nothing of it."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to("pid:[4026532999]")
    (tmp_path / "self/status").write_text("NSpid:\t4711\t1\n")
    (tmp_path / "1/ns").mkdir(parents=True)
    if link:
        (tmp_path / "1/ns/pid").symlink_to(link)
    if init:
        (tmp_path / "1/comm").write_text(init + "\n")
    assert read_pid_space(tmp_path, is_own=False) is expected


def test_in_a_container_no_host_pid_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of the same number in here may be anyone."""
    monkeypatch.setattr(f"{TABLE}.read_pid_space", lambda *_, **__: PidSpace.INNER)
    assert os.getpid() not in ProcessTable().read([os.getpid()]).processes


def test_unreadable_table_is_a_trouble_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where /proc is closed, the view says so: a missing process has not ended."""

    def fail() -> Iterator[psutil.Process]:
        raise PermissionError(13, "Permission denied", "/proc")

    monkeypatch.setattr(psutil, "process_iter", fail)
    found = ProcessTable().read()
    assert not found.is_readable
    assert [t.code for t in found.troubles] == ["processes-unreadable"]


def test_runner_whose_arguments_are_hidden_is_a_trouble(
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    """Another user's runner is seen by name, not taken for a stranger, and said."""
    pid = start(["ollama", "serve"]).pid
    real = psutil.Process.cmdline

    def cmdline(process: psutil.Process) -> list[str]:
        if process.pid == pid:
            raise psutil.AccessDenied(pid)
        return real(process)

    monkeypatch.setattr(psutil.Process, "cmdline", cmdline)
    monkeypatch.setattr(psutil.Process, "name", lambda _process: "ollama")
    found = ProcessTable().read()
    assert found.processes[pid].command.role is Role.HIDDEN
    assert [t.code for t in found.troubles] == ["arguments-hidden"]


def test_table_of_another_root(tmp_path: Path) -> None:
    """A container that mounts the host's /proc elsewhere reads that one; an empty one is none."""
    before = psutil.PROCFS_PATH
    try:
        found = ProcessTable(proc_root=tmp_path).read()
    finally:
        psutil.PROCFS_PATH = before
    assert not found.is_readable
    assert found.processes == {}


def test_import_of_the_table_loads_no_psutil() -> None:
    """Start-up of a command that reads no process costs no psutil."""
    code = "import sys, warmset.adapters.procs; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_command_is_a_value() -> None:
    """Two equal lines are equal commands."""
    assert parse_command(["ollama", "serve"]) == Command(role=Role.SERVER, program="ollama")


def test_processes_that_a_driver_names_later_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known view gets the new PIDs by name; ended ones stay out; nothing else is read again."""
    monkeypatch.setattr(f"{TABLE}.read_pid_space", lambda *_, **__: PidSpace.HOST)
    table = ProcessTable()
    first = table.read()
    assert os.getpid() not in first.processes
    named = table.name(first, [os.getpid(), 2**22 + 12345, -1])
    assert set(named.processes) == {*first.processes, os.getpid()}
    assert named.processes[os.getpid()].command.role is Role.FOREIGN
    assert table.name(named, [os.getpid()]).processes == named.processes


def test_a_drivers_pids_are_not_looked_up_in_another_space() -> None:
    """In a container, and where the table cannot be read, the view stays as it is."""
    inner = ProcessView(pid_space=PidSpace.INNER)
    assert ProcessTable().name(inner, [os.getpid()]) is inner
    closed = ProcessView(pid_space=PidSpace.HOST, is_readable=False)
    assert ProcessTable().name(closed, [os.getpid()]) is closed
