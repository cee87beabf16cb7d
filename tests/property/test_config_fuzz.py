"""Whatever the configuration file holds: settings, or one clear error; never a traceback."""

from pathlib import Path
from tempfile import TemporaryDirectory

import tomlkit
from hypothesis import example, given
from hypothesis import strategies as st

from warmset.adapters.config import load_settings
from warmset.core.settings import Settings
from warmset.errors import ConfigError

WORDS = st.sampled_from(
    "ollama budget class model gpu policy url vram_limit vram_reserve ram_limit priority pin "
    "context keep_alive num_parallel windows tick lease_base back_off_limit manage a 0".split()
)
KEYS = WORDS | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
VALUES = (
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["90%", "1GiB", "8Gb", "5m", "-1", "f16", "1e400%", "twin://laptop"])
    | st.datetimes()
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        VALUES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


def load(content: bytes) -> Settings | ConfigError:
    with TemporaryDirectory() as folder:
        path = Path(folder, "budgets.toml")
        path.write_bytes(content)
        try:
            return load_settings(config=str(path))
        except ConfigError as error:
            return error


def check(outcome: Settings | ConfigError) -> None:
    if isinstance(outcome, ConfigError):
        assert "budgets.toml" in outcome.message
        assert outcome.hint
    else:
        assert all(0 <= policy.priority <= 1000 for policy in outcome.models.values())
        assert 0 <= outcome.budget.budget_bytes("GPU-0", 0, 1 << 34) <= 1 << 34


@given(st.binary(max_size=200))
@example(b"\x00")
@example(b"\xef\xbb\xbf")
@example(b"a.b.c = 1\n[a]\n")
@example(b"a = " + b"{a=" * 400 + b"1" + b"}" * 400)
@example(b"a = " + b"[" * 300 + b"]" * 300)
@example(b'a = """\n' + b"x\n" * 5000 + b'"""\n[modl]\n')
@example(b".".join([b"a"] * 3000) + b" = 1")
def test_any_bytes_give_settings_or_one_error(content: bytes) -> None:
    """Junk of any kind is told as an error that names the file."""
    check(load(content))


KEYS_WITH_NUMBERS = st.sampled_from(
    [
        "ollama.num_parallel",
        "ollama.keep_alive",
        "ollama.gpu_overhead",
        "budget.vram_reserve",
        "budget.vram_limit",
        "class.a.priority",
        "model.a.context",
        "model.a.requests_per_day",
    ]
)


@given(KEYS_WITH_NUMBERS, st.integers() | st.just(10**400) | st.just(-(10**400)))
def test_any_whole_number_gives_settings_or_one_error(key: str, number: int) -> None:
    """TOML knows no largest integer, and nothing here overflows on one."""
    check(load(f"{key} = {number}".encode()))


@given(TREES)
def test_any_toml_gives_settings_or_one_error(tree: dict[str, object]) -> None:
    """Valid TOML with any keys and values is accepted whole or refused in words."""
    check(load(tomlkit.dumps(tree).encode("utf-8")))


@given(st.text(st.sampled_from("0123456789.%KMGTiBbe -+"), max_size=9))
def test_an_accepted_size_is_a_possible_number_of_bytes(text: str) -> None:
    """No spelling of a size gets past the checks with a value no device can have."""
    outcome = load(f'[budget]\nram_limit = "{text}"'.encode())
    check(outcome)
    if isinstance(outcome, Settings):
        assert outcome.budget.ram_limit_bytes is not None
        assert 0 <= outcome.budget.ram_limit_bytes <= 1 << 60
