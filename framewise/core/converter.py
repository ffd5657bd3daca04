"""Conversion between regions and arrays with one row per frame of Label Studio's grid."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import RangeOutsideVideo, UnknownLabel, brief
from framewise.core.regions import TimelineRegion, write_region

logger = logging.getLogger(__name__)

# The duration that a browser reports may differ from that of the streams by a frame or two.
END_TOLERANCE_FRAMES = 3


@dataclass(frozen=True)
class Segment:
    """A run of rows [index, stop) in which the label of column ``label_index`` is on; score: mean of these rows, in [0, 1].
    instant: True for a label without duration."""

    label_index: int
    index: int
    stop: int
    score: float
    instant: bool = False


def regions_to_frame_labels(regions: Sequence[TimelineRegion], labels: Sequence[str], num_frames: int) -> npt.NDArray[np.uint8]:
    """Mark which labels are on in each frame: uint8, shape (num_frames, len(labels)), columns in ``labels`` order.

    Regions may overlap; both ends are included. An end a few frames past the grid is cut and logged.
    Raises UnknownLabel, RangeOutsideVideo.
    """
    columns = {label: column for column, label in enumerate(labels)}
    frame_labels = np.zeros((num_frames, len(columns)), dtype=np.uint8)
    for region in regions:
        for label in region.labels:
            if label not in columns:
                raise UnknownLabel(
                    f"region {region.id!r}: label {brief(label)} is not in the labeling config, which has "
                    f"{brief(list(labels))}; was the label renamed after the annotation?"
                )
        for start, end in region.ranges:
            stop = _clamped_stop(region, start, end, num_frames)
            for label in region.labels:
                frame_labels[start - 1 : stop, columns[label]] = 1
    return frame_labels


def covered_rows(regions: Sequence[TimelineRegion], num_rows: int) -> npt.NDArray[np.bool_]:
    """Mask of the rows inside any region, whatever its labels: (num_rows,). Raises RangeOutsideVideo."""
    covered = np.zeros(num_rows, dtype=bool)
    for region in regions:
        for start, end in region.ranges:
            covered[start - 1 : _clamped_stop(region, start, end, num_rows)] = True
    return covered


def _clamped_stop(region: TimelineRegion, start: int, end: int | None, num_frames: int) -> int:
    if end is None:
        end = max(start, num_frames)
    if start > num_frames or end > num_frames + END_TOLERANCE_FRAMES:
        raise RangeOutsideVideo(
            f"region {region.id!r}: frames {start}-{end} are outside a video of {num_frames} frames; "
            "does frameRate in the Video tag match the one under which it was annotated?"
        )
    if end > num_frames:
        logger.info("region %r: end %d cut to the last frame, %d", region.id, end, num_frames)
    return min(end, num_frames)


# Conversion between frame grids with the same beginning. Frame N of a grid covers the seconds [(N-1)/rate, N/rate).
SLACK_FRAMES = 1e-6  # rounding error of float64 at a frame's edge


def regridded(region: TimelineRegion, rate: float, num_frames: int, other: float) -> TimelineRegion:
    """Convert a region to the frames that it touches on another grid. Raises RangeOutsideVideo if it is outside its own."""
    ranges = []
    for start, end in region.ranges:
        stop = _clamped_stop(region, start, end, num_frames)
        ranges.append((start, stop) if other == rate else _touched(start, stop, rate, other))
    return TimelineRegion(region.labels, tuple(ranges), region.id)


def on_grid(segment: Segment, rate: float, other: float, num_frames: int) -> Segment | None:
    """Convert a segment to the frames that it touches on another grid; None if it lies beyond that grid's end."""
    start, end = _touched(segment.index + 1, segment.stop, rate, other)
    return replace(segment, index=start - 1, stop=min(end, num_frames)) if start <= num_frames else None


def _touched(start: int, end: int, rate: float, other: float) -> tuple[int, int]:
    first = math.floor((start - 1) / rate * other + SLACK_FRAMES) + 1
    return first, max(math.ceil(end / rate * other - SLACK_FRAMES), first)


def scores_to_segments(scores: npt.NDArray[np.floating[Any]], threshold: float) -> list[Segment]:
    """Runs of rows with a score of at least ``threshold``, sorted by label and then by time. scores: (T, L) in [0, 1]."""
    segments = []
    for label_index in range(scores.shape[1]):
        on = np.concatenate([[False], scores[:, label_index] >= threshold, [False]])
        edges = np.flatnonzero(on[1:] != on[:-1])
        for index, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            segments.append(Segment(label_index, index, stop, float(scores[index:stop, label_index].mean())))
    return segments


def segments_to_regions(
    segments: Sequence[Segment], labels: Sequence[str], from_name: str, to_name: str
) -> list[dict[str, Any]]:
    """Region JSON, one region per segment; ``labels`` names the columns."""
    return [write_region([labels[s.label_index]], s.index + 1, s.stop, from_name, to_name, score=s.score) for s in segments]


def get_label_map(labels: Sequence[str]) -> dict[str, int]:
    """Label name -> column, in the order of the labeling config."""
    return {label: column for column, label in enumerate(labels)}
