"""The rules of the house that a machine can check: imports, purity of the core, public names."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import warmset

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "src/warmset/core").rglob("*.py"))
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(warmset.__path__, "warmset.")
    if info.name != "warmset.__main__"
)

BANNED_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
BANNED_MEMBERS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "os": {"environ", "getenv", "urandom"},
    "sys": {"argv", "stdin", "stdout", "stderr", "modules", "path"},
}
RANDOM_TYPES = {"Random"}  # the core takes a generator as an argument


def test_rooms_import_downwards_only() -> None:
    """Every contract of `[tool.importlinter]` holds."""
    # In a process of its own: the linter is a command, whose output is for people.
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_is_pure(path: Path) -> None:
    """No file of the core reads time, chance, files or the environment, or prints."""
    assert impurities(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "open('x')",
        "import random\nrandom.random()",
        "import random\nx = random.shuffle",
        "from random import choice",
        "import time",
        "from time import monotonic",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "import sys\nsys.argv",
        "import httpx",
        "from pydantic import BaseModel",
    ],
)
def test_the_purity_check_sees_each_kind_of_impurity(source: str) -> None:
    """The check above can fail."""
    assert impurities(source) != []


def test_the_purity_check_allows_a_generator_given_as_an_argument() -> None:
    """`rng: random.Random` is how chance gets into the core."""
    assert impurities("import random\ndef f(rng: random.Random): return rng.random()") == []


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_are_exact(name: str) -> None:
    """Each name in `__all__` is there, none twice, and nothing public beside it.

    That a package lists what it imports for others is ruff's rule (F401).
    """
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    if listed is None:
        return
    assert len(set(listed)) == len(listed)
    assert all(hasattr(module, each) for each in listed)
    if hasattr(module, "__path__"):
        assert defined_in(Path(str(module.__file__))) <= set(listed)


def test_public_names_are_exact() -> None:
    """`warmset.__all__` and what can be had from it are the same."""
    assert set(warmset.__all__) == {*warmset._HOMES, "__version__"}
    assert all(getattr(warmset, name) is not None for name in warmset.__all__)
    assert dir(warmset) == sorted(warmset.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = warmset.nonsense


def test_every_test_claims_a_behaviour() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{path.name}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports test files by base name, so two of one name hide each other."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def impurities(source: str) -> list[str]:
    """Returns what a text of the core must not contain, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        reason = _banned(node)
        if reason:
            found.append(f"line {getattr(node, 'lineno', 0)}: {reason}")
    return found


def _banned(node: ast.AST) -> str:
    match node:
        case ast.Import(names=names):
            return next((f"import {a.name}" for a in names if not _may_import(a.name)), "")
        case ast.ImportFrom(module=str(module), names=names) if not _may_import(module):
            return f"from {module}"
        case ast.ImportFrom(module="random", names=names):
            return ", ".join(a.name for a in names if a.name not in RANDOM_TYPES)
        case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
            return name
        case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=attr):
            is_chance = owner == "random" and attr not in RANDOM_TYPES
            if is_chance or attr in BANNED_MEMBERS.get(owner, ()):
                return f"{owner}.{attr}"
    return ""


def _may_import(module: str) -> bool:
    room = module.split(".", maxsplit=1)[0]
    if room == "warmset":
        return module.startswith("warmset.core") or module == "warmset.errors"
    effects = {"time", "os", "logging", "threading", "asyncio", "subprocess", "socket", "pathlib"}
    return room in sys.stdlib_module_names - effects


def defined_in(path: Path) -> set[str]:
    """Returns the public functions and classes that a file defines."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name for name in names if not name.startswith("_")}
