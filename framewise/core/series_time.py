"""Times of a series' samples, in Label Studio's units and in seconds; conversion of samples to frames of a grid and back.

Seconds count from the first sample, because Label Studio aligns it with the start of synchronised media.

*Native* times are those of regions: with a ``timeFormat``, milliseconds since 1970 (written as text in that format); otherwise
the number in the time column, taken as seconds; without a time column, the row index, one row per second.

Frame N covers the seconds [(N-1)/rate, N/rate). A region's ``end`` is its last included sample. Frames are converted to the
samples inside them, and a sample to the frame that contains it. Written times are often truncated to milliseconds, which may
move a sample from the first edge of a frame to just before it, so samples count as later by the resolution of their text.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import RegionError, brief
from framewise.core.time_format import TimeFormat

FloatArray = npt.NDArray[np.float64]

FINEST_SECONDS = 1e-6  # rounding error of float64 for seconds since 1970
MILLISECONDS = 1000.0  # native units per second of dates
LARGEST = 1e18  # of native times
MAX_EXACT_FRAMES = 2.0**53  # that float64 counts
# Resolutions of a numeric time column, as powers of ten. Coarser times are taken as exact.
DECIMALS = (3, 4, 5)
GAPLESS_PERIODS = 1.5  # larger differences of times, in median ones, are gaps
SLACK_SECONDS = 0.001  # at most: times in whole seconds are imprecise by many frames anyway


@dataclass(frozen=True, eq=False)
class SeriesTimes:
    """Times of a series' samples. native (N,): ascending, duplicates allowed, N >= 1. units_per_second: 1000 for dates, else 1.
    format: of times written as text; None for numbers. whole: True if native values are row indices."""

    native: FloatArray
    units_per_second: float = 1.0
    format: TimeFormat | None = None
    whole: bool = False

    def __len__(self) -> int:
        return len(self.native)

    @cached_property
    def seconds(self) -> FloatArray:
        """Seconds since the first sample, (N,)."""
        seconds: FloatArray = (self.native - self.native[0]) / self.units_per_second
        return seconds

    @cached_property
    def resolution_seconds(self) -> float:
        """Resolution of the samples' written times."""
        if self.format:
            return self.format.resolution_seconds
        for decimals in () if self.whole else DECIMALS:
            scaled = self.native * 10.0**decimals
            if np.abs(scaled - np.rint(scaled)).max() < 1e-3:
                return max(10.0**-decimals / self.units_per_second, FINEST_SECONDS)
        return FINEST_SECONDS

    @property
    def slack_seconds(self) -> float:
        """Seconds added to written times; see the module's docstring."""
        return self.resolution_seconds if self.resolution_seconds <= SLACK_SECONDS else FINEST_SECONDS

    @cached_property
    def period_seconds(self) -> float:
        """Mean time between consecutive samples, without gaps; 1 s if all times are equal."""
        between = np.diff(self.seconds)
        between = between[between > 0]
        if not len(between):
            return 1.0
        return float(between[between <= GAPLESS_PERIODS * np.median(between)].mean())

    @property
    def sample_rate(self) -> float:
        """Mean number of samples per second; 0 if all times are equal."""
        return (len(self) - 1) / float(self.seconds[-1]) if self.seconds[-1] > 0 else 0.0

    def resolves(self, rate: float) -> bool:
        """True if the written times are fine enough for frames at this rate."""
        return self.resolution_seconds <= 0.5 / rate

    def frames(self, rate: float) -> npt.NDArray[np.int64]:
        """Frame number, from 1, of each sample, (N,)."""
        return self._frames(self.seconds, rate)

    def num_frames(self, rate: float) -> int:
        """Number of frames up to that of the last sample."""
        return int(self._frames(self.seconds[-1:], rate)[0])

    def _frames(self, seconds: FloatArray, rate: float) -> npt.NDArray[np.int64]:
        numbers = np.clip((seconds + self.slack_seconds) * rate, -MAX_EXACT_FRAMES, MAX_EXACT_FRAMES)
        return np.floor(numbers).astype(np.int64) + 1

    def samples_in(self, start: int, end: int, rate: float) -> tuple[int, int] | None:
        """Indices of the first and the last sample in the frames start to end, both included; None if there is none."""
        frames = self.frames(rate)
        first, stop = int(np.searchsorted(frames, start, side="left")), int(np.searchsorted(frames, end, side="right"))
        return (first, stop - 1) if first < stop else None

    def instant_in(self, start: int, end: int, rate: float) -> tuple[int, int] | None:
        """Nearest sample, as (first, last), to frames that contain none; None if it is a sample period or more away."""
        first, last = (start - 1) / rate, end / rate
        away = np.maximum(np.maximum(first - self.seconds, self.seconds - last), 0)
        nearest = int(away.argmin())
        return (nearest, nearest) if away[nearest] < self.period_seconds else None

    def frame_of(self, native: float, rate: float) -> int:
        """Frame number, from 1, of a native time; below 1 before the first sample."""
        return int(self._frames(np.array([(native - self.native[0]) / self.units_per_second]), rate)[0])

    def written(self, index: int) -> str | float | int:
        """A sample's time as it is written in regions."""
        value = float(self.native[index])
        if self.format:
            return self.format.format(value)
        return int(value) if value.is_integer() else value

    def read(self, value: Any) -> float:
        """Native time of a region's ``start`` or ``end``. Raises RegionError if it is not a time."""
        native = math.nan
        if isinstance(value, str):
            # Without a format, Label Studio reads a number.
            native = float(self.format.parse([value])[0]) if self.format else _number(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            native = float(value) if abs(value) < LARGEST else math.nan
        if not math.isfinite(native):
            expected = f"text in the format {self.format.text!r}" if self.format else "a number"
            raise RegionError(f"expected {expected}, found {brief(value)}; was timeFormat changed after the annotation?")
        return native


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
