"""`init --profile`: each ready profile makes a file that loads and means what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmset.adapters.config import load_settings
from warmset.cli.app import main
from warmset.cli.commands.init import ProfileName
from warmset.shell.profiles import PROFILES

TWIN = "twin://workstation?hours=3&seed=5"
EMBED, CHAT = "nomic-embed-text:latest", "llama3.2:3b"


def test_the_profiles_on_the_command_line_are_all_there_are() -> None:
    """In the order of the help."""
    assert [name.value for name in ProfileName] == list(PROFILES)


@pytest.mark.parametrize("name", list(PROFILES))
def test_a_profile_makes_a_file_that_loads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each model is in a class of the profile, with its keep-alive; the rest waits for its #."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["init", "--profile", name, "--host", TWIN])
    assert end.value.code == 0
    profile = PROFILES[name]
    text = Path("budgets.toml").read_text()
    assert profile.about in text
    settings = load_settings(config="budgets.toml")
    assert settings.models[EMBED].class_name == "embedding"
    assert settings.models[CHAT].class_name == profile.classes[0].name
    assert settings.models[EMBED].priority == next(
        c.priority for c in profile.classes if c.name == "embedding"
    )
    limits = {m: p.keep_alive for m, p in settings.models.items()}
    assert (limits[CHAT] is None) == (profile.classes[0].keep_alive == "")
    assert text.count("# usual: ") == len(profile.classes)
    Path("budgets.toml").write_text(
        text.replace('# [model."', '[model."').replace("# class", "class")
    )
    assert len(load_settings(config="budgets.toml").models) > len(settings.models)


def test_an_unknown_profile_is_told_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A usage error, and no file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["init", "--profile", "office", "--host", TWIN])
    assert end.value.code == 2
    assert "internal-api" in capsys.readouterr().err
    assert not Path("budgets.toml").exists()
