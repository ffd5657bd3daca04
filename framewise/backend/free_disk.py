"""Reserve of free disk space for the cache: background work leaves it to requests that somebody is waiting for."""

import shutil
from pathlib import Path

from framewise.core.errors import StorageFull
from framewise.core.sizes import format_size


class FreeDisk:
    """Minimum of free space on a folder's disk. min_free_bytes: 0 for no minimum."""

    def __init__(self, folder: Path, min_free_bytes: int):
        self._folder = folder
        self._min_free_bytes = min_free_bytes

    def check(self) -> None:
        """Raise StorageFull while less is free."""
        if missing := self.missing():
            raise StorageFull(missing)

    def missing(self) -> str:
        """Message about missing space, or "" if there is enough."""
        free = shutil.disk_usage(self._folder).free
        if free >= self._min_free_bytes:
            return ""
        return (
            f"only {format_size(free)} are free on the disk of {self._folder} (CACHE_DIR), less than MIN_FREE_DISK_BYTES "
            f"({format_size(self._min_free_bytes)}); make room, and it continues"
        )
