"""Unmarked stretches where held-out predictions find a label, to ask the user if marks are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framewise.core.metrics import best_matches, runs
from framewise.learning.held_out import HeldOutVideo

RIGHT_IOU = 0.5
# Minimum number of stretches, and as a share of the marks that were found, before the user is asked. On four kinds of
# completely marked video (falls joined and single, exercises, mice) there were at most two stretches for 19 to 51 found marks;
# with 30 % of the marks left out, three to eight in six of ten trainings.
MIN_STRETCHES, MIN_SHARE = 3, 0.1
MIN_LENGTH = 0.5  # of the label's median mark
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

    A stretch counts if its mean score is at least the median score of the found marks of its label.
    """
    found: list[tuple[float, Stretch]] = []
    right = 0
    for column, label in enumerate(labels):
        matched, free, lengths = _of_label(videos, column, label)
        right += len(matched)
        if matched:
            least = np.median(matched)
            found += [(s, x) for s, x in free if s >= least and _seconds(x) >= MIN_LENGTH * np.median(lengths)]
    if len(found) < max(MIN_STRETCHES, MIN_SHARE * right):
        return []
    return [stretch for _, stretch in sorted(found, key=lambda one: -one[0])]


def _of_label(
    videos: Sequence[HeldOutVideo], column: int, label: str
) -> tuple[list[float], list[tuple[float, Stretch]], list[float]]:
    """(mean scores of predictions that match a mark, (mean score, stretch) of those that touch none, seconds of marks)."""
    matched, free, lengths = [], [], []
    for video in videos:
        marks = runs(video.truth[:, column].astype(bool) & video.known[:, column])
        predicted = runs(video.predicted[:, column] & video.known[:, column])
        lengths += [(stop - start) / video.frame_rate for start, stop in marks.tolist()]
        nearest, overlaps = best_matches(marks, predicted)
        for (start, stop), mark, overlap in zip(predicted.tolist(), nearest.tolist(), overlaps.tolist(), strict=True):
            score = float(video.scores[start:stop, column].mean())
            if overlap >= RIGHT_IOU:
                matched.append(score)
            elif mark < 0:
                free.append((score, Stretch(video.task, label, start / video.frame_rate, stop / video.frame_rate)))
    return matched, free, lengths


def _seconds(stretch: Stretch) -> float:
    return stretch.end_seconds - stretch.start_seconds
