"""Contents of a video file: decoded pictures with presentation times, and the duration that browsers report."""

import collections
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
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition

from framewise.core.errors import MediaError
from framewise.media.cures import SUFFIXES, about_no_medium, copying
from framewise.media.declared import fragments_seconds, is_checked_mp4
from framewise.media.orientation import AS_IT_LIES, Orientation, matrix_of, orientation_of
from framewise.media.whole import is_whole

logger = logging.getLogger(__name__)

# A file that ends this much before the end in its header counts as truncated; containers round smaller differences.
TRUNCATION_SECONDS = 1.0
TRUNCATION_SHARE = 0.02

# Supported containers, by FFmpeg's names: those of browsers and cameras, and those of sound, to report that a file is sound.
# FFmpeg knows hundreds; some are playlists that open other files and addresses (concat, hls, dash, sdp, image2).
MP4 = "mov"  # and QuickTime, 3GP
OTHER_CONTAINERS = "matroska,ogg,avi,flv,mpegts,mpeg,asf,mp3,wav,flac,aac"
# 8K has 33 million; a picture takes 3 bytes per pixel as RGB, and a decoder keeps dozens of pictures.
MAX_PIXELS = 8192 * 8192
# Pictures are resized by their short side, so the long one must be limited as well.
MAX_ASPECT = 64
LARGE_PIXELS = 4_000_000
LARGE_THREADS = 4  # each thread of a decoder keeps its own pictures

_CLOCK = re.compile(r"(\d{1,9}):(\d{1,9}):(\d{1,9}(?:\.\d{1,18})?)", re.ASCII)


@dataclass(frozen=True)
class VideoInfo:
    """A video's header.

    codec:            FFmpeg's name of the pictures' format ("h264", "av1"), not of its decoder.
    pixel_format:     FFmpeg's name ("yuv420p"), "" if not in the header.
    container:        FFmpeg's name, for some a list ("mov,mp4,m4a,3gp,3g2,mj2").
    duration_seconds: duration that a browser reports when it has read only the header.
    start_seconds:    start of the earliest stream.
    video_seconds:    end of the video stream, 0 if not in the header.
    sound:            FFmpeg's name of the sound's codec ("aac", "pcm_s16le"), "" without sound.
    own_times:        False if pictures are stored in another order than shown, without times (B-frames in AVI).
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
    sound: str = ""
    own_times: bool = True


@dataclass(frozen=True)
class Picture:
    """A decoded picture. pts: in units of the stream's time_base. frame: PyAV's, in the file's own pixel format and
    orientation."""

    pts: int
    frame: Any
    orientation: Orientation = AS_IT_LIES

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """RGB (H, W, 3) as shown by browsers. Converted on request: for large pictures, that costs more than decoding."""
        return self.upright(self.frame.to_ndarray(format="rgb24"))

    def upright(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn and mirror an image of this picture, (H, W) or (H, W, 3), as the file requests."""
        return self.orientation.upright(image)

    @property
    def lies_on_its_side(self) -> bool:
        """True if width and height of ``frame`` are exchanged in the shown picture."""
        return self.orientation.lies_on_its_side


@dataclass
class Losses:
    """Counts of what decoding left out. without_time: pictures whose time is not later than the previous one's, so that they
    are never shown. damaged: parts that could not be decoded."""

    without_time: int = 0
    damaged: int = 0


def probe(path: Path) -> VideoInfo:
    """Read a file's header. Raises MediaError if it is not a video."""
    with open_container(path) as container:
        return _describe(container, path)


def is_read_anew(path: Path) -> bool:
    """True if pictures or times of a file differ from those of early versions of framewise, which supported only quarter turns
    and kept the order of decoding. Raises MediaError."""
    if not probe(path).own_times:
        return True
    first = next(decode(path))
    return first.orientation != Orientation(round(first.frame.rotation / 90) % 4)


def shown_orientation(path: Path) -> Orientation:
    """Orientation in which browsers show a file's pictures. Raises MediaError."""
    return next(decode(path)).orientation


def may_say_orientation_itself(path: Path) -> bool:
    """True if an H.264 file's pictures may say themselves how to turn them, which browsers leave alone. Raises MediaError."""
    return probe(path).codec == "h264" and matrix_of(next(decode(path)).frame) is not None


def decode(path: Path, from_pts: int | None = None, losses: Losses | None = None) -> Iterator[Picture]:
    """Yield the pictures of a file's first video stream in order of presentation. Memory does not depend on the length.

    from_pts: begin at a key frame before this time, if the file has an index; pictures before it may be missing or damaged.
    losses:   counts what is left out.
    Raises MediaError for a file that is not a video, has no picture, or ends long before the end in its header.
    """
    losses = losses if losses is not None else Losses()
    count, end_seconds, step = 0, 0.0, 0
    with open_container(path) as container:
        info = _describe(container, path)
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        if info.width * info.height > LARGE_PIXELS:
            stream.codec_context.thread_count = LARGE_THREADS
        if from_pts is not None:
            with contextlib.suppress(av.FFmpegError):  # then decoding begins at the start
                container.seek(from_pts, stream=stream)
        orientation, frames = AS_IT_LIES, decoded_frames if info.own_times else _frames_in_order
        last_pts: int | None = None
        for frame in frames(container, stream):
            if frame is None:
                losses.damaged += 1
                continue
            pts = frame.pts if frame.pts is not None else (0 if last_pts is None else last_pts + 1)
            if last_pts is not None:
                step = pts - last_pts
                if step <= 0:
                    losses.without_time += 1
                    continue
            else:
                orientation = _orientation(frame, info, path)
            _check_size(frame.width, frame.height, path)
            # If pictures are reordered, the one that ends last need not be the last decoded one.
            end_seconds = max(end_seconds, float((pts + (frame.duration or step)) * info.time_base))
            last_pts, count = pts, count + 1
            yield Picture(pts, frame, orientation)
    if count == 0:
        raise MediaError(
            f"{path.name}: not one picture could be decoded (codec {info.codec}); is the file damaged, or are its "
            f"pictures larger than {MAX_PIXELS / 1e6:.0f} million pixels? Take another copy of it, or make them smaller"
        )
    if losses.damaged or losses.without_time:
        logger.warning(
            "%s: %d damaged parts were skipped, %d pictures without a time of their own left out",
            *(path.name, losses.damaged, losses.without_time),
        )
    _check_end(path, info, end_seconds, losses)


def _check_end(path: Path, info: VideoInfo, end_seconds: float, losses: Losses) -> None:
    """Raises MediaError for a file whose pictures end at ``end_seconds``, long before its header says."""
    declared = info.video_seconds
    missing = declared - end_seconds
    if MP4 in info.container.split(",") and (all_fragments := fragments_seconds(path)):
        # Sound and pictures may end at different times, and all that is there is as long as the longer of them.
        reached = max(info.duration_seconds, end_seconds - info.start_seconds)
        if all_fragments - reached > missing:
            declared, missing = all_fragments, all_fragments - reached
    if missing > max(TRUNCATION_SECONDS, TRUNCATION_SHARE * declared) and (
        losses.damaged or not is_whole(path, info.container)
    ):
        raise MediaError(
            f"{path.name}: the header says {declared:.2f} s of video, but pictures end at {end_seconds:.2f} s; "
            "the file is truncated or damaged: upload it again; if its original ends there too, write what there is anew: "
            + copying(path.name, path.suffix or SUFFIXES.get(info.container, ".mkv"))
        )


def open_container(path: Path, what: str = "a video") -> Any:
    """Context with a file of a supported container, opened by FFmpeg. Raises MediaError."""
    try:
        return opened(path)
    except av.ArgumentError:
        reason = f"it is neither MP4 nor any of {OTHER_CONTAINERS.replace(',', ', ')}"
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    with contextlib.suppress(OSError):
        raise MediaError(f"{path.name}: not {what} that can be read ({about_no_medium(path, what, reason)}")
    raise MediaError(f"{path.name}: not {what} that can be read ({reason})")


def opened(path: Path) -> Any:
    """Open a file of a supported container. Raises MediaError, av.FFmpegError, OSError, ValueError."""
    allowed = {"format_whitelist": MP4 if is_checked_mp4(path) else OTHER_CONTAINERS, "protocol_whitelist": "file"}
    # A relative name could begin like a protocol.
    name, options = str(path.absolute()), {"max_pixels": str(MAX_PIXELS)}
    return av.open(name, options=options, container_options=allowed, metadata_errors="replace")


def _describe(container: Any, path: Path) -> VideoInfo:
    stream = _video_stream(container, path)
    _check_size(stream.width, stream.height, path)
    # The latest end minus the earliest start over all streams, data tracks too (FFmpeg 7 and later). Chromium 156 gave the same
    # for audio that is longer, starts late or is cut by an edit list, in mp4, mkv and webm; but see extraction for late starts.
    container_seconds = float(Fraction(container.duration, av.time_base)) if container.duration else 0.0
    # A duration that may come from the sound does not tell where the pictures end.
    video_seconds = _stream_end(stream) or (container_seconds if len(container.streams) == 1 else 0.0)
    codec = stream.codec_context.codec.canonical_name
    return VideoInfo(
        width=stream.width,
        height=stream.height,
        codec=codec,
        pixel_format=stream.codec_context.pix_fmt or "",
        container=container.format.name,
        average_rate=stream.average_rate,
        time_base=Fraction(stream.time_base or Fraction(1, 1000)),
        duration_seconds=container_seconds or video_seconds,
        start_seconds=(container.start_time or 0) / av.time_base,
        video_seconds=video_seconds,
        sound=next((s.codec_context.codec.canonical_name for s in container.streams.audio if s.codec_context), ""),
        # FFmpeg detects B-frames of H.264 late, or not at all.
        own_times=container.format.name != "avi" or not (codec == "h264" or stream.codec_context.has_b_frames),
    )


def _video_stream(container: Any, path: Path) -> Any:
    """First stream of moving pictures. Raises MediaError if there is none that can be decoded."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise MediaError(
                    f"{path.name}: its pictures are in a codec that FFmpeg does not know; convert it to H.264 with "
                    "the program of its camera, or the one that wrote it"
                )
            return stream
    kinds = {"a cover picture" if s.type == "video" else s.type for s in container.streams} or {"nothing"}
    raise MediaError(f"{path.name}: expected a video stream, found {', '.join(sorted(kinds))}")


def _check_size(width: int, height: int, path: Path) -> None:
    """Raises MediaError for pictures that would need too much memory."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_ASPECT * max(min(width, height), 1):
        raise MediaError(
            f"{path.name}: pictures of {width}x{height}; expected at most {MAX_PIXELS / 1e6:.0f} million pixels, and a side "
            f"at most {MAX_ASPECT} times the other; convert the video to a smaller size"
        )


def _stream_end(stream: Any) -> float:
    """End of a stream in seconds on the file's timeline, 0 if not in the header."""
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    # Matroska has durations of streams only in this tag, "00:00:20.021000000", written by FFmpeg and mkvmerge.
    parts = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    return float(sum(Fraction(part) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))) if parts else 0.0


def _orientation(frame: Any, info: VideoInfo, path: Path) -> Orientation:
    """Orientation of a file's pictures. frame: one of them."""
    matrix = matrix_of(frame)
    if matrix is not None and info.codec == "h264":
        with contextlib.suppress(av.FFmpegError):
            matrix = _matrix_of_container(path)
    return AS_IT_LIES if matrix is None else orientation_of(matrix)


def _matrix_of_container(path: Path) -> tuple[int, ...] | None:
    """Display matrix in the container of an H.264 file, without that in its pictures (SEI), which browsers ignore."""
    with open_container(path) as container:
        stream = _video_stream(container, path)
        without_sei = BitStreamFilterContext("filter_units=remove_types=6", stream)
        for packet in container.demux(stream):
            for part in without_sei.filter(packet) if packet.size else [None]:
                for frame in stream.decode(part):
                    return matrix_of(frame)
    return None


def _frames_in_order(container: Any, stream: Any) -> Iterator[Any]:
    """Yield decoded frames of a file without presentation times; None for a packet that could not be decoded.

    FFmpeg substitutes the times of decoding, but B-frames are decoded in another order. Therefore the first shown picture gets
    the time of the first packet, and so on.
    """
    times: collections.deque[int] = collections.deque()
    try:
        for packet in container.demux(stream):
            if packet.dts is not None:
                times.append(packet.dts)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                if packet.dts is not None:
                    times.pop()
                yield None
                continue
            for frame in frames:
                frame.pts = times.popleft() if times else None
                yield frame
    except av.FFmpegError:
        yield None


def decoded_frames(container: Any, stream: Any) -> Iterator[Any]:
    """Yield decoded frames; None for a packet that could not be decoded."""
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                yield None
    except av.FFmpegError:
        yield None  # the rest of the file cannot be read; the caller decides whether too much is missing
