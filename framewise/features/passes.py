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
from framewise.features.frames import holds_same, num_bytes
from framewise.features.motion import MOTION_SIZE, Motion, thumbnails_of
from framewise.features.rows import pack, unpack
from framewise.features.sampling import Chooser, Chosen, PictureChoice, PictureStretch, interpolated
from framewise.features.thumbnails import Thumbnailer
from framewise.media.video import Losses, Picture, decode, probe

logger = logging.getLogger(__name__)

# Decoded pictures in progress: those of 4K take 12 MB each.
MAX_BYTES_UNDER_WAY = 120_000_000
AHEAD = 2  # batches that wait for a thread
# Before the first picture of a resumed pass, this much is decoded again: further back than any span of motion, and as far
# as the choice of a picture to be computed depends on.
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
        again_from = self._again_from(known)
        for sought in self._sought(again_from):
            before, pictures = self._split(self._decoded(sought), again_from, int(known[-1]))
            if list(before) == list(known[known >= again_from]):
                break
            logger.info("%s: decoded from the beginning, to go on at picture %d", self._path.name, len(known) + 1)
        return before, pictures

    def _again_from(self, known: npt.NDArray[np.int64]) -> int:
        return int(known[-1]) - math.ceil(AGAIN_SECONDS / self._time_base)

    def _sought(self, again_from: int) -> list[int | None]:
        """Times to begin at, one after the other until the pictures are those that are known: some containers cannot be sought
        in, or number their pictures by where the reading began. Pictures that have no times are counted, from the first on."""
        return [again_from, None] if probe(self._path).own_times else [None]

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


class SampledPass(Pass):
    """Pass that computes the pictures that ``sampling`` chooses, and interpolates the features of the others.

    row: a record that is known already, by its position.
    """

    def __init__(
        self,
        path: Path,
        time_base: Fraction,
        backbone: Backbone,
        profile: str,
        compute: Compute,
        crop: str,
        row: Callable[[int], npt.NDArray[Any]],
    ):
        super().__init__(path, time_base, backbone, profile, compute, crop)
        self._row = row
        self._thumbnail = Thumbnailer(crop, self._prepared)

    def chunks(self, size: int, known: npt.NDArray[np.int64], told: Callable[[int], None]) -> Iterator[npt.NDArray[Any]]:
        again, end = self._again(known), None  # end: record of the last chosen picture so far, (1,)
        records: list[npt.NDArray[Any]] = []
        with threads_of_their_own(self._workers) as pool:
            for stretch, computed in in_order(
                pool, self._computed_of, self._stretches(again, len(known), size), self._workers + AHEAD
            ):
                if end is None and again.chosen is not None:
                    end = self._row(int(np.searchsorted(known, again.chosen)))
                moved = again.motion.of(np.stack(stretch.thumbnails), self._seconds(stretch.pts))
                records.append(_between(stretch, computed, moved, end))
                end = records[-1][-1:]
                told(len(stretch.pts))
                if sum(map(len, records)) >= size:
                    *whole, rest = np.split(np.concatenate(records), range(size, sum(map(len, records)) + 1, size))
                    yield from whole
                    records = [rest] if len(rest) else []
        if records:
            yield np.concatenate(records)

    def _computed_of(self, stretch: PictureStretch) -> FloatArray | None:
        """Features (N, D) of the pictures to be computed, None if there are none."""
        if not stretch.computed:
            return None
        images = np.stack([self._prepared(picture) for picture in stretch.computed])
        stretch.computed.clear()  # they are large, and no longer needed
        return self._engine(images)

    def _stretches(self, again: "_Again", number: int, chunk: int) -> Iterator[PictureStretch]:
        """Yield the pictures from position ``number`` on. No stretch computes pictures of two chunks: a network's results
        depend a little on what else is in a batch, which should be the same in a pass that goes on."""
        stretch, size, last = PictureStretch(), self._engine.batch, number  # last: position of the last chosen one
        for found in again.decided(self._thumbnail):
            if found.choice is not PictureChoice.BETWEEN:
                if stretch.chosen and (last // chunk != number // chunk or len(stretch.computed) >= size or stretch.is_long):
                    size = _batch_size(found.picture, self._engine.batch, self._workers)
                    whole, stretch = stretch.split()
                    yield whole
                last = number
            stretch.add(found)
            number += 1
        if stretch.pts:
            yield stretch

    def _again(self, known: npt.NDArray[np.int64]) -> "_Again":
        """State of a pass after the ``known`` pictures: what they were decoded for again."""
        if not len(known):
            return _Again(Chooser(self._time_base), Motion(), self._decoded(None))
        first, last = self._again_from(known), int(known[-1])
        for sought in self._sought(first):
            again = _Again(Chooser(self._time_base), Motion(), iter(()), last)
            times, thumbnails, pictures = list[int](), list[FloatArray](), self._decoded(sought)
            for picture in pictures:
                if picture.pts > last:
                    again.pictures = itertools.chain([picture], pictures)
                    break
                if picture.pts >= first:
                    times.append(picture.pts)
                    thumbnails.append(self._thumbnail(picture))
                    for found in again.chooser.follow(picture, thumbnails[-1]):
                        again.knows(found)
            if times == list(known[known >= first]):
                break
            logger.info("%s: decoded from the beginning, to go on at picture %d", self._path.name, len(known) + 1)
        again.motion.of(np.stack(thumbnails), self._seconds(times))
        return again


@dataclass
class _Again:
    """State of a pass that goes on. last: time of the last picture whose record is known; chosen: of the last chosen one of
    those."""

    chooser: Chooser
    motion: Motion
    pictures: Iterator[Picture]
    last: int | None = None
    chosen: int | None = None

    def decided(self, thumbnail: Callable[[Picture], FloatArray]) -> Iterator[Chosen]:
        """Yield the pictures whose records are not known."""
        for picture in self.pictures:
            yield from (found for found in self.chooser.follow(picture, thumbnail(picture)) if not self.knows(found))
        yield from (found for found in self.chooser.end() if not self.knows(found))

    def knows(self, found: Chosen) -> bool:
        """Note a chosen picture whose record is known; false for others."""
        if self.last is None or found.picture.pts > self.last:
            return False
        if found.choice is not PictureChoice.BETWEEN:
            self.chosen = found.picture.pts
        return True


def _between(
    stretch: PictureStretch, computed: FloatArray | None, moved: FloatArray, end: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    """Records of a stretch. computed: features of its computed pictures. end: record of the last chosen picture before it."""
    pts = np.array(stretch.pts)
    # Interpolated from what is kept of the chosen ones, so that an interrupted pass can go on from it.
    ends = [] if end is None else [end]
    if computed is not None:
        ends.append(pack(np.zeros(len(computed), np.int64), computed, np.zeros((len(computed), MOTION_SIZE), np.float32)))
    known = np.concatenate(ends)
    chosen = known[np.array(stretch.index) + (end is not None)]
    chosen["pts"] = pts[stretch.chosen]
    around = chosen if end is None else np.concatenate([end, chosen])
    records = pack(pts, interpolated(pts, around["pts"], unpack(around)[0]), moved)
    for name in ("low", "step", "features"):
        records[name][stretch.chosen] = chosen[name]
    return records


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
            size = _batch_size(picture, largest, workers)
        if last is None or not holds_same(last, picture.frame):
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


def _batch_size(picture: Picture, largest: int, workers: int) -> int:
    return min(largest, max(1, MAX_BYTES_UNDER_WAY // (num_bytes(picture.frame) * (workers + AHEAD))))
