"""Rows of poses on Label Studio's frame grid: the numbers that the learner sees."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from framewise.features.poses import CONFIDENT, NUMBER, PLACE, STORED

FLAT = 0.01  # of the picture's height: the length of a side that counts as none
OF_PERSON = 7  # numbers of a person besides the key points

Floats = npt.NDArray[np.float32]
Records = npt.NDArray[Any]


class StoredPoses(Protocol):
    """Poses of a video's decoded pictures: see ``extraction.VideoFeatures``."""

    timeline: Any

    def records(self, rows: npt.NDArray[np.int64]) -> Records: ...


class PoseRows:
    """Poses of a video in numbers: number of persons, and of the most confident one confidence, place and size; then its key
    points from the middle of its box, in lengths of its longer side, so that a pose is the same near and far; and their
    confidences. Without a person all but the first two are NaN.

    counts: the person, its key points and their confidences count alike.
    """

    def __init__(self, stored: StoredPoses, frame_rate: float):
        self.frame_rate = frame_rate
        self._stored, self._pictures = stored, stored.timeline.rows(frame_rate)
        number, size = (int(count) for count in stored.records(self._pictures[:1])["points"][0])
        parts = [OF_PERSON, 2 * number, number * (size - 2)]
        self.counts: Floats | None = np.concatenate([np.full(part, max(part, 1) ** -0.5, np.float32) for part in parts])

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, None]:
        records = self._stored.records(self._pictures[index])
        number, size = (int(count) for count in records["points"][0]) if len(records) else (0, 2)
        return pose_numbers(records["pose"].astype(np.float32), (number, size)), None


def pose_numbers(stored: Floats, points: tuple[int, int]) -> Floats:
    """Numbers (P, D) of stored poses (P, STORED + key points): see ``PoseRows``."""
    low, high = stored[:, PLACE][:, :2], stored[:, PLACE][:, 2:]
    middle, (width, height) = (low + high) / 2, (high - low).T
    own = stored[:, STORED:].reshape(len(stored), *points)
    apart = (own[..., :2] - middle[:, np.newaxis]) / (np.maximum(width, height) + FLAT)[:, np.newaxis, np.newaxis]
    person = [stored[:, NUMBER], stored[:, CONFIDENT], *middle.T, np.log(width + FLAT), np.log(height + FLAT)]
    person.append(np.log((width + FLAT) / (height + FLAT)))
    return np.concatenate([np.stack(person, 1), apart.reshape(len(stored), -1), own[..., 2:].reshape(len(stored), -1)], axis=1)
