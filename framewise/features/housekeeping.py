"""Contents of the cache, and eviction of whole videos, least recently used first.

A video without one of its chunks is useless, so all of its chunks are removed together. What is in use stays: see
``FeatureCache.hold``. A video that was partly removed, because the process was killed, simply counts as uncached.
"""

import ast
import contextlib
import json
import logging
import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from framewise.core.sizes import format_size
from framewise.core.storage import PARTIAL, acquire, is_locked, locked
from framewise.features.cache import (
    ABOUT,
    ARRAY,
    CHUNK_PICTURES,
    NO_BACKBONES,
    STALE_SECONDS,
    FeatureCache,
    Key,
    open_array,
)

logger = logging.getLogger(__name__)

CUT_OFF_SECONDS = 3600.0  # an extraction unused for this long is no longer running

# Kinds of leftovers, as shown to users.
OTHER_WEIGHTS = "features of backbones that were removed"
OTHER_PREPROCESSING = "features of earlier preprocessings"
CUT_OFF = "features of incompletely extracted videos"
LONE_TIMES = "picture times without features"
PARTS = "parts of files"
OTHER_FORMATS = "caches of other programs"


@dataclass(frozen=True)
class _Item:
    """A folder that joblib keeps for one call: the call's arguments, bytes, and the time when its array was written."""

    folder: Path
    arguments: dict[str, object]
    size: int
    written: float


@dataclass(frozen=True)
class CachedVideo:
    """Features of one content by one backbone and preprocessing. chunks: their folders, by number. last_use: Unix time."""

    key: Key
    chunks: dict[int, Path]
    size: int
    last_use: float


@dataclass
class Stock:
    """Contents of the cache: videos, least recently used first, and the times of pictures, by content."""

    videos: list[CachedVideo]
    times: dict[str, _Item]

    @property
    def size(self) -> int:
        return sum(video.size for video in self.videos) + sum(item.size for item in self.times.values())


@dataclass
class Shrunk:
    """Result of shrinking: removed videos, their bytes, and the bytes that remain."""

    videos: int
    freed: int
    left: int


@dataclass(frozen=True)
class Leftover:
    """Leftover that will not be needed: features of a video, or a file or folder."""

    kind: str
    size: int
    what: CachedVideo | Path


class Housekeeper:
    """Inspects a cache and removes from it. It remembers what it has read, so repeated calls are cheap."""

    def __init__(self, cache: FeatureCache):
        self._cache = cache
        self._items: dict[Path, dict[str, _Item]] = {}  # by the function's folder, by name

    # Listing.

    def stock(self) -> Stock:
        """All features in the cache, including those of incompletely extracted videos."""
        chunks: dict[Key, dict[int, _Item]] = defaultdict(dict)
        for item in self._items_in(self._cache.chunk_items()):
            content, backbone, preprocessing, number = (
                str(item.arguments.get(name)) for name in ("content", "backbone", "preprocessing", "chunk")
            )
            chunks[content, backbone, preprocessing][int(number)] = item
        videos = [self._video(key, items) for key, items in chunks.items()]
        times = {str(item.arguments.get("content")): item for item in self._items_in(self._cache.times_items())}
        return Stock(sorted(videos, key=lambda video: video.last_use), times)

    def is_in_use(self, key: Key) -> bool:
        """True if a video's features are being read or written."""
        return is_locked(self._cache.use_file(key))

    def leftovers(self, backbones: Iterable[str], preprocessings: Iterable[str]) -> list[Leftover]:
        """List leftovers; never what is in use. backbones: contents of all existing ones."""
        stock, weights, known = self.stock(), set(backbones), set(preprocessings)
        found = []
        for video in stock.videos:
            kind = _kind(video, stock, weights, known)
            if kind and not self.is_in_use(video.key):
                found.append(Leftover(kind, video.size, video))
        for content, item in stock.times.items():
            if _is_older(item.folder / ARRAY, CUT_OFF_SECONDS) and not self._is_needed(content, stock.videos):
                found.append(Leftover(LONE_TIMES, item.size, item.folder))
        found += [Leftover(PARTS, _bytes_below(path), path) for path in self._parts()]
        return found + [Leftover(OTHER_FORMATS, _bytes_below(path), path) for path in self._other_formats()]

    # Removing.

    def shrink(self, max_bytes: int) -> Shrunk:
        """Remove videos, least recently used first, until at most ``max_bytes`` are left or the others are in use."""
        with locked(self._cache.folder):  # otherwise two at once would each free all of the space
            stock = self.stock()
            done = Shrunk(0, 0, stock.size)
            for video in list(stock.videos):
                if done.left <= max_bytes:
                    break
                freed = self._remove(video, stock)
                done.videos, done.freed, done.left = done.videos + (freed > 0), done.freed + freed, done.left - freed
        if done.videos:
            logger.info("evicted features of %d videos: %s; %s remain", done.videos, *map(format_size, (done.freed, done.left)))
        if done.left > max_bytes:
            sizes = map(format_size, (done.left, max_bytes))
            logger.warning("the cache has %s, more than its limit of %s; the rest is in use, or cannot be removed", *sizes)
        return done

    def remove(self, leftovers: Iterable[Leftover]) -> int:
        """Remove leftovers, except what is in use by now; returns the freed bytes."""
        freed = 0
        with locked(self._cache.folder):
            stock = self.stock()
            for leftover in leftovers:
                if isinstance(leftover.what, CachedVideo):
                    freed += self._remove(leftover.what, stock)
                elif _could_remove(leftover.what):
                    freed += leftover.size
            self._remove_idle_locks(stock)
        return freed

    def _remove(self, video: CachedVideo, stock: Stock) -> int:
        """Remove a video's features, and its picture times if nothing else needs them; returns the bytes, 0 if it is in use."""
        content, own = video.key[0], self._cache.use_file(video.key)
        try:
            with self._unused(own):
                if not all(_could_remove(video.chunks[number]) for number in sorted(video.chunks, reverse=True)):
                    return 0
                stock.videos.remove(video)
                times = stock.times.get(content)
                # Still locked: otherwise a process extracting this video could have its times removed while it writes them.
                if times is None or self._is_needed(content, stock.videos, own) or not _could_remove(times.folder):
                    return video.size
                return video.size + times.size
        except BlockingIOError:
            return 0
        except OSError as error:
            logger.warning("the cache's file %s cannot be used: %s", own, error)
            return 0

    @contextlib.contextmanager
    def _unused(self, path: Path) -> Iterator[None]:
        """Context in which a video is unused, and whoever needs it waits; its use file is removed afterwards. Raises
        BlockingIOError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = acquire(path, wait=False)
        try:
            yield
            path.unlink()
        finally:
            os.close(handle)

    def _remove_idle_locks(self, stock: Stock) -> None:
        """Remove unlocked lock files, except those that record a video's use."""
        used = {self._cache.use_file(video.key) for video in stock.videos}
        for path in (set(self._cache.folder.glob("use/*.lock")) | set(self._cache.folder.glob("locks/*.lock"))) - used:
            with contextlib.suppress(OSError), self._unused(path):
                pass

    # Reading.

    def _items_in(self, folder: Path) -> list[_Item]:
        """Items of a memoised function, except those being written or removed."""
        before, found = self._items.get(folder, {}), {}
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                item = before.get(entry.name) or (_read_item(Path(entry.path)) if entry.is_dir() else None)
                if item:
                    found[entry.name] = item
        self._items[folder] = found
        return list(found.values())

    def _video(self, key: Key, items: dict[int, _Item]) -> CachedVideo:
        try:
            last_use = self._cache.use_file(key).stat().st_mtime
        except OSError:
            last_use = max(item.written for item in items.values())
        folders = {number: item.folder for number, item in items.items()}
        return CachedVideo(key, folders, sum(item.size for item in items.values()), last_use)

    def _is_needed(self, content: str, videos: Iterable[CachedVideo], own: Path | None = None) -> bool:
        """True if there are, or soon will be, features that need a video's picture times. own: a lock that the caller itself
        holds."""
        locks = set(self._cache.folder.glob(f"use/{self._cache.name_of(content)}-*")) - {own}
        return any(is_locked(path) for path in locks) or any(video.key[0] == content for video in videos)

    def _parts(self) -> Iterator[Path]:
        """Leftovers of killed writers: files under temporary names, and arrays without a record of their call."""
        for folder, _, files in os.walk(self._cache.folder / "joblib"):
            temporary = [name for name in files if name.startswith((PARTIAL, f"{ABOUT}.", "func_code.py."))]
            old = [path for name in temporary if _is_older(path := Path(folder, name), STALE_SECONDS)]
            yield from (path for path in old if not is_locked(path))  # the clock may have been set forward
        for items in (self._cache.chunk_items(), self._cache.times_items()):
            for path in items.glob("*/"):
                if _read_item(path) is None and _is_older(path, STALE_SECONDS):
                    yield path

    def _other_formats(self) -> Iterator[Path]:
        """Folders of functions that this program does not have."""
        own = {self._cache.chunk_items(), self._cache.times_items()}
        above = {parent for path in own for parent in path.parents}
        for folder, subfolders, _ in os.walk(self._cache.folder / "joblib"):
            paths = [Path(folder, name) for name in subfolders]
            subfolders[:] = [path.name for path in paths if path in above]
            yield from (path for path in paths if path not in own | above)


def _kind(video: CachedVideo, stock: Stock, weights: set[str], preprocessings: set[str]) -> str:
    """Kind of leftover of a video's features; "" if they are needed."""
    _, backbone, preprocessing = video.key
    if backbone in NO_BACKBONES:
        return ""
    if backbone not in weights:
        return OTHER_WEIGHTS
    if preprocessing not in preprocessings:
        return OTHER_PREPROCESSING
    is_old = time.time() - video.last_use > CUT_OFF_SECONDS
    return CUT_OFF if is_old and not _is_whole(video, stock.times.get(video.key[0])) else ""


def _is_whole(video: CachedVideo, times: _Item | None) -> bool:
    """True if all chunks of a video and its picture times are cached."""
    try:
        pictures = open_array(str(times.folder / ARRAY)).dtype["pts"].shape[0] if times else 0
    except (OSError, ValueError, EOFError, KeyError):
        return False
    return pictures > 0 and set(range(math.ceil(pictures / CHUNK_PICTURES))) <= video.chunks.keys()


def _read_item(folder: Path) -> _Item | None:
    """Contents of a joblib folder; None if unreadable."""
    try:
        about, array = (folder / ABOUT).read_bytes(), (folder / ARRAY).stat()
        arguments = {name: ast.literal_eval(text) for name, text in json.loads(about)["input_args"].items()}
        if "chunk" in arguments:
            int(arguments["chunk"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError):
        return None
    return _Item(folder, arguments, array.st_size + len(about), array.st_mtime)


def _could_remove(path: Path) -> bool:
    """Remove a file or folder; of an item, the array first, without which it does not count. Another user's file stays, and so
    does a folder in which somebody is writing: it can be removed another time."""
    try:
        if path.is_dir() and not path.is_symlink():
            (path / ARRAY).unlink(missing_ok=True)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed from the cache: %s", path, error)
        return False
    return True


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except OSError:
        return False


def _bytes_below(path: Path) -> int:
    files = [path] if path.is_file() else [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    size = 0
    for file in files:
        with contextlib.suppress(OSError):
            size += file.lstat().st_size
    return size
