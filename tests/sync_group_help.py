"""Tasks whose media play in sync: a clip, a sensor and sound, with one truth in seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.series_help import LABELS, Recording, record, series_config

FRAME_RATE = 25
TAGS = {
    "video": '<TimelineLabels name="timeline" toName="clip" model_trainable="true">{labels}</TimelineLabels>'
    '<Video name="clip" value="$video" frameRate="25" sync="all"/>',
    "audio": '<Labels name="sounds" toName="audio" model_trainable="true">{labels}</Labels>'
    '<Audio name="audio" value="$audio" sync="all"/>',
}  # fmt: skip


def sync_config(*media: str, kind: str = "number", inline: bool = False, labels: tuple[str, ...] = LABELS) -> str:
    """A labeling config of a series in sync with other media: "video", "audio"."""
    series = series_config(kind, inline).replace('name="sensor" value', 'name="sensor" sync="all" value')
    tags = "".join(f'<Label value="{label}"/>' for label in labels)
    return series.replace("</View>", "".join(TAGS[m].format(labels=tags) for m in media) + "</View>")


@dataclass(frozen=True)
class SyncTask:
    """A task, and the recording of its sensor."""

    task: dict[str, Any]
    recording: Recording

    @property
    def truth(self) -> list[tuple[str, float, float]]:
        """(label, start, end) in seconds."""
        step = self.recording.seconds[1]
        return [(x, first * step, (last + 1) * step) for x, first, last in self.recording.truth]

    def timeline(self) -> list[dict[str, Any]]:
        """The truth as the editor saves it on the video's timeline."""
        return [
            {
                "id": f"t-{start}", "from_name": "timeline", "to_name": "clip", "type": "timelinelabels", "origin": "manual",
                "value": {
                    "ranges": [{"start": int(start * FRAME_RATE) + 1, "end": max(int(end * FRAME_RATE), 1)}],
                    "timelinelabels": [label],
                },
            }
            for label, start, end in self.truth
        ]  # fmt: skip


def seconds_of(region: dict[str, Any], task: SyncTask, kind: str) -> tuple[str, float, float]:
    """(label, start, end) of a predicted region of whatever control. Fails for units that are not its own."""
    value = region["value"]
    (label,) = value[region["type"]]
    if region["type"] == "timelinelabels":
        (span,) = value["ranges"]
        assert type(span["start"]) is int
        assert type(span["end"]) is int
        return label, (span["start"] - 1) / FRAME_RATE, span["end"] / FRAME_RATE
    if region["type"] == "labels":
        assert value["channel"] == 0
        return label, value["start"], value["end"]
    places = {time: place for place, time in enumerate(task.recording.times(kind))}
    step = task.recording.seconds[1]
    assert value["instant"] == (value["start"] == value["end"])
    return label, places[value["start"]] * step, (places[value["end"]] + 1) * step


def marked(regions: list[tuple[str, float, float]], seconds: float) -> npt.NDArray[np.bool_]:
    """(N, 2) which labels are on in each hundredth of a second."""
    on = np.zeros((int(seconds * 100), len(LABELS)), dtype=bool)
    for label, start, end in regions:
        on[round(start * 100) : round(end * 100), LABELS.index(label)] = True
    return on


def sync_task(number: int, seed: int, folder: Path, clip: Path, audio: Path | None = None, kind: str = "number") -> SyncTask:
    recording = record(seed, 14.0)
    series = recording.write_csv(folder / f"sync-{number}.csv", kind)
    data = {"series": str(series), "video": str(clip), **({"audio": str(audio)} if audio else {})}
    return SyncTask({"id": number, "data": data, "meta": {}, "annotations": [], "predictions": []}, recording)
