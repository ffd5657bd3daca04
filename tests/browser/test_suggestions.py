"""Suggestions in Label Studio's own editor with Auto-Annotation on, in a real Chromium; screenshots stay in artifacts/."""

import itertools
from pathlib import Path
from typing import Any

from framewise.demo.backend_server import BackendServer
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import wait_until
from tests.series_help import record, series_config

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
KIND = "number"
SERIES = 'const series = () => [...(annotation()?.names?.values() ?? [])].find(tag => tag.type === "timeseries");'


def test_one_interval_drawn_in_a_series_brings_the_others(editor: Editor, api: AnnotatorApi, backend: BackendServer) -> None:
    project = int(api.create_project("suggest", series_config(KIND, inline=True))["id"])
    api.connect_backend(project, backend.url, "framewise", is_interactive=True)
    recording = record(5, 60.0)
    (task,) = api.import_tasks(project, [{"series": recording.to_json(KIND)}])
    api.retrieve_predictions(project, [task["id"]])
    wait_until(lambda: not (backend.jobs()["pending"] or backend.jobs()["running"]), "the end of all jobs")
    shakes = [r["value"] for r in recording.regions(KIND) if r["value"]["timeserieslabels"] == ["Shake"]]

    editor.page.goto("about:blank")
    editor.page.goto(f"{editor.url}/projects/{project}/data?task={task['id']}")
    editor._wait(f"(() => {{ {SERIES} return taskId() === {task['id']} && series()?.keysRange?.length === 2 }})()", "no series")
    ARTIFACTS.mkdir(exist_ok=True)
    editor.page.get_by_text("Auto-Annotation").click()
    drawn = shakes[0]
    draw(editor, "Shake", drawn["start"], drawn["end"] - 0.2)
    editor._wait("annotation().regions.length === 1", "the interval was not drawn")
    # The editor says nothing when an interval is drawn in a series, but it does when its edge is moved.
    drag(editor, drawn["end"] - 0.2, drawn["end"])
    editor._wait("annotation().regions.length > 1", "no suggestions")
    editor.screenshot(ARTIFACTS / "suggestions-series.png")
    first = held(editor)
    own, *suggested = first
    assert (own["origin"], {r["origin"] for r in suggested}) == ("manual", {"prediction"})
    for shake in shakes[1:]:
        assert any(r["start"] < shake["end"] and shake["start"] < r["end"] for r in suggested)

    drag(editor, own["end"], own["end"] - 0.1)
    editor._wait("annotation().regions[0].end < " + str(own["end"] - 0.05), "the edge was not moved")
    editor._wait("window.Htx.awaitingSuggestions === false", "no second answer")
    again = held(editor)
    assert [r["id"] for r in again][: len(first)] == [r["id"] for r in first]
    for one, other in itertools.combinations(again, 2):  # nothing is there twice
        assert one["end"] < other["start"] or other["end"] < one["start"]


def held(editor: Editor) -> list[dict[str, Any]]:
    """Regions in the editor."""
    told = "return annotation().regions.map(r => ({id: r.cleanId, start: r.start, end: r.end, origin: r.origin}))"
    return list(editor._run(told))


def draw(editor: Editor, label: str, start: float, end: float) -> None:
    """Select a label, and draw an interval in the first channel."""
    editor.page.locator(".lsf-label", has_text=label).first.click()
    drag(editor, start, end)


def drag(editor: Editor, start: float, end: float) -> None:
    """Drag the mouse from one moment of the first channel to another."""
    plot = editor.page.locator(".htx-timeseries-channel .new_brush rect.overlay").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    first, last = editor._run(f"{SERIES} return [...series().brushRange]")
    at = [box["x"] + box["width"] * (second - first) / (last - first) for second in (start, end)]
    middle = box["y"] + box["height"] / 2
    editor.page.mouse.move(at[0], middle)
    editor.page.mouse.down()
    editor.page.mouse.move(sum(at) / 2, middle, steps=5)
    editor.page.mouse.move(at[1], middle, steps=5)
    editor.page.mouse.up()
