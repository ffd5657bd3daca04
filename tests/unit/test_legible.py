"""Texts are written for where they are read: Label Studio renders them as HTML, in which a tag's name in brackets vanishes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "framewise"
TAG = re.compile(r"</?[A-Za-z][\w ]*[^<]*>|</?[A-Z]\w+")
# They print on a terminal alone: what changes in XML, and the demonstration's labeling config. Routes begin with /.
ON_A_TERMINAL = ("migrate", "demo")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of all texts of a module but its docstrings; of one with values in it, with * for each."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "*" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inside | said):
            yield node.lineno, node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_text_names_a_tag_in_angle_brackets(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] not in ON_A_TERMINAL:
        assert not [f"{line}: {text[:80]}" for line, text in texts(path) if TAG.search(text) and not text.startswith("/")]
