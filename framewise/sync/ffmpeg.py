"""FFmpeg of the package imageio-ffmpeg as a child process, without a shell and with access to the given files only.

File names are never interpreted: inputs are absolute paths with the prefix ``file:``, outputs have names of our own.
"""

import contextlib
import io
import os
import re
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from framewise.core.errors import FramewiseError, MediaError, StorageFull
from framewise.core.progress import ShareProgress, silent
from framewise.media.declared import is_checked_mp4
from framewise.media.orientation import Orientation
from framewise.media.video import MAX_PIXELS, MP4, OTHER_CONTAINERS
from framewise.processes import start_child, stop_child

LAST_LINES = 5  # of FFmpeg's messages, in an error
LINE_CHARS = 300
COMMON = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-progress", "pipe:1", "-n")
_PROGRESS = re.compile(r"(\w+)=\s*(\S*)")
_NO_ROOM = ("No space left on device", "Disk quota exceeded")


def program() -> str:
    """Path of FFmpeg. Raises FramewiseError if there is none."""
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        return str(get_ffmpeg_exe())
    except RuntimeError as error:
        raise FramewiseError(
            f"no FFmpeg: {error}; install imageio-ffmpeg for this system: pip install imageio-ffmpeg"
        ) from None


def reading(path: Path) -> list[str]:
    """Arguments that read one file, but none that it refers to. Raises MediaError for a file with a false header."""
    try:
        formats = MP4 if is_checked_mp4(path) else OTHER_CONTAINERS
    except OSError as error:
        raise MediaError(f"{path.name}: cannot be read: {error.strerror}") from None
    limits = ["-protocol_whitelist", "file,pipe", "-format_whitelist", formats, "-max_pixels", str(MAX_PIXELS)]
    return [*limits, "-i", f"file:{path.absolute()}"]


def turned(orientation: Orientation, may_say_itself: bool) -> list[str]:
    """Arguments, in front of those that read a file, by which its pictures are turned and mirrored so and in no other way: of
    angles that browsers pass over FFmpeg makes something of its own. may_say_itself: see ``media.video``."""
    # FFmpeg 9 ends with an error where pictures say something beside what is asked for.
    own = ["-bsf:v:0", "h264_metadata=display_orientation=remove"] if may_say_itself else []
    # FFmpeg mirrors what it has turned.
    degrees = 90 * orientation.quarter_turns * (-1 if orientation.mirrored else 1)
    return [*own, "-display_rotation:v:0", str(degrees), *(["-display_hflip:v:0"] if orientation.mirrored else [])]


def writing(path: Path) -> str:
    """Argument that writes a file."""
    return f"file:{path.absolute()}"


def run(arguments: Sequence[str], name: str, seconds: float, progress: ShareProgress = silent) -> None:
    """Run FFmpeg until it exits. It is killed if the calling thread ends or raises an exception.

    name: the file being processed, for error messages. seconds: expected length of the output.
    Raises MediaError with FFmpeg's last lines, StorageFull.
    """
    told: deque[str] = deque(maxlen=LAST_LINES)
    for line in lines_of(arguments, name, told):
        found = _PROGRESS.fullmatch(line)
        if not found:
            told.append(line)
        elif found[1] == "out_time_us" and found[2].lstrip("-").isdecimal() and seconds > 0:
            progress(min(max(int(found[2]) / 1e6 / seconds, 0.0), 1.0))
    progress(1.0)


def lines_of(arguments: Sequence[str], name: str, told: deque[str]) -> Iterator[str]:
    """Yield the lines that FFmpeg prints. told: error lines, which the caller adds. Raises like ``run``."""
    read_end, write_end = os.pipe()
    with open(read_end, encoding="utf-8", errors="replace") as output:
        with open(write_end, "wb") as log:
            command = [program(), *COMMON, *arguments]
            child = start_child(command, {"PATH": "", "LC_ALL": "C"}, log=log, death_signal=signal.SIGKILL)
        try:
            yield from _lines(output)
            status = child.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                stop_child(child)
    if status:
        raise _failed(name, status, list(told))


def _lines(output: io.TextIOBase) -> Iterator[str]:
    while line := output.readline(LINE_CHARS):
        yield "".join(c if c.isprintable() else " " for c in line).strip()


def _failed(name: str, status: int, told: list[str]) -> FramewiseError:
    said = " | ".join(told) or "it said nothing"
    if any(sign in said for sign in _NO_ROOM):
        return StorageFull(f"{name}: no room on the disk ({said}); make room there, or give another --output")
    ended = f"ended with {status}" if status > 0 else f"was ended by signal {-status}"
    return MediaError(f"{name}: FFmpeg {ended}: {said}")
