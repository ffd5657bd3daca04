"""Cached arrays of a video: memoised with joblib in chunks of pictures, stored as plain .npy files.

Keys are contents: of the file, of the weights, and how pictures were preprocessed. The labeling config's frame rate never
enters, so one cache serves every frame rate. Arrays are read with ``allow_pickle=False`` and memory-mapped.
"""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from joblib import Memory, register_store_backend
from joblib._store_backends import FileSystemStoreBackend

CHUNK_PICTURES = 1024
PARTIAL = ".part-"
STALE_SECONDS = 600.0  # an array is written in far less


class NpyStoreBackend(FileSystemStoreBackend):
    """joblib's store on disk, but with arrays as .npy where joblib writes pickles, and with errors not swallowed."""

    def load_item(self, call_id: Any, verbose: int = 1, timestamp: Any = None, metadata: Any = None) -> Any:
        return np.load(self._item_path(call_id), mmap_mode="r", allow_pickle=False)

    def dump_item(self, call_id: Any, item: Any, verbose: int = 1) -> None:
        path = Path(self._item_path(call_id))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o644)  # other users of the machine may share the cache
                _save_array(item, file)
            os.replace(temporary, path)
        except BaseException:  # on a full disk, a part of a file would take the room that is missing
            Path(temporary).unlink(missing_ok=True)
            raise

    def contains_item(self, call_id: Any) -> bool:
        # A file that cannot be read, cut by a full disk or a crash, is none: it is computed again and replaced.
        try:
            self.load_item(call_id)
        except (OSError, ValueError, EOFError):
            return False
        return True

    def _item_path(self, call_id: Any) -> str:
        return os.path.join(self.location, *call_id, "output.npy")


def _save_array(item: npt.NDArray[Any], file: IO[bytes]) -> None:
    content = io.BytesIO()
    np.save(content, item, allow_pickle=False)
    file.write(content.getbuffer())  # numpy itself would not say that it was a full disk that stopped it
    file.flush()
    os.fsync(file.fileno())


def _remove_stale(folder: Path) -> None:
    """Remove what writers left behind that were killed."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                partial.unlink()


# joblib takes a change of a memoised function's source for a change of its results, and empties its cache. So these two do
# nothing but call, and should be left as they are.
def features_chunk(content: str, backbone: str, preprocessing: str, chunk: int, compute: Callable[[], Any]) -> Any:
    """Features (C, D) float32 of the pictures of one chunk."""
    return compute()


def picture_times(content: str, compute: Callable[[], Any]) -> Any:
    """When the pictures of a video are shown: see ``extraction.Timeline``."""
    return compute()


class FeatureCache:
    """Chunks of features and times of pictures, below ``folder``."""

    def __init__(self, folder: Path):
        register_store_backend("framewise-npy", NpyStoreBackend)
        self.folder = folder
        memory = Memory(str(folder), backend="framewise-npy", verbose=0)
        self._chunk = memory.cache(features_chunk, ignore=["compute"])
        self._times = memory.cache(picture_times, ignore=["compute"])

    def chunk(self, key: tuple[str, str, str], chunk: int, compute: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Chunk number ``chunk`` of ``key`` (content, backbone, preprocessing), computed if it is not there."""
        result: npt.NDArray[Any] = self._chunk(*key, chunk, compute)
        return result

    def has_chunk(self, key: tuple[str, str, str], chunk: int) -> bool:
        return bool(self._chunk.check_call_in_cache(*key, chunk, None))

    def times(self, content: str, compute: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        result: npt.NDArray[Any] = self._times(content, compute)
        return result

    def has_times(self, content: str) -> bool:
        return bool(self._times.check_call_in_cache(content, None))
