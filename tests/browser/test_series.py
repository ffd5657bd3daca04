"""Predicted regions of a time series in Label Studio's own editor, in a real Chromium; a screenshot stays in artifacts/."""

from pathlib import Path

import pytest

from framewise.demo.backend_server import BackendServer
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import wait_for_version, wait_until
from tests.series_help import record, series_config

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SERIES = 'const series = () => [...(annotation()?.names?.values() ?? [])].find(tag => tag.type === "timeseries");'


@pytest.mark.parametrize("kind", ["date", "number", "index"])
def test_the_editor_takes_predicted_regions_and_saves_them_as_they_were(
    editor: Editor, api: AnnotatorApi, backend: BackendServer, kind: str
) -> None:
    project = int(api.create_project("sensors", series_config(kind, inline=True))["id"])
    api.connect_backend(project, backend.url, "framewise")
    recordings = [record(21), record(22)]
    tasks = api.import_tasks(project, [{"series": recording.to_json(kind)} for recording in recordings])
    api.submit_annotation(tasks[0]["id"], recordings[0].regions(kind))
    wait_for_version(api, project, other_than="untrained")
    wait_until(lambda: not (backend.jobs()["pending"] or backend.jobs()["running"]), "the end of all jobs")
    task = tasks[1]["id"]
    api.retrieve_predictions(project, [task])
    sent = {region["id"]: region["value"] for region in api.predictions(task)[-1]["result"]}
    assert sent

    editor.page.goto("about:blank")
    editor.page.goto(f"{editor.url}/projects/{project}/data?task={task}")
    editor._wait(f"(() => {{ {SERIES} return taskId() === {task} && series()?.keysRange?.length === 2 }})()", "no series")
    # The very samples: to the editor a moment is a number of milliseconds, or what the column says.
    first, last = editor._run(f"{SERIES} return series().keysRange")
    times = recordings[1].times(kind)
    span = len(times) - 1 if kind == "index" else (23.98 * 1000 if kind == "date" else 23.98)
    assert last - first == pytest.approx(span)
    held = editor._run("return annotation().regions.map(r => [r.cleanId, r.start, r.end, [...r.labels]])")
    places = {time: place for place, time in enumerate(times)}
    step = (last - first) / (len(times) - 1)
    assert {name for name, *_ in held} == sent.keys()
    for name, start, end, labels in held:
        assert labels == sent[name]["timeserieslabels"]
        assert [start, end] == pytest.approx([first + step * places[sent[name][edge]] for edge in ("start", "end")], abs=1e-6)
    ARTIFACTS.mkdir(exist_ok=True)
    editor.screenshot(ARTIFACTS / f"predicted-series-{kind}.png")

    editor.submit()
    (annotation,) = api.task(task)["annotations"]
    saved = {region["id"]: region["value"] for region in annotation["result"]}
    assert saved == sent
