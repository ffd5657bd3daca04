"""One pass over a video: decode, preprocess, batches through the backbone, into the cache."""

import functools
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.core.frame_grid import MAX_FRAMES, count_frames, picture_rows
from framewise.features.backbone import Backbone
from framewise.features.cache import CHUNK_PICTURES, FeatureCache, Hold, Key, alone, open_array
from framewise.features.housekeeping import Housekeeper
from framewise.features.motion import KEPT_PICTURES, MOTION_SIZE, Motion
from framewise.labeling_config import CROPS
from framewise.media.library import MediaFile
from framewise.media.video import Picture, VideoInfo, decode, probe

logger = logging.getLogger(__name__)

BATCH_PICTURES = 32
REMEMBERED_VIDEOS = 2000  # whose files were found and looked into: some kilobytes each

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Timeline:
    """When each decoded picture of a video is shown. pts (P,) int64 in units of time_base; duration as browsers report it."""

    pts: npt.NDArray[np.int64]
    time_base: Fraction
    duration_seconds: float

    @classmethod
    def of(cls, info: VideoInfo, pts: Sequence[int]) -> "Timeline":
        """From a file's header and the times of all of its pictures."""
        # A browser's duration grows where it reads pictures past the one that the header gives (a video that starts late).
        duration = max(info.duration_seconds, float(pts[-1] * info.time_base))
        return cls(np.array(pts, dtype=np.int64), info.time_base, duration)

    def num_frames(self, frame_rate: float) -> int:
        """Frames on Label Studio's timeline at the labeling config's frame rate; at least one. Raises MediaError if the file or
        the config asks for more than can be."""
        if not self.duration_seconds * frame_rate <= MAX_FRAMES:
            raise MediaError(
                f"a video of {self.duration_seconds:.0f} s at frameRate {frame_rate:g} would have more than {MAX_FRAMES} "
                "frames; is the file damaged, or frameRate in the <Video> tag too high? Else cut the video into parts"
            )
        return max(count_frames(self.duration_seconds, frame_rate), 1)

    def rows(self, frame_rate: float) -> npt.NDArray[np.int64]:
        """For each frame 1..num_frames the row of the picture on screen, (num_frames,)."""
        seconds = self.pts.astype(np.float64) * self.time_base.numerator / self.time_base.denominator
        return picture_rows(seconds, frame_rate, self.num_frames(frame_rate))

    def to_array(self) -> npt.NDArray[Any]:
        """As one record of plain numbers, for a .npy file."""
        kind = np.dtype([("time_base", "<i8", (2,)), ("duration", "<f8"), ("pts", "<i8", (len(self.pts),))])
        time_base = (self.time_base.numerator, self.time_base.denominator)
        return np.array([(time_base, self.duration_seconds, self.pts)], dtype=kind)

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> "Timeline":
        record = array[0]
        return cls(np.array(record["pts"]), Fraction(*(int(n) for n in record["time_base"])), float(record["duration"]))


class VideoFeatures:
    """Cached features of one video: rows are decoded pictures, D numbers of the backbone and MOTION_SIZE of motion in each.
    Chunks stay on disk until they are asked for. They are not removed from the cache as long as this object lives."""

    def __init__(self, timeline: Timeline, chunks: list[npt.NDArray[np.float32]], hold: Hold):
        self.timeline = timeline
        self._chunks = chunks
        self._hold = hold

    def on_grid(self, frame_rate: float) -> npt.NDArray[np.float32]:
        """Features (T, D), one row for each frame that Label Studio shows at ``frame_rate``."""
        return self.take(self.timeline.rows(frame_rate))

    def rows_on_grid(self, frame_rate: float) -> "GridRows":
        """Features and motion of each frame that Label Studio shows, to be read in parts."""
        return GridRows(self, frame_rate)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Features (len(rows), D) of decoded pictures, in the order of ``rows``."""
        return self.take_all(rows)[:, :-MOTION_SIZE]

    def take_all(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """``take`` with the motion, (len(rows), D + MOTION_SIZE)."""
        out = np.empty((len(rows), self._chunks[0].shape[1]), dtype=np.float32)
        number, inside = np.divmod(rows, CHUNK_PICTURES)
        for chunk in np.unique(number):
            here = number == chunk
            out[here] = self._chunks[chunk][inside[here]]
        return out


class GridRows:
    """Rows of a video on Label Studio's frame grid; what is read is (n, D + motion_size)."""

    motion_size = MOTION_SIZE

    def __init__(self, features: VideoFeatures, frame_rate: float):
        self.frame_rate = frame_rate
        self._features = features
        self._pictures = features.timeline.rows(frame_rate)

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self._features.take_all(self._pictures[index])


@dataclass(frozen=True)
class _Found:
    """What a look into a video's files gave, and which files these were."""

    timeline: Timeline
    chunks: list[str]
    stamps: list[tuple[int, ...]]


class Extractor:
    """Features of videos from the cache, computed where they are not there, once even if several ask at once.

    max_bytes: to what size the cache is brought back after an extraction; 0 for none.
    """

    def __init__(self, cache: FeatureCache, max_bytes: int = 0):
        self._cache = cache
        self._locks = cache.folder / "locks"
        self._max_bytes = max_bytes
        self._housekeeper = Housekeeper(cache)
        self._found: dict[Key, _Found] = {}
        self._finding = threading.Lock()

    def cached(self, content: str, backbone: str, crop: str) -> VideoFeatures | None:
        """Features if all of them are cached; never computes. backbone: content of its weights."""
        key = (content, backbone, _preprocessing(crop))
        with self._finding:
            found = self._found.get(key)
        if found is None and not self._cache.has_times(content):
            return None
        hold = self._cache.hold(key)  # first: what is found after that stays
        return (found and self._opened_again(found, hold)) or self._looked_up(key, hold)

    def _opened_again(self, found: _Found, hold: Hold) -> VideoFeatures | None:
        """Features whose files were looked into before; None if they are not these files any more."""
        try:
            if [_stamp(path) for path in found.chunks] != found.stamps:
                return None
            return VideoFeatures(found.timeline, [open_array(path) for path in found.chunks], hold)
        except (OSError, ValueError):
            return None

    def _looked_up(self, key: Key, hold: Hold) -> VideoFeatures | None:
        with self._finding:
            self._found.pop(key, None)
        if not self._cache.has_times(key[0]):
            return None
        timeline = Timeline.from_array(self._cache.times(key[0], _not_cached))
        chunks = range(math.ceil(len(timeline.pts) / CHUNK_PICTURES))
        if not all(self._cache.has_chunk(key, chunk) for chunk in chunks):
            return None
        arrays = [self._cache.chunk(key, chunk, _not_cached) for chunk in chunks]
        paths = [str(getattr(array, "filename", "")) for array in arrays]
        with self._finding:
            self._found[key] = _Found(timeline, paths, [_stamp(path) for path in paths])
            while len(self._found) > REMEMBERED_VIDEOS:
                del self._found[next(iter(self._found))]
        return VideoFeatures(timeline, arrays, hold)

    def extract(
        self, file: MediaFile, backbone_content: str, load: Callable[[], Backbone], crop: str, progress: Progress
    ) -> VideoFeatures:
        """Features of a file. Another process at the same file is waited for. Raises MediaError, BackboneError."""
        key = (file.content, backbone_content, _preprocessing(crop))
        with alone(self._locks / f"{file.content[:32]}-{backbone_content[:16]}-{crop}.lock"):
            found = self.cached(file.content, backbone_content, crop)
            if found:
                return found
            hold = self._cache.hold(key)  # what is written stays until it is read
            self._run(file, backbone_content, load(), crop, progress)
            found = self.cached(file.content, backbone_content, crop)
            hold.release()
        if not found:
            raise MediaError(f"{file.path.name}: its features vanished from the cache while they were written")
        self._keep_within_limit()
        return found

    def _keep_within_limit(self) -> None:
        if not self._max_bytes:
            return
        try:
            self._housekeeper.shrink(self._max_bytes)
        except OSError as error:  # the features are there all the same
            logger.warning("the cache could not be brought back to CACHE_MAX_BYTES: %s", error)

    def _run(self, file: MediaFile, backbone_content: str, backbone: Backbone, crop: str, progress: Progress) -> None:
        info = probe(file.path)
        expected = _expected_pictures(info)
        key = (file.content, backbone_content, _preprocessing(crop))
        motion = _MotionOf(backbone, crop, info.time_base)
        pictures = _Noted(decode(file.path), lambda done: _report(progress, done, expected))
        for chunk in itertools.count():
            first = next(pictures, None)
            if first is None:
                break
            group = itertools.chain([first], itertools.islice(pictures, CHUNK_PICTURES - 1))
            if self._cache.has_chunk(key, chunk):
                motion.pass_by(group)
            else:
                self._cache.chunk(key, chunk, functools.partial(_features, file, backbone, group, motion))
        file.check_unchanged()
        self._cache.times(file.content, Timeline.of(info, pictures.pts).to_array)


class _Noted(Iterator[Picture]):
    """The pictures of a video; notes their times as they pass."""

    def __init__(self, pictures: Iterator[Picture], on_picture: Callable[[int], None]):
        self._pictures = pictures
        self._on_picture = on_picture
        self.pts: list[int] = []

    def __next__(self) -> Picture:
        picture = next(self._pictures)
        self.pts.append(picture.pts)
        self._on_picture(len(self.pts))
        return picture


class _MotionOf:
    """Preprocesses the pictures of a video and follows what moves in them."""

    def __init__(self, backbone: Backbone, crop: str, time_base: Fraction):
        self._backbone, self._crop, self._time_base = backbone, crop, time_base
        self._motion = Motion()

    def preprocessed(self, picture: Picture) -> tuple[Any, npt.NDArray[np.float32]]:
        """The backbone's input (3, S, S) of the next picture, and its motion."""
        image = self._backbone.preprocess(picture.rgb, self._crop)
        return image, self._motion.of(image, float(picture.pts * self._time_base))

    def pass_by(self, pictures: Iterator[Picture]) -> None:
        """Pictures whose features are cached. The last ones are looked at, for the motion of those that follow."""
        for number, picture in enumerate(pictures):
            if number >= CHUNK_PICTURES - KEPT_PICTURES:
                self.preprocessed(picture)


def _preprocessing(crop: str) -> str:
    """What the columns of cached features are, in their key."""
    return f"{crop} with motion and its shape"


def current_preprocessings() -> set[str]:
    """Of features that may still be asked for."""
    return {_preprocessing(crop) for crop in CROPS}


def _stamp(path: str) -> tuple[int, ...]:
    """What changes with a file of the cache, which is replaced and never written to."""
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _features(file: MediaFile, backbone: Backbone, pictures: Iterator[Picture], motion: _MotionOf) -> npt.NDArray[np.float32]:
    batches = []
    while batch := [motion.preprocessed(picture) for picture in itertools.islice(pictures, BATCH_PICTURES)]:
        features = backbone.features([image for image, _ in batch])
        batches.append(np.concatenate([features, np.stack([moved for _, moved in batch])], axis=1))
    file.check_unchanged()  # else features of another video would be kept under this one's content
    return np.concatenate(batches)


def _report(progress: Progress, done: int, expected: int) -> None:
    if done % BATCH_PICTURES == 0:
        progress(min(done / expected, 0.99), f"pictures {done} of about {expected}")


def _expected_pictures(info: VideoInfo) -> int:
    return max(round((info.video_seconds or info.duration_seconds) * float(info.average_rate or 25)), 1)


def _not_cached() -> npt.NDArray[Any]:
    raise MediaError("a cached array was removed while it was being read; ask again")
