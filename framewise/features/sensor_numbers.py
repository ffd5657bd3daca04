"""Numbers that describe each step of a time series, computed from its samples.

Shapes: N samples, C channels, T steps, D numbers per step. A series with another sampling rate than the project's others gives
nearly the same numbers: everything is computed over fixed times, for one that is k times as fast from every k-th sample, and
bands end where those of the project do. What a series cannot show is NaN.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from framewise.core.series_time import SeriesTimes

MIN_RATE = 10.0  # reported to the learner: its windows are in seconds, and for a slow series would be less than a step
BRIDGED_PERIODS = 2.5  # without a sample: more is a gap
PAUSE_SECONDS = 2.6  # a longer gap splits pieces: twice the learner's context, so the two sides do not affect each other
MAX_SAMPLE = 1e30  # absolute maximum of a sample, so that its square is finite
FAR_OUT, MAX_TIMES = 0.999, 10.0  # a channel's values are cut at this multiple of what this share of them stays below
SPREAD_SECONDS = 1.0  # window of a channel's spread
AGGREGATES = 2  # per channel: level and spread
AGGREGATE_COUNT = 0.5  # weight of each, relative to a number of all channels together: a sensor may be worn differently
# Lower ends of frequency bands, in Hz, each an octave wide.
BANDS_HZ = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
TOGETHER = 1 + len(BANDS_HZ)  # for all channels: length of the levels, and amplitude in each band
# For bands, faster series are downsampled to between one and two times this many samples; faster motion is in the spread.
BAND_SAMPLES_PER_SECOND = 64.0
NYQUIST_SHARE = 0.95  # of half the sampling rate, the upper limit of filters
SWING_SECONDS = 0.25  # window, or half a period if longer, over which band power is averaged, twice

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Steps of a project's series. rate: steps per second. sample_rate: usual number of samples per second."""

    rate: float
    sample_rate: float

    @property
    def frame_rate(self) -> float:
        """Frame rate reported to the learner."""
        return max(self.rate, MIN_RATE)

    @property
    def second(self) -> float:
        """Length of the learner's second: longer for a slow series."""
        return self.frame_rate / self.rate


@dataclass(frozen=True)
class Channel:
    """Samples of one channel that are numbers, minus their median, at most about as many per second as the grid's series have.
    steps: their steps. period_seconds: time between them, also in a sparse part."""

    seconds: Doubles
    values: Doubles
    steps: Indices
    period_seconds: float
    grid: Grid

    @classmethod
    def of(cls, seconds: Doubles, steps: Indices, values: Floats, grid: Grid) -> "Channel":
        """Channel from all samples of a series, at least one of which is a number in this channel."""
        there = np.flatnonzero(np.isfinite(values))
        period = SeriesTimes(seconds[there]).period_seconds
        # Means would have less noise than the project's series, and no motion in their fastest bands.
        each = max(1, round(1 / (period * grid.sample_rate)))
        there = there[::each]
        known = np.clip(values[there].astype(np.float64), -MAX_SAMPLE, MAX_SAMPLE)
        return cls(seconds[there], _without_spikes(known), steps[there], each * period, grid)

    @property
    def bridged(self) -> float:
        """Longest distance in steps between two samples that is not a gap."""
        return BRIDGED_PERIODS * max(self.period_seconds * self.grid.rate, 1.0)

    def known(self) -> list[tuple[int, int]]:
        """Spans [start, stop) of steps that have a sample, or lie between two without a gap."""
        filled = self.steps[_firsts(self.steps)]
        after = np.flatnonzero(np.diff(filled) > self.bridged) + 1
        starts, stops = filled[[0, *after]], filled[[*(after - 1), -1]] + 1
        return list(zip(starts.tolist(), stops.tolist(), strict=True))

    def cut(self, start: int, stop: int) -> "Channel":
        first, last = np.searchsorted(self.steps, (start, stop))
        inside = slice(int(first), int(last))
        return Channel(self.seconds[inside], self.values[inside], self.steps[inside], self.period_seconds, self.grid)


def channels_of(times: SeriesTimes, values: Floats, measured: Iterable[int], grid: Grid) -> Iterator[tuple[int, Channel]]:
    """Number and samples of each measured channel, one by one, because there may be many. values (N, C)."""
    steps = times.frames(grid.rate) - 1
    for number in measured:
        yield number, Channel.of(times.seconds, steps, values[:, number], grid)


def known_pieces(spans: Sequence[tuple[int, int]], longest_gap: float) -> list[tuple[int, int]]:
    """Spans [start, stop) of steps as pieces: joined if the gap between them is at most this many steps."""
    pieces: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if pieces and start - pieces[-1][1] <= longest_gap:
            pieces[-1] = pieces[-1][0], max(pieces[-1][1], stop)
        else:
            pieces.append((start, stop))
    return pieces


# With one recording: levels and bands of single channels depend on how that one sensor was worn.
SUPPOSED_SHARES = {"levels": 0.25, "motion of all channels": 1.0, "bands of each channel": 0.1}


def number_groups(channels: int) -> list[tuple[str, slice, float]]:
    """Groups of a step's numbers: their names, columns, and weights for when no recording can be held out.

    A single channel has no bands of its own.
    """
    widths = {
        "levels": channels * AGGREGATES,
        "motion of all channels": TOGETHER,
        "bands of each channel": channels * len(BANDS_HZ) if channels > 1 else 0,
    }
    parts, start = [], 0
    for name, width in widths.items():
        if width:
            parts.append((name, slice(start, start + width), SUPPOSED_SHARES[name]))
        start += width
    return parts


def columns_of_groups(channels: int) -> dict[str, slice]:
    return {name: columns for name, columns, _ in number_groups(channels)}


def number_counts(channels: int) -> Floats:
    """Weight of each number, (D,): less for single channels than for all together; zero for the bands of each channel, unless
    they are weighed separately."""
    parts = columns_of_groups(channels)
    counts = np.zeros(max(part.stop for part in parts.values()), np.float32)
    counts[parts["levels"]] = AGGREGATE_COUNT
    counts[parts["motion of all channels"]] = 1
    return counts


def step_numbers(channels: Iterable[tuple[int, Channel]], num_channels: int, pieces: Sequence[tuple[int, int]]) -> Floats:
    """Numbers (T, D) of the steps in ``pieces``, one piece after another, in the columns of ``number_groups``.

    For each channel, in its own unit: its level, relative to its median, and its spread. For all channels together as a vector,
    and so independent of how a sensor is worn: the length of the levels, and for each of BANDS_HZ the root of the amplitude;
    the same root for each channel. Unknown channels count as the average of the others. In a channel slower than the grid, a
    step without a sample is interpolated linearly.
    """
    ends = np.cumsum([stop - start for start, stop in pieces], dtype=np.int64)
    total, bands = sum(stop - start for start, stop in pieces), len(BANDS_HZ)
    numbers = np.full((total, len(number_counts(num_channels))), np.nan, np.float32)
    together = _Together(total)
    for number, channel in channels:
        for (start, stop), end in zip(pieces, ends, strict=True):
            rows = slice(int(end) - (stop - start), int(end))
            own = channel.cut(start, stop)
            if not len(own.steps):
                continue
            levels, swings = _piece(own, start, stop)
            together.add(rows, levels[:, 0], swings)
            numbers[rows, number * AGGREGATES : (number + 1) * AGGREGATES] = levels
            if num_channels > 1:
                first = num_channels * AGGREGATES + TOGETHER + number * bands
                numbers[rows, first : first + bands] = swings**0.25
    numbers[:, columns_of_groups(num_channels)["motion of all channels"]] = together.lengths(num_channels)
    return numbers


class _Together:
    """Sums over the channels that are known in each step."""

    def __init__(self, steps: int):
        self._squares = np.zeros((steps, TOGETHER))
        self._known = np.zeros((steps, TOGETHER), np.int32)

    def add(self, rows: slice, level: Doubles, swings: Doubles) -> None:
        squares = np.column_stack([level**2, swings])
        self._squares[rows] += np.nan_to_num(squares)
        self._known[rows] += np.isfinite(squares)

    def lengths(self, channels: int) -> Doubles:
        """(T, TOGETHER), as if all channels were known; NaN if none is."""
        squares = np.where(self._known > 0, self._squares * channels / np.maximum(self._known, 1), np.nan)
        squares[:, 0] **= 0.5
        squares[:, 1:] **= 0.25
        return squares


def _piece(own: Channel, start: int, stop: int) -> tuple[Doubles, Doubles]:
    """Level and spread (T, AGGREGATES), and band power (T, bands), of a channel's samples in the steps [start, stop), at least
    one; NaN in its gaps."""
    every = np.arange(start, stop)
    first = _firsts(own.steps)
    filled, counts = own.steps[first], np.diff(first, append=len(own.steps))
    level = np.interp(every, filled, np.add.reduceat(own.values, first) / counts)
    middles = np.asarray((every + 0.5) / own.grid.rate, np.float64)
    unknown = ~_bridged(filled, every, own.bridged)
    levels = np.stack([level, _spread(own, middles)], axis=1)
    swings = _swings(own, middles)
    levels[unknown], swings[unknown] = np.nan, np.nan
    return levels, swings


def _spread(own: Channel, middles: Doubles) -> Doubles:
    """(T,), standard deviation around each of these times; interpolated where there is one sample, NaN if no time has more.

    Computed from the original samples, so it does not change if every second one is left out.
    """
    half = SPREAD_SECONDS * own.grid.second / 2
    first, stop = (np.searchsorted(own.seconds, middles + side) for side in (-half - 1e-6, half + 1e-6))
    number = stop - first
    several = number > 1
    if not several.any():
        return np.full(len(middles), np.nan)
    sums = [np.concatenate([[0.0], np.cumsum(own.values**power)]) for power in (1, 2)]
    total, squares = (whole[stop[several]] - whole[first[several]] for whole in sums)
    number = number[several]
    spread = np.sqrt(np.maximum(squares - total**2 / number, 0) / (number - 1))
    drawn: Doubles = np.interp(middles, middles[several], spread)
    return drawn


def _swings(own: Channel, middles: Doubles) -> Doubles:
    """(T, bands), mean square in each band around these times; NaN in bands for which there are too few samples."""
    from scipy.fft import next_fast_len  # scipy takes most of a second to import, and not all projects have series
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import hilbert, sosfiltfilt

    found = np.full((len(middles), len(BANDS_HZ)), np.nan)
    second = own.grid.second
    sampling = 1 / own.period_seconds
    sampling /= max(1, math.floor(sampling * second / BAND_SAMPLES_PER_SECOND + 1e-6))
    a_second = sampling * second
    even = _evenly(own.seconds - own.seconds[0], own.values, sampling)
    edge = min(len(even) - 1, int(3 * a_second))
    places = np.clip((middles - own.seconds[0]) * sampling + 1e-6, 0, len(even) - 1).astype(np.int64)
    for band, filter in _filters(a_second, own.grid.sample_rate * second).items():
        size = max(1, round(a_second * max(SWING_SECONDS, 0.5 / BANDS_HZ[band])))
        # By the envelope: squares of few samples per period would oscillate themselves.
        envelope = np.abs(hilbert(sosfiltfilt(filter, even, padlen=edge), next_fast_len(len(even)))[: len(even)])
        smooth = uniform_filter1d(uniform_filter1d(envelope**2 / 2, size, mode="reflect"), size, mode="reflect")
        found[:, band] = np.maximum(smooth, 0)[places]
    return found


@lru_cache(maxsize=64)
def _filters(sampling: float, usual: float) -> dict[int, Doubles]:
    """Butterworth filters by the number of their band in BANDS_HZ, for bands that both these samples and those of the usual
    rate can show; limited to where the latter end."""
    from scipy.signal import butter

    highest, filters = NYQUIST_SHARE * sampling / 2, {}
    for band, begin in enumerate(BANDS_HZ):
        end = min(2 * begin, usual / 2)
        if begin >= min(highest, NYQUIST_SHARE * usual / 2):
            continue
        ends = end < highest  # otherwise the band is open
        edges, kind = ([begin, end], "bandpass") if ends else (begin, "highpass")
        filters[band] = butter(2, edges, kind, fs=sampling, output="sos")
    return filters


def _evenly(seconds: Doubles, values: Doubles, sampling: float) -> Doubles:
    """Values resampled to a constant rate, from 0 s on: means where there are samples, linear interpolation elsewhere."""
    cells = (seconds * sampling + 1e-6).astype(np.int64)
    first = _firsts(cells)
    means = np.add.reduceat(values, first) / np.diff(first, append=len(cells))
    even: Doubles = np.interp(np.arange(cells[-1] + 1), cells[first], means)
    return even


def _without_spikes(values: Doubles) -> Doubles:
    """Values minus their median, with extreme outliers clipped: otherwise they would dominate sums over time."""
    if not len(values):
        return values
    centred = values - np.median(values)
    usual = float(np.quantile(np.abs(centred), FAR_OUT))
    most = MAX_TIMES * usual if usual > 0 else 2 * MAX_SAMPLE
    cut: Doubles = np.clip(centred, -most, most)
    return cut


def _firsts(ascending: Indices) -> Indices:
    """Index of the first occurrence of each value of a non-empty array."""
    first: Indices = np.flatnonzero(np.diff(ascending, prepend=ascending[0] - 1))
    return first


def _bridged(filled: Indices, every: Indices, longest: float) -> npt.NDArray[np.bool_]:
    """True for steps that have a sample or lie between two that are at most ``longest`` steps apart."""
    after = np.searchsorted(filled, every)
    before = np.searchsorted(filled, every, side="right") - 1
    between = (before >= 0) & (after < len(filled))
    apart = filled[np.minimum(after, len(filled) - 1)] - filled[np.maximum(before, 0)]
    valid: npt.NDArray[np.bool_] = between & (apart <= longest)
    return valid
