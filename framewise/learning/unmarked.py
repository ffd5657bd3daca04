"""Unmarked stretches where held-out predictions find a label, to ask the user if marks are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framewise.core.metrics import best_matches, runs
from framewise.learning.held_out import HeldOutVideo

RIGHT_IOU = 0.5
# The user is asked about a label if at least so many stretches, and this share of its found marks, look like marks. A label of
# which few marks are found tells nothing. Measured on falls, exercises and rendered films, see docs/decisions/0012.
MIN_STRETCHES, MIN_SHARE, MIN_FOUND = 2, 0.25, 0.3
LIKE_MARKS = 0.1  # quantile of the scores of found marks that a stretch must reach
MIN_LENGTH = 0.5  # of the label's median mark
MAX_COVERED = 0.5  # share of a stretch that is marked with labels that never overlap its own: somebody looked there
MAX_SHOWN = 6


@dataclass(frozen=True)
class Stretch:
    """A stretch of a task in which a label is predicted but not marked."""

    task: int
    label: str
    start_seconds: float
    end_seconds: float


def left_unmarked(videos: Sequence[HeldOutVideo], labels: Sequence[str]) -> list[Stretch]:
    """Stretches to ask about, likeliest first; none if there are too few to be meaningful.

    A stretch counts if its mean score is as high as that of nearly all found marks of its label.
    """
    found: list[tuple[float, Stretch]] = []
    apart = _never_overlapping(videos, len(labels))
    for column, label in enumerate(labels):
        matched, free, lengths = _of_label(videos, column, label, apart[column])
        if not matched or len(matched) < MIN_FOUND * len(lengths):
            continue
        least = np.quantile(matched, LIKE_MARKS)
        alike = [(s, x) for s, x in free if s >= least and _seconds(x) >= MIN_LENGTH * np.median(lengths)]
        if len(alike) >= max(MIN_STRETCHES, MIN_SHARE * len(matched)):
            found += alike
    return [stretch for _, stretch in sorted(found, key=lambda one: -one[0])]


def _marked(video: HeldOutVideo) -> npt.NDArray[np.bool_]:
    marked: npt.NDArray[np.bool_] = video.truth.astype(bool) & video.known
    return marked


def _never_overlapping(videos: Sequence[HeldOutVideo], labels: int) -> npt.NDArray[np.bool_]:
    """(L, L), true for two labels that are never marked at once."""
    both = np.zeros((labels, labels))
    for video in videos:
        marked = _marked(video).astype(np.float32)
        both += marked.T @ marked
    apart: npt.NDArray[np.bool_] = (both == 0) & ~np.eye(labels, dtype=bool)
    return apart


def _of_label(
    videos: Sequence[HeldOutVideo], column: int, label: str, apart: npt.NDArray[np.bool_]
) -> tuple[list[float], list[tuple[float, Stretch]], list[float]]:
    """(mean scores of predictions that match a mark, (mean score, stretch) of those that touch none, seconds of marks).

    apart: mask (L,) of labels that never overlap this one.
    """
    matched, free, lengths = [], [], []
    for video in videos:
        marked = _marked(video)
        others: npt.NDArray[np.bool_] = np.any(marked[:, apart], axis=1)
        marks = runs(marked[:, column])
        predicted = runs(video.predicted[:, column] & video.known[:, column])
        lengths += [(stop - start) / video.frame_rate for start, stop in marks.tolist()]
        nearest, overlaps = best_matches(marks, predicted)
        for (start, stop), mark, overlap in zip(predicted.tolist(), nearest.tolist(), overlaps.tolist(), strict=True):
            score = float(video.scores[start:stop, column].mean())
            if overlap >= RIGHT_IOU:
                matched.append(score)
            elif mark < 0 and others[start:stop].mean() <= MAX_COVERED:
                free.append((score, Stretch(video.task, label, start / video.frame_rate, stop / video.frame_rate)))
    return matched, free, lengths


def _seconds(stretch: Stretch) -> float:
    return stretch.end_seconds - stretch.start_seconds
