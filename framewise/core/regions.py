"""Label Studio's region JSON of timelines: reading, with validation, and writing.

Frames are numbered as in Label Studio: from 1, start and end included.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import RangeOutsideVideo, RegionError, brief
from framewise.core.media_kinds import VIDEO

# A region that begins up to this many frames early is cut: programs that count from 0 write frame 0.
EARLY_FRAMES = 3


@dataclass(frozen=True)
class TimelineRegion:
    """Intervals with labels. ranges: (start, end) in frames; an end of None means the video's last frame."""

    labels: tuple[str, ...]
    ranges: tuple[tuple[int, int | None], ...]
    id: str = ""


def read_regions(result: Sequence[Any], from_name: str | None = None) -> list[TimelineRegion]:
    """Regions of the timeline control ``from_name`` in an annotation's ``result``; of every such control if None.

    Regions of other controls are skipped. All ranges and labels of a region are read.
    Raises RegionError for a region of this control that is not an interval.
    """
    regions = []
    for region_id, value, labels in labelled_values(result, VIDEO.region, from_name, "ranges"):
        ranges = value.get("ranges")
        if not isinstance(ranges, list):
            raise RegionError(f"region {region_id!r}: expected a list of ranges, found {brief(ranges)}")
        regions.append(TimelineRegion(labels, tuple(_read_range(r, region_id) for r in ranges), region_id))
    return regions


def labelled_values(
    result: Sequence[Any], region_type: str, from_name: str | None, what: str, required: Sequence[str] = ()
) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    """(id, value, labels) of each region of a control in an annotation's ``result``; of every control of the type if None.

    As in the editor, from_name and the field of the labels decide which regions these are, not their type.
    what: description of the expected value, for messages. required: fields that the value must have.
    Raises RegionError for a region without a value or labels.
    """
    for item in result:
        if not isinstance(item, Mapping) or not _is_of(item, region_type, from_name):
            continue
        given_id = item.get("id") or ""
        region_id = given_id if isinstance(given_id, str) and len(given_id) <= 200 else brief(given_id)
        value = item.get("value")
        if not isinstance(value, Mapping) or any(name not in value for name in required):
            raise RegionError(f"region {region_id!r}: expected an object 'value' with {what} and labels, found {brief(value)}")
        labels = value.get(region_type)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise RegionError(f"region {region_id!r}: expected a list of label names in {region_type!r}, found {brief(labels)}")
        yield region_id, value, tuple(labels)


def _is_of(item: Mapping[str, Any], region_type: str, from_name: str | None) -> bool:
    if from_name is not None and item.get("from_name") != from_name:
        return False
    value = item.get("value")
    named = from_name is not None and isinstance(value, Mapping) and region_type in value
    return named or item.get("type") == region_type


def begins_early(value: Mapping[str, Any]) -> bool:
    """True if a valid region has a range that begins before the first frame."""
    ranges = value.get("ranges")
    starts = [item.get("start") for item in ranges if isinstance(item, Mapping)] if isinstance(ranges, list) else []
    return any(isinstance(start, int | float) and start < 1 for start in starts)


def _read_range(item: Any, region_id: str) -> tuple[int, int | None]:
    if not isinstance(item, Mapping):
        raise RegionError(f"region {region_id!r}: expected a range with start and end, found {brief(item)}")
    start = _read_frame(item.get("start"), "start", region_id)
    end = None if item.get("end") is None else _read_frame(item["end"], "end", region_id)
    if end is not None and end < start:
        raise RegionError(f"region {region_id!r}: starts at frame {start} and ends before it, at frame {end}")
    if start <= -EARLY_FRAMES or (end is not None and end < 0):
        raise RangeOutsideVideo(f"region {region_id!r}: starts at frame {start}, but Label Studio's frames start at 1")
    return max(start, 1), None if end is None else max(end, 1)


def _read_frame(value: Any, name: str, region_id: str) -> int:
    # 5.0 is a frame number; 5.5, NaN and Infinity (which Python's JSON accepts) and True are not.
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isinstance(value, int) or value.is_integer()):
        raise RegionError(f"region {region_id!r}: {name} must be a whole frame number, found {brief(value)}")
    return int(value)


def new_region_id() -> str:
    """New unique region id: the editor draws regions with equal ids in the same place."""
    return uuid.uuid4().hex[:10]


def write_region(
    labels: Iterable[str], start: int, end: int, from_name: str, to_name: str, score: float | None = None
) -> dict[str, Any]:
    """Region JSON of a prediction. Frames are converted to int, because the editor cannot open tasks with fractional frames."""
    value = {"ranges": [{"start": int(start), "end": int(end)}]}
    return predicted_region(VIDEO.region, from_name, to_name, value, labels, score)


def predicted_region(
    region_type: str, from_name: str, to_name: str, value: dict[str, Any], labels: Iterable[str], score: float | None
) -> dict[str, Any]:
    """Region JSON of any type with this value, to which the labels are added."""
    region: dict[str, Any] = {
        "id": new_region_id(),
        "type": region_type,
        "from_name": from_name,
        "to_name": to_name,
        "origin": "prediction",
        "value": {**value, region_type: list(labels)},
    }
    if score is not None:
        region["score"] = round(float(score), 4)
    return region
