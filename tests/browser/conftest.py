"""One browser for all tests of what a person sees.

Where there is no Chromium the tests fail and say how to install one, unless SKIP_BROWSER=1 asks for them to be skipped.
"""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from framewise.demo.label_studio_server import LabelStudioServer
from tests.browser.driver import Editor, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1")
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def editor(label_studio: LabelStudioServer) -> Iterator[Editor]:
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1")
    with Editor(label_studio.url, label_studio.username, label_studio.password) as editor:
        yield editor
