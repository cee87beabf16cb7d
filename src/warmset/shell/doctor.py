"""Every probe of a host with its result and what to do about it.

Rule: the doctor looks at everything, whatever fails; nothing that it meets is an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from warmset.core.host.survey import HostSurvey
from warmset.core.host.vantage import Lever
from warmset.core.model import Resident
from warmset.core.ollama.generation import generation_of
from warmset.core.settings import Settings, merge_server
from warmset.errors import BackendError
from warmset.shell.doctor_advice import Advice, Host, advise
from warmset.shell.doctor_install import (
    examine_configuration,
    examine_files,
    examine_software,
    examine_token,
)
from warmset.shell.doctor_levers import examine_levers
from warmset.shell.doctor_machine import examine_machine
from warmset.shell.doctor_probe import Health, Probe
from warmset.shell.doctor_settings import examine_environment, examine_settings
from warmset.shell.observe import is_server_seen
from warmset.shell.wiring import Connection


def examine(
    connection: Connection, settings: Settings, *, environ: Mapping[str, str]
) -> tuple[Probe, ...]:
    """Returns every probe, the good ones too, in the order of the way from server to files."""
    survey = connection.survey()
    version, residents, server = _ask_server(connection)
    environment = (survey.server.environment if survey.server else None) or {}
    return (
        *server,
        *(_vantage(survey, residents) if version is not None else ()),
        *examine_machine(survey),
        _origin(survey, settings),
        *examine_environment(environment),
        *examine_settings(
            merge_server(settings.server, survey.settings),
            generation=generation_of(version),
            devices=tuple(reading.device for reading in survey.readings)
            if survey.is_own_address
            else None,
            pins=sum(policy.pin for policy in settings.models.values()),
        ),
        *(() if survey.is_twin else examine_levers(environ, connection.server.url)),
        *(() if survey.is_twin else examine_configuration(settings.path)),
        *examine_token(settings.alerts.token_file),
        *(() if survey.is_twin else examine_files(environ)),
        *examine_software(),
    )


def recommend(connection: Connection, settings: Settings) -> tuple[Advice, ...]:
    """Returns how Ollama should be started on this host; nothing where it does not answer."""
    survey = connection.survey()
    try:
        version, entries = connection.server.version(), connection.server.entries()
    except BackendError:
        return ()
    host = Host(
        entries=entries,
        settings=settings,
        server=merge_server(settings.server, survey.settings),
        generation=generation_of(version),
        devices=tuple(reading.device for reading in survey.readings)
        if survey.is_own_address
        else None,
    )
    return advise(host)


def _ask_server(
    connection: Connection,
) -> tuple[str | None, tuple[Resident, ...] | None, tuple[Probe, ...]]:
    url = connection.server.url
    try:
        version = connection.server.version()
        entries = connection.server.entries()
    except BackendError as error:
        failed = Probe(
            area="server", name="ollama", health=Health.FAIL, detail=error.message, hint=error.hint
        )
        return None, None, (failed,)
    is_old = not generation_of(version).has_automatic_flags
    found = [
        Probe(
            area="server",
            name="ollama",
            health=Health.WARN if is_old else Health.OK,
            detail=f"{version} at {url}, {len(entries)} models installed",
            hint="before 0.30 its rules differ; forecasts are less certain" if is_old else "",
        )
    ]
    try:
        residents = connection.server.residents(entries)
    except BackendError as error:
        found.append(
            Probe(
                area="server",
                name="/api/ps",
                health=Health.FAIL,
                detail=error.message,
                hint=error.hint or "a hung runner holds its lock; see the server's log",
            )
        )
        return version, None, tuple(found)
    strangers = [resident.name for resident in residents if resident.key is None]
    found.append(
        Probe(
            area="server",
            name="/api/ps",
            health=Health.WARN if strangers else Health.OK,
            detail=f"{len(residents)} resident"
            + (f"; not installed any more: {', '.join(strangers)}" if strangers else ""),
            hint="deleted or pulled anew while loaded; they leave when idle" if strangers else "",
        )
    )
    return version, residents, tuple(found)


def _vantage(survey: HostSurvey, residents: tuple[Resident, ...] | None) -> Iterator[Probe]:
    sight = survey.sight(is_server_seen=is_server_seen(survey, residents))
    missing = sorted(lever.value for lever in Lever if lever not in sight.levers)
    yield Probe(
        area="server",
        name="vantage",
        health=Health.WARN if missing else Health.OK,
        detail=f"{sight.vantage.value}: {sight.reason}"
        + (f"; not visible: {', '.join(sight.blind_spots)}" if sight.blind_spots else ""),
        hint=f"not possible from here: {', '.join(missing)}; run warmset on the server's machine"
        if missing
        else "",
    )


def _origin(survey: HostSurvey, settings: Settings) -> Probe:
    """Says where the settings judged after it come from."""
    server = survey.server
    origins = sorted(name for name in settings.origins if name.startswith("ollama."))
    said = [name for name in origins if name != "ollama.url"]
    health, hint = Health.OK, ""
    if survey.is_twin or (server is not None and server.environment is not None):
        detail = "read from the server's own process"
    elif said:
        detail = f"as the configuration says: {', '.join(said)}"
    else:
        detail, health = "not known, taken for Ollama's defaults", Health.UNKNOWN
        hint = "run as the server's user or root, or state them under [ollama] in budgets.toml"
    return Probe(area="settings", name="environment", health=health, detail=detail, hint=hint)
