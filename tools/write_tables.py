"""Rewrite the tables of the documentation that are generated from the code: parameters of a control tag, and settings.

A table is between ``<!-- name -->`` and ``<!-- /name -->``. Run ``python -m tools.write_tables`` after a change; a test
compares them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framewise.labeling_config import PARAMETERS
from framewise.settings import describe_settings

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ("docs/labeling-config.md", "docs/settings.md")


def parameters_table() -> str:
    """Table of the attributes of a control tag."""
    rows = [(f"`{p.name}`", _as_attribute(p.default), p.help) for p in PARAMETERS]
    return _table(("Attribute", "Default", "Meaning"), rows)


def settings_table() -> str:
    """Table of the environment variables."""
    rows = [(f"`{name}`", f"`{default}`" if default else "", help) for name, default, help in describe_settings()]
    return _table(("Variable", "Default", "Meaning"), rows)


def with_tables(text: str) -> str:
    """Rewrite the tables of a document. Raises ValueError for a table without an end."""
    for name, table in (("parameters", parameters_table()), ("settings", settings_table())):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != text.count(end):
            raise ValueError(f"expected as many {begin} as {end}")
        written = f"{begin}\n{table}\n{end}".replace("\\", r"\\")
        text = re.sub(f"{begin}.*?{end}", written, text, flags=re.DOTALL)
    return text


def _as_attribute(value: Any) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    for name in DOCUMENTS:
        path = REPOSITORY / name
        path.write_text(with_tables(path.read_text()))


if __name__ == "__main__":
    main()
