"""Predicted regions as a person sees them, in Label Studio's own editor (real Chromium); a screenshot stays in artifacts/."""

from pathlib import Path

import numpy as np

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.run import true_regions
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import wait_for_version, wait_until

ARTIFACTS = Path(__file__).parents[2] / "artifacts"


def test_predicted_regions_are_drawn_at_the_frames_that_were_sent(
    editor: Editor, api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    """The whole way once more, ending in front of a person's eyes."""
    api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_files(project, [clip.path for clip in clips])
    for task, clip in zip(tasks[:2], clips[:2], strict=True):
        api.submit_annotation(task["id"], true_regions(clip))
    wait_for_version(api, project, other_than="untrained")
    wait_until(lambda: not (backend.jobs()["pending"] or backend.jobs()["running"]), "the end of all jobs")
    api.retrieve_predictions(project, [tasks[2]["id"]])
    sent = api.predictions(tasks[2]["id"])[-1]["result"]
    assert sent

    ARTIFACTS.mkdir(exist_ok=True)
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
