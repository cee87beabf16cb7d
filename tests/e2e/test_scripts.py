"""The set-up scripts say in words what is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "dirname", "cat", "cksum", "head", "sed", "tee", "tail", "grep", "id")


def checkout(tmp_path: Path) -> Path:
    """Returns a copy of what the set-up scripts need, with a PATH of bare tools beside it."""
    for name in ("scripts", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def run(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("bash") or "bash", *command],
        cwd=folder,
        env={"PATH": str(folder / "bin"), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def fake_python(folder: Path, body: str) -> None:
    path = folder / "bin" / "python3"
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    """The version found and the way to name another are both told."""
    folder = checkout(tmp_path)
    (folder / "bin" / "env").symlink_to("/usr/bin/env")
    fake_python(folder, '[ "$1" = -V ] && echo Python 3.9.2; exit 1')
    done = run(folder, "scripts/demo")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; found: python3 (Python 3.9.2)" in done.stderr
    assert "PYTHON=" in done.stderr


def test_no_python_at_all_is_told(tmp_path: Path) -> None:
    """An empty machine gets the same answer, not a shell's."""
    done = run(checkout(tmp_path), "scripts/test")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; found: none" in done.stderr


def test_a_python_without_venv_and_pip_is_told(tmp_path: Path) -> None:
    """Debian's bare python3 can do neither; the packages that help are named."""
    folder = checkout(tmp_path)
    (folder / "bin" / "env").symlink_to("/usr/bin/env")
    fake_python(
        folder, 'case "$1" in -c) [[ $2 == *version_info* ]];; -V) echo new;; *) exit 1;; esac'
    )
    done = run(folder, "scripts/demo")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr


def test_no_network_is_told_as_such(tmp_path: Path) -> None:
    """An index that cannot be reached is named as the cause, not buried in pip's output."""
    folder = checkout(tmp_path)
    done = subprocess.run(
        [shutil.which("bash") or "bash", "scripts/demo"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHON": sys.executable,
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr
    assert "check the network" in done.stderr


def test_checks_without_an_environment_say_what_to_run(tmp_path: Path) -> None:
    """`scripts/check` installs nothing, and points to the script that does."""
    done = run(checkout(tmp_path), "scripts/check")
    assert done.returncode == 1
    assert "scripts/test" in done.stderr


def test_every_script_can_be_run() -> None:
    """Scripts are executable and say on their first line how; `.py` files are for import."""
    for path in [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run"]:
        if path.is_file() and not path.suffix:
            assert os.access(path, os.X_OK), path
            assert path.read_text(encoding="utf-8").startswith("#!"), path


def test_the_lock_is_plain_and_covers_what_the_project_names() -> None:
    """Names and versions only, no address of an index; each dependency has its pin."""
    import re
    import tomllib

    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    assert {re.split(r"[<>=!~\[; ]", name)[0].lower() for name in named} <= pinned
