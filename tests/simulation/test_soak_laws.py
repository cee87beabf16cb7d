"""What the soak's laws of the last minutes excuse, and what they do not: faults put in by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from loop_hosts import CODER, EMBED, SMALL
from soak.life import Life
from soak.story import Happening, Story, Wishes, tell

from warmset.core.control import step, turns
from warmset.core.control.orders import SendPing, SendPreload, SendUnload
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
        wishes=Wishes(),
        earlier="",
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


# -- what the operator said ---------------------------------------------------------------------


def sends(life: Life, kind: type, name: str) -> None:
    """Warmset loads or unloads a model, whatever it had decided."""
    assert life.warmset is not None
    model = life.host.library.find(name)
    assert model is not None
    more = {"keep_alive": 1800.0, "num_ctx": None} if kind is SendPreload else {}
    life.warmset._carry_out((kind(number=10_000, key=model.key, name=name, **more),))


@pytest.mark.parametrize(
    ("happens", "law"),
    [
        (Happening(920.0, "evict", (EMBED, True, 600.0)), "which the operator has evicted"),
        (Happening(920.0, "make_way", (600.0,)), "while all make way for a game"),
        (Happening(1.0, "restart", (1.0,)), "which is never to be fetched"),
    ],
)
def test_what_must_not_be_fetched_is_told(tmp_path: Path, happens: Happening, law: str) -> None:
    """An eviction, a program that all make way for, and a model that is only kept."""
    calm = replace(story(keep=30.0), kept=(SMALL,))
    life = Life(replace(calm, happenings=(happens,)), tmp_path)
    name = SMALL if happens.kind == "restart" else EMBED
    life.at(1000.0, lambda: sends(life, SendPreload, name))
    assert any(law in broken for broken in life.live())


def test_a_preload_outside_the_windows_is_told(tmp_path: Path) -> None:
    """Nobody is in a hurry for a model of the evening."""
    wishes = Wishes(windows=((EMBED, "daily 20:00-22:00"),))
    life = Life(replace(story(keep=30.0), wishes=wishes), tmp_path)
    life.at(1000.0, lambda: sends(life, SendPreload, EMBED))
    assert any("outside its windows" in broken for broken in life.live())


def test_who_was_let_go_as_unused_and_is_fetched_again_is_told(tmp_path: Path) -> None:
    """Its keep-alive of a minute ended long ago, and nobody has asked for it."""
    wishes = Wishes(keep_alives=((EMBED, 60.0),))
    life = Life(replace(story(keep=30.0), wishes=wishes), tmp_path)
    life.at(1000.0, lambda: sends(life, SendPreload, EMBED))
    assert any("was let go as unused" in broken for broken in life.live())


def test_who_does_not_make_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are to give way for twelve minutes, and nobody is sent away."""
    life = Life(replace(story(keep=30.0), happenings=()), tmp_path)
    plan = step.list_changes
    changes = lambda scene: () if life.now > 940.0 else plan(scene)  # noqa: E731 - for this test
    monkeypatch.setattr(step, "list_changes", changes)
    life.at(950.0, lambda: life._make_way(720.0))
    assert any("was to leave" in broken for broken in life.live())


@pytest.mark.parametrize("sees_processes", [True, False])
def test_an_unload_of_who_was_just_used_is_told(tmp_path: Path, sees_processes: bool) -> None:
    """Where processes are hidden, too: its deadline had moved at the last look."""
    use = Happening(888.0, "use", (SMALL, 1.0, 7200.0, None))
    uses = (use, replace(use, at=1000.0))
    calm = replace(story(keep=30.0), sees_processes=sees_processes, happenings=uses)
    life = Life(calm, tmp_path)
    life.at(1012.0, lambda: sends(life, SendUnload, SMALL))
    assert any("whose deadline moved" in broken for broken in life.live())


def test_one_that_only_looks_on_and_sends_is_told(tmp_path: Path) -> None:
    """`--observe` writes nothing."""
    life = Life(replace(story(keep=30.0), happenings=(Happening(950.0, "watcher"),)), tmp_path)
    life.at(960.0, lambda: life.watchers[0].loop.__setattr__("is_read_only", False))
    life.at(970.0, lambda: life.host.unload(life.host.library.find(CODER)))
    assert any("only looks on" in broken for broken in life.live())
