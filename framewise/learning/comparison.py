"""Comparison of two versions on the videos that both left out of a fold to score them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from framewise.learning.held_out import HeldOut, HeldOutVideo
from framewise.learning.quality import F1S, counts_by_video, mean_f1, mean_f1_difference

MEASURE = F1S.index("f1@50")


@dataclass(frozen=True)
class Comparison:
    """Mean F1@50 over the labels that both versions know, now and then, on the same videos and against the same annotations.

    videos:   different videos that were compared.
    interval: (low, high) that hold now - then on many other videos in about 19 cases of 20; NaN for fewer than three videos.
    """

    videos: int
    now: float
    then: float
    interval: tuple[float, float]

    @property
    def is_worse(self) -> bool:
        """True if the newer version is worse by more than what its videos leave uncertain."""
        return self.interval[1] < 0


def compare(new: Sequence[HeldOutVideo], labels: Sequence[str], groups: Sequence[Hashable], old: HeldOut) -> Comparison:
    """Compare the videos of a new version with those that an older one kept, against the annotations of the new one.

    labels: of the new version, in the order of columns. groups: of each new video; those of equal ones have the same content
    and are one video. A video whose frames are others than before is left out. Raises ModelError for a file that cannot be
    read.
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


def _same_frames(one: HeldOutVideo, other: HeldOutVideo, num_labels: int) -> bool:
    return one.frame_rate == other.frame_rate and other.scores.shape == (len(one.scores), num_labels)
