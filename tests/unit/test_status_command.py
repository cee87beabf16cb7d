"""`status` and `doctor` in this process: forms, watches, remarks, exit codes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from warmset.adapters.drm import DrmProbe
from warmset.cli.app import main
from warmset.core.host.readings import GpuSurvey, Severity, Trouble
from warmset.core.model import Resident, ServerSettings
from warmset.errors import Unreachable
from warmset.shell import doctor_machine, local, observe, watch, wiring
from warmset.shell.doctor_probe import Health
from warmset.shell.local import LocalHost

TWIN = "twin://workstation?hours=3&seed=5"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs a verb against the twin; returns its exit code and what it wrote."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--host", TWIN])
    said = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


def stop_after(monkeypatch: pytest.MonkeyPatch, looks: int) -> list[float]:
    """Lets a watch end with Ctrl-C after so many looks; returns the waits."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == looks:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    return waits


def test_the_forms_of_status(capsys: pytest.CaptureFixture[str]) -> None:
    """The table is short, wide has every reading, names are names, remarks go to stderr."""
    code, text, remarks = run(capsys, "status")
    assert (code, text.splitlines()[0].split()[:2]) == (0, ["GPU", "DEVICE"])
    assert "READING" not in text
    assert "a twin" in remarks
    wide = run(capsys, "status", "-o", "wide")[1]
    assert "RAM available to it" in wide
    assert run(capsys, "status", "-o", "name")[1].split() == [
        "llama3.2:3b",
        "nomic-embed-text:latest",
    ]
    document = json.loads(run(capsys, "ps", "-o", "json")[1])
    for resident in document["residents"]:
        assert resident["observed_bytes"]["value"] > 0


def test_a_watch_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON object a line; the twin's time passes with ours; Ctrl-C ends with 130."""
    waits = stop_after(monkeypatch, 3)
    code, text, _ = run(capsys, "status", "--watch", "30", "-o", "json")
    assert (code, waits) == (130, [30.0, 30.0, 30.0])
    moments = [json.loads(line)["at"] for line in text.splitlines()]
    assert [after - moments[0] for after in moments] == [0.0, 30.0, 60.0]


def test_a_watch_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe looks follow each other and remarks are not repeated; a screen is redrawn."""
    waits = stop_after(monkeypatch, 2)
    _, text, remarks = run(capsys, "status", "-w")
    assert waits == [2.0, 2.0]
    assert [line for line in text.splitlines() if line.startswith("at ")] == [
        "at 12:00:00 UTC",
        "at 12:00:02 UTC",
    ]
    assert remarks.count("is a twin") == 1
    stop_after(monkeypatch, 1)
    assert run(capsys, "status", "--watch", "-o", "name")[1].split()[0] == "llama3.2:3b"
    stop_after(monkeypatch, 2)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(capsys, "status", "--watch")[1].count("\x1b[H\x1b[2J") == 2


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_watch_tells_of_a_server_that_went(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The error is a line of its own, and the next look follows."""
    stop_after(monkeypatch, 3)
    seen, calls = observe.see, []

    def see(*arguments, **keys):
        calls.append(1)
        if len(calls) == 2:
            raise Unreachable("no connection", hint="start it")
        return seen(*arguments, **keys)

    monkeypatch.setattr(watch, "see", see)
    code, text, remarks = run(capsys, "status", "--watch", "-o", form)
    assert code == 130
    assert "no connection" in remarks
    if form == "json":
        documents = [json.loads(line) for line in text.splitlines()]
        assert documents[1]["error"] == {"message": "no connection", "hint": "start it"}
        assert "residents" in documents[2]
    else:
        assert text.count("at 12:00:0") == 2


def test_an_interval_needs_a_watch(capsys: pytest.CaptureFixture[str]) -> None:
    """A stray number is a usage error that names the switch; too short an interval is one too."""
    code, _, talk = run(capsys, "status", "5")
    assert (code, "--watch" in talk) == (2, True)
    assert run(capsys, "status", "--watch", "0")[0] == 2


def changed_twin(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Lets the twin's survey be another one."""
    connect = wiring.connect

    def connect_changed(*arguments, **keys):
        made = connect(*arguments, **keys)
        return replace(made, survey=lambda: change(made.survey()))

    monkeypatch.setattr(wiring, "connect", connect_changed)


def test_troubles_are_told_by_their_weight(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors and warnings stand on stderr with their hints, trifles only with `-o wide`."""
    troubles = (
        Trouble(code="a", message="driver updated", hint="reboot", severity=Severity.ERROR),
        Trouble(code="b", message="a trifle", severity=Severity.INFO),
    )
    changed_twin(
        monkeypatch,
        lambda survey: replace(survey, gpus=(replace(survey.gpus[0], troubles=troubles),)),
    )
    remarks = run(capsys, "status")[2]
    assert "error: driver updated (reboot)" in remarks
    assert "trifle" not in remarks
    assert "info: a trifle" in run(capsys, "status", "-o", "wide")[2]
    code, text, _ = run(capsys, "doctor")
    assert (code, "reboot" in text) == (6, True)


def test_unknown_lists_and_empty_hosts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing resident and nothing known are two different sentences."""
    for rows, words in (((), "no model is resident; 6 installed"), (None, "models: unknown")):
        monkeypatch.setattr(observe, "_residents", lambda *_, rows=rows: (rows, ()))
        assert words in run(capsys, "status")[1]


def test_rows_that_lack_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resident of which nothing is known is shown as unknown, in words."""
    bare = Resident(
        name="ghost:1b",
        manifest_digest="",
        key=None,
        size_bytes=None,
        size_vram_bytes=None,
        context=None,
        expires_at=None,
    )
    split = replace(
        bare, name="split:1b", size_bytes=100, size_vram_bytes=25, expires_at=float("inf")
    )
    cold = replace(bare, name="cold:1b", size_bytes=100, size_vram_bytes=0, expires_at=1.0)
    monkeypatch.setattr(observe, "_residents", lambda *_: ((bare, split, cold), ()))
    text = run(capsys, "status")[1]
    assert "75%/25% CPU/GPU" in text
    assert "100% CPU" in text
    assert "forever" in text
    assert "in use or stopping" in text
    (ghost,) = [line for line in text.splitlines() if line.startswith("ghost:1b")]
    assert ghost.count("unknown") == 4


def test_the_forms_of_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    """A sound twin ends with 0; what is not well is named with `-o name`."""
    code, text, _ = run(capsys, "doctor")
    assert code == 0
    assert text.startswith("RESULT")
    document = json.loads(run(capsys, "doctor", "--json")[1])
    assert document["ok"] is True
    assert {probe["area"] for probe in document["probes"]} >= {"server", "gpu", "settings"}
    assert run(capsys, "doctor", "-o", "name")[1] == ""


def test_the_doctor_finds_pins_that_may_not_be_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """More pins than the server loads is a failure with the number to set."""
    (tmp_path / "budgets.toml").write_text(
        '[model."llama3.1:8b"]\npin = true\n[model."qwen2.5:14b"]\npin = true\n'
    )
    changed_twin(
        monkeypatch,
        lambda survey: replace(survey, settings=ServerSettings(max_loaded_models=1)),
    )
    code, text, _ = run(capsys, "doctor")
    assert code == 6
    assert "OLLAMA_MAX_LOADED_MODELS=3" in text


def test_this_machine_can_be_looked_at() -> None:
    """Whatever it is: RAM is read, the probes stay open for the next look, and close."""
    here = LocalHost(11434)
    first, second = here.survey(), here.survey()
    here.close()
    here.close()
    assert first.memory.memory.total_bytes.value == second.memory.memory.total_bytes.value
    assert first.is_own_address
    assert first.system == "linux"


def test_a_card_of_two_drivers_is_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """What NVML has told is not told again by its PCI slot."""
    card = SimpleNamespace(
        device=SimpleNamespace(pci_id="0000:01:00.0"), processes=SimpleNamespace(value=None)
    )
    other = SimpleNamespace(
        device=SimpleNamespace(pci_id="0000:02:00.0"), processes=SimpleNamespace(value=None)
    )
    here = LocalHost(11434)
    here._open()
    monkeypatch.setattr(here._nvml, "survey", lambda: GpuSurvey(source="nvml", devices=(card,)))
    monkeypatch.setattr(
        DrmProbe, "survey", lambda _: GpuSurvey(source="drm", devices=(card, other))
    )
    assert [len(survey.devices) for survey in here._survey_gpus()] == [1, 1]


def test_a_mac_has_one_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """There NVML and sysfs are not asked at all."""
    monkeypatch.setattr(local.sys, "platform", "darwin")
    here = LocalHost(11434)
    here._open()
    assert [survey.source for survey in here._survey_gpus()] == ["sysctl"]
    assert here._nvml is None


def test_device_files_in_the_doctors_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed file is a warning with the group to join, or with its mode as the cause."""
    from warmset.adapters import permissions

    closed = permissions.ClosedDevice(path="/dev/kfd", group="render", is_member=False)
    monkeypatch.setattr(permissions, "find_device_files", lambda: (Path("/dev/kfd"),))
    monkeypatch.setattr(permissions, "find_closed", lambda: (closed,))
    (probe,) = doctor_machine._device_files()
    assert (probe.health, probe.name) == (Health.WARN, "/dev/kfd")
    assert "-aG render" in probe.hint
    monkeypatch.setattr(permissions, "find_closed", lambda: (replace(closed, is_member=True),))
    (probe,) = doctor_machine._device_files()
    assert "mode" in probe.hint
    monkeypatch.setattr(permissions, "find_closed", tuple)
    (probe,) = doctor_machine._device_files()
    assert (probe.health, probe.detail) == (Health.OK, "1 found, all may be opened")
