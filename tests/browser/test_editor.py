"""What a person sees: predicted regions in Label Studio's own editor, in a real Chromium.

Where there is no Chromium the tests fail and say how to install one, unless SKIP_BROWSER=1 asks for them to be skipped.
Screenshots are kept in artifacts/.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from framewise.core.frame_grid import picture_rows
from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth, make_index_clip, read_index
from framewise.demo.label_studio_server import LabelStudioApi, LabelStudioServer
from framewise.demo.run import LABEL_CONFIG, true_regions
from framewise.media.video import decode, probe
from tests.browser.driver import Editor
from tests.label_studio.fixtures import wait_for_version

ARTIFACTS = Path(__file__).parents[2] / "artifacts"


@pytest.fixture(scope="module")
def editor(label_studio: LabelStudioServer) -> Iterator[Editor]:
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1")
    ARTIFACTS.mkdir(exist_ok=True)
    with Editor(label_studio.url, label_studio.username, label_studio.password) as editor:
        yield editor


def test_predicted_regions_are_drawn_at_the_frames_that_were_sent(
    editor: Editor, api: LabelStudioApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    """The whole way once more, ending in front of a person's eyes."""
    api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_files(project, [clip.path for clip in clips])
    for task, clip in zip(tasks[:2], clips[:2], strict=True):
        api.submit_annotation(task["id"], true_regions(clip))
    wait_for_version(api, project, other_than="untrained")
    while backend.jobs()["pending"] or backend.jobs()["running"]:
        pass
    api.retrieve_predictions(project, [tasks[2]["id"]])
    sent = api.predictions(tasks[2]["id"])[-1]["result"]
    assert sent

    editor.open_task(project, tasks[2]["id"])
    editor.show_timeline()
    editor.screenshot(ARTIFACTS / "predicted-timeline.png")
    assert editor.num_frames == clips[2].num_frames
    expected = {region["id"]: [(r["start"], r["end"]) for r in region["value"]["ranges"]] for region in sent}
    held = {region.id: list(region.ranges) for region in editor.regions()}
    assert held == expected
    drawn = {row.id: row.ranges for row in editor.drawn_regions()}
    assert drawn.keys() == expected.keys()
    for region_id, ranges in expected.items():
        np.testing.assert_allclose(drawn[region_id], ranges, atol=0.2)


@pytest.mark.parametrize(
    ("file_rate", "config_rate"), [("15", "25"), ("25", "25"), ("30000/1001", "25"), ("30000/1001", "29.97")]
)
def test_frame_n_shows_the_picture_that_its_row_is_made_of(
    editor: Editor, api: LabelStudioApi, tmp_path: Path, file_rate: str, config_rate: str
) -> None:
    """Pictures that carry their own index, read from the browser's screen at frames over the whole clip."""
    rate = Fraction(file_rate)
    path = tmp_path / f"index-{file_rate.replace('/', '-')}.mp4"
    make_index_clip(path, int(8 * rate), rate)
    project = api.create_project("frame grid", LABEL_CONFIG.replace("25.0", config_rate))["id"]
    task = api.import_files(project, [path])[0]
    editor.open_task(project, task["id"])

    info = probe(path)
    seconds = [float(picture.pts * info.time_base) for picture in decode(path)]
    num_frames = round(info.duration_seconds * float(config_rate))
    assert editor.num_frames == num_frames
    rows = picture_rows(seconds, float(config_rate), num_frames)
    frames = sorted({1, 2, 3, 4, 5, num_frames // 3, num_frames // 2, num_frames - 2, num_frames - 1, num_frames})
    assert [read_index(editor.picture(frame)) for frame in frames] == [int(rows[frame - 1]) for frame in frames]
