"""What comes with warmset for systemd, Compose and Kubernetes: right in itself, safely written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from warmset.adapters.config import load_settings
from warmset.cli.app import app
from warmset.core.settings import Settings
from warmset.errors import ConfigError, NotConverged, Refused
from warmset.shell.assets import (
    BUNDLES,
    Change,
    find_bundle,
    plan_writing,
    read_asset,
    write_files,
)
from warmset.shell.telemetry.health import DEAD_AFTER_SECONDS
from warmset.shell.telemetry.web import check_listen

SHARE = Path(__file__).parents[2] / "src/warmset/share"
UNIT = dict(read_asset("systemd"))["warmset.service"]
COMPOSE = yaml.safe_load(dict(read_asset("compose"))["compose.yaml"])
OBJECTS = list(yaml.safe_load_all(dict(read_asset("kubernetes"))["warmset-daemonset.yaml"]))


def serves(arguments: list[str]) -> None:
    """Asserts that the command line understands these words of `warmset`."""
    command = typer.main.get_command(app)
    with command.make_context("warmset", list(arguments), resilient_parsing=True) as context:
        name, verb, rest = command.resolve_command(context, list(arguments))
        assert (name, verb is not None) == ("serve", True)
        assert verb is not None
        assert verb.make_context(name, rest, parent=context).params["listen"]


def loaded(text: str, folder: Path) -> Settings:
    """Returns what a budgets.toml says."""
    (folder / "b.toml").write_text(text)
    return load_settings(config=str(folder / "b.toml"))


def test_every_file_of_the_share_is_in_a_bundle() -> None:
    """Nothing lies in the package that nobody can write out."""
    there = {str(p.relative_to(SHARE)) for p in SHARE.rglob("*") if p.is_file()}
    assert {place for b in BUNDLES for place in b.files.values()} == there
    for bundle in BUNDLES:
        for name, text in read_asset(bundle.name):
            assert not re.search(r"@(WARMSET|VERSION)@", text), name


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    """The second time everything is unchanged; what was edited stops the whole bundle."""
    bundle = find_bundle("compose")
    write_files(plan_writing(bundle, tmp_path / "new"), is_forced=False)
    again = plan_writing(bundle, tmp_path / "new")
    assert {one.change for one in again} == {Change.SAME}
    edited = tmp_path / "new/compose.yaml"
    edited.write_text("mine")
    (tmp_path / "new/prometheus.yml").unlink()
    with pytest.raises(Refused, match="compose.yaml"):
        write_files(plan_writing(bundle, tmp_path / "new"), is_forced=False)
    assert edited.read_text() == "mine"
    assert not (tmp_path / "new/prometheus.yml").exists()
    write_files(plan_writing(bundle, tmp_path / "new"), is_forced=True)
    assert yaml.safe_load(edited.read_text()) == COMPOSE


def test_the_operators_budgets_are_never_overwritten(tmp_path: Path) -> None:
    """An edited budgets.toml is kept, by force too."""
    bundle = find_bundle("compose")
    write_files(plan_writing(bundle, tmp_path), is_forced=False)
    (tmp_path / "budgets.toml").write_text("# mine\n")
    plan = plan_writing(bundle, tmp_path)
    assert [w.change for w in plan if w.path.name == "budgets.toml"] == [Change.KEPT]
    write_files(plan, is_forced=True)
    assert (tmp_path / "budgets.toml").read_text() == "# mine\n"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The error names the file, and no draft is left behind."""
    (tmp_path / "file").write_text("")
    with pytest.raises((NotConverged, ConfigError), match="file"):
        write_files(plan_writing(find_bundle("grafana"), tmp_path / "file"), is_forced=False)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(ConfigError) as caught:
        find_bundle("helm")
    assert "kubernetes" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        list(read_asset("compose/nothing"))
    assert "Containerfile" in caught.value.hint
    assert [name for name, _ in read_asset("compose/Containerfile")] == ["Containerfile"]


def test_the_command_shows_before_it_writes(tmp_path: Path) -> None:
    """`--dry-run` names file and fate and writes nothing; without it the file is there."""
    words = [sys.executable, "-m", "warmset", "assets", "write", "systemd", "--to", str(tmp_path)]
    for extra in (["--dry-run"], []):
        done = subprocess.run(
            [*words, *extra], capture_output=True, text=True, check=True, env={**os.environ}
        )
        assert f"{tmp_path}/warmset.service" in done.stdout
        assert "new" in done.stdout
        assert "systemctl daemon-reload" in done.stderr
        assert (tmp_path / "warmset.service").exists() == (not extra)


def test_the_unit_has_what_a_service_needs() -> None:
    """Notify, a watchdog as patient as /healthz, no device but GPUs, and no key twice."""
    lines = [line.partition("=") for line in UNIT.splitlines() if "=" in line and line[0] != "#"]
    values = {key: value for key, _, value in lines}
    assert values["Type"] == "notify"
    assert float(values["WatchdogSec"]) == DEAD_AFTER_SECONDS
    assert values["Restart"] == "on-failure"
    assert values["WantedBy"] == "multi-user.target"
    assert values["DevicePolicy"] == "closed"
    assert values["CapabilityBoundingSet"] == ""
    assert "PrivateDevices" not in values
    assert "ProcSubset" not in values
    many = {"DeviceAllow", "SystemCallFilter"}
    keys = [key for key, _, _ in lines if key not in many]
    assert len(keys) == len(set(keys))


SANDBOX = {
    "DynamicUser": "yes",
    "StateDirectoryMode": "0700",
    "UMask": "0027",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RemoveIPC": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "DevicePolicy": "closed",
    "MemoryMax": "1G",
    "TasksMax": "128",
}
"""What the service may not do, word by word: each lowers what systemd calls its exposure."""


def test_the_sandbox_is_whole_also_where_no_systemd_can_judge_it() -> None:
    """Every restriction stands in the unit, in `[Service]`, with nothing that takes it back: no
    second value, no user of another's, and calls are allowed by one list and forbidden by one."""
    service = UNIT.partition("[Service]")[2].partition("[Install]")[0]
    lines = [line.partition("=") for line in service.splitlines() if line[:1].isalpha()]
    said: dict[str, list[str]] = {}
    for key, _, value in lines:
        said.setdefault(key, []).append(value)
    assert {key: said.get(key) for key in SANDBOX} == {k: [v] for k, v in SANDBOX.items()}
    assert said["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert not {"User", "Group", "SupplementaryGroups", "PrivateUsers", "Delegate"} & set(said)
    assert not [
        key for key in said if key.startswith(("ReadWritePaths", "BindPaths", "ExecStartP"))
    ]
    for device in said["DeviceAllow"]:
        assert device.endswith(" rw")
        assert device.startswith(("/dev/nvidiactl", "char-nvidia", "char-drm", "/dev/kfd"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """`verify` is silent, and `security` calls the exposure low."""
    path = tmp_path / "warmset.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT, flags=re.MULTILINE))
    (tmp_path / "ollama.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert "warmset" not in done.stderr, done.stderr
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_PAGER": ""},
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges running services only")
    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_whole(tmp_path: Path) -> None:
    """Everything comes back after a reboot, nothing is published beyond loopback, every mounted
    file comes with it, and every volume is declared."""
    files = set(find_bundle("compose").files)
    for name, service in COMPOSE["services"].items():
        assert service["restart"] == "unless-stopped", name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            known = files if source.startswith("./") else COMPOSE["volumes"]
            assert source.removeprefix("./") in known, mount
    warmset = COMPOSE["services"]["warmset"]
    assert warmset["network_mode"] == "service:ollama"
    serves(warmset["command"])
    loaded(dict(read_asset("compose"))["budgets.toml"], tmp_path)
    scrape = yaml.safe_load(dict(read_asset("compose"))["prometheus.yml"])
    target = scrape["scrape_configs"][0]["static_configs"][0]["targets"][0]
    assert target.rpartition(":")[2] == warmset["command"][2].rpartition(":")[2]
    containerfile = dict(read_asset("compose"))["Containerfile"]
    assert re.search(r"^USER 10001$", containerfile, re.MULTILINE)


def _compose() -> list[str] | None:
    """Returns the Compose command of this machine: the plugin, or the older program."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) is None:
            continue
        done = subprocess.run([*words, "version"], capture_output=True, check=False)
        if done.returncode == 0:
            return words
    return None


@pytest.mark.skipif(_compose() is None, reason="no docker compose here")
def test_compose_itself_understands_the_file(tmp_path: Path) -> None:
    """`config` knows every key, and finds four services."""
    write_files(plan_writing(find_bundle("compose"), tmp_path), is_forced=False)
    done = subprocess.run(
        [*(_compose() or ()), "config", "--services"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"ollama", "warmset", "prometheus", "grafana"}


def test_the_kubernetes_objects_fit_together(tmp_path: Path) -> None:
    """Selectors find their pods, probes their ports, mounts their volumes; the budgets load."""
    kinds = {each["kind"]: each for each in OBJECTS}
    assert set(kinds) == {"Namespace", "ConfigMap", "DaemonSet"}
    spec = kinds["DaemonSet"]["spec"]
    template = spec["template"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    pod = template["spec"]
    assert pod["shareProcessNamespace"] is True
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        ports = {port["name"] for port in container["ports"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for probe in ("livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports
    warmset = next(c for c in pod["containers"] if c["name"] == "warmset")
    serves(warmset["args"])
    assert warmset["securityContext"]["runAsNonRoot"] is True
    settings = loaded(kinds["ConfigMap"]["data"]["budgets.toml"], tmp_path)
    check_listen(settings)
