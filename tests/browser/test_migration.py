"""A legacy project, migrated: a real Label Studio imports it, plays it in sync in a real Chromium, and has its regions.

A screenshot stays in artifacts/.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from framewise.demo.label_studio_server import LabelStudioServer
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.legacy import GUIDE_CONFIG, exported, player, region, write_series, write_tasks
from tests.videos import colour_pictures, write_video

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SERIES = 'const series = () => annotation()?.names?.get("ts");'
# The whole series is drawn in the overview, from a group's left edge to its right one.
OVERVIEW, REGION = ".htx-timeseries-overview rect.overlay", ".htx-timeseries-overview rect.region"


@pytest.fixture
def migrated(label_studio: LabelStudioServer, api: AnnotatorApi) -> tuple[int, int]:
    """Project and task: five seconds of a series stretched over ten of a video, as the script did, with one region."""
    folder = label_studio.document_root / "legacy"
    (folder / "media").mkdir(parents=True)
    write_video(folder / "media" / "clip.mp4", colour_pictures(250, size=(640, 360)))
    write_series(folder / "media" / "walk.csv", [100 + row / 20 for row in range(101)])
    below = "/data/local-files/?d=legacy/media/"
    old = exported(7, {"csv": f"{below}walk.csv", "video": player(f"{below}clip.mp4")}, [region(101.0, 102.5)])
    write_tasks(folder / "export.json", [old])
    (folder / "old.xml").write_text(GUIDE_CONFIG)
    command = [sys.executable, "-m", "framewise", "migrate", "export.json", "--config", "old.xml", "--media-folder", "media"]
    command += ["--series-address", "/data/local-files/?d=legacy/new/series/", "--output", "new", "--write"]
    subprocess.run(command, cwd=folder, check=True, timeout=600)
    project = int(api.create_project("migrated", (folder / "new" / "config.xml").read_text())["id"])
    storage = {"project": project, "path": str(folder), "title": "legacy", "use_blob_urls": True}
    api.request("POST", "/api/storages/localfiles/", json=storage)
    (task,) = api.import_tasks(project, json.loads((folder / "new" / "tasks.json").read_text()))
    return project, int(task["id"])


def test_the_migrated_project_plays_in_sync_and_its_region_sits_where_it_sat(
    editor: Editor, api: AnnotatorApi, migrated: tuple[int, int]
) -> None:
    """The region was at a fifth of the series to a half of it, and the script showed the video's fifth and half there."""
    project, task = migrated
    (annotation,) = api.task(task)["annotations"]
    assert annotation["result"] == [region(2.0, 5.0)]

    editor.open_task(project, task)
    editor._wait(f"(() => {{ {SERIES} return series()?.keysRange?.length === 2 }})()", "no series")
    held = editor._run("return annotation().regions.map(r => [r.cleanId, r.start, r.end, [...r.labels]])")
    assert held == [["r1", 2, 5, ["Run"]]]
    page = editor.page
    page.locator(OVERVIEW).scroll_into_view_if_needed()
    whole, drawn = page.locator(OVERVIEW).bounding_box(), page.locator(REGION).bounding_box()
    assert whole
    assert drawn
    left = (drawn["x"] - whole["x"]) / whole["width"]
    assert [left, left + drawn["width"] / whole["width"]] == pytest.approx([0.2, 0.5], abs=0.005)

    editor.click_along_series("ts", (0.6, 0.2, 0.7))  # where the region is not, which a click selects
    ARTIFACTS.mkdir(exist_ok=True)
    editor.screenshot(ARTIFACTS / "migrated.png")

    page.get_by_test_id("playback-button:play").first.click()
    follows = "element().currentTime > 4 && !element().paused && Math.abs(series().cursorTime - element().currentTime) < 0.5"
    editor._wait(f"(() => {{ {SERIES} return {follows} }})()", "the series did not follow the video")
