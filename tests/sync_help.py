"""Recordings of a scene whose pictures show the scene's own clock, and whose sound ticks with it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from framewise.sync.manifest import Manifest, Recording, write

BITS, BLOCK = 24, 16  # a picture is BITS / 2 blocks wide and 2 high
SAMPLE_RATE = 48000
TICK_SECONDS = 0.5  # the sound ticks at every half second of the scene


@dataclass(frozen=True)
class Filmed:
    """A recording that starts at ``start`` seconds of the scene; a second of its clock is ``rate`` seconds of the scene."""

    start: float
    seconds: float
    frame_rate: Fraction | None = Fraction(25)
    sample_rate: int | None = SAMPLE_RATE
    rate: float = 1.0
    size: tuple[int, int] = (BITS // 2 * BLOCK, 2 * BLOCK)

    def write(self, path: Path, video: str = "libx264", audio: str = "aac", times: Sequence[float] | None = None) -> Path:
        """times: of the pictures, where they do not come evenly."""
        with av.open(str(path), "w") as container:
            pictures = container.add_stream(video, rate=self.frame_rate) if self.frame_rate else None
            sound = container.add_stream(audio, rate=self.sample_rate, layout="stereo") if self.sample_rate else None
            if pictures:
                self._write_pictures(container, pictures, times)
            if sound:
                self._write_sound(container, sound)
        return path

    def _write_pictures(self, container: Any, stream: Any, times: Sequence[float] | None) -> None:
        assert self.frame_rate
        stream.width, stream.height = self.size
        stream.pix_fmt = "yuv420p"
        if stream.codec_context.name == "libx264":
            stream.options = {"crf": "20", "preset": "ultrafast", "bf": "2"}
        even = [float(k / self.frame_rate) for k in range(round(self.seconds * self.frame_rate))]
        base = Fraction(1, 90000) if times is not None else 1 / self.frame_rate
        if times is not None:
            stream.codec_context.time_base = base
        for seconds in even if times is None else times:
            picture = clock_picture(self.start + self.rate * seconds, self.size)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(seconds / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    def _write_sound(self, container: Any, stream: Any) -> None:
        assert self.sample_rate
        samples = self.sound()
        for first in range(0, len(samples), 1024):
            part = samples[first : first + 1024]
            both = np.ascontiguousarray(np.stack([part, part]))
            frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = self.sample_rate, first, Fraction(1, self.sample_rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        container.mux(stream.encode(None))

    def sound(self) -> npt.NDArray[np.float32]:
        assert self.sample_rate
        scene = self.start + self.rate * np.arange(round(self.seconds * self.sample_rate)) / self.sample_rate
        return tick(scene - np.round(scene / TICK_SECONDS) * TICK_SECONDS)


def tick(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """A tone of 3 ms around second 0, the same before as after."""
    return (0.8 * np.exp(-((seconds / 0.001) ** 2)) * np.cos(2 * np.pi * 1500 * seconds)).astype(np.float32)


def clock_picture(seconds: float, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(H, W, 3): milliseconds of the scene in blocks, the lowest bit first; the last block is always white."""
    number = round(seconds * 1000) % 2 ** (BITS - 1) | 1 << (BITS - 1)
    bits = np.array([number >> bit & 1 for bit in range(BITS)], dtype=np.uint8).reshape(2, BITS // 2)
    blocks = (bits * 235).repeat(BLOCK, 0).repeat(BLOCK, 1)
    picture = np.zeros((size[1], size[0]), dtype=np.uint8)
    picture[: blocks.shape[0], : blocks.shape[1]] = blocks
    return np.stack([picture] * 3, axis=2)


def read_clock(picture: npt.NDArray[np.uint8]) -> float | None:
    """Seconds of the scene that a picture (H, W, 3) shows; None for a black one."""
    if picture.shape[0] < 2 * BLOCK:  # one of half the size
        picture = picture.repeat(2, 0).repeat(2, 1)
    blocks = picture[: 2 * BLOCK, : BITS // 2 * BLOCK, 1].reshape(2, BLOCK, BITS // 2, BLOCK).mean(axis=(1, 3)).ravel() > 117
    number = sum(int(bit) << place for place, bit in enumerate(blocks))
    return (number - (1 << (BITS - 1))) / 1000 if blocks[-1] else None


def clocks(path: Path) -> list[float | None]:
    """Times that the pictures of a file show, one after the other."""
    with av.open(str(path)) as container:
        return [read_clock(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def started(path: Path, method: str) -> float:
    """Start of a file in the scene, by the clock in its pictures; for "audio" to what its ticks say."""
    with av.open(str(path)) as container:
        seen = [(float(f.time or 0), read_clock(f.to_ndarray(format="rgb24"))) for f in container.decode(video=0)]
    coarse = float(np.median([clock - seconds for seconds, clock in seen if clock is not None]))
    if method == "visual":
        return coarse
    ticks = tick_seconds(path)[1:-1]
    return coarse + float(np.median(np.round((ticks + coarse) * 2) / 2 - ticks - coarse))


def by_clock(paths: Sequence[Path], method: str, max_offset: float) -> Manifest:
    """An estimator that needs no estimate."""
    first, second = (started(path, method) for path in paths)
    return manifest_of(paths, [0.0, second - first])


def sound_of(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """The first channel (N,) from second 0 of the file on, and the sample rate."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].codec_context.sample_rate
        start, parts = 0, []
        for frame in container.decode(audio=0):
            if not parts:
                start = round((frame.pts or 0) * frame.time_base * rate)
            values = frame.to_ndarray()
            values = values[0] if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)[:, 0]
            scale = np.iinfo(values.dtype).max if values.dtype.kind == "i" else 1
            parts.append(values.astype(np.float32) / scale)
    samples = np.concatenate(parts)
    return np.concatenate([np.zeros(max(start, 0), np.float32), samples[max(-start, 0) :]]), rate


def tick_seconds(path: Path, channel_seconds: float = 0.003) -> npt.NDArray[np.float64]:
    """Times of ticks in the sound of a file, to a fraction of a sample."""
    samples, rate = sound_of(path)
    half = round(channel_seconds * rate)
    shape = tick(np.arange(-half, half + 1) / rate)
    found = np.correlate(samples, shape, "same")
    found /= np.quantile(found, 0.9999)
    peaks = [i for i in range(1, len(found) - 1) if found[i] > 0.4 and found[i] == found[max(i - half, 0) : i + half].max()]
    fine = []
    for i in peaks:
        before, at, after = (float(found[i + k]) for k in (-1, 0, 1))
        fine.append((i + 0.5 * (before - after) / (before - 2 * at + after)) / rate)
    return np.array(fine)


def manifest_of(paths: Sequence[Path], offsets: Sequence[float | None], drifts: Sequence[float] = ()) -> Manifest:
    """A manifest of some files, the first of them the reference."""
    drifts = drifts or [0.0] * len(paths)
    recordings = tuple(
        Recording(
            path.name, path, path.stat().st_size, 10.0, None, None, None, offset is not None, offset,
            drift if offset is not None else None, 0.9 if offset is not None else 0.1,
            "excellent" if offset is not None else "poor", "" if offset is not None else "silence",
        )
        for path, offset, drift in zip(paths, offsets, drifts, strict=True)
    )  # fmt: skip
    return Manifest("2026-01-02T03:04:05Z", "0a1b2c3d", "audio", 20.0, 0.2, paths[0].name, recordings)


def write_manifest(folder: Path, paths: Sequence[Path], offsets: Sequence[float | None], drifts: Sequence[float] = ()) -> Path:
    write(manifest_of(paths, offsets, drifts), folder / "sync.json")
    return folder / "sync.json"


def framewise_sync(folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """``framewise sync`` as a process."""
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here / "offline"), str(here.parent)])}
    command = [sys.executable, "-m", "framewise", "sync", *map(str, args)]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=900)
