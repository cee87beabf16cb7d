"""Metrics: names, labels that stay bounded, and values that are true or absent."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from warmset.adapters.config import load_settings, parse_listen
from warmset.adapters.metrics import FAMILIES, Kind, Metrics
from warmset.core.control.actions import Finding
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.state import State
from warmset.core.model import Device, DeviceId, ModelKey, unknown
from warmset.core.settings import Listen, ModelPolicy, ServeSettings, Settings
from warmset.errors import ConfigError
from warmset.shell.loop_look import look_for_loop
from warmset.shell.serve import ServeOrder, Service
from warmset.shell.telemetry.gauges import Gauges
from warmset.shell.telemetry.health import Health
from warmset.shell.telemetry.labels import MOST_NAMES, OTHER, Labels
from warmset.shell.telemetry.listening import Step
from warmset.shell.telemetry.tally import Tally
from warmset.shell.telemetry.web import check_listen
from warmset.shell.wiring import connect

TWIN = "twin://workstation?hours=3&seed=5"


class Loopless:
    """A twin that is looked at step by step, with a tally that listens."""

    def __init__(self, *names: str, url: str = TWIN) -> None:
        models = {name: ModelPolicy(name=name, pin=False) for name in names}
        self.config = Config(settings=Settings(url=url, models=models))
        self.connection = connect(self.config.settings, environ={})
        self.tally = Tally(self.connection.clock.now)
        self.health = Health(self.connection.clock.monotonic)
        self.loop = Loop(self.config, State(), is_read_only=True)
        self.picture = None

    def look(self, *findings: Finding) -> Step:
        """Looks, decides and tells."""
        observation, self.picture = look_for_loop(
            self.connection, self.config.settings, self.picture
        )
        self.loop.look(observation, self.connection.clock.now())
        assert self.loop.decision is not None
        decision = replace(self.loop.decision, findings=(*self.loop.decision.findings, *findings))
        step = Step(
            observation=observation,
            picture=self.picture,
            config=self.config,
            state=self.loop.state,
            decision=decision,
            planned=self.loop.planned,
            seconds=0.1,
        )
        self.tally.stepped(step)
        self.health.stepped(step)
        return step

    def value(self, series: str) -> float | None:
        """Returns the value of one line of the metrics, `None` if it is not there."""
        text = self.tally.metrics.render()[0].decode()
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None


def test_names_follow_the_rules_of_prometheus() -> None:
    """Base units last, `_total` on counters alone, a help text, no label that could grow."""
    labels = {"gpu", "model", "tier", "version", "code", "by", "reason", "outcome", "result"}
    for family in FAMILIES:
        assert re.fullmatch(r"warmset_[a-z][a-z0-9_]+", family.full_name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert set(family.labels) <= labels
        assert family.help.endswith(".")
        assert not re.search(r"_(mib|gib|gb|ms|percent|minutes)", family.name)
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_models_that_nobody_configured_are_one_label() -> None:
    """However many models a host has, labels are configured names and `other`."""
    loop = Loopless("llama3.2:3b")
    loop.look()
    text = loop.tally.metrics.render()[0].decode()
    assert set(re.findall(r'model="([^"]+)"', text)) == {"llama3.2:3b", OTHER}
    assert loop.value('warmset_model_resident{model="llama3.2:3b"}') == 1
    assert loop.value('warmset_model_resident{model="other"}') == 1


def test_ten_thousand_configured_names_stay_bounded() -> None:
    """What is beyond the bound counts as `other`, and a scrape stays small."""
    loop = Loopless(*(f"model-{n}:1b" for n in range(10_000)))
    loop.look()
    text = loop.tally.metrics.render()[0].decode()
    assert len(set(re.findall(r'model="([^"]+)"', text))) == MOST_NAMES + 1
    assert len(text) < 2 << 20


def test_a_gpu_adds_up() -> None:
    """Models, foreign, draining and unattributed are what the driver counts as taken."""
    loop = Loopless("llama3.2:3b")
    loop.look()
    gpu = 'gpu="CUDA:0"'
    parts = [
        loop.value(f"warmset_device_{owner}_bytes{{{gpu}}}")
        for owner in ("models", "foreign", "draining", "unattributed")
    ]
    assert None not in parts
    assert sum(parts) == loop.value(f"warmset_device_memory_used_bytes{{{gpu}}}")
    budget = loop.value(f"warmset_device_budget_bytes{{{gpu}}}")
    assert loop.value(f"warmset_device_headroom_bytes{{{gpu}}}") == budget - parts[0]


def test_what_cannot_be_read_has_no_series() -> None:
    """A GPU whose memory is unknown shows no zero, and no budget or headroom either."""
    loop = Loopless()
    step = loop.look()
    gone = Device(
        id=DeviceId("GPU-5c0ffee0-1111-2222-3333-444455556666"),
        name="lost",
        library="CUDA",
        total_bytes=unknown("nvml", "fallen off the bus"),
        free_bytes=unknown("nvml", "fallen off the bus"),
    )
    seen = replace(step.observation, devices=(gone,))
    labels = Labels(seen, loop.config)
    values = Gauges().of_look(seen, step.picture, labels, now=0.0)
    assert [name for name in values if name.startswith("device_")] == []
    assert labels.of_gpu(gone) == "GPU-5c0ffee0"
    twin = replace(gone, id=DeviceId("GPU-5c0ffee0-9999-2222-3333-444455556666"))
    both = Labels(replace(seen, devices=(gone, twin)), loop.config)
    assert [both.of_gpu(gone), both.of_gpu(twin)] == [gone.id, twin.id]


def test_two_names_of_one_model_are_one_series() -> None:
    """Weights that are configured under two tags are counted once, under the higher policy."""
    loop = Loopless("llama3.2:3b", "alias:1b")
    step = loop.look()
    entries = tuple(
        replace(e, names=("alias:1b", "llama3.2:3b")) if "llama3.2:3b" in e.names else e
        for e in step.observation.entries
    )
    models = {
        "llama3.2:3b": ModelPolicy(name="llama3.2:3b", priority=10),
        "alias:1b": ModelPolicy(name="alias:1b", priority=90),
        "absent:1b": ModelPolicy(name="absent:1b"),
    }
    config = replace(loop.config, settings=replace(loop.config.settings, models=models))
    labels = Labels(replace(step.observation, entries=entries), config)
    assert {name for name, _ in labels.configured()} == {"alias:1b", "absent:1b"}
    key = next(e.key for e in entries if "alias:1b" in e.names)
    assert labels.of(key, "llama3.2:3b") == "alias:1b"
    assert labels.of(None, "absent") == OTHER
    assert labels.of(None, "ABSENT:1b") == "absent:1b"


def test_an_ollama_that_does_not_answer_is_down_and_not_empty() -> None:
    """No model counts as resident or gone: the series are absent, `up` is 0, readiness fails."""
    loop = Loopless("llama3.2:3b")
    step = loop.look()
    assert loop.health.ready[0]
    seen = replace(step.observation, residents=None, entries=(), devices=(), trouble="refused")
    decision = replace(step.decision, trouble="refused", standing=("unreachable",))
    down = replace(step, observation=seen, decision=decision, picture=None)
    loop.tally.stepped(down)
    loop.health.stepped(down)
    assert loop.value("warmset_ollama_up") == 0
    assert loop.value('warmset_model_resident{model="llama3.2:3b"}') is None
    assert loop.value('warmset_alarms{code="unreachable"}') == 1
    assert loop.value('warmset_reconcile_total{result="unreachable"}') == 1
    assert loop.value("warmset_last_success_timestamp_seconds") == step.observation.at
    assert loop.health.ready == (False, "refused")
    assert loop.health.live[0]


def test_old_gauges_are_gone_and_counters_stay() -> None:
    """When no look ended for long, what the last one showed is no news any more."""
    loop = Loopless("llama3.2:3b")
    loop.look()
    loop.connection.skip(600)
    assert loop.value("warmset_ollama_up") is None
    assert loop.value('warmset_build_info{version="0.1.0"}') == 1
    assert loop.value('warmset_reconcile_total{result="unreachable"}') == 0
    assert not loop.health.live[0]
    assert not loop.health.ready[0]


def test_an_eviction_costs_what_its_model_makes_clients_wait() -> None:
    """Seconds of a client's load are charged to why the model had left; soon is thrash."""
    loop = Loopless("llama3.2:3b")
    step = loop.look()
    row = next(r for r in step.observation.residents if r.name == "llama3.2:3b")
    left = Finding(
        kind="model_left", key=row.key, name=row.name, text="", basis={"cause": "displaced"}
    )
    came = Finding(kind="model_came", key=row.key, name=row.name, text="")
    loop.connection.skip(20)
    loop.look(left, came)
    of = 'model="llama3.2:3b"'
    assert loop.value(f'warmset_evictions_total{{{of},reason="displaced"}}') == 1
    assert loop.value(f'warmset_evictions_total{{{of},reason="expired"}}') == 0
    assert loop.value(f"warmset_cold_starts_total{{{of}}}") == 1
    assert loop.value(f"warmset_thrash_reloads_total{{{of}}}") == 1
    cost = loop.value(f'warmset_eviction_cost_seconds_total{{{of},reason="displaced"}}')
    assert cost == loop.value(f'warmset_load_duration_seconds_sum{{by="client",{of}}}')
    assert cost > 0


def test_a_preload_that_nobody_used_is_wasted() -> None:
    """It counts when the model leaves, and not if it was used meanwhile."""
    loop = Loopless("llama3.2:3b")
    loop.look()
    key = ModelKey("sha256:" + "ab" * 32)
    done = Finding(kind="preloaded", key=key, name="llama3.2:3b", text="", basis={"seconds": 2.0})
    gone = Finding(kind="unloaded", key=key, name="llama3.2:3b", text="")
    loop.tally.heard((done,))
    loop.tally.heard((gone,))
    of = 'model="llama3.2:3b"'
    assert loop.value(f'warmset_preloads_total{{{of},outcome="loaded"}}') == 1
    assert loop.value(f"warmset_preloads_wasted_total{{{of}}}") == 1
    assert loop.value(f'warmset_loads_total{{by="warmset",{of}}}') == 1
    assert loop.value(f"warmset_cold_starts_total{{{of}}}") == 0


def test_a_request_to_a_resident_model_is_a_warm_hit() -> None:
    """Its deadline moves without us; a cold start's own request is none."""
    loop = Loopless("llama3.2:3b")
    for _ in range(2):
        loop.look()
        loop.connection.skip(5)
    twin = loop.connection.clock
    of = 'model="llama3.2:3b"'
    for expected in (1, 2):
        twin.host.use("llama3.2:3b", 1.0)
        loop.connection.skip(30)
        loop.look()
        assert loop.value(f"warmset_warm_hits_total{{{of}}}") == expected
    loop.connection.skip(30)
    loop.look()
    assert loop.value(f"warmset_warm_hits_total{{{of}}}") == 2
    with_cold = Loopless("qwen2.5-coder:7b")
    with_cold.look()
    with_cold.connection.clock.host.use("qwen2.5-coder:7b", 20.0)
    for _ in range(30):
        with_cold.connection.skip(2)
        with_cold.look()
    of = 'model="qwen2.5-coder:7b"'
    assert with_cold.value(f"warmset_cold_starts_total{{{of}}}") == 1
    assert with_cold.value(f"warmset_warm_hits_total{{{of}}}") == 0
    took = with_cold.value(f'warmset_load_duration_seconds_sum{{by="client",{of}}}')
    assert 1 < took < 20


def test_counters_only_grow_and_gauges_need_no_counters() -> None:
    """A single look has gauges alone; OpenMetrics is spoken where it is asked for."""
    metrics = Metrics(lambda: {"ollama_up": {(): 1.0}}, counts=False)
    text, kind = metrics.render("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    assert "openmetrics" in kind
    assert b"_total" not in text
    counted = Metrics(dict)
    counted.count("thrash_reloads_total", "a")
    with pytest.raises(ValueError, match="non-negative"):
        counted.count("thrash_reloads_total", "a", amount=-1.0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9100", "127.0.0.1:9100"),
        ("9100", "127.0.0.1:9100"),
        (":9100", "0.0.0.0:9100"),
        ("[::1]:9100", "[::1]:9100"),
        ("localhost:0", "localhost:0"),
    ],
)
def test_addresses_as_people_write_them(text: str, address: str) -> None:
    """A port alone is on loopback, a colon in front means every interface."""
    listen = parse_listen(text)
    assert listen is not None
    assert listen.address == address
    assert parse_listen("off") is None


@pytest.mark.parametrize(
    "text", ["", "host", "::1:9", "1.2.3.4:99999", "http://a:1", "a b:1", "-1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("host", "is_fine"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.5", "gpu.lan")),
    ],
)
def test_only_loopback_unless_allowed(host: str, is_fine: bool) -> None:
    """An address that other machines reach wants a second word."""
    settings = Settings(serve=ServeSettings(listen=Listen(host=host)))
    if is_fine:
        check_listen(settings)
        return
    with pytest.raises(ConfigError, match="other machines") as caught:
        check_listen(settings)
    assert "allow_remote" in caught.value.hint
    check_listen(replace(settings, serve=replace(settings.serve, allow_remote=True)))


class Broken:
    """A listener with a bug."""

    def stepped(self, _step: Step) -> None:
        raise ZeroDivisionError

    def heard(self, _findings: object) -> None:
        raise ZeroDivisionError


def test_a_listener_that_fails_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is told may have a bug: it is logged, and models are kept all the same."""
    settings = Settings(url=TWIN)
    order = ServeOrder(load=lambda: settings, environ={}, is_once=True)
    service = Service(order, settings, connect(settings, environ={}))
    service._telling.listeners = (Broken(), *service._telling.listeners)
    with ExitStack() as stack:
        service.run(service.take_over(stack))
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert "listener_failed" in events
    assert events[-1] == "stopped"


def test_an_address_that_changed_counts_after_a_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reload cannot move the listener, and says so instead of ignoring the key."""
    path = tmp_path / "b.toml"

    def load() -> Settings:
        return load_settings(config=str(path), host=TWIN)

    path.write_text('[serve]\nlisten = "off"\n')
    settings = load()
    service = Service(ServeOrder(load=load, environ={}), settings, connect(settings, environ={}))
    service._reload()
    assert capsys.readouterr().err == ""
    path.write_text('[serve]\nlisten = "9100"\n')
    service._reload()
    assert "restart_needed" in capsys.readouterr().err
