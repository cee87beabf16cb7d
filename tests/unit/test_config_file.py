"""budgets.toml: what it may say, what is refused, and how that is told."""

import json
from pathlib import Path

import pytest

from warmset.adapters.config import find_file, find_zone, load_settings
from warmset.adapters.config.schema import AlertsSection, PolicySection, ServeSection, keys_of
from warmset.core.model import FOREVER
from warmset.core.settings import (
    DEFAULT_PRIORITY,
    DEFAULT_URL,
    DEFAULT_VRAM_RESERVE_BYTES,
    Settings,
)
from warmset.core.units import GIB, MIB
from warmset.core.windows import Window
from warmset.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Starts in an empty directory: the repository's own budgets.toml must not be found."""
    monkeypatch.chdir(tmp_path)


def load(text: str) -> Settings:
    Path("budgets.toml").write_text(text, encoding="utf-8")
    return load_settings()


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.exit_code == 3
    return caught.value.message


def test_without_a_file_the_defaults_hold() -> None:
    """No file, no variable, no flag: the documented defaults, and no origin but "default"."""
    settings = load_settings()
    assert settings.url == DEFAULT_URL
    assert settings.budget.default.vram_reserve_bytes == DEFAULT_VRAM_RESERVE_BYTES
    assert settings.origins == {}
    assert settings.path == ""
    assert settings.policy_for(("a:latest",)).priority == DEFAULT_PRIORITY


def test_the_worked_example_loads() -> None:
    """The budgets.toml at the root of the repository is right, commented lines included."""
    text = (ROOT / "budgets.toml").read_text(encoding="utf-8")
    settings = load(text)
    assert settings.models["qwen2.5-coder:7b"].pin
    assert settings.models["qwen2.5-coder:7b"].priority == 100
    assert settings.models["nomic-embed-text:latest"].priority == 80
    assert settings.models["qwen2.5:32b"].preload is False
    shown = [line.removeprefix("# ") for line in text.splitlines() if _is_commented_key(line)]
    assert len(shown) >= 6
    for line in shown:
        key = line.partition(" ")[0]
        sections = {"vram_reserve": "budget", "parallel": "model.a", "gpu": "model.a"}
        sections |= {"windows": "class.a", "timezone": "model.a"}
        sections |= dict.fromkeys(keys_of(PolicySection), "policy")
        sections |= dict.fromkeys(keys_of(ServeSection), "serve")
        sections |= dict.fromkeys(keys_of(AlertsSection), "alerts")
        sections |= {"programs": "yield", "on_battery": "yield", "memory": "budget.gpu.0"}
        section = sections.get(key, "ollama")
        load(f"[{section}]\n{line}")


def test_the_worked_example_leaves_the_address_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever tries warmset in its checkout is led by OLLAMA_HOST, not by the example."""
    monkeypatch.setenv("OLLAMA_HOST", "box:1234")
    assert load((ROOT / "budgets.toml").read_text(encoding="utf-8")).url == "box:1234"


def test_the_worked_example_shows_every_key() -> None:
    """Whoever reads budgets.toml has seen all there is to say."""
    from warmset.adapters.config.schema import BudgetsFile, keys_of, section_at

    text = (ROOT / "budgets.toml").read_text(encoding="utf-8")
    places = [
        ("ollama",),
        ("budget",),
        ("policy",),
        ("serve",),
        ("alerts",),
        ("budget", "gpu", "*"),
        ("class", "*"),
        ("model", "*"),
    ]
    keys = [key for place in places for key in keys_of(section_at(place) or BudgetsFile)]
    assert [key for key in keys if f"{key} = " not in text and f"{key}." not in text] == []


def _is_commented_key(line: str) -> bool:
    return line.startswith("# ") and " = " in line


def test_server_settings_are_read() -> None:
    """`[ollama]` becomes `ServerSettings`; Ollama's 0 for automatic means "not known"."""
    server = load(
        "[ollama]\nmax_loaded_models = 0\nnum_parallel = 4\ncontext_length = 8192\n"
        'kv_cache_type = "q8_0"\nflash_attention = true\nsched_spread = false\n'
        'keep_alive = "-1s"\ngpu_overhead = "512MiB"\n'
    ).server
    assert server.max_loaded_models is None
    assert (server.num_parallel, server.context_length) == (4, 8192)
    assert server.kv_cache_type == "q8_0"
    assert (server.flash_attention, server.sched_spread) == (True, False)
    assert server.keep_alive_seconds == FOREVER
    assert server.gpu_overhead_bytes == 512 * MIB


@pytest.mark.parametrize(
    ("text", "seconds"), [('"1h30m"', 5400.0), ('"90s"', 90.0), ("300", 300.0), ("-1", FOREVER)]
)
def test_keep_alive_reads_as_ollama_reads_it(text: str, seconds: float) -> None:
    """Go durations and whole seconds, negative for ever."""
    assert load(f"[ollama]\nkeep_alive = {text}").server.keep_alive_seconds == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('"1GiB"', GIB),
        ('"10G"', 10**10),
        ('"10GB"', 10**10),
        ('"1.5 GiB"', GIB * 3 // 2),
        ('"512mib"', None),
        ('"512MiB"', 512 * MIB),
        ("4096", 4096),
        ('"4096"', 4096),
        ("0", 0),
        ('"8Gb"', None),
        ('"8Gib"', None),
        ('"8kbit"', None),
        ("1.5", None),
        ('"1.5"', None),
        ('"1GiB please"', None),
        ('"-1GiB"', None),
        ("-1", None),
        ("true", None),
        ('"1ZiB"', None),
        ('"999999999999999EiB"', None),
        ('""', None),
        ("[1]", None),
    ],
)
def test_sizes_are_bytes_or_refused(text: str, count: int | None) -> None:
    """Decimal and binary units are told apart; bits, fractions of bytes and guesses are refused."""
    source = f"[budget]\nvram_reserve = {text}"
    if count is None:
        assert "budgets.toml:2: budget.vram_reserve" in complaint(source)
    else:
        assert load(source).budget.default.vram_reserve_bytes == count


def test_the_memory_of_a_gpu_may_be_stated() -> None:
    """For one GPU, as a size; not for all of them together."""
    budget = load('[budget.gpu."0000:04:00.0"]\nmemory = "16GiB"\n').budget
    assert budget.of("0000:04:00.0").stated_bytes == 16 * GIB
    assert budget.of("0000:05:00.0").stated_bytes is None
    assert "budget.memory" in complaint('[budget]\nmemory = "16GiB"')
    assert "memory" in complaint('[budget.gpu.0]\nmemory = "90%"')


@pytest.mark.parametrize("text", ['"0%"', '"101%"', '"-5%"', '"half"', '"90 percent"', "0.9"])
def test_a_limit_is_a_share_or_a_size(text: str) -> None:
    """What is neither is refused, above all 0.9, which could mean either."""
    assert "budget.vram_limit" in complaint(f"[budget]\nvram_limit = {text}")


def test_a_gpu_inherits_what_it_does_not_say() -> None:
    """An override changes its own keys; a limit of one kind replaces one of the other."""
    budget = load(
        '[budget]\nvram_reserve = "2GiB"\nvram_limit = "50%"\n'
        '[budget.gpu."GPU-ABC"]\nvram_limit = "20GiB"\n[budget.gpu.1]\nvram_reserve = 0\n'
    ).budget
    total = 24 * GIB
    assert budget.budget_bytes("GPU-other", 0, total) == 12 * GIB
    assert budget.budget_bytes("gpu-abc", 1, total) == 20 * GIB
    assert budget.budget_bytes("GPU-xyz", 1, total) == 12 * GIB
    assert budget.gpus["1"].vram_reserve_bytes == 0


def test_every_error_of_a_file_is_told_at_once() -> None:
    """File, line, key, value and the nearest valid word of each, in the order of the lines."""
    message = complaint(
        '[budget]\nvram_resrve = "1GiB"\n[modle."a"]\npin = true\n[model."b"]\npriority = 1001\n'
        'context = "8k"\n'
    )
    lines = message.splitlines()
    assert lines[0] == "budgets.toml: 4 errors"
    assert lines[1] == (
        '  budgets.toml:2: budget.vram_resrve = "1GiB": no such key; did you mean vram_reserve?'
    )
    assert lines[2] == "  budgets.toml:3: modle: no such key; did you mean model?"
    assert lines[3].startswith("  budgets.toml:6: model.b.priority = 1001: should be less than")
    assert lines[4] == '  budgets.toml:7: model.b.context = "8k": should be a valid integer'


def test_names_that_mean_the_same_model_are_refused() -> None:
    """Ollama compares names without case and with `:latest`; so do we."""
    message = complaint("[model.llama3]\npin = true\n[model.'Llama3:latest']\npin = false\n")
    assert 'budgets.toml:3: model."Llama3:latest": means the same as "llama3"' in message
    assert "budgets.toml:1" in message


def test_keys_that_mean_the_same_gpu_are_refused() -> None:
    """PCI addresses are compared without the driver's longer domain, UUIDs without case."""
    message = complaint(
        '[budget.gpu."0000:0A:00.0"]\nvram_reserve = 1\n'
        '[budget.gpu."00000000:0a:00.0"]\nvram_reserve = 2\n'
    )
    assert "means the same as" in message


def test_a_gpu_key_must_name_a_gpu() -> None:
    """A word that is no UUID, address or index would never match a device."""
    assert "budget.gpu.first" in complaint('[budget.gpu.first]\nvram_limit = "90%"')


def test_a_missing_class_is_named_with_the_nearest() -> None:
    """A model in a class that is not there is an error at the model's own line."""
    message = complaint('[class.interactive]\npriority = 9\n[model.a]\nclass = "interactiv"\n')
    assert "budgets.toml:4" in message
    assert "did you mean interactive?" in message


@pytest.mark.parametrize("name", ["a b", "\\u0000", "", "  ", "a\\tb"])
def test_impossible_model_names_are_refused(name: str) -> None:
    """Blanks and control characters can be in no model's name."""
    assert "no model can have this name" in complaint(f'[model."{name}"]\npin = true')


def test_priority_comes_from_the_model_then_its_class() -> None:
    """The model's own word counts before its class, that before the default."""
    settings = load(
        '[class.c]\npriority = 70\n[class.d]\n[model.a]\nclass = "c"\npriority = 1\n'
        '[model.b]\nclass = "c"\n[model.e]\nclass = "d"\n'
    )
    found = {policy.name: policy.priority for policy in settings.models.values()}
    assert found == {"a": 1, "b": 70, "e": DEFAULT_PRIORITY}
    assert settings.origins["model.b.priority"] == "budgets.toml:2"
    assert "model.e.priority" not in settings.origins


def test_flag_counts_before_variable_before_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value comes from the highest source that names it, and its origin says so."""
    Path("budgets.toml").write_text('[ollama]\nurl = "file"\n[budget]\nvram_limit = "50%"\n')
    monkeypatch.setenv("OLLAMA_HOST", "ollama")
    assert load_settings().url == "file"
    monkeypatch.setenv("WARMSET_OLLAMA__URL", "variable")
    monkeypatch.setenv("WARMSET_BUDGET__VRAM_LIMIT", "60%")
    monkeypatch.setenv("WARMSET_OLLAMA__NUM_PARALLEL", "4")
    settings = load_settings()
    assert (settings.url, settings.server.num_parallel) == ("variable", 4)
    assert settings.budget.default.vram_limit_ratio == 0.6
    assert settings.origins["budget.vram_limit"] == "WARMSET_BUDGET__VRAM_LIMIT"
    monkeypatch.setenv("WARMSET_HOST", "short")
    assert load_settings().url == "short"
    settings = load_settings(host="flag")
    assert (settings.url, settings.origins["ollama.url"]) == ("flag", "--host")


@pytest.mark.parametrize("url", [None, " gpu-box:1234 ", "", "two\nlines", 7, "twin://laptop"])
def test_an_address_alone_means_what_it_means_beside_other_words(url: object) -> None:
    """The short way of a file that says no more than an address leads to the same place."""
    said = "" if url is None else f"[ollama]\nurl = {json.dumps(url)}\n"
    longer = said + "[policy]\n"
    if url in ("", "two\nlines", 7):
        assert complaint(said) == complaint(longer)
    else:
        assert load(said) == load(longer)


def test_ollama_host_counts_when_nothing_else_names_a_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variable of Ollama's own command is honoured, below everything said to warmset."""
    monkeypatch.setenv("OLLAMA_HOST", "gpubox:11434")
    settings = load_settings()
    assert (settings.url, settings.origins["ollama.url"]) == ("gpubox:11434", "OLLAMA_HOST")


def test_a_wrong_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled variable is not ignored, and the report names the variable."""
    monkeypatch.setenv("WARMSET_BUDGET__VRAM_RESRVE", "1GiB")
    with pytest.raises(ConfigError, match="WARMSET_BUDGET__VRAM_RESRVE: .*did you mean"):
        load_settings()


def test_a_variable_cannot_smuggle_in_more_than_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that happens to be several lines of TOML stays one text."""
    monkeypatch.setenv("WARMSET_OLLAMA__NUM_PARALLEL", "4\nother = 1")
    with pytest.raises(ConfigError, match="num_parallel"):
        load_settings()


def test_the_first_file_found_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--config, WARMSET_CONFIG, here, the service's directory, the user's: in that order."""
    places = {name: tmp_path / name for name in ("flag", "variable", "service", "user")}
    for name, folder in places.items():
        (folder / "warmset").mkdir(parents=True)
        for target in (folder / "budgets.toml", folder / "warmset" / "budgets.toml"):
            target.write_text(f'[ollama]\nurl = "{name}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(places["user"]))
    assert load_settings().url == "user"
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(places["service"]))
    assert load_settings().url == "service"
    Path("budgets.toml").write_text('[ollama]\nurl = "here"\n')
    assert load_settings().url == "here"
    assert load_settings(look_here=False).url == "service"
    monkeypatch.setenv("WARMSET_CONFIG", str(places["variable"] / "budgets.toml"))
    assert load_settings().url == "variable"
    assert load_settings(config=str(places["flag"] / "budgets.toml")).url == "flag"


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a file does not want the defaults instead."""
    with pytest.raises(ConfigError, match="--config names gone.toml"):
        find_file("gone.toml")
    monkeypatch.setenv("WARMSET_CONFIG", "gone.toml")
    with pytest.raises(ConfigError, match="WARMSET_CONFIG names gone.toml"):
        find_file()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = 1\nb = = 2\n", "budgets.toml:2:5"),
        ("a = 1\na = 2\n", "budgets.toml:2"),
        ('a = "open\n', "budgets.toml:1"),
        ("a = [1,\n2", "budgets.toml:2"),
        ("[model.llama3.2:3b]\n", "budgets.toml:1"),
        ("a = " + "9" * 5000, "budgets.toml"),
        ("a = " + "[" * 5000, "budgets.toml"),
    ],
)
def test_a_syntax_error_names_its_place(text: str, place: str) -> None:
    """File, line and column of the first mistake."""
    assert complaint(text).startswith(place)


def test_unreadable_files_are_told_plainly(tmp_path: Path) -> None:
    """A directory, other encodings and huge files are errors in words, read within bounds."""
    with pytest.raises(ConfigError, match="Is a directory"):
        load_settings(config=str(tmp_path))
    junk = tmp_path / "junk.toml"
    junk.write_bytes(b'[ollama]\nurl = "\xff"\n')
    with pytest.raises(ConfigError, match=r"junk.toml:2: byte 0xff is not UTF-8"):
        load_settings(config=str(junk))
    with junk.open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_settings(config=str(junk))


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Some editors write one at the start of a UTF-8 file."""
    Path("budgets.toml").write_bytes(b'\xef\xbb\xbf[ollama]\nurl = "a"\n')
    assert load_settings().url == "a"


@pytest.mark.parametrize("text", ['"soon"', '"300"', "1.5", "true", "[]"])
def test_a_keep_alive_that_ollama_would_not_take_is_refused(text: str) -> None:
    """Text needs a unit, as with Ollama; other types mean nothing."""
    assert "ollama.keep_alive" in complaint(f"[ollama]\nkeep_alive = {text}")


@pytest.mark.parametrize("text", ['""', '"  "', '"a\\u0007b"', "5"])
def test_an_address_must_be_a_printable_text(text: str) -> None:
    """Blank addresses and control characters are refused where they stand."""
    assert "budgets.toml:2: ollama.url" in complaint(f"[ollama]\nurl = {text}")


def test_a_value_where_a_table_should_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a variable wants to add to that table."""
    assert "budgets.toml:1: budget = 5: should be a table, [budget]" in complaint("budget = 5")
    monkeypatch.setenv("WARMSET_BUDGET__VRAM_LIMIT", "50%")
    assert "budget = 5: should be a table" in complaint("budget = 5")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("context", "0"),
        ("context", "-1"),
        ("context", "8192.0"),
        ("priority", "-1"),
        ("priority", "true"),
        ("parallel", "0"),
        ("pin", "1"),
        ("preload", '"no"'),
        ("requests_per_day", "-1"),
        ("gpu", '"first"'),
        ("gpu", "-1"),
        ("gpu", "true"),
        ("requests_per_day", "inf"),
        ("requests_per_day", "nan"),
        ("requests_per_day", '"many"'),
        ("clients_send_context", "0"),
    ],
)
def test_values_outside_their_range_are_refused(key: str, value: str) -> None:
    """Numbers have bounds and no value is turned into another type."""
    assert f"budgets.toml:2: model.a.{key}" in complaint(f"[model.a]\n{key} = {value}")


def test_a_class_lends_what_its_models_do_not_say() -> None:
    """Keep-alive, windows and time zone come from the model, else its class, else the file."""
    settings = load(
        'timezone = "Europe/Paris"\n'
        '[class.office]\nkeep_alive = "1h"\nwindows = ["Mon-Fri 08:00-18:00"]\n'
        '[model.a]\nclass = "office"\n'
        '[model.b]\nclass = "office"\nkeep_alive = 0\nwindows = []\ntimezone = "Asia/Tokyo"\n'
        "[model.c]\n"
    )
    a, b, c = (settings.models[f"{name}:latest"] for name in "abc")
    assert a.keep_alive == 3600
    assert a.windows == (Window(days=(0, 1, 2, 3, 4), start_minute=480, end_minute=1080),)
    assert (b.keep_alive, b.windows) == (0, ())
    assert (c.keep_alive, c.windows) == (None, ())
    assert [p.timezone for p in (a, b, c)] == ["Europe/Paris", "Asia/Tokyo", "Europe/Paris"]
    assert settings.origins["model.a.windows"].endswith(":4")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('windows = ["Mo-Fr 08:00-18:00"]', "'Mo' is no day of the week"),
        ('windows = "Mon 08:00-18:00"', "should be a valid list"),
        ("windows = [8]", 'such as "Mon-Fri 08:00-18:00"'),
        ('timezone = "Europe/Berln"', "is no time zone"),
        ('timezone = "../etc/passwd"', "is no time zone"),
        ('keep_alive = "1 day"', "should be a duration"),
    ],
)
def test_a_window_that_is_none_is_refused(text: str, problem: str) -> None:
    """File, line and value are named, as for every key."""
    message = complaint(f"[model.a]\n{text}")
    assert "budgets.toml:2: model.a." in message
    assert problem in message


def test_the_hosts_time_zone_is_that_of_its_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TZ by name or file; what is no zone is refused with what to write instead."""
    monkeypatch.setenv("TZ", ":America/New_York")
    assert str(find_zone("")) == "America/New_York"
    monkeypatch.setenv("TZ", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot be read") as error:
        find_zone("")
    assert "Europe/Berlin" in error.value.hint
    monkeypatch.setenv("TZ", "NONE/Such")
    with pytest.raises(ConfigError, match="TZ='NONE/Such'"):
        find_zone("")
