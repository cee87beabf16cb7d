"""Whom a running daemon tells: Prometheus, health probes, the service manager, a webhook."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from warmset.adapters.systemd import ServiceManager
from warmset.core.settings import Settings
from warmset.errors import ConfigError
from warmset.ports import Clock
from warmset.shell.board.keeper import BoardKeeper
from warmset.shell.board.past import keeper_of
from warmset.shell.board.values import board_to_plain
from warmset.shell.log import EventLog
from warmset.shell.telemetry.health import Health, Verdict
from warmset.shell.telemetry.listening import Listener
from warmset.shell.telemetry.manager import ManagerNews
from warmset.shell.telemetry.notices import Notices
from warmset.shell.telemetry.outbox import Outcome
from warmset.shell.telemetry.web import Answer, Asked, Web


class Telling:
    """The listeners of one daemon.

    Args:
        clock: of the host.
        log: where it is told what does not work.
        environ: names the service manager's socket.
    """

    def __init__(self, clock: Clock, log: EventLog, environ: Mapping[str, str]) -> None:
        self._clock = clock
        self._log = log
        self._manager = ManagerNews(ServiceManager(environ))
        self._web: Web | None = None
        self._notices = Notices(self._hear_of_notice)
        self._count: Callable[[str], None] = lambda _: None
        self.listeners: tuple[Listener, ...] = (self._manager, self._notices)
        self.url = ""

    def start(self, settings: Settings, folder: Path | None = None) -> None:
        """Begins to answer.

        Args:
            settings: where, and whether with a page.
            folder: what an earlier process left of this host, for the picture; `None`: nothing.

        An address that is taken is an error if somebody asked for it. The default one is not
        worth a model host's life: then only the log tells.

        Raises:
            ConfigError: the address cannot be used.
        """
        listen = settings.serve.listen
        if listen is None:
            return
        from warmset.shell.telemetry.tally import Tally

        tally, health = Tally(self._clock.now), Health(self._clock.monotonic)

        board = keeper_of(folder, self._clock.now())
        has_page = settings.serve.page

        def metrics(asked: Asked) -> Answer:
            body, kind = tally.metrics.render(asked.accept)
            return Answer(body=body, kind=kind)

        paths = {
            "/metrics": metrics,
            "/healthz": lambda _: _judge(health.live),
            "/readyz": lambda _: _judge(health.ready),
            "/api/status.json": lambda asked: _status(board, may_see=asked.is_local or has_page),
        }
        site = None
        if has_page:
            from warmset.shell.page.site import Site

            site = Site(board).app
        web = Web(paths, site)
        try:
            self.url = web.start(listen)
        except OSError as error:
            why = f"{listen.address}: {error.strerror or error}"
            origin = settings.origins.get("serve.listen")
            if origin is not None:
                raise ConfigError(
                    f"{origin}: cannot listen on {why}",
                    hint='choose another port, or `listen = "off"` under [serve]',
                ) from error
            self._log.write("listen_failed", "warning", address=listen.address, error=why)
            return
        self._web = web
        self.listeners = (*self.listeners, tally, health, board)
        self._count = lambda outcome: tally.metrics.count("notifications_total", outcome)
        self._log.write("listening", url=self.url, page=has_page)

    def _hear_of_notice(self, outcome: Outcome, reason: str) -> None:
        self._count(outcome)
        if outcome != "sent":
            self._log.write("webhook_failed", "warning", outcome=outcome, reason=reason)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """The configuration is read again inside this block."""
        self._manager.reloading()
        try:
            yield
        finally:
            self._manager.reloaded()

    def stopping(self) -> None:
        """The end has begun."""
        self._manager.stopping()

    def stop(self) -> None:
        """Answers and tells nobody any more."""
        self._notices.close()
        if self._web is not None:
            self._web.stop()


def _status(board: BoardKeeper, *, may_see: bool) -> Answer:
    """Other machines see programs and models by name only if the operator wants a page."""
    if not may_see:
        return Answer(body=b"only for this machine: `[serve] page` is off\n", status=403)
    picture = board.board()
    if picture is None:
        return Answer(body=b"no look has ended yet\n", status=503)
    body = json.dumps(board_to_plain(picture), ensure_ascii=False, allow_nan=False)
    return Answer(body=body.encode(), kind="application/json")


def _judge(verdict: Verdict) -> Answer:
    is_good, text = verdict
    word = "ok" if is_good else "not ok"
    return Answer(body=f"{word}: {text}\n".encode(), status=200 if is_good else 503)
