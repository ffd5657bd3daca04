"""Advice on media that play in sync, before they are annotated, with the cure."""

from collections.abc import Sequence
from dataclasses import dataclass

from framewise.core.series_time import SeriesTimes

SAME_SPAN = 0.02  # of the longer one; a difference of less is how recorders end
SAME_RATIO = 0.01  # of a whole number; 29.97 and 30 are told of where they drift apart, as spans


@dataclass(frozen=True)
class Played:
    """A medium of a sync group. name: of its tag. times: of a series. frame_rate: of the labeling config, of a video."""

    name: str
    seconds: float
    times: SeriesTimes | None = None
    frame_rate: float | None = None


def group_advice(own: Played, others: Sequence[Played]) -> list[str]:
    """Advice on a medium beside those that were read before it, most important first."""
    said = []
    for other in others:
        said += [advice for look in (_starts, _spans, _rates) if (advice := look(own, other))]
    return said


def _starts(own: Played, other: Played) -> str | None:
    """Two series that do not begin together: Label Studio plays their first samples together."""
    a, b = own.times, other.times
    if a is None or b is None or a.whole or b.whole or a.units_per_second != b.units_per_second:
        return None  # nothing says that they have one clock
    later = float(a.native[0] - b.native[0]) / a.units_per_second
    if abs(later) <= 1 / max(a.sample_rate, b.sample_rate, 1.0):
        return None
    early = other.name if later > 0 else own.name
    return (
        f"series {own.name!r} begins {abs(later):.3f} s {'after' if later > 0 else 'before'} series {other.name!r} of the same "
        "sync group; Label Studio plays their first samples together, so one of them is shown that much too early: cut the "
        f"first {abs(later):.3f} s of {early!r}, so that both begin at the same time"
    )


def _spans(own: Played, other: Played) -> str | None:
    longer, shorter = sorted((own, other), key=lambda medium: medium.seconds, reverse=True)
    if longer.seconds - shorter.seconds <= SAME_SPAN * longer.seconds:
        return None
    return (
        f"{longer.name!r} lasts {longer.seconds:.2f} s and {shorter.name!r}, of the same sync group, {shorter.seconds:.2f} s: "
        "what lies beyond the shorter one is neither learned nor predicted; are they of one recording, and is the time column "
        "in seconds?"
    )


def _rates(own: Played, other: Played) -> str | None:
    """A sensor and a video of which neither has a whole number of the other's."""
    video, series = sorted((own, other), key=lambda medium: medium.times is not None)
    if video.frame_rate is None or series.times is None or series.times.whole:
        return None
    rate = 1 / series.times.period_seconds
    ratio = max(rate / video.frame_rate, video.frame_rate / rate)
    if abs(ratio - round(ratio)) <= SAME_RATIO * ratio:
        return None
    best = round(rate / video.frame_rate) * video.frame_rate if rate > video.frame_rate else video.frame_rate
    return (
        f"series {series.name!r} has {rate:.6g} samples a second and video {video.name!r} {video.frame_rate:.6g} frames: "
        f"neither is a whole number of the other, so regions move by up to a sample ({series.times.period_seconds:.3f} s) "
        f"between the two; resample the series to {best:.6g} a second"
    )
