"""What the soak's laws of the last minutes excuse, and what they do not: faults put in by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from loop_hosts import CODER, EMBED, SMALL
from soak.life import Life
from soak.story import Happening, Story, tell

from warmset.core.control import step, turns
from warmset.core.control.orders import SendPing, SendUnload
from warmset.core.twin.sidecar_view import list_residents

QUIET_FROM = 1800.0
"""Nothing may be loaded or unloaded from then on; the end is 300 s later."""


def story(*, keep: float) -> Story:
    """A calm host with one client, whose keep-alive is over `keep` seconds after 890 s."""
    return replace(
        tell(0),
        pins=(CODER,),
        wanted=(EMBED,),
        kept=(),
        sees_processes=True,
        is_read_only=False,
        may_unload_unmanaged=False,
        lease_base=1800.0,
        happenings=(Happening(888.0, "use", (SMALL, 1.0, keep, None)),),
    )


def moves_for_nothing(life: Life) -> None:
    """Warmset unloads a model that is wanted."""
    assert life.warmset is not None
    model = life.host.library.find(EMBED)
    assert model is not None
    life.warmset._carry_out((SendUnload(number=10_000, key=model.key, name=EMBED),))  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", [700.0, 7200.0])
def test_an_old_keep_alive_explains_no_move(tmp_path: Path, keep: float) -> None:
    """It was over five minutes before, or goes on: a model is unloaded all the same."""
    life = Life(story(keep=keep), tmp_path)
    life.at(QUIET_FROM + 100, lambda: moves_for_nothing(life))
    assert any("still moving" in law for law in life.live())


def test_a_client_explains_what_follows_at_once(tmp_path: Path) -> None:
    """Its keep-alive was over a minute ago."""
    life = Life(story(keep=QUIET_FROM + 40 - 890), tmp_path)
    life.at(QUIET_FROM + 100, lambda: moves_for_nothing(life))
    assert not any("still moving" in law for law in life.live())


def test_a_lease_of_ours_that_ran_out_explains_no_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was too short and is not renewed, so that a model leaves and is loaded again."""
    life = Life(story(keep=30.0), tmp_path)

    def gives_a_short_lease() -> None:
        assert life.warmset is not None
        monkeypatch.setattr(step, "find_renewals", lambda *_: ())
        row = next(r for r in list_residents(life.host, 0.0) if r.name == EMBED)
        assert row.key is not None
        ping = SendPing(number=10_000, key=row.key, name=EMBED, resident=row, keep_alive=150.0)
        life.warmset._carry_out((ping,))

    life.at(QUIET_FROM - 50, gives_a_short_lease)
    assert any("still moving" in law for law in life.live())


def test_an_old_keep_alive_explains_no_missing_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody unloads a pin, and warmset does not bring it back; four minutes before a client's
    keep-alive was over."""
    life = Life(story(keep=QUIET_FROM + 60 - 890), tmp_path)
    may = turns.why_not_preload
    monkeypatch.setattr(
        turns,
        "why_not_preload",
        lambda *given: ("no", None) if life.now > QUIET_FROM else may(*given),
    )
    model = life.host.library.find(CODER)
    assert model is not None
    life.at(QUIET_FROM + 90, lambda: life.host.unload(model))
    assert any("pins missing" in law for law in life.live())
