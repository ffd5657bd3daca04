"""Small real video files for tests, written with PyAV."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.index_clips import draw_index


def colour_pictures(count: int, size: tuple[int, int] = (96, 64), seed: int = 0) -> list[np.ndarray]:
    """Pictures (height, width, 3) uint8 of 4 x 3 flat colours each, all different; size is (width, height)."""
    rng = np.random.default_rng(seed)
    width, height = size
    blocks = rng.integers(0, 256, size=(count, 3, 4, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 3 // height, np.arange(width) * 4 // width
    return [block[rows][:, columns] for block in blocks]


def write_video(
    path: Path, pictures: Sequence[np.ndarray], frame_rate: Fraction | int = 25, rotation: int = 0, fast_start: bool = True
) -> Path:
    """An H.264 file of RGB pictures; ``rotation`` is the display matrix's turn in degrees, counter-clockwise."""
    options = {"movflags": "faststart"} if fast_start else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {"crf": "16", "preset": "veryfast"}
        if rotation:
            stream.set_display_rotation(rotation)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound and no video."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for start in range(0, int(seconds * 48000), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file's bytes, as an upload that broke off leaves it."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def pictures_of(path: Path) -> list[np.ndarray]:
    """The decoded pictures of a file, RGB, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_timed(
    path: Path,
    seconds: Sequence[Fraction | int],
    last_seconds: Fraction | int,
    codec: str = "libx264",
    time_base: Fraction = Fraction(1, 1000),
    b_frames: int = 0,
    **options: str,
) -> Path:
    """A file in the container of the path's suffix whose pictures carry their index (`index_clips.read_index`) and begin at
    these times; the last one is shown for last_seconds. options: FFmpeg's of the container."""
    size = (64, 64)
    begin = [int(time / time_base) for time in seconds]
    durations = dict(zip(begin, [*np.diff(begin).tolist(), int(last_seconds / time_base)], strict=True))
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt, stream.thread_count = "yuvj420p" if codec == "mjpeg" else "yuv420p", 1
        stream.codec_context.time_base, stream.codec_context.gop_size = time_base, 10
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast", "bf": str(b_frames)}
        elif b_frames:
            stream.codec_context.max_b_frames = b_frames
        frames = [av.VideoFrame.from_ndarray(draw_index(index, *size), format="rgb24") for index in range(len(begin))]
        for frame, time in zip(frames, begin, strict=True):
            frame.pts, frame.time_base = time, time_base
        for frame in [*frames, None]:
            for packet in stream.encode(frame):
                packet.duration = durations.get(packet.pts or 0, 1)
                container.mux(packet)
    return path


def with_matrix(source: Path, target: Path, matrix: Sequence[float]) -> Path:
    """A copy of an .mp4 with another display matrix in its track's header, by its elements 0, 1, 3 and 4."""
    content = bytearray(source.read_bytes())
    m0, m1, m3, m4 = (round(number * 65536) for number in matrix)
    # ISO 14496-12, 8.3.2: the matrix stands 40 bytes after the box's version
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, m0, m1, 0, m3, m4, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


# Displays as Chromium 156 shows pictures of four corners (left to right, then the next line); tests/browser asks the real one.
UPRIGHT = "RGBW"
SHOWN_BY_MATRIX = {
    (1, 0, 0, 1): UPRIGHT,
    (0, 1, -1, 0): "BRWG",
    (-1, 0, 0, -1): "WBGR",
    (0, -1, 1, 0): "GWRB",
    (-1, 0, 0, 1): "GRWB",
    (1, 0, 0, -1): "BWRG",
    (0, 1, 1, 0): "RBGW",
    (0, -1, -1, 0): "WGBR",
    # singular, and no turn by quarters: as it lies
    (0, 0, 0, 0): UPRIGHT,
    (1, 0, 0, 0): UPRIGHT,
    (0, 1, 0, 0): UPRIGHT,
    (1, 1, 1, 1): UPRIGHT,
    (0.70711, 0.70711, -0.70711, 0.70711): UPRIGHT,
    (-0.70711, 0.70711, 0.70711, 0.70711): UPRIGHT,
    (0.01745, 0.99985, -0.99985, 0.01745): UPRIGHT,
    (-0.99985, 0.01745, -0.01745, -0.99985): UPRIGHT,
    (1, 0.5, 0, 1): UPRIGHT,
    # with zoom
    (2, 0, 0, 2): UPRIGHT,
    (0.5, 0, 0, 0.5): UPRIGHT,
    (-2, 0, 0, -2): UPRIGHT,
    (-2, 0, 0, 2): UPRIGHT,
    (-0.5, 0, 0, -0.5): UPRIGHT,
    (0, 2, -2, 0): "GWRB",
    (0, -2, 2, 0): "GWRB",
    (0, 2, 2, 0): "WGBR",
    (0, -2, -2, 0): "WGBR",
    (0, 0.5, 0.5, 0): UPRIGHT,
    (0, 2, -1, 0): UPRIGHT,
}
_CORNERS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


def corners_picture(width: int = 160, height: int = 120) -> np.ndarray:
    """Picture (height, width, 3) uint8 of four colours, by which any turn is told."""
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0], picture[1, 1] = (_CORNERS[name] for name in UPRIGHT)
    return picture.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def corners_of(rgb: np.ndarray) -> str:
    """Names of the colours in a picture's corners, as in SHOWN_BY_MATRIX."""
    height, width = rgb.shape[:2]
    names = {colour: name for name, colour in _CORNERS.items()}
    points = [(height // 8, width // 8), (height // 8, -width // 8), (-height // 8, width // 8), (-height // 8, -width // 8)]
    return "".join(names.get(tuple(int(level > 128) * 255 for level in rgb[point]), "?") for point in points)
