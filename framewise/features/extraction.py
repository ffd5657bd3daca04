"""Features of videos: from the cache, or computed in one pass over the video (``passes``) and cached."""

import contextlib
import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.core.frame_grid import MAX_FRAMES, picture_rows
from framewise.core.progress import Progress
from framewise.core.timeline import FrameAxis
from framewise.features.backbone import Backbone
from framewise.features.cache import CHUNK_PICTURES, FeatureCache, Hold, Key, open_array
from framewise.features.engines import Compute
from framewise.features.housekeeping import Housekeeper
from framewise.features.passes import Pass, SampledPass
from framewise.features.pose_network import PoseNetwork
from framewise.features.poses import POSES, PosePass
from framewise.features.preprocessing import PROFILES
from framewise.features.rows import unpack
from framewise.features.sampling import PER_SECOND
from framewise.features.window_network import WindowFeatures
from framewise.features.window_pass import WindowPass
from framewise.labeling_config import CROPS
from framewise.media.library import MediaFile
from framewise.media.video import Losses, VideoInfo, is_read_anew, probe
from framewise.settings import Settings

logger = logging.getLogger(__name__)

# Behind the content in keys of files that were read otherwise before (``is_read_anew``): theirs are other rows.
ANEW = ", turned and ordered as browsers show it"
REMEMBERED_VIDEOS = 2000  # whose files were found and opened: some kilobytes each

Records = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Work(Protocol):
    """A pass over a video: see ``passes.Pass``."""

    losses: Losses

    def chunks(self, size: int, known: npt.NDArray[np.int64], told: Callable[[int], None]) -> Iterator[Records]: ...


@dataclass(frozen=True)
class Timeline:
    """Times of a video's decoded pictures. pts (P,) int64 in units of time_base; duration as browsers report it; losses: of
    pictures that have no row, None if they were not counted."""

    pts: npt.NDArray[np.int64]
    time_base: Fraction
    duration_seconds: float
    losses: Losses | None = None

    @classmethod
    def of(cls, info: VideoInfo, pts: Sequence[int] | npt.NDArray[np.int64], losses: Losses | None = None) -> "Timeline":
        """From a file's header and the times of all of its pictures."""
        # A browser's duration grows where it reads pictures past the one that the header gives (a video that starts late).
        duration = max(info.duration_seconds, float(pts[-1] * info.time_base))
        return cls(np.array(pts, dtype=np.int64), info.time_base, duration, losses)

    def axis(self, frame_rate: float) -> FrameAxis:
        """Label Studio's timeline at the labeling config's frame rate. Raises MediaError if the file or the config results in
        too many frames."""
        if not self.duration_seconds * frame_rate <= MAX_FRAMES:
            raise MediaError(
                f"a video of {self.duration_seconds:.0f} s at frameRate {frame_rate:g} would have more than {MAX_FRAMES} "
                "frames; is the file damaged, or frameRate in the Video tag too high? Else cut the video into parts"
            )
        return FrameAxis(frame_rate, self.duration_seconds)

    def num_frames(self, frame_rate: float) -> int:
        """Frames on Label Studio's timeline, at least one. Raises MediaError, see ``axis``."""
        return self.axis(frame_rate).num_frames(frame_rate)

    def rows(self, frame_rate: float) -> npt.NDArray[np.int64]:
        """Row of the picture on screen for each frame 1..num_frames, (num_frames,)."""
        seconds = self.pts.astype(np.float64) * self.time_base.numerator / self.time_base.denominator
        return picture_rows(seconds, frame_rate, self.num_frames(frame_rate))

    def to_array(self) -> npt.NDArray[Any]:
        """Convert to one record of plain numbers, for a .npy file."""
        numbers = [("time_base", "<i8", (2,)), ("duration", "<f8"), ("losses", "<i8", (2,)), ("pts", "<i8", (len(self.pts),))]
        time_base = (self.time_base.numerator, self.time_base.denominator)
        counted = self.losses or Losses()
        losses = (counted.without_time, counted.damaged)
        return np.array([(time_base, self.duration_seconds, losses, self.pts)], dtype=np.dtype(numbers))

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> "Timeline":
        record = array[0]
        time_base = Fraction(*(int(n) for n in record["time_base"]))
        losses = Losses(*(int(n) for n in record["losses"])) if "losses" in (array.dtype.names or ()) else None
        return cls(np.array(record["pts"]), time_base, float(record["duration"]), losses)


class VideoFeatures:
    """Cached features of one video: rows are decoded pictures, with D numbers of the backbone and M of motion. Chunks are read
    from disk on demand. They are not removed from the cache while this object lives.

    poses: of the same video, if they are learned from.
    """

    def __init__(self, timeline: Timeline, chunks: list[Records], hold: Hold):
        self.timeline = timeline
        self.poses: VideoFeatures | None = None
        self._chunks = chunks
        self._hold = hold

    def on_grid(self, frame_rate: float) -> Floats:
        """Features (T, D), one row for each frame that Label Studio shows at ``frame_rate``."""
        return self.take(self.timeline.rows(frame_rate))

    def rows_on_grid(self, frame_rate: float, window_seconds: float = 0.0) -> "GridRows":
        """Features and motion of each frame that Label Studio shows, readable in parts. window_seconds: see ``tracks.Rows``."""
        return GridRows(self, frame_rate, window_seconds)

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Features (len(rows), D) of decoded pictures, in the order of ``rows``."""
        return self.read(rows)[0]

    def read(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Features (len(rows), D) and motion (len(rows), M) of decoded pictures, in the order of ``rows``."""
        return unpack(self.records(rows))

    def records(self, rows: npt.NDArray[np.int64]) -> Records:
        """Records (len(rows),) of decoded pictures as they are stored, in the order of ``rows``."""
        records = np.empty(len(rows), dtype=self._chunks[0].dtype)
        number, inside = np.divmod(rows, CHUNK_PICTURES)
        for chunk in np.unique(number):
            here = number == chunk
            records[here] = self._chunks[chunk][inside[here]]
        return records


class GridRows:
    """Rows of a video on Label Studio's frame grid."""

    counts: Floats | None = None

    def __init__(self, features: VideoFeatures, frame_rate: float, window_seconds: float = 0.0):
        self.frame_rate, self.window_seconds = frame_rate, window_seconds
        self._features = features
        self._pictures = features.timeline.rows(frame_rate)

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        return self._features.read(self._pictures[index])


@dataclass(frozen=True)
class _Found:
    """Result of reading a video's files, and a stamp of these files."""

    timeline: Timeline
    chunks: list[str]
    stamps: list[tuple[int, ...]]


class Extractor:
    """Features of videos from the cache, computed if missing, once even if several callers need them at the same time.

    max_bytes: size to which the cache is shrunk after an extraction; 0 for no limit.
    samples: in the profile "fast", the backbone computes only chosen pictures (``sampling``), except for callers that need
    every picture. Features of every picture, if they are cached, are used in any case.
    """

    def __init__(
        self,
        cache: FeatureCache,
        profile: str = "fast",
        compute: Compute | None = None,
        max_bytes: int = 0,
        samples: bool = False,
    ):
        self.profile = profile
        self._samples = samples and profile == "fast"
        self._cache = cache
        compute = compute or Compute()
        # Ultralytics computes in single precision.
        self._compute = replace(compute, precision="float32") if profile == "exact" else compute
        self._max_bytes = max_bytes
        self._housekeeper = Housekeeper(cache)
        self._found: dict[Key, _Found] = {}
        self._up_to_date: set[str] = set()
        self._finding = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        compute = Compute(settings.extraction_engine, settings.extraction_precision, settings.extraction_threads)
        samples = settings.extraction_pictures == "sampled"
        cache = FeatureCache(settings.cache_dir)
        return cls(cache, settings.extraction_profile, compute, settings.cache_max_bytes, samples)

    def cached(self, content: str, backbone: str, crop: str, every: bool = False) -> VideoFeatures | None:
        """Features if all of them are cached; never computes. backbone: content of its weights. every: the backbone's own of
        every picture."""
        return self._cached_as(content, backbone, self._kinds(crop, every))

    def cached_poses(self, content: str, network: str) -> VideoFeatures | None:
        """Poses if all of them are cached: see ``poses.pack_poses``. network: content of its weights."""
        return self._cached_as(content, network, [POSES])

    def _cached_as(self, content: str, weights: str, kinds: Sequence[str]) -> VideoFeatures | None:
        keys = ((name, weights, kind) for name in (content + ANEW, content) for kind in kinds)
        return next((found for key in keys if (found := self._cached(key))), None)

    def is_outdated(self, features: VideoFeatures, file: MediaFile) -> bool:
        """True if a file's features, those that are cached, are of other pictures or times than it would be read with now."""
        if features.timeline.losses is not None or file.content in self._up_to_date:
            return False
        with contextlib.suppress(MediaError):
            if is_read_anew(file.path):
                return True
        self._up_to_date.add(file.content)
        return False

    def _cached(self, key: Key) -> VideoFeatures | None:
        with self._finding:
            found = self._found.get(key)
        if found is None and not self._cache.has_times(key[0]):
            return None
        hold = self._cache.hold(key)  # first, so that found features stay
        return (found and self._opened_again(found, hold)) or self._looked_up(key, hold)

    def _opened_again(self, found: _Found, hold: Hold) -> VideoFeatures | None:
        """Features whose files were opened before; None if these files have been replaced."""
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
        self,
        file: MediaFile,
        backbone_content: str,
        load: Callable[[], Backbone],
        crop: str,
        progress: Progress,
        every: bool = False,
    ) -> VideoFeatures:
        """Extract the features of a file. Waits if another process is extracting it. Raises MediaError, BackboneError."""

        def work(info: VideoInfo, key: Key) -> Work:
            backbone = load()
            if isinstance(backbone.cut, WindowFeatures):
                return WindowPass(file.path, info.time_base, backbone.cut.windows, self.profile)
            how = (file.path, info.time_base, backbone, self.profile, self._compute, crop)
            if key[2] == preprocessing_key(self.profile, crop):
                return Pass(*how)
            return SampledPass(*how, functools.partial(self._cached_row, key))

        return self._extracted(file, backbone_content, self._kinds(crop, every), work, f"{crop}-{self.profile}", progress)

    def _cached_row(self, key: Key, index: int) -> Records:
        chunk, inside = divmod(index, CHUNK_PICTURES)
        return np.array(self._cache.chunk(key, chunk, _not_cached)[inside : inside + 1])

    def extract_poses(
        self, file: MediaFile, network_content: str, load: Callable[[], PoseNetwork], progress: Progress
    ) -> VideoFeatures:
        """Extract the poses of a file, as ``extract`` does."""

        def work(info: VideoInfo, key: Key) -> Work:
            return PosePass(file.path, info.time_base, load(), self._compute.workers)

        return self._extracted(file, network_content, [POSES], work, "poses", progress)

    def _extracted(
        self,
        file: MediaFile,
        weights: str,
        kinds: Sequence[str],
        work: Callable[[VideoInfo, Key], Work],
        name: str,
        progress: Progress,
    ) -> VideoFeatures:
        """Features of a file from the cache, of the first of the kinds that is there, or made by ``work``, of the last one.

        name: of the lock, besides the contents.
        """
        content = file.content + ANEW if is_read_anew(file.path) else file.content
        keys = [(content, weights, kind) for kind in kinds]
        key = keys[-1]
        with self._cache.making(file.content, weights[:16], name):
            for found in map(self._cached, keys):
                if found:
                    return found
            hold = self._cache.hold(key)  # written features stay until they are read
            try:
                self._run(file, key, work, progress)
                found = self._cached(key)
            finally:
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
        except OSError as error:  # the features are there anyway
            logger.warning("the cache could not be reduced to CACHE_MAX_BYTES: %s", error)

    def _run(self, file: MediaFile, key: Key, make: Callable[[VideoInfo, Key], Work], progress: Progress) -> None:
        info = probe(file.path)
        pts, work = self._first_pts(key), make(info, key)
        told = _Told(progress, len(pts), _expected_pictures(info))
        for records in work.chunks(CHUNK_PICTURES, pts, told):
            file.check_unchanged()  # otherwise another video's features would be stored under this content
            self._cache.chunk(key, len(pts) // CHUNK_PICTURES, functools.partial(np.asarray, records))
            pts = np.concatenate([pts, records["pts"]])
        file.check_unchanged()
        self._cache.times(key[0], Timeline.of(info, pts, work.losses).to_array)

    def _first_pts(self, key: Key) -> npt.NDArray[np.int64]:
        """Times of the pictures whose features are cached, from the first on, in complete chunks."""
        found, chunk = [np.empty(0, dtype=np.int64)], 0
        while self._cache.has_chunk(key, chunk):
            pts = self._cache.chunk(key, chunk, _not_cached)["pts"]
            if len(pts) < CHUNK_PICTURES:
                break  # the last one is computed again, because it may be incomplete
            found.append(np.array(pts))
            chunk += 1
        return np.concatenate(found)

    def _kinds(self, crop: str, every: bool) -> list[str]:
        """Preprocessings of usable features, the best first; those that are made last."""
        own = preprocessing_key(self.profile, crop)
        return [own] if every or not self._samples else [own, sampled_key(crop)]


class _Told:
    """Progress of a pass: pictures done, their total, and the speed."""

    def __init__(self, progress: Progress, done: int, expected: int):
        self._progress, self._expected = progress, expected
        self._done = self._begun = done
        self._began = time.monotonic()

    def __call__(self, pictures: int) -> None:
        self._done += pictures
        rate = (self._done - self._begun) / max(time.monotonic() - self._began, 1e-3)
        detail = f"pictures {self._done} of about {self._expected}, {rate:.0f} a second"
        self._progress(min(self._done / self._expected, 0.99), detail)


def preprocessing_key(profile: str, crop: str) -> str:
    """Name of a preprocessing in the key of cached features."""
    return f"{profile} {crop}, motion and its shape, 8 bits"


def sampled_key(crop: str) -> str:
    """Name of the preprocessing, "fast", of which only chosen pictures are computed."""
    return f"fast {crop}, {PER_SECOND} a second, motion and its shape, 8 bits"


def current_preprocessings() -> set[str]:
    """Preprocessings of features that may still be needed."""
    kinds = {preprocessing_key(profile, crop) for profile in PROFILES for crop in CROPS}
    return kinds | set(map(sampled_key, CROPS)) | {POSES}


def _stamp(path: str) -> tuple[int, ...]:
    """Stamp that changes with a file of the cache, which is only ever replaced, never modified."""
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _expected_pictures(info: VideoInfo) -> int:
    return max(round((info.video_seconds or info.duration_seconds) * float(info.average_rate or 25)), 1)


def _not_cached() -> npt.NDArray[Any]:
    raise MediaError("a cached array was removed while it was being read; try again")
