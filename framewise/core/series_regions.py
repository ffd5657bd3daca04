"""Label Studio's region JSON of time series: samples from ``start`` to ``end``, both included, in the series' own units.

An instant is a region that starts and ends at one sample.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import RangeOutsideVideo, RegionError, brief
from framewise.core.media_kinds import SERIES
from framewise.core.regions import TimelineRegion, labelled_values, predicted_region
from framewise.core.series_time import SeriesTimes


@dataclass(frozen=True)
class SeriesRegion:
    """Labels of the samples from start to end, which are kept as in the JSON."""

    labels: tuple[str, ...]
    start: Any
    end: Any
    id: str = ""


def read_series_regions(result: Sequence[Any], from_name: str) -> list[SeriesRegion]:
    """Regions of the control ``from_name`` in an annotation's ``result``; regions of other controls are skipped.

    Raises RegionError for a region of this control that has no times or labels.
    """
    found = labelled_values(result, SERIES.region, from_name, "start, end", required=("start", "end"))
    return [SeriesRegion(labels, value["start"], value["end"], name) for name, value, labels in found]


def series_region_frames(region: SeriesRegion, times: SeriesTimes, rate: float) -> TimelineRegion:
    """Convert a region to frames at ``rate``, from that of its first sample to that of its last.

    Raises RegionError for invalid times and for times outside the series.
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
    labels: Iterable[str],
    samples: tuple[int, int],
    times: SeriesTimes,
    from_name: str,
    to_name: str,
    score: float,
    instant: bool = False,
) -> dict[str, Any]:
    """Region JSON of a prediction from the first to the last of ``samples``, which are row indices. instant: write it as the
    single moment in their middle."""
    first, last = samples
    if instant:
        first = last = (first + last) // 2
    value = {"start": times.written(first), "end": times.written(last), "instant": first == last}
    return predicted_region(SERIES.region, from_name, to_name, value, labels, score)
