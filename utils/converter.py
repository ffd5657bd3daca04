"""Conversion between regions and arrays, with the names of Label Studio's guide to TimelineLabels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from framewise.core.converter import get_label_map, regions_to_frame_labels, scores_to_segments, segments_to_regions
from framewise.core.errors import RangeOutsideVideo
from framewise.core.frame_grid import MAX_FRAMES
from framewise.core.regions import read_regions

__all__ = ["convert_probs_to_timelinelabels", "convert_timelinelabels_to_probs", "get_label_map"]

DEFAULT_FROM_NAME, DEFAULT_THRESHOLD = "videoLabels", 0.5


def convert_timelinelabels_to_probs(
    regions: Sequence[Mapping[str, Any]], label_map: Mapping[str, int], max_frame: int | None = None
) -> tuple[npt.NDArray[np.uint8], set[str]]:
    """Convert Label Studio regions to (0/1 array of shape (max_frame, len(label_map)), set of labels that occur).

    label_map: label name -> column. max_frame: number of frames; the last annotated frame if None.
    Both ends of a range are included and frames count from 1. Raises RegionError, UnknownLabel, RangeOutsideVideo.
    """
    parsed = read_regions(regions)
    if max_frame is None:
        max_frame = max((end or start for region in parsed for start, end in region.ranges), default=0)
        if max_frame > MAX_FRAMES:
            raise RangeOutsideVideo(f"a region ends after frame {MAX_FRAMES}, the maximum of a timeline")
    return regions_to_frame_labels(parsed, _columns(label_map), max_frame), {label for r in parsed for label in r.labels}


def convert_probs_to_timelinelabels(
    probs: Any,
    label_map: Mapping[str, int],
    from_name: str | float = DEFAULT_FROM_NAME,
    score_threshold: float | str = DEFAULT_THRESHOLD,
    to_name: str = "video",
    *,
    threshold: float | None = None,
) -> list[dict[str, Any]]:
    """Convert scores (num_frames, num_labels) to Label Studio regions, one per run of frames at or above the threshold.

    probs: an array, a tensor, or a list with one of either per frame. label_map: label name -> column of ``probs``.
    threshold: alias of score_threshold. The third and fourth argument may also be the threshold and the name of the control,
    in this order.
    """
    if not isinstance(from_name, str):
        named = isinstance(score_threshold, str)
        from_name, score_threshold = (str(score_threshold) if named else DEFAULT_FROM_NAME), from_name
    limit = float(score_threshold if threshold is None else threshold)
    scores = _as_array(probs)
    if scores.size == 0:
        return []
    labels = _columns(label_map)
    segments = scores_to_segments(scores[:, [label_map[label] for label in labels]], limit)
    return segments_to_regions(segments, labels, from_name, to_name)


def _columns(label_map: Mapping[str, int]) -> list[str]:
    return sorted(label_map, key=lambda label: label_map[label])


def _as_array(probs: Any) -> npt.NDArray[np.float64]:
    """Convert scores to float64, including tensors of a network on any device."""
    if isinstance(probs, torch.Tensor):
        probs = probs.detach().cpu().double().numpy()
    elif len(probs) and isinstance(probs[0], torch.Tensor):
        probs = torch.stack(list(probs)).detach().cpu().double().numpy()
    return np.asarray(probs, dtype=np.float64)
