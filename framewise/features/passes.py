"""One pass over a video: decoding, while earlier pictures are prepared and computed on all processors.

The calling thread decodes, and orders the results. Batches of pictures go to threads that each prepare and compute their own
(``engines``). Only as many are in progress as keep those threads busy, so memory does not grow with the video.
"""

import collections
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from framewise.features.backbone import Backbone
from framewise.features.engines import Compute, threads_of_their_own
from framewise.features.motion import Motion, thumbnails_of
from framewise.features.rows import pack
from framewise.media.video import Losses, Picture, decode, probe

logger = logging.getLogger(__name__)

# Decoded pictures in progress: those of 4K take 12 MB each.
MAX_BYTES_UNDER_WAY = 400_000_000
AHEAD = 2  # batches that wait for a thread
# Before the first picture of a resumed pass, this much is decoded again: further back than any span of motion.
AGAIN_SECONDS = 1.0

FloatArray = npt.NDArray[np.float32]
Computed = list[tuple[FloatArray, FloatArray]]
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class _Batch:
    """Consecutive pictures; identical ones are computed once. ``index`` (P,): which of ``distinct`` each is, -1 for the last
    one of the previous batch."""

    pts: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    distinct: list[Picture] = field(default_factory=list)


class Pass:
    """Makes the records of a video's pictures (``rows.pack``). ``losses``: of the pictures that were decoded so far."""

    def __init__(self, path: Path, time_base: Fraction, backbone: Backbone, profile: str, compute: Compute, crop: str):
        self._path, self._time_base = path, time_base
        self.losses = Losses()
        self._workers = compute.workers
        self._engine = backbone.engine(compute)
        self._prepared = backbone.preprocessor(profile, crop)

    def chunks(self, size: int, known: npt.NDArray[np.int64], told: Callable[[int], None]) -> Iterator[npt.NDArray[Any]]:
        """Records of all pictures after the ``known`` ones, whose times these are, in arrays of ``size``; the last may be
        shorter.

        told: receives the number of pictures done since its last call. Raises MediaError.
        """
        before, pictures = self._after(known)
        motion = Motion()
        if before:
            motion.of(np.concatenate(list(before.values())), self._seconds(list(before)))
        records: list[npt.NDArray[Any]] = []
        with threads_of_their_own(self._workers) as pool:
            for batch, features, thumbnails in self._computed(pool, batches(pictures, size, self._engine.batch, self._workers)):
                records.append(pack(np.array(batch.pts), features, motion.of(thumbnails, self._seconds(batch.pts))))
                told(len(batch.pts))
                if sum(map(len, records)) == size:
                    yield np.concatenate(records)
                    records = []
        if records:
            yield np.concatenate(records)

    def _computed(self, pool: Executor, batches: Iterable[_Batch]) -> Iterator[tuple[_Batch, FloatArray, FloatArray]]:
        """Batches with the features (P, D) and thumbnails (P, H, W) of their pictures."""
        last: Computed = []
        for batch, found in in_order(pool, self._compute, batches, self._workers + AHEAD):
            features, thumbnails = (np.concatenate(parts) for parts in zip(*last, *found, strict=True))
            index = np.array(batch.index) + len(last)
            last = [(features[-1:], thumbnails[-1:])]
            yield batch, features[index], thumbnails[index]

    def _compute(self, batch: _Batch) -> Computed:
        """Features and thumbnails of the distinct pictures, if there are any."""
        if not batch.distinct:
            return []
        images = np.stack([self._prepared(picture) for picture in batch.distinct])
        batch.distinct.clear()  # they are large, and no longer needed
        return [(self._engine(images), thumbnails_of(images))]

    def _seconds(self, pts: list[int]) -> npt.NDArray[np.float64]:
        return np.array(pts) * float(self._time_base)

    def _after(self, known: npt.NDArray[np.int64]) -> tuple[dict[int, FloatArray], Iterator[Picture]]:
        """Times and thumbnails of the last of the ``known`` pictures, and an iterator over the following ones."""
        if not len(known):
            return {}, self._decoded(None)
        again_from = int(known[-1]) - math.ceil(AGAIN_SECONDS / self._time_base)
        # Pictures that have no times are counted, from the first one on.
        sought = again_from if probe(self._path).own_times else None
        before, pictures = self._split(self._decoded(sought), again_from, int(known[-1]))
        if list(before) == list(known[known >= again_from]):
            return before, pictures
        # Some containers cannot be sought in, or number their pictures by where the reading began.
        logger.info("%s: decoded from the beginning, to go on at picture %d", self._path.name, len(known) + 1)
        return self._split(self._decoded(None), again_from, int(known[-1]))

    def _decoded(self, from_pts: int | None) -> Iterator[Picture]:
        self.losses = Losses()
        return decode(self._path, from_pts, self.losses)

    def _split(self, pictures: Iterator[Picture], first: int, last: int) -> tuple[dict[int, FloatArray], Iterator[Picture]]:
        """Times and thumbnails of the pictures from ``first`` to ``last``, and an iterator over the following ones."""
        before: dict[int, FloatArray] = {}
        for picture in pictures:
            if picture.pts > last:
                return before, itertools.chain([picture], pictures)
            if picture.pts >= first:
                before[picture.pts] = thumbnails_of(self._prepared(picture)[np.newaxis])
        return before, iter(())


def in_order(pool: Executor, work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[tuple[T, R]]:
    """Items with their results, in order; at most ``most`` are in progress."""
    under_way: collections.deque[tuple[T, Future[R]]] = collections.deque()
    try:
        for item in items:
            under_way.append((item, pool.submit(work, item)))
            if len(under_way) >= most:
                done, future = under_way.popleft()
                yield done, future.result()
        while under_way:
            done, future = under_way.popleft()
            yield done, future.result()
    finally:
        for _, future in under_way:
            future.cancel()


def batches(pictures: Iterable[Picture], chunk: int, largest: int, workers: int) -> Iterator[_Batch]:
    """Batches of at most ``largest`` distinct pictures, none of which spans two chunks."""
    batch, last, in_chunk, size = _Batch(), None, 0, largest
    for picture in pictures:
        if in_chunk == 0:
            last = None  # each chunk depends only on its own pictures
            size = min(largest, max(1, MAX_BYTES_UNDER_WAY // (_num_bytes(picture.frame) * (workers + AHEAD))))
        if last is None or not _same(last, picture.frame):
            batch.distinct.append(picture)
            last = picture.frame
        batch.pts.append(picture.pts)
        batch.index.append(len(batch.distinct) - 1)
        in_chunk = (in_chunk + 1) % chunk
        if in_chunk == 0 or len(batch.distinct) == size:
            yield batch
            batch = _Batch()
    if batch.pts:
        yield batch


def _same(one: Any, other: Any) -> bool:
    """True if two frames hold the same picture: in screen recordings most do, and where a rate was padded."""
    if (one.width, one.height, one.format.name) != (other.width, other.height, other.format.name):
        return False
    return all(
        np.array_equal(a[len(a) // 2], b[len(b) // 2]) and np.array_equal(a, b)  # most pictures differ in any line
        for a, b in zip(_planes(one), _planes(other), strict=True)
    )


def _planes(frame: Any) -> Iterator[npt.NDArray[np.uint8]]:
    """Bytes of a frame's planes (lines, bytes), without the padding of lines if one byte is one sample."""
    one_byte = frame.format.is_planar and all(part.bits <= 8 for part in frame.format.components)
    for plane in frame.planes:
        lines = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
        yield lines[:, : plane.width] if one_byte else lines


def _num_bytes(frame: Any) -> int:
    """Approximate memory: the decoded frame, and its RGB copy during resizing."""
    return sum(int(plane.buffer_size) for plane in frame.planes) + 3 * int(frame.width) * int(frame.height)
