"""Intervals of occurrences of which only one frame is marked; their ends are estimated from scores.

A learner is fitted to the rows of the marks and scores all rows; each occurrence gets the ends that fit its scores best. Then
the learner is fitted to the middles of these intervals and of the gaps between them, and so on; rows near an end are never
learned, because their label is only a guess. From the third round on, labels that exclude each other share the time between two
marks. Between two marks of a label there is at least one row without it, and every interval contains a mark. Source of the
idea: Li, Abu Farha and Gall 2021, "Temporal Action Segmentation from Timestamp Supervision"; the parameters are from
docs/decisions/0012.

Shapes: T rows of a track, L labels, N learned rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from framewise.learning.chains import grouped
from framewise.learning.decisions import supposed_decision
from framewise.learning.kernel import Sample, solve
from framewise.learning.tracks import Track

Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

SHORTEST_SECONDS = 0.2  # median width at half score of a label's marks, below which they are instants
OWN_SHARE = 0.5  # weight of the learner that also learned from the track itself
UNLIKE, MIN_TRACKS = 0.9, 3  # minimum share of pairs in which a marked row scores above one between marks; minimum of tracks
ALONE_ROUNDS, JOINT_ROUNDS = 2, 2  # each label by itself; together with those that it excludes
UNCERTAIN = 0.25  # share of the shorter of interval and gap at an end, on either side, that is not learned from
# Marks of one label in intervals of another up to which they count as errors: share of the number by chance, plus a constant.
ERROR_SHARE, ERRORS = 0.7, 1.0
GAPLESS = 0.8  # share of all rows covered by labels that exclude each other, above which there are no gaps between them


@dataclass(frozen=True)
class _Marked:
    """Marks and cells (T, L) of drawn regions of one track."""

    marks: Mask
    drawn: Mask
    known: Mask
    frame_rate: float

    @property
    def anchors(self) -> Mask:
        """Mask (T, L) of marks, and of the first and last rows of drawn regions."""
        padded = np.pad(self.drawn, ((1, 1), (0, 0)))
        found: Mask = self.marks | (self.drawn & ~(padded[:-2] & padded[2:]))
        return found

    @property
    def between(self) -> Mask:
        """Mask (T,) of the middle rows between two consecutive rows with marks or drawn regions."""
        rows = np.flatnonzero((self.marks | self.drawn).any(axis=1))
        found = np.zeros(len(self.marks), dtype=bool)
        found[((rows[1:] + rows[:-1]) // 2)[np.diff(rows) > 1]] = True
        return found


def with_ends(tracks: Sequence[Track], points: Sequence[Mask | None]) -> list[Track]:
    """Replace each marked occurrence by an interval; drawn regions stay unchanged.

    points: (T, L) of each track, or None; True at marks.
    """
    marks = [np.zeros(t.known.shape, dtype=bool) if p is None else p for t, p in zip(tracks, points, strict=True)]
    if not any(m.any() for m in marks):
        return list(tracks)
    on = [t.frame_labels.numpy().astype(bool) for t in tracks]
    marked = [_Marked(m, y & ~m, t.known.numpy(), t.frame_rate) for m, y, t in zip(marks, on, tracks, strict=True)]
    intervals = _Finder(tracks, marked).intervals()
    return [replace(t, frame_labels=torch.from_numpy(y.astype(np.float32))) for t, y in zip(tracks, intervals, strict=True)]


class _Finder:
    """Learned rows of tracks, and their known labels in a round."""

    def __init__(self, tracks: Sequence[Track], marked: Sequence[_Marked]):
        self.marked = marked
        everywhere = [replace(t, known=torch.ones_like(t.known)) for t in tracks]
        needed = [m.marks.any(axis=1) | m.between for m in marked]
        self.sample = Sample(everywhere, [torch.from_numpy(rows) for rows in needed])
        # All kinds of evidence equally: the weights that are best for learning from few full videos found worse ends.
        alike = self.sample.steady.repeat(marked[0].marks.shape[1], 1)  # motion by its steadiness
        self.weights = self.sample.weights(alike)
        self.kernel = torch.zeros(len(self.sample), len(self.sample))
        for kernel, weight in zip(self.sample.kernels, self.weights[0].tolist(), strict=True):
            self.kernel.add_(kernel, alpha=weight)

    def intervals(self) -> list[Mask]:
        """Cells (T, L) that are on, for each track."""
        found = [_at_marks(m) for m in self.marked]
        scores = self.scores(found)
        instants = _instants(self.marked, scores)
        if self._is_unlike_marks_between():
            found = [(on, known | (m.between[:, None] & m.known)) for (on, known), m in zip(found, self.marked, strict=True)]
            scores = self.scores(found)
        columns = [column for column in range(self.sample.labels.shape[1]) if column not in instants]
        groups = [[column] for column in columns]
        gapless: list[bool] = [False] * len(groups)
        intervals: list[Mask] = []
        for number in range(ALONE_ROUNDS + JOINT_ROUNDS):
            if number >= ALONE_ROUNDS:
                if number == ALONE_ROUNDS:
                    groups = grouped(_exclusion(intervals, self.marked), columns)
                covered = [np.concatenate([on[:, group].any(axis=1) for on in intervals]).mean() for group in groups]
                gapless = [len(group) > 1 and share > GAPLESS for group, share in zip(groups, covered, strict=True)]
            above = [s - _thresholds(found) for s in scores]
            intervals = [_decoded(m, a, groups, gapless) for m, a in zip(self.marked, above, strict=True)]
            if number + 1 < ALONE_ROUNDS + JOINT_ROUNDS:
                found = [(on, _certain(on, m)) for on, m in zip(intervals, self.marked, strict=True)]
                scores = self.scores(found)
        return intervals

    def _is_unlike_marks_between(self) -> bool:
        """True if rows between marks can be distinguished from marked rows in left-out tracks: then the rows between show
        something without a label."""
        if len(self.marked) < MIN_TRACKS or not any(m.between.any() for m in self.marked):
            return False
        told = []  # all labels are the same here: any mark
        for m in self.marked:
            on = np.repeat(m.marks.any(axis=1, keepdims=True), m.marks.shape[1], axis=1)
            told.append((on, on | m.between[:, None]))
        scores = [s[:, 0] for s in self.scores(told, own_share=0.0)]
        at_marks = np.concatenate([s[on[:, 0]] for s, (on, _) in zip(scores, told, strict=True)])
        between = np.concatenate([s[m.between] for s, m in zip(scores, self.marked, strict=True)])
        return float((at_marks[:, None] > between).mean()) > UNLIKE

    def scores(self, found: Sequence[tuple[Mask, Mask]], own_share: float = OWN_SHARE) -> list[FloatArray]:
        """Scores (T, L) of each track: the weighted mean of a learner of all tracks and one of the other tracks, if these have
        the label; interpolated between the learned rows.

        found: (cells that are on, cells that are known), (T, L) each. own_share: weight of the learner of all tracks.
        """
        self._teach(found)
        own = [self.sample.tracks == number for number in range(len(found))]
        whole, parts = solve(self.sample, self.weights, own if len(found) > 1 else [])
        scores = whole.prior + self.kernel @ whole.counts
        for inside, part in zip(own, parts, strict=False):
            rows = inside.nonzero()[:, 0]
            told = ((self.sample.labels > 0) & self.sample.known & ~inside.unsqueeze(1)).any(0)
            without = part.prior + self.kernel[rows] @ part.counts
            scores[rows] = torch.where(told, torch.lerp(without, scores[rows], own_share), scores[rows])
        return [self._everywhere(scores, inside, len(on)) for inside, (on, _) in zip(own, found, strict=True)]

    def _teach(self, found: Sequence[tuple[Mask, Mask]]) -> None:
        for track, (on, known) in enumerate(found):
            own = (self.sample.tracks == track).nonzero()[:, 0]
            rows = self.sample.rows[own].numpy()
            self.sample.labels[own] = torch.from_numpy(on[rows].astype(np.float32))
            self.sample.known[own] = torch.from_numpy(known[rows])

    def _everywhere(self, scores: Tensor, inside: Tensor, length: int) -> FloatArray:
        # Rows may be repeated without one of their media; the first has all media.
        rows, first = np.unique(self.sample.rows[inside].numpy(), return_index=True)
        of_rows = scores[inside].double().numpy()[first]
        return np.stack([np.interp(np.arange(length), rows, column) for column in of_rows.T], axis=1)


def _at_marks(marked: _Marked) -> tuple[Mask, Mask]:
    """Initial (cells that are on, cells that are known), (T, L) each: in the row of a mark its label is on and the others are
    off; drawn regions are on."""
    on = marked.marks | marked.drawn
    known: Mask = on | marked.marks.any(axis=1, keepdims=True)
    return on, known & marked.known


def _certain(on: Mask, marked: _Marked) -> Mask:
    """Mask (T, L) of cells far from the ends of intervals, and of marks and drawn regions."""
    certain = marked.marks | marked.drawn
    for column in range(on.shape[1]):
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(on[:, column])) + 1, [len(on)]])
        lengths = np.diff(bounds)
        cuts = [0, *(UNCERTAIN * np.minimum(lengths[1:], lengths[:-1])).astype(int).tolist(), 0]
        for start, stop, before, after in zip(bounds, bounds[1:], cuts, cuts[1:], strict=False):
            certain[start + before : stop - after, column] = True
    return certain & marked.known


def _instants(marked: Sequence[_Marked], scores: Sequence[FloatArray]) -> list[int]:
    """Columns of labels whose scores, learned from the marks alone, are high only at the marks themselves."""
    found = []
    for column in range(scores[0].shape[1]):
        seconds = [
            _extent(s[:, column], int(row)) / m.frame_rate
            for m, s in zip(marked, scores, strict=True)
            for row in np.flatnonzero(m.marks[:, column])
        ]
        if seconds and float(np.median(seconds)) <= SHORTEST_SECONDS:
            found.append(column)
    return found


def _extent(scores: FloatArray, row: int) -> int:
    """Number of rows around a row with scores (T,) of at least half of its score."""
    low = scores < scores[row] / 2
    before, after = np.flatnonzero(low[:row][::-1]), np.flatnonzero(low[row + 1 :])
    return 1 + int(before[0] if len(before) else row) + int(after[0] if len(after) else len(scores) - row - 1)


def _thresholds(found: Sequence[tuple[Mask, Mask]]) -> FloatArray:
    """Thresholds (L,) of the labels, from their shares of the known cells."""
    columns = range(found[0][0].shape[1])
    return np.array([supposed_decision([on[known[:, c], c] for on, known in found]).threshold for c in columns])


def _exclusion(intervals: Sequence[Mask], marked: Sequence[_Marked]) -> FloatArray:
    """(L, L), above 0 if two labels exclude each other: how many more marks of one would have to lie in intervals of the other
    to cast doubt on that."""
    on, marks = (np.concatenate(cells).astype(np.float64) for cells in (intervals, [m.marks | m.drawn for m in marked]))
    met, by_chance = marks.T @ on, np.outer(marks.sum(axis=0), on.mean(axis=0))
    doubted: FloatArray = ERROR_SHARE * (by_chance + by_chance.T) + ERRORS - (met + met.T)
    return doubted


def _decoded(marked: _Marked, above: FloatArray, groups: Sequence[Sequence[int]], gapless: Sequence[bool]) -> Mask:
    """Cells that are on, (T, L): drawn regions, and around each mark the interval with the largest sum of margins.

    Labels of a group exclude each other; in a gapless group there is nothing between them.
    """
    told = marked.marks | marked.drawn
    on = told.copy()
    for group, full in zip(groups, gapless, strict=True):
        for left, right in pairwise(_bounds(marked, group)):
            between = slice(left.row + 1, right.row)
            if told[between][:, group].any(axis=1).all():  # inside a drawn region, or adjacent
                continue
            apart = left.is_in(told, right.column) or right.is_in(told, left.column)
            stop, start = _ends(left.gains(above[between]), right.gains(above[between]), apart, full)
            if left.grows:
                on[between][:stop, left.column] = True
            if right.grows:
                on[between][start:, right.column] = True
    return on


class _Bound(NamedTuple):
    """A mark, which grows; an end of a drawn region; or an end of the track, which has column -1."""

    row: int
    column: int
    grows: bool

    def is_in(self, told: Mask, column: int) -> bool:
        """True if the label is on in the row of the bound, by cells (T, L)."""
        return 0 <= self.row < len(told) and column >= 0 and bool(told[self.row, column])

    def gains(self, above: FloatArray) -> FloatArray | None:
        """Gain of each adjacent row, from the margins above (T, L); None if the bound does not grow."""
        return above[:, self.column] if self.grows else None


def _bounds(marked: _Marked, group: Sequence[int]) -> list[_Bound]:
    """Bounds of some labels in a track, in the order of their rows."""
    rows, columns = np.nonzero(marked.anchors[:, group])
    found = [_Bound(int(r), group[c], bool(marked.marks[r, group[c]])) for r, c in zip(rows, columns, strict=True)]
    return [_Bound(-1, -1, False), *found, _Bound(len(marked.marks), -1, False)]


def _ends(left: FloatArray | None, right: FloatArray | None, apart: bool, gapless: bool = False) -> tuple[int, int]:
    """(stop, start) that maximises the sum of gains of rows [0, stop) on the left and [start, T) on the right.

    left, right: gains (T,); None for a side that does not grow. apart: leave at least one row in neither. gapless: leave none,
    unless apart.
    """
    one = right if left is None else left
    if one is None:
        return 0, 0
    length = len(one)
    of_left, of_right = np.full(length + 1, -np.inf), np.full(length + 1, -np.inf)
    of_left[0] = of_right[length] = 0
    if left is not None:
        of_left[1:] = np.cumsum(left)
    if right is not None:
        of_right[:-1] = np.cumsum(right[::-1])[::-1]
    if gapless and not apart:
        start = int((of_left + of_right).argmax())
        return start, start
    gap = int(apart)
    most = np.maximum.accumulate(of_left[: length + 1 - gap])
    start = int((most + of_right[gap:]).argmax()) + gap
    return int(of_left[: start - gap + 1].argmax()), start
