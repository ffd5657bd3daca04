"""Times of a series as numbers, and their map to seconds of the media."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ConfigError
from framewise.core.series_time import MILLISECONDS, SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.migrate.findings import NeedsReview, shown

WARN_SCALE = 0.02
_FRACTION_DIRECTIVE = re.compile(r"%[-_0]?([Lf])")
_FRACTION = re.compile(r"\d+$", re.ASCII)

Floats = npt.NDArray[np.float64]
Parse = Callable[[Sequence[Any]], Floats]
Times = TypeVar("Times", float, Floats)


@dataclass(frozen=True)
class TimeMap:
    """Media seconds = (native - start) * seconds / span: the map of the old script without its error by the view's width.

    start: first sample in native units. span, seconds: the same time span in native units and on the media.
    """

    start: float
    span: float
    seconds: float

    def __call__(self, native: Times) -> Times:
        """Map one time or an array, bit for bit the same. Exact without scaling; preserves the order of times."""
        moved = native - self.start
        return moved if self.seconds == self.span else moved * self.seconds / self.span


class PlayerTimes(SeriesTimes):
    """Times of a series by which a player moved a video."""

    @property
    def start(self) -> float:
        """First sample in native units."""
        return float(self.native[0])

    @property
    def span(self) -> float:
        """Time from the first sample to the last in native units."""
        return float(self.native[-1] - self.native[0])

    @property
    def span_seconds(self) -> float:
        """Span as Label Studio reads it: plain numbers are seconds."""
        return float(self.seconds[-1])

    @property
    def sample_seconds(self) -> float:
        """Median distance of samples."""
        return float(np.median(np.diff(self.native))) / self.units_per_second

    def agrees(self, duration: float, frame_seconds: float) -> bool:
        """True if the series is as long as its media, within a frame or a sample."""
        return abs(self.span_seconds - duration) <= max(frame_seconds, self.sample_seconds) * (1 + 1e-9)

    def map_to(self, duration: float) -> TimeMap:
        """Map of the old script: the whole series to the whole media."""
        return TimeMap(self.start, self.span, duration)

    def unscaled(self) -> TimeMap:
        """Map to seconds since the first sample."""
        return TimeMap(self.start, self.units_per_second, 1.0)


def read_times(cells: Sequence[Any], time_format: str | None, is_date: bool) -> PlayerTimes:
    """Read sample times from a column's cells, as described by a ``SeriesTag``.

    Raises NeedsReview for invalid times, and for times that go back.
    """
    native = parser(time_format)(cells)
    if len(native) < 2:
        raise NeedsReview(f"its series has {len(native)} samples; expected at least 2")
    if (steps := np.diff(native) < 0).any():
        row = int(np.argmax(steps))
        raise NeedsReview(f"times of its series go back after sample {row + 1}, {shown(cells[row])}; sort its rows by time")
    times = PlayerTimes(native, MILLISECONDS if is_date else 1.0)
    if not times.span > 0:
        raise NeedsReview(f"all samples of its series are at one time, {shown(cells[0])}")
    return times


def parser(time_format: str | None) -> Parse:
    """Parser of times of samples or regions. Raises NeedsReview for an unknown format."""
    return _numbers if time_format is None else _formatted(time_format)


def _numbers(cells: Sequence[Any]) -> Floats:
    return np.array([_number(cell) for cell in cells], np.float64)


def _number(cell: Any) -> float:
    try:
        value = math.nan if isinstance(cell, bool) or cell is None else float(cell)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise NeedsReview(f"expected a number as a time, found {shown(repr(cell))}")
    return value


def _formatted(time_format: str) -> Parse:
    if time_format in ("%Q", "%s"):
        factor = 1.0 if time_format == "%Q" else MILLISECONDS
        return lambda cells: _numbers(cells) * factor
    known, fraction = _known(time_format)

    def parse(cells: Sequence[Any]) -> Floats:
        numbers = [isinstance(cell, int | float) for cell in cells]  # regions of old versions are in milliseconds
        texts = [str(cell).strip() for cell in cells]
        readable = [not number and _has_digits(text, fraction) for number, text in zip(numbers, texts, strict=True)]
        moments = known.parse([text if so else "" for so, text in zip(readable, texts, strict=True)])
        for place in np.flatnonzero(np.isnan(moments)):
            if not numbers[place]:
                raise NeedsReview(f"expected a time like {shown(time_format)}, found {shown(repr(cells[place]))}")
            moments[place] = _number(cells[place])
        return moments

    return parse


def _known(time_format: str) -> tuple[TimeFormat, str]:
    """(time format, directive of its fraction of a second, or "" if it has none)."""
    fraction = next(iter(_FRACTION_DIRECTIVE.findall(time_format)), "")
    try:
        if fraction and not time_format.endswith(f"%{fraction}"):
            raise ConfigError(f"the fraction of timeFormat {shown(time_format)} must be at its end")
        return TimeFormat(time_format), fraction
    except ConfigError as error:
        raise NeedsReview(f"{error}; write the column in seconds") from None


def _has_digits(text: str, fraction: str) -> bool:
    """True if a fraction is unambiguous: d3 reads the digits of %L as a whole number, so that 5 is 5 ms."""
    digits = _FRACTION.search(text)
    return not fraction or (digits is not None and len(digits[0]) in ((3,) if fraction == "L" else (3, 6)))
