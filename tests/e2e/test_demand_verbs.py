"""Demand as its users meet it: simulate, trace, history, in processes of their own."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest
from serving_rig import rigged

from warmset.shell.trace_files import read_trace

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "requests", "cold_starts", "cold_seconds", "wait_mean_seconds", "wait_p95_seconds",
    "gib_hours", "loads", "evictions", "thrash_reloads",
}  # fmt: skip


class Shell:
    """Runs verbs in a folder of a test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "warmset", *words],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "WARMSET_STATE": str(self.folder / "state"),
                "HOME": str(self.folder),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str) -> dict:
        """Runs a verb and returns its document."""
        return json.loads(self(*words, "-o", "json").stdout)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Three models of 6 GB in turn, twice a minute, with sizes beside."""
    rows = "".join(f"{30 * i}.0,m{i % 3},2.0\n" for i in range(60))
    path = tmp_path / "turns.csv.gz"
    path.write_bytes(gzip.compress(f"t,model,duration_s\n{rows}".encode()))
    models = {f"m{i}": {"bytes": 6_000_000_000, "load_s": 4.0} for i in range(3)}
    (tmp_path / "turns.models.json").write_text(json.dumps({"models": models}))
    return path


@pytest.mark.parametrize("mode", ["sidecar", "admission"])
def test_simulate_has_a_row_for_each_policy(shell: Shell, trace: Path, mode: str) -> None:
    """With the agreed columns, in the order asked for, and a bound below all that do not fetch."""
    told = shell.json(
        "simulate", trace.name, "--on", "laptop", "--policy", "lru,ollama,worth", "--mode", mode,
        "--budget", "14GB",
    )  # fmt: skip
    assert [row["policy"] for row in told["policies"]] == ["lru", "ollama", "worth"]
    assert all(set(row) > COLUMNS for row in told["policies"])
    assert told["schema_version"] == 1
    assert told["budget_bytes"] == 14_000_000_000
    lru, ollama = told["policies"][:2]
    assert lru["requests"] == 60
    assert lru["cold_starts"] == 60  # in turn, LRU evicts what is wanted next
    assert (lru["mode"], ollama["mode"]) == (mode, "stock")
    assert 0 < told["bound_seconds"] <= lru["load_seconds"]


def test_more_memory_ends_the_waiting(shell: Shell, trace: Path) -> None:
    """The curve falls from every request to one load of each model, and so does the picture."""
    told = shell.json(
        "simulate", trace.name, "--on", "laptop", "--policy", "lru, lru", "--points", "5"
    )
    assert len(told["policies"]) == 1  # named twice, replayed once
    curve = told["curve"]
    assert [point["budget_bytes"] for point in curve] == sorted(p["budget_bytes"] for p in curve)
    seconds = [point["cold_seconds"]["lru"] for point in curve]
    assert (seconds[0], seconds[-1]) == (240.0, 12.0)
    (enough,) = told["enough_bytes"].values()
    assert [p["budget_bytes"] >= enough for p in curve] == [s == 12.0 for s in seconds]
    words = ("simulate", trace.name, "--on", "laptop", "--policy", "lru", "--svg", "curve.svg")
    shown = shell(*words).stdout
    assert "POLICY" in shown
    assert "cold seconds" in shown
    assert "GiB for models" in shown
    assert "nobody waits but for first loads from: lru " in shown
    drawn = ET.parse(shell.folder / "curve.svg").getroot()
    assert any(part.tag.endswith("polyline") for part in drawn)


def test_pins_of_budgets_toml_are_pins(shell: Shell, trace: Path) -> None:
    """A pin that nobody asks for takes room that LRU has without it; stock Ollama knows none."""
    words = ("simulate", trace.name, "--on", "laptop", "--policy", "lru,ollama", "--budget", "20GB")
    before = shell.json(*words)["policies"]
    (shell.folder / "budgets.toml").write_text('[model."llama3.2:3b"]\npin = true\n')
    after = shell.json(*words)["policies"]
    assert (before[0]["cold_starts"], before[0]["preloads"]) == (3, 0)
    assert (after[0]["cold_starts"], after[0]["preloads"]) == (60, 1)
    assert after[1] == before[1]
    refused = shell(*words[:-1], "2GB", code=3)
    assert "1.9 GiB for models are too little for its own pins" in refused.stderr
    assert "llama3.2:3b" in refused.stderr
    assert "--budget" in refused.stderr
    curve = shell.json(*words, "--points", "3")["curve"]
    assert curve[0]["cold_seconds"]["lru"] >= curve[-1]["cold_seconds"]["lru"] == 12.0


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("simulate", "--on", "laptop"), 3, "no demand given"),
        (("simulate", "office", "--from-history", "--on", "laptop"), 3, "one demand at a time"),
        (("simulate", "office", "--on", "laptop", "--policy", "magic"), 3, '"magic"'),
        (("simulate", "office", "--on", "laptop", "--mode", "both"), 3, "'both'"),
        (("simulate", "office", "--on", "laptop", "--budget", "lots"), 3, "--budget 'lots'"),
        (("simulate", "office", "--on", "nowhere.toml"), 3, "nowhere.toml"),
        (("simulate", "gone.csv", "--on", "laptop"), 3, "gone.csv"),
        (("simulate", "gone.csv", "--on", "http://127.0.0.1:9"), 3, "gone.csv"),
        (("simulate", "strange.csv", "--on", "laptop"), 3, "who:1b"),
        (("simulate", "--from-history", "--on", "laptop"), 3, "no history"),
        (("simulate", "office", "--on", "http://127.0.0.1:9"), 4, "127.0.0.1:9"),
        (("trace", "import", "gone.jsonl", "--host", "twin://laptop"), 3, "gone.jsonl"),
        (("trace", "export", "out.csv", "--host", "twin://laptop"), 3, "no history"),
        (("trace", "generate", "out.txt"), 3, "out.txt"),
    ],
)
def test_bad_input_is_named(shell: Shell, words: tuple[str, ...], code: int, named: str) -> None:
    """With what is wrong, an exit code of its kind, and nothing on stdout."""
    (shell.folder / "strange.csv").write_text("t,model,duration_s\n1,who:1b,1\n")
    done = shell(*words, code=code)
    assert named in done.stderr
    assert done.stdout == ""


def test_demand_goes_round(shell: Shell) -> None:
    """Generated, imported, exported: the same requests by the same names; then replayed."""
    shell("trace", "generate", "made.csv.gz", "--on", "laptop", "--hours", "2", "--seed", "3")
    shell("trace", "import", "made.csv.gz", "--host", "twin://laptop")
    shell("trace", "export", "out.csv", "--host", "twin://laptop")
    made, out = read_trace(shell.folder / "made.csv.gz"), read_trace(shell.folder / "out.csv")
    assert out.models == made.models
    assert out.seconds == pytest.approx(made.seconds)
    gaps = [b - a for a, b in zip(made.times, made.times[1:], strict=False)]
    assert [b - a for a, b in zip(out.times, out.times[1:], strict=False)] == pytest.approx(
        gaps, abs=0.01
    )
    told = shell.json("simulate", "--from-history", "--on", "laptop", "--policy", "lru")
    assert told["requests"] == len(made)
    printed = shell("trace", "export", "-", "--host", "twin://laptop").stdout
    assert printed == (shell.folder / "out.csv").read_text()


def test_serve_learns_demand_and_not_its_own_pings(tmp_path: Path) -> None:
    """A client loads one model and uses another; the pinned one is only pinged by us. The store
    has the client's uses, its cold start and our preload, and outlives the process."""
    with rigged(tmp_path) as rig:
        daemon = rig.serve()
        daemon.wait_for("decision", is_converged=True)
        coder, chat = "qwen2.5-coder:7b", "llama3.2:3b"
        httpx.post(f"{rig.url}/api/generate", json={"model": coder, "prompt": "x"}, timeout=60)
        daemon.wait_for("model_came", model=coder)
        told = json.loads(rig.run("history", "-o", "json").stdout)
        before = sum(day["uses"] for day in told["days"] if day["model"] == chat)
        httpx.post(f"{rig.url}/api/generate", json={"model": chat, "prompt": "x"}, timeout=60)

        def uses_of_chat() -> int:
            days = json.loads(rig.run("history", "-o", "json").stdout)["days"]
            return sum(day["uses"] for day in days if day["model"] == chat)

        rig.wait_until(lambda: uses_of_chat() > before)
        body = {"model": chat, "prompt": "x", "keep_alive": -1}
        httpx.post(f"{rig.url}/api/generate", json=body, timeout=60)
        daemon.wait_for("lease_overwritten", model=chat)
        daemon.stop()
        counsel = json.loads(rig.run("advise", "-o", "json").stdout)
        assert [client["model"] for client in counsel["clients"]] == [chat]
        assert "no pin" in counsel["clients"][0]["text"]
        told = json.loads(rig.run("history", "-o", "json").stdout)
        days = {day["model"]: day for day in told["days"]}
        assert days[coder]["cold_starts"] == 1
        assert days[coder]["waited_seconds"] >= 0
        assert days[coder]["uses"] >= 1
        pinned = days["nomic-embed-text:latest"]
        assert (pinned["uses"], pinned["loads"], pinned["cold_starts"]) == (0, 1, 0)
        assert "COLD STARTS" in rig.run("history", "--daily").stdout


def test_advise_tells_keep_alives_from_a_trace(shell: Shell, trace: Path) -> None:
    """With the curve behind each, in words, as environment and as budgets.toml that is valid."""
    told = shell.json("advise", trace.name, "--on", "laptop", "--budget", "40GB")
    assert [m["model"] for m in told["models"]] == ["m0", "m1", "m2"]
    for model in told["models"]:
        curve = model["curve"]
        assert [p["keep_alive_seconds"] for p in curve] == [0, 60, 300, 900, 3600, 14400, None]
        assert [p["warm_share"] for p in curve] == sorted(p["warm_share"] for p in curve)
        assert model["advice"]["action"] == "pin"
    assert told["environment"]["OLLAMA_KEEP_ALIVE"] == "4h"
    text = shell("advise", trace.name, "--on", "laptop", "--budget", "9GB").stdout
    assert "OLLAMA_KEEP_ALIVE=" in text
    lines = [line.strip() for line in text.splitlines()]
    start = lines.index("In budgets.toml (or as keep_alive in each request):") + 1
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    (shell.folder / "budgets.toml").write_text("\n".join(lines[start:end]) + "\n")
    shell("config", "show")


def test_advise_says_what_not_to_keep(shell: Shell) -> None:
    """What is asked for twice in a day, beside what fills the memory; and what is too large."""
    rows = [(i * 40_000 + i * i * 7919 % 30_000, "qwen3:8b") for i in range(12)]
    rows += [(at, "llama3.2:3b") for at in range(100, 480_000, 200)]
    text = "".join(f"{at},{name},5\n" for at, name in sorted(rows))
    (shell.folder / "rare.csv").write_text(f"t,model,duration_s\n{text}")
    words = ("advise", "rare.csv", "--on", "laptop", "--budget")
    advice = {m["model"]: m["advice"] for m in shell.json(*words, "9GB")["models"]}
    assert advice["qwen3:8b"]["action"] == "do not keep"
    assert advice["llama3.2:3b"]["action"] == "pin"
    shown = shell(*words, "9GB", "-o", "wide").stdout
    assert "not at all" in shown
    for length in ("1M", "5M", "15M", "1H", "4H"):
        assert f"GIB H AT {length}" in shown
    assert "Larger than the memory, so never kept: qwen3:8b" in shell(*words, "5GB").stdout
    nothing = shell(*words, "1GB").stdout
    assert "never kept: llama3.2:3b, qwen3:8b" in nothing
    assert "OLLAMA_KEEP_ALIVE" not in nothing


def test_advice_for_callers_is_of_the_host_that_is_named(shell: Shell) -> None:
    """As everywhere, `--on` takes a twin."""
    shown = shell("advise", "--for", "caller", "--on", "laptop").stdout
    assert "interactive" in shown
    assert "qwen3:8b" in shown


def test_an_access_log_is_imported_for_the_model_that_is_named(shell: Shell) -> None:
    """It names none itself; days then show its uses."""
    line = '[GIN] 2026/01/05 - 09:00:{:02d} | 200 |  1.5s | 127.0.0.1 | POST     "/api/chat"\n'
    (shell.folder / "ollama.log").write_text("".join(line.format(at) for at in (10, 30, 50)))
    words = ("trace", "import", "ollama.log", "--host", "twin://laptop")
    assert "names no models" in shell(*words, code=3).stderr
    shell(*words, "--model", "qwen3:8b")
    (day,) = shell.json("history", "--daily", "--host", "twin://laptop")["days"]
    assert (day["model"], day["uses"]) == ("qwen3:8b", 3)


def test_advise_tells_habits(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """In which hours of the week a model is asked for, as a window, and after whom."""
    monday = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
    rows = []
    for hour in range(14 * 24):
        at = monday + hour * 3600 + 600
        if hour // 24 % 7 < 5 and 8 <= hour % 24 < 18:
            rows += [(at, "llama3.2:3b"), (at + 5, "nomic-embed-text:latest")]
        if hour % 5 == 0:
            rows.append((at + 1800, "qwen3:8b"))
    lines = (json.dumps({"at": at, "model": name, "duration_s": 1}) for at, name in rows)
    (shell.folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    shell("trace", "import", "log.jsonl", "--host", "twin://laptop")
    monkeypatch.setenv("TZ", "UTC")
    told = shell.json("advise", "--on", "laptop")
    window = {"window": "Mon-Fri 08:00-18:00", "share": 1.0}
    assert told["hours"] == {"llama3.2:3b": window, "nomic-embed-text:latest": window}
    (follows,) = told["follows"]
    assert (follows["first"], follows["then"]) == ("llama3.2:3b", "nomic-embed-text:latest")
    text = shell("advise", "--on", "laptop").stdout
    assert 'windows = ["Mon-Fri 08:00-18:00"]' in text
    assert "nomic-embed-text:latest after llama3.2:3b: " in text


def test_a_log_that_speaks_of_strangers_spoils_no_advice(shell: Shell) -> None:
    """A gateway names models that are not here: they are left out, and that is said."""
    rows = [
        {"at": f"2026-11-0{day}T10:0{minute}:00Z", "model": model}
        for day in range(1, 9)
        for minute, model in enumerate(("llama3.1:8b", "gpt-4o"))
    ]
    (shell.folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    host = ("--host", "twin://workstation?demand=idle")
    shell("trace", "import", "log.jsonl", *host)
    told = shell("advise", *host)
    assert "llama3.1:8b" in told.stdout
    assert "left out: 8 of 16 uses" in told.stderr
    assert "gpt-4o" in told.stderr
    told = shell("simulate", "--from-history", "--points", "0", "--policy", "lru", *host)
    assert "8 requests for 1 model in" in told.stdout


def test_advise_without_history_says_what_to_do(shell: Shell) -> None:
    """Nothing was seen: no advice, and the way to some."""
    done = shell("advise", "--on", "laptop", code=3)
    assert "warmset serve" in done.stderr
