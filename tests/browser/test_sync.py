"""A region annotated on one camera, carried to another: in a real Chromium both show the same instant of the scene.

A screenshot of each camera stays in artifacts/.
"""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from framewise.demo.label_studio_server import LabelStudioServer
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.sync_help import Filmed, read_clock, write_manifest

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SIZE = (640, 360)
# Each camera's start in the scene, seconds, and frames a second; the second one starts 1.234 s before the first.
CAMERAS = {"cam1.mp4": (100.0, Fraction(25)), "cam2.mp4": (98.766, Fraction(30000, 1001))}
CONFIG = """<View><TimelineLabels name="moves" toName="video"><Label value="Jump" background="#d33"/></TimelineLabels>
<Video name="video" value="$video" frameRate="$rate"/></View>"""
FIRST, LAST = 51, 75  # of camera 1 at 25 frames a second: [2, 3) s, seconds 102 to 103 of the scene


@pytest.fixture
def cameras(label_studio: LabelStudioServer, api: AnnotatorApi) -> tuple[int, list[int], Path]:
    """A project with a task for each camera, and a folder with their manifest, export and labeling config."""
    folder = label_studio.document_root / "cameras"
    folder.mkdir(parents=True)
    paths = [Filmed(start, 6, rate, None, size=SIZE).write(folder / name) for name, (start, rate) in CAMERAS.items()]
    write_manifest(folder, paths, [0, -1.234])
    (folder / "config.xml").write_text(CONFIG)
    project = int(api.create_project("two cameras", CONFIG)["id"])
    storage = {"project": project, "path": str(folder), "title": "cameras", "use_blob_urls": True}
    api.request("POST", "/api/storages/localfiles/", json=storage)
    rates = {name: float(rate) for name, (_, rate) in CAMERAS.items()}
    data = [{"video": f"/data/local-files/?d=cameras/{name}", "rate": f"{rate:.5g}"} for name, rate in rates.items()]
    tasks = sorted(api.import_tasks(project, data), key=lambda task: str(task["data"]["video"]))
    return project, [int(task["id"]) for task in tasks], folder


def shown_seconds(editor: Editor, frame: int) -> float:
    seconds = read_clock(editor.picture(frame))
    assert seconds is not None
    return seconds


def test_a_region_of_one_camera_is_at_the_same_instant_of_another(
    editor: Editor, api: AnnotatorApi, label_studio: LabelStudioServer, cameras: tuple[int, list[int], Path]
) -> None:
    project, (first, second), folder = cameras
    value = {"ranges": [{"start": FIRST, "end": LAST}], "timelinelabels": ["Jump"]}
    region = {"id": "jump", "type": "timelinelabels", "from_name": "moves", "to_name": "video", "value": value}
    api.submit_annotation(first, [region])
    exported = api.request(
        "GET", f"/api/projects/{project}/export", params={"exportType": "JSON", "download_all_tasks": "true"}
    )
    (folder / "export.json").write_text(json.dumps(exported))

    env = {**os.environ, "LABEL_STUDIO_URL": label_studio.url, "PYTHONPATH": str(Path(__file__).parents[2])}
    env["LABEL_STUDIO_API_KEY"] = str(label_studio.personal_access_token())
    command = [
        sys.executable,
        "-m",
        "framewise",
        "sync",
        "labels",
        "sync.json",
        "export.json",
        "--config",
        "config.xml",
        "--push",
    ]
    for _ in range(2):  # the same again is not there twice
        subprocess.run(command, cwd=folder, env=env, check=True, timeout=600)

    (prediction,) = api.predictions(second)
    assert prediction["model_version"].startswith("sync-0a1b2c3d-")
    ARTIFACTS.mkdir(exist_ok=True)
    editor.open_task(project, first)
    of_first = [shown_seconds(editor, frame) for frame in (FIRST, LAST)]
    editor.show_timeline()
    editor.screenshot(ARTIFACTS / "sync-camera-1.png")
    assert of_first == [102.0, 102.96]

    editor.open_task(project, second)
    (carried,) = editor.regions()
    assert carried.labels == ("Jump",)
    ((start, end),) = carried.ranges
    assert end is not None
    # [3.234, 4.234) s of camera 2 are frames 97.92 to 126.89 of 29.97 a second
    assert (start, end) == (98, 127)
    of_second = [shown_seconds(editor, frame) for frame in (end, start)]
    editor.show_timeline()
    editor.screenshot(ARTIFACTS / "sync-camera-2.png")
    frame_seconds = 1001 / 30000
    assert abs(of_second[1] - of_first[0]) <= frame_seconds
    assert abs(of_second[0] + frame_seconds - (of_first[1] + 0.04)) <= frame_seconds
    (drawn,) = editor.drawn_regions()
    assert drawn.label == "Jump"
    assert drawn.ranges[0] == pytest.approx((start, end), abs=0.1)
