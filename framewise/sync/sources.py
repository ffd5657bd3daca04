"""Properties of recordings' files that synchronization needs: sound, pictures, and whether their frame rate is constant.

Seconds are those of the file's own timeline, as browsers play it: a late first picture stays late.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from framewise.core.errors import MediaError, RequestError
from framewise.media.video import opened
from framewise.sync.manifest import Recording

# Nominal frame rates of cameras; a variable rate is rounded to the nearest.
USUAL_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 60, 120, 240)) + tuple(
    Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)
)
NEAR = 0.05
MAX_LATE_SECONDS = 60.0  # some containers start at the time of day
MILLISECOND = 0.001  # time unit of Matroska and others


@dataclass(frozen=True)
class PictureStream:
    """Picture track of a recording. frames: number of frames shown. rate: frames per second; the nearest usual one if the rate
    is not ``constant``. start_seconds: start of the first frame. stop_seconds: end of the last."""

    codec: str
    frames: int
    rate: Fraction
    constant: bool
    start_seconds: float
    stop_seconds: float


@dataclass(frozen=True)
class RecordedFile:
    """A recording's file. seconds: length of the longer of pictures and sound. sample_rate: Hz, None without sound."""

    path: Path
    seconds: float
    pictures: PictureStream | None
    sample_rate: int | None

    @property
    def shown_seconds(self) -> float:
        """Length of the pictures, or of the sound if there are none."""
        return self.pictures.stop_seconds if self.pictures else self.seconds


def read_source(recording: Recording) -> RecordedFile:
    """Probe a recording's file. Raises RequestError if it is not the file that the manifest describes, MediaError."""
    try:
        size = recording.path.stat().st_size
    except OSError as error:
        raise RequestError(f"{recording.name}: {recording.path} cannot be read: {error.strerror}; was it moved?") from None
    if size != recording.size:
        raise RequestError(
            f"{recording.name}: the manifest describes a file of {recording.size} bytes, found {size} in {recording.path}; "
            "was it changed? Estimate the offsets again"
        )
    return probe(recording.path)


def probe(path: Path) -> RecordedFile:
    """Read a file's properties. Reads all of its packets, decodes none. Raises MediaError."""
    try:
        with opened(path) as container:
            return _source(container, path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name}: not a readable recording ({error}); is it complete?") from None


def streams_of(container: Any) -> tuple[Any | None, Any | None]:
    """(video, audio) stream of a container: the first of each with a known codec. Cover art does not count as video."""
    videos = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    video, audio = (next((s for s in found if s.codec_context), None) for found in (videos, container.streams.audio))
    return video, audio


def _source(container: Any, path: Path) -> RecordedFile:
    video, audio = streams_of(container)
    if not video and not audio:
        raise MediaError(f"{path.name}: expected pictures or sound, found neither")
    start = (container.start_time or 0) / av.time_base
    if start > MAX_LATE_SECONDS:
        raise MediaError(
            f"{path.name}: its timeline starts at {start:.1f} s, expected at most {MAX_LATE_SECONDS:g}; rewrite it: "
            "ffmpeg -i IN -c copy OUT.mkv, and estimate the offsets again"
        )
    seconds = start + (container.duration or 0) / av.time_base
    pictures = _pictures(container, video, path) if video else None
    sample_rate = int(audio.codec_context.sample_rate) if audio else None
    seconds = max(seconds, pictures.stop_seconds if pictures else 0.0)
    if not seconds > 0:
        raise MediaError(f"{path.name}: its header does not say how long it is; rewrite it: ffmpeg -i IN -c copy OUT.mkv")
    return RecordedFile(path, seconds, pictures, sample_rate or None)


def _pictures(container: Any, stream: Any, path: Path) -> PictureStream:
    packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
    pts = np.sort(np.array([p.pts if p.pts is not None else p.dts for p in packets], dtype=float))
    if not len(pts) or np.isnan(pts).any():
        raise MediaError(f"{path.name}: expected pictures with times, found {len(pts)} packets; rewrite it as .mp4 or .mkv")
    tick = float(stream.time_base)
    times = pts * tick
    rate, constant = _rate_of(times, stream, tick)
    codec = str(stream.codec_context.codec.canonical_name)
    return PictureStream(codec, len(times), rate, constant, float(times[0]), float(times[-1] + 1 / rate))


def _rate_of(times: npt.NDArray[np.float64], stream: Any, tick: float) -> tuple[Fraction, bool]:
    """(frame rate, True if it is constant). Times may deviate by as much as the container rounds them."""
    declared = stream.guessed_rate or stream.average_rate
    average = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
    nearest = min(USUAL_RATES, key=lambda rate: abs(float(rate) - average))
    for rate in (Fraction(declared) if declared else nearest, nearest):
        if 0 < rate <= 10_000:
            even = times[0] + np.arange(len(times)) / float(rate)
            if np.abs(times - even).max() <= max(tick, MILLISECOND):
                return rate, True
    # Missing pictures lower the average rate; the true rate shows in the short intervals.
    filmed = 1 / max(float(np.quantile(np.diff(times), 0.25)), 0.001) if len(times) > 1 else average
    nearest = min(USUAL_RATES, key=lambda rate: abs(float(rate) - filmed))
    if abs(float(nearest) - filmed) > NEAR * filmed:
        nearest = Fraction(max(average, 1.0)).limit_denominator(1001)
    return nearest, False
