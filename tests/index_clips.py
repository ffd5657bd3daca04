"""Clips whose pictures carry their own index, at any times, with sound or without."""

import math
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np

BARCODE_ROWS, BARCODE_COLUMNS = 4, 4
# Every index is XORed with it, so that neither a black nor a white picture reads as a likely index.
BARCODE_MASK = 0b1010_0101_1010_0101


def make_index_clip(
    path: str | Path,
    num_frames: int,
    frame_rate: Fraction | int,
    size: tuple[int, int] = (320, 240),
    *,
    presentation_times: Sequence[Fraction] | None = None,
    start_offset: Fraction | int = 0,
    audio_seconds: Fraction | float | None = None,
    codec_name: str = "libx264",
) -> Path:
    """Write an .mp4 in which each picture carries its own 0-based index, to be read back by `read_index`.

    frame_rate:         pictures per second; with presentation_times only the last picture's duration follows from it.
    size:               width, height in pixels, even.
    presentation_times: seconds of each picture, increasing, for a variable frame rate.
    start_offset:       seconds added to every time; the sound, if any, still begins at 0.
    audio_seconds:      length of a 440 Hz tone (AAC, 48 kHz) beside the video; none by default.
    codec_name:         an FFmpeg video encoder, as "libx264" or "mpeg4".
    Raises ValueError if num_frames is not 1 to 65536, or the times are not that many, increasing and >= 0.
    """
    if not 1 <= num_frames <= 1 << BARCODE_ROWS * BARCODE_COLUMNS:
        raise ValueError(f"num_frames must be 1 to {1 << BARCODE_ROWS * BARCODE_COLUMNS}, got {num_frames}")
    width, height = size
    pictures = (draw_index(index, width, height) for index in range(num_frames))
    write_clip(
        Path(path),
        pictures,
        Fraction(frame_rate),
        size,
        times=_presentation_times(num_frames, Fraction(frame_rate), presentation_times, Fraction(start_offset)),
        variable_frame_rate=presentation_times is not None,
        audio_seconds=audio_seconds,
        codec_name=codec_name,
    )
    return Path(path)


def copy_distinct(original: Path, copy: Path, number: int) -> Path:
    """Write a copy of an .mp4 that shows the same and is another content for every number: it is in no cache.

    A box "free space" (ISO 14496-12, 8.1.2) is appended, over which players pass.
    """
    copy.write_bytes(original.read_bytes() + struct.pack(">I4sQ", 16, b"free", number))
    return copy


def read_index(rgb: np.ndarray) -> int:
    """Index of the picture that `make_index_clip` wrote, from its pixels (H, W, 3) uint8 at any size.

    Raises ValueError if a cell is neither black nor white: a blend of two pictures, or another picture.
    """
    height, width = rgb.shape[:2]
    index = 0
    for row in range(BARCODE_ROWS):
        for column in range(BARCODE_COLUMNS):
            top, bottom = (int((row + part) * height / BARCODE_ROWS) for part in (0.3, 0.7))
            left, right = (int((column + part) * width / BARCODE_COLUMNS) for part in (0.3, 0.7))
            mean = float(rgb[top:bottom, left:right].mean())
            if 80 < mean < 175:
                raise ValueError(f"cell {row}, {column} of the barcode is grey ({mean:.0f} of 255)")
            index = index << 1 | (mean > 128)
    return index ^ BARCODE_MASK


def draw_index(index: int, width: int, height: int) -> np.ndarray:
    """Barcode picture (height, width, 3) uint8: the bits of the index in rows, the highest first, white is 1."""
    code = index ^ BARCODE_MASK
    num_bits = BARCODE_ROWS * BARCODE_COLUMNS
    bits = np.array([code >> shift & 1 for shift in reversed(range(num_bits))]).reshape(BARCODE_ROWS, BARCODE_COLUMNS)
    rows = np.arange(height) * BARCODE_ROWS // height
    columns = np.arange(width) * BARCODE_COLUMNS // width
    lines = np.repeat((bits[:, columns] * 255).astype(np.uint8)[..., None], 3, axis=2)  # one a row of the barcode: few pixels
    return lines[rows]


def _presentation_times(
    num_frames: int, frame_rate: Fraction, times: Sequence[Fraction] | None, start_offset: Fraction
) -> list[Fraction]:
    if times is None:
        times = [index / frame_rate for index in range(num_frames)]
    shifted = [Fraction(time) + start_offset for time in times]
    if len(shifted) != num_frames:
        raise ValueError(f"{num_frames} pictures need as many presentation times, got {len(shifted)}")
    if shifted[0] < 0 or any(later <= earlier for earlier, later in zip(shifted, shifted[1:], strict=False)):
        raise ValueError("presentation times must be increasing and not negative")
    return shifted


def write_clip(
    path: Path,
    pictures: Iterator[np.ndarray],
    frame_rate: Fraction,
    size: tuple[int, int],
    *,
    times: Sequence[Fraction] | None = None,
    variable_frame_rate: bool = False,
    audio_seconds: Fraction | float | None = None,
    codec_name: str = "libx264",
) -> None:
    """Encode RGB pictures (H, W, 3) uint8, shown at `times` (seconds; default: at frame_rate), as an .mp4.

    One encoder thread, since the number of threads changes the bytes written.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = cast(av.VideoStream, container.add_stream(codec_name, rate=frame_rate))
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        # the exact times as multiples of the time base
        time_base = Fraction(1, math.lcm(*(time.denominator for time in times))) if times else 1 / frame_rate
        video.codec_context.time_base = time_base
        video.codec_context.gop_size = max(1, round(frame_rate))  # a key frame a second: quick to seek in
        video.thread_count = 1
        if codec_name == "libx264":
            video.options = {"crf": "20", "preset": "veryfast"}
            if variable_frame_rate:
                # FFmpeg's mp4 writer counts a track's length in decoding times: with reordered pictures and a variable
                # frame rate it comes out too short
                video.options |= {"bf": "0"}
        audio = container.add_stream("aac", rate=48000, layout="mono") if audio_seconds else None
        container.start_encoding()
        packets = list(_encode_video(video, pictures, frame_rate, time_base, times))
        if audio is not None:
            packets += _encode_tone(audio, float(audio_seconds or 0))
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            container.mux(packet)


def _encode_video(
    video: av.VideoStream,
    pictures: Iterator[np.ndarray],
    frame_rate: Fraction,
    time_base: Fraction,
    times: Sequence[Fraction] | None,
) -> Iterator[av.Packet]:
    pts_list = [int(time / time_base) for time in times] if times else None
    last_duration = max(1, round(1 / frame_rate / time_base))
    durations = dict(zip(pts_list, np.diff(pts_list).tolist(), strict=False)) if pts_list else {}
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = pts_list[index] if pts_list else index
        frame.time_base = time_base
        for packet in video.encode(frame):
            packet.duration = durations.get(packet.pts or 0, last_duration)
            yield packet
    for packet in video.encode(None):
        packet.duration = durations.get(packet.pts or 0, last_duration)
        yield packet


def _encode_tone(audio: av.AudioStream, seconds: float) -> Iterator[av.Packet]:
    """A 440 Hz sine of so many seconds, -12 dBFS."""
    rate, block = audio.rate, 1024
    samples = 0.25 * np.sin(2 * math.pi * 440 * np.arange(round(seconds * rate)) / rate)
    for start in range(0, len(samples), block):
        chunk = samples[start : start + block].astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from audio.encode(frame)
    yield from audio.encode(None)
