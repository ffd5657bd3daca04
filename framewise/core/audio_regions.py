"""Label Studio's region JSON of sound: seconds from ``start`` to ``end``, and the length of the whole beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import RangeOutsideVideo, RegionError, brief
from framewise.core.regions import TimelineRegion, new_region_id

AUDIO_REGION_TYPE = "labels"
# Browsers and decoders differ about a file's length: by the padding that encoders add.
TOLERANCE_SECONDS = 0.25
SLACK_FRAMES = 1e-6  # what float64 may not resolve: frame 3 ends at 0.12 s, which times 25 is 3.0000000000000004


@dataclass(frozen=True)
class AudioRegion:
    """Labels of the seconds [start, end)."""

    labels: tuple[str, ...]
    start: float
    end: float
    id: str = ""


def read_audio_regions(result: Sequence[Any], from_name: str) -> list[AudioRegion]:
    """Regions of the control ``from_name`` in an annotation's ``result``, of whatever channel; those of others are left alone.

    Raises RegionError for a region of this control that has no seconds or labels.
    """
    regions = []
    for item in result:
        if not isinstance(item, Mapping) or item.get("type") != AUDIO_REGION_TYPE or item.get("from_name") != from_name:
            continue
        given = item.get("id") or ""
        name = given if isinstance(given, str) and len(given) <= 200 else brief(given)
        value = item.get("value")
        if not isinstance(value, Mapping):
            raise RegionError(f"region {name!r}: expected an object 'value' with start, end and labels, found {brief(value)}")
        labels = value.get(AUDIO_REGION_TYPE)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise RegionError(f"region {name!r}: expected a list of label names in 'labels', found {brief(labels)}")
        start, end = (_seconds(value.get(edge), edge, name) for edge in ("start", "end"))
        if end < start:
            raise RegionError(f"region {name!r}: starts at {start:g} s and ends before it, at {end:g} s")
        regions.append(AudioRegion(tuple(labels), start, end, name))
    return regions


def _seconds(value: Any, edge: str, name: str) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    if not usable or not math.isfinite(value):
        raise RegionError(f"region {name!r}: expected seconds in {edge!r}, found {brief(value)}")
    return float(value)


def audio_region_frames(region: AudioRegion, duration_seconds: float, rate: float) -> TimelineRegion:
    """A region as the frames at ``rate`` that it touches; at least one. Raises RangeOutsideVideo."""
    if region.start >= duration_seconds + TOLERANCE_SECONDS or region.end < 0:
        raise RangeOutsideVideo(
            f"region {region.id!r}: {region.start:g} to {region.end:g} s are outside sound of {duration_seconds:.2f} s; is it "
            "the file that was annotated?"
        )
    last = max(math.ceil(duration_seconds * rate - SLACK_FRAMES), 1)
    start = min(max(math.floor(region.start * rate + SLACK_FRAMES) + 1, 1), last)
    end = min(max(math.ceil(region.end * rate - SLACK_FRAMES), start), last)
    return TimelineRegion(region.labels, ((start, end),), region.id)


def write_audio_region(
    labels: Iterable[str],
    frames: tuple[int, int],
    duration_seconds: float,
    rate: float,
    names: tuple[str, str],
    score: float,
) -> dict[str, Any]:
    """One predicted region of the frames from first to last, both included. names: from_name and to_name.

    As the editor writes it: ``original_length`` stands beside ``value``, and the channel is that of a file whose channels are
    not split.
    """
    first, last = frames
    start, end = (first - 1) / rate, min(last / rate, duration_seconds)
    return {
        "id": new_region_id(),
        "type": AUDIO_REGION_TYPE,
        "from_name": names[0],
        "to_name": names[1],
        "origin": "prediction",
        "original_length": duration_seconds,
        "value": {"start": start, "end": max(end, start), "channel": 0, AUDIO_REGION_TYPE: list(labels)},
        "score": round(float(score), 4),
    }
