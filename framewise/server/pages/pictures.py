"""Small pictures of videos: decoded on demand, a few at a time, and cached up to a limit."""

import threading
from collections.abc import Callable

from cachetools import LRUCache
from werkzeug.exceptions import ServiceUnavailable

KEPT_BYTES = 32_000_000  # per web process
AT_WORK, WAITING = 2, 2  # threads of a process that may decode; the others answer other requests
WAIT_SECONDS = 5.0


class Pictures:
    """JPEG files by key."""

    def __init__(self) -> None:
        self._kept: LRUCache[object, bytes] = LRUCache(KEPT_BYTES, getsizeof=len)
        self._lock = threading.Lock()
        self._work = threading.BoundedSemaphore(AT_WORK)
        self._doors = threading.BoundedSemaphore(AT_WORK + WAITING)

    def get(self, key: object, make: Callable[[], bytes]) -> bytes:
        """Picture of a key, made if it is not cached. Raises ServiceUnavailable while too many are being made, and errors of
        ``make``."""
        with self._lock:
            known = self._kept.get(key)
        if known is not None:
            return known
        if not self._doors.acquire(blocking=False):
            raise ServiceUnavailable("too many pictures are being rendered; try again in a second", retry_after=1)
        try:
            if not self._work.acquire(timeout=WAIT_SECONDS):
                raise ServiceUnavailable("too many pictures are being rendered; try again in a second", retry_after=1)
            try:
                made = make()
            finally:
                self._work.release()
        finally:
            self._doors.release()
        with self._lock:
            if len(made) < KEPT_BYTES:
                self._kept[key] = made
        return made
