"""Edits of budgets.toml: what is changed, and that nothing else is."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.budgets_edit import set_pin, write_new
from warmset.adapters.config import load_settings
from warmset.errors import ConfigError

ROOT = Path(__file__).parents[2]


def check(path: Path) -> object:
    """Reads a file as warmset does."""
    return load_settings(config=str(path))


def added(before: str, after: str) -> list[str]:
    """Returns the lines that differ, with + and -."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_pin_is_one_line_more(tmp_path: Path) -> None:
    """In the repository's own example every comment stays, and only `pin` comes."""
    path = tmp_path / "budgets.toml"
    before = (ROOT / "budgets.toml").read_text()
    path.write_text(before)
    assert set_pin(path, ["llama3.1:8b"], pin=True, check=check)
    assert added(before, path.read_text()) == ["+pin = true"]
    assert load_settings(config=str(path)).policy_for(("llama3.1:8b",)).pin
    assert set_pin(path, ["llama3.1:8b"], pin=False, check=check)
    assert path.read_text() == before


def test_a_model_without_a_section_gets_one(tmp_path: Path) -> None:
    """At the end of the file, with its name quoted; in an empty file too."""
    path = tmp_path / "budgets.toml"
    for text in ("", "[budget]\nvram_reserve = '1GiB' # mine\n", '[model."a:1b"]\npriority = 3\n'):
        path.write_text(text)
        assert set_pin(path, ["qwen2.5:14b"], pin=True, check=check)
        assert path.read_text().startswith(text)
        assert load_settings(config=str(path)).policy_for(("qwen2.5:14b",)).pin


def test_names_are_found_however_they_are_written(tmp_path: Path) -> None:
    """Case and a missing tag make no second section."""
    path = tmp_path / "budgets.toml"
    path.write_text("[model.Llama3]\npin = true   # for the office\npriority = 7\n")
    assert set_pin(path, ["llama3:latest"], pin=False, check=check)
    assert path.read_text() == "[model.Llama3]\npriority = 7\n"
    assert not set_pin(path, ["llama3:latest"], pin=False, check=check)


def test_models_written_inline_can_be_pinned(tmp_path: Path) -> None:
    """A table in one line is a table."""
    path = tmp_path / "budgets.toml"
    path.write_text('model = {"a:1b" = {priority = 3}}\n')
    assert set_pin(path, ["a:1b"], pin=True, check=check)
    assert load_settings(config=str(path)).policy_for(("a:1b",)).pin


def test_mode_and_link_stay(tmp_path: Path) -> None:
    """A file that a link leads to is changed in its place, with its own mode."""
    real = tmp_path / "real.toml"
    real.write_text("")
    real.chmod(0o640)
    link = tmp_path / "budgets.toml"
    link.symlink_to(real)
    assert set_pin(link, ["a:1b"], pin=True, check=check)
    assert link.is_symlink()
    assert "a:1b" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_change_that_would_be_wrong_is_not_made(tmp_path: Path) -> None:
    """The file stays, nothing is left behind, and the error names what is wrong."""
    path = tmp_path / "budgets.toml"
    path.write_text('[model."a:1b"]\npinn = true\n')
    with pytest.raises(ConfigError, match="pinn"):
        set_pin(path, ["a:1b"], pin=True, check=check)
    assert path.read_text() == '[model."a:1b"]\npinn = true\n'
    assert [file.name for file in tmp_path.iterdir()] == ["budgets.toml"]


@pytest.mark.parametrize("text", ["[model", "model = 3\n", "[[model]]\na = 1\n"])
def test_what_is_no_budgets_file_is_not_edited(tmp_path: Path, text: str) -> None:
    """Broken TOML, and a `model` that is none."""
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        set_pin(path, ["a:1b"], pin=True, check=check)
    assert path.read_text() == text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or not text."""
    with pytest.raises(ConfigError, match="budgets.toml"):
        set_pin(tmp_path / "budgets.toml", ["a"], pin=True, check=check)
    (tmp_path / "budgets.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        set_pin(tmp_path / "budgets.toml", ["a"], pin=True, check=check)


def test_a_new_file_replaces_none_by_accident(tmp_path: Path) -> None:
    """Only with force; a folder that is missing is made, one that cannot be is told."""
    path = tmp_path / "budgets.toml"
    write_new(path, "[budget]\n", check=check, may_replace=False)
    with pytest.raises(ConfigError, match="is there already"):
        write_new(path, "", check=check, may_replace=False)
    write_new(path, "", check=check, may_replace=True)
    assert path.read_text() == ""
    with pytest.raises(ConfigError, match="cannot be written"):
        write_new(path / "y.toml", "", check=check, may_replace=True)
    write_new(tmp_path / "x" / "z" / "y.toml", "[budget]\n", check=check, may_replace=False)
    assert (tmp_path / "x/z/y.toml").read_text() == "[budget]\n"


@given(name=st.from_regex(r"[a-z0-9][a-z0-9._/-]{0,30}(:[a-z0-9._-]{1,20})?", fullmatch=True))
def test_any_model_name_can_be_pinned_and_unpinned(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """The name survives TOML's quoting, and unpinning takes the pin back."""
    path = tmp_path_factory.mktemp("edit") / "budgets.toml"
    path.write_text('[model."z:9b"] # comment\npriority = 3\n')
    set_pin(path, [name], pin=True, check=check)
    assert load_settings(config=str(path)).policy_for((name,)).pin
    set_pin(path, [name], pin=False, check=check)
    assert not load_settings(config=str(path)).policy_for((name,)).pin
    assert path.read_text().startswith('[model."z:9b"] # comment\n')
