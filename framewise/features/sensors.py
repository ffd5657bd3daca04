"""Numbers that describe a time series on a grid of steps, for learners that see a few numbers a row.

What is cached is the series itself, as it was read; a step's numbers are made of it in a moment. So one cache serves every
grid.
"""

import json
import math
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.core.frame_grid import MAX_FRAMES
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.features.cache import SERIES, FeatureCache, Hold, alone
from framewise.features.motion import MOTION_SIZE
from framewise.labeling_config import SeriesSettings
from framewise.media.library import MediaFile

MOST_STEPS_PER_SECOND = 30.0  # as many as a video usually has frames
LEAST_RATE = 10.0  # that the learner is told: its windows are seconds, and of a slow series they would be less than a step
BRIDGED_PERIODS = 2.5  # without a sample: a longer time is a gap
MOST = 1e30  # of a sample, either way: its square is a number, too
AGGREGATES = 5  # of a channel: mean, standard deviation, least, most, root of the mean square
LENGTHS = 3  # of all channels together: of the mean, of the standard deviation, of the mean less what is usual
# How fast it swings, of all channels together: in bands that begin at so many Hz, each an octave; the last has no end.
BANDS_HZ = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
BAND_SAMPLES_PER_SECOND = 64.0  # of the swings, at most; faster ones are in the standard deviation
NYQUIST_SHARE = 0.95  # of half the sampling rate, up to which a filter is made
SWING_SECONDS = 0.25  # over which, or over half a period, what swings is averaged, twice
SENSORS = "sensors 2"  # changes when the numbers become other ones: models that learned from those before are then outdated

Floats = npt.NDArray[np.float32]


class SeriesFeatures:
    """A series that was read. times: of its N samples. values (N, C): NaN where a channel has a gap. hold: keeps it in the
    cache as long as this object lives."""

    def __init__(self, times: SeriesTimes, values: Floats, hold: Hold | None = None):
        self.times = times
        self._values = values
        self._hold = hold

    def own_rate(self) -> float:
        """Steps per second that suit the series: of so many samples each that they are at most MOST_STEPS_PER_SECOND."""
        rate = 1 / self.times.period_seconds
        most = min(MOST_STEPS_PER_SECOND, max(rate, 1e-9), 1 / self.times.resolution_seconds)
        return rate / max(1, math.ceil(rate / most - 1e-6))

    def num_steps(self, rate: float) -> int:
        """Steps from the first sample to the last. Raises MediaError for more than can be."""
        steps = self.times.num_frames(rate)
        if steps > MAX_FRAMES:
            raise MediaError(
                f"a series of {self.times.seconds[-1]:.0f} s with {rate:g} steps a second has more than {MAX_FRAMES} of them; "
                "cut it into parts, or give it fewer samples"
            )
        return steps

    def num_steps_beside(self, rate: float) -> int:
        """Steps up to the end of the last sample's period: as long a slow sensor says something beside other media."""
        end = (float(self.times.seconds[-1]) + self.times.period_seconds) * rate
        return max(self.num_steps(rate), min(math.ceil(end - 1e-6), MAX_FRAMES))

    def rows(self, rate: float, num_steps: int | None = None) -> "SensorRows":
        """What describes each step, for the learner. Raises MediaError."""
        steps = self.num_steps(rate) if num_steps is None else num_steps
        return SensorRows(step_numbers(self.times, self._values, rate, steps), rate, number_counts(self._values.shape[1]))


class SensorRows:
    """Steps as rows: what ``step_numbers`` says of them; no motion, which is of pictures."""

    motion_size = MOTION_SIZE

    def __init__(self, numbers: Floats, rate: float, counts: Floats):
        self.frame_rate = max(rate, LEAST_RATE)
        self.counts: Floats | None = counts
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, index: npt.NDArray[np.int64]) -> Floats:
        rows: Floats = np.pad(self._numbers[index], ((0, 0), (0, MOTION_SIZE)))
        return rows


def number_counts(channels: int) -> Floats:
    """How much each of the numbers of a step counts, (D,): a channel's, which say much the same, together as much as one."""
    counts = [1 / math.sqrt(AGGREGATES)] * (channels * AGGREGATES) + [1.0] * (LENGTHS + len(BANDS_HZ))
    return np.array(counts, np.float32)


def step_numbers(times: SeriesTimes, values: Floats, rate: float, num_steps: int) -> Floats:
    """(num_steps, D) of a series' channels (N, C), in their own units: AGGREGATES of each channel, less its median; LENGTHS; of
    each of BANDS_HZ the root of how far it swings.

    Lengths and swings are of all channels together, as of a vector: so they are the same however a sensor is worn. A step
    without a sample lies between two others, where a channel is slower than the grid, and is drawn as a line between them; in a
    gap its numbers are NaN.
    """
    steps = times.frames(rate) - 1
    samples = np.clip(values.astype(np.float64), -MOST, MOST)
    parts = [_channel(times.seconds, steps, samples[:, c], rate, num_steps) for c in range(values.shape[1])]
    aggregates = np.stack([known for known, _, _ in parts])
    valid = np.stack([there for _, there, _ in parts])
    usual = np.array([median for _, _, median in parts])[:, np.newaxis]
    means, spreads, centred = aggregates[:, :, 0] + usual, aggregates[:, :, 1], aggregates[:, :, 0]
    anything = np.where(valid.any(axis=0), 1.0, np.nan)[:, np.newaxis]
    lengths = np.stack([np.sqrt(np.nansum(of**2, axis=0)) for of in (means, spreads, centred)], axis=1)
    columns = [*aggregates, anything * lengths, anything * _swings(times, samples, rate, num_steps)]
    return np.concatenate(columns, axis=1, dtype=np.float32)


def _channel(
    seconds: npt.NDArray[np.float64], steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64], rate: float, num_steps: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], float]:
    """Aggregates (T, AGGREGATES) of one channel (N,) less its median, whether each step has any, (T,), and the median."""
    there = np.flatnonzero(np.isfinite(values))
    if not len(there):
        return np.full((num_steps, AGGREGATES), np.nan), np.zeros(num_steps, bool), 0.0
    median = float(np.median(values[there]))
    inside, centred = steps[there], values[there] - median
    filled, first, counts = np.unique(inside, return_index=True, return_counts=True)
    mean = np.add.reduceat(centred, first) / counts
    square = np.add.reduceat(centred**2, first) / counts
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    least, most = np.minimum.reduceat(centred, first), np.maximum.reduceat(centred, first)
    known = np.stack([mean, spread, least, most, np.sqrt(square)], axis=1)
    every = np.arange(num_steps)
    drawn = np.stack([np.interp(every, filled, column) for column in known.T], axis=1)
    valid = _bridged(filled, every, BRIDGED_PERIODS * max(SeriesTimes(seconds[there]).period_seconds * rate, 1.0))
    return np.where(valid[:, np.newaxis], drawn, np.nan), valid, median


def _swings(times: SeriesTimes, values: npt.NDArray[np.float64], rate: float, num_steps: int) -> npt.NDArray[np.float64]:
    """(T, len(BANDS_HZ)), roots of the amplitude in each band, of all channels (N, C) as of a vector; 0 in bands that are
    faster than the samples. A second is the learner's own, see LEAST_RATE."""
    from scipy.ndimage import uniform_filter1d  # scipy, which takes most of a second to import, and not all have series
    from scipy.signal import sosfiltfilt

    second = max(rate, LEAST_RATE) / rate
    sampling = min(1 / times.period_seconds, BAND_SAMPLES_PER_SECOND / second)
    filters = _filters(sampling * second)
    energy = np.zeros((len(BANDS_HZ), int(times.seconds[-1] * sampling + 1e-6) + 1))
    edge = min(energy.shape[1] - 1, int(3 * sampling * second))
    for channel in values.T:  # one after the other: there may be many
        even = _evenly(times.seconds, channel, sampling, energy.shape[1])
        for band, filter in filters.items():
            energy[band] += sosfiltfilt(filter, even, padlen=edge) ** 2
    middles = np.minimum(((np.arange(num_steps) + 0.5) / rate * sampling).astype(np.int64), energy.shape[1] - 1)
    found = np.zeros((num_steps, len(BANDS_HZ)))
    for band in filters:
        size = max(1, round(sampling * second * max(SWING_SECONDS, 0.5 / BANDS_HZ[band])))
        smooth = uniform_filter1d(uniform_filter1d(energy[band], size, mode="reflect"), size, mode="reflect")
        found[:, band] = np.maximum(smooth, 0)[middles] ** 0.25
    return found


def _filters(sampling: float) -> dict[int, npt.NDArray[np.float64]]:
    """Of each of BANDS_HZ that samples can show, by its number."""
    from scipy.signal import butter

    highest, last = NYQUIST_SHARE * sampling / 2, len(BANDS_HZ) - 1
    return {
        band: butter(2, [begin, 2 * begin], "bandpass", fs=sampling, output="sos")
        if band < last and 2 * begin < highest
        else butter(2, begin, "highpass", fs=sampling, output="sos")
        for band, begin in enumerate(BANDS_HZ)
        if begin < highest
    }


def _evenly(
    seconds: npt.NDArray[np.float64], channel: npt.NDArray[np.float64], sampling: float, length: int
) -> npt.NDArray[np.float64]:
    """(length,) at so many samples a second: means of a channel's samples (N,) inside each, and lines where there are none."""
    there = np.isfinite(channel)
    if not there.any():
        return np.zeros(length)
    cells = (seconds[there] * sampling + 1e-6).astype(np.int64)
    filled, first, counts = np.unique(cells, return_index=True, return_counts=True)
    even: npt.NDArray[np.float64] = np.interp(np.arange(length), filled, np.add.reduceat(channel[there], first) / counts)
    return even


def _bridged(filled: npt.NDArray[np.int64], every: npt.NDArray[np.int64], longest: float) -> npt.NDArray[np.bool_]:
    """Whether a step has a sample or lies between two that are at most ``longest`` steps apart."""
    after = np.searchsorted(filled, every)
    before = np.searchsorted(filled, every, side="right") - 1
    between = (before >= 0) & (after < len(filled))
    apart = filled[np.minimum(after, len(filled) - 1)] - filled[np.maximum(before, 0)]
    valid: npt.NDArray[np.bool_] = between & (apart <= longest)
    return valid


class SeriesReader:
    """Series from the cache, read where they are not there."""

    def __init__(self, cache: FeatureCache):
        self._cache = cache
        self._locks = cache.folder / "locks"

    def cached(self, content: str, settings: SeriesSettings) -> SeriesFeatures | None:
        """A series if it is cached; never reads its file."""
        key = _key(content, settings)
        hold = self._cache.hold(key)  # first: what is found after that stays
        if not all(self._cache.has_chunk(key, part) for part in (0, 1)):
            return None
        native, values = (self._cache.chunk(key, part, _not_cached) for part in (0, 1))
        return SeriesFeatures(_times(np.asarray(native), settings), values, hold)

    def read(self, file: MediaFile, settings: SeriesSettings) -> SeriesFeatures:
        """A file's series. Another process at the same file is waited for. Raises MediaError."""
        with alone(self._locks / f"{file.content[:32]}-series.lock"):
            if found := self.cached(file.content, settings):
                return found
            from framewise.media.series import read_series  # pandas, which a web process does not need

            series, key = read_series(file.path, settings), _key(file.content, settings)
            hold = self._cache.hold(key)
            file.check_unchanged()
            self._cache.chunk(key, 0, lambda: series.native)
            self._cache.chunk(key, 1, lambda: series.values)
        return SeriesFeatures(_times(series.native, settings), series.values, hold)


def series_key(settings: SeriesSettings) -> str:
    """What of a labeling config shapes the arrays that are read from a file."""
    return json.dumps(asdict(settings), sort_keys=True)


def _times(native: npt.NDArray[np.float64], settings: SeriesSettings) -> SeriesTimes:
    format = TimeFormat(settings.time_format) if settings.time_format else None
    return SeriesTimes(native, 1000.0 if settings.is_date else 1.0, format, whole=not settings.time_column)


def _key(content: str, settings: SeriesSettings) -> tuple[str, str, str]:
    return content, SERIES, series_key(settings)


def _not_cached() -> npt.NDArray[np.float64]:
    raise MediaError("a cached series was removed while it was being read; ask again")
