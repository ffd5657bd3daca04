"""Regions of one recording as regions of another: read from one control, put on the other's clock, written on its own grid.

A *span* is seconds of a recording. Those of pictures and sound are [start, stop); those of samples of a series are the times of
their first and last one, both included.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from framewise.core.audio_regions import AudioRegion, audio_region, read_audio_regions
from framewise.core.errors import RegionError, brief
from framewise.core.frame_grid import count_frames, js_round
from framewise.core.regions import read_regions, write_region
from framewise.core.series_regions import read_series_regions, write_series_region
from framewise.core.series_time import SeriesTimes
from framewise.labeling_config import ControlSettings
from framewise.sync.manifest import Recording, on_other_clock


@dataclass(frozen=True)
class LabelSpan:
    """sampled: whether the ends are times of samples, both included."""

    start: float
    stop: float
    sampled: bool = False


@dataclass(frozen=True)
class FoundRegion:
    """A region as it was read: its labels and spans in seconds of its recording."""

    id: str
    labels: tuple[str, ...]
    spans: tuple[LabelSpan, ...]


@dataclass(frozen=True)
class LabelTrack:
    """A control of a task and the recording that it is on. frame_rate: of a video. times: of a series."""

    control: ControlSettings
    recording: Recording
    frame_rate: float = 0.0
    times: SeriesTimes | None = None

    @property
    def seconds(self) -> float:
        """Length of its timeline; a series may be shorter than the recording that it belongs to."""
        return float(self.times.seconds[-1]) if self.times else self.recording.duration


def read_track(result: Sequence[Any], track: LabelTrack) -> list[FoundRegion]:
    """Regions of a track's control in an annotation's result. Raises RegionError for one that is none."""
    name = track.control.from_name
    if track.times:
        times = track.times
        regions = read_series_regions(result, name)
        return [FoundRegion(r.id, r.labels, (_of_samples(r.id, times, r.start, r.end),)) for r in regions]
    if track.control.tag == "Labels":
        return [FoundRegion(r.id, r.labels, (_of_sound(r),)) for r in read_audio_regions(result, name)]
    last = count_frames(track.seconds, track.frame_rate)
    return [
        FoundRegion(r.id, r.labels, tuple(_of_frames(s, e if e else max(s, last), track.frame_rate) for s, e in r.ranges))
        for r in read_regions(result, name)
    ]


def _of_frames(start: int, end: int, frame_rate: float) -> LabelSpan:
    return LabelSpan((start - 1) / frame_rate, end / frame_rate)


def _of_samples(name: str, times: SeriesTimes, start: Any, end: Any) -> LabelSpan:
    first, last = ((times.read(value) - float(times.native[0])) / times.units_per_second for value in (start, end))
    if last < first:
        raise RegionError(f"region {name!r}: starts at {brief(start)} and ends before it, at {brief(end)}")
    return LabelSpan(first, last, sampled=True)


def _of_sound(region: AudioRegion) -> LabelSpan:
    if region.start < 0:
        raise RegionError(f"region {region.id!r}: expected seconds from 0 on, found {region.start:g} to {region.end:g}")
    return LabelSpan(region.start, region.end)


# From one to another.


@dataclass(frozen=True)
class Carried:
    """One region on another track: its JSON, None if all of it is outside. cut: whether a part is."""

    region: dict[str, Any] | None
    cut: bool


def carry(found: FoundRegion, source: Recording, track: LabelTrack, score: float | None) -> Carried:
    """A region of another recording on a track. score: of a prediction; None for a region of an annotation."""
    moved = [_moved(span, source, track) for span in found.spans]
    inside = [_inside(span, track) for span in moved]
    kept = [span for span in inside if span]
    written = _written(found.labels, kept, track, 0.0 if score is None else score) if kept else None
    if written is None:
        return Carried(None, False)
    written["id"] = carried_id(found, track)
    written["score"] = score
    if score is None:
        written["origin"] = "manual"
        del written["score"]
    return Carried(written, kept != moved)


def carried_id(found: FoundRegion, track: LabelTrack) -> str:
    """The same each time that a region is carried: then it is there once."""
    text = f"{found.id}\0{track.recording.name}\0{track.control.from_name}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:10]


def _moved(span: LabelSpan, source: Recording, track: LabelTrack) -> LabelSpan:
    target = track.recording
    rates = (source.rate, source.offset or 0.0, target.rate, target.offset or 0.0)
    return replace(span, start=on_other_clock(span.start, *rates), stop=on_other_clock(span.stop, *rates))


def _inside(span: LabelSpan, track: LabelTrack) -> LabelSpan | None:
    """The part of a span that a track has. Of samples each that is inside counts, of the rest more than nothing."""
    start, stop = max(span.start, 0.0), min(span.stop, track.seconds)
    if stop < start or (stop == start and not span.sampled):
        return None
    return replace(span, start=start, stop=stop)


def _written(labels: Sequence[str], spans: Sequence[LabelSpan], track: LabelTrack, score: float) -> dict[str, Any] | None:
    names = (track.control.from_name, track.control.to_name)
    if track.times:
        samples = _samples(spans, track.times)
        return write_series_region(labels, samples, track.times, *names, score) if samples else None
    if track.control.tag == "Labels":
        return audio_region(labels, spans[0].start, spans[-1].stop, track.recording.duration, names, score)
    frames = [frames_of(span, track.frame_rate, track.seconds) for span in spans]
    region = write_region(labels, *frames[0], *names, score=score)
    region["value"]["ranges"] = [{"start": start, "end": end} for start, end in frames]
    return region


def frames_of(span: LabelSpan, frame_rate: float, seconds: float) -> tuple[int, int]:
    """First and last frame of a span, from 1 on. Edges go to the nearest frames' edges, so that what met still meets, and no
    span vanishes; samples are in the frames that they are in."""
    last = max(count_frames(seconds, frame_rate), 1)
    if span.sampled:
        start, end = (int((x + 1e-6) * frame_rate) + 1 for x in (span.start, span.stop))
    else:
        start, end = js_round(span.start * frame_rate) + 1, js_round(span.stop * frame_rate)
        if end < start:  # shorter than a frame: the one that its middle is in
            start = end = int((span.start + span.stop) / 2 * frame_rate) + 1
    start = min(max(start, 1), last)
    return start, min(max(end, start), last)


def _samples(spans: Sequence[LabelSpan], times: SeriesTimes) -> tuple[int, int] | None:
    """The first and last sample from the first span's start to the last one's end: a region of a series is one interval."""
    slack = times.slack_seconds
    start, stop, sampled = spans[0].start, spans[-1].stop, spans[-1].sampled
    seconds = times.seconds
    first = int(seconds.searchsorted(start - slack, side="left"))
    end = int(seconds.searchsorted(stop + slack, "right") if sampled else seconds.searchsorted(stop - slack, "left"))
    return (first, end - 1) if first < end else None
