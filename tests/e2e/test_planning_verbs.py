"""`fit` and `add --dry-run` as a user calls them, on pretended hosts.

The verbs run in this process: what a process of its own adds is what `test_readme.py` looks at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest

from warmset.cli.app import main

QUIET = "twin://workstation?hours=0"
PAIR = "twin://2x24?hours=0"


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def warmset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Run:
    """Runs a verb in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path / "state"))

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return Done(int(str(end.value.code)), *capsys.readouterr())

    return call


@pytest.fixture
def read(warmset: Run) -> Callable[..., dict]:
    """Runs a verb and returns its document."""
    return lambda *arguments: json.loads(warmset(*arguments, "-o", "json").stdout)


def test_a_set_that_does_not_fit_is_answered_with_its_maximal_subsets(warmset):
    """Each subset fits by itself, none contains another, and the exit code says no."""
    models = ("qwen2.5:32b", "qwen2.5:14b", "llama3.1:8b")
    done = warmset("fit", *models, "--host", QUIET, "-o", "json")
    assert done.returncode == 6
    document = json.loads(done.stdout)
    subsets = [set(subset["models"]) for subset in document["subsets"]]
    assert {"qwen2.5:14b", "llama3.1:8b"} in subsets
    assert {"qwen2.5:32b"} in subsets
    assert not any(one < other for one in subsets for other in subsets)
    for subset in subsets:
        assert warmset("fit", *subset, "--host", QUIET).returncode == 0


def test_the_change_that_fit_names_is_enough(read):
    """Asked again with the context that it names, the same models fit."""
    models = ("qwen2.5:14b", "llama3.1:8b")
    much = ("--context", "32768", "--host", QUIET)
    refused = read("fit", *models, *much)
    assert refused["verdict"] == "refused"
    for_all = [
        c for c in refused["changes"] if c["kind"] == "context" and len(c["models"]) == len(models)
    ]
    assert for_all
    assert all(change["saved_bytes"] > 0 for change in refused["changes"])
    less = ("--context", for_all[0]["after"], "--host", QUIET)
    assert read("fit", *models, *less)["verdict"].startswith("fits")


def test_a_pin_in_the_way_is_named_as_a_change(tmp_path, read):
    """What is pinned elsewhere in the file can be let go, and `fit` says so."""
    (tmp_path / "budgets.toml").write_text('[model."qwen2.5:14b"]\npin = true\n')
    document = read("fit", "qwen2.5:32b", "--host", QUIET)
    assert [c["models"] for c in document["changes"] if c["kind"] == "without"] == [["qwen2.5:14b"]]


def test_a_newcomer_that_pushes_somebody_out_is_told_with_its_price(read):
    """Losses are reloads a day times seconds, and their sum is the lost value."""
    document = read(
        "add", "gemma3:12b", "--dry-run", "--offline", "--priority", "90", "--host", QUIET,
    )  # fmt: skip
    assert document["joins_warm_set"]
    assert [loss["name"] for loss in document["losses"]] == document["pushed_out"] != []
    for loss in document["losses"]:
        assert loss["seconds_per_day"] == pytest.approx(
            loss["reloads_per_day"] * loss["load_seconds"]
        )
    total = sum(loss["seconds_per_day"] for loss in document["losses"])
    assert document["lost_value_seconds_per_day"] == pytest.approx(total)
    (gpu,) = document["gpus"]
    assert gpu["sure_margin_bytes"] <= gpu["margin_bytes"]
    upper = sum(share["upper_bytes"] for share in gpu["after"])
    assert gpu["usable_bytes"] - upper == gpu["sure_margin_bytes"] >= 0


@pytest.mark.parametrize("manage", ["configured", "all"])
@pytest.mark.parametrize("hours", [0, 3])
def test_add_weighs_whom_the_plan_weighs(tmp_path, read, manage, hours):
    """Who is there with the newcomer, and who is not for its sake, is as the loop would have it."""
    (tmp_path / "budgets.toml").write_text(
        f'[policy]\nmanage = "{manage}"\n'
        '[model."gemma3:12b"]\npriority = 90\n'
        '[model."llama3.1:8b"]\npriority = 60\n[model."qwen2.5:14b"]\npriority = 20\n'
    )
    host = f"twin://workstation?hours={hours}&seed=5"
    added = read("add", "gemma3:12b", "--dry-run", "--offline", "--host", host)
    supposed = read("plan", "--what-if", "add gemma3:12b", "--host", host)
    (gpu,) = added["gpus"]
    with_it = {member["name"] for member in supposed["warm_set"]}
    assert {share["name"] for share in gpu["after"]} == with_it
    planned = read("plan", "--host", host)
    without = {member["name"] for member in planned["warm_set"]}
    assert set(added["pushed_out"]) == without - with_it
    assert added["pushed_out"]


@pytest.mark.parametrize("verb", [("plan", "--what-if"), ("add", "--dry-run", "--offline")])
def test_what_is_supposed_knows_of_windows(tmp_path, warmset, verb):
    """A model that is wanted at certain hours is no reason to fail."""
    (tmp_path / "budgets.toml").write_text(
        '[model."llama3.1:8b"]\nwindows = ["Mon-Fri 08:00-18:00"]\n'
    )
    words = ("add gemma3:12b",) if verb[0] == "plan" else ("gemma3:12b",)
    assert warmset(*verb, *words, "--host", QUIET).returncode == 0


def test_a_value_is_told_with_what_its_demand_is_known_from(tmp_path, warmset, read):
    """Said where the operator says it, else assumed; in text, document and page alike."""
    (tmp_path / "budgets.toml").write_text(
        '[model."qwen2.5:14b"]\nrequests_per_day = 7\n[model."llama3.1:8b"]\npriority = 60\n'
    )
    asked = ("add", "gemma3:12b", "--dry-run", "--offline", "--priority", "90", "--host", QUIET)
    document = read(*asked, "--requests-per-day", "12")
    assert document["demand"] == {"requests_per_day": 12, "basis": "said"}
    bases = {loss["name"]: loss["demand_basis"] for loss in document["losses"]}
    assert bases.get("qwen2.5:14b", "said") == "said"
    text = warmset(*asked, "--html", "page.html").stdout
    assert "requests a day: 1 (assumed)" in text
    assert "nobody has described it" in (tmp_path / "page.html").read_text()
    plan = read("plan", "--host", QUIET)
    told = {member["name"]: member["demand"] for member in plan["warm_set"]}
    assert told["qwen2.5:14b"] == {"requests_per_day": 7, "basis": "said"}
    assert told["llama3.1:8b"]["basis"] == "assumed"
    wide = warmset("plan", "--host", QUIET, "-o", "wide").stdout
    assert "7 (said)" in wide
    refused = warmset("fit", "qwen2.5:32b", "qwen2.5:14b", "--host", QUIET).stdout
    assert "qwen2.5:14b 7 (said)" in refused


def test_the_first_hour_is_what_the_loop_does_on_a_copy(tmp_path, read):
    """A pinned model is loaded by warmset, and the newcomer's first request is answered."""
    (tmp_path / "budgets.toml").write_text('[model."qwen2.5-coder:7b"]\npin = true\n')
    document = read(
        "add", "gemma3:12b", "--dry-run", "--offline", "--requests-per-day", "240",
        "--host", QUIET,
    )  # fmt: skip
    hour = document["first_hour"]
    assert ("loads", "qwen2.5-coder:7b", "warmset") in {
        (h["what"], h["name"], h["by"]) for h in hour
    }
    answered = [h for h in hour if h["what"] == "answered" and h["name"] == "gemma3:12b"]
    assert len(answered) >= 10
    assert [h["at_seconds"] for h in hour] == sorted(h["at_seconds"] for h in hour)
    assert all(0 <= h["at_seconds"] <= 3600 for h in hour)


def test_alternatives_need_no_more_than_the_model_as_asked_for(read):
    """Fewer tokens, smaller caches and fewer bits: each has its own verdict and bytes."""
    document = read("add", "llama3.3:70b", "--dry-run", "--offline", "--host", PAIR)
    kinds = {a["kind"] for a in document["alternatives"]}
    assert {"context", "kv-type", "quantisation"} <= kinds
    by_context = [a["upper_bytes"] for a in document["alternatives"] if a["kind"] == "context"]
    assert by_context == sorted(by_context, reverse=True)


class Widths(HTMLParser):
    """Collects the tags of a page, and the widths in each bar."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.bars: list[list[float]] = []

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.tags.append(tag)
        width = re.fullmatch(r"width:([\d.]+)%", said.get("style") or "")
        if said.get("class") == "bar":
            self.bars.append([])
        elif width and self.bars:
            self.bars[-1].append(float(width[1]))


def test_the_page_is_whole_and_drawn_to_scale(tmp_path, warmset):
    """Nothing is loaded from elsewhere, and the pieces of each bar make up the whole GPU."""
    done = warmset(
        "add", "gemma3:12b", "--dry-run", "--offline", "--host", PAIR, "--html", "page.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.html").read_text()
    page = Widths()
    page.feed(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "http" not in text
    assert len(page.bars) == 4
    assert all(sum(bar) == pytest.approx(100, abs=0.1) for bar in page.bars)


def test_a_page_that_cannot_be_written_is_an_error_that_names_it(warmset):
    """The file is named, and nothing else is printed as if all had gone well."""
    done = warmset(
        "add", "gemma3:12b", "--dry-run", "--offline", "--host", QUIET, "--html", "no/where.html",
    )  # fmt: skip
    assert done.returncode == 3
    assert "no/where.html" in done.stderr


def test_an_unknown_cache_type_is_refused_with_those_that_are(warmset):
    """The hint lists what a server can be started with: one type, for keys and values."""
    for value, told in (("q9", "q8_0"), ("q8_0/f16", "two cache types")):
        done = warmset(
            "add", "gemma3:12b", "--dry-run", "--offline", "--kv-type", value, "--host", QUIET
        )
        assert done.returncode == 3
        assert told in done.stderr


def test_a_set_that_nobody_pinned_is_not_called_pinned(tmp_path, read):
    """Only what the operator pinned is, beside what was asked for."""
    models = ("qwen2.5:32b", "qwen2.5:14b")
    assert "pinned" not in read("fit", *models, "--host", QUIET)["reason"]
    (tmp_path / "budgets.toml").write_text('[model."qwen2.5:14b"]\npin = true\n')
    reason = read("fit", "qwen2.5:32b", "--host", QUIET)["reason"]
    assert reason.startswith("together they need")
    assert "qwen2.5:14b, pinned, " in reason


def test_a_refusal_tells_what_all_need_together(read):
    """The sum stands beside the parts and the room."""
    reason = read("fit", "qwen2.5:32b", "qwen2.5:14b", "--host", QUIET)["reason"]
    parts = [float(n) for n in re.findall(r"([\d.]+) GiB", reason)]
    assert abs(parts[0] + parts[1] - parts[2]) < 0.16
    assert f"{parts[2]} GiB in all" in reason


@pytest.mark.parametrize("verb", [("fit",), ("add", "--dry-run", "--offline")])
def test_a_context_beyond_the_trained_one_is_told(warmset, verb):
    """Ollama gives no more than a model was trained for, and the answer is for that."""
    done = warmset(*verb, "llama3.1:8b", "--context", "200000", "--host", QUIET)
    assert "llama3.1:8b was trained for a context of 131072" in done.stderr
    less = warmset(*verb, "llama3.1:8b", "--context", "4096", "--host", QUIET)
    assert "trained" not in less.stderr


def test_two_changes_are_named_where_no_single_one_is_enough(tmp_path, read):
    """Each pair is told change by change, and what both save is what is needed less."""
    (tmp_path / "budgets.toml").write_text('[model."qwen2.5-coder:7b"]\npin = true\n')
    found = read("fit", "qwen2.5:32b", "llama3.1:8b", "--host", QUIET)
    assert found["changes"] == []
    assert found["pairs"]
    for first, second in found["pairs"]:
        assert (first["kind"], first["models"]) != (second["kind"], second["models"])
        assert first["upper_bytes"] - second["upper_bytes"] == second["saved_bytes"]


NOBODY = "http://127.0.0.1:9"


def test_hardware_that_is_not_here_needs_no_ollama_for_named_models(warmset, tmp_path, monkeypatch):
    """The models of budgets.toml, and those that are added, are planned on a twin or on GPUs."""
    monkeypatch.setenv("WARMSET_REGISTRY", NOBODY)
    (tmp_path / "budgets.toml").write_text('[model."llama3.1:8b"]\npin = true\n')
    done = warmset("plan", "--on", "twin://2x24", "--host", NOBODY, "-o", "name")
    assert (done.returncode, done.stdout) == (0, "llama3.1:8b\n")
    assert "only models that are named count" in done.stderr
    wider = warmset(
        *("plan", "--gpus", "48GiB", "--what-if", "add qwen2.5:7b", "--host", NOBODY, "-o", "name")
    )
    assert wider.stdout.split() == ["llama3.1:8b", "qwen2.5:7b"]


def test_without_ollama_and_without_names_the_next_thing_to_try_is_told(warmset):
    """Where nothing is named, there is nothing to plan: the error says how to name models."""
    done = warmset("plan", "--on", "twin://2x24", "--host", NOBODY)
    assert done.returncode == 4
    for way in ("start Ollama", "budgets.toml", "--what-if", "--host twin://2x24"):
        assert way in done.stderr
    assert warmset("plan", "--host", NOBODY, "--what-if", "drop llama3.1:8b").returncode == 4
