"""What is in a video file: decoded pictures with their presentation times, and how long a browser says that it is."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError

logger = logging.getLogger(__name__)

# A file that ends this much before its header says is taken for truncated; less is the rounding of containers.
TRUNCATION_SECONDS = 1.0
TRUNCATION_SHARE = 0.02


@dataclass(frozen=True)
class VideoInfo:
    """A video's header. ``duration_seconds`` is what a browser reports when it has read no more than that, ``video_seconds``
    the end of the video stream."""

    width: int
    height: int
    codec: str
    average_rate: Fraction | None
    time_base: Fraction
    duration_seconds: float
    video_seconds: float


@dataclass(frozen=True)
class Picture:
    """A decoded picture: RGB, uint8, (H, W, 3), upright as a browser shows it; pts in units of the stream's time_base."""

    pts: int
    rgb: npt.NDArray[np.uint8]


def probe(path: Path) -> VideoInfo:
    """Read a file's header. Raises MediaError for a file that is no video."""
    with _open(path) as container:
        return _describe(container, path)


def decode(path: Path) -> Iterator[Picture]:
    """Every picture of a file's first video stream, in order of presentation. Memory does not grow with the length.

    Raises MediaError for a file that is no video, has no picture, or ends long before its header says.
    """
    count, last_seconds, broken = 0, 0.0, 0
    with _open(path) as container:
        info = _describe(container, path)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        last_pts: int | None = None
        for frame in _frames(container, stream):
            if frame is None:
                broken += 1
                continue
            pts = frame.pts if frame.pts is not None else (0 if last_pts is None else last_pts + 1)
            if last_pts is not None and pts <= last_pts:
                continue  # shown for no time at all
            last_pts, count, last_seconds = pts, count + 1, float(pts * info.time_base)
            yield Picture(pts, _upright(frame))
    if count == 0:
        raise MediaError(f"{path.name}: not one picture could be decoded (codec {info.codec}); is the file damaged?")
    if broken:
        logger.warning("%s: %d damaged parts were skipped", path.name, broken)
    missing = info.video_seconds - last_seconds
    if missing > max(TRUNCATION_SECONDS, TRUNCATION_SHARE * info.video_seconds):
        raise MediaError(
            f"{path.name}: the header says {info.video_seconds:.2f} s of video, but pictures end at {last_seconds:.2f} s; "
            "the file is truncated or damaged: upload it again"
        )


def _open(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path.name}: not a video that can be read ({reason}); is the upload complete?") from None


def _describe(container: Any, path: Path) -> VideoInfo:
    if not container.streams.video:
        kinds = sorted({s.type for s in container.streams}) or ["nothing"]
        raise MediaError(f"{path.name}: expected a video stream, found {', '.join(kinds)}")
    stream = container.streams.video[0]
    video_seconds = _stream_end(stream)
    # The latest end minus the earliest start over all streams, data tracks too (FFmpeg 7 and later). Chromium 156 gave the same
    # for audio that is longer, starts late or is cut by an edit list, in mp4, mkv and webm; but see extraction for late starts.
    container_seconds = float(Fraction(container.duration, av.time_base)) if container.duration else 0.0
    return VideoInfo(
        stream.width,
        stream.height,
        stream.codec_context.name if stream.codec_context else "unknown",
        stream.average_rate,
        Fraction(stream.time_base or Fraction(1, 1000)),
        container_seconds or video_seconds,
        video_seconds or container_seconds,
    )


def _stream_end(stream: Any) -> float:
    """Seconds at which a stream ends on the file's timeline, 0 if the header does not say."""
    if not stream.duration or not stream.time_base:
        return 0.0
    return float((stream.duration + max(stream.start_time or 0, 0)) * stream.time_base)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; None for a packet that could not be decoded."""
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                yield None
    except av.FFmpegError:
        yield None  # the rest of the file cannot be read: what is missing is judged by the caller


def _upright(frame: Any) -> npt.NDArray[np.uint8]:
    rgb: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb
