"""Label Studio's own template of series in sync with a video: annotated on one medium, predicted on all, in a real Chromium.

The configs are those of https://labelstud.io/templates/timeseries_audio_video, with controls on each medium. Screenshots
stay in artifacts/.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framewise.demo.backend_server import BackendServer
from framewise.demo.label_studio_server import LabelStudioServer
from tests.audio_help import RATE, Sound
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import wait_for_version, wait_until
from tests.videos import colour_pictures, write_video

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
FRAME_RATE, SAMPLE_RATE = 30, 60
TIME_BASED = """<View>
  <Video name="video" value="$video" frameRate="30" sync="group_a"/>
  <TimelineLabels name="timeline" toName="video" model_trainable="true"><Label value="A"/><Label value="B"/></TimelineLabels>
  <Audio name="audio" value="$audio" sync="group_a"/>
  <Labels name="sounds" toName="audio" model_trainable="true"><Label value="A"/><Label value="B"/></Labels>
  <TimeSeriesLabels name="timelinelabels" toName="accel_timeseries" model_trainable="true">
    <Label value="A"/>
    <Label value="B"/>
  </TimeSeriesLabels>
  <TimeSeries name="accel_timeseries" value="$accel_data" sync="group_a" timeColumn="time" timeFormat="%H:%M:%S.%f"
              timeDisplayFormat="%H:%M:%S.%f" overviewWidth="10%" fixedScale="true">
    <MultiChannel>
      <Channel column="accel_x" strokeColor="#FF0000" height="100"/>
      <Channel column="accel_y" strokeColor="#00FF00" height="100"/>
    </MultiChannel>
  </TimeSeries>
  <TimeSeriesLabels name="turns" toName="gyro_timeseries" model_trainable="true">
    <Label value="A"/>
    <Label value="B"/>
  </TimeSeriesLabels>
  <TimeSeries name="gyro_timeseries" value="$gyro_data" sync="group_a" timeColumn="time" timeFormat="%H:%M:%S.%f"
              timeDisplayFormat="%H:%M:%S.%f" overviewWidth="10%" fixedScale="true">
    <Channel column="gyro_x" strokeColor="#0000FF" height="100"/>
    <Channel column="gyro_y" strokeColor="#FF00FF" height="100"/>
  </TimeSeries>
</View>"""
INDEX_BASED = """<View>
  <Video name="video" value="$video" frameRate="30" sync="group_a"/>
  <TimelineLabels name="timeline" toName="video" model_trainable="true">
    <Label value="action"/>
    <Label value="pause"/>
  </TimelineLabels>
  <TimeSeries name="timeseries" value="$ts" valueType="json" sync="group_a" sep="," overviewWidth="10%" fixedScale="true">
    <Channel column="value" strokeColor="#FF0000"/>
    <Channel column="value" strokeColor="#00FF00"/>
  </TimeSeries>
  <TimeSeriesLabels name="labels" toName="timeseries" model_trainable="true">
    <Label value="action"/>
    <Label value="pause"/>
  </TimeSeriesLabels>
</View>"""
# Of each recording: (label, first second, last second). A is felt by the accelerometer, B by the gyroscope.
EVENTS = (
    [("A", 1.0, 3.0), ("B", 4.0, 6.0), ("A", 7.0, 8.5)],
    [("B", 1.5, 3.0), ("A", 4.5, 6.0), ("B", 7.5, 9.0)],
    [("A", 1.5, 3.5), ("B", 5.0, 7.5)],
)
SECONDS = 10


def time_of(row: int) -> str:
    milliseconds = round(61_000 + row * 1000 / SAMPLE_RATE)
    return f"00:{milliseconds // 60_000:02d}:{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}000"


def write_media(folder: Path, number: int) -> dict[str, str]:
    """Files of one recording; the task's data."""
    random = np.random.default_rng(number)
    seconds = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    for name, felt, strength in (("accel", "A", 2.0), ("gyro", "B", 3.0)):
        values = random.normal(0, 0.1, (len(seconds), 2))
        for label, start, end in EVENTS[number]:
            if label == felt:
                inside = (seconds >= start) & (seconds < end)
                values[inside, 0] += strength * np.sin(2 * np.pi * 3 * seconds[inside])
        rows = "".join(f"{time_of(row)},{x:.4f},{y:.4f}\n" for row, (x, y) in enumerate(values))
        (folder / f"{name}-{number}.csv").write_text(f"time,{name}_x,{name}_y\n{rows}")
    write_video(folder / f"clip-{number}.mp4", still(SECONDS, number), FRAME_RATE)
    Sound(random.normal(0, 0.02, SECONDS * RATE).astype(np.float32), []).write(folder / f"sound-{number}.wav")
    below = "/data/local-files/?d=synchronised/"
    names = {"video": "clip-{}.mp4", "audio": "sound-{}.wav", "accel_data": "accel-{}.csv", "gyro_data": "gyro-{}.csv"}
    return {field: below + name.format(number) for field, name in names.items()}


def still(seconds: int, seed: int) -> list[np.ndarray]:
    return [picture for picture in colour_pictures(2, (320, 240), seed) for _ in range(seconds * FRAME_RATE // 2)]


@pytest.fixture(scope="module")
def media(label_studio: LabelStudioServer) -> list[dict[str, str]]:
    folder = label_studio.document_root / "synchronised"
    folder.mkdir()
    return [write_media(folder, number) for number in range(len(EVENTS))]


def connect(
    api: AnnotatorApi, label_studio: LabelStudioServer, backend: BackendServer, config: str, data: list[dict[str, Any]]
) -> tuple[int, list[int]]:
    project = int(api.create_project("in sync", config)["id"])
    storage = {
        "project": project,
        "path": str(label_studio.document_root / "synchronised"),
        "title": "media",
        "use_blob_urls": True,
    }
    api.request("POST", "/api/storages/localfiles/", json=storage)
    assert api.connect_backend(project, backend.url, "framewise")["readable_state"] == "Connected"
    return project, [task["id"] for task in api.import_tasks(project, data)]


def predicted(api: AnnotatorApi, backend: BackendServer, project: int, task: int) -> list[dict[str, Any]]:
    wait_for_version(api, project, other_than="untrained")
    wait_until(lambda: not (backend.jobs()["pending"] or backend.jobs()["running"]), "the end of all jobs")
    api.retrieve_predictions(project, [task])
    regions: list[dict[str, Any]] = api.predictions(task)[-1]["result"]
    return regions


def region(from_name: str, to_name: str, kind: str, number: int, label: str, **value: Any) -> dict[str, Any]:
    about = {"id": f"r{number}", "from_name": from_name, "to_name": to_name, "type": kind, "origin": "manual"}
    return {**about, "value": {**value, kind: [label]}}


def by_control(regions: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names = sorted({r["from_name"] for r in regions})
    return {name: [r for r in regions if r["from_name"] == name] for name in names}


def share_right(spans: list[tuple[str, float, float]], truth: list[tuple[str, float, float]], seconds: int) -> float:
    def marked(some: list[tuple[str, float, float]]) -> np.ndarray:
        labels = sorted({label for label, *_ in truth})
        on = np.zeros((len(labels), seconds * 100), dtype=bool)
        for label, start, end in some:
            on[labels.index(label), round(start * 100) : round(end * 100)] = True
        return on

    return float((marked(spans) == marked(truth)).mean())


def timeline_spans(regions: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    spans = [(r["value"]["timelinelabels"][0], r["value"]["ranges"][0]) for r in regions]
    return [(label, (s["start"] - 1) / FRAME_RATE, s["end"] / FRAME_RATE) for label, s in spans]


def open_and_submit(editor: Editor, api: AnnotatorApi, project: int, task: int, name: str) -> list[dict[str, Any]]:
    """Submit what the editor holds, and keep a picture of it."""
    editor.open_task(project, task)
    loaded = '[...annotation().names.values()].filter(t => t.type === "timeseries").every(t => t.keysRange?.length === 2)'
    editor._wait(loaded, "not all series were loaded")
    ARTIFACTS.mkdir(exist_ok=True)
    editor.page.set_viewport_size({"width": 1400, "height": 1600})
    editor.page.wait_for_timeout(1500)
    editor.screenshot(ARTIFACTS / f"in-sync-{name}.png")
    editor.submit()
    (annotation,) = api.task(task)["annotations"]
    saved: list[dict[str, Any]] = annotation["result"]
    return saved


def test_time_based_annotated_on_the_series_and_predicted_on_all_media(
    editor: Editor, api: AnnotatorApi, label_studio: LabelStudioServer, backend: BackendServer, media: list[dict[str, str]]
) -> None:
    """A on the accelerometer's series, B on the gyroscope's."""
    project, tasks = connect(api, label_studio, backend, TIME_BASED, list(media))
    tags = {"A": ("timelinelabels", "accel_timeseries"), "B": ("turns", "gyro_timeseries")}
    for task, events in zip(tasks[:2], EVENTS, strict=False):
        result = []
        for number, (label, start, end) in enumerate(events):
            span = {
                "start": time_of(round(start * SAMPLE_RATE)),
                "end": time_of(round(end * SAMPLE_RATE) - 1),
                "instant": False,
            }
            result.append(region(*tags[label], "timeserieslabels", number, label, **span))
        api.submit_annotation(task, result)

    sent = predicted(api, backend, project, tasks[2])

    on = by_control(sent)
    assert on.keys() == {"timeline", "sounds", "timelinelabels", "turns"}
    assert share_right(timeline_spans(on["timeline"]), EVENTS[2], SECONDS) > 0.85
    rows = {time_of(row): row for row in range(SECONDS * SAMPLE_RATE)}
    for name in ("timelinelabels", "turns"):  # two samples a frame: the same to the sample
        spans = [(r["value"]["timeserieslabels"][0], rows[r["value"]["start"]], rows[r["value"]["end"]] + 1) for r in on[name]]
        in_seconds = sorted((label, start / SAMPLE_RATE, end / SAMPLE_RATE) for label, start, end in spans)
        assert [x for *_, x in in_seconds] == pytest.approx([x for *_, x in sorted(timeline_spans(on["timeline"]))])

    saved = {r["id"]: r["value"] for r in open_and_submit(editor, api, project, tasks[2], "time-based")}
    for r in sent:
        if r["type"] == "labels":
            assert [saved[r["id"]][edge] for edge in ("start", "end")] == pytest.approx(
                [r["value"][edge] for edge in ("start", "end")], abs=0.01
            )
        else:
            assert saved[r["id"]] == r["value"]


def test_index_based_annotated_on_the_video_and_predicted_on_the_series(
    editor: Editor, api: AnnotatorApi, label_studio: LabelStudioServer, backend: BackendServer, media: list[dict[str, str]]
) -> None:
    """A row is a second. Values are high in action and low in pauses."""
    truths = [
        [("action", 2, 5), ("pause", 5, 8), ("action", 8, 10)],
        [("pause", 1, 4), ("action", 4, 7)],
        [("action", 1, 4), ("pause", 4, 8)],
    ]
    data = []
    for task, truth in zip(media, truths, strict=True):
        values = [0.0 + 0.01 * (row % 3) for row in range(SECONDS)]
        for label, start, end in truth:
            values[start:end] = [(5.0 if label == "action" else -5.0) + 0.01 * row for row in range(end - start)]
        data.append({"video": task["video"], "ts": {"value": values}})
    project, tasks = connect(api, label_studio, backend, INDEX_BASED, data)
    for task, truth in zip(tasks[:2], truths, strict=False):
        spans = [(label, [{"start": start * FRAME_RATE + 1, "end": end * FRAME_RATE}]) for label, start, end in truth]
        result = [
            region("timeline", "video", "timelinelabels", number, label, ranges=ranges)
            for number, (label, ranges) in enumerate(spans)
        ]
        api.submit_annotation(task, result)

    sent = predicted(api, backend, project, tasks[2])

    on = by_control(sent)
    assert on.keys() == {"timeline", "labels"}
    rows = [(r["value"]["timeserieslabels"][0], r["value"]["start"], r["value"]["end"] + 1) for r in on["labels"]]
    assert all(isinstance(edge, int) for _, *edges in rows for edge in edges)
    assert share_right(rows, truths[2], SECONDS) > 0.8
    assert share_right(timeline_spans(on["timeline"]), truths[2], SECONDS) > 0.8
    saved = {r["id"]: r["value"] for r in open_and_submit(editor, api, project, tasks[2], "index-based")}
    assert saved == {r["id"]: r["value"] for r in sent}
