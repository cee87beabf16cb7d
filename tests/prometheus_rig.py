"""A real Prometheus that scrapes a real daemon, whose host is a twin with users at work."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import yaml

from warmset.core.settings import Listen, ModelPolicy, ServeSettings, Settings
from warmset.core.twin.hosts import HOSTS
from warmset.shell.serve import ServeOrder, Service
from warmset.shell.signals import Word
from warmset.shell.twin_link import LiveTwin
from warmset.shell.wiring import Connection, connect

SPEED = 60.0
"""Pretended seconds per second: an hour of users in a minute."""

PATIENCE_SECONDS = 90.0
MODELS = {
    "qwen2.5-coder:7b": ModelPolicy(name="qwen2.5-coder:7b", priority=100, pin=True),
    "llama3.1:8b": ModelPolicy(name="llama3.1:8b", priority=80),
    "qwen2.5:32b": ModelPolicy(name="qwen2.5:32b", priority=20, preload=False),
}


class BusyDaemon:
    """`warmset serve` in a thread, beside a twin in quick motion whose users never rest."""

    def __init__(self, *, hours: float = 3.0, page: bool = False, haste: float = 1.0) -> None:
        self._nap = 0.05 / haste
        url = f"twin://workstation?hours={hours:g}&demand=busy&seed=7"
        serve = ServeSettings(listen=Listen(port=0), page=page)
        self.settings = Settings(url=url, models=MODELS, serve=serve)
        connection = connect(self.settings, environ={})
        twin = connection.clock
        assert isinstance(twin, LiveTwin)
        self.connection: Connection = replace(connection, wait=self._wait)
        self._twin = twin
        self._users = 0
        order = ServeOrder(load=lambda: self.settings, environ={}, log_least="error")
        self.service = Service(order, self.settings, self.connection)
        self._stack = ExitStack()
        state = self.service.take_over(self._stack)
        self._thread = threading.Thread(target=self.service.run, args=(state,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.service._telling.url

    def _wait(self, seconds: float) -> None:
        """Lets a little time pass here and much there, with a request now and then."""
        time.sleep(min(seconds, self._nap))
        host = self._twin.host
        names = [model.name for model in HOSTS["workstation"].models]
        self._users += 1
        if self._users % 8 == 0:
            host.use(names[self._users // 8 % len(names)], 4.0)
        self._twin.skip(min(seconds, 0.05) * SPEED)

    def stop(self) -> None:
        """Ends it."""
        self.service._inbox.put(Word.STOP)
        self._thread.join(20)
        self._stack.close()


class Prometheus:
    """A Prometheus on a free port, in a folder of its own.

    Args:
        folder: for its data, and the rules it loads.
        target: `host:port` to scrape.
        rules: rule files.
    """

    def __init__(self, folder: Path, target: str, rules: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        scrape = {"job_name": "warmset", "static_configs": [{"targets": [target]}]}
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        # Until its storage is open it answers 503 to everything.
        self.wait_until(lambda: httpx.get(f"{self.url}/-/ready", timeout=60).is_success)

    def ask(self, expression: str) -> list[dict]:
        """Returns the series of an instant query.

        Raises:
            AssertionError: Prometheus does not understand it.
        """
        reply = httpx.get(
            f"{self.url}/api/v1/query", params={"query": expression}, timeout=60
        ).json()
        assert reply["status"] == "success", reply
        return reply["data"]["result"]

    def rules(self) -> list[dict]:
        """Returns the rules as Prometheus judged them."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=60).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_until(self, fact: Callable[[], bool]) -> None:
        """Waits for something to come true; an answer that does not come yet is none."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if fact():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.25)
        raise AssertionError("it did not come true")

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(20)
        self.log.close()
