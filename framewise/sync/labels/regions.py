"""Conversion of regions between recordings: read on one's time axis, mapped to the other's clock, written on its axis."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from framewise.core.timeline import Axis, SpannedRegion, TimeSpan
from framewise.labeling_config import ControlSettings
from framewise.sync.manifest import Recording, on_other_clock


@dataclass(frozen=True)
class LabelTrack:
    """A control of a task and the recording that it labels. axis: of that recording, or of a series in it."""

    control: ControlSettings
    recording: Recording
    axis: Axis

    def read(self, result: Sequence[Any]) -> list[SpannedRegion]:
        """Regions of the control in an annotation's result. Raises RegionError for an invalid one."""
        return self.axis.spans(result, self.control.from_name)


@dataclass(frozen=True)
class Carried:
    """One region on another track. region: its JSON, None if it lies outside. cut: True if a part lies outside."""

    region: dict[str, Any] | None
    cut: bool


def carry(found: SpannedRegion, source: Recording, track: LabelTrack, score: float | None) -> Carried:
    """Carry a region of another recording to a track. score: of a prediction; None for a region of an annotation."""
    moved = [_moved(span, source, track) for span in found.spans]
    inside = [_inside(span, track) for span in moved]
    kept = [span for span in inside if span]
    names = (track.control.from_name, track.control.to_name)
    written = track.axis.region_of(kept, found.labels, names, 0.0 if score is None else score) if kept else None
    if written is None:
        return Carried(None, False)
    written["id"] = carried_id(found, track)
    written["score"] = score
    if score is None:
        written["origin"] = "manual"
        del written["score"]
    return Carried(written, kept != moved)


def carried_id(found: SpannedRegion, track: LabelTrack) -> str:
    """Id of a carried region. It is the same each time, so that carrying a region twice does not duplicate it."""
    text = f"{found.id}\0{track.recording.name}\0{track.control.from_name}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:10]


def _moved(span: TimeSpan, source: Recording, track: LabelTrack) -> TimeSpan:
    target = track.recording
    rates = (source.rate, source.offset or 0.0, target.rate, target.offset or 0.0)
    return replace(span, start=on_other_clock(span.start, *rates), stop=on_other_clock(span.stop, *rates))


def _inside(span: TimeSpan, track: LabelTrack) -> TimeSpan | None:
    """Part of a span inside a track, or None. A sampled span may be a single sample; any other must not be empty."""
    start, stop = max(span.start, 0.0), min(span.stop, track.axis.seconds)
    if stop < start or (stop == start and not span.sampled):
        return None
    return replace(span, start=start, stop=stop)
