"""One look at a host: what is unknown stays unknown, and only a silent server is an error."""

from __future__ import annotations

import pytest

from warmset.core.host.survey import survey_of_elsewhere
from warmset.core.model import Entry, ModelKey, Resident, ServerSettings
from warmset.core.settings import Settings, merge_server
from warmset.errors import BackendError, BackendTimeout, BadStatus, Unreachable, WarmsetError
from warmset.shell.observe import observe
from warmset.shell.wiring import Connection, SystemClock

ENTRY = Entry(key=ModelKey("sha256:a"), names=("a:latest",), manifest_digests={}, file_bytes=1)
ROW = Resident(
    name="a:latest",
    manifest_digest="",
    key=ENTRY.key,
    size_bytes=1,
    size_vram_bytes=1,
    context=4096,
    expires_at=None,
)


class FakeServer:
    """Answers each question, or raises what it was told to."""

    url = "http://gpu.example:11434"

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures

    def _answer(self, question, answer):
        if question in self.failures:
            raise self.failures[question]
        return answer

    def version(self):
        return self._answer("version", "0.33.0")

    def entries(self):
        return self._answer("entries", (ENTRY,))

    def residents(self, entries):
        return self._answer("residents", (ROW,))


def connected(**failures: Exception) -> Connection:
    return Connection(
        server=FakeServer(**failures),
        clock=SystemClock(),
        is_local=False,
        survey=lambda: survey_of_elsewhere("gpu.example"),
        notes=("said of the address",),
    )


def test_a_remote_host_has_models_but_no_gpus_and_no_ram_of_ours() -> None:
    """What its server says is taken; this machine's devices are never attributed to it."""
    seen = observe(connected(), Settings())
    assert (seen.entries, seen.residents, seen.version) == ((ENTRY,), (ROW,), "0.33.0")
    assert [device.total_bytes.value for device in seen.devices] == [None]
    assert seen.memory.available_bytes.value is None
    assert "gpu.example" in seen.memory.available_bytes.reason
    assert not seen.is_local
    assert seen.notes[0] == "said of the address"
    assert any("another machine" in note for note in seen.notes)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (BackendTimeout("slow"), "did not answer in time"),
        (BadStatus("GET /api/ps: 500"), "GET /api/ps: 500"),
    ],
    ids=["timeout", "status"],
)
def test_residents_that_cannot_be_had_are_unknown_never_empty(
    failure: BackendError, words: str
) -> None:
    """A list that did not come is `None`, and a note says why."""
    seen = observe(connected(residents=failure), Settings())
    assert seen.residents is None
    assert any("resident models unknown" in note and words in note for note in seen.notes)


def test_an_unknown_version_is_no_error() -> None:
    """The version only tunes rules."""
    assert observe(connected(version=BackendTimeout("slow")), Settings()).version is None


@pytest.mark.parametrize("question", ["entries", "residents"])
def test_a_server_that_is_not_there_is_an_error(question: str) -> None:
    """Nothing can be said of a host whose server does not listen."""
    with pytest.raises(Unreachable):
        observe(connected(**{question: Unreachable("refused")}), Settings())


def test_models_that_cannot_be_listed_are_an_error() -> None:
    """Without the list of what is installed there is nothing to decide on."""
    with pytest.raises(WarmsetError, match="half a list"):
        observe(connected(entries=BackendError("half a list")), Settings())


def test_what_was_seen_of_a_server_beats_what_was_said_of_it() -> None:
    """The operator's word fills what could not be seen; a seen 0 or false is seen."""
    said = ServerSettings(num_parallel=4, sched_spread=True, context_length=8192)
    seen = ServerSettings(num_parallel=1, sched_spread=False)
    merged = merge_server(said, seen)
    assert (merged.num_parallel, merged.sched_spread, merged.context_length) == (1, False, 8192)
    assert merge_server(ServerSettings(), ServerSettings()) == ServerSettings()
