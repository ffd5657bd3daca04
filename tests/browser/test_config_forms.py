"""Places in which Label Studio's own editor finds a task's media and frame rate: framewise finds them there, too."""

from typing import Any

import pytest

from framewise.labeling_config import read_labeling_config
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi

TIMES, VALUES = [5, 6, 7], [1, 2, 3]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "path": ('value="$media.video" frameRate="$media.rate"', {"media": {"video": "/a.mp4", "rate": 30}}),
    "place in a list": ('value="$videos[0]" frameRate="$rates[1]"', {"videos": ["/a.mp4"], "rates": [1, "12.5"]}),
    "object in a list": ('value="$videos[1].url"', {"videos": [{"url": "/b.mp4"}, {"url": "/a.mp4"}]}),
    "key with a dot": ('value="$media.video"', {"media.video": "/a.mp4", "media": {"video": "/b.mp4"}}),
    "text around": ('value="/files/$name" frameRate="1$zero"', {"name": "a.mp4", "zero": 0}),
    "two fields": ('value="/$folder/$name" frameRate="0.04"', {"folder": "files", "name": "a"}),
    "no frame rate": ('value="$video" frameRate="$fps"', {"video": "/a.mp4"}),
}


def shown(editor: Editor, api: AnnotatorApi, xml: str, data: dict[str, Any], ready: str, script: str) -> Any:
    project = int(api.create_project("forms of configs", xml)["id"])
    (task,) = api.import_tasks(project, [data])
    editor.show_task(project, task["id"], ready, "no medium")
    return editor._run(script)


@pytest.mark.parametrize("name", CASES)
def test_a_video_and_its_frame_rate_are_found_where_the_editor_finds_them(editor: Editor, api: AnnotatorApi, name: str) -> None:
    attributes, data = CASES[name]
    xml = (
        '<View><timelinelabels name="l" toName="v"><LABEL value="A"/></timelinelabels>'
        f'<video name="v" {attributes}></video></View>'
    )
    script = "return [video()._value, Number(video().framerate)]"
    (control,) = read_labeling_config(xml)
    found = [control.media_source(data), control.frame_rate(data)]
    assert found == shown(editor, api, xml, data, "video()?._value", script)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ('value=""', {"time": TIMES, "x": VALUES}),
        ('value="$sensors[0].data"', {"sensors": [{"data": {"time": TIMES, "x": VALUES}}]}),
    ],
)
def test_a_series_is_found_where_the_editor_finds_it(
    editor: Editor, api: AnnotatorApi, value: str, data: dict[str, Any]
) -> None:
    xml = (
        '<View><TimeSeriesLabels name="l" toName="s" model_trainable="true"><Label value="A"/></TimeSeriesLabels>'
        f'<TIMESERIES name="s" {value} valueType="json" timeColumn="time"><channel column="x"/></TIMESERIES></View>'
    )
    script = 'const data = annotation().names.get("s").dataObj; return [[...data.time], [...data.x]]'
    assert shown(editor, api, xml, data, 'annotation()?.names?.get("s")?.dataObj', script) == [TIMES, VALUES]
    (control,) = read_labeling_config(xml)
    assert control.media_source(data) == '{"time": [5, 6, 7], "x": [1, 2, 3]}'
