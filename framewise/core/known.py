"""Mask of the cells (row, label) that an annotation determines; the others are unknown.

Many annotators mark only a part, such as the beginning of a video or some occurrences. Unmarked cells are then not "off".
Shapes: T rows, L labels. Row index = Label Studio's frame number - 1.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.converter import covered_rows, regions_to_frame_labels
from framewise.core.regions import TimelineRegion

# Meaning of unmarked rows: off; off up to the end of the annotation's last region and unknown after it; unknown.
UNMARKED = ("off", "after_last", "unknown")
# Two labels count as never overlapping if they share at most this part of the rarer one's rows: consecutive regions drawn by
# hand often share a frame. Same value as in learning/chains.py.
SLIP = 0.02

Mask = npt.NDArray[np.bool_]


def reviewed_rows(
    regions: Sequence[TimelineRegion], unreviewed: Sequence[TimelineRegion], num_rows: int, unmarked: str = "off"
) -> Mask:
    """Mask of the rows that the annotator has reviewed, (T,).

    regions: of all labels, including removed ones. With "after_last", no row after the end of the last region is reviewed, and
    none at all without regions, because an empty annotation may mean "nothing there" as well as "not reviewed".
    unreviewed: regions that mark rows as not reviewed. They override other regions and do not count as the last region.
    Raises RangeOutsideVideo.
    """
    reviewed = np.ones(num_rows, dtype=bool)
    if unmarked == "after_last":
        marked = np.flatnonzero(covered_rows(regions, num_rows))
        reviewed[marked[-1] + 1 if len(marked) else 0 :] = False
    return reviewed & ~covered_rows(unreviewed, num_rows)


def known_cells(on: npt.NDArray[Any], reviewed: Mask, told: Mask, apart: Mask | None = None) -> Mask:
    """Mask of the cells whose label is known to be on or off, (T, L); a known cell that is not ``on`` is off.

    on: 0/1, (T, L), as marked. reviewed: (T,). told (L,): False for labels that the annotation does not cover.
    apart (L, L): pairs of labels that never overlap, for model_unmarked="unknown": a label is then known to be off where
    one that never overlaps it is on. None if unmarked cells are off.
    """
    known: Mask = reviewed[:, None] & told
    if apart is None:
        return known
    marked = on.astype(bool)
    ruled_out: Mask = marked.astype(np.float32) @ apart.astype(np.float32) > 0
    cells: Mask = known & (marked | ruled_out)
    return cells


def never_overlapping(on: Sequence[npt.NDArray[Any]]) -> Mask:
    """Pairs of labels that are never on together in a project's annotations: symmetric, (L, L), False on the diagonal.

    on: 0/1, (T, L), one array per annotation; at least one.
    """
    size = on[0].shape[1]
    together = np.zeros((size, size))
    for marked in (one.astype(np.float32) for one in on):
        together += marked.T @ marked
    rows = np.diagonal(together)
    apart: Mask = together <= SLIP * np.minimum(rows[:, None], rows)
    apart[np.diag_indices_from(apart)] = False
    return apart


def point_cells(regions: Sequence[TimelineRegion], labels: Sequence[str], num_rows: int) -> Mask:
    """Mask of the cells marked by regions of a single frame, (T, L).

    Cells inside a longer region of the same label are not included. Raises UnknownLabel, RangeOutsideVideo.
    """
    short = [replace(r, ranges=tuple(x for x in r.ranges if x[0] == x[1])) for r in regions]
    drawn = [replace(r, ranges=tuple(x for x in r.ranges if x[0] != x[1])) for r in regions]
    points: Mask = regions_to_frame_labels(short, labels, num_rows) > regions_to_frame_labels(drawn, labels, num_rows)
    return points
