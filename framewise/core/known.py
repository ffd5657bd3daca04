"""Cells (row, label) that an annotation says something of, and those that it leaves unknown.

Most people mark only a part: the beginning of a video, or some occurrences. What they left unmarked is then not off.
Shapes: T rows, L labels. Rows are Label Studio's frames less 1.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.converter import covered_rows, regions_to_frame_labels
from framewise.core.regions import TimelineRegion

# What unmarked rows are: off; off up to the end of the annotation's last region and unknown after it; unknown.
UNMARKED = ("off", "after_last", "unknown")
# Share of the rarer one's rows in which two labels that never overlap may be on together all the same: regions drawn by hand,
# one after the other, often share a frame. The same share as in learning/chains.py.
SLIP = 0.02

Mask = npt.NDArray[np.bool_]


def reviewed_rows(
    regions: Sequence[TimelineRegion], unreviewed: Sequence[TimelineRegion], num_rows: int, unmarked: str = "off"
) -> Mask:
    """Rows that the annotator has looked at, (T,).

    regions: of all labels. With "after_last" no row after the last of their ends is reviewed, and none at all if there is no
    region: an empty annotation then does not tell "looked at, and nothing there" from "not looked at". A region of a label that
    the labeling config has no more counts, since whoever drew it had looked until there.
    unreviewed: regions that say that nobody looked. They win over any region that they overlap, and do not count as the last
    one: to hide a stretch says nothing of what lies before it.
    Raises RangeOutsideVideo.
    """
    reviewed = np.ones(num_rows, dtype=bool)
    if unmarked == "after_last":
        marked = np.flatnonzero(covered_rows(regions, num_rows))
        reviewed[marked[-1] + 1 if len(marked) else 0 :] = False
    return reviewed & ~covered_rows(unreviewed, num_rows)


def known_cells(on: npt.NDArray[Any], reviewed: Mask, told: Mask, apart: Mask | None = None) -> Mask:
    """Cells whose label is known to be on or off, (T, L); a known cell that is not ``on`` is off.

    on: 0/1, (T, L), as marked. reviewed: (T,). told (L,): False for a label that the annotation says nothing of.
    apart (L, L): labels that never overlap, where only what is marked is known ("unknown"); a label is then off where one that
    never overlaps it is on. None where what is not marked is off.
    """
    known: Mask = reviewed[:, None] & told
    if apart is None:
        return known
    marked = on.astype(bool)
    ruled_out: Mask = marked.astype(np.float32) @ apart.astype(np.float32) > 0
    cells: Mask = known & (marked | ruled_out)
    return cells


def never_overlapping(on: Sequence[npt.NDArray[Any]]) -> Mask:
    """Pairs of labels that are never on together, by all annotations of a project: symmetric, (L, L), False on its diagonal.

    on: 0/1, (T, L) of each annotation; at least one.
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
    """Cells in which a region of one frame says that its label occurs there, (T, L).

    Not inside a longer region of the same label, which is taken as drawn. Raises UnknownLabel, RangeOutsideVideo.
    """
    short = [replace(r, ranges=tuple(x for x in r.ranges if x[0] == x[1])) for r in regions]
    drawn = [replace(r, ranges=tuple(x for x in r.ranges if x[0] != x[1])) for r in regions]
    points: Mask = regions_to_frame_labels(short, labels, num_rows) > regions_to_frame_labels(drawn, labels, num_rows)
    return points
