"""Twin hosts and traces come from files, and wrong files are named by line and value."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.units import GIB
from warmset.errors import ConfigError, TraceError, WarmsetError
from warmset.shell.twin_files import deal_trace, find_demand, find_host

HOST = """
ram = "64GiB"
[gpu.0]
name = "RTX 3090"
memory = "24GiB"
count = 2
foreign = "1GiB"
[env]
OLLAMA_MAX_LOADED_MODELS = "4"
[model."qwen2.5:14b"]
[model."mine:7b"]
like = "llama3.1:8b"
file = "4.6GB"
"""
MODELS = ("a:1", "b:2")


def test_a_host_file_describes_cards_server_and_models(tmp_path: Path) -> None:
    """Counts, foreign bytes, environment, known and look-alike models all arrive."""
    path = tmp_path / "lab.toml"
    path.write_text(HOST)
    spec = find_host(str(path))
    assert spec.name == "lab"
    assert [gpu.device for gpu in spec.gpus] == ["CUDA:0", "CUDA:1"]
    assert spec.foreign_bytes == {"CUDA:0": GIB, "CUDA:1": GIB}
    assert spec.env.max_loaded_models == 4
    assert {m.name: m.weights.size_bytes for m in spec.models}["mine:7b"] == 4_600_000_000


@pytest.mark.parametrize(
    ("change", "into", "named"),
    [
        ('"24GiB"', '"24Gib"', "lab.toml:5: gpu.0.memory"),
        ("count = 2", "count = 0", "lab.toml:6: gpu.0.count"),
        ('ram = "64GiB"', "", "ram"),
        ("foreign", "foriegn", "foriegn"),
        ("[model", "[model", ""),
    ],
)
def test_a_wrong_host_file_is_named(tmp_path: Path, change: str, into: str, named: str) -> None:
    """The message has the file, the line and the key."""
    path = tmp_path / "lab.toml"
    path.write_text(HOST.replace(change, into, 1))
    if not named:
        assert find_host(str(path))
        return
    with pytest.raises(ConfigError) as caught:
        find_host(str(path))
    assert named in caught.value.message


def test_an_unknown_model_in_a_host_file_is_refused(tmp_path: Path) -> None:
    """A model of which nothing is known needs a known one that it is like."""
    path = tmp_path / "lab.toml"
    path.write_text('ram = "8GiB"\n[model."nobody:1b"]\n')
    with pytest.raises(ConfigError, match="nobody:1b"):
        find_host(str(path))


def test_a_trace_lives_on_any_host(tmp_path: Path) -> None:
    """Foreign ids are dealt out to the host's models; known names stay."""
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"t,model,duration_s\n0.5,x,1\n2,b:2,3\n2,y,0\n"))
    arrivals = find_demand(str(path), MODELS, hours=1, seed=0)
    assert [(a.at, a.model, a.seconds) for a in arrivals] == [
        (0.5, "a:1", 1.0),
        (2.0, "b:2", 3.0),
        (2.0, "b:2", 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("t,model\n1,x\n", ":1: columns"),
        ("t,model,duration_s\n1,x,-1\n", ":2: duration_s = '-1'"),
        ("t,model,duration_s\nnan,x,1\n", ":2: t = 'nan'"),
        ("t,model,duration_s\n5,x,1\n4,x,1\n", ":3: t = 4.0"),
        ("t,model,duration_s\n5,,1\n", ":2: model is missing"),
    ],
)
def test_a_wrong_trace_is_named(tmp_path: Path, text: str, named: str) -> None:
    """The message has the file, the line and the value."""
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        deal_trace(path, MODELS)
    assert f"t.csv{named}" in caught.value.message


@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.csv.gz", "lab.toml"]))
def test_junk_is_refused_without_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, name: str
) -> None:
    """Whatever the bytes, the answer is a value or an error of ours."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(junk)
    try:
        if name.endswith(".toml"):
            find_host(str(path))
        else:
            deal_trace(path, MODELS)
    except WarmsetError:
        pass
