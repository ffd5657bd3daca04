"""Docstrings begin with a noun phrase or in the imperative, not with a question."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "framewise"
QUESTIONS = ("How", "Of", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why")


# Functions whose source is part of what the cache knows them by: features/cache.py says why.
FIXED = ("picture_times",)


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of a module and all that it defines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            yield getattr(node, "name", "the module"), ast.get_docstring(node) or ""


def modules() -> list[Path]:
    beside = PACKAGE.parent
    folders = (PACKAGE, *(beside / name for name in ("utils", "tools", "tests")))
    return [*sorted(beside.glob("*.py")), *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_no_docstring_begins_as_a_question(path: Path) -> None:
    assert not [
        f"{name}: {text[:60]}"
        for name, text in documented(path)
        if name not in FIXED and text.split()[0].rstrip(",") in QUESTIONS
    ]
