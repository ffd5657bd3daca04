"""Sound of recordings: decoded to disk as one channel at a fixed rate, and its envelope for rough comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from framewise.core.errors import MediaError
from framewise.core.progress import ShareProgress, silent
from framewise.media.video import decoded_frames, open_container

SAMPLE_RATE = 16000
ENVELOPE_RATE = 100
BAND_EDGES_HERTZ = np.geomspace(200.0, 6500.0, 17)
_WINDOW = 512
_BLOCK = 4096  # envelope steps computed at once
GAP_SECONDS = 0.03  # larger gaps between timestamps are filled with silence
# Sound below this is silence: -80 dB of full scale.
SILENCE = 3.3

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """samples (N,): int16 at SAMPLE_RATE, the first at 0 s of the file's timeline; may be mapped from disk.

    envelope (BANDS, N / 160): float32 at ENVELOPE_RATE, loudness of each band relative to its surroundings, normalised.
    level: root mean square of the parts that are not silent. steadiness: standard deviation of the loudness, decibels.
    """

    samples: npt.NDArray[np.int16]
    envelope: Floats
    level: float
    steadiness: float

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def silent(self) -> bool:
        return self.level < SILENCE


def has_sound(path: Path) -> bool:
    with open_container(path) as container:
        return any(stream.codec_context is not None for stream in container.streams.audio)


def decode_sound(path: Path, target: Path, progress: ShareProgress = silent) -> npt.NDArray[np.int16]:
    """Decode a recording's first sound track to one channel at SAMPLE_RATE, written to ``target`` and memory-mapped.

    A sample's index is its time on the file's timeline: a late start and gaps are silence. Raises MediaError for a file without
    decodable sound.
    """
    with open_container(path) as container, target.open("wb") as out:
        stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream is None:
            raise MediaError(f"{path.name}: expected a sound track, found none")
        stream.thread_type = "AUTO"
        total = (container.duration or 0) / av.time_base
        # A pure sound file is played from its first sample: the encoder delay that MP3 timestamps include does not count.
        begin = 0.0 if container.streams.video else float((stream.start_time or 0) * stream.time_base)
        _write(container, stream, out, begin, lambda seconds: progress(min(1.0, seconds / total)) if total else None)
    samples = np.memmap(target, dtype=np.int16, mode="r") if target.stat().st_size else np.zeros(0, np.int16)
    if len(samples) == 0:
        raise MediaError(f"{path.name}: it has a sound track, but no sample could be decoded; is the file damaged?")
    return samples


def _write(container: Any, stream: Any, out: BinaryIO, begin: float, tell: Callable[[float], None]) -> None:
    resampler, written, fed = None, 0, 0.0
    unit = float(stream.time_base)
    for frame in decoded_frames(container, stream):
        if frame is None:  # a damaged part becomes silence: the next frame has its own time
            continue
        at = frame.pts * unit - begin if frame.pts is not None else fed
        if resampler is None or abs(at - fed) > GAP_SECONDS:
            written += _put(out, resampler.resample(None) if resampler else [])
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            missing = round(at * SAMPLE_RATE) - written
            if missing < 0:  # before 0 s, or a repeated part
                if at + frame.samples / frame.sample_rate < written / SAMPLE_RATE or at < 0:
                    resampler, fed = (None, fed) if written == 0 else (resampler, fed)
                    continue
                missing = 0
            written += _silence(out, missing)
            fed = at
        frame.pts = None
        written += _put(out, resampler.resample(frame))
        fed += frame.samples / frame.sample_rate
        tell(fed)
    _put(out, resampler.resample(None) if resampler else [])


def _put(out: BinaryIO, frames: list[Any]) -> int:
    count = 0
    for frame in frames:
        out.write(memoryview(frame.planes[0])[: 2 * frame.samples])  # a plane is longer than its data
        count += frame.samples
    return count


def _silence(out: BinaryIO, count: int) -> int:
    for start in range(0, count, SAMPLE_RATE):
        out.write(bytes(2 * min(SAMPLE_RATE, count - start)))
    return count


def analyse(samples: npt.NDArray[np.int16]) -> Sound:
    """Compute envelope and level of a sound. samples (N,): int16 at SAMPLE_RATE."""
    hop = SAMPLE_RATE // ENVELOPE_RATE
    steps = max(1, len(samples) // hop)
    loud = np.empty((len(BAND_EDGES_HERTZ) - 1, steps), np.float32)
    power = np.zeros(steps, np.float32)
    for start in range(0, steps, _BLOCK):
        stop = min(start + _BLOCK, steps)
        loud[:, start:stop], power[start:stop] = _loudness(samples, start, stop, hop)
    heard = power > SILENCE**2
    level = float(np.sqrt(power[heard].mean())) if heard.any() else 0.0
    decibels = 10 * np.log10(uniform_filter1d(power, 10) + SILENCE**2)
    # Only changes within a third of a second, normalised per band, so that a filter or a gain has no effect.
    loud -= uniform_filter1d(loud, ENVELOPE_RATE // 3, axis=1)
    loud /= np.maximum(loud.std(axis=1, keepdims=True), 1e-3)
    np.clip(loud, -4, 4, out=loud)
    return Sound(samples, loud, level, float(decibels[heard].std()) if heard.any() else 0.0)


def _loudness(samples: npt.NDArray[np.int16], start: int, stop: int, hop: int) -> tuple[Floats, Floats]:
    """(log power in each band (BANDS, stop - start), mean square (stop - start,)) of steps start .. stop."""
    first = start * hop - (_WINDOW - hop) // 2
    last = (stop - 1) * hop - (_WINDOW - hop) // 2 + _WINDOW
    part = np.asarray(samples[max(first, 0) : last], dtype=np.float32)
    part = np.pad(part, (max(-first, 0), max(0, last - max(first, 0) - len(part))))
    windows = np.lib.stride_tricks.sliding_window_view(part, _WINDOW)[::hop][: stop - start]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
    edges = np.round(BAND_EDGES_HERTZ * _WINDOW / SAMPLE_RATE).astype(int)
    edges = np.maximum(edges, np.arange(len(edges)) + edges[0])  # each band has at least one line
    bands = np.add.reduceat(spectrum[:, : edges[-1]], edges[:-1], axis=1)
    floor = (SILENCE * _WINDOW) ** 2 / 100
    return np.log(bands.T + floor).astype(np.float32), (windows.astype(np.float32) ** 2).mean(axis=1)
