"""Every number that demand and policy go by says why it is what it is."""

import ast
from pathlib import Path

import pytest

import warmset

CORE = Path(warmset.__file__).parent / "core"
FILES = sorted([*(CORE / "policy").glob("*.py"), *(CORE / "demand").glob("*.py")])


def unreasoned(text: str) -> list[str]:
    """The public numbers without a docstring of their own, unless the module names its source."""
    tree = ast.parse(text)
    if "Source:" in (ast.get_docstring(tree) or ""):
        return []
    body = tree.body
    found = []
    for place, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        name = node.target.id
        if not name.isupper() or name.startswith("_") or isinstance(node.value, ast.Dict):
            continue
        after = body[place + 1] if place + 1 < len(body) else None
        told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if not told or not isinstance(after.value.value, str):
            found.append(name)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_constant_has_a_reason(file: Path) -> None:
    """The reason or source stands right below it."""
    assert unreasoned(file.read_text("utf-8")) == []


def test_a_number_without_a_reason_is_found() -> None:
    """The test itself can fail."""
    assert unreasoned('X: Final = 3\nY: Final = 4\n"""Because."""\n') == ["X"]
