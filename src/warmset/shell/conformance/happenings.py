"""Events of a recording: acted out on the twin, or checked against it, or only noted.

An event of a form that is not listed here says something that no HTTP exchange shows; it is
counted as a step and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from warmset.core.twin.api.gojson import encode
from warmset.core.twin.host import TwinHost
from warmset.core.twin.runner import Runner
from warmset.shell.conformance.model_hints import display
from warmset.shell.conformance.races import MODE, check_race
from warmset.shell.conformance.recording import Happening
from warmset.shell.conformance.unrecorded import stays_after_case

if TYPE_CHECKING:
    from warmset.shell.conformance.replay import Replay

Handler = Callable[["Replay[Any]", Happening, "re.Match[str]"], Iterator[str]]


def act_out(replay: Replay[Any], happening: Happening) -> Iterator[str]:
    """Does or checks what an event says; yields what does not agree."""
    for pattern, handler in _HANDLERS:
        match = re.search(pattern, happening.text)
        if match is not None:
            for miss in handler(replay, happening, match):
                yield f"event {happening.text!r}: {miss}"


def _case(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    """Between cases models were unloaded by requests that are not recorded."""
    del match
    scene = replay.scene
    with replay.link.locked() as host:
        for key in tuple(host.scheduler.loaded):
            names = {m.name for m in host.library.models() if m.key == key}
            if not stays_after_case(scene.recording, happening, {display(n) for n in names}):
                host.scheduler.unload(key)
    return iter(())


def _kill(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del match
    with replay.link.locked() as host:
        victim = _victim(host, happening.text)
        if victim is not None:
            host.kill_runner(victim.model.key)
    if victim is None:
        yield "no such runner in the twin"


def _victim(host: TwinHost, text: str) -> Runner | None:
    runners = sorted(host.scheduler.loaded.values(), key=lambda r: r.pid)
    named = [r for r in runners if r.model.name.lower() in text.lower()]
    if named:
        return named[0]
    if "request" in text or "busy" in text:
        runners = [r for r in runners if r.refs > 0]
    if not runners:
        return None
    return runners[-1] if "last" in text else runners[0]


def _terminate(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening
    yield from _count(replay, match.group(1))
    replay.link.stop_server()


def _gone(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening
    yield from _count(replay, match.group(1))


def _count(replay: Replay[Any], wanted: str | None) -> Iterator[str]:
    with replay.link.locked() as host:
        scheduler = host.scheduler
        count = sum(runner.is_alive for runner in scheduler.loaded.values())
        count += scheduler.loading is not None
    if wanted is not None and int(wanted) != count:
        yield f"{count} runner processes"


def _start(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening, match
    replay.link.start_server()
    return iter(())


def _replaced(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening
    scene = replay.scene
    now = scene.pid_of(scene.last_key)
    if (now != scene.pid_before) != (match.group(1) == "REPLACED"):
        yield f"pid {scene.pid_before} before the request, {now} now"


def _evicted(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening
    wanted = sorted(display(name) for name in re.split(r"[,\s]+", match.group(1)) if ":" in name)
    unloaded = sorted({display(name) for name in replay.scene.unloaded})
    if wanted and wanted != unloaded:
        yield f"the twin unloaded {unloaded}"


def _waits(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening, match
    if not replay.scene.host.scheduler.waiting:
        yield "nothing waits in the twin"


def _empty(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening, match
    names = [row.model.name for row in replay.scene.host.residents()]
    if names:
        yield f"the twin still lists {names}"


def _race(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
    del happening
    scene = replay.scene
    with replay.link.locked():
        yield from check_race(scene.api, scene.recording, match.group(1))


def _damage(**changes: object) -> Handler:
    def handler(replay: Replay[Any], happening: Happening, match: re.Match[str]) -> Iterator[str]:
        del match
        scene = replay.scene
        named = re.search(r'"([^"]+)"', happening.text)
        if named:
            scene.damaged = named.group(1)
            # Whoever damages a file has asked for its path by show, which Ollama remembers.
            scene.api.handle("POST", "/api/show", encode({"model": scene.damaged}))
        with replay.link.locked() as host:
            model = host.library.find(scene.damaged)
            if model is None:
                yield f"no model {scene.damaged!r} in the twin"
                return
            if "size_bytes" in changes:
                host.library.truncate(model.key, model.weights.size_bytes // 2)
            else:
                host.library.change_weights(model.key, **changes)

    return handler


_HANDLERS: Final[tuple[tuple[str, Handler], ...]] = (
    (r"^CASE\b", _case),
    (r"^SIGKILL to the runner", _kill),
    (r"^SIGTERM to the server(?:; runner processes before: (\d+))?", _terminate),
    (r"^SIGKILL to the server(?:; runner processes before: (\d+))?", _terminate),
    (r"^server gone.*?(?:runner processes left: (\d+))?$", _gone),
    (r"^server started", _start),
    (r"^runner processes: (\d+)", _gone),
    (r"^runner process (unchanged|REPLACED)", _replaced),
    (r"^evicted: (.*)", _evicted),
    (r"still waiting", _waits),
    (r"^/api/ps empty", _empty),
    (MODE.pattern, _race),
    (r"weights file.* truncated", _damage(size_bytes=0)),
    (r"weights file.* overwritten", _damage(broken="invalid file magic")),
    (r"weights file.* removed", _damage(is_missing=True)),
)
