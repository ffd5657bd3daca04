"""Signals with one number per instant: resampling to a common rate, flattening, and correlation over the overlap."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import uniform_filter1d

Floats = npt.NDArray[np.float64]
MAX_RATE = 120.0
# Slower changes (light, crowds) are similar in unrelated recordings.
SLOWEST_SECONDS = 2.0
FASTEST_HERTZ = 12.0
STILL = 1e-9
_WHITENING = 0.7
_CLIP = 4.0  # standard deviations: one flash must not decide


@dataclass(frozen=True)
class Signal:
    """seconds (N,): ascending, on the recording's own clock. values (N,): finite, larger with more activity.

    In gaps longer than ``gap_seconds`` the signal is unknown, not zero.
    """

    seconds: Floats
    values: Floats
    gap_seconds: float = 0.5

    @property
    def rate(self) -> float:
        """Samples per second, from their median interval; 0 for fewer than two."""
        return 1 / float(np.median(np.diff(self.seconds))) if len(self.seconds) > 1 else 0.0


def common_rate(one: float, two: float) -> float:
    """The faster of two rates, but at most four times the slower, whose signal has nothing above that."""
    return float(min(max(one, two), 4 * min(one, two), MAX_RATE))


def on_grid(signal: Signal, rate: float) -> tuple[Floats, Floats, float]:
    """Resample to ``rate``: (values (N,), 1 if known or 0 in a gap (N,), seconds of the first). Faster signals are averaged."""
    seconds, values = signal.seconds, signal.values
    if signal.rate > 1.5 * rate:
        values = uniform_filter1d(values, max(1, round(signal.rate / rate)))
    grid = np.arange(seconds[0], seconds[-1] + 1e-9, 1 / rate)
    after = np.clip(np.searchsorted(seconds, grid, side="right"), 1, len(seconds) - 1)
    known = (seconds[after] - seconds[after - 1]) <= max(signal.gap_seconds, 3 / max(signal.rate, 1e-9))
    return np.interp(grid, seconds, values), known.astype(np.float64), float(seconds[0])


def flatten(values: Floats, have: Floats, rate: float) -> Floats:
    """Remove slow changes, clip outliers and flatten the spectrum up to FASTEST_HERTZ, without moving anything in time."""
    width = max(3, round(SLOWEST_SECONDS * rate) | 1)
    mean = uniform_filter1d(values * have, width) / np.maximum(uniform_filter1d(have, width), 1e-6)
    rest = (values - mean) * have
    scale = 1.4826 * float(np.median(np.abs(rest[have > 0]))) or float(rest.std()) or 1.0
    rest = np.clip(rest / scale, -_CLIP, _CLIP)
    size = fft.next_fast_len(2 * len(rest), real=True)
    spectrum = fft.rfft(rest, size)
    hertz = np.arange(len(spectrum)) * rate / size
    smooth = np.sqrt(uniform_filter1d(np.abs(spectrum) ** 2, max(3, round(1.0 * size / rate) | 1)))
    gain = np.maximum(smooth, 0.02 * smooth.max()) ** -_WHITENING
    gain *= np.clip(hertz * SLOWEST_SECONDS, 0, 1) / np.sqrt(1 + (hertz / FASTEST_HERTZ) ** 4)
    flat = fft.irfft(spectrum * gain, size)[: len(rest)] * have
    return np.asarray(flat / max(float(flat.std()), 1e-12))


def overlap_correlation(a: Floats, have_a: Floats, b: Floats, have_b: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(steps (L,), correlation over the overlap (L,), known values in the overlap (L,)). A step k pairs a[n + k] with b[n]."""
    size = fft.next_fast_len(len(a) + len(b), real=True)
    steps = np.arange(-(len(b) - 1), len(a))

    def cross(x: Floats, y: Floats) -> Floats:
        return np.asarray(fft.irfft(fft.rfft(x, size) * np.conj(fft.rfft(y, size)), size)[steps])

    energy = np.maximum(cross(a * a, have_b), 0) * np.maximum(cross(have_a, b * b), 0)
    floor = 1e-6 * float(energy.max(initial=1e-12))
    return steps, cross(a, b) / np.sqrt(np.maximum(energy, floor)), np.round(cross(have_a, have_b))


def samples_by_chance(a: Floats, b: Floats) -> float:
    """Number of samples that count as one independent value: Bartlett's sum over both autocorrelations."""
    size = fft.next_fast_len(2 * max(len(a), len(b)), real=True)
    power_a, power_b = np.abs(fft.rfft(a, size)) ** 2, np.abs(fft.rfft(b, size)) ** 2
    return max(1.0, float((power_a * power_b).mean() / (power_a.mean() * power_b.mean())))


def peak_shift(curve: Floats, place: int) -> float:
    """Offset of the peak from a place in samples, -0.5 .. 0.5, by a parabola."""
    if not 0 < place < len(curve) - 1:
        return 0.0
    left, middle, right = curve[place - 1 : place + 2]
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def correlation_at(a: Floats, b: Floats, low: int, high: int, step: int) -> float:
    """Correlation of b[low:high] with a, ``step`` samples later. a, b: (N,) or (N, C); outside a counts as zero."""
    begin, end = max(low, -step), min(high, len(a) - step)
    if end - begin < 2:
        return 0.0
    x, y = a[begin + step : end + step].ravel(), b[begin:end].ravel()
    return float(x @ y / max(np.sqrt(float(x @ x) * float(y @ y)), 1e-12))
