"""Label Studio's region JSON of a time series: the samples from ``start`` to ``end``, both included, in its own units."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import RangeOutsideVideo, RegionError, brief
from framewise.core.regions import TimelineRegion, new_region_id
from framewise.core.series_time import SeriesTimes

SERIES_REGION_TYPE = "timeserieslabels"


@dataclass(frozen=True)
class SeriesRegion:
    """Labels of the samples from start to end, which are as they stand in the JSON."""

    labels: tuple[str, ...]
    start: Any
    end: Any
    id: str = ""


def read_series_regions(result: Sequence[Any], from_name: str) -> list[SeriesRegion]:
    """Regions of the control ``from_name`` in an annotation's ``result``; those of other controls are left alone.

    Raises RegionError for a region of this control that has no times or labels.
    """
    regions = []
    for item in result:
        if not isinstance(item, Mapping) or item.get("type") != SERIES_REGION_TYPE or item.get("from_name") != from_name:
            continue
        given = item.get("id") or ""
        name = given if isinstance(given, str) and len(given) <= 200 else brief(given)
        value = item.get("value")
        if not isinstance(value, Mapping) or "start" not in value or "end" not in value:
            raise RegionError(f"region {name!r}: expected an object 'value' with start, end and labels, found {brief(value)}")
        labels = value.get(SERIES_REGION_TYPE)
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise RegionError(
                f"region {name!r}: expected a list of label names in {SERIES_REGION_TYPE!r}, found {brief(labels)}"
            )
        regions.append(SeriesRegion(tuple(labels), value["start"], value["end"], name))
    return regions


def series_region_frames(region: SeriesRegion, times: SeriesTimes, rate: float) -> TimelineRegion:
    """A region as frames at ``rate``, those of its first and of its last sample.

    Raises RegionError for times that are none, or outside the series.
    """
    try:
        start, end = (times.read(value) for value in (region.start, region.end))
    except RegionError as error:
        raise RegionError(f"region {region.id!r}: {error}") from None
    if end < start:
        raise RegionError(f"region {region.id!r}: starts at {brief(region.start)} and ends before it, at {brief(region.end)}")
    last = times.num_frames(rate)
    first_frame, last_frame = times.frame_of(start, rate), times.frame_of(end, rate)
    if last_frame < 1 or first_frame > last:
        raise RangeOutsideVideo(
            f"region {region.id!r}: {brief(region.start)} to {brief(region.end)} is outside a series from "
            f"{times.written(0)!r} to {times.written(len(times) - 1)!r}; is it the series that was annotated?"
        )
    return TimelineRegion(region.labels, ((max(first_frame, 1), min(last_frame, last)),), region.id)


def write_series_region(
    labels: Iterable[str], samples: tuple[int, int], times: SeriesTimes, from_name: str, to_name: str, score: float
) -> dict[str, Any]:
    """One predicted region from the first to the last of ``samples``, which are row indices."""
    first, last = samples
    value = {
        "start": times.written(first),
        "end": times.written(last),
        "instant": first == last,
        SERIES_REGION_TYPE: list(labels),
    }
    return {
        "id": new_region_id(),
        "type": SERIES_REGION_TYPE,
        "from_name": from_name,
        "to_name": to_name,
        "origin": "prediction",
        "value": value,
        "score": round(float(score), 4),
    }
