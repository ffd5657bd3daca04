"""Projects as Label Studio 1.4.1 and before had them: a player in a task's HTML, moved by a script that the task brings.

The script has the form of the one in Label Studio's guide "Time series and Video or Audio"; projects in use differ in names,
numbers and white space.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GUIDE_CONFIG = """<View>
  <TimeSeriesLabels name="label" toName="ts">
    <Label value="Run"/>
    <Label value="Walk"/>
  </TimeSeriesLabels>
  <HyperText name="video" value="$video" inline="true"/>
  <TimeSeries name="ts" value="$csv" valueType="url" timeColumn="time_column">
    <Channel column="first_column"/>
  </TimeSeries>
</View>
"""


def script(series: str = "ts", column: str = "time_column", tag: str = "video", every: int = 300, after: int = 3000) -> str:
    """A script that moves the player when the view of the series was moved."""
    return (
        f"setTimeout(function(){{ts=Htx.annotationStore.selected.names.get('{series}');t=ts.data.{column};"
        f"v=document.getElementsByTagName('{tag}')[0];w=parseInt(t.length*(5/v.duration));l=t.length-w;"
        "ts.updateTR([t[0], t[w]], 1.001);r=$=>\nts.brushRange.map(n=>(+n).toFixed(2));_=r();"
        "setInterval($=>r().some((n,i)=>n!==_[i])&&(_=r())&&"
        "(v.currentTime=v.duration*(r()[0]-t[0])/(t.slice(-1)[0]-t[0]-(r()[1]-r()[0]))),"
        f"{every}); console.log('video is loaded, starting to sync with time series')}}, {after}); "
    )


def player(source: str, tag: str = "video", **names: Any) -> str:
    """The HTML of a task."""
    return f"<{tag} src='{source}' width='100%' controls onloadeddata=\"{script(tag=tag, **names)}\" />"


def region(start: Any, end: Any, id: str = "r1", **changes: Any) -> dict[str, Any]:
    """A region that somebody drew on the series."""
    value = {"start": start, "end": end, "instant": start == end, "timeserieslabels": ["Run"]}
    return {"id": id, "from_name": "label", "to_name": "ts", "type": "timeserieslabels", "value": value, **changes}


def exported(number: int, data: dict[str, Any], regions: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A task as Export > JSON writes it."""
    annotations = [{"id": 100 + number, "completed_by": 1, "result": list(regions)}] if regions else []
    return {"id": number, "data": data, "annotations": annotations, "predictions": [], "meta": {}}


def write_series(path: Path, times: Sequence[Any]) -> Path:
    """A series with the guide's columns; values are the numbers of their rows."""
    path.write_text("time_column,first_column\n" + "".join(f"{time},{row}\n" for row, time in enumerate(times)))
    return path


def write_tasks(path: Path, tasks: Any) -> Path:
    """A file of tasks."""
    path.write_text(json.dumps(tasks))
    return path
