"""Between regions and arrays with one row a frame of Label Studio's grid."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import RangeOutsideVideo, UnknownLabel, brief
from framewise.core.frame_grid import MAX_FRAMES
from framewise.core.regions import TimelineRegion, read_regions, write_region

logger = logging.getLogger(__name__)

# The duration that a browser reports and the one that the streams give may differ by a frame or two at the end.
END_TOLERANCE_FRAMES = 3


@dataclass(frozen=True)
class Segment:
    """A run of rows [index, stop) in which the label of column ``label_index`` is on; score is their mean, in [0, 1]. instant:
    whether it is one of a label that has no duration."""

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
    """Rows that lie in any of the regions, whatever their labels: (num_rows,). Raises RangeOutsideVideo."""
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
            "does frameRate in the <Video> tag match the one under which it was annotated?"
        )
    if end > num_frames:
        logger.info("region %r: end %d cut to the last frame, %d", region.id, end, num_frames)
    return min(end, num_frames)


# Between grids of frames that begin together: frame N of a grid covers the seconds [(N-1)/rate, N/rate).
SLACK_FRAMES = 1e-6  # what float64 may not resolve of a frame's edge


def regridded(region: TimelineRegion, rate: float, num_frames: int, other: float) -> TimelineRegion:
    """A region as the frames of another grid that it touches. Raises RangeOutsideVideo for one outside its own grid."""
    ranges = []
    for start, end in region.ranges:
        stop = _clamped_stop(region, start, end, num_frames)
        ranges.append((start, stop) if other == rate else _touched(start, stop, rate, other))
    return TimelineRegion(region.labels, tuple(ranges), region.id)


def on_grid(segment: Segment, rate: float, other: float, num_frames: int) -> Segment | None:
    """A segment as the frames of another grid that it touches; None if it lies beyond that grid's end."""
    start, end = _touched(segment.index + 1, segment.stop, rate, other)
    return replace(segment, index=start - 1, stop=min(end, num_frames)) if start <= num_frames else None


def _touched(start: int, end: int, rate: float, other: float) -> tuple[int, int]:
    first = math.floor((start - 1) / rate * other + SLACK_FRAMES) + 1
    return first, max(math.ceil(end / rate * other - SLACK_FRAMES), first)


def scores_to_segments(scores: npt.NDArray[np.floating[Any]], threshold: float) -> list[Segment]:
    """Runs of rows with a score of at least ``threshold``, by label and then by time. scores: (T, L) in [0, 1]."""
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
    """Label Studio regions, one a segment; ``labels`` names the columns."""
    return [write_region([labels[s.label_index]], s.index + 1, s.stop, from_name, to_name, score=s.score) for s in segments]


def convert_timelinelabels_to_probs(
    regions: Sequence[Mapping[str, Any]], label_map: Mapping[str, int], max_frame: int | None = None
) -> tuple[npt.NDArray[np.uint8], set[str]]:
    """Label Studio regions to a 0/1 array of shape (max_frame, len(label_map)), and the set of labels that occur.

    label_map: label name -> column. max_frame: number of frames; the last annotated frame if None.
    Both ends of a range are included and frames count from 1. Raises RegionError, UnknownLabel, RangeOutsideVideo.
    """
    parsed = read_regions(regions)
    if max_frame is None:
        max_frame = max((end or start for region in parsed for start, end in region.ranges), default=0)
        if max_frame > MAX_FRAMES:
            raise RangeOutsideVideo(f"a region ends past frame {MAX_FRAMES}, the last that a timeline may have")
    ordered = sorted(label_map, key=lambda label: label_map[label])
    return regions_to_frame_labels(parsed, ordered, max_frame), {label for region in parsed for label in region.labels}


def convert_probs_to_timelinelabels(
    probs: npt.ArrayLike,
    label_map: Mapping[str, int],
    score_threshold: float = 0.5,
    from_name: str = "videoLabels",
    to_name: str = "video",
) -> list[dict[str, Any]]:
    """Scores of shape (num_frames, num_labels) to Label Studio regions. label_map: label name -> column of ``probs``."""
    scores = np.asarray(probs, dtype=np.float64)
    if scores.size == 0:
        return []
    ordered = sorted(label_map, key=lambda label: label_map[label])
    columns = [label_map[label] for label in ordered]
    return segments_to_regions(scores_to_segments(scores[:, columns], score_threshold), ordered, from_name, to_name)


def get_label_map(labels: Sequence[str]) -> dict[str, int]:
    """Label name -> column, in the order of the labeling config."""
    return {label: column for column, label in enumerate(labels)}
