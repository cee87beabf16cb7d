"""`advise --for caller`: what each kind of caller should send, model by model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from warmset.cli.app import main
from warmset.core.callers import Caller
from warmset.core.model import Entry, ModelKey
from warmset.core.ollama.keepalive import parse_keep_alive
from warmset.core.settings import ModelPolicy, Settings
from warmset.shell.callers import advise_callers

TWIN = "twin://workstation?hours=3&seed=5"
Run = Callable[..., tuple[int, str, str]]


def entry(name: str, *capabilities: str) -> Entry:
    return Entry(
        key=ModelKey(f"sha256:{name}"),
        names=(name,),
        manifest_digests={},
        file_bytes=1,
        capabilities=frozenset(capabilities),
    )


CHAT, EMBED = entry("chat:1b", "completion"), entry("embed:1b", "embedding")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the verb; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path / "state"))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["advise", "--for", "caller", *arguments, "--host", TWIN])
        printed = capsys.readouterr()
        return int(str(end.value.code)), printed.out, printed.err

    return call


def test_each_caller_of_each_model_has_a_row(run: Run) -> None:
    """People and jobs for models that complete, indexes for those that embed."""
    code, out, err = run("-o", "json")
    assert code == 0, err
    rows = json.loads(out)["callers"]
    by_model: dict[str, dict[str, str]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["caller"]] = row["keep_alive"]
    assert by_model["nomic-embed-text:latest"] == {"embedding": "24h"}
    assert by_model["llama3.2:3b"] == {"interactive": "1h", "batch": "1m"}
    code, out, err = run()
    assert out.splitlines()[0].split() == ["MODEL", "CALLER", "KEEP_ALIVE", "SINCE"]
    assert "warmset.client" in err


def test_what_the_operator_keeps_counts_before_our_choice() -> None:
    """A keep-alive of the model or its class, in a form that Ollama takes; jobs stay short."""
    for seconds in (7200.0, 5400.0, 90.0, 0.5, 0.0, float("inf")):
        policy = ModelPolicy(name="chat:1b", keep_alive=seconds)
        settings = Settings(models={"chat:1b": policy})
        person, job = advise_callers((CHAT,), settings, is_steered=False)
        assert person.caller is Caller.INTERACTIVE
        assert parse_keep_alive(person.keep_alive) == seconds
        assert job.keep_alive == "1m"


def test_where_warmset_steers_callers_say_nothing() -> None:
    """Of what it manages; what nobody configured is still theirs to keep."""
    settings = Settings(models={"chat:1b": ModelPolicy(name="chat:1b")})
    advices = advise_callers((EMBED, CHAT), settings, is_steered=True)
    assert [(a.model, a.keep_alive) for a in advices] == [
        ("chat:1b", ""),
        ("chat:1b", ""),
        ("embed:1b", "24h"),
    ]
    assert "rank" in advices[0].reason
