"""The dashboard and the alerts against a real Prometheus that scrapes a daemon at work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_rig import BusyDaemon, Prometheus

from warmset.adapters.metrics import FAMILIES

ROOT = Path(__file__).parents[2]
SHARE = ROOT / "src/warmset/share"
RULES = SHARE / "prometheus/warmset-alerts.yml"
DASHBOARD = json.loads((SHARE / "grafana/warmset-dashboard.json").read_text("utf-8"))
MACROS = {
    "$__rate_interval": "30s",
    "$__range": "2m",
    "$instance": ".*",
    "$gpu": ".*",
}
EXPRESSIONS = [
    *(
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ),
    *((note["name"], note["expr"]) for note in DASHBOARD["annotations"]["list"]),
]


def plain(expression: str) -> str:
    """Returns a dashboard's expression as Grafana would send it."""
    for macro, value in MACROS.items():
        expression = expression.replace(macro, value)
    assert "$" not in expression
    return expression


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen loads, evictions and uses for a while."""
    daemon = BusyDaemon()
    folder = tmp_path_factory.mktemp("prometheus")
    prometheus = Prometheus(folder, daemon.url.removeprefix("http://"), RULES)
    try:
        seen = "increase(warmset_eviction_cost_seconds_total[2m]) > 0"
        prometheus.wait_until(lambda: bool(prometheus.ask(seen)))
        yield prometheus
    finally:
        prometheus.stop()
        daemon.stop()


def test_every_expression_of_the_dashboard_returns_data(scraped: Prometheus) -> None:
    """Panels and annotations ask for what is there, in words that Prometheus understands."""
    missing = [(title, e) for title, e in EXPRESSIONS if not scraped.ask(plain(e))]
    if missing:  # rates need one more scrape
        scraped.wait_until(lambda: all(scraped.ask(plain(e)) for _, e in missing))


def test_no_quantile_of_the_dashboard_is_without_a_value(scraped: Prometheus) -> None:
    """A median of nothing is NaN, which draws no line."""
    asked = [plain(e) for _, e in EXPRESSIONS if "histogram_quantile" in e]
    assert len(asked) >= 3
    for expression in asked:
        scraped.wait_until(
            lambda e=expression: all(row["value"][1] != "NaN" for row in scraped.ask(e))
        )


def test_prometheus_loads_and_judges_every_alert(scraped: Prometheus) -> None:
    """Each rule is healthy on living data, and says where to look."""
    names = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    scraped.wait_until(lambda: {r["name"] for r in scraped.rules() if r["health"] == "ok"} == names)
    for rule in scraped.rules():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_the_scraped_text_is_clean(scraped: Prometheus) -> None:
    """The target is up, and each family that a busy host can show was stored."""
    assert scraped.ask("up")[0]["value"][1] == "1"
    rare = {"model_load_error_ratio", "alarms", "ollama_info"}
    for family in FAMILIES:
        name = family.full_name + ("_count" if family.buckets else "")
        if family.name not in rare:
            assert scraped.ask(f"last_over_time({name}[2m])"), name  # gauges come and go


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    """`promtool` plays each alert's history; rules and configuration are clean."""
    shutil.copy(ROOT / "tests/data/prometheus/alerts.test.yml", tmp_path)
    for path in (SHARE / "prometheus").iterdir():
        shutil.copy(path, tmp_path)
    for words in (
        ("test", "rules", "alerts.test.yml"),
        ("check", "rules", "warmset-alerts.yml"),
        ("check", "config", "warmset-scrape.yml"),
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    tried = (tmp_path / "alerts.test.yml").read_text()
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        assert f"alertname: {rule['alert']}\n" in tried, rule["alert"]


def test_dashboard_and_alerts_name_metrics_that_exist() -> None:
    """A metric that is renamed is renamed everywhere."""
    known = {family.full_name for family in FAMILIES}
    known |= {f"{f.full_name}_bucket" for f in FAMILIES if f.buckets}
    texts = [e for _, e in EXPRESSIONS] + [RULES.read_text("utf-8")]
    used = {name for text in texts for name in re.findall(r"\bwarmset_\w+", text)}
    assert used <= known
    assert len(used) > 20
