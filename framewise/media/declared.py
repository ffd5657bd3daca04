"""Checks of MP4 and QuickTime headers before FFmpeg reads them.

FFmpeg allocates as many index entries as a header declares: 2 KB that declare 80 million samples of 1 byte took 4.7 GB.
Other containers are indexed while they are read, so each entry takes bytes of the file.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from framewise.core.errors import MediaError

# First boxes of MP4 and QuickTime files. Files with another beginning are not checked, and must not be read as such.
FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"uuid"}
# Boxes that declare a number of samples, this many bytes after their name: ISO 14496-12, 8.7.3.2 and 8.8.8.
SAMPLE_COUNTS = {b"stsz": 12, b"trun": 8}

UNKNOWN, UNKNOWN_64 = (1 << 32) - 1, (1 << 64) - 1  # for a duration


def is_checked_mp4(path: Path) -> bool:
    """True if a file is MP4 or QuickTime. Raises MediaError for one that declares more samples than it has bytes."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 8 or file.read(8)[4:] not in FIRST_BOXES:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for start, stop in _headers(data, size):
                for name, distance in SAMPLE_COUNTS.items():
                    declared = max(_numbers(data, name, distance, start, stop), default=0)
                    if declared > size:
                        raise MediaError(
                            f"{path.name}: not a video that can be read (its header declares {declared} samples in a file of "
                            f"{size} bytes); is the upload complete?"
                        )
    return True


def has_index(path: Path) -> bool:
    """True if an MP4 or QuickTime file has the box with the positions of its pictures."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data[start + 4 : start + 8] == b"moov" for start, _ in _headers(data, len(data)))


def fragments_seconds(path: Path) -> float:
    """Seconds that the fragments of an MP4 file last all together by its header (ISO 14496-12, 8.8.2), which FFmpeg 8 does not
    look at; 0 if it does not say."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start, stop in _headers(data, len(data)):
            header, extends = data.find(b"mvhd", start, stop), data.find(b"mehd", start, stop)
            if data[start + 4 : start + 8] == b"moov" and 0 < header < stop - 32 and 0 < extends < stop - 16:
                (scale,) = struct.unpack_from(">I", data, header + (24 if data[header + 4] else 16))
                (duration,) = struct.unpack_from(">Q" if data[extends + 4] else ">I", data, extends + 8)
                unknown = duration in (UNKNOWN, UNKNOWN_64) or not scale
                return 0.0 if unknown else float(duration / scale)
    return 0.0


def _headers(data: mmap.mmap, size: int) -> Iterator[tuple[int, int]]:
    """Positions of the outermost boxes, except those that contain samples."""
    start = 0
    while start + 16 <= size:
        length, name = struct.unpack_from(">I4s", data, start)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
        if length == 0:
            length = size - start
        if name != b"mdat":
            yield start, min(start + length, size)
        start += max(length, 8)


def _numbers(data: mmap.mmap, name: bytes, distance: int, start: int, stop: int) -> Iterator[int]:
    """The 32-bit numbers ``distance`` bytes after each occurrence of ``name``."""
    at = data.find(name, start, stop)
    while at >= 0:
        if at + distance + 4 <= len(data):
            yield struct.unpack_from(">I", data, at + distance)[0]
        at = data.find(name, at + 4, stop)
