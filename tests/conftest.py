"""What every test runs under: no variable of the developer's shell, and reproducible examples."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("WARMSET_HYPOTHESIS", "ci"))

DEBIAN = Path(sys.prefix) / "debian/usr/bin"
"""Where `scripts/install tests` unpacks programs that the system lacks."""

os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{DEBIAN}"

FOREIGN = ("OLLAMA_", "WARMSET_", "XDG_")
SWITCHES = ("NO_COLOR", "FORCE_COLOR", "CONFIGURATION_DIRECTORY", "CUDA_VISIBLE_DEVICES")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name in SWITCHES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent/config")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent/cache")
    monkeypatch.setenv("XDG_STATE_HOME", "/nonexistent/state")
