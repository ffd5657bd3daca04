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
MOST_DEVIATION = 10.0  # in robust standard deviations; beyond it, only that it is far
NORMAL_QUARTILES = 1.349  # distance of a normal distribution's quartiles, in standard deviations
AGGREGATES = 5  # mean, standard deviation, least, most, root of the mean square; and whether there are any
SENSORS = "sensors 1"  # changes when the numbers become other ones: models that learned from those before are then outdated

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
        return SensorRows(step_numbers(self.times, self._values, rate, steps), rate)


class SensorRows:
    """Steps as rows: AGGREGATES numbers of each channel, then of each whether it has any; no motion, which is of pictures."""

    motion_size = MOTION_SIZE

    def __init__(self, numbers: Floats, rate: float):
        self.frame_rate = max(rate, LEAST_RATE)
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, index: npt.NDArray[np.int64]) -> Floats:
        rows: Floats = np.pad(self._numbers[index], ((0, 0), (0, MOTION_SIZE)))
        return rows


def step_numbers(times: SeriesTimes, values: Floats, rate: float, num_steps: int) -> Floats:
    """(num_steps, C * (AGGREGATES + 1)) of a series' channels (N, C), each normalised by its own median and quartiles.

    A step without a sample lies between two others, where a channel is slower than the grid, and is drawn as a line between
    them; in a gap its numbers are 0, and so is the last of them, which is else 1.
    """
    steps = times.frames(rate) - 1
    parts = [_channel(times.seconds, steps, values[:, c], rate, num_steps) for c in range(values.shape[1])]
    numbers = np.concatenate([aggregates for aggregates, _ in parts], axis=1)
    valid = np.stack([there for _, there in parts], axis=1)
    joined: Floats = np.concatenate([numbers, valid], axis=1, dtype=np.float32)
    return joined


def _channel(
    seconds: npt.NDArray[np.float64], steps: npt.NDArray[np.int64], values: Floats, rate: float, num_steps: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Aggregates (T, AGGREGATES) of one channel (N,), and whether each step has any, (T,)."""
    there = np.flatnonzero(np.isfinite(values))
    if not len(there):
        return np.zeros((num_steps, AGGREGATES), np.float32), np.zeros(num_steps, bool)
    inside, normal = steps[there], _normalised(values[there].astype(np.float64))
    filled, first, counts = np.unique(inside, return_index=True, return_counts=True)
    mean = np.add.reduceat(normal, first) / counts
    square = np.add.reduceat(normal**2, first) / counts
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    least, most = np.minimum.reduceat(normal, first), np.maximum.reduceat(normal, first)
    known = np.stack([mean, spread, least, most, np.sqrt(square)], axis=1)
    every = np.arange(num_steps)
    drawn = np.stack([np.interp(every, filled, column) for column in known.T], axis=1).astype(np.float32)
    valid = _bridged(filled, every, BRIDGED_PERIODS * max(SeriesTimes(seconds[there]).period_seconds * rate, 1.0))
    return np.where(valid[:, np.newaxis], drawn, np.float32(0)), valid


def _bridged(filled: npt.NDArray[np.int64], every: npt.NDArray[np.int64], longest: float) -> npt.NDArray[np.bool_]:
    """Whether a step has a sample or lies between two that are at most ``longest`` steps apart."""
    after = np.searchsorted(filled, every)
    before = np.searchsorted(filled, every, side="right") - 1
    between = (before >= 0) & (after < len(filled))
    apart = filled[np.minimum(after, len(filled) - 1)] - filled[np.maximum(before, 0)]
    valid: npt.NDArray[np.bool_] = between & (apart <= longest)
    return valid


def _normalised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    scale = (high - low) / NORMAL_QUARTILES
    # A channel that mostly stands still has quartiles that tell nothing of when it moves.
    scale = scale if scale > 0.1 * values.std() else values.std()
    normal: npt.NDArray[np.float64] = np.clip((values - middle) / (scale or 1.0), -MOST_DEVIATION, MOST_DEVIATION)
    return normal


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
