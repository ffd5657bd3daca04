"""The one model of several controls whose media play in sync: it learns from all of them, and predicts on each.

Its rows are frames of one grid that begins with all media together: second 0 is the first picture, the first sample and the
beginning of the sound. It ends where the shortest of them ends.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from framewise.controls.base import ControlModel, Example, Features, Labels, Medium, Predicted, Profiles
from framewise.controls.timeline_labels import TimelineLabelsModel, certainty
from framewise.core.errors import RequestError
from framewise.core.intervals import Intervals
from framewise.core.regions import TimelineRegion
from framewise.features.extraction import VideoFeatures
from framewise.features.sensor_numbers import LEAST_RATE
from framewise.features.sensors import SeriesFeatures, SeriesProfile
from framewise.labeling_config import sync_groups
from framewise.learning.auto import AutoClassifier
from framewise.learning.joint import JointRows
from framewise.learning.tracks import Rows


class SyncGroupModel(TimelineLabelsModel):
    """Controls of one sync group. Its versions are kept under the name of the first of them."""

    def __init__(self, members: Sequence[TimelineLabelsModel]):
        labels = {label.name: label for member in members for label in member.control.labels}
        unreviewed = dict.fromkeys(name for member in members for name in member.control.unreviewed)
        first = members[0]
        joined = replace(first.control, labels=tuple(labels.values()), unreviewed=tuple(unreviewed))
        super().__init__(joined, first.project, first._parts)
        self.members = list(members)
        # Each medium is read by the first control on it.
        self._readers = {member.control.to_name: member for member in reversed(members)}
        self._media = list(dict.fromkeys(member.control.to_name for member in members))
        for member in members:
            member.group = self

    @property
    def _video(self) -> TimelineLabelsModel | None:
        """The control whose video gives the grid."""
        return next((member for member in self.members if member.media_tag == "Video"), None)

    @property
    def backbone_name(self) -> str:
        return " + ".join(self._readers[name].backbone_name for name in self._media)

    def sources(self, task_data: Mapping[str, Any]) -> list[tuple[ControlModel, str]]:
        """Media that a task lacks are left out, as long as there is one."""
        found: list[tuple[ControlModel, str]] = []
        for name in self._media:
            reader = self._readers[name]
            if task_data.get(reader.control.value_key) not in (None, ""):
                found.append((reader, reader.control.media_source(task_data)))
        if not found:
            fields = [self._readers[name].control.value_key for name in self._media]
            raise RequestError(f"task data: expected the address of a medium in at least one of {fields}, found none")
        return found

    def task_example(
        self,
        media: Sequence[Medium],
        task_data: Mapping[str, Any],
        result: Sequence[Any],
        labels: Labels | None,
    ) -> Example:
        """What several controls say of the same label is joined."""
        features = {medium.control.control.to_name: medium.features for medium in media}

        def on_grid(profiles: Profiles) -> Example:
            return self._joint_example(features, profiles, task_data, result, labels, media[0].content)

        series = {name: medium for name, medium in features.items() if isinstance(medium, SeriesFeatures)}
        return replace(on_grid({}), series=series, on_grid=on_grid)

    def _joint_example(
        self,
        features: Mapping[str, Features],
        profiles: Profiles,
        task_data: Mapping[str, Any],
        result: Sequence[Any],
        labels: Labels | None,
        content: str,
    ) -> Example:
        """An example on the grid of the project's series, if that is known."""
        rate = self._rate(features, task_data, profiles)
        rows = self._rows(features, rate, profiles)
        frames = [
            region
            for member in self.members
            if member.control.to_name in features
            for region in member.frames_of(result, features[member.control.to_name], rate, task_data)
        ]
        inside = [cut for region in frames if (cut := _cut(region, len(rows)))]
        told = [labels[m.control.from_name] for m in self.members if m.control.from_name in labels] if labels else []
        known = sorted({name for names in told for name in names}) if told else None
        example = self._example(rows, inside, content, known)
        example = replace(example, group=self.control.group_value(task_data))
        if len(inside) < len(frames):
            end = f"{len(rows) / rate:.2f} s, where the shortest medium of the sync group ends"
            return replace(example, notes=[*example.notes, f"{len(frames) - len(inside)} regions after {end}, are left out"])
        return example

    def task_prediction(self, media: Sequence[Medium], task_data: Mapping[str, Any]) -> Predicted:
        features = {medium.control.control.to_name: medium.features for medium in media}
        profiles = self._profiles
        rate = self._rate(features, task_data, profiles)
        model = self._model
        assert isinstance(model, AutoClassifier)
        rows = self._rows(features, rate, profiles)
        scores, regions, intervals = model.predict(rows), [], {}
        video = features.get(self._video.control.to_name) if self._video else None
        # A video is drawn to its end, also where another medium ends earlier.
        drawn = video.timeline.num_frames(rate) if isinstance(video, VideoFeatures) else len(rows)
        for member in self.members:
            name, to_name = member.control.from_name, member.control.to_name
            segments, labels, _ = self._segments(scores, member.control)
            intervals[name] = Intervals.of(segments, labels, drawn, rate)
            if to_name in features:
                regions += member.regions_of(segments, labels, features[to_name], rate, task_data)
        return Predicted(regions, certainty(scores), intervals)

    def prediction_key(self) -> str:
        keys = [member.control.prediction_key() for member in self.members]
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:6]

    def _features_identity(self) -> dict[str, str | None]:
        identities = [[name, self._readers[name]._features_identity()] for name in self._media]
        return {"sha256": json.dumps(["sync group", self._video is not None, identities]), "crop": None}

    # The grid.

    def _rate(self, features: Mapping[str, Features], task_data: Mapping[str, Any], profiles: Profiles) -> float:
        """Frames a second: the video's where the group has one, also for a task that lacks it; else of the finest medium."""
        if self._video:
            return self._video.control.frame_rate(task_data)
        rates = [profile.grid.rate for profile in profiles.values()]
        others = [medium for name, medium in features.items() if name not in profiles]
        return max(rates + [medium.own_rate() for medium in others if not isinstance(medium, VideoFeatures)])

    def _rows(self, features: Mapping[str, Features], rate: float, profiles: Profiles) -> JointRows:
        """Raises MediaError for media that are too long."""
        parts = [_rows_of(features[name], rate, profiles.get(name)) if name in features else None for name in self._media]
        number = min(len(part) for part in parts if part is not None)
        moving = self._media.index(self._video.control.to_name) if self._video else None
        return JointRows(parts, number, rate if self._video else max(rate, LEAST_RATE), moving, self._media)


def _rows_of(features: Features, rate: float, profile: SeriesProfile | None) -> Rows:
    if isinstance(features, VideoFeatures):
        return features.rows_on_grid(rate)
    if isinstance(features, SeriesFeatures):
        sample_rate = profile.grid.sample_rate if profile else None
        return features.rows(rate, features.num_steps_beside(rate), sample_rate)
    return features.rows(rate)


def _cut(region: TimelineRegion, num_frames: int) -> TimelineRegion | None:
    """What of a region lies in the first frames; None if nothing does."""
    ranges = tuple((start, min(end or num_frames, num_frames)) for start, end in region.ranges if start <= num_frames)
    return replace(region, ranges=ranges) if ranges or not region.ranges else None


def grouped(controls: Iterable[ControlModel]) -> list[ControlModel]:
    """The controls of a labeling config, told of the groups that learn in their place."""
    found = list(controls)
    by_name = {control.control.from_name: control for control in found if isinstance(control, TimelineLabelsModel)}
    for members in sync_groups([control.control for control in found]):
        SyncGroupModel([by_name[member.from_name] for member in members])
    return found
