"""Time series for the learner: the cache holds a series as read, and the steps of any grid are computed from it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from framewise.core.errors import MediaError
from framewise.core.frame_grid import MAX_FRAMES
from framewise.core.media_kinds import SERIES
from framewise.core.series_time import SeriesTimes
from framewise.core.timeline import SampleAxis
from framewise.features.cache import FeatureCache, Hold
from framewise.features.sensor_numbers import (
    PAUSE_SECONDS,
    Channel,
    Grid,
    channels_of,
    known_pieces,
    number_counts,
    number_groups,
    step_numbers,
)
from framewise.labeling_config import SeriesSettings
from framewise.media.library import MediaFile

MAX_STEPS_PER_SECOND = 30.0  # as many as a video usually has frames
MAX_STEPS = 10 * MAX_FRAMES  # including pauses, which do not count towards MAX_FRAMES
SPREAD_SAMPLES = 100_000  # approximate number from which a channel's spread is computed
DECILES = (0.1, 0.9)  # range of a channel's spread
SENSORS = "sensors 3"  # changes when the numbers become other ones: models that learned from those before are then outdated
READING = " 2"  # changes when files are read as other numbers
FEW_SAMPLES = 1000

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SeriesProfile:
    """A project's series: their common grid, and typical values. spreads: of each channel, see ``SeriesFeatures.spreads``; None
    for one that none of them measures."""

    grid: Grid
    spreads: tuple[float | None, ...]

    @classmethod
    def of(cls, series: "Sequence[SeriesFeatures]") -> Self:
        """Medians of one or more series."""
        grid = Grid(_median([s.own_rate() for s in series]), _median([s.sample_rate for s in series]))
        known = [[x for s in series if not math.isnan(x := float(s.spreads[c]))] for c in range(len(series[0].spreads))]
        return cls(grid, tuple(_median(values) if values else None for values in known))

    def to_json(self) -> dict[str, Any]:
        return {"rate": self.grid.rate, "sample_rate": self.grid.sample_rate, "spreads": list(self.spreads)}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        grid = Grid(float(written["rate"]), float(written["sample_rate"]))
        return cls(grid, tuple(None if spread is None else float(spread) for spread in written["spreads"]))


class SeriesFeatures:
    """A series as read. times: of its N samples. values (N, C): NaN where a channel has a gap. hold: keeps it in the cache
    while this object lives."""

    def __init__(self, times: SeriesTimes, values: Floats, hold: Hold | None = None):
        self.times = times
        self._values = values
        self._hold = hold

    @property
    def sample_rate(self) -> float:
        """Samples per second, leaving out gaps."""
        return 1 / self.times.period_seconds

    def own_rate(self) -> float:
        """Steps per second that suit the series: a whole number of samples each, at most MAX_STEPS_PER_SECOND."""
        rate = self.sample_rate
        most = min(MAX_STEPS_PER_SECOND, max(rate, 1e-9), 1 / self.times.resolution_seconds)
        return rate / max(1, math.ceil(rate / most - 1e-6))

    @property
    def axis(self) -> SampleAxis:
        return SampleAxis(self.times, self.own_rate())

    def profile(self) -> SeriesProfile:
        return SeriesProfile.of([self])

    @cached_property
    def ranges(self) -> npt.NDArray[np.float64]:
        """Minimum and maximum of each channel, (C, 2); NaN for one without a number."""
        known = (column[np.isfinite(column)] for column in self._values.T)
        return np.array([(own.min(), own.max()) if len(own) else (np.nan, np.nan) for own in known], dtype=np.float64)

    @property
    def may_be_words(self) -> bool:
        """True if a channel has 0 and 1 alone in its first samples."""
        first = self._values[:FEW_SAMPLES]
        return bool((np.isnan(first) | (first == 0) | (first == 1)).all(axis=0).any())

    @cached_property
    def measured(self) -> npt.NDArray[np.bool_]:
        """Measured channels, (C,). If a channel is constant while others change, its sensor is off."""
        changes = self.ranges[:, 0] < self.ranges[:, 1]
        return changes if changes.any() else ~np.isnan(self.ranges[:, 0])

    @cached_property
    def spreads(self) -> npt.NDArray[np.float64]:
        """Difference between the outer deciles of each channel, (C,); NaN for an unmeasured one."""
        some = self._values[:: max(1, len(self._values) // SPREAD_SAMPLES)]
        found = np.full(some.shape[1], np.nan)
        for channel in np.flatnonzero(self.measured):
            own = some[:, channel][np.isfinite(some[:, channel])]
            found[channel] = np.subtract(*np.quantile(own.astype(np.float64), DECILES[::-1])) if len(own) else np.nan
        return found

    def num_steps(self, rate: float) -> int:
        """Steps from the first sample to the last. Raises MediaError for too many."""
        steps = self.times.num_frames(rate)
        if steps > MAX_STEPS:
            raise self._too_long(rate, MAX_STEPS)
        return steps

    def num_steps_beside(self, rate: float) -> int:
        """Steps up to the end of the last sample's period, for a slow sensor beside other media."""
        end = (float(self.times.seconds[-1]) + self.times.period_seconds) * rate
        return max(self.num_steps(rate), min(math.ceil(end - 1e-6), MAX_STEPS))

    def rows(self, rate: float, num_steps: int | None = None, sample_rate: float | None = None) -> "SensorRows":
        """Rows for the learner, one per step. sample_rate: of the project's series; of this one if None.

        Raises MediaError for too many steps.
        """
        steps = self.num_steps(rate) if num_steps is None else num_steps
        rows = SensorRows(self, Grid(rate, sample_rate or self.sample_rate), steps)
        if sum(stop - start for start, stop in rows.pieces) > MAX_FRAMES:
            raise self._too_long(rate, MAX_FRAMES)
        return rows

    def numbers(self, grid: Grid, pieces: Sequence[tuple[int, int]]) -> Floats:
        """Numbers of the steps in some pieces, one after another, see ``step_numbers``."""
        return step_numbers(self._channels(grid), self._values.shape[1], pieces)

    def known_spans(self, grid: Grid) -> list[tuple[int, int]]:
        """Spans [start, stop) of steps in which a channel is known, channel by channel."""
        return [span for _, channel in self._channels(grid) for span in channel.known()]

    def _channels(self, grid: Grid) -> Iterator[tuple[int, Channel]]:
        return channels_of(self.times, self._values, np.flatnonzero(self.measured), grid)

    def _too_long(self, rate: float, most: int) -> MediaError:
        return MediaError(
            f"a series of {self.times.seconds[-1]:.0f} s with {rate:g} steps a second has more than {most} of them; "
            "cut it into parts, or give it fewer samples"
        )


class SensorRows:
    """Steps of a series as rows; without motion, which only pictures have.

    pieces: spans [start, stop) of rows with known values. Between them is a pause of more than PAUSE_SECONDS of the learner,
    whose rows are NaN and take neither time nor memory. groups: see ``number_groups``.
    """

    def __init__(self, series: SeriesFeatures, grid: Grid, num_steps: int):
        self.frame_rate = grid.frame_rate
        channels = len(series.measured)
        self.counts: Floats | None = number_counts(channels)
        self.groups = number_groups(channels)
        spans = [(start, min(stop, num_steps)) for start, stop in series.known_spans(grid) if start < num_steps]
        self.pieces = known_pieces(spans, PAUSE_SECONDS * grid.frame_rate)
        self._series, self._grid, self._num_steps = series, grid, num_steps

    def __len__(self) -> int:
        return self._num_steps

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, None]:
        starts, stops = np.array(self.pieces, np.int64).reshape(-1, 2).T
        piece = np.searchsorted(starts, index, side="right") - 1
        inside = np.flatnonzero(piece >= 0)
        inside = inside[index[inside] < stops[piece[inside]]]
        first = np.cumsum(stops - starts) - stops  # a piece's first row among all of them, minus its start
        rows = np.full((len(index), self._numbers.shape[1]), np.nan, np.float32)
        rows[inside] = self._numbers[index[inside] + first[piece[inside]]]
        return rows, None

    @cached_property
    def _numbers(self) -> Floats:
        """(rows in pieces, D). Computed when first read: an example may be put on another grid before."""
        return self._series.numbers(self._grid, self.pieces)


def _median(values: Sequence[float]) -> float:
    """The lower of the two middle values, so that it is one of the values."""
    return sorted(values)[(len(values) - 1) // 2]


class SeriesReader:
    """Series from the cache, read if missing."""

    def __init__(self, cache: FeatureCache):
        self._cache = cache

    def cached(self, content: str, settings: SeriesSettings) -> SeriesFeatures | None:
        """A series if it is cached; never reads its file."""
        found = self._held(_key(content, settings), settings)
        if found:
            return found
        # Once TRUE and FALSE were read as 1 and 0: a series without a channel of these alone is what it would be now.
        earlier = self._held(_key(content, settings, ""), settings)
        return None if earlier is None or earlier.may_be_words else earlier

    def _held(self, key: tuple[str, str, str], settings: SeriesSettings) -> SeriesFeatures | None:
        hold = self._cache.hold(key)  # first: what is found after that stays
        if not all(self._cache.has_chunk(key, part) for part in (0, 1)):
            return None
        native, values = (self._cache.chunk(key, part, _not_cached) for part in (0, 1))
        return SeriesFeatures(settings.times(np.asarray(native)), values, hold)

    def read(self, file: MediaFile, settings: SeriesSettings) -> SeriesFeatures:
        """Series of a file. Waits if another process is reading it. Raises MediaError."""
        with self._cache.making(file.content, "series"):
            if found := self.cached(file.content, settings):
                return found
            from framewise.media.series import read_series  # pandas, which a web process does not need

            series, key = read_series(file.path, settings), _key(file.content, settings)
            hold = self._cache.hold(key)
            file.check_unchanged()
            self._cache.chunk(key, 0, lambda: series.native)
            self._cache.chunk(key, 1, lambda: series.values)
        return SeriesFeatures(settings.times(series.native), series.values, hold)


def series_key(settings: SeriesSettings) -> str:
    """Key of the labeling config's settings that affect the arrays read from a file."""
    return json.dumps(asdict(settings), sort_keys=True)


def _key(content: str, settings: SeriesSettings, reading: str = READING) -> tuple[str, str, str]:
    return content, SERIES.cached_as, series_key(settings) + reading


def _not_cached() -> npt.NDArray[np.float64]:
    raise MediaError("a cached series was removed while it was being read; try again")
