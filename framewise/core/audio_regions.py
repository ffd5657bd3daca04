"""Label Studio's region JSON of sound: ``start`` and ``end`` in seconds, and the length of the whole file."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import RangeOutsideVideo, RegionError, brief
from framewise.core.media_kinds import SOUND
from framewise.core.regions import TimelineRegion, labelled_values, predicted_region

# Browsers and decoders report different lengths of a file, because encoders add padding.
TOLERANCE_SECONDS = 0.25
SLACK_FRAMES = 1e-6  # rounding error of float64: frame 3 ends at 0.12 s, and 0.12 * 25 is 3.0000000000000004


@dataclass(frozen=True)
class AudioRegion:
    """Labels of the seconds [start, end)."""

    labels: tuple[str, ...]
    start: float
    end: float
    id: str = ""


def read_audio_regions(result: Sequence[Any], from_name: str) -> list[AudioRegion]:
    """Regions of the control ``from_name`` in an annotation's ``result``, on any channel. Other regions are skipped.

    Raises RegionError for a region of this control that has no seconds or labels.
    """
    regions = []
    for name, value, labels in labelled_values(result, SOUND.region, from_name, "start, end"):
        start, end = (_seconds(value.get(edge), edge, name) for edge in ("start", "end"))
        if end < start:
            raise RegionError(f"region {name!r}: starts at {start:g} s and ends before it, at {end:g} s")
        regions.append(AudioRegion(labels, start, end, name))
    return regions


def _seconds(value: Any, edge: str, name: str) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    if not usable or not math.isfinite(value):
        raise RegionError(f"region {name!r}: expected seconds in {edge!r}, found {brief(value)}")
    return float(value)


def audio_frames(duration_seconds: float, rate: float) -> int:
    """Number of frames at ``rate`` that sound of this duration touches; at least one."""
    return max(math.ceil(duration_seconds * rate - SLACK_FRAMES), 1)


def audio_region_frames(region: AudioRegion, duration_seconds: float, rate: float) -> TimelineRegion:
    """Convert a region to the frames at ``rate`` that it touches; at least one. Raises RangeOutsideVideo."""
    if region.start >= duration_seconds + TOLERANCE_SECONDS or region.end < 0:
        raise RangeOutsideVideo(
            f"region {region.id!r}: {region.start:g} to {region.end:g} s are outside sound of {duration_seconds:.2f} s; is it "
            "the file that was annotated?"
        )
    last = audio_frames(duration_seconds, rate)
    start = min(max(math.floor(region.start * rate + SLACK_FRAMES) + 1, 1), last)
    end = min(max(math.ceil(region.end * rate - SLACK_FRAMES), start), last)
    return TimelineRegion(region.labels, ((start, end),), region.id)


def write_audio_region(
    labels: Iterable[str],
    frames: tuple[int, int],
    duration_seconds: float,
    rate: float,
    names: tuple[str, str],
    score: float,
) -> dict[str, Any]:
    """Region JSON of predicted frames (first, last), both included. names: from_name and to_name."""
    first, last = frames
    start, end = (first - 1) / rate, min(last / rate, duration_seconds)
    return audio_region(labels, start, max(end, start), duration_seconds, names, score)


def audio_region(
    labels: Iterable[str], start: float, end: float, duration_seconds: float, names: tuple[str, str], score: float | None
) -> dict[str, Any]:
    """Region JSON from ``start`` to ``end`` in seconds, as the editor writes it: ``original_length`` is beside ``value``, and
    the channel is 0, as for files whose channels are not split."""
    value = {"start": start, "end": end, "channel": 0}
    return predicted_region(SOUND.region, *names, value, labels, score) | {"original_length": duration_seconds}
