"""Times of a series, in numbers, and the map from the series' own times to the media's seconds."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from framewise.migrate.findings import NeedsReview, shown

WARN_SCALE = 0.02
MILLISECONDS = 1000.0  # native units a second of dates, as in Label Studio
# Directives of d3 that Python's strptime reads alike, in UTC and whatever the locale.
_ALIKE = frozenset("YymdHMSpIj%")
_DIRECTIVE = re.compile(r"%[-_0]?(.)")
_FRACTION = re.compile(r"\d+$", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Parse = Callable[[Any], float]
Times = TypeVar("Times", float, npt.NDArray[np.float64])


@dataclass(frozen=True)
class TimeMap:
    """Media seconds = (native - start) * seconds / span, the map of the old script without its error of the view's width.

    start: the first sample, native. span, seconds: the same stretch in native units and on the media.
    """

    start: float
    span: float
    seconds: float

    def __call__(self, native: Times) -> Times:
        """Of one time or of an array, to the same bit. Exact where nothing is scaled; never changes the order of two times."""
        moved = native - self.start
        return moved if self.seconds == self.span else moved * self.seconds / self.span


@dataclass(frozen=True)
class SeriesTimes:
    """Sample times of one series, ascending, in native units: of the column, or milliseconds for dates."""

    native: npt.NDArray[np.float64]
    units_a_second: float

    @property
    def start(self) -> float:
        """The first sample, native."""
        return float(self.native[0])

    @property
    def span(self) -> float:
        """From the first sample to the last, native."""
        return float(self.native[-1] - self.native[0])

    @property
    def span_seconds(self) -> float:
        """The span as Label Studio reads it: a number counts as seconds."""
        return self.span / self.units_a_second

    @property
    def sample_seconds(self) -> float:
        """The usual distance of two samples."""
        return float(np.median(np.diff(self.native))) / self.units_a_second

    def agrees(self, duration: float, frame_seconds: float) -> bool:
        """Whether the series is as long as its media, within a frame or a sample."""
        return abs(self.span_seconds - duration) <= max(frame_seconds, self.sample_seconds) * (1 + 1e-9)

    def map_to(self, duration: float) -> TimeMap:
        """The old script's map: the whole series on the whole media."""
        return TimeMap(self.start, self.span, duration)

    def unscaled(self) -> TimeMap:
        """Seconds since the first sample."""
        return TimeMap(self.start, self.units_a_second, 1.0)


def read_times(cells: Sequence[Any], time_format: str | None, is_date: bool) -> SeriesTimes:
    """Sample times from a column's cells, as a ``SeriesTag`` describes them.

    Raises NeedsReview for what is no time, and for times that go back.
    """
    parse = parser(time_format)
    native = np.array([parse(cell) for cell in cells], np.float64)
    if len(native) < 2:
        raise NeedsReview(f"its series has {len(native)} samples; expected at least 2")
    if (steps := np.diff(native) < 0).any():
        row = int(np.argmax(steps))
        raise NeedsReview(f"times of its series go back after sample {row + 1}, {shown(cells[row])}; sort its rows by time")
    times = SeriesTimes(native, MILLISECONDS if is_date else 1.0)
    if not times.span > 0:
        raise NeedsReview(f"all samples of its series are at one time, {shown(cells[0])}")
    return times


def parser(time_format: str | None) -> Parse:
    """What reads one time, of a sample or of a region. Raises NeedsReview for a format that is not known here."""
    return _number if time_format is None else _formatted(time_format)


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
        return lambda cell: _number(cell) * factor
    python_format, fraction = _python_format(time_format)

    def parse(cell: Any) -> float:
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            return _number(cell)  # regions of old versions have milliseconds
        text = str(cell).strip()
        try:
            if fraction and not _has_digits(text, fraction):
                raise ValueError(text)
            at = datetime.strptime(text, python_format).replace(tzinfo=UTC)
        except ValueError:
            raise NeedsReview(f"expected a time like {shown(time_format)}, found {shown(repr(cell))}") from None
        return (at - _EPOCH) / timedelta(milliseconds=1)

    return parse


def _python_format(time_format: str) -> tuple[str, str]:
    """A d3 format in Python's letters, and the directive of its fraction of a second, "" if it has none."""
    letters = _DIRECTIVE.findall(time_format)
    fraction = next((letter for letter in letters if letter in "Lf"), "")
    known = all(letter in _ALIKE or letter in "eLf" for letter in letters)
    if not letters or not known or (fraction and not time_format.endswith(f"%{fraction}")):
        raise NeedsReview(f"the timeFormat {shown(time_format)} is not one that is read here; write the column in seconds")
    changed = {"e": "%d", "L": "%f"}
    return _DIRECTIVE.sub(lambda m: changed.get(m[1], f"%{m[1]}"), time_format), fraction


def _has_digits(text: str, fraction: str) -> bool:
    """Whether a fraction means the same to Python and to d3, which takes the digits of %L for a whole number: 5 is 5 ms."""
    digits = _FRACTION.search(text)
    return digits is not None and (len(digits[0]) == 3 if fraction == "L" else len(digits[0]) in (3, 6))
