"""Files that mean harm: journals of unknown origin, pipes and links where files should be."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from warmset.adapters.budgets_edit import set_pin
from warmset.adapters.config import load_settings
from warmset.adapters.journal import (
    DecisionRow,
    Journal,
    Orders,
    OrdersFile,
    open_file_for_reading,
    open_state,
)
from warmset.adapters.journal.reading import MAX_BODY_BYTES
from warmset.adapters.observations import read_loads
from warmset.adapters.webhook import post
from warmset.bounded import read_bounded
from warmset.cli.commands.config import describe
from warmset.core.model import Entry, HostMemory, ModelKey, Observation, Resident, unknown
from warmset.errors import ConfigError, TraceError
from warmset.shell.lock import find_holder
from warmset.shell.recorded import open_span
from warmset.shell.request_logs import read_log
from warmset.shell.saved_plan import load_plan
from warmset.shell.starter import write_starter
from warmset.shell.trace_files import read_models, read_trace


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A sound journal with one decision."""
    folder = tmp_path / "host"
    folder.mkdir(mode=0o700)
    written = Journal(folder)
    written.record_decision(DecisionRow(at=1.0, digest="d", body={"now": 1.0}, parts={}), ())
    written.close()
    return folder / "journal.sqlite3"


def bomb() -> bytes:
    """A few kilobytes that unpack to more than any decision."""
    packing = zlib.compressobj(9)
    mebibyte = b" " * (1 << 20)
    parts = [packing.compress(mebibyte) for _ in range((MAX_BODY_BYTES >> 20) + 2)]
    return b"".join((*parts, packing.flush()))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (bomb, "larger than 64 MiB"),
        (lambda: zlib.compress(b"[" * 200_000), "recursion"),
        (lambda: zlib.compress(b'{"a":' * 200_000), "recursion"),
        (lambda: zlib.compress(b"{}" * 1000)[:-5], "cut off"),
        (lambda: b"no zlib at all", "incorrect header"),
        (lambda: "a text", "bytes-like"),
    ],
    ids=["bomb", "lists", "tables", "cut off", "no zlib", "a text"],
)
def test_a_body_that_means_harm_is_not_read(
    journal: Path, body: Callable[[], object], words: str
) -> None:
    """It is told with its number, and the command goes on with the others."""
    with closing(sqlite3.connect(journal)) as database:
        database.execute("UPDATE decisions SET body = ?", (body(),))
        database.commit()
    span = open_span(journal)
    assert list(span) == []
    (told,) = span.unreadable
    assert told.startswith("decision 1: ")
    assert words in told


COUNTS_FOR_EVER = """
ALTER TABLE decisions RENAME TO others;
CREATE VIEW decisions AS
    WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)
    SELECT x id, 0.0 at, 9e9 until, 1 repeats, '' digest, x'00' body, '{}' parts FROM c;
"""
MAKES_GIGABYTES = """
DROP TABLE loads;
CREATE TABLE loads (id INTEGER PRIMARY KEY, at GENERATED ALWAYS AS (zeroblob(1000000000)));
"""
DOES_MORE = "CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END;"


@pytest.mark.parametrize("sql", [COUNTS_FOR_EVER, MAKES_GIGABYTES, DOES_MORE])
def test_a_journal_that_computes_is_refused(journal: Path, sql: str) -> None:
    """A view may count for ever, and nothing could stop it: not even Ctrl-C."""
    with closing(sqlite3.connect(journal)) as database:
        database.executescript(sql)
    with pytest.raises(TraceError, match="other tables"):
        open_file_for_reading(journal)


def test_pipes_where_files_should_be_hold_nobody(tmp_path: Path) -> None:
    """Whoever opens a pipe waits for its other end; every reader and writer refuses it."""
    for name in ("journal.sqlite3", "orders.json", "lock", "observations.sqlite3"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(TraceError):
        open_file_for_reading(tmp_path / "journal.sqlite3")
    with pytest.raises(TraceError):
        open_span(tmp_path / "journal.sqlite3")
    orders = OrdersFile(tmp_path)
    assert orders.read() == Orders()
    assert "no plain file" in orders.trouble
    assert find_holder(tmp_path) is None
    assert read_loads(tmp_path / "observations.sqlite3") == ()
    with pytest.raises(OSError, match="no plain file"):
        os.close(open_state(tmp_path / "lock"))


def test_a_pipe_that_is_named_as_a_file_is_read_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`<(a command)` is such a pipe. One that nobody writes into, or that never ends, is refused
    by every reader, where a plain `open` would wait for ever."""
    monkeypatch.setattr("warmset.bounded.PIPE_SECONDS", 0.3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    readers: list[Callable[[], object]] = [
        lambda: load_settings(config=str(pipe)),
        lambda: load_plan(pipe),
        lambda: read_trace(pipe),
        lambda: read_log(pipe),
        lambda: post("http://127.0.0.1:1/", {}, token_file=str(pipe)),
        lambda: open_span(pipe),
        lambda: set_pin(pipe, ["a:1"], pin=True, check=lambda _: None),
    ]
    for read in readers:
        with pytest.raises((ConfigError, TraceError), match=r"pipe: |not ended|no plain file"):
            read()
    keeper = os.open(pipe, os.O_RDWR)  # a writer that has nothing more to say
    os.write(keeper, b"[policy]")
    with pytest.raises(ConfigError, match="not ended within"):
        load_settings(config=str(pipe))
    os.close(keeper)
    words = b'[model."llama3.2:3b"]\n' + b"#" * 200_000  # more than a pipe holds
    writer = threading.Thread(target=pipe.write_bytes, args=(words,))
    writer.start()
    assert "llama3.2:3b" in load_settings(config=str(pipe)).models
    writer.join()


def test_a_strangers_words_in_the_current_folder_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stands in somebody else's folder has not chosen what lies there: it has to be named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUDO_UID", raising=False)
    file = tmp_path / "budgets.toml"
    file.write_text('[ollama]\nurl = "http://stranger:1"\n')
    assert load_settings().url == "http://stranger:1"
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="everybody may write it"):
        load_settings()
    file.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load_settings()
    assert load_settings(config="budgets.toml").url == "http://stranger:1"
    assert load_settings(look_here=False).url != "http://stranger:1"
    monkeypatch.setenv("SUDO_UID", str(file.stat().st_uid))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load_settings().url == "http://stranger:1"
    file.rename(tmp_path / "own.toml")
    monkeypatch.delenv("SUDO_UID")
    file.symlink_to("/nowhere")
    assert load_settings().url != "http://stranger:1"


def test_orders_behind_a_link_are_not_taken(tmp_path: Path) -> None:
    """What the link points at stays as it is when an order is given."""
    victim = tmp_path / "victim"
    victim.write_text(json.dumps({"schema_version": 1, "pins": {"a:1": True}}))
    before = victim.read_text()
    (tmp_path / "orders.json").symlink_to(victim)
    orders = OrdersFile(tmp_path)
    assert orders.read() == Orders()
    assert orders.trouble
    orders.change(lambda o: Orders(pins={**o.pins, "b:1": True}), now=0.0)
    assert victim.read_text() == before
    assert orders.read().pins == {"b:1": True}


EVIL_NAMES = ("<img src=x>:1", 'a"]\npin = true\n[model."b:1', "[b] c:1", "", "plain:1")


def test_a_first_file_leaves_out_what_no_model_can_be_called(tmp_path: Path) -> None:
    """Names of a server that means harm neither add keys nor keep `init` from the others."""
    entries = tuple(
        Entry(
            key=ModelKey(f"sha256:{number:064x}"),
            names=(name,),
            manifest_digests={},
            file_bytes=1,
        )
        for number, name in enumerate(EVIL_NAMES)
    )
    nothing = unknown("none", "not asked")
    seen = Observation(
        at=0.0,
        server_url="http://127.0.0.1:1",
        is_local=False,
        version="1\n[model.x]",
        entries=entries,
        residents=tuple(
            Resident(
                name=entry.names[0],
                manifest_digest="",
                key=entry.key,
                size_bytes=1,
                size_vram_bytes=0,
                context=None,
                expires_at=None,
            )
            for entry in entries
        ),
        devices=(),
        memory=HostMemory(total_bytes=nothing, available_bytes=nothing),
    )
    file = tmp_path / "budgets.toml"
    file.write_text(write_starter(seen, "http://127.0.0.1:1"))
    assert list(load_settings(config=str(file)).models) == ["plain:1"]
    assert file.read_text().count("no model can have this name") == len(EVIL_NAMES) - 1


def test_a_password_in_an_address_is_shown_nowhere(tmp_path: Path) -> None:
    """Such an address is refused when it is used; until then `config show` hides it."""
    file = tmp_path / "budgets.toml"
    file.write_text('[ollama]\nurl = "http://user:s3cret@127.0.0.1:9"\n')
    told = " ".join(line.text for line in describe(load_settings(config=str(file))))
    assert "s3cret" not in told
    assert "127.0.0.1:9" in told


def test_files_without_an_end_fill_no_memory() -> None:
    """A device says that it is empty, and goes on for ever: plans, logs and tokens are bounded."""
    zero = Path("/dev/zero")
    with pytest.raises(ConfigError, match="larger than any plan"):
        load_plan(zero)
    with pytest.raises(ConfigError, match="one token"):
        post("http://127.0.0.1:1/", {}, token_file=str(zero))
    assert len(read_bounded(zero, limit_bytes=100)) == 101


def test_costs_beside_a_trace_may_be_nonsense(tmp_path: Path) -> None:
    """Nesting without end is an error of the file, as any other."""
    (tmp_path / "a.models.json").write_text("[" * 200_000)
    with pytest.raises(TraceError, match=r"a\.models\.json"):
        read_models(tmp_path / "a.csv")
