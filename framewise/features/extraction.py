"""One pass over a video: decode, preprocess, batches through the backbone, into the cache."""

import fcntl
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.core.frame_grid import MAX_FRAMES, count_frames, picture_rows
from framewise.features.backbone import Backbone
from framewise.features.cache import CHUNK_PICTURES, FeatureCache
from framewise.features.motion import KEPT_PICTURES, MOTION_SIZE, Motion
from framewise.media.library import MediaFile
from framewise.media.video import Picture, VideoInfo, decode, probe

BATCH_PICTURES = 32

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
    Chunks stay on disk until they are asked for."""

    def __init__(self, timeline: Timeline, chunks: list[npt.NDArray[np.float32]]):
        self.timeline = timeline
        self._chunks = chunks

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


class Extractor:
    """Features of videos from the cache, computed where they are not there, once even if several ask at once."""

    def __init__(self, cache: FeatureCache):
        self._cache = cache
        self._locks = cache.folder / "locks"

    def cached(self, content: str, backbone: str, crop: str) -> VideoFeatures | None:
        """Features if all of them are cached; never computes. backbone: content of its weights."""
        if not self._cache.has_times(content):
            return None
        timeline = Timeline.from_array(self._cache.times(content, _not_cached))
        key = (content, backbone, _preprocessing(crop))
        chunks = range(math.ceil(len(timeline.pts) / CHUNK_PICTURES))
        if not all(self._cache.has_chunk(key, chunk) for chunk in chunks):
            return None
        return VideoFeatures(timeline, [self._cache.chunk(key, chunk, _not_cached) for chunk in chunks])

    def extract(
        self, file: MediaFile, backbone_content: str, load: Callable[[], Backbone], crop: str, progress: Progress
    ) -> VideoFeatures:
        """Features of a file. Another process at the same file is waited for. Raises MediaError, BackboneError."""
        with self._only_one(f"{file.content[:32]}-{backbone_content[:16]}-{crop}"):
            found = self.cached(file.content, backbone_content, crop)
            if found:
                return found
            self._run(file, backbone_content, load(), crop, progress)
            found = self.cached(file.content, backbone_content, crop)
        if not found:
            raise MediaError(f"{file.path.name}: its features vanished from the cache while they were written")
        return found

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

    @contextmanager
    def _only_one(self, name: str) -> Iterator[None]:
        """A lock between processes and threads, freed by the system when its holder dies."""
        self._locks.mkdir(parents=True, exist_ok=True)
        with open(self._locks / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


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
