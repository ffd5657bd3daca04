"""A sensor's file that ``framewise series align`` wrote plays in sync with its film, in a real Label Studio and Chromium.

A screenshot stays in artifacts/.
"""

from pathlib import Path

import pytest

from framewise.commands.cli import main
from framewise.demo.label_studio_server import LabelStudioServer
from tests.align_help import EARLY, RATE, shake, write_series
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
CONFIG = """<View>
  <Video name="video" value="$video" frameRate="25" sync="all"/>
  <TimeSeriesLabels name="moves" toName="ts"><Label value="Walk"/></TimeSeriesLabels>
  <TimeSeries name="ts" value="$series" timeColumn="time" sync="all" overviewChannels="x">
    <Channel column="x"/>
    <Channel column="y"/>
  </TimeSeries>
</View>"""
SERIES = 'const series = () => annotation()?.names?.get("ts");'


@pytest.fixture
def aligned(label_studio: LabelStudioServer, api: AnnotatorApi) -> tuple[int, int]:
    """Project and task. The sensor's clock says 1000 s where it begins, two seconds after the film does."""
    folder = label_studio.document_root / "aligned"
    folder.mkdir()
    shaken = shake(folder)
    sensor = write_series(folder / "gyro.csv", shaken.values[round((EARLY + 2) * RATE) :])
    assert main(["series", "align", str(shaken.film), str(sensor)]) == 0
    project = int(api.create_project("aligned", CONFIG)["id"])
    storage = {"project": project, "path": str(folder), "title": "aligned", "use_blob_urls": True}
    api.request("POST", "/api/storages/localfiles/", json=storage)
    below = "/data/local-files/?d=aligned/"
    (task,) = api.import_tasks(project, [{"video": f"{below}shaken.mp4", "series": f"{below}gyro.aligned.csv"}])
    return project, int(task["id"])


def test_what_was_aligned_plays_in_sync(editor: Editor, aligned: tuple[int, int]) -> None:
    """A second of the series is the same second of the film, though the sensor came later."""
    project, task = aligned
    editor.open_task(project, task)
    editor._wait(f"(() => {{ {SERIES} return series()?.keysRange?.length === 2 }})()", "no series")
    first, last = editor._run(f"{SERIES} return series().keysRange")
    assert (first, last) == (0, pytest.approx(13, abs=0.1))

    editor.click_along_series("ts", (0.6, 0.3))
    ARTIFACTS.mkdir(exist_ok=True)
    editor.screenshot(ARTIFACTS / "aligned-series.png")
