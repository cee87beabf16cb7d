"""Models by name where no Ollama answers: what could be planned on hardware that is not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.core.model import HostMemory, Observation, Reading, unknown
from warmset.core.settings import Settings
from warmset.errors import Unreachable
from warmset.shell.newcomer import find_newcomer

_SOURCE = "supposed"


def unserved(
    settings: Settings, what_ifs: Sequence[str], environ: Mapping[str, str], error: Unreachable
) -> Observation:
    """Returns a host of no hardware, with the models that budgets.toml names as installed.

    Args:
        settings: the operator's word.
        what_ifs: changes that are supposed; one of them may add the first model.
        environ: where caches and the registry are.
        error: why the server cannot be asked.

    Raises:
        Unreachable: no model is named; says how.
        BackendError: nothing is known of a name.
    """
    names = [policy.name for policy in settings.models.values()]
    if not names and not any(text.lower().split()[:1] == ["add"] for text in what_ifs):
        raise Unreachable(
            f"{error.message}; no model is named that could be planned without it",
            hint='start Ollama, name models in budgets.toml or by --what-if "add MODEL", '
            "or plan for a twin's own: warmset --host twin://2x24 plan",
            context=error.context,
        ) from error
    nothing: Reading[int] = unknown(_SOURCE, "no server answers")
    return Observation(
        at=0.0,
        server_url=settings.url,
        is_local=False,
        version=None,
        entries=tuple(find_newcomer(None, name, environ) for name in names),
        residents=(),
        devices=(),
        memory=HostMemory(total_bytes=nothing, available_bytes=nothing),
        settings=settings.server,
    )
