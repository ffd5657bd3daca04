"""Time axes of media: conversion of Label Studio's regions to seconds and to frames of any grid, and back.

The unit of an axis is that of its medium's regions: frames of a video, samples of a series, seconds of sound.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.audio_regions import (
    audio_frames,
    audio_region,
    audio_region_frames,
    read_audio_regions,
    write_audio_region,
)
from framewise.core.converter import Segment, on_grid, regridded, segments_to_regions
from framewise.core.errors import RegionError, brief
from framewise.core.frame_grid import count_frames, js_round
from framewise.core.regions import TimelineRegion, read_regions, write_region
from framewise.core.series_regions import read_series_regions, series_region_frames, write_series_region
from framewise.core.series_time import SeriesTimes

logger = logging.getLogger(__name__)

Names = tuple[str, str]  # from_name and to_name of a control
ReadRegion = tuple[str, tuple[str, ...], Sequence[tuple[Any, Any]]]  # id, labels, intervals
SAMPLE_SLACK_SECONDS = 1e-6  # rounding error of float64 for a sample's time


@dataclass(frozen=True)
class TimeSpan:
    """Seconds [start, stop) of a medium. sampled: True if they are the times of a first and a last sample, both included."""

    start: float
    stop: float
    sampled: bool = False


@dataclass(frozen=True)
class SpannedRegion:
    """Labels and spans, in seconds, of a region that was read."""

    id: str
    labels: tuple[str, ...]
    spans: tuple[TimeSpan, ...]


class Axis(ABC):
    """Time axis of a file. seconds: length of the file."""

    seconds: float

    @abstractmethod
    def num_frames(self, rate: float) -> int:
        """Number of frames of a grid, ``rate`` per second, from beginning to end."""

    # In seconds.

    def spans(self, result: Sequence[Any], from_name: str) -> list[SpannedRegion]:
        """Regions of a control in an annotation's result. Raises RegionError for an invalid one."""
        found = []
        for name, labels, ends in self._read(result, from_name):
            try:
                found.append(SpannedRegion(name, labels, tuple(self.to_seconds(start, end) for start, end in ends)))
            except RegionError as error:
                raise RegionError(f"region {name!r}: {error}") from None
        return found

    @abstractmethod
    def to_seconds(self, start: Any, end: Any) -> TimeSpan:
        """Convert an interval in the axis' own unit to seconds. Raises RegionError for an invalid one."""

    @abstractmethod
    def region_of(self, spans: Sequence[TimeSpan], labels: Sequence[str], names: Names, score: float) -> dict[str, Any] | None:
        """Region JSON of one or several spans; None if the medium has nothing in them. On media whose regions are single
        intervals, it lasts from the first span to the last."""

    @abstractmethod
    def _read(self, result: Sequence[Any], from_name: str) -> Iterable[ReadRegion]:
        """Regions of a control in the axis' own unit. Raises RegionError."""

    # As frames of a grid that begins with the medium.

    @abstractmethod
    def frames(self, result: Sequence[Any], from_name: str, rate: float) -> list[TimelineRegion]:
        """Regions of a control in an annotation's result, as frames at ``rate``. Raises RegionError."""

    @abstractmethod
    def regions(self, segments: Sequence[Segment], labels: Sequence[str], names: Names, rate: float) -> list[dict[str, Any]]:
        """Segments of rows at ``rate`` as Label Studio's JSON. Segments in which the medium has nothing are omitted."""


@dataclass(frozen=True)
class FrameAxis(Axis):
    """Frames of a video, numbered from 1 at the labeling config's frame rate."""

    frame_rate: float
    seconds: float

    def num_frames(self, rate: float) -> int:
        """Length of the editor's timeline at that rate; at least one."""
        return max(count_frames(self.seconds, rate), 1)

    def to_seconds(self, start: int, end: int | None) -> TimeSpan:
        """Convert frames from start to end, both included, to seconds; an ``end`` of None means the last one."""
        return TimeSpan((start - 1) / self.frame_rate, (end or max(start, self.num_frames(self.frame_rate))) / self.frame_rate)

    def from_seconds(self, span: TimeSpan) -> tuple[int, int]:
        """First and last frame, from 1, of a span. Its ends are rounded to the nearest edges of frames, so adjacent spans stay
        adjacent, and no span vanishes. A sample belongs to the frame that contains it."""
        rate, last = self.frame_rate, self.num_frames(self.frame_rate)
        if span.sampled:
            start, end = (int((x + SAMPLE_SLACK_SECONDS) * rate) + 1 for x in (span.start, span.stop))
        else:
            start, end = js_round(span.start * rate) + 1, js_round(span.stop * rate)
            if end < start:  # shorter than a frame: use the one that contains its middle
                start = end = int((span.start + span.stop) / 2 * rate) + 1
        start = min(max(start, 1), last)
        return start, min(max(end, start), last)

    def region_of(self, spans: Sequence[TimeSpan], labels: Sequence[str], names: Names, score: float) -> dict[str, Any]:
        frames = [self.from_seconds(span) for span in spans]
        region = write_region(labels, *frames[0], *names, score=score)
        region["value"]["ranges"] = [{"start": start, "end": end} for start, end in frames]
        return region

    def _read(self, result: Sequence[Any], from_name: str) -> Iterable[ReadRegion]:
        return ((r.id, r.labels, r.ranges) for r in read_regions(result, from_name))

    def frames(self, result: Sequence[Any], from_name: str, rate: float) -> list[TimelineRegion]:
        own, number = self.frame_rate, self.num_frames(self.frame_rate)
        return [regridded(region, own, number, rate) for region in read_regions(result, from_name)]

    def regions(self, segments: Sequence[Segment], labels: Sequence[str], names: Names, rate: float) -> list[dict[str, Any]]:
        own, number = self.frame_rate, self.num_frames(self.frame_rate)
        if own != rate:
            segments = [moved for s in segments if (moved := on_grid(s, rate, own, number))]
        return segments_to_regions(segments, labels, *names)


@dataclass(frozen=True)
class SampleAxis(Axis):
    """Samples of a series. own_rate: frame rate at which each frame outside of gaps has a sample."""

    times: SeriesTimes
    own_rate: float | None = None

    @property
    def seconds(self) -> float:  # type: ignore[override]
        """Seconds from the first sample to the last."""
        return float(self.times.seconds[-1])

    def num_frames(self, rate: float) -> int:
        return self.times.num_frames(rate)

    def to_seconds(self, start: Any, end: Any) -> TimeSpan:
        """Convert samples from start to end, both included, as written in a region, to seconds."""
        times = self.times
        first, last = ((times.read(value) - float(times.native[0])) / times.units_per_second for value in (start, end))
        if last < first:
            raise RegionError(f"starts at {brief(start)} and ends before it, at {brief(end)}")
        return TimeSpan(first, last, sampled=True)

    def from_seconds(self, span: TimeSpan) -> tuple[int, int] | None:
        """First and last sample in a span; None if it contains none."""
        seconds, slack = self.times.seconds, self.times.slack_seconds
        first = int(seconds.searchsorted(span.start - slack, side="left"))
        if span.sampled:
            end = int(seconds.searchsorted(span.stop + slack, "right"))
        else:
            end = int(seconds.searchsorted(span.stop - slack, "left"))
        return (first, end - 1) if first < end else None

    def region_of(self, spans: Sequence[TimeSpan], labels: Sequence[str], names: Names, score: float) -> dict[str, Any] | None:
        samples = self.from_seconds(TimeSpan(spans[0].start, spans[-1].stop, spans[-1].sampled))
        return write_series_region(labels, samples, self.times, *names, score) if samples else None

    def _read(self, result: Sequence[Any], from_name: str) -> Iterable[ReadRegion]:
        return ((r.id, r.labels, [(r.start, r.end)]) for r in read_series_regions(result, from_name))

    def frames(self, result: Sequence[Any], from_name: str, rate: float) -> list[TimelineRegion]:
        return [series_region_frames(region, self.times, rate) for region in read_series_regions(result, from_name)]

    def regions(self, segments: Sequence[Segment], labels: Sequence[str], names: Names, rate: float) -> list[dict[str, Any]]:
        found = []
        for segment in segments:
            label, frames = labels[segment.label_index], (segment.index + 1, segment.stop)
            # A region must begin at a sample. A span between two samples of a slow sensor, or in a gap, has none.
            samples = self.times.samples_in(*frames, rate)
            if samples is None and rate != self.own_rate:
                samples = self.times.instant_in(*frames, rate)
            if samples is None:
                logger.info("%r: %r in steps %d-%d has no sample", names[0], label, *frames)
                continue
            found.append(write_series_region([label], samples, self.times, *names, segment.score, segment.instant))
        return found


@dataclass(frozen=True)
class SecondsAxis(Axis):
    """Seconds of sound."""

    seconds: float

    def num_frames(self, rate: float) -> int:
        return audio_frames(self.seconds, rate)

    def to_seconds(self, start: float, end: float) -> TimeSpan:
        if start < 0:
            raise RegionError(f"expected seconds from 0 on, found {start:g} to {end:g}")
        return TimeSpan(start, end)

    def region_of(self, spans: Sequence[TimeSpan], labels: Sequence[str], names: Names, score: float) -> dict[str, Any]:
        return audio_region(labels, spans[0].start, spans[-1].stop, self.seconds, names, score)

    def _read(self, result: Sequence[Any], from_name: str) -> Iterable[ReadRegion]:
        return ((r.id, r.labels, [(r.start, r.end)]) for r in read_audio_regions(result, from_name))

    def frames(self, result: Sequence[Any], from_name: str, rate: float) -> list[TimelineRegion]:
        return [audio_region_frames(region, self.seconds, rate) for region in read_audio_regions(result, from_name)]

    def regions(self, segments: Sequence[Segment], labels: Sequence[str], names: Names, rate: float) -> list[dict[str, Any]]:
        heard = [s for s in segments if s.index / rate < self.seconds]
        return [
            write_audio_region([labels[s.label_index]], (s.index + 1, s.stop), self.seconds, rate, names, s.score)
            for s in heard
        ]
