"""Series as the editor reads their files, in a real Label Studio and Chromium: what it does not show is advised on."""

import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from framewise.core.errors import MediaError
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.labeling_config import read_labeling_config
from framewise.media.series import Series, read_series
from framewise.media.series_shown import shown_problem
from tests.browser.driver import Editor
from tests.label_studio.api import AnnotatorApi

OPENED = """(() => {
  const series = annotation()?.names?.get("s");
  if (!series) return false;
  if (window.seen !== series) [window.seen, window.since] = [series, performance.now()];
  return (series.valueLoaded || window.Htx.annotationStore.validation?.length) && performance.now() - window.since > 1000;
})()"""
# What it has of a series, null for nothing. What throws is told to the user in place of the series.
LOADED = """
const series = annotation().names.get("s");
try {
  const data = series.dataObj;
  return data && {times: [...data[series.keyColumn]], channels: series.channels.map(c => [...(data[c.columnName] ?? [])])};
} catch (error) { return null; }
"""
TRIES = 3
ROWS = "5,1,10\n5.5,2,20\n6,3,30\n"
DATE = "%Y-%m-%d %H:%M:%S"


def case(text, shown, columns=("x", "y"), **attributes):
    """A file, whether it is shown, and the attributes of its config."""
    return text if isinstance(text, bytes) else text.encode(), shown, columns, {"timeColumn": "time"} | attributes


# Channels by the number of a named column are asked about in JSON alone: in other files some loads of the editor find them.
CASES = {
    "plain": case("time,x,y\n" + ROWS, True),
    "bom": case("\ufefftime,x,y\n" + ROWS, True),
    "carriage_returns": case("time,x,y\r\n5,1,10\r\n6,2,20\r\n", True),
    "latin1": case("time,x°,y\n".encode("latin-1") + ROWS.encode(), True, columns=("x\ufffd", "y")),
    "a_bad_byte": case(b"time,x,y\n5,\xff1,10\n6,2,20\n7,3,30\n", True),
    "bom_before_json": case('\ufeff{"time": [5, 6], "x": [1, 2], "y": [3, 4]}', True),
    "utf16": case(("time,x,y\n" + ROWS).encode("utf-16"), False),
    "json_nan": case('{"time": [5, 6], "x": [1, NaN], "y": [3, 4]}', False),
    "json_capitals": case('{"Time": [5, 6], "X": [1, 2], "y": [3, 4]}', False),
    "json_booleans": case('{"time": [5, 6], "x": [true, false], "y": [3, 4]}', True),
    "capitals": case("Time,X,Y\n" + ROWS, True),
    "quoted_names": case('"time","x","y"\n' + ROWS, False),
    "quoted_names_as_the_editor_wants_them": case('"time","x","y"\n' + ROWS, True, ('"x"', '"y"'), timeColumn='"time"'),
    "quoted_numbers": case('time,x,y\n5,"1",10\n6,"2",20\n', False),
    "all_quoted": case('"time","x","y"\n"5","1","10"\n"6","2","20"\n', False),
    "blanks": case("time, x, y\n5, 1, 10\n6, 2, 20\n", False),
    "first_cells_empty": case("x,y,time\n,,5\n,,6\n,,7\n1,2,8\n", False),
    "first_cell_empty": case("x,y,time\n,1,5\n,2,6\n7,8,9\n", True),
    "cells_empty": case("time,x,y\n5,,10\n6,1,\n7,,\n", True),
    "tabs_at_the_end": case("time\tx\ty\n5\t1\t2\n6\t2\t\n7\t3\t4\n", False, sep="tab"),
    "short_row": case("time,x,y\n5,1,10\n6,2\n7,3,30\n", False),
    "comment": case("# a sensor\ntime,x,y\n" + ROWS, False),
    "comment_with_commas": case("# a,b,c\ntime,x,y\n" + ROWS, False),
    "words": case("time,x,y\n5,TRUE,10\n6,FALSE,20\n", True),
    "zeros": case("time,x,y\n0,1,10\n0,2,20\n1,3,30\n", False),
    "pipes": case("time|x|y\n5|1|10\n6|2|20\n", True, sep="|"),
    "auto": case("time;x;y\n5;1;10\n6;2;20\n", True, sep="auto"),
    "numbers_without_names": case(ROWS, True, ("1", "2"), timeColumn="0"),
    "json_numbers": case('{"time": [5, 6], "x": [1, 2], "y": [3, 4]}', False, ("1", "2")),
    "rows": case("x,y\n1,10\n2,20\n", True, timeColumn=None),
    "dates": case("time,x,y\n2024-03-05 00:00:05.5,1,10\n2024-03-05 00:00:06.25,2,20\n", True, timeFormat=f"{DATE}.%L"),
    "microseconds": case(
        "time,x,y\n2024-03-05 00:00:05.500125,1,10\n2024-03-05 00:00:06.250125,2,20\n", True, timeFormat=f"{DATE}.%f"
    ),
    "microseconds_and_offset": case(
        "time,x,y\n2024-03-05 00:00:05.500125+00:00,1,10\n2024-03-05 00:00:06.250125+00:00,2,20\n",
        False, timeFormat=f"{DATE}.%f%Z",
    ),
    "milliseconds_and_offset": case(
        "time,x,y\n2024-03-05 00:00:05.500+01:00,1,10\n2024-03-05 00:00:06.250+01:00,2,20\n", True, timeFormat=f"{DATE}.%L%Z"
    ),
    "full_stops": case("time,x,y\n05.03.2024,1,10\n06.03.2024,2,20\n", False, timeFormat="%d.%m.%Y"),
    "no_leading_zero": case("time,x,y\n0830,1,10\n0831,2,20\n", False, timeFormat="%H%M"),
    "epoch": case("time,x,y\n1709596805043,1,10\n1709596805500,2,20\n", True, timeFormat="%Q"),
    "epoch_seconds": case("time,x,y\n1709596805.043,1,10\n1709596805.5,2,20\n", False, timeFormat="%s.%L"),
    "quoted_dates_as_the_editor_wants_them": case(
        'time,x,y\n"2024-03-05",1,10\n"2024-03-06",2,20\n', True, timeFormat='"%Y-%m-%d"'
    ),
    "quoted_dates": case('time,x,y\n"2024-03-05",1,10\n"2024-03-06",2,20\n', False, timeFormat="%Y-%m-%d"),
}  # fmt: skip


def config(columns, attributes):
    shown = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items() if value is not None)
    channels = "".join(f"<Channel column={quoteattr(column)}/>" for column in columns)
    return (
        '<View><TimeSeriesLabels name="l" toName="s" model_trainable="true"><Label value="A"/></TimeSeriesLabels>'
        f'<TimeSeries name="s" value="$series" {shown}>{channels}</TimeSeries></View>'
    )


@pytest.fixture(scope="module")
def folder(label_studio: LabelStudioServer) -> Path:
    folder = label_studio.document_root / "shown"
    folder.mkdir()
    for name, (text, *_) in CASES.items():
        (folder / f"{name}.csv").write_bytes(text)
    return folder


def same(series: Series, data: Any) -> bool:
    """True if the editor has the samples of a series; gaps may be drawn as anything."""
    if not data or data["times"] != series.native.tolist():
        return False
    if any(len(column) != len(series.native) for column in data["channels"]):
        return False
    pairs = zip(series.values.T.ravel().tolist(), itertools.chain(*data["channels"]), strict=True)
    return all(math.isnan(own) or own == other for own, other in pairs)


@pytest.fixture(scope="module")
def project_of(api: AnnotatorApi, folder: Path) -> Callable[[str], int]:
    """Makes a project of the folder's files; the same for the same labeling config."""

    @functools.cache
    def make(xml: str) -> int:
        project = int(api.create_project("series shown", xml)["id"])
        storage = {"project": project, "path": str(folder), "use_blob_urls": True}
        api.request("POST", "/api/storages/localfiles/", json=storage)
        return project

    return make


def loaded(editor: Editor, project: int, task: int) -> Any:
    """Series of a task as the editor has it, once that is loaded or refused."""
    editor.show_task(project, task, OPENED, "no series")
    return editor._run(LOADED)


@pytest.mark.parametrize("name", CASES)
def test_what_the_editor_does_not_show_is_advised_on(
    editor: Editor, api: AnnotatorApi, folder: Path, project_of: Callable[[str], int], name: str
) -> None:
    _, shown, columns, attributes = CASES[name]
    xml, path = config(columns, attributes), folder / f"{name}.csv"
    project = project_of(xml)
    (task,) = api.import_tasks(project, [{"series": f"/data/local-files/?d=shown/{path.name}"}])
    (control,) = read_labeling_config(xml)
    assert control.series
    try:
        series = read_series(path, control.series)
    except MediaError:
        assert not shown
        assert not loaded(editor, project, task["id"])
        return
    # Now and then the editor replaces a tag that has just loaded by one that has not.
    assert any(same(series, loaded(editor, project, task["id"])) for _ in range(TRIES if shown else 1)) == shown
    assert bool(shown_problem(path, control.series)) == (not shown)
