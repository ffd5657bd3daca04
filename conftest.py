"""Fixtures shared by several kinds of test: a real Label Studio and a backend connected to it, one of each per
session, and small disks."""

import pytest

pytest_plugins = ("tests.label_studio.fixtures", "tests.integration.small_disks")

# The first of several test processes makes the Label Studio of all, which takes half a minute; meanwhile the others have long
# files that need none.
FIRST_FILES = (
    "tests/browser/test_aligned_series.py",
    "tests/integration/test_torture.py",
    "tests/integration/test_kills.py",
    "tests/integration/test_extract.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put FIRST_FILES before all others, which keep their order."""
    items.sort(key=lambda item: FIRST_FILES.index(item.location[0]) if item.location[0] in FIRST_FILES else len(FIRST_FILES))
