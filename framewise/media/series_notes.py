"""Notes on time series: times, channels without measurements, units and rates unlike those of annotated series.

They are made from stored facts, like those on videos.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from framewise.core.errors import brief
from framewise.core.series_time import SeriesTimes
from framewise.labeling_config import SeriesSettings
from framewise.media.notes import Note

# A channel's spread, or the sampling rate, is noted if it is this many times that of the annotated series, or this fraction.
OTHER_SPREAD, OTHER_RATE = 5.0, 1.5


@dataclass(frozen=True)
class SeriesFacts:
    """Facts of a series, from which notes are made.

    ranges (C, 2):  minimum and maximum of each channel, None for one without a number.
    spreads (C,):   see ``features.sensors.SeriesProfile``.
    sample_rate:    samples per second, without gaps.
    first, written: the first time, as a number and as written in the file.
    repeated:       number of samples with the same time as the previous one.
    """

    ranges: Sequence[tuple[float | None, float | None]]
    spreads: list[float | None]
    sample_rate: float
    samples: int
    first: float
    written: str
    repeated: int

    @classmethod
    def of(cls, times: SeriesTimes, ranges: npt.NDArray[np.float64], spreads: Sequence[float | None]) -> Self:
        known = [(None, None) if np.isnan(least) else (float(least), float(most)) for least, most in ranges]
        repeated = int((np.diff(times.native) == 0).sum())
        first, written = float(times.native[0]), str(times.written(0))
        return cls(known, list(spreads), 1 / times.period_seconds, len(times), first, written, repeated)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        own = {field.name: written[field.name] for field in fields(cls)}
        return cls(**{**own, "ranges": [tuple(channel) for channel in written["ranges"]]})


def series_notes(
    facts: SeriesFacts, settings: SeriesSettings, usual_spreads: Sequence[float | None] = (), usual_rate: float | None = None
) -> list[Note]:
    """Notes on a series. usual_spreads, usual_rate: of the annotated series, if known."""
    return [*_time_notes(facts, settings), *_channel_notes(facts, settings, usual_spreads, usual_rate)]


def _time_notes(facts: SeriesFacts, settings: SeriesSettings) -> Iterator[Note]:
    if not settings.time_column:
        yield Note(
            "the series has no timeColumn",
            "Label Studio takes each row as a second, whatever its true rate",
            "Name the column of the times if it is to play together with a video",
        )
    if settings.time_column and not settings.is_date and facts.first > 1e11:
        yield Note(
            "the times look like milliseconds since 1970",
            "Label Studio takes numbers as seconds", 'Set timeFormat="%Q"', f"they begin at {facts.written}",
        )  # fmt: skip
    if facts.repeated:
        yield Note(
            "samples have the time of the one before",
            cure="Does the time column tell them apart as finely as they were taken?",
            detail=f"{facts.repeated} of {facts.samples} samples",
        )


def _channel_notes(
    facts: SeriesFacts, settings: SeriesSettings, usual_spreads: Sequence[float | None], usual_rate: float | None
) -> Iterator[Note]:
    """Notes on channels without measurements, and on units and rates unlike those of the annotated series."""
    names = settings.channels
    missing = [name for name, (least, _) in zip(names, facts.ranges, strict=True) if least is None]
    if missing:
        yield Note(
            f"{_channels(missing)} no numbers in this series",
            "Predictions for it rely on the other channels",
            "Check the column",
        )
    constant = {n: least for n, (least, most) in zip(names, facts.ranges, strict=True) if least is not None and least == most}
    if constant and len(constant) + len(missing) < len(names):
        values = ", ".join(sorted({f"{value:g}" for value in constant.values()}))
        yield Note(
            f"{_channels(list(constant))} one value throughout, treated as not measured", "", "Was the sensor on?", values
        )
    for name, own, usual in zip(names, facts.spreads, usual_spreads, strict=False):
        if own and usual and not 1 / OTHER_SPREAD < own / usual < OTHER_SPREAD:
            yield Note(
                f"channel {name!r} spreads unlike the annotated series", "", "Is it in another unit?",
                f"{own / usual:.2g} times as far",
            )  # fmt: skip
    if usual_rate and not 1 / OTHER_RATE <= facts.sample_rate / usual_rate <= OTHER_RATE:
        yield Note(
            f"another sampling rate than the annotated series, which have {usual_rate:.4g} samples a second",
            "What is fast may be recognised less well", "", f"{facts.sample_rate:.4g} samples a second",
        )  # fmt: skip


def _channels(names: Sequence[str]) -> str:
    return f"channel {names[0]!r} has" if len(names) == 1 else f"channels {brief(list(names))} have"
