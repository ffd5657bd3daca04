"""Intervals of occurrences of which one frame is marked: their ends are where the scores of the others say.

A learner is fitted to what surrounds the marks and scores all rows; each occurrence gets the ends that fit its scores best.
Then it is fitted to the middles of these intervals and of the gaps between them, so that what is near an end is never learned
as it was supposed, and so on. Between two marks of a label is a row without it; an interval without a mark does not exist.
Source of the idea: Li, Abu Farha and Gall 2021, "Temporal Action Segmentation from Timestamp Supervision".
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from framewise.learning.decisions import supposed_decision
from framewise.learning.evidence import supposed_shares
from framewise.learning.kernel import KernelRidge, Sample, solve
from framewise.learning.tracks import Track

Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

SEED_SHARE, SEED_SECONDS = 0.25, 0.5  # of the way to the next mark, and at most: what surrounds a mark is like it
ROUNDS = 4
TRIMMED = 0.25  # of an interval or a gap, at each end that is not certain, is not learned from


def with_ends(tracks: Sequence[Track], points: Sequence[Mask | None]) -> list[Track]:
    """Tracks in which each marked occurrence is an interval; regions that were drawn stay as they are.

    points: (T, L) of each track, or None; True in rows that are marks.
    """
    marks = [np.zeros(t.known.shape, dtype=bool) if p is None else p for t, p in zip(tracks, points, strict=True)]
    if not any(m.any() for m in marks):
        return list(tracks)
    drawn = [t.frame_labels.numpy().astype(bool) & ~m for t, m in zip(tracks, marks, strict=True)]
    found = [_around(m, d, t) for m, d, t in zip(marks, drawn, tracks, strict=True)]
    everywhere = [replace(t, known=torch.ones_like(t.known)) for t in tracks]
    sample = Sample(everywhere, [torch.from_numpy(m.any(axis=1)) for m in marks])
    weights = sample.weights(supposed_shares(sample))
    intervals: list[Mask] = []
    for _ in range(ROUNDS):
        _teach(sample, found)
        kernel = KernelRidge.of(sample, weights, solve(sample, weights, [])[0])
        scores = [kernel.scores(t).double().numpy() for t in everywhere]
        thresholds = [_threshold(found, column) for column in range(sample.labels.shape[1])]
        intervals = [_intervals(m, d, s - thresholds) for m, d, s in zip(marks, drawn, scores, strict=True)]
        found = [(on, _certain(on, m, d)) for on, m, d in zip(intervals, marks, drawn, strict=True)]
    return [replace(t, frame_labels=torch.from_numpy(on.astype(np.float32))) for t, on in zip(tracks, intervals, strict=True)]


def _certain(on: Mask, marks: Mask, drawn: Mask) -> Mask:
    """Cells far from the ends of intervals, (T, L), and those of marks and drawn regions."""
    certain = marks | drawn
    for column in range(on.shape[1]):
        edges = np.flatnonzero(np.diff(on[:, column])) + 1
        bounds = [0, *edges.tolist(), len(on)]
        for start, stop in zip(bounds, bounds[1:], strict=False):
            cut = int(TRIMMED * (stop - start))
            certain[start + (cut if start else 0) : stop - (cut if stop < len(on) else 0), column] = True
    return certain


def _around(marks: Mask, drawn: Mask, track: Track) -> tuple[Mask, Mask]:
    """Cells that are on and cells that are known, (T, L) each, before anything was learned: near a mark its label is on and the
    others are off; in drawn regions and between them nothing is doubted but the marks."""
    on, known = drawn.copy(), drawn.copy()
    rows, columns = np.nonzero(marks | _edges(drawn))
    for row, column in zip(*np.nonzero(marks), strict=True):
        others = np.abs(rows[rows != row] - row)
        reach = int(min(SEED_SHARE * others.min(initial=len(marks)), SEED_SECONDS * track.frame_rate))
        near = slice(max(0, row - reach), row + reach + 1)
        known[near] = True
        on[near, column] = True
    return on, known


def _edges(drawn: Mask) -> Mask:
    """First and last rows of drawn regions, (T, L)."""
    padded = np.pad(drawn, ((1, 1), (0, 0)))
    edges: Mask = drawn & ~(padded[:-2] & padded[2:])
    return edges


def _teach(sample: Sample, found: Sequence[tuple[Mask, Mask]]) -> None:
    """Give the rows of a sample their labels."""
    for track, (on, known) in enumerate(found):
        own = (sample.tracks == track).nonzero()[:, 0]
        rows = sample.rows[own].numpy()
        sample.labels[own] = torch.from_numpy(on[rows].astype(np.float32))
        sample.known[own] = torch.from_numpy(known[rows])


def _threshold(found: Sequence[tuple[Mask, Mask]], column: int) -> float:
    return supposed_decision([on[known[:, column], column] for on, known in found]).threshold


def _intervals(marks: Mask, drawn: Mask, above: FloatArray) -> Mask:
    """Cells that are on, (T, L): drawn regions, and around each mark as far as scores above thresholds add up to most."""
    on = drawn.copy()
    for column in range(marks.shape[1]):
        anchors = np.flatnonzero(marks[:, column] | _edges(drawn)[:, column])
        bounds = [(-1, False), *((int(row), bool(marks[row, column])) for row in anchors), (len(marks), False)]
        on[marks[:, column], column] = True
        for (left, grows_right), (right, grows_left) in zip(bounds, bounds[1:], strict=False):
            between = slice(left + 1, right)
            if drawn[between, column].all():  # inside a drawn region, or nothing between
                continue
            stop, start = _ends(above[between, column], grows_right, grows_left, left >= 0 and right < len(marks))
            on[left + 1 : left + 1 + stop, column] = True
            on[left + 1 + start : right, column] = True
    return on


def _ends(above: FloatArray, from_left: bool, from_right: bool, apart: bool) -> tuple[int, int]:
    """(stop, start), so that rows [0, stop) and [start, T) add up to the most; apart: at least one row is in neither."""
    sums = np.concatenate([[0.0], np.cumsum(above)])
    left = sums if from_left else np.where(np.arange(len(sums)) == 0, 0.0, -np.inf)
    right = sums[-1] - sums if from_right else np.where(np.arange(len(sums)) == len(above), 0.0, -np.inf)
    gap = int(apart and len(above) > 0)
    best_left = np.maximum.accumulate(left[: len(left) - gap])
    total = best_left + right[gap:]
    start = int(total.argmax()) + gap
    stop = int(left[: start - gap + 1].argmax())
    return stop, start
