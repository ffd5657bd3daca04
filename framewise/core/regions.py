"""Label Studio's region JSON of a timeline, read strictly and written so that the editor can draw it.

Frames are Label Studio's: 1-based, start and end included.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import RangeOutsideVideo, RegionError, brief
from framewise.core.media_kinds import VIDEO

# A region may begin so many frames early and is cut, as one that ends late: programs that number frames from 0 write frame 0.
EARLY_FRAMES = 3


@dataclass(frozen=True)
class TimelineRegion:
    """Intervals with their labels. ``ranges`` are (start, end) frames; an ``end`` of None runs to the video's last frame."""

    labels: tuple[str, ...]
    ranges: tuple[tuple[int, int | None], ...]
    id: str = ""


def read_regions(result: Sequence[Any], from_name: str | None = None) -> list[TimelineRegion]:
    """Regions of the timeline control ``from_name`` in an annotation's ``result``; of every such control if None.

    Regions of other controls are left alone. Every range and every label of a region counts.
    Raises RegionError for a region of this control that is no interval.
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

    The editor takes a region by its from_name and the field of its labels, whatever its type.
    what: what a value should have besides labels, in words. required: fields that it must have.
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
    """True if a region that could be read has a range that begins before the first frame."""
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
    # 5.0 is a frame; 5.5, NaN and Infinity, which JSON as Python reads it may hold, are none; True is an int to Python only.
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isinstance(value, int) or value.is_integer()):
        raise RegionError(f"region {region_id!r}: {name} must be a whole frame number, found {brief(value)}")
    return int(value)


def new_region_id() -> str:
    """An id that no other region has: the editor draws two regions with one id in the same place."""
    return uuid.uuid4().hex[:10]


def write_region(
    labels: Iterable[str], start: int, end: int, from_name: str, to_name: str, score: float | None = None
) -> dict[str, Any]:
    """One predicted region. The editor cannot open a task with a fractional frame in it, so frames are made int here."""
    value = {"ranges": [{"start": int(start), "end": int(end)}]}
    return predicted_region(VIDEO.region, from_name, to_name, value, labels, score)


def predicted_region(
    region_type: str, from_name: str, to_name: str, value: dict[str, Any], labels: Iterable[str], score: float | None
) -> dict[str, Any]:
    """Region of any type around a value, to which the labels are added."""
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
