"""Cached arrays of a video: memoised with joblib in chunks of pictures, stored as plain .npy files.

Keys are contents: of the file, of the weights, and the preprocessing. The labeling config's frame rate is not part of them, so
one cache serves every frame rate. Arrays are read with ``allow_pickle=False`` and memory-mapped.

Each video has a small file in ``use/``. A process that reads or writes its features holds a lock on it, which the system
releases when the process dies; its modification time is the last use. ``housekeeping`` removes only what is not locked.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Memory, register_store_backend
from joblib._store_backends import FileSystemStoreBackend

from framewise.core.media_kinds import MEDIA
from framewise.core.storage import PARTIAL, acquire, is_locked, locked, written_atomically

CHUNK_PICTURES = 1024
STALE_SECONDS = 600.0  # writing an array takes far less
USE_NOTED_SECONDS = 60.0  # a video's last use is updated at most this often
CONTENT_CHARS = 32  # of a content's hash, at the beginning of the names of its video's files
ARRAY, ABOUT = "output.npy", "metadata.json"
CHECKSUM = "crc32"  # of an array's file, in its metadata
CHECKSUM_BYTES = 1 << 20  # read at once

logger = logging.getLogger(__name__)

Key = tuple[str, str, str]  # contents of the file and of the weights, and the preprocessing


class NpyStoreBackend(FileSystemStoreBackend):
    """joblib's store on disk, but with arrays as .npy instead of pickles, and with errors raised."""

    def load_item(self, call_id: Any, verbose: int = 1, timestamp: Any = None, metadata: Any = None) -> Any:
        return open_array(self._item_path(call_id))

    def dump_item(self, call_id: Any, item: Any, verbose: int = 1) -> None:
        path, content = self._item_path(call_id), _as_npy(item)
        _replace(Path(path), content)
        self._written[path] = zlib.crc32(content)

    def store_metadata(self, call_id: Any, metadata: Any) -> None:
        # Records the call of an array, and its checksum. joblib's own version ignores a full disk.
        path = self._item_path(call_id)
        told = {**metadata, CHECKSUM: self._written.pop(path)}
        _replace(Path(path).with_name(ABOUT), json.dumps(told).encode())

    def contains_item(self, call_id: Any) -> bool:
        # A file that cannot be read, truncated by a full disk or a crash, counts as missing: it is computed again and replaced.
        # So does a file whose writer was killed before it recorded the call, and one that is not as it was written.
        try:
            if not self._is_whole(Path(self._item_path(call_id))):
                return False
            self.load_item(call_id)
        except Exception:  # whatever numpy makes of a damaged header
            return False
        return True

    def _is_whole(self, path: Path) -> bool:
        """True if an array is as it was written; checked once in a process as long as its files stay the same. Raises OSError,
        ValueError."""
        told = path.with_name(ABOUT).stat()
        stat = path.stat()
        state = (stat.st_mtime_ns, stat.st_size, told.st_mtime_ns)
        if self._whole.get(path) == state:
            return True
        if not is_as_written(path):
            logger.warning("cached features in %s are damaged; they are made again", path.parent)
            return False
        self._whole[path] = state
        return True

    @cached_property
    def _written(self) -> dict[str, int]:
        """Path of an array -> its checksum, until that is recorded."""
        return {}

    @cached_property
    def _whole(self) -> dict[Path, tuple[int, int, int]]:
        """Path of an array -> times and size of its files when it was found to be whole."""
        return {}

    def _item_path(self, call_id: Any) -> str:
        return os.path.join(self.location, *call_id, ARRAY)


# numpy reads a header by ``ast.literal_eval``, which in CPython 3.11 sometimes fails if two threads are in it ("AST constructor
# recursion depth mismatch": https://github.com/python/cpython/issues/106905).
_opening = threading.Lock()


def open_array(path: str) -> Any:
    """An array of the cache, memory-mapped. Raises OSError, ValueError, EOFError."""
    with _opening:
        return np.load(path, mmap_mode="r", allow_pickle=False)


def is_as_written(path: Path) -> bool:
    """True if an array of the cache has the checksum that was recorded; arrays of earlier versions have none. Raises OSError,
    ValueError."""
    expected = json.loads(path.with_name(ABOUT).read_bytes()).get(CHECKSUM)
    if expected is None:
        return True
    found = 0
    with path.open("rb") as file:
        while block := file.read(CHECKSUM_BYTES):
            found = zlib.crc32(block, found)
    return bool(found == expected)


def _as_npy(item: npt.NDArray[Any]) -> memoryview:
    content = io.BytesIO()
    np.save(content, item, allow_pickle=False)
    return content.getbuffer()  # numpy itself would not report that the disk was full


def _replace(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent)
    with contextlib.ExitStack() as until_renamed, written_atomically(path) as part:
        until_renamed.enter_context(locked(part))
        part.write_bytes(content)
        part.chmod(0o644)  # other users of the machine may share the cache


def _remove_stale(folder: Path) -> None:
    """Remove leftovers of killed writers."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):
            old = time.time() - partial.stat().st_mtime > STALE_SECONDS
            if old and not is_locked(partial):  # the clock may have been set forward while it is written
                partial.unlink()


# joblib empties its cache when a memoised function's source changes. So these two only call, and must never be changed, not
# even in a comment: otherwise all users lose their cached features.
def features_chunk(content: str, backbone: str, preprocessing: str, chunk: int, compute: Callable[[], Any]) -> Any:
    """Features (C, D) float32 of the pictures of one chunk."""
    return compute()


def picture_times(content: str, compute: Callable[[], Any]) -> Any:
    """When the pictures of a video are shown: see ``extraction.Timeline``."""
    return compute()


# In a key, in place of the backbone's content, for media that are cached as they were read.
NO_BACKBONES = frozenset(kind.cached_as for kind in MEDIA.values() if kind.cached_as)


class Hold:
    """Hold on a video's features: they are not removed while it lives. Released with its last reference, or by ``release``."""

    def __init__(self, handle: int | None):
        self.release: Callable[[], object] = weakref.finalize(self, os.close, handle) if handle is not None else lambda: None


class FeatureCache:
    """Chunks of features and times of pictures, below ``folder``."""

    def __init__(self, folder: Path):
        register_store_backend("framewise-npy", NpyStoreBackend)
        self.folder = folder
        memory = Memory(str(folder), backend="framewise-npy", verbose=0)
        self._chunk = memory.cache(features_chunk, ignore=["compute"])
        self._times = memory.cache(picture_times, ignore=["compute"])

    def chunk(self, key: Key, chunk: int, compute: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Chunk number ``chunk`` of ``key`` (content, backbone, preprocessing), computed if it is missing."""
        result: npt.NDArray[Any] = self._chunk(*key, chunk, compute)
        return result

    def has_chunk(self, key: Key, chunk: int) -> bool:
        return bool(self._chunk.check_call_in_cache(*key, chunk, None))

    def times(self, content: str, compute: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        result: npt.NDArray[Any] = self._times(content, compute)
        return result

    def has_times(self, content: str) -> bool:
        return bool(self._times.check_call_in_cache(content, None))

    def hold(self, key: Key) -> Hold:
        """Protect the features of a video, existing and future ones, from being removed, and record their use. Waits while they
        are being removed."""
        try:
            path = self.use_file(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = acquire(path, shared=True)
        except OSError:
            # No room for another file, or a read-only cache: open arrays can be read to their end anyway.
            return Hold(None)
        hold = Hold(handle)
        with contextlib.suppress(OSError):  # owned by another user
            if time.time() - os.fstat(handle).st_mtime > USE_NOTED_SECONDS:
                os.utime(handle)
        return hold

    def making(self, content: str, *what: str) -> AbstractContextManager[int]:
        """Lock to hold while features of a content are looked up and, if they are missing, computed."""
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return locked(folder / f"{'-'.join((content[:CONTENT_CHARS], *what))}.lock")

    def use_file(self, key: Key) -> Path:
        """File that records a video's use. Its name begins with that of the content, for all weights and preprocessings."""
        other = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
        return self.folder / "use" / f"{self.name_of(key[0])}-{other}.lock"

    @staticmethod
    def name_of(content: str) -> str:
        return hashlib.sha256(content.encode()).hexdigest()[:CONTENT_CHARS]

    def chunk_items(self) -> Path:
        """Folder that contains a folder for each chunk of features."""
        return self._items(self._chunk)

    def times_items(self) -> Path:
        return self._items(self._times)

    def _items(self, function: Any) -> Path:
        return Path(function.store_backend.location, function.func_id)
