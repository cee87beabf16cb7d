"""How often a loop asks what is installed."""

from __future__ import annotations

import json

from recorded_server import RecordedHost, serving

from warmset.core.settings import Settings
from warmset.shell.installed import LOOKS, Installed
from warmset.shell.loop_look import look_for_loop
from warmset.shell.wiring import connect


class Counting(RecordedHost):
    """The recorded server, which counts its calls, and may answer with other residents."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.residents: list[dict] | None = None

    def __call__(self, method: str, path: str, body):
        self.asked.append(path.rsplit("/", 1)[-1])
        if path.endswith("/ps") and self.residents is not None:
            text = json.dumps({"models": self.residents}).encode()
            return 200, "application/json", text
        return super().__call__(method, path, body)


STRANGER = {
    "name": "other:1b",
    "model": "other:1b",
    "size": 10**9,
    "size_vram": 0,
    "digest": "f" * 64,
    "details": {},
    "expires_at": "2030-01-01T00:00:00Z",
    "context_length": 4096,
}


def test_a_calm_host_is_asked_for_its_residents_only() -> None:
    """One `/api/ps` a look; models and version once in some looks, and never for nothing."""
    host = Counting()
    with serving(host) as url:
        settings = Settings(url=url)
        connection = connect(settings, environ={})
        installed, picture = Installed(), None
        counts = []
        for _ in range(2 * LOOKS):
            host.asked.clear()
            look, picture = look_for_loop(connection, settings, picture, installed=installed)
            assert look.entries
            assert look.version
            counts.append((host.asked.count("ps"), host.asked.count("tags")))
        connection.close()
    assert counts == ([(1, 1)] + [(1, 0)] * (LOOKS - 1)) * 2


def test_a_resident_of_no_known_model_is_a_reason_to_ask_once() -> None:
    """A model that was pulled and loaded at once is known at the next look; one that was deleted
    while it stays resident does not cause a question at each look."""
    host = Counting()
    with serving(host) as url:
        settings = Settings(url=url)
        connection = connect(settings, environ={})
        installed, picture = Installed(), None
        tags = []
        for turn in range(LOOKS - 1):
            host.residents = [] if turn == 0 else [STRANGER]
            host.asked.clear()
            _, picture = look_for_loop(connection, settings, picture, installed=installed)
            tags.append(host.asked.count("tags"))
        connection.close()
    assert tags == [1, 0, 1, 0, 0]


def test_a_server_that_was_away_is_asked_for_everything() -> None:
    """After no answer nothing is taken from before."""
    host = Counting()
    installed = Installed()
    with serving(host) as url:
        settings = Settings(url=url)
        connection = connect(settings, environ={})
        look_for_loop(connection, settings, None, installed=installed)
        connection.close()
    assert not installed.is_due
    gone = connect(settings, environ={})
    look, _ = look_for_loop(gone, settings, None, installed=installed)
    gone.close()
    assert look.trouble
    assert installed.is_due
