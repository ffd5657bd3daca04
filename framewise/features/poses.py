"""Poses of a video's pictures: the most confident person in each, as evidence beside the picture's own features.

A network that finds persons takes many times as long as a backbone, and people move slowly: it computes a few pictures a
second, and rows between are interpolated.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.features.engines import threads_of_their_own
from framewise.features.passes import AHEAD, in_order
from framewise.features.pose_network import BOX, CONFIDENCE, POINTS, PoseNetwork
from framewise.media.video import Losses, Picture, decode

COMPUTED_PER_SECOND = 10
POSES = f"most confident person, {COMPUTED_PER_SECOND} a second, 16 bits"  # in the key of cached poses
# Columns of a stored pose, in shares of the picture's sides: number of persons, confidence, box (x1, y1, x2, y2); then the key
# points.
NUMBER, CONFIDENT, PLACE, STORED = 0, 1, slice(2, 6), 6

Floats = npt.NDArray[np.float32]


@dataclass
class _Batch:
    """Consecutive pictures. due: indices of those that are computed, and these pictures."""

    pts: list[int] = field(default_factory=list)
    due: list[int] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


class PosePass:
    """Makes the records of the poses in a video's pictures. ``losses``: of the pictures that were decoded so far."""

    def __init__(self, path: Path, time_base: Fraction, network: PoseNetwork, workers: int):
        self._path, self._time_base, self._network, self._workers = path, time_base, network, workers
        self.losses = Losses()

    def chunks(self, size: int, known: npt.NDArray[np.int64], told: Callable[[int], None]) -> Iterator[npt.NDArray[Any]]:
        """Records of all pictures after the ``known`` ones, whose times these are, in arrays of ``size``; the last may be
        shorter.

        told: receives the number of pictures done since its last call. Raises MediaError.
        """
        self.losses = Losses()
        pictures = itertools.islice(decode(self._path, None, self.losses), len(known), None)
        pts, poses = list[int](), dict[int, Floats]()
        with threads_of_their_own(self._workers) as pool:
            for batch, found in in_order(pool, self._compute, self._batches(pictures, size), self._workers + AHEAD):
                poses |= {len(pts) + index: pose for index, pose in zip(batch.due, found, strict=True)}
                pts += batch.pts
                told(len(batch.pts))
                if len(pts) == size:
                    yield pack_poses(np.array(pts), poses, self._network.points)
                    pts, poses = [], {}
        if pts:
            yield pack_poses(np.array(pts), poses, self._network.points)

    def _batches(self, pictures: Iterable[Picture], size: int) -> Iterator[_Batch]:
        """Batches, none of which spans two chunks of ``size`` pictures."""
        batch, in_chunk, next_due = _Batch(), 0, 0.0
        for picture in pictures:
            seconds = float(picture.pts * self._time_base)
            if in_chunk == 0 or seconds >= next_due - 1e-6:
                batch.due.append(len(batch.pts))
                batch.pictures.append(picture)
                next_due = seconds + 1 / COMPUTED_PER_SECOND
            batch.pts.append(picture.pts)
            in_chunk = (in_chunk + 1) % size
            if in_chunk == 0 or len(batch.due) == self._network.batch:
                yield batch
                batch = _Batch()
        if batch.pts:
            yield batch

    def _compute(self, batch: _Batch) -> list[Floats]:
        """Stored poses of the pictures that are due, if there are any."""
        images = [picture.rgb for picture in batch.pictures]
        batch.pictures.clear()  # they are large, and no longer needed
        found = self._network.find(images) if images else []
        return [to_stored(persons, self._network.points, images[0].shape[0]) for persons in found]


def to_stored(persons: Floats, points: tuple[int, int], height: int) -> Floats:
    """Stored pose (STORED + numbers of key points,) of a picture's persons, most confident first; NaN without any.

    points: number of key points, and of numbers of each. Places are in heights of the picture.
    """
    row = np.full(STORED + points[0] * points[1], np.nan, dtype=np.float32)
    row[NUMBER], row[CONFIDENT] = len(persons), 0.0
    if len(persons):
        row[CONFIDENT], row[PLACE] = persons[0, CONFIDENCE], persons[0, BOX] / height
        of_points = persons[0, POINTS:].reshape(points).copy()
        of_points[:, :2] /= height
        row[STORED:] = of_points.ravel()
    return row


def pack_poses(pts: npt.NDArray[np.int64], poses: Mapping[int, Floats], points: tuple[int, int]) -> npt.NDArray[Any]:
    """Records (P,) of pictures with these times (P,), from the stored poses of some of them, the first included.

    Poses between are interpolated in time; where one of the two has no person, the earlier holds.
    """
    computed = np.array(sorted(poses))
    whole = np.stack([poses[index] for index in computed])
    before = np.searchsorted(computed, np.arange(len(pts)), side="right") - 1
    after = np.minimum(before + 1, len(computed) - 1)
    first, last = pts[computed[before]], pts[computed[after]]
    share = ((pts - first) / np.maximum(last - first, 1))[:, np.newaxis]
    between = whole[before] * (1 - share) + whole[after] * share
    rows = np.empty(len(pts), dtype=[("pts", "<i8"), ("points", "u1", (2,)), ("pose", "<f2", (whole.shape[1],))])
    rows["pts"], rows["points"] = pts, points
    rows["pose"] = np.where(np.isnan(between), whole[before], between)
    return rows
