"""Alarms at a real HTTP receiver: told once, tried again, never in the loop's way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from serving_rig import PROMPT_SECONDS, Rig, rigged

from warmset.adapters.config import load_settings
from warmset.adapters.webhook import post
from warmset.cli.commands.config import describe
from warmset.core.control.config import Config
from warmset.core.control.plain import to_plain
from warmset.core.settings import AlertSettings, Settings
from warmset.errors import BadStatus, ConfigError, Unreachable
from warmset.shell.telemetry.outbox import MOST_WAITING, Outbox

SECRET = "T0P-S3CRET"


class Receiver(ThreadingHTTPServer):
    """Keeps what is POSTed; answers with the statuses given, the last one for ever."""

    daemon_threads = True

    def __init__(self, *statuses: int, hang: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses) or [200]
        self.hang = hang
        self.got: list[tuple[dict, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """An address with a secret in it."""
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/{SECRET}"

    def events(self) -> list[str]:
        """Returns what was told, in order."""
        return [f"{body['event']} {body['code']}" for body, _ in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        time.sleep(self.server.hang)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.got.append((body, self.headers.get("authorization", "")))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A host of a test's own."""
    with rigged(tmp_path) as made:
        yield made


def test_an_alarm_is_told_and_its_end_too(rig: Rig) -> None:
    """The receiver fails once and is tried again; the token goes along; the log has no secret."""
    receiver = Receiver(503, 200)
    token = rig.folder / "token"
    token.write_text("bearer-of-news\n")
    alerts = f'[alerts]\nwebhook = "{receiver.url}"\ntoken_file = "{token}"\n'
    pin = '[model."llama3.2:3b"]\npin = true\n'
    rig.budgets.write_text(f'{alerts}{pin}[model."absent:1b"]\npin = true\n')
    daemon = rig.serve("--listen", "off")
    rig.wait_until(lambda: receiver.events() == ["alarm_raised pin_absent"] * 2, 60)
    body, authorization = receiver.got[1]
    assert authorization == "Bearer bearer-of-news"
    assert body["schema_version"] == 1
    assert body["severity"] == "error"
    assert "absent:1b" in body["text"]
    assert body["server"] == rig.url
    rig.budgets.write_text(alerts + pin)
    daemon.signal(1)
    rig.wait_until(lambda: receiver.events()[2:] == ["alarm_cleared pin_absent"], 60)
    assert daemon.stop() < PROMPT_SECONDS
    assert SECRET not in "".join(daemon.raw)
    assert "bearer-of-news" not in "".join(daemon.raw)


def test_a_receiver_that_hangs_delays_nothing(rig: Rig) -> None:
    """The plan becomes true and the end comes in time, whatever the webhook does."""
    receiver = Receiver(hang=30.0)
    rig.budgets.write_text(
        f'[alerts]\nwebhook = "{receiver.url}"\n[model."absent:1b"]\npin = true\n'
        '[model."llama3.2:3b"]\npin = true\n'
    )
    daemon = rig.serve("--listen", "off")
    daemon.wait_for("preloaded", model="llama3.2:3b", seconds=60)
    assert daemon.stop() < PROMPT_SECONDS


def test_tries_are_bounded_and_the_oldest_gives_way() -> None:
    """Four tries for what may pass, one for what will not; a full queue drops and says so."""
    told: list[tuple[str, str]] = []
    tries: list[object] = []
    gate = threading.Event()

    def send(message: object) -> None:
        gate.wait(30)
        tries.append(message)
        raise Unreachable("gone") if message != {"n": 1} else BadStatus("HTTP 404")

    outbox = Outbox(send, lambda outcome, why: told.append((outcome, why)), pauses=(0.01,) * 3)
    for n in range(MOST_WAITING + 3):
        outbox.put({"n": n})
    dropped = told.count(("dropped", f"more than {MOST_WAITING} wait"))
    assert dropped in (2, 3)  # the thread may or may not have taken the first one yet
    gate.set()
    deadline = time.monotonic() + 30
    while len(told) < MOST_WAITING + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    outbox.close()
    counts = [tries.count({"n": n}) for n in range(MOST_WAITING + 3)]
    assert set(counts) <= {0, 1, 4}
    assert counts[-1] == 4
    assert told.count(("failed", "gone")) + told.count(("failed", "HTTP 404")) == (
        MOST_WAITING + 3 - dropped
    )


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, Unreachable), (429, Unreachable), (404, BadStatus), (301, BadStatus)],
)
def test_an_error_names_the_host_and_no_secret(status: int, error: type[Exception]) -> None:
    """What may pass is told from what will not; redirects are not followed."""
    receiver = Receiver(status)
    with pytest.raises(error, match=f"^127.0.0.1: HTTP {status}$"):
        post(receiver.url, {"code": "x", "event": "y"})


def test_bad_addresses_and_tokens(tmp_path: Path) -> None:
    """Each is an error without the secret in it."""
    with pytest.raises(Unreachable) as caught:
        post(f"http://127.0.0.1:1/{SECRET}", {})
    assert SECRET not in caught.value.message
    with pytest.raises(ConfigError, match="token cannot be read"):
        post("http://127.0.0.1:1/", {}, token_file=str(tmp_path / "none"))
    (tmp_path / "two").write_text("a\nb")
    with pytest.raises(ConfigError, match="one token"):
        post("http://127.0.0.1:1/", {}, token_file=str(tmp_path / "two"))


def test_the_address_is_shown_nowhere(tmp_path: Path) -> None:
    """Not by `config show`, not in the journal's form, not in an error about it."""
    settings = Settings(alerts=AlertSettings(webhook=f"http://a/{SECRET}"))
    assert SECRET not in str(list(describe(settings)))
    assert SECRET not in str(to_plain(Config(settings=settings)))
    assert SECRET not in repr(settings)
    (tmp_path / "b.toml").write_text(f'[alerts]\nwebhook = "ftp://a/{SECRET}"\n')
    with pytest.raises(ConfigError, match=r"b.toml:2: alerts.webhook: should be") as caught:
        load_settings(config=str(tmp_path / "b.toml"))
    assert SECRET not in caught.value.message
