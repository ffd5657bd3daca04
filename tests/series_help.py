"""Rendered recordings of an acceleration sensor whose truth is known: it lies still, is shaken, or is turned."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LABELS = ("Shake", "Turn")
SAMPLE_RATE = 50.0
START = datetime.datetime(2024, 3, 5, 23, 59, 50)
FORMAT = "%Y-%m-%d %H:%M:%S.%L"


@dataclass(frozen=True)
class Recording:
    """seconds (N,) and values (N, 3) of a recording; truth: (label, first, last sample) of what happens in it."""

    seconds: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    truth: list[tuple[str, int, int]]

    def times(self, kind: str) -> list[Any]:
        """The time of each sample as it stands in a file: "date", "number" of seconds, or "index"."""
        if kind == "date":
            moments = [START + datetime.timedelta(milliseconds=round(s * 1000)) for s in self.seconds]
            return [m.strftime("%Y-%m-%d %H:%M:%S.") + f"{m.microsecond // 1000:03d}" for m in moments]
        return [round(s + 100, 3) for s in self.seconds] if kind == "number" else list(range(len(self.seconds)))

    def write_csv(self, path: Path, kind: str) -> Path:
        rows = zip(self.times(kind), *self.values.round(4).T.tolist(), strict=True)
        path.write_text("Time,X,Y,Z\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
        return path

    def to_json(self, kind: str) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = dict(zip("xyz", self.values.round(4).T.tolist(), strict=True))
        return {"time": self.times(kind), **columns}

    def regions(self, kind: str) -> list[dict[str, Any]]:
        """The truth as the editor saves it."""
        times = self.times(kind)
        return [
            {
                "id": f"r-{first}", "from_name": "moves", "to_name": "sensor", "type": "timeserieslabels", "origin": "manual",
                "value": {"start": times[first], "end": times[last], "instant": False, "timeserieslabels": [label]},
            }
            for label, first, last in self.truth
        ]  # fmt: skip

    def marked(self, regions: Sequence[tuple[str, int, int]]) -> npt.NDArray[np.bool_]:
        """(N, 2): which labels are on in each sample."""
        on = np.zeros((len(self.seconds), len(LABELS)), dtype=bool)
        for label, first, last in regions:
            on[first : last + 1, LABELS.index(label)] = True
        return on

    def predicted(self, prediction: dict[str, Any], kind: str) -> list[tuple[str, int, int]]:
        """A prediction's regions as (label, first, last sample); fails if one does not lie on samples."""
        places = {time: place for place, time in enumerate(self.times(kind))}
        values = [region["value"] for region in prediction["result"]]
        return [(v["timeserieslabels"][0], places[v["start"]], places[v["end"]]) for v in values]


def record(seed: int, seconds: float = 24.0) -> Recording:
    """A recording that begins still; something happens every few seconds."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    values = random.normal(0, 0.05, (len(times), 3)) + [0, 0, 1]
    truth, place = [], round(SAMPLE_RATE)
    while (stop := place + int(random.integers(60, 130))) < len(times) - SAMPLE_RATE:
        label, inside = LABELS[len(truth) % 2], slice(place, stop)
        if label == "Shake":
            values[inside, 0] += 1.5 * np.sin(2 * np.pi * 4 * times[inside])
        else:
            values[inside] += [0, 1, -1]
        truth.append((label, place, stop - 1))
        place = stop + int(random.integers(60, 130))
    return Recording(times, values, truth)


def series_config(kind: str = "number", inline: bool = False, **parameters: str) -> str:
    """A labeling config of such recordings."""
    attributes = "".join(f' {name}="{value}"' for name, value in ({"model_trainable": "true"} | parameters).items())
    time = {"date": f'timeColumn="time" timeFormat="{FORMAT}"', "number": 'timeColumn="time"', "index": ""}[kind]
    labels = "".join(f'<Label value="{label}"/>' for label in LABELS)
    return (
        f'<View><TimeSeriesLabels name="moves" toName="sensor"{attributes}>{labels}</TimeSeriesLabels>'
        f'<TimeSeries name="sensor" value="$series" valueType="{"json" if inline else "url"}" {time}>'
        '<Channel column="x"/><MultiChannel><Channel column="y"/><Channel column="z"/></MultiChannel></TimeSeries></View>'
    )


def task(number: int, series: Any) -> dict[str, Any]:
    return {"id": number, "data": {"series": series}, "meta": {}, "annotations": [], "predictions": []}
