"""Statements of the documentation that a test can compare with the code."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from framewise.labeling_config import PARAMETERS, read_labeling_config
from framewise.settings import Settings
from tools.write_tables import DOCUMENTS, parameters_table, settings_table, with_tables

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
SETTINGS = (REPOSITORY / "docs/settings.md").read_text()
PARAMETERS_PAGE = (REPOSITORY / "docs/labeling-config.md").read_text()


def documents() -> list[Path]:
    top = ["models", "cache_dir", "docs"]
    return sorted([*REPOSITORY.glob("*.md"), *(p for folder in top for p in (REPOSITORY / folder).rglob("*.md"))])


def shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def links(text: str) -> Iterator[str]:
    """Targets of links and pictures, outside of code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    yield from re.findall(r"\]\(([^)\s]+)\)", prose)
    yield from re.findall(r'<(?:img|a)[^>]*(?:src|href)="([^"]+)"', prose)


def anchors(text: str) -> set[str]:
    """Names that a page's headings get on GitHub."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def code_of(text: str) -> str:
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_what_the_code_generates(name: str) -> None:
    text = (REPOSITORY / name).read_text()

    assert with_tables(text) == text, "run: python -m tools.write_tables"


def test_both_tables_are_in_the_documentation() -> None:
    assert parameters_table() in PARAMETERS_PAGE
    assert settings_table() in SETTINGS


def test_the_tables_name_every_setting_and_every_parameter() -> None:
    assert not [item.name for item in fields(Settings) if f"`{item.name.upper()}`" not in SETTINGS]
    assert not [p.name for p in PARAMETERS if f"`{p.name}`" not in PARAMETERS_PAGE]


def test_the_readme_is_a_page_for_newcomers_that_leads_to_every_other() -> None:
    index = (REPOSITORY / "docs/README.md").read_text()
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}

    assert len(README.splitlines()) <= 160
    assert "(docs/README.md)" in README
    assert not pages - {link.partition("#")[0] for link in links(index)}


@pytest.mark.parametrize("document", documents(), ids=shown)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    broken = []
    for link in links(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (document.parent / target) if target else document
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            broken.append(link)

    assert not broken


@pytest.mark.parametrize("document", documents(), ids=shown)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", code_of(document.read_text())))

    assert named <= targets


@pytest.mark.parametrize("document", documents(), ids=shown)
def test_labeling_configs_that_are_shown_are_accepted(document: Path) -> None:
    for config in re.findall(r"```xml\n(<View>.*?)```", document.read_text(), flags=re.DOTALL):
        assert read_labeling_config(config)
