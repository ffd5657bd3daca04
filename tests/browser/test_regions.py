"""Regions of other forms than the editor's own: which of them Label Studio's editor shows with a label is what is learned."""

from typing import Any

import pytest

from framewise.core.left_out import left_out
from framewise.core.media_kinds import VIDEO
from framewise.core.regions import read_regions
from framewise.demo.clips import ClipTruth
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import LABEL_CONFIG

CONTROL, LABELS = "timeline", ["Ball touch"]


def region(**changes: Any) -> dict[str, Any]:
    value = {"ranges": [{"start": 5, "end": 9}], "timelinelabels": LABELS} | changes.pop("value", {})
    own = {"id": "r", "type": VIDEO.region, "from_name": CONTROL, "to_name": "video", "origin": "manual"}
    return own | changes | {"value": {name: given for name, given in value.items() if given is not None}}


@pytest.fixture(scope="module")
def uploaded(api: AnnotatorApi, clips: list[ClipTruth]) -> tuple[int, dict[str, Any]]:
    """A project, and the data of a task with a video."""
    project = int(api.create_project("football", LABEL_CONFIG)["id"])
    (task,) = api.import_files(project, [clips[0].path])
    return project, task["data"]


@pytest.mark.parametrize(
    "given",
    [
        region(type="timeserieslabels"),
        region(type="labels"),
        region(type="choices"),
        region(value={"labels": ["Ball in frame"]}),
        region(value={"ranges": [{"start": 0, "end": 0}]}),
        region(type="labels", value={"timelinelabels": None, "labels": LABELS}),
        region(value={"timelinelabels": []}),
        region(from_name="before"),
    ],
    ids=[
        "type of series",
        "type of sound",
        "type of choices",
        "two fields",
        "frame 0",
        "other field",
        "no label",
        "control gone",
    ],
)
def test_what_the_editor_shows_with_a_label_is_read_and_all_else_is_told_of(
    editor: Editor, api: AnnotatorApi, uploaded: tuple[int, dict[str, Any]], given: dict[str, Any]
) -> None:
    project, data = uploaded
    (annotated,) = api.import_tasks(project, [{"data": data, "annotations": [{"result": [given]}]}])
    editor.open_task(project, annotated["id"])
    shown = [shown.labels for shown in editor.regions() if shown.labels]

    read = [found.labels for found in read_regions([given], CONTROL) if found.labels]
    assert read == shown
    told = left_out([given], {CONTROL: VIDEO.region}, {CONTROL})
    assert told.is_all == (not shown)
    assert bool(told.notes({CONTROL})) == (not shown or given["value"]["ranges"][0]["start"] == 0)


def test_the_config_has_the_control_that_is_meant() -> None:
    assert f'<TimelineLabels name="{CONTROL}"' in LABEL_CONFIG
    assert f'value="{LABELS[0]}"' in LABEL_CONFIG
