"""Traces on disk, and logs that become traces."""

import contextlib
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import ModelCost
from warmset.errors import TraceError
from warmset.shell.request_logs import read_log
from warmset.shell.trace_files import read_models, read_trace, write_models, write_trace

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda name: name.strip() == name
)
ROWS = st.lists(
    st.builds(
        Request,
        st.integers(0, 10**9).map(lambda ms: ms / 1000),
        NAMES,
        st.integers(0, 10**7).map(lambda ms: ms / 1000),
    ),
    max_size=30,
)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@given(rows=ROWS)
def test_a_trace_comes_back_as_it_was_written(tmp_path_factory, name: str, rows) -> None:
    """To the millisecond, whatever the names; and equal traces make equal files."""
    path = tmp_path_factory.getbasetemp() / name
    trace = Trace.of(rows)
    write_trace(path, trace)
    first = path.read_bytes()
    assert read_trace(path) == trace
    write_trace(path, trace)
    assert path.read_bytes() == first


def test_sizes_come_back_beside_a_trace(tmp_path: Path) -> None:
    """`NAME.models.json` has bytes and load seconds of each model; without it there is none."""
    path = tmp_path / "week.csv.gz"
    assert read_models(path) is None
    models = {"b:1": ModelCost(id="b:1", bytes=5, load_seconds=2.5)}
    write_models(path, models)
    assert read_models(path) == models
    assert (tmp_path / "week.models.json").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ('{"models": {"a": {"bytes": 0, "load_s": 1}}}', "a: bytes = 0"),
        ('{"models": {"a": {"bytes": 5, "load_s": -1}}}', "a: load_s = -1"),
        ('{"models": {"a": {"bytes": true, "load_s": 1}}}', "a: bytes = True"),
    ],
)
def test_wrong_sizes_are_named(tmp_path: Path, text: str, named: str) -> None:
    """The message has the file, the model and the value."""
    (tmp_path / "t.models.json").write_text(text)
    with pytest.raises(TraceError) as caught:
        read_models(tmp_path / "t.csv")
    assert named in caught.value.message
    assert "t.models.json" in caught.value.message


def test_an_empty_trace_is_called_empty(tmp_path: Path) -> None:
    """Not "columns ''"; and one that is not there is told without the system's number."""
    (tmp_path / "t.csv").write_text("\n")
    with pytest.raises(TraceError, match=r"is empty; a trace has the columns t,model,duration_s"):
        read_trace(tmp_path / "t.csv")
    with pytest.raises(TraceError, match=r"cannot be read as a trace: No such file or directory$"):
        read_trace(tmp_path / "none.csv")


def test_a_trace_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """Whole or not at all, and a name that is no trace's is refused."""
    path = tmp_path / "gone" / "t.csv"
    with pytest.raises(TraceError, match="cannot be written"):
        write_trace(path, Trace.of([]))
    with pytest.raises(TraceError, match=r"\.csv or \.csv\.gz"):
        write_trace(tmp_path / "t.txt", Trace.of([]))
    assert list(tmp_path.iterdir()) == []


def test_json_lines_name_model_and_moment(tmp_path: Path) -> None:
    """Unix seconds or ISO moments, in any order; durations where they are."""
    log = tmp_path / "gateway.jsonl"
    rows = [
        {"timestamp": "1970-01-01T00:01:00Z", "model": "b", "duration_s": 2, "user": "x"},
        {"at": 30.5, "model": "a"},
    ]
    log.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert [(row.at, row.model, row.seconds) for row in read_log(log)] == [
        (30.5, "a", None),
        (60.0, "b", 2),
    ]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("hello", ":2: is no JSON"),
        ("[1]", ":2: a JSON object"),
        ('{"at": 1}', ":2: model = None"),
        ('{"model": "a"}', ":2: at = None"),
        ('{"model": "a", "at": "noon"}', ":2: at = 'noon'"),
        ('{"model": "a", "at": 1, "duration_s": "long"}', ":2: duration = 'long'"),
        ('{"model": "a", "at": NaN}', ":2: at = nan"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, named: str) -> None:
    """With file, line and value."""
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"model": "a", "at": 1}}\n{line}\n')
    with pytest.raises(TraceError) as caught:
        read_log(log)
    assert named in caught.value.message


ACCESS = """\
time=2026-01-05T09:00:00.000Z level=INFO source=routes.go:1 msg="Listening"
[GIN] 2026/01/05 - 09:00:10 | 200 |  4.5s |       127.0.0.1 | POST     "/api/chat"
[GIN] 2026/01/05 - 09:00:11 | 200 |      61.124µs |       127.0.0.1 | GET      "/api/ps"
[GIN] 2026/01/05 - 09:00:12 | 404 |  1.2ms |       127.0.0.1 | POST     "/api/chat"
[GIN] 2026/01/05 - 09:01:10 | 200 |  1m2s |       127.0.0.1 | POST     "/v1/embeddings"
"""


def test_an_access_log_has_moments_and_no_model(tmp_path: Path) -> None:
    """It is refused until somebody names the model; then uses begin before their lines."""
    log = tmp_path / "ollama.log"
    log.write_text(ACCESS)
    with pytest.raises(TraceError, match="names no models"):
        read_log(log)
    rows = read_log(log, model="a")
    assert [row.seconds for row in rows] == [4.5, 62.0]
    assert rows[1].at - rows[0].at == pytest.approx(60.0 - 62.0 + 4.5)


@given(junk=st.binary(max_size=300), name=st.sampled_from(["x.log", "x.csv", "x.csv.gz"]))
def test_junk_is_refused_in_our_words(tmp_path_factory, junk: bytes, name: str) -> None:
    """Never a traceback."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(gzip.compress(junk) if name.endswith("gz") else junk)
    with contextlib.suppress(TraceError):
        read_log(path) if name == "x.log" else read_trace(path)
