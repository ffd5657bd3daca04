"""Contents of a video file: decoded pictures with their presentation times, and how long a browser says that it is."""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from framewise.core.errors import MediaError
from framewise.media.declared import is_checked_mp4

logger = logging.getLogger(__name__)

# A file that ends this much before its header says is taken for truncated; less is the rounding of containers.
TRUNCATION_SECONDS = 1.0
TRUNCATION_SHARE = 0.02

# The containers that are read, by FFmpeg's names: those of browsers, of cameras, and of sound, to say that it is sound. FFmpeg
# knows hundreds, and some are playlists that open other files and addresses (concat, hls, dash, sdp, image2).
MP4 = "mov"  # and QuickTime, 3GP
OTHER_CONTAINERS = "matroska,ogg,avi,flv,mpegts,mpeg,asf,mp3,wav,flac,aac"
# 8K is 33 million; each picture takes 3 bytes a pixel as RGB, and a decoder keeps dozens of its own.
MAX_PIXELS = 8192 * 8192
# Pictures are resized by their short side: the long one must not become a thousand times as long as the network's input.
MAX_ASPECT = 64
LARGE_PIXELS = 4_000_000
LARGE_THREADS = 4  # each thread of a decoder keeps pictures of its own

_CLOCK = re.compile(r"(\d{1,9}):(\d{1,9}):(\d{1,9}(?:\.\d{1,18})?)", re.ASCII)


@dataclass(frozen=True)
class VideoInfo:
    """A video's header.

    codec:            of the pictures, as FFmpeg names the format ("h264", "av1"), not its decoder.
    pixel_format:     as FFmpeg names it ("yuv420p"), "" if the header does not say.
    container:        FFmpeg's name, for some a list ("mov,mp4,m4a,3gp,3g2,mj2").
    duration_seconds: what a browser reports when it has read no more than the header.
    start_seconds:    when the first of all streams starts.
    video_seconds:    the end of the video stream, 0 if the header does not say.
    """

    width: int
    height: int
    codec: str
    pixel_format: str
    container: str
    average_rate: Fraction | None
    time_base: Fraction
    duration_seconds: float
    start_seconds: float
    video_seconds: float


@dataclass(frozen=True)
class Picture:
    """A decoded picture; pts in units of the stream's time_base. ``frame`` is PyAV's, in the file's own pixel format and as it
    lies in the file."""

    pts: int
    frame: Any

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """RGB (H, W, 3), upright as a browser shows it. Converted when it is asked for: of a large picture that costs more than
        to decode it."""
        return self.upright(self.frame.to_ndarray(format="rgb24"))

    def upright(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """An image of this picture, (H, W, 3), turned as the file says that it is to be shown."""
        quarter_turns = round(self.frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image

    @property
    def lies_on_its_side(self) -> bool:
        """True if width and height of ``frame`` are height and width of what is shown."""
        return bool(round(self.frame.rotation / 90) % 2)


def probe(path: Path) -> VideoInfo:
    """Read a file's header. Raises MediaError for a file that is no video."""
    with open_container(path) as container:
        return _describe(container, path)


def decode(path: Path, from_pts: int | None = None) -> Iterator[Picture]:
    """Every picture of a file's first video stream, in order of presentation. Memory does not grow with the length.

    from_pts: begin at a key frame before this time, where the file tells of one; pictures before it may be missing or damaged.
    Raises MediaError for a file that is no video, has no picture, or ends long before its header says.
    """
    count, last_seconds, broken = 0, 0.0, 0
    with open_container(path) as container:
        info = _describe(container, path)
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        if info.width * info.height > LARGE_PIXELS:
            stream.codec_context.thread_count = LARGE_THREADS
        if from_pts is not None:
            with contextlib.suppress(av.FFmpegError):  # then it begins at the beginning
                container.seek(from_pts, stream=stream)
        last_pts: int | None = None
        for frame in decoded_frames(container, stream):
            if frame is None:
                broken += 1
                continue
            pts = frame.pts if frame.pts is not None else (0 if last_pts is None else last_pts + 1)
            if last_pts is not None and pts <= last_pts:
                continue  # shown for no time at all
            _check_size(frame.width, frame.height, path)
            last_pts, count, last_seconds = pts, count + 1, float(pts * info.time_base)
            yield Picture(pts, frame)
    if count == 0:
        raise MediaError(
            f"{path.name}: not one picture could be decoded (codec {info.codec}); is the file damaged, or are its "
            f"pictures larger than {MAX_PIXELS / 1e6:.0f} million pixels?"
        )
    if broken:
        logger.warning("%s: %d damaged parts were skipped", path.name, broken)
    missing = info.video_seconds - last_seconds
    if missing > max(TRUNCATION_SECONDS, TRUNCATION_SHARE * info.video_seconds):
        raise MediaError(
            f"{path.name}: the header says {info.video_seconds:.2f} s of video, but pictures end at {last_seconds:.2f} s; "
            "the file is truncated or damaged: upload it again"
        )


def open_container(path: Path, what: str = "a video") -> Any:
    """A file of one of the containers that are read, opened by FFmpeg. Raises MediaError."""
    try:
        return opened(path)
    except av.ArgumentError:
        reason = f"it is neither MP4 nor any of {OTHER_CONTAINERS.replace(',', ', ')}"
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    raise MediaError(f"{path.name}: not {what} that can be read ({reason}); is the upload complete?")


def opened(path: Path) -> Any:
    """FFmpeg's container of a file, of those that are read. Raises MediaError, av.FFmpegError, OSError, ValueError."""
    allowed = {"format_whitelist": MP4 if is_checked_mp4(path) else OTHER_CONTAINERS, "protocol_whitelist": "file"}
    # A relative name might begin like a protocol's.
    name, options = str(path.absolute()), {"max_pixels": str(MAX_PIXELS)}
    return av.open(name, options=options, container_options=allowed, metadata_errors="replace")


def _describe(container: Any, path: Path) -> VideoInfo:
    stream = _video_stream(container, path)
    _check_size(stream.width, stream.height, path)
    # The latest end minus the earliest start over all streams, data tracks too (FFmpeg 7 and later). Chromium 156 gave the same
    # for audio that is longer, starts late or is cut by an edit list, in mp4, mkv and webm; but see extraction for late starts.
    container_seconds = float(Fraction(container.duration, av.time_base)) if container.duration else 0.0
    # What sound may have made long says nothing of the pictures.
    video_seconds = _stream_end(stream) or (container_seconds if len(container.streams) == 1 else 0.0)
    return VideoInfo(
        width=stream.width,
        height=stream.height,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=stream.codec_context.pix_fmt or "",
        container=container.format.name,
        average_rate=stream.average_rate,
        time_base=Fraction(stream.time_base or Fraction(1, 1000)),
        duration_seconds=container_seconds or video_seconds,
        start_seconds=(container.start_time or 0) / av.time_base,
        video_seconds=video_seconds,
    )


def _video_stream(container: Any, path: Path) -> Any:
    """The first stream of pictures that follow each other. Raises MediaError if there is none that can be decoded."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise MediaError(f"{path.name}: its pictures are in a codec that FFmpeg does not know; convert it to H.264")
            return stream
    kinds = {"a cover picture" if s.type == "video" else s.type for s in container.streams} or {"nothing"}
    raise MediaError(f"{path.name}: expected a video stream, found {', '.join(sorted(kinds))}")


def _check_size(width: int, height: int, path: Path) -> None:
    """Raises MediaError for pictures that would take all memory."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_ASPECT * max(min(width, height), 1):
        raise MediaError(
            f"{path.name}: pictures of {width}x{height}; expected at most {MAX_PIXELS / 1e6:.0f} million pixels, and a side "
            f"at most {MAX_ASPECT} times the other; convert the video to a smaller size"
        )


def _stream_end(stream: Any) -> float:
    """Seconds at which a stream ends on the file's timeline, 0 if the header does not say."""
    if stream.duration and stream.time_base:
        return float((stream.duration + max(stream.start_time or 0, 0)) * stream.time_base)
    # Matroska has no durations of streams but in this tag, "00:00:20.021000000", that FFmpeg and mkvmerge write.
    parts = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    return float(sum(Fraction(part) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))) if parts else 0.0


def decoded_frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; None for a packet that could not be decoded."""
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                yield None
    except av.FFmpegError:
        yield None  # the rest of the file cannot be read: what is missing is judged by the caller
