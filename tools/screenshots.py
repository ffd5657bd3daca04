"""Render the pictures of the documentation from a running demo: framewise's pages, and Label Studio with predictions.

Needs a Chromium, and a Label Studio in the variable LABEL_STUDIO, which ``make screenshots`` gives. Takes as long as the demo.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from framewise.core.metrics import runs
from framewise.demo.run import ANNOTATED, Demo, prepare
from tests.browser.driver import Editor, chromium

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
DESK, PHONE = (1180, 820), (390, 844)
TIMEOUT_MS = 60_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label-studio", default=os.environ.get("LABEL_STUDIO"), help="its program")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the pictures")
    chosen = parser.parse_args(arguments)
    if not chosen.label_studio:
        parser.error("no Label Studio: run make screenshots, or set LABEL_STUDIO")
    chosen.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        demo = prepare(stack, Path(chosen.label_studio), Path(folder))
        with chromium() as browser:
            _take_pages(browser, demo, chosen.to)
        _take_editor(demo, chosen.to / "label-studio.png")
    return 0


def _take_pages(browser: Browser, demo: Demo, to: Path) -> None:
    project = f"{demo.backend}/projects/{demo.project}"
    light, dark, phone = _page(browser, DESK, "light"), _page(browser, DESK, "dark"), _page(browser, PHONE, "light")
    _shoot(light, demo.backend, to / "overview.png")
    _shoot(light, project, to / "project.png")
    _shoot(light, f"{project}/timelines", to / "timelines.png", hover=".strip .timeline")
    _shoot(light, f"{project}/next", to / "next.png")
    _shoot(dark, f"{project}/tasks/{demo.tasks[0]['id']}", to / "task-dark.png", keys=["Shift+ArrowRight"] * 6)
    _shoot(phone, f"{project}/timelines", to / "timelines-phone.png")


def _page(browser: Browser, size: tuple[int, int], scheme: str) -> Page:
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    return context.new_page()


def _shoot(page: Page, address: str, path: Path, hover: str = "", keys: Sequence[str] = ()) -> None:
    page.goto(address, wait_until="networkidle")
    for key in keys:
        page.keyboard.press(key)
    if hover:
        box = page.locator(hover).first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 20)
    page.wait_for_timeout(1500)  # for pictures decoded on demand, and for seeking in a video
    _save(page, path)


def _save(page: Page, path: Path) -> None:
    """Save a screenshot with 256 colours: a third of the bytes, without a visible difference."""
    page.screenshot(path=path)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(path)


def _take_editor(demo: Demo, path: Path) -> None:
    """Take a screenshot of the clip with the most predicted touches, at one of them."""
    touches = [outcome.predicted[:, 0] for outcome in demo.outcomes]
    most = max(range(len(touches)), key=lambda n: len(runs(touches[n])))
    start, stop = runs(touches[most])[0]
    with Editor(demo.server.url, demo.server.username, demo.server.password, viewport=(1400, 950)) as editor:
        editor.open_task(demo.project, demo.tasks[ANNOTATED + most]["id"])
        editor.seek(int(start + stop) // 2 + 1)
        editor.page.wait_for_timeout(1500)
        _save(editor.page, path)


if __name__ == "__main__":
    sys.exit(main())
