"""What the doctor says of settings, device files, troubles and servers that do not answer."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from warmset.adapters.permissions import find_closed, find_device_files
from warmset.core.host.processes import PidSpace, ProcessView
from warmset.core.host.readings import GpuReading, GpuSurvey, Severity, Trouble
from warmset.core.host.survey import HostSurvey, plain_memory, survey_of_elsewhere
from warmset.core.model import (
    Device,
    DeviceId,
    Entry,
    Quality,
    Reading,
    Resident,
    ServerSettings,
    unknown,
)
from warmset.core.ollama.generation import generation_of
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.units import GIB
from warmset.errors import BackendTimeout, Unreachable
from warmset.shell.doctor import examine
from warmset.shell.doctor_install import examine_configuration, examine_files, examine_token
from warmset.shell.doctor_probe import Health, Probe
from warmset.shell.doctor_settings import examine_environment, examine_settings
from warmset.shell.wiring import Connection, SystemClock

NEW, OLD = generation_of("0.33.0"), generation_of("0.12.0")


def gpu(total: int | None = 24 * GIB) -> Device:
    """Returns a GPU; without a total, one that does not tell it."""
    count: Reading[int] = (
        unknown("nvml", "not reported") if total is None else Reading(value=total, source="nvml")
    )
    return Device(
        id=DeviceId("GPU-1"), name="card", library="CUDA", total_bytes=count, free_bytes=count
    )


def judge(
    name: str,
    settings: ServerSettings,
    *,
    devices: tuple[Device, ...] | None = (gpu(),),
    pins: int = 0,
    generation=NEW,
) -> Probe:
    """Returns the one probe of a setting."""
    probes = examine_settings(settings, generation=generation, devices=devices, pins=pins)
    (probe,) = [probe for probe in probes if probe.name == name]
    return probe


@pytest.mark.parametrize(
    ("settings", "pins", "health", "words"),
    [
        (ServerSettings(), 0, Health.OK, "3 models in all (automatic)"),
        (ServerSettings(), 4, Health.FAIL, "4 are pinned"),
        (ServerSettings(max_loaded_models=4), 4, Health.OK, "4 models"),
        (ServerSettings(max_loaded_models=1), 1, Health.WARN, "one model at a time"),
    ],
)
def test_the_maximum_of_loaded_models(
    settings: ServerSettings, pins: int, health: Health, words: str
) -> None:
    """It is a total: fewer than the pins is a fault, one is a thrash."""
    probe = judge("OLLAMA_MAX_LOADED_MODELS", settings, pins=pins)
    assert probe.health is health
    assert words in probe.detail
    assert (probe.hint != "") == (health is not Health.OK)


@pytest.mark.parametrize(
    ("seconds", "health"),
    [(None, Health.OK), (300.0, Health.OK), (math.inf, Health.WARN), (0.0, Health.WARN)],
)
def test_the_servers_keep_alive(seconds: float | None, health: Health) -> None:
    """For ever is no pin, and nought keeps nothing."""
    assert judge("OLLAMA_KEEP_ALIVE", ServerSettings(keep_alive_seconds=seconds)).health is health


def test_spread_hurts_on_several_gpus_only() -> None:
    """With one GPU there is nothing to spread over."""
    spread = ServerSettings(sched_spread=True)
    assert judge("OLLAMA_SCHED_SPREAD", spread, devices=(gpu(), gpu())).health is Health.WARN
    assert judge("OLLAMA_SCHED_SPREAD", spread, devices=(gpu(),)).health is Health.OK


@pytest.mark.parametrize(
    ("settings", "devices", "health", "words"),
    [
        (ServerSettings(), (gpu(),), Health.WARN, "32768"),
        (ServerSettings(), (gpu(), gpu()), Health.WARN, "262144"),
        (ServerSettings(num_parallel=4), (gpu(),), Health.WARN, "32768 tokens x 4 slots"),
        (ServerSettings(), (gpu(8 * GIB),), Health.OK, "4096"),
        (ServerSettings(context_length=8192), (gpu(), gpu()), Health.OK, "8192 tokens"),
        (ServerSettings(), (gpu(None),), Health.UNKNOWN, "not known"),
        (ServerSettings(), None, Health.UNKNOWN, "not known"),
    ],
)
def test_the_context_tier(
    settings: ServerSettings, devices: tuple[Device, ...] | None, health: Health, words: str
) -> None:
    """The automatic context follows the sum of the GPUs, and is not guessed without them."""
    probe = judge("OLLAMA_CONTEXT_LENGTH", settings, devices=devices)
    assert probe.health is health
    assert words in probe.detail


def test_old_servers_have_no_context_tiers() -> None:
    """Before 0.15.5 the default is one number, whatever the GPUs."""
    probe = judge("OLLAMA_CONTEXT_LENGTH", ServerSettings(), generation=OLD)
    assert (probe.health, probe.detail) == (Health.OK, "4096 tokens (default)")


def test_quantised_caches() -> None:
    """They want flash attention, and Ollama's forecast does not know them."""
    name = "OLLAMA_KV_CACHE_TYPE"
    assert judge(name, ServerSettings()).detail == "f16"
    quantised = judge(name, ServerSettings(kv_cache_type="q8_0"))
    assert quantised.health is Health.OK
    assert "still counts f16" in quantised.detail
    off = ServerSettings(kv_cache_type="q8_0", flash_attention=False)
    assert judge(name, off).health is Health.WARN


def test_overhead_reserves_nothing_since_0_30() -> None:
    """Where it still did, it is said to; where it no longer does, what does is named."""
    name, settings = "OLLAMA_GPU_OVERHEAD", ServerSettings(gpu_overhead_bytes=GIB)
    assert judge(name, settings, generation=OLD).health is Health.OK
    assert "LLAMA_ARG_FIT_TARGET" in judge(name, settings).hint


def test_what_is_not_seen_is_not_counted() -> None:
    """The automatic maximum of a host whose GPUs are not visible is unknown."""
    probe = judge("OLLAMA_MAX_LOADED_MODELS", ServerSettings(), devices=None)
    assert probe.health is Health.UNKNOWN


def test_variables_that_ollama_misreads() -> None:
    """Each is named with its text; those that it reads are not."""
    found = examine_environment(
        {
            "OLLAMA_KEEP_ALIVE": "1d",
            "OLLAMA_NUM_PARALLEL": "two",
            "OLLAMA_SCHED_SPREAD": "no",
            "OLLAMA_MAX_LOADED_MODELS": '"3"',
            "OLLAMA_CONTEXT_LENGTH": "8192",
            "OLLAMA_FLASH_ATTENTION": "1",
        }
    )
    assert [(probe.name, probe.detail) for probe in found] == [
        ("OLLAMA_NUM_PARALLEL", '"two" is no number, so Ollama uses its default'),
        ("OLLAMA_SCHED_SPREAD", '"no" is no switch word, so Ollama takes it for on'),
        ("OLLAMA_KEEP_ALIVE", '"1d" is no duration, so Ollama uses 5m'),
    ]
    good = {"OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_SCHED_SPREAD": "true"}
    assert list(examine_environment(good | {"OLLAMA_NO_CLOUD": ""})) == []


def test_device_files_and_their_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be opened is named with the group that may."""
    for name in ("dev/nvidia0", "dev/nvidiactl", "dev/dri/renderD128", "dev/kfd", "dev/null"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert len(find_device_files(tmp_path)) == 4
    monkeypatch.setattr(os, "access", lambda path, _mode: "render" not in str(path))
    (closed,) = find_closed(tmp_path)
    assert closed.path.endswith("renderD128")
    assert closed.group
    assert closed.is_member  # this user made it
    monkeypatch.setattr(os, "getegid", lambda: -1)
    monkeypatch.setattr(os, "getgroups", list)
    assert not find_closed(tmp_path)[0].is_member


class Server:
    """A server that answers as told."""

    url = "http://127.0.0.1:11434"

    def __init__(self, *, residents: Exception | Sequence[Resident] = (), version="0.33.0") -> None:
        self.answer = residents
        self.version_text = version

    def version(self) -> str:
        """Returns the version, or raises it."""
        if isinstance(self.version_text, Exception):
            raise self.version_text
        return self.version_text

    def entries(self) -> tuple[Entry, ...]:
        """Returns nothing installed."""
        return ()

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        """Returns the rows, or raises."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return tuple(self.answer)


def survey(*troubles: Trouble, space: PidSpace = PidSpace.HOST) -> HostSurvey:
    """Returns a machine with one card and these troubles of its driver."""
    nothing: Reading[int] = unknown("nvml", "not reported")
    card = GpuReading(
        device=gpu(),
        used_bytes=nothing,
        reserved_bytes=nothing,
        processes=unknown("nvml", "not permitted"),
        utilization=unknown("nvml", "not reported"),
    )
    total = Reading(value=64 * GIB, source="psutil")
    return HostSurvey(
        memory=plain_memory(total, total, reason="not read"),
        gpus=(GpuSurvey(source="nvml", devices=(card,), troubles=troubles, driver="580.1"),),
        processes=ProcessView(pid_space=space),
        system="other",
    )


def ask(server: Server, machine: HostSurvey, settings: Settings | None = None) -> dict[str, Probe]:
    """Returns the doctor's probes by name."""
    connection = Connection(
        server=server,  # type: ignore[arg-type] - no lever is pulled
        clock=SystemClock(),
        is_local=machine.is_own_address,
        survey=lambda: machine,
    )
    return {p.name: p for p in examine(connection, settings or Settings(), environ={})}


def test_a_server_that_is_away_stops_no_other_probe() -> None:
    """It is a failure with its hint, and the drivers are examined all the same."""
    probes = ask(Server(version=Unreachable("nobody there", hint="start it")), survey())
    assert (probes["ollama"].health, probes["ollama"].hint) == (Health.FAIL, "start it")
    assert probes["card (GPU-1)"].health is Health.OK
    assert "driver 580.1" in probes["NVIDIA"].detail
    assert "vantage" not in probes  # nothing can be told before it answers


def test_a_list_that_does_not_come_is_a_fault() -> None:
    """/api/ps that times out is named; a resident that is no longer installed is a warning."""
    late = ask(Server(residents=BackendTimeout("no answer in 30 s")), survey())
    assert late["/api/ps"].health is Health.FAIL
    gone = Resident(
        name="old:7b",
        manifest_digest="",
        key=None,
        size_bytes=1,
        size_vram_bytes=1,
        context=1,
        expires_at=None,
    )
    stale = ask(Server(residents=[gone]), survey())
    assert stale["/api/ps"].health is Health.WARN
    assert "old:7b" in stale["/api/ps"].detail


def test_old_servers_are_named() -> None:
    """Before 0.30 the forecasts are less certain."""
    assert ask(Server(version="0.12.3"), survey())["ollama"].health is Health.WARN


@pytest.mark.parametrize(
    ("severity", "health"),
    [
        (Severity.INFO, Health.OK),
        (Severity.WARNING, Health.WARN),
        (Severity.ERROR, Health.FAIL),
    ],
)
def test_troubles_of_a_driver(severity: Severity, health: Health) -> None:
    """Each is a probe with its hint, as bad as the adapter says."""
    trouble = Trouble(code="x", message="driver updated", hint="reboot", severity=severity)
    probe = ask(Server(), survey(trouble))["NVIDIA"]
    assert (probe.health, probe.detail, probe.hint) == (health, "driver updated", "reboot")


def test_a_tunnel_closes_a_lever() -> None:
    """Own address without a server's process: what cannot be done from here is said."""
    vantage = ask(Server(), survey())["vantage"]
    assert vantage.health is Health.WARN
    assert "preload" in vantage.hint


def test_an_inner_pid_space_is_a_warning() -> None:
    """Its numbers are not the driver's."""
    probe = ask(Server(), survey(space=PidSpace.INNER))["PID namespace"]
    assert (probe.health, bool(probe.hint)) == (Health.WARN, True)


def test_another_machine_has_no_probes_of_this_one() -> None:
    """No GPU, no RAM and no process of here is reported for it."""
    probes = ask(Server(), survey_of_elsewhere("gpu-rig"))
    assert not {"NVIDIA", "RAM", "ollama serve", "device files"} & set(probes)
    assert probes["vantage"].detail.startswith("remote")


def test_where_settings_come_from() -> None:
    """The configuration's word counts where the process cannot be read, and is named."""
    assert ask(Server(), survey())["environment"].health is Health.UNKNOWN
    said = Settings(
        server=ServerSettings(max_loaded_models=1),
        origins={"ollama.url": "flag", "ollama.max_loaded_models": "file"},
        models={
            "a:1b": ModelPolicy(name="a:1b", pin=True),
            "b:1b": ModelPolicy(name="b", pin=True),
        },
    )
    probes = ask(Server(), survey(), said)
    assert probes["environment"].detail == ("as the configuration says: ollama.max_loaded_models")
    assert probes["OLLAMA_MAX_LOADED_MODELS"].health is Health.FAIL


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache's folder is probed without being made."""
    (good,) = examine_files({"CACHE_DIRECTORY": str(tmp_path / "new")})
    assert good.health is Health.OK
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    (bad,) = examine_files({"CACHE_DIRECTORY": str(tmp_path / "new")})
    assert (bad.health, bool(bad.hint)) == (Health.WARN, True)
    (none,) = examine_files({"CACHE_DIRECTORY": "not/absolute"})
    assert none.health is Health.WARN


def test_who_may_change_the_configuration(tmp_path: Path) -> None:
    """A file or a folder that everybody may write to is a warning, also behind a link."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    file = folder / "budgets.toml"
    file.write_text("")
    link = tmp_path / "link.toml"
    link.symlink_to(file)

    def health(path: Path) -> Health:
        (probe,) = examine_configuration(str(path))
        return probe.health

    file.chmod(0o664)
    assert (health(file), health(link)) == (Health.OK, Health.OK)
    file.chmod(0o666)
    assert (health(file), health(link)) == (Health.WARN, Health.WARN)
    file.chmod(0o600)
    folder.chmod(0o777)
    assert health(link) is Health.WARN
    folder.chmod(0o1777)
    assert health(link) is Health.OK
    assert health(tmp_path / "gone") is Health.UNKNOWN
    assert list(examine_configuration("")) == []


def test_a_token_that_everybody_may_read_is_named(tmp_path: Path) -> None:
    """Its file's mode is told, never what is in it; no token, nothing to tell."""
    assert list(examine_token("")) == []
    token = tmp_path / "token"
    (missing,) = examine_token(str(token))
    assert missing.health is Health.WARN
    token.write_text("s3cret")
    for mode, health in ((0o644, Health.WARN), (0o600, Health.OK), (0o640, Health.OK)):
        token.chmod(mode)
        (probe,) = examine_token(str(token))
        assert probe.health is health
        assert "s3cret" not in probe.detail + probe.hint


def test_a_device_file_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group is unknown then; a group without a name keeps its number."""
    from warmset.adapters import permissions

    monkeypatch.setattr(permissions, "find_device_files", lambda _root: (tmp_path / "gone",))
    assert [closed.group for closed in find_closed(tmp_path)] == ["unknown"]
    assert permissions._group_name(2**31 - 7) == str(2**31 - 7)


def test_clashes_and_gaps_of_software(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that hides nvidia-ml-py is a warning, a missing one a failure."""
    from importlib import metadata

    from warmset.shell.doctor_install import examine_software

    known = metadata.version

    def version(name: str) -> str:
        if name == "psutil":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(
        metadata, "packages_distributions", lambda: {"pynvml": ["nvidia-ml-py", "pynvml"]}
    )
    probes = {probe.name: probe for probe in examine_software()}
    assert probes["psutil"].health is Health.FAIL
    assert probes["pynvml"].health is Health.WARN
    assert "pip uninstall pynvml" in probes["pynvml"].hint


def test_memory_in_the_doctors_words() -> None:
    """RAM that cannot be read is a failure; pressure a warning; a limit is told with its bytes."""
    machine = survey()
    pressed = Trouble(code="memory-pressure", message="tasks wait", hint="see psi")
    limited = replace(
        machine.memory,
        is_limited=True,
        limit_bytes=Reading(value=8 * GIB, source="cgroup"),
        troubles=(pressed, Trouble(code="limit-unknown", message="said elsewhere")),
    )
    probes = ask(Server(), replace(machine, memory=limited))
    assert probes["cgroup limit"].detail == "8.0 GiB on the server"
    assert probes["pressure"].health is Health.WARN
    lost: Reading[int] = unknown("psutil", "RAM cannot be read")
    blind = ask(Server(), replace(machine, memory=plain_memory(lost, lost, reason="-")))
    assert blind["RAM"].health is Health.FAIL
    assert blind["cgroup limit"].health is Health.UNKNOWN


def test_estimates_and_hidden_processes_are_told() -> None:
    """A card's estimate says so; a table that hides arguments is a probe with its hint."""
    machine = survey()
    (driver,) = machine.gpus
    (card,) = driver.devices
    guess = Reading(value=GIB, source="drm", quality=Quality.ESTIMATE, reason="lower bound")
    rough = replace(card, device=replace(card.device, free_bytes=guess))
    hidden = Trouble(code="arguments-hidden", message="may not be read", hint="run as root")
    probes = ask(
        Server(),
        replace(
            machine,
            gpus=(replace(driver, devices=(rough,)),),
            processes=replace(machine.processes, troubles=(hidden,)),
        ),
    )
    assert "(estimate: lower bound)" in probes["card (GPU-1)"].detail
    assert probes["process table"].hint == "run as root"
