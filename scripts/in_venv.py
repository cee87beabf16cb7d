"""Lets a script run by itself: it goes on in the checkout's `.venv` if that is not its Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv/bin/python"


def use_venv() -> None:
    """Replaces this process by the same script under `.venv`, and makes `warmset` importable."""
    if PYTHON.exists() and Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606 - this checkout's interpreter
    sys.path.insert(0, str(ROOT / "src"))
    try:
        import httpx  # noqa: F401 - stands for everything that warmset needs
    except ModuleNotFoundError:
        sys.exit("warmset is not installed here yet: run scripts/demo or scripts/test once")
