"""What the loop found out about its levers on this host, as the doctor tells it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from warmset.core.control.drift import FAILURES, describe
from warmset.errors import WarmsetError
from warmset.shell.doctor_probe import Health, Probe


def examine_levers(environ: Mapping[str, str], url: str) -> Iterator[Probe]:
    """Yields how pings, loads, unloads and their order fared, from the saved state of the loop.

    Nothing where no loop has run beside this host.
    """
    from warmset.shell.pages import read_story

    try:
        state = read_story(environ, url, limit=1).state
    except WarmsetError as error:
        yield Probe(
            area="server",
            name="levers",
            health=Health.UNKNOWN,
            detail=error.message,
            hint=error.hint,
        )
        return
    if state is None:
        return
    now = time.time()
    for lever, record in sorted(state.levers.items()):
        if record.broken_since is None:
            detail = f"{record.failures} of {FAILURES} uses in a row without effect"
            yield Probe(
                area="server", name=f"lever {lever}", health=Health.WARN, detail=detail, hint=_WAIT
            )
        else:
            detail = describe(lever, record, now)
            yield Probe(
                area="server", name=f"lever {lever}", health=Health.FAIL, detail=detail, hint=_HINT
            )
    if not state.levers:
        detail = "what the loop told Ollama had its effect, as far as it told it anything"
        yield Probe(area="server", name="levers", health=Health.OK, detail=detail)


_WAIT = "`warmset history` tells of each; one success clears the count"
_HINT = (
    "`warmset history` tells when it began; if Ollama was upgraded, upgrade warmset or go back to "
    "the version before"
)
