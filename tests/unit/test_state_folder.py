"""Where state is kept, the operator's orders in it, and the lock of one host."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.config.locate import search_path
from warmset.adapters.journal import (
    EventRow,
    Journal,
    Orders,
    OrdersFile,
    host_key,
    make_folder,
    state_folder,
)
from warmset.adapters.ollama.names import default_folder
from warmset.errors import ConfigError, Refused
from warmset.shell.lessons import Lessons
from warmset.shell.lock import Holder, find_holder, take_lock

ME = Holder(pid=os.getpid(), since=1000.0, verb="serve", config="/etc/warmset/budgets.toml")


def test_every_spelling_of_loopback_is_one_host() -> None:
    """A second warmset by another name of the same server meets the first one's lock."""
    urls = ("http://127.0.0.1:11434", "http://localhost:11434", "http://[::1]:11434/")
    assert len({host_key(url) for url in urls}) == 1
    assert host_key("http://127.0.0.1:11434") != host_key("http://127.0.0.1:11435")
    assert host_key("http://a:1/x") != host_key("http://a:1/y")


@given(st.from_regex(r"http://[a-z0-9.-]{1,80}:[1-5]?[0-9]{1,4}(/[a-z/.]{0,40})?", fullmatch=True))
def test_a_host_has_one_plain_folder(url: str) -> None:
    """Whatever the address, the folder is one step below the state folder, with a plain name."""
    folder = state_folder({"STATE_DIRECTORY": "/var/lib/warmset"}, url)
    assert folder.parent == Path("/var/lib/warmset")
    assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert not folder.name.startswith(".")


def test_systemd_comes_before_the_variable_and_the_home() -> None:
    """`$STATE_DIRECTORY`, then `$WARMSET_STATE`, then the user's state folder."""
    url = "http://h:1"
    both = {"STATE_DIRECTORY": "/a:/b", "WARMSET_STATE": "/c"}
    assert state_folder(both, url).parent == Path("/a")
    assert state_folder({"WARMSET_STATE": "/c"}, url).parent == Path("/c")
    assert state_folder({}, url).is_absolute()
    with pytest.raises(ConfigError, match="absolute"):
        state_folder({"WARMSET_STATE": "here"}, url)


def test_the_folder_is_ours_alone(tmp_path: Path) -> None:
    """Mode 0700; one that cannot be made is a configuration error."""
    folder = make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert make_folder(folder) == folder
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state folder"):
        make_folder(tmp_path / "file" / "x")


def test_orders_are_kept_until_they_run_out(tmp_path: Path) -> None:
    """Pins stay, holds and rests end at their moment; names are normalised."""
    file = OrdersFile(tmp_path)
    assert file.read() == Orders()
    wanted = Orders(pins={"a:latest": False}, holds={"b:latest": 50.0}, rests={"c:latest": 10.0})
    file.change(lambda _: wanted, now=5.0)
    assert OrdersFile(tmp_path).read() == wanted
    assert wanted.without_past(20.0).rests == {}
    (tmp_path / "orders.json").write_text('{"schema_version": 1, "pins": {"LLAMA": true}}')
    assert file.read().pins == {"llama:latest": True}
    assert stat.S_IMODE((tmp_path / "orders.json").stat().st_mode) & 0o077 in (0, 0o044)


def test_two_commands_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each change is made to what the other one wrote."""

    def order(n: int) -> None:
        OrdersFile(tmp_path).change(
            lambda before: Orders(pins={**before.pins, f"m{n}:latest": True}), now=0.0
        )

    threads = [threading.Thread(target=order, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(OrdersFile(tmp_path).read().pins) == 20
    assert stat.S_IMODE((tmp_path / "orders.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema_version": 2}',
        '{"schema_version": 1, "pins": []}',
        '{"schema_version": 1, "pins": {"a": 1}}',
        '{"schema_version": 1, "holds": {"a": "soon"}}',
        '{"schema_version": 1, "rests": {"a": NaN}}',
        '{"schema_version": 1, "rests": {"a": true}}',
        " " * (2 << 20),
    ],
)
def test_a_damaged_file_orders_nothing_and_is_told(tmp_path: Path, text: str) -> None:
    """What cannot be read is no order; the next order replaces it."""
    (tmp_path / "orders.json").write_text(text)
    file = OrdersFile(tmp_path)
    assert file.read() == Orders()
    assert "orders.json" in file.trouble
    file.change(lambda orders: Orders(pins={**orders.pins, "a:latest": True}), now=0.0)
    assert (file.read().pins, file.trouble) == ({"a:latest": True}, "")


def test_orders_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    """The operator must not believe in an order that nobody will see."""
    with pytest.raises(ConfigError, match="cannot be written"):
        OrdersFile(tmp_path / "missing").change(lambda o: o, now=0.0)


def test_the_holder_is_named(tmp_path: Path) -> None:
    """Who, which verb, since when; and after the end there is nobody."""
    assert find_holder(tmp_path) is None
    with take_lock(tmp_path, ME):
        assert find_holder(tmp_path) == ME
        with pytest.raises(Refused, match=rf"`warmset serve`, process {ME.pid}, since 1970-01-01"):
            take_lock(tmp_path, ME, wait_seconds=0.1)
    assert find_holder(tmp_path) is None
    take_lock(tmp_path, ME).release()
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    """Whoever comes while the holder ends gets it as soon as it is free."""
    first = take_lock(tmp_path, ME)
    threading.Timer(0.15, first.release).start()
    with take_lock(tmp_path, ME, wait_seconds=5.0):
        assert find_holder(tmp_path) is not None


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    """A killed process holds nothing, whatever its file says."""
    program = (
        "import sys,time;from pathlib import Path;from warmset.shell.lock import *;"
        "take_lock(Path(sys.argv[1]),Holder(pid=1,since=1.0,verb='serve'));"
        "print('held',flush=True);time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(Refused):
        take_lock(tmp_path, ME)
    other.kill()
    other.wait()
    other.stdout.close()
    assert json.loads((tmp_path / "lock").read_text())["pid"] == 1
    assert find_holder(tmp_path) is None
    take_lock(tmp_path, ME).release()


def test_a_lock_file_that_says_nothing_still_locks(tmp_path: Path) -> None:
    """Between the lock and its text nobody is named, and still nobody gets in."""
    with take_lock(tmp_path, ME):
        (tmp_path / "lock").write_text("")
        found = find_holder(tmp_path)
        assert found is not None
        assert found.pid == 0
    with pytest.raises(ConfigError, match="lock"):
        take_lock(tmp_path / "missing", ME)


def test_an_account_without_a_home_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under systemd's DynamicUser, or a container's bare user ID: defaults that lie in a home
    are left out, and only what must be kept asks for a folder."""

    def find_nobody(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", find_nobody)
    assert Path("/etc/warmset/budgets.toml") in search_path(look_here=False)
    assert default_folder({}) is None
    with pytest.raises(ConfigError, match="not an absolute path") as caught:
        state_folder({}, "http://h:1")
    assert "WARMSET_STATE" in caught.value.hint
    assert state_folder({"STATE_DIRECTORY": "/a"}, "http://h:1").parent == Path("/a")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT checked: only root has files to give away")
def test_what_root_leaves_in_the_services_folder_is_the_services(tmp_path: Path) -> None:
    """`sudo warmset hold` beside a service with a user of its own: orders, lock, journal and
    observed loads belong to that user, the files beside them too; links are not followed."""
    service = 54321
    tmp_path.chmod(0o755)
    os.chown(tmp_path, service, service)
    folder = make_folder(tmp_path / "host")
    OrdersFile(folder).change(lambda _: Orders(pins={"a:latest": True}), now=0.0)
    journal = Journal(folder)
    journal.record_events([EventRow(at=1.0, kind="held", name="a:latest", text="held")])
    lock = take_lock(folder, ME)
    lessons = Lessons(folder / "observations.sqlite3")
    lessons._open(folder / "observations.sqlite3").loads()
    found = {path.name: path.stat().st_uid for path in (folder, *folder.iterdir())}
    journal.close()
    lessons.close()
    lock.release()
    assert {"orders.json", "lock", "journal.sqlite3-wal", "observations.sqlite3"} <= set(found)
    assert set(found.values()) == {service}, found
    (tmp_path / "secret").write_text("root's")
    (folder / "lock").unlink()
    (folder / "lock").hardlink_to(tmp_path / "secret")
    take_lock(folder, ME).release()
    assert (tmp_path / "secret").stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT checked: only root can become another user")
def test_a_state_folder_that_may_not_be_searched_holds_nothing(tmp_path: Path) -> None:
    """Whoever looks at a service's host without `sudo` gets a plan, and no internal error."""
    tmp_path.chmod(0o700)
    program = (
        "import os, sys; from pathlib import Path; from warmset.shell.lessons import learn_demand;"
        "os.setuid(54321); learn_demand(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "host")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
