"""Comparison of versions by their out-of-fold predictions of the same videos."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from framewise.learning.held_out import HeldOut, HeldOutVideo
from framewise.learning.quality import F1S, Counts, counts_by_video, mean_f1, mean_f1_difference

MEASURE = F1S.index("f1@50")


@dataclass(frozen=True)
class Comparison:
    """Mean F1@50 of the new (``now``) and old (``then``) version over their common labels, on the same videos and annotations.

    videos:   number of different videos that were compared.
    interval: (low, high) that contains now - then on many other videos in about 19 cases of 20; NaN below three videos.
    """

    videos: int
    now: float
    then: float
    interval: tuple[float, float]

    @property
    def is_worse(self) -> bool:
        """True if the new version is worse beyond the uncertainty."""
        return self.interval[1] < 0


def compare(new: Sequence[HeldOutVideo], labels: Sequence[str], groups: Sequence[Hashable], old: HeldOut) -> Comparison:
    """Compare the predictions of a new version with those saved by an older one, against the annotations of the new one.

    labels: of the new version, in the order of columns. groups: of each new video; videos of the same group have the same
    content and count as one. A video whose frames have changed is left out. Raises ModelError if a file cannot be read.
    """
    shared = [label for label in labels if label in old.labels]
    now_columns, then_columns = ([known.index(label) for label in shared] for known in (list(labels), old.labels))
    tasks = {video.task for video in new}
    before = {video.task: video for video in old.videos([task for task in old.tasks if task.task in tasks])}
    pairs = [
        (video, before[video.task], group)
        for video, group in zip(new, groups, strict=True)
        if video.task in before and _same_frames(video, before[video.task], len(old.labels))
    ]
    truth = [video.truth[:, now_columns] for video, _, _ in pairs]
    known = [video.known[:, now_columns] for video, _, _ in pairs]
    names = [group for _, _, group in pairs]
    now, then = (
        counts_by_video(truth, found, known, names, len(shared))
        for found in (
            [video.predicted[:, now_columns] for video, _, _ in pairs],
            [video.predicted[:, then_columns] for _, video, _ in pairs],
        )
    )
    scores = [float(mean_f1(counts.sum(axis=0))[MEASURE]) for counts in (now, then)]
    return Comparison(len(now), scores[0], scores[1], mean_f1_difference(now, then)[MEASURE])


@dataclass(frozen=True)
class Lead:
    """Mean F1@50 of the best of several learners minus that of another one, on the same videos.

    interval: (low, high) that contains the difference on many other videos in about 19 cases of 20; NaN if that cannot be told.
    """

    difference: float
    interval: tuple[float, float]

    @property
    def is_clear(self) -> bool:
        """True if the best is better beyond the uncertainty."""
        return self.interval[0] > 0


def leads(counts: Mapping[str, Counts], weak: bool) -> tuple[str, dict[str, Lead]]:
    """Name of the best learner by mean F1@50, and its lead over each other one.

    counts: (V, L, F1S, 3) of each learner, of the same videos in the same order. weak: learners knew parts of the videos on
    which they were scored, so that nothing is said of other videos.
    """
    scores = {name: float(mean_f1(of.sum(axis=0))[MEASURE]) for name, of in counts.items()}
    best = max(scores, key=lambda name: -1.0 if math.isnan(scores[name]) else scores[name])
    found = {}
    for name in counts:
        if name != best:
            interval = (math.nan, math.nan) if weak else mean_f1_difference(counts[best], counts[name])[MEASURE]
            found[name] = Lead(scores[best] - scores[name], interval)
    return best, found


def _same_frames(one: HeldOutVideo, other: HeldOutVideo, num_labels: int) -> bool:
    return one.frame_rate == other.frame_rate and other.scores.shape == (len(one.scores), num_labels)
