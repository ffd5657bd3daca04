"""Notes on media that play in sync."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from framewise.core.series_time import SeriesTimes
from framewise.media.notes import Note

SAME_SPAN = 0.02  # of the longer one; smaller differences are normal between recorders
SAME_RATIO = 0.01  # of a whole number; 29.97 and 30 are noticed by their different spans once they drift apart


@dataclass(frozen=True)
class Clock:
    """Times of a series. first: time of the first sample, in seconds. period: seconds between samples. unit: native units per
    second. whole: see ``SeriesTimes``."""

    first: float
    period: float
    unit: float
    whole: bool

    @classmethod
    def of(cls, times: SeriesTimes) -> Self:
        first = float(times.native[0]) / times.units_per_second
        return cls(first, times.period_seconds, times.units_per_second, times.whole)


@dataclass(frozen=True)
class Played:
    """A medium of a sync group. name: of its tag. clock: of a series. frame_rate: of the labeling config, of a video."""

    name: str
    seconds: float
    clock: Clock | None = None
    frame_rate: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "clock": asdict(self.clock) if self.clock else None}

    @classmethod
    def from_json(cls, name: str, written: Mapping[str, Any], frame_rate: float | None = None) -> Self:
        return cls(name, written["seconds"], Clock(**written["clock"]) if written["clock"] else None, frame_rate)


def group_notes(own: Played, others: Sequence[Played]) -> list[Note]:
    """Notes on a medium beside others of its task's sync group, most important first."""
    return [note for other in others for look in (_starts, _spans, _rates) if (note := look(own, other))]


def _starts(own: Played, other: Played) -> Note | None:
    """Note on series that begin at different times: Label Studio plays their first samples together."""
    a, b = own.clock, other.clock
    if a is None or b is None or a.whole or b.whole or a.unit != b.unit:
        return None  # their clocks may differ
    later = a.first - b.first
    if abs(later) <= 1 / max(1 / a.period, 1 / b.period, 1.0):
        return None
    early, late = (other.name, own.name) if later > 0 else (own.name, other.name)
    return Note(
        f"series {late!r} begins after series {early!r} of the same sync group",
        "Label Studio plays their first samples together, so one of them is shown too early",
        f"Cut the beginning of {early!r}, so that both begin at the same time", f"{abs(later):.3f} s later",
    )  # fmt: skip


def _spans(own: Played, other: Played) -> Note | None:
    longer, shorter = sorted((own, other), key=lambda medium: medium.seconds, reverse=True)
    if longer.seconds - shorter.seconds <= SAME_SPAN * longer.seconds:
        return None
    return Note(
        f"{longer.name!r} lasts longer than {shorter.name!r}, of the same sync group",
        "What lies beyond the shorter one is neither learned nor predicted",
        "Are they of one recording, and is the time column in seconds?",
        f"{longer.seconds:.2f} s and {shorter.seconds:.2f} s",
    )


def _rates(own: Played, other: Played) -> Note | None:
    """Note on a sensor and a video neither of whose rates is a multiple of the other's."""
    video, series = sorted((own, other), key=lambda medium: medium.clock is not None)
    if video.frame_rate is None or series.clock is None or series.clock.whole:
        return None
    rate = 1 / series.clock.period
    ratio = max(rate / video.frame_rate, video.frame_rate / rate)
    if abs(ratio - round(ratio)) <= SAME_RATIO * ratio:
        return None
    best = round(rate / video.frame_rate) * video.frame_rate if rate > video.frame_rate else video.frame_rate
    names = f"series {series.name!r} and the {video.frame_rate:.6g} frames a second of video {video.name!r}"
    return Note(
        f"the rates of {names} are not whole multiples of each other",
        "Regions move by up to a sample between the two", f"Resample the series to {best:.6g} a second",
        f"{rate:.6g} samples a second, {series.clock.period:.3f} s apart",
    )  # fmt: skip
