"""Model over one control, or over the controls of a sync group: it learns from all of their media, and predicts on each.

The rows of a sync group are frames of one grid. Second 0 is the first picture, the first sample and the beginning of the sound;
the grid ends with the shortest medium. A single control is a group of one.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.control import AnyControl, Identity
from framewise.controls.examples import Medium, Profiles
from framewise.core.converter import Segment, scores_to_segments
from framewise.core.errors import RequestError
from framewise.core.intervals import Intervals
from framewise.core.known import Mask
from framewise.labeling_config import ControlSettings
from framewise.learning.joint import JointRows, parts_of
from framewise.learning.tracks import Rows


@dataclass(frozen=True)
class Predicted:
    """Prediction for a task. certainty: mean of its frames, in [0, 1]; tasks with a low one are best annotated next.
    intervals: the regions as pages draw them, by from_name."""

    regions: list[dict[str, Any]]
    certainty: float
    intervals: Mapping[str, Intervals]


@dataclass(frozen=True)
class Source:
    """Medium of a task: the learner that needs it, the control that reads it, and its address."""

    learner: "Learner"
    control: AnyControl
    address: str


@dataclass(frozen=True)
class OnGrid:
    """Rows of a task's media, ``rate`` per second. drawn: number of rows that pages draw: all of a video's, even if another
    medium ends earlier."""

    rate: float
    rows: Rows
    drawn: int


class Learner(ABC):
    """Base class of models that predict on one or several controls. Versions are stored under the first control's name."""

    def __init__(self, controls: Sequence[AnyControl]):
        first = controls[0]
        self.controls = list(controls)
        self.project = first.project
        self.settings = _joined([control.settings for control in controls])
        self._parts = first.parts
        # Each medium is read by the first control on it.
        self.readers = {name: next(c for c in controls if c.to_name == name) for name in _each_once(controls)}
        self._leader = next((control for control in controls if control.leads), None)

    @property
    def name(self) -> str:
        return self.settings.from_name

    @property
    def front_end(self) -> str:
        """Names of the backbones or transforms that compute the features."""
        return " + ".join(reader.front_end for reader in self.readers.values())

    @property
    def profiles(self) -> Profiles:
        """Profiles of the files that the version in use was trained on."""
        return {}

    def sources(self, task_data: Mapping[str, Any]) -> list[Source]:
        """Media of a task. Raises RequestError if it has none.

        Missing media of a sync group are left out, as long as there is at least one.
        """
        readers = list(self.readers.values())
        if len(readers) == 1:
            return [Source(self, readers[0], readers[0].settings.media_source(task_data))]
        there = [reader for reader in readers if reader.settings.has_media(task_data)]
        if not there:
            fields = [reader.settings.value_key for reader in readers]
            raise RequestError(f"task data: expected the address of a medium in at least one of {fields}, found none")
        return [Source(self, reader, reader.settings.media_source(task_data)) for reader in there]

    @abstractmethod
    def version(self) -> str | None:
        """Name of the version in use; None if nothing can be predicted yet."""

    def is_outdated(self) -> bool:
        """True if the trained version cannot be used any more, and a new training is needed."""
        return False

    def task_prediction(self, media: Sequence[Medium], task_data: Mapping[str, Any]) -> Predicted:
        """Predict a task. Raises MediaError, RequestError, ModelError."""
        grid = self.on_grid(media, task_data, self.profiles)
        return self.predicted(media, task_data, grid, *self.scores(grid))

    @abstractmethod
    def scores(self, grid: OnGrid) -> tuple[list[str], npt.NDArray[Any]]:
        """Labels that are predicted, and their scores (T, L) in [0, 1]. Raises ModelError."""

    def draft_scores(self, grid: OnGrid, on: Mask, known: Mask) -> npt.NDArray[Any] | None:
        """Scores (T,) of a label, learned from what is drawn in this recording alone; None if this model cannot.

        on, known: rows in which it is on, and in which it is known to be on or off, (T,) each.
        """
        return None

    def prediction_key(self) -> str:
        """Key of everything besides the trained weights that affects predictions."""
        keys = [control.settings.prediction_key() for control in self.controls]
        return keys[0] if len(keys) == 1 else hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:6]

    def identity(self) -> Identity:
        """Identity of the features of all media."""
        if len(self.readers) == 1:
            return self.controls[0].identity()
        identities = [[name, reader.identity()] for name, reader in self.readers.items()]
        return {"sha256": json.dumps(["sync group", self._leader is not None, identities]), "crop": None}

    # The grid.

    def on_grid(self, media: Sequence[Medium], task_data: Mapping[str, Any], profiles: Profiles) -> OnGrid:
        """Raises MediaError for media that are too long."""
        features = {medium.control.to_name: medium.features for medium in media}
        beside = len(self.readers) > 1
        # Frames of the video if the group has one, even in tasks without it; otherwise of the medium with the highest rate.
        telling = [self._leader] if self._leader else self.readers.values()
        rates = [c.rate(features.get(c.to_name), task_data, profiles.get(c.to_name)) for c in telling]
        rate = max(r for r in rates if r is not None)
        found = {
            name: reader.rows(features[name], rate, profiles.get(name), beside)
            for name, reader in self.readers.items()
            if name in features
        }
        rows, number = next(iter(found.values())), min(len(own) for own in found.values())
        if beside:
            names, leader = [name for reader in self.readers.values() for name in reader.evidence], self._leader
            told = rate if leader else max(own.frame_rate for own in found.values())
            moving = names.index(leader.to_name) if leader else None
            parts = [part for name, reader in self.readers.items() for part in parts_of(found.get(name), len(reader.evidence))]
            rows = JointRows(parts, number, told, moving, names)
        leads = self._leader is not None and self._leader.to_name in found
        return OnGrid(rate, rows, len(found[self._leader.to_name]) if self._leader and leads else number)

    def predicted(
        self,
        media: Sequence[Medium],
        task_data: Mapping[str, Any],
        grid: OnGrid,
        labels: Sequence[str],
        scores: npt.NDArray[Any],
    ) -> Predicted:
        """Convert scores (T, L) of labels to regions on each control, for the labels that it has."""
        regions, intervals = list[dict[str, Any]](), {}
        features = {medium.control.to_name: medium.features for medium in media}
        for control in self.controls:
            own = [label for label in control.settings.label_names if label in labels]
            of_control = scores[:, [labels.index(label) for label in own]]
            segments = self._segments(of_control, own, control.settings.parameters["model_score_threshold"])
            intervals[control.settings.from_name] = Intervals.of(segments, own, grid.drawn, grid.rate)
            if control.to_name in features:
                regions += control.regions_of(segments, own, features[control.to_name], grid.rate, task_data)
        return Predicted(regions, certainty(scores), intervals)

    def _segments(self, scores: npt.NDArray[Any], labels: Sequence[str], threshold: float) -> list[Segment]:
        return scores_to_segments(scores, threshold)


class SimpleMode(Learner):
    """Prediction of a backbone's own classes, without learning. Raises ConfigError for media without pictures."""

    def __init__(self, control: AnyControl):
        super().__init__([control])
        self._classes = control.own_classes()

    def version(self) -> str:
        return f"simple-{self._classes.backbone().content[:8]}-{self.prediction_key()}"

    def scores(self, grid: OnGrid) -> tuple[list[str], npt.NDArray[Any]]:
        return self._classes.class_scores(grid.rows)


def sources_of(learners: Iterable[Learner], task_data: Mapping[str, Any]) -> list[Source]:
    """Media of a task that learners need, without duplicates. Raises RequestError if one is missing."""
    return [source for learner in learners for source in learner.sources(task_data)]


def certainty(scores: npt.NDArray[Any]) -> float:
    """Mean certainty of frames, in [0, 1]: distance of the score from 0.5, of the least certain label of each frame."""
    return float(np.abs(2 * scores - 1).min(axis=1).mean()) if scores.size else 1.0


def _each_once(controls: Sequence[AnyControl]) -> list[str]:
    """Names of the media of controls, without duplicates."""
    return list(dict.fromkeys(control.to_name for control in controls))


def _joined(settings: Sequence[ControlSettings]) -> ControlSettings:
    """Settings of the first control, with the labels of all."""
    labels = {label.name: label for own in settings for label in own.labels}
    unreviewed = dict.fromkeys(name for own in settings for name in own.unreviewed)
    return replace(settings[0], labels=tuple(labels.values()), unreviewed=tuple(unreviewed))
