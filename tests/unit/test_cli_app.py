"""The command line as a frame: verbs by name, options in any place, errors as exit codes."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

from warmset.cli import app as cli
from warmset.cli.app import VERBS, Verb, main
from warmset.cli.exits import ExitCode
from warmset.cli.options import Options, OutputOption, options_of
from warmset.cli.other_words import OTHER_WORDS
from warmset.cli.render import Output
from warmset.errors import ConfigError, Refused, Unreachable, WarmsetError

Body = Callable[[Options, Output], None]


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    """`main` sets a handler for SIGTERM and perhaps NO_COLOR, which the test run must not keep."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    os.environ.pop("NO_COLOR", None)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Body], None]:
    """Adds a verb `try` to the table, which runs the function given."""

    def add(body: Body) -> None:
        module = ModuleType("warmset.cli.commands.try_")

        def command(ctx: typer.Context, output: OutputOption = Output.TABLE) -> None:
            """Try something."""
            body(options_of(ctx), output)

        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(cli, "VERBS", (*VERBS, Verb("try", "Try something.", "try_")))

    return add


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def test_help_lists_the_verbs_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that is not an alias has its line, without its module being imported."""
    assert run("--help") == ExitCode.OK
    text = capsys.readouterr().out
    for each in VERBS:
        assert (f"  {each.name} " in text) is not each.hidden


def test_every_verb_of_the_table_has_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb can be loaded and explains itself, with the options that all verbs have."""
    for each in VERBS:
        assert run(each.name, "-h") == ExitCode.OK
        assert "Usage: warmset" in capsys.readouterr().out


def test_no_argument_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Bare `warmset` explains itself and counts as wrong usage."""
    assert run() == ExitCode.USAGE
    assert "Commands:" in "".join(capsys.readouterr())


def test_a_misspelled_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is exit code 2, on stderr."""
    assert run("confg") == ExitCode.USAGE
    assert "Did you mean 'config'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "here"),
    [
        ("stop", "warmset evict MODEL"),  # not "Did you mean 'top'?"
        ("list", "warmset status"),
        ("diff", "warmset plan"),
        ("describe", "warmset explain MODEL"),
        ("logs", "warmset history"),
    ],
)
def test_verbs_of_other_programs_are_known(
    word: str, here: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is done; the answer names what does that here."""
    assert run(word, "llama3.1:8b") == ExitCode.USAGE
    assert here in capsys.readouterr().err


def test_words_of_other_programs_name_verbs_that_there_are() -> None:
    """None of them is a verb here, and each hint begins with one."""
    verbs = {each.name for each in VERBS}
    assert not verbs & OTHER_WORDS.keys()
    for here in OTHER_WORDS.values():
        assert here.removeprefix("`warmset ").split()[0].rstrip("`;,") in verbs


@pytest.mark.parametrize(("word", "shown"), [("help", "Usage: warmset"), ("version", "warmset ")])
def test_help_and_version_are_words_too(
    word: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in most programs with verbs; `help VERB` is `VERB --help`."""
    assert run(word) == ExitCode.OK
    assert shown in capsys.readouterr().out
    assert run("help", "plan") == ExitCode.OK
    assert "Usage: warmset plan" in capsys.readouterr().out


def test_a_verb_without_json_says_so_in_the_words_that_were_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not `--output`, which nobody wrote."""
    assert run("pin", "llama3.1:8b", "--json") == ExitCode.USAGE
    assert "No such option: --json" in capsys.readouterr().err
    assert run("plan", "-o", "yaml") == ExitCode.USAGE
    assert "'--output' / '-o': 'yaml' is not one of" in capsys.readouterr().err


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    assert run("--version") == ExitCode.OK
    name, version = capsys.readouterr().out.split()
    assert name == "warmset"
    assert version[0].isdigit()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "a", "--host", "b", "--no-color", "--debug", "-q", "-v", "try"],
        ["try", "--config", "a", "--url", "b", "--no-color", "--debug", "--quiet", "--verbose"],
        ["--config=a", "-qv", "try", "--host=b", "--no-color", "--debug"],
    ],
)
def test_global_options_stand_anywhere(verb: Callable[[Body], None], arguments: list[str]) -> None:
    """Before the verb or after it, they mean the same."""
    seen: list[Options] = []
    verb(lambda options, _output: seen.append(options))
    assert run(*arguments) == ExitCode.OK
    assert seen == [
        Options(config="a", host="b", no_color=True, debug=True, quiet=True, verbose=True)
    ]


def test_no_color_holds_for_all_output(
    verb: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--no-color` is NO_COLOR, which every library that draws obeys."""
    monkeypatch.setenv("NO_COLOR", "")
    seen: list[str | None] = []
    verb(lambda _options, _output: seen.append(os.environ.get("NO_COLOR")))
    run("try", "--no-color")
    assert seen == ["1"]


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_global_options_stand_anywhere_around_sub_verbs(
    place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """`config` and its `show` both take them."""
    arguments = ["config", "show"]
    arguments.insert(place, "--host=twin://laptop")
    assert run(*arguments) == ExitCode.OK
    assert "twin://laptop" in capsys.readouterr().out


def test_an_option_after_the_verb_counts_more(verb: Callable[[Body], None]) -> None:
    """The later word wins, as everywhere on a command line."""
    seen: list[str | None] = []
    verb(lambda options, _output: seen.append(options.host))
    run("--host", "first", "try", "--host", "second")
    assert seen == ["second"]


def test_one_run_leaves_nothing_for_the_next(verb: Callable[[Body], None]) -> None:
    """Global options belong to a run, not to the process."""
    seen: list[str | None] = []
    verb(lambda options, _output: seen.append(options.host))
    run("try", "--host", "first")
    run("try")
    assert seen == ["first", None]


def test_json_is_short_for_output_json(verb: Callable[[Body], None]) -> None:
    """`--json` and `-o json` are the same."""
    seen: list[Output] = []
    verb(lambda _options, output: seen.append(output))
    for arguments in (["--json"], ["-o", "json"], ["--output=json"]):
        run("try", *arguments)
    assert seen == [Output.JSON] * 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("m", hint="h"), ExitCode.CONFIG),
        (Unreachable("m", hint="h"), ExitCode.BACKEND),
        (Refused("m", hint="h"), ExitCode.REFUSED),
    ],
)
def test_errors_on_purpose_become_words_and_codes(
    verb: Callable[[Body], None],
    capsys: pytest.CaptureFixture[str],
    error: WarmsetError,
    code: ExitCode,
) -> None:
    """Message and hint go to stderr, the class names the code, stdout stays clean."""
    verb(_raising(error))
    assert run("try") == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "warmset: m\n  hint: h\n"


def test_a_bug_is_one_line(
    verb: Callable[[Body], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """An error nobody foresaw says what it is and how to see more, without a traceback."""
    verb(_raising(ZeroDivisionError("one\ntwo")))
    assert run("try") == ExitCode.BUG
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warmset: internal error: ZeroDivisionError: one two"
    assert "--debug" in lines[1]


@pytest.mark.parametrize("arguments", [["--debug", "try"], ["try", "--debug"]])
def test_debug_shows_where_a_bug_comes_from(
    verb: Callable[[Body], None], arguments: list[str]
) -> None:
    """With `--debug` the exception itself comes out, for Python to print."""
    verb(_raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(arguments)


def test_ctrl_c_is_130(verb: Callable[[Body], None]) -> None:
    """An interrupted run says so by its code alone."""
    verb(_raising(KeyboardInterrupt()))
    assert run("try") == ExitCode.INTERRUPTED


def test_sigterm_unwinds_and_is_143(verb: Callable[[Body], None]) -> None:
    """`finally` blocks run before a terminated program ends."""
    steps: list[str] = []

    def body(_options: Options, _output: Output) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            steps.append("cleaned up")

    verb(body)
    assert run("try") == ExitCode.TERMINATED
    assert steps == ["cleaned up"]


@pytest.mark.usefixtures("_elsewhere")
def test_config_show_names_origins(capsys: pytest.CaptureFixture[str]) -> None:
    """`config show --origin` tells each value and its place."""
    Path("budgets.toml").write_text('[budget]\nvram_limit = "90%"\n')
    assert run("config", "show", "--origin", "--host", "twin://laptop") == ExitCode.OK
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["KEY", "VALUE", "ORIGIN"]
    assert ["ollama.url", "twin://laptop", "--host"] in rows
    assert ["budget.vram_limit", "90%", "budgets.toml:2"] in rows
    assert ["budget.vram_reserve", "1.0", "GiB", "default"] in rows


@pytest.mark.usefixtures("_elsewhere")
def test_config_show_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Raw bytes and ratios, null for what nobody said, origins when asked for."""
    Path("budgets.toml").write_text(
        '[budget]\nvram_limit = "90%"\n[budget.gpu.0]\nvram_reserve = "2GiB"\n'
        '[model."a:1"]\npin = true\n[ollama]\nkeep_alive = "90s"\n'
    )
    assert run("config", "show", "--json", "--origin") == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema_version"] == 1
    assert shown["values"]["budget.vram_reserve"] == 1 << 30
    assert shown["values"]["budget.gpu.0.vram_limit"] == 0.9
    assert shown["values"]['model."a:1".pin'] is True
    assert shown["values"]["ollama.keep_alive"] == 90.0
    assert shown["values"]["ollama.num_parallel"] is None
    assert shown["origins"]["budget.gpu.0.vram_reserve"] == "budgets.toml:4"
    assert shown["origins"]["budget.gpu.0.vram_limit"] == "budgets.toml:2"


@pytest.mark.usefixtures("_elsewhere")
def test_config_show_names_lists_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """`-o name` prints keys alone, for loops in a shell."""
    assert run("config", "show", "-o", "name") == ExitCode.OK
    assert "budget.vram_reserve" in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("_elsewhere")
def test_config_path_tells_the_file_or_where_it_looked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file in use on stdout; without one, nothing there and the places on stderr."""
    assert run("config", "path") == ExitCode.OK
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "/etc/warmset/budgets.toml" in shown.err
    Path("budgets.toml").write_text("")
    assert run("config", "path") == ExitCode.OK
    assert capsys.readouterr().out == "budgets.toml\n"


@pytest.mark.usefixtures("_elsewhere")
def test_a_wrong_file_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    """The report of the configuration reaches stderr whole."""
    Path("budgets.toml").write_text("[budgt]\n")
    assert run("config", "show") == ExitCode.CONFIG
    assert "budgets.toml:1: budgt: no such key; did you mean budget?" in capsys.readouterr().err


def _raising(error: BaseException) -> Body:
    def body(_options: Options, _output: Output) -> None:
        raise error

    return body
