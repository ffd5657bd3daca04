"""Media types of files, determined by their contents."""

from functools import lru_cache
from pathlib import Path

from framewise.media.video import probe

# FFmpeg's names of containers -> media type.
TYPES = {
    "mov,mp4,m4a,3gp,3g2,mj2": "video/mp4",
    "matroska,webm": "video/webm",
    "ogg": "video/ogg",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "asf": "video/x-ms-asf",
}


def video_type(path: Path) -> str:
    """Media type of a video. Raises MediaError for any other file, OSError."""
    stat = path.stat()
    return _probed_type(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _probed_type(path: Path, size: int, changed: int) -> str:
    """Media type of a file, cached. size, changed: part of the key, so that a replaced file is probed again."""
    return TYPES.get(probe(path).container, "video/mp4")
