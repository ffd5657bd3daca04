"""Scores of labelled frames and segments. Each label is a separate binary timeline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def frame_f1(reference: npt.ArrayLike, estimated: npt.ArrayLike) -> FloatArray:
    """Frame F1 of each label, shape (L,); NaN for a label that occurs in neither.

    reference, estimated: 0/1, shape (T, L). F1 = 2 TP / (2 TP + FP + FN).
    """
    true, found = np.asarray(reference).astype(bool), np.asarray(estimated).astype(bool)
    return f1_of_counts((true & found).sum(axis=0), (~true & found).sum(axis=0), (true & ~found).sum(axis=0))


def f1_of_counts(tp: npt.ArrayLike, fp: npt.ArrayLike, fn: npt.ArrayLike) -> FloatArray:
    """2 TP / (2 TP + FP + FN), elementwise over counts of one shape; NaN where all three are zero."""
    double_hits = 2 * np.asarray(tp, dtype=np.float64)
    total = double_hits + np.asarray(fp) + np.asarray(fn)
    scores: FloatArray = np.divide(double_hits, total, out=np.full(total.shape, np.nan), where=total > 0)
    return scores


def mean_frame_f1(reference: npt.ArrayLike, estimated: npt.ArrayLike) -> float:
    """Mean of ``frame_f1`` over the labels that occur in the reference; NaN if none does."""
    occurring = np.asarray(reference).astype(bool).any(axis=0)
    scores = frame_f1(reference, estimated)[occurring]
    return float(scores.mean()) if len(scores) else float("nan")


def runs(on: npt.ArrayLike) -> IntArray:
    """(index, stop) of each run of true values in ``on`` (T,), in order: shape (N, 2), stop excluded."""
    padded = np.concatenate([[False], np.asarray(on).astype(bool), [False]])
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2).astype(np.int64)


def best_matches(true_runs: IntArray, found_runs: IntArray) -> tuple[IntArray, FloatArray]:
    """True run with the highest intersection over union for each found run: its row in ``true_runs``, shape (P,), and that IoU,
    shape (P,); -1 and 0.0 if none overlaps. The later one wins a tie.

    true_runs (N, 2), found_runs (P, 2): (index, stop), each in order and without overlaps, as ``runs`` gives them.
    """
    # Only overlapping pairs, at most N + P: all N x P would not fit in memory for flickering predictions.
    first = np.searchsorted(true_runs[:, 1], found_runs[:, 0], side="right")
    counts = np.maximum(np.searchsorted(true_runs[:, 0], found_runs[:, 1], side="left") - first, 0)
    p = np.repeat(np.arange(len(found_runs)), counts)
    n = np.arange(len(p)) - np.repeat(np.cumsum(counts) - counts, counts) + first[p]
    shared = np.minimum(found_runs[p, 1], true_runs[n, 1]) - np.maximum(found_runs[p, 0], true_runs[n, 0])
    union = np.maximum(found_runs[p, 1], true_runs[n, 1]) - np.minimum(found_runs[p, 0], true_runs[n, 0])
    iou = shared / union
    matches, ious = np.full(len(found_runs), -1, dtype=np.int64), np.zeros(len(found_runs))
    order = np.lexsort((n, iou, p))
    best = order[np.flatnonzero(np.diff(p[order], append=-1))]  # the last, and so the highest, of each found run
    matches[p[best]], ious[p[best]] = n[best], iou[best]
    return matches, ious


@dataclass(frozen=True)
class SegmentCounts:
    """Matched segments, false alarms and misses: shapes (..., K), one column per IoU threshold. Counts of several videos are
    pooled by addition."""

    tp: IntArray
    fp: IntArray
    fn: IntArray

    def __add__(self, other: "SegmentCounts") -> "SegmentCounts":
        return SegmentCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def segment_counts(true_on: npt.ArrayLike, found_on: npt.ArrayLike, iou_thresholds: Sequence[float]) -> SegmentCounts:
    """Counts of one label in one video. true_on, found_on: 0/1, shape (T,); thresholds in (0, 1].

    Each found segment is compared with the true one of highest IoU. It is a hit if that IoU reaches the threshold and the true
    segment has not been hit before; otherwise it is a false alarm, even if another true segment is free. This is the rule of
    Lea et al. 2017, "Temporal Convolutional Networks for Action Segmentation and Detection", as in eval.py of
    github.com/yabufarha/ms-tcn.
    """
    true_runs, found_runs = runs(true_on), runs(found_on)
    matches, ious = best_matches(true_runs, found_runs)
    # If several found segments match one true segment, one of them is its hit.
    tp = np.array([len(np.unique(matches[ious >= threshold])) for threshold in iou_thresholds], dtype=np.int64)
    return SegmentCounts(tp, len(found_runs) - tp, len(true_runs) - tp)


def average_precision(true: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """AP = sum over falling thresholds of (R_n - R_(n-1)) P_n, no interpolation; NaN if nothing is true.

    true: 0/1, shape (T,); scores (T,). Equal scores are one threshold, so the order of the frames does not matter.
    Definition as in sklearn.metrics.average_precision_score.
    """
    is_true, score = np.asarray(true).astype(bool), np.asarray(scores)
    positives = int(is_true.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    steps = np.flatnonzero(np.diff(score[order], append=np.nan))  # the last frame of each score; NaN differs from all
    hits = np.cumsum(is_true[order])[steps]
    return float((np.diff(hits, prepend=0) / positives * (hits / (steps + 1))).sum())
