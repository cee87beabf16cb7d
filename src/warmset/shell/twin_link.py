"""`twin://NAME` wherever a URL goes: a pretended host inside this process, under virtual time.

The real client talks to the twin's HTTP interface without a socket, so everything that is
asked, sent and parsed is what a real server would get. `NAME` is a named host or a `.toml` file;
`?demand=office&hours=2&seed=1` says what its users did before we look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from warmset.core.settings import Settings
from warmset.core.twin.api.routes import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.demand import Arrival
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.core.units import HOUR
from warmset.errors import ConfigError
from warmset.shell.observe_twin import survey_twin
from warmset.shell.twin_files import find_demand, find_host
from warmset.shell.wiring import Connection

START: Final = 1_767_603_600.0
"""Where virtual time begins: 5 January 2026, 09:00 UTC, a Monday."""
DEFAULT_DEMAND: Final = "office"
DEFAULT_HOURS: Final = 2.0
LONGEST_ANSWER_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinAddress:
    """What stands behind `twin://`."""

    host: str
    demand: str
    hours: float
    seed: int


def parse_twin_address(text: str) -> TwinAddress:
    """Returns what `NAME?demand=…&hours=…&seed=…` means.

    Raises:
        ConfigError: an unknown word, or a number that is none.
    """
    name, _, query = text.partition("?")
    said = dict(parse_qsl(query, keep_blank_values=True))
    unknown = set(said) - {"demand", "hours", "seed"}
    if unknown or not name:
        raise ConfigError(
            f'"twin://{text}": '
            + (f"no such word: {', '.join(sorted(unknown))}" if name else "no host"),
            hint="twin://workstation?demand=office&hours=2&seed=1 has all the words there are.",
        )
    try:
        hours, seed = float(said.get("hours", DEFAULT_HOURS)), int(said.get("seed", 0))
    except ValueError:
        hours, seed = -1.0, 0
    if not 0 <= hours <= 24 * 31:
        raise ConfigError(f'"twin://{text}": hours (0 to 744) and seed must be numbers')
    return TwinAddress(host=name, demand=said.get("demand", DEFAULT_DEMAND), hours=hours, seed=seed)


def connect_twin(text: str, settings: Settings) -> Connection:
    """Returns a connection to a pretended host whose users have been at work.

    Raises:
        ConfigError: there is no such host or demand.
    """
    from warmset.adapters.ollama.inprocess import connect_in_process

    del settings
    address = parse_twin_address(text)
    twin = LiveTwin(find_host(address.host), address)
    return Connection(
        server=connect_in_process("twin." + twin.host.spec.name, twin.answer, now=twin.now),
        clock=twin,
        is_local=True,
        survey=lambda: survey_twin(twin.host),
        wait=twin.wait,
        skip=twin.skip,
        notes=(
            (
                f"{twin.host.spec.name} is a twin: nothing here is real; its users' demand was "
                f'"{address.demand}" for {address.hours:g} hours'
            ),
        ),
    )


class LiveTwin:
    """A twin host that has lived through some demand. Implements `ports.Clock`."""

    def __init__(self, spec: HostSpec, address: TwinAddress) -> None:
        timeline = Timeline(START)
        self.host = TwinHost(spec, physics_of(spec), timeline)
        self._api = Api(self.host)
        names = tuple(model.name for model in spec.models)
        arrivals = find_demand(address.demand, names, hours=address.hours, seed=address.seed)
        for arrival in arrivals:
            timeline.at(START + arrival.at, partial(self._use, arrival))
        timeline.advance(START + address.hours * HOUR)

    def _use(self, arrival: Arrival) -> None:
        self.host.use(arrival.model, arrival.seconds, keep_alive=arrival.keep_alive)

    def now(self) -> float:
        """Returns the twin's Unix time."""
        return self.host.timeline.now

    def monotonic(self) -> float:
        """Returns the twin's time, which never steps back."""
        return self.host.timeline.now

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Returns the whole answer to a request, letting virtual time pass until it is there."""
        exchange = self._api.handle(method, path.partition("?")[0], body, {"host": "localhost"})
        del headers
        deadline = self.host.timeline.now + LONGEST_ANSWER_SECONDS
        while not exchange.is_done and self.host.timeline.now < deadline:
            self.host.timeline.advance(min(self.host.timeline.next_at, deadline))
        if not exchange.is_done:
            exchange.abandon()
            return 500, {"content-type": "application/json"}, b'{"error":"the twin hangs"}'
        return exchange.status, {"content-type": exchange.content_type}, exchange.take()

    def wait(self, seconds: float) -> None:
        """Lets as much time pass in the twin as passes here."""
        time.sleep(seconds)
        self.skip(seconds)

    def skip(self, seconds: float) -> None:
        """Lets time pass in the twin alone."""
        self.host.timeline.advance(self.host.timeline.now + seconds)
