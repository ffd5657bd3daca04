"""Sound as a log-mel spectrogram, ten milliseconds per row, cached by the file's content; and its steps for learners."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.core.frame_grid import MAX_FRAMES
from framewise.core.media_kinds import SOUND
from framewise.core.timeline import SecondsAxis
from framewise.features.cache import FeatureCache, Hold
from framewise.media.audio import SAMPLE_RATE, decode_audio
from framewise.media.library import MediaFile

STEPS_PER_SECOND = 25.0  # if no video defines the grid
ROWS_PER_SECOND = 100
HOP, WINDOW, FOURIER = SAMPLE_RATE // ROWS_PER_SECOND, 400, 512  # samples; a window of 25 ms
BANDS, LOWEST_HZ, HIGHEST_HZ = 40, 60.0, 7600.0
FLOOR = 1e-8  # of a band's power: anything quieter is silence
ROWS_AT_ONCE = 4096
MEDIAN_ROWS = 20_000  # from which a band's usual level is computed
LOG_MEL = "log-mel 1"  # change it when the numbers change: models that learned from earlier ones are then outdated

Floats = npt.NDArray[np.float32]


class SoundFeatures:
    """Sound as read. mel (N, BANDS): logarithms (base 10) of power, ROWS_PER_SECOND of them. duration_seconds: of all its
    samples. hold: keeps it in the cache while this object lives."""

    def __init__(self, mel: npt.NDArray[np.float16], duration_seconds: float, hold: Hold | None = None):
        self.duration_seconds = duration_seconds
        self._mel = mel
        self._hold = hold

    def own_rate(self) -> float:
        return STEPS_PER_SECOND

    @property
    def axis(self) -> SecondsAxis:
        return SecondsAxis(self.duration_seconds)

    def num_steps(self, rate: float) -> int:
        """Steps from the first sample to the last, at least one. Raises MediaError for too many."""
        steps = self.axis.num_frames(rate)
        if steps > MAX_FRAMES:
            raise MediaError(
                f"sound of {self.duration_seconds:.0f} s with {rate:g} steps a second has more than {MAX_FRAMES} of them; cut "
                "it into parts"
            )
        return steps

    def rows(self, rate: float) -> "SoundRows":
        """Numbers of each step, for the learner. Raises MediaError."""
        return SoundRows(self._mel, rate, self.num_steps(rate))


class SoundRows:
    """Steps as rows: mean and standard deviation of each band, levels relative to the band's median; no motion."""

    counts: npt.NDArray[np.float32] | None = None

    def __init__(self, mel: npt.NDArray[np.float16], rate: float, num_steps: int):
        self.frame_rate = rate
        self._mel, self._steps = mel, num_steps
        self._usual = np.median(mel[:: max(1, len(mel) // MEDIAN_ROWS)], axis=0).astype(np.float32)

    def __len__(self) -> int:
        return self._steps

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, None]:
        per_step = ROWS_PER_SECOND / self.frame_rate
        first = np.clip((index * per_step + 1e-6).astype(np.int64), 0, len(self._mel) - 1)
        stop = np.clip(((index + 1) * per_step + 1e-6).astype(np.int64), first + 1, len(self._mel))
        inside = first[:, np.newaxis] + np.arange(max(int((stop - first).max(initial=1)), 1))
        there = (inside < stop[:, np.newaxis])[:, :, np.newaxis]
        heard = self._mel[np.minimum(inside, stop[:, np.newaxis] - 1)].astype(np.float32) - self._usual
        count = there.sum(axis=1)
        mean = (heard * there).sum(axis=1) / count
        spread = np.sqrt((((heard - mean[:, np.newaxis]) ** 2) * there).sum(axis=1) / count)
        return np.concatenate([mean, spread], axis=1, dtype=np.float32), None


class SoundReader:
    """Sound from the cache, decoded if missing."""

    def __init__(self, cache: FeatureCache):
        self._cache = cache

    def cached(self, content: str) -> SoundFeatures | None:
        """Spectrogram of a file if it is cached; never reads the file."""
        key = _key(content)
        hold = self._cache.hold(key)  # first, so that found features stay
        if not all(self._cache.has_chunk(key, part) for part in (0, 1)):
            return None
        mel, duration = (self._cache.chunk(key, part, _not_cached) for part in (0, 1))
        return SoundFeatures(mel, float(duration[0]), hold)

    def read(self, file: MediaFile) -> SoundFeatures:
        """Spectrogram of a file. Waits if another process is reading it. Raises MediaError."""
        with self._cache.making(file.content, "sound"):
            if found := self.cached(file.content):
                return found
            key, spectrogram = _key(file.content), Spectrogram()
            parts = [part for samples in decode_audio(file.path) for part in spectrogram.add(samples)]
            mel = np.concatenate([*parts, *spectrogram.end()])
            hold = self._cache.hold(key)
            file.check_unchanged()
            duration = spectrogram.samples / SAMPLE_RATE
            self._cache.chunk(key, 0, lambda: mel)
            self._cache.chunk(key, 1, lambda: np.array([duration]))
        return SoundFeatures(mel, duration, hold)


class Spectrogram:
    """Log-mel rows of samples that arrive in parts. Row k is centred at sample (k + 1/2) * HOP, the middle of its hop."""

    def __init__(self) -> None:
        self.samples = 0
        self._rest: Floats = np.zeros((WINDOW - HOP) // 2, np.float32)
        self._window = np.hanning(WINDOW).astype(np.float32)
        self._mel = mel_filters()

    def add(self, samples: Floats) -> Iterator[npt.NDArray[np.float16]]:
        """Rows that are complete by now, in parts."""
        self.samples += len(samples)
        self._rest = np.concatenate([self._rest, samples])
        while len(self._rest) >= WINDOW + (ROWS_AT_ONCE - 1) * HOP:
            yield self._rows(ROWS_AT_ONCE)

    def end(self) -> Iterator[npt.NDArray[np.float16]]:
        """Remaining rows: one for each hop that has begun."""
        left = -(-(len(self._rest) - (WINDOW - HOP) // 2) // HOP)
        if left > 0:
            self._rest = np.concatenate([self._rest, np.zeros(WINDOW + left * HOP - len(self._rest), np.float32)])
            yield self._rows(left)

    def _rows(self, number: int) -> npt.NDArray[np.float16]:
        windows = np.lib.stride_tricks.sliding_window_view(self._rest, WINDOW)[: number * HOP : HOP]
        power = np.abs(np.fft.rfft(windows * self._window, FOURIER)) ** 2 / WINDOW
        self._rest = self._rest[number * HOP :]
        rows: npt.NDArray[np.float16] = np.log10(power @ self._mel + FLOOR).astype(np.float16)
        return rows


def mel_filters() -> Floats:
    """(FOURIER // 2 + 1, BANDS): triangles of equal width on the mel scale (O'Shaughnessy 1987), with sum 1."""
    edges = _hertz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), BANDS + 2))
    hertz = np.arange(FOURIER // 2 + 1)[:, np.newaxis] * SAMPLE_RATE / FOURIER
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(np.minimum(rising, falling), 0)
    # The lowest bands are narrower than the resolution: each uses the frequency nearest to its centre.
    nearest = np.abs(hertz - edges[1:-1]).argmin(axis=0)
    triangles[nearest, np.arange(BANDS)] += triangles.sum(axis=0) == 0
    filters: Floats = (triangles / triangles.sum(axis=0)).astype(np.float32)
    return filters


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    hertz: npt.NDArray[np.float64] = 700 * (10 ** (mel / 2595) - 1)
    return hertz


def _key(content: str) -> tuple[str, str, str]:
    return content, SOUND.cached_as, json.dumps([LOG_MEL])


def _not_cached() -> npt.NDArray[np.float64]:
    raise MediaError("cached sound was removed while it was being read; try again")
