"""Signs that a model is in use, and from where they can be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmset.core.host.commands import parse_command
from warmset.core.host.evidence import Look, Sign, Strength, Use, find_use
from warmset.core.host.processes import PidSpace, ProcessFacts
from warmset.core.host.runners import Phase, Runner
from warmset.core.host.vantage import Lever, Vantage, judge_vantage
from warmset.core.model import FOREVER, ModelKey, Resident

HEX = "ab" * 32
KEY = ModelKey(f"sha256:{HEX}")
T0 = 1_000_000.0


def row(expires_at: float | None) -> Resident:
    """Returns a row of /api/ps."""
    return Resident(
        name="m",
        manifest_digest="",
        key=KEY,
        size_bytes=1,
        size_vram_bytes=1,
        context=None,
        expires_at=expires_at,
    )


def look(
    at: float,
    expires_at: float | None = T0 + 300,
    *,
    cpu: float | None = None,
    phase: Phase = Phase.RESIDENT,
    gpu: float | None = None,
) -> Look:
    """Returns a look with one model and its runner."""
    process = ProcessFacts(
        pid=200,
        parent_pid=100,
        name="llama-server",
        command=parse_command(["llama-server", "--model", f"/x/sha256-{HEX}"]),
        started_at=1.0,
        cpu_seconds=cpu,
    )
    return Look(
        at=at,
        residents=(row(expires_at),),
        runners=(Runner(process=process, phase=phase, reason="", key=KEY),),
        gpu_seconds={} if gpu is None else {200: gpu},
    )


def signs(before: Look | None, now: Look) -> list[tuple[Sign, Strength, bool]]:
    """Returns the signs found."""
    return [(use.sign, use.strength, use.is_busy) for use in find_use(before, now)]


def test_quiet_model_gives_no_sign() -> None:
    """Nothing moved, nothing burned: no sign, which is no proof of idleness."""
    assert find_use(look(T0, cpu=1.0, gpu=1.0), look(T0 + 5, cpu=1.1, gpu=1.1)) == ()


def test_moved_deadline_is_a_use_that_ended() -> None:
    """`expires_at` is written when a runner becomes idle."""
    found = signs(look(T0), look(T0 + 5, T0 + 302))
    assert found == [(Sign.EXPIRY_MOVED, Strength.STRONG, False)]


def test_deadline_that_slides_with_the_clock_is_a_first_request_in_flight() -> None:
    """Never idle yet: the deadline is computed at each query."""
    found = signs(look(T0), look(T0 + 5, T0 + 305))
    assert found == [(Sign.EXPIRY_SLIDES, Strength.STRONG, True)]


@pytest.mark.parametrize(
    ("before", "after"),
    [(T0 + 7200, T0 + 302), (FOREVER, T0 + 302), (T0 + 300, FOREVER)],
    ids=["sooner", "no longer for ever", "for ever"],
)
def test_a_deadline_that_a_request_set_anew_is_a_use(before: float, after: float) -> None:
    """A client's own keep-alive may be shorter than what stood there, ours for example."""
    found = signs(look(T0, before), look(T0 + 5, after))
    assert found == [(Sign.EXPIRY_MOVED, Strength.STRONG, False)]


def test_who_is_told_to_go_is_not_used() -> None:
    """An unload sets the deadline to its own moment."""
    assert signs(look(T0, T0 + 7200), look(T0 + 5, T0 + 4.5)) == []


def test_our_own_renewal_is_no_use() -> None:
    """A ping of ours moves the deadline as well."""
    assert find_use(look(T0), look(T0 + 5, T0 + 900), renewed=frozenset({KEY})) == ()


def test_passed_deadline_is_a_busy_model() -> None:
    """Still listed past its deadline: a request is in flight (or an unload waits for one)."""
    found = signs(None, look(T0, T0 - 30))
    assert found == [(Sign.EXPIRY_PASSED, Strength.STRONG, True)]


@pytest.mark.parametrize("expires_at", [FOREVER, None])
def test_endless_and_unknown_deadlines_prove_nothing(expires_at: float | None) -> None:
    """Infinity does not move."""
    assert find_use(look(T0, expires_at), look(T0 + 5, expires_at)) == ()


def test_loading_runner_is_a_request() -> None:
    """A load that nobody listed yet was asked for by someone."""
    found = signs(None, look(T0, phase=Phase.LOADING))
    assert found == [(Sign.LOADING, Strength.STRONG, True)]


def test_runner_that_burns_time_is_probably_busy() -> None:
    """CPU or GPU time since the last look is a moderate sign."""
    found = signs(look(T0, cpu=1.0, gpu=0.0), look(T0 + 5, cpu=5.0, gpu=2.0))
    assert found == [
        (Sign.CPU_TIME, Strength.MODERATE, True),
        (Sign.GPU_TIME, Strength.MODERATE, True),
    ]


def test_another_servers_runner_says_nothing_of_ours() -> None:
    """Only runners of the server that warmset talks to count."""
    assert find_use(None, look(T0, phase=Phase.OTHER)) == ()


def test_silent_ps_gives_no_signs_of_expiry() -> None:
    """Unknown residents are neither busy nor idle."""
    silent = replace(look(T0 + 5), residents=None, runners=())
    assert find_use(look(T0), silent) == ()


def test_clock_that_steps_back_gives_no_rate() -> None:
    """A negative span is no measure."""
    assert find_use(look(T0, cpu=1.0), look(T0 - 5, cpu=90.0)) == ()


def test_use_names_its_reason() -> None:
    """Every sign can be explained."""
    (use,) = find_use(None, look(T0, T0 - 30))
    assert isinstance(use, Use)
    assert "30 s" in use.reason


# -- vantage ------------------------------------------------------------------------------------


def test_remote_server_never_gets_this_machines_devices() -> None:
    """Whatever runs here: another machine's server has none of it, and no preload."""
    sight = judge_vantage(
        is_own_address=False,
        system="linux",
        is_wsl=False,
        pid_space=PidSpace.HOST,
        is_server_seen=True,
    )
    assert sight.vantage is Vantage.REMOTE
    assert not sight.sees_devices
    assert Lever.PRELOAD not in sight.levers


@pytest.mark.parametrize(
    ("system", "is_wsl", "space", "seen", "expected"),
    [
        ("linux", False, PidSpace.HOST, True, Vantage.LOCAL),
        ("linux", False, PidSpace.INNER, True, Vantage.CONTAINER),
        ("linux", False, PidSpace.INNER, False, Vantage.CONTAINER),
        ("linux", False, PidSpace.HOST, False, Vantage.UNCONFIRMED),
        ("linux", True, PidSpace.INNER, True, Vantage.WSL2),
        ("darwin", False, PidSpace.HOST, True, Vantage.MACOS),
        ("windows", False, PidSpace.HOST, True, Vantage.WINDOWS),
    ],
)
def test_vantage_of_an_own_address(
    system: str, is_wsl: bool, space: PidSpace, seen: bool, expected: Vantage
) -> None:
    """An own address is confirmed by a visible process; a tunnel looks the same without one."""
    sight = judge_vantage(
        is_own_address=True,
        system=system,  # type: ignore[arg-type]
        is_wsl=is_wsl,
        pid_space=space,
        is_server_seen=seen,
    )
    assert sight.vantage is expected
    assert sight.sees_devices
    assert (Lever.PRELOAD in sight.levers) == (expected is not Vantage.UNCONFIRMED)
    assert sight.sees_process_bytes == (expected is Vantage.LOCAL)
