"""A real Chromium without a window, driven over its DevTools pipe: no driver, no library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 60.0
LOUD = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")


class Browser:
    """One Chromium with one page.

    Args:
        folder: for its profile.

    Attributes:
        events: all that the page told so far: (method, parameters).
    """

    def __init__(self, folder: Path) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        assert program, "Chromium is not installed; scripts/install tests installs it"
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        options = ("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu")
        quiet = ("--no-first-run", "--disable-background-networking", "--disable-sync")
        self.log = (folder / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}',
                program,
                *options,
                *quiet,
                "--disable-dev-shm-usage",
                "--disable-component-update",
                f"--user-data-dir={folder / 'profile'}",
                "about:blank",
            ],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        os.close(to_read)
        os.close(to_write)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._number = 0
        self._session = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Returns the result of a DevTools command."""
        self._number += 1
        number = self._number
        order: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._write, json.dumps(order).encode() + b"\0")
        with self._news:
            done = self._news.wait_for(lambda: number in self._answers, PATIENCE_SECONDS)
            assert done, f"{method}: no answer; {Path(self.log.name).read_text()[-2000:]}"
            answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _listen(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            with self._news:
                for raw in messages:
                    message = json.loads(raw)
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self.events.append((message["method"], message["params"]))
                self._news.notify_all()

    def open(self, url: str) -> None:
        """Opens a page and waits until it is loaded."""
        with self._news:
            begun = len(self.events)
        self.call("Page.navigate", url=url)
        with self._news:
            loaded = self._news.wait_for(
                lambda: any(m == "Page.loadEventFired" for m, _ in self.events[begun:]),
                PATIENCE_SECONDS,
            )
        assert loaded, url

    def run(self, script: str) -> Any:
        """Returns the value of a JavaScript expression."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_until(self, fact: Callable[[], bool]) -> None:
        """Waits for something to come true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not fact():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.1)

    def show(self, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Gives the page a width and a colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str) -> None:
        """Presses a key."""
        codes = {"Tab": 9, "Enter": 13}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
            )

    def shoot(self, path: Path) -> None:
        """Writes a picture of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[dict[str, Any]]:
        """Returns errors, warnings and console lines of the page."""
        return [told for method, told in self.events if method in LOUD]

    def requested(self) -> list[str]:
        """Returns the URLs that the page asked for."""
        sent = [told for method, told in self.events if method == "Network.requestWillBeSent"]
        return [told["request"]["url"] for told in sent]

    def close(self) -> None:
        """Ends it."""
        self._session = ""
        os.write(self._write, b'{"id":0,"method":"Browser.close"}\0')
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(20)
        os.close(self._write)
        os.close(self._read)
        self.log.close()
