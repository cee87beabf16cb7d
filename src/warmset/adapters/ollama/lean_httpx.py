"""The one import of httpx, without the command line that it brings along.

Where click is installed (uvicorn needs it), `import httpx` also loads its own command line, and
with it rich and pygments: 88 against 52 ms of CPU here. Hiding click for the moment of the
import spares every verb that.
"""

from __future__ import annotations

import sys

if "httpx" in sys.modules or "click" in sys.modules:
    import httpx
else:
    sys.modules["click"] = None  # type: ignore[assignment]  # the documented way to hide a module
    try:
        import httpx
    finally:
        del sys.modules["click"]

__all__ = ["httpx"]
