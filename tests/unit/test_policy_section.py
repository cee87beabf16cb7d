"""`[policy]` of budgets.toml: each key reaches the loop, and what is wrong is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from warmset.adapters.config import load_settings
from warmset.adapters.config.schema import PolicySection, keys_of
from warmset.cli.commands.config import describe
from warmset.core.loop_settings import LoopSettings
from warmset.errors import ConfigError

SAID = {
    "manage": ('"all"', "manages_all", True),
    "tick": ('"2s"', "tick", 2.0),
    "min_residency": ('"90s"', "min_residency", 90.0),
    "idle_after": ("45", "idle_after", 45.0),
    "cool_down": ('"5m"', "cool_down", 300.0),
    "calm": ('"1m30s"', "calm", 90.0),
    "settle": ("20.5", "settle", 20.5),
    "pressure": ('"0s"', "pressure", 0.0),
    "lease_base": ('"1h"', "lease_base", 3600.0),
    "lease_base_limit": ('"48h"', "lease_base_limit", 172800.0),
    "stuck_after": ('"3m"', "stuck_after", 180.0),
    "may_rescue": ("true", "may_rescue", True),
    "may_reload_pins": ("true", "may_reload_pins", True),
    "pings_per_tick": ("2", "pings_per_tick", 2),
    "fight_window": ('"20m"', "fight_window", 1200.0),
    "restores_per_window": ("5", "restores_per_window", 5),
    "reasserts_per_window": ("0", "reasserts_per_window", 0),
    "reloads_per_window": ("0", "reloads_per_window", 0),
    "back_off": ('"10m"', "back_off", 600.0),
    "back_off_limit": ('"2h"', "back_off_limit", 7200.0),
    "load_limit": ('"10m"', "load_limit", 600.0),
    "may_evict_unconfigured": ("true", "may_evict_unconfigured", True),
    "may_overwrite_infinite": ("true", "may_overwrite_infinite", True),
    "name": ('"saving"', "name", "saving"),
    "price_per_gib_hour": ("0.5", "price_per_gib_hour", 0.5),
    "on_stop": ('"release"', "on_stop", "release"),
}


def load(folder: Path, text: str) -> LoopSettings:
    path = folder / "budgets.toml"
    path.write_text(f"[policy]\n{text}\n")
    return load_settings(config=str(path)).loop


def test_every_setting_of_the_loop_is_a_key() -> None:
    """Nothing of the loop can be set in tests only, and no key means nothing."""
    assert set(keys_of(PolicySection)) == set(SAID)
    assert {field for _, field, _ in SAID.values()} == {f.name for f in fields(LoopSettings)}


@pytest.mark.parametrize("key", SAID)
def test_a_key_reaches_the_loop(key: str, tmp_path: Path) -> None:
    """Alone in the file it changes one setting, and `config show` names value and line."""
    written, field, value = SAID[key]
    loop = load(tmp_path, f"{key} = {written}")
    assert getattr(loop, field) == value != getattr(LoopSettings(), field)
    settings = load_settings(config=str(tmp_path / "budgets.toml"))
    (shown,) = [line for line in describe(settings) if line.key == f"policy.{key}"]
    assert shown.origin.endswith("budgets.toml:2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('tick = "often"', 'tick = "often": should be a duration such as "5s"'),
        ("tick = 0.1", "greater than or equal to 0.2"),
        ('tick = "10m"', "less than or equal to 300"),
        ("tick = true", "should be a duration"),
        ("cool_down = -1", "should be a duration"),
        ("cool_down = nan", "should be a duration"),
        ('cool_down = "10000h"', "up to a year"),
        ("reloads_per_window = 2.5", "valid integer"),
        ("restores_per_window = 0", "greater than or equal to 1"),
        ('manage = "some"', "'configured' or 'all'"),
        ('on_stop = "go"', "'leave' or 'release'"),
        ('may_evict_unconfigured = "yes"', "valid boolean"),
        ('tik = "5s"', "did you mean tick?"),
        ('name = "lru"', "'saving' or 'worth'"),
        ("price_per_gib_hour = -1", "greater than or equal to 0"),
        ("price_per_gib_hour = nan", "should be less than or equal to 1000000000"),
        ('lease_base = "30h"', "lease_base_limit (86400 s) is below lease_base (108000 s)"),
        ('back_off_limit = "1m"', "back_off_limit (60 s) is below back_off (300 s)"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    """Place, key, value, and what would be right."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert "budgets.toml:2" in refused.value.message
    assert words in refused.value.message


def test_a_variable_counts_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`WARMSET_POLICY__TICK` is like any other key."""
    monkeypatch.setenv("WARMSET_POLICY__TICK", "7s")
    assert load(tmp_path, 'tick = "2s"').tick == 7.0
