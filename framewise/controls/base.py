"""What every control model is given, and what it must do."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ConfigError, MediaError, RequestError
from framewise.core.frame_grid import DEFAULT_FRAME_RATE, parse_frame_rate
from framewise.core.intervals import Intervals
from framewise.core.known import Mask, known_cells
from framewise.features.backbone import BackboneFile, Backbones
from framewise.features.extraction import Extractor, VideoFeatures
from framewise.features.sensors import SeriesFeatures, SeriesProfile, SeriesReader
from framewise.features.sound import SoundFeatures, SoundReader
from framewise.labeling_config import ControlSettings
from framewise.learning.tracks import LabelledVideo, Rows
from framewise.media.advice import timing_advice
from framewise.media.library import MediaFile, MediaLibrary
from framewise.media.video import probe
from framewise.settings import Settings
from framewise.store.registry import Registry

Labels = Mapping[str, Sequence[str]]  # from_name -> labels
Progress = Callable[[float, str], None]
Profiles = Mapping[str, SeriesProfile]  # to_name -> of the project's series on that tag
Features = VideoFeatures | SeriesFeatures | SoundFeatures  # of a task's file, by what the control is on


@dataclass(frozen=True)
class Parts:
    """What control models work with, made once by the composition roots."""

    settings: Settings
    media: MediaLibrary
    backbones: Backbones
    extractor: Extractor
    registry: Registry
    series: SeriesReader
    sound: SoundReader


@dataclass(frozen=True)
class Medium:
    """A task's file: by which control it was read, and what is known of it. content: "" where that does not matter."""

    control: "ControlModel"
    features: Features
    content: str = ""


@dataclass(frozen=True)
class Example:
    """An annotated video or series of T rows and L labels.

    frame_labels: 0/1, (T, L), as marked. reviewed (T,), told (L,), apart (L, L) or None: what that says of other cells, see
    ``known_cells``. points (T, L): where a mark says that a label occurs, and not where it begins and ends; None if none does.
    content: of its file. group: what it has in common with others that are held out together, None if that is its file alone.
    notes: what of its annotation could not be learned, to be shown. task: whose it is, if it is one of Label Studio.
    series: those among its media, by to_name. on_grid: makes the same example on the grid of the project's series.
    """

    rows: Rows
    frame_labels: npt.NDArray[np.uint8]
    reviewed: Mask
    told: Mask
    content: str
    notes: list[str]
    apart: Mask | None = None
    points: Mask | None = None
    group: str | None = None
    task: int | None = None
    series: Mapping[str, SeriesFeatures] = field(default_factory=dict)
    on_grid: "Callable[[Profiles], Example] | None" = None

    @property
    def known(self) -> Mask:
        """Cells whose label is known to be on or off, (T, L)."""
        return known_cells(self.frame_labels, self.reviewed, self.told, self.apart)

    @property
    def video(self) -> LabelledVideo:
        """The example as the learners take it."""
        group = f"file {self.content}" if self.group is None else f"group {self.group}"
        return LabelledVideo(self.rows, self.frame_labels, self.known, group, self.points)


@dataclass(frozen=True)
class Trained:
    """What came of a training. current: whether its version is the one in use; else another stays it. provisional: whether a
    better version can be made of the same annotations, which takes longer."""

    notes: list[str]
    current: bool
    provisional: bool


@dataclass(frozen=True)
class Predicted:
    """Regions of a file, and how certain its frames are, from 0 to 1: the lower, the more would be learned from it. intervals:
    by from_name, the same as pages draw it."""

    regions: list[dict[str, Any]]
    certainty: float
    intervals: Mapping[str, Intervals]


class ControlModel:
    """A control of one project. Cheap to make: files are read when they are needed."""

    type: ClassVar[str]
    media_tag: ClassVar[str] = "Video"
    group: "ControlModel | None" = None  # what learns in its place, with others of its sync group

    def __init__(self, control: ControlSettings, project: str, parts: Parts):
        self.control = control
        self.project = project
        self._parts = parts

    @classmethod
    def is_control_matched(cls, control: Any) -> bool:
        """Whether this class is the one for a control tag, of our settings or of Label Studio's SDK."""
        objects = getattr(control, "objects", None)
        return control.tag == cls.type and (not objects or objects[0].tag == cls.media_tag)

    @classmethod
    def create(cls, control: ControlSettings, project: str, parts: Parts) -> Self:
        """A checked control model. Raises ConfigError or BackboneError for one that cannot work."""
        model = cls(control, project, parts)
        model.check()
        return model

    @property
    def backbone_name(self) -> str:
        chosen = self.control.parameters["model_path"]
        return str(chosen or self._parts.settings.model_path)

    @property
    def crop(self) -> str:
        return str(self.control.parameters["model_crop"])

    def backbone(self) -> BackboneFile:
        """The weights file of this control. Raises BackboneError."""
        return self._parts.backbones.find(self.backbone_name)

    def check(self) -> None:
        """Raises ConfigError or BackboneError for settings that cannot work."""
        chosen = self.control.parameters["model_path"]
        if chosen and not self._parts.settings.allow_custom_model_path and chosen != self._parts.settings.model_path:
            raise ConfigError(
                f"<{self.type} name={self.control.from_name!r}>: model_path may not be set here (ALLOW_CUSTOM_MODEL_PATH is "
                "false); remove it from the labeling config"
            )
        self._parts.backbones.check(self.backbone_name)

    # A task's file: where it is, and what can be said of it.

    def known_content(self, source: str, task: int | None) -> str | None:
        """The content of a task's file if that is known without reading it: see ``MediaLibrary.known_content``."""
        return self._parts.media.known_content(source, task)

    def opened(self, source: str, task: int | None, progress: Progress) -> AbstractContextManager[MediaFile]:
        """A task's file, there as long as the context lasts: see ``MediaLibrary.opened``."""
        return self._parts.media.opened(source, task, progress)

    def subject(self, source: str) -> str:
        """What an extraction is about: two of one subject would do the same."""
        return f"{self.backbone_name} {self.crop} {self._parts.media.stamp(source)}"

    def advice(self, file: MediaFile, name: str, features: Features, task_data: Mapping[str, Any]) -> list[str]:
        """What the user should know of a file before it is annotated. name: of the file, for messages."""
        assert isinstance(features, VideoFeatures)
        try:
            frame_rate = self.control.frame_rate(task_data)
            features.timeline.num_frames(frame_rate)
        except (RequestError, MediaError):
            return []  # a rate that cannot be is said where the features are used
        return timing_advice(name, probe(file.path), features.timeline.pts, frame_rate)

    def features(self, file: MediaFile, progress: Progress) -> Features:
        """Features of a file, from the cache or computed now."""
        backbone = self._parts.backbones.fetch_official(self.backbone_name)
        return self._parts.extractor.extract(
            file, backbone.content, lambda: self._parts.backbones.load(backbone), self.crop, progress
        )

    def cached_features(self, content: str) -> Features | None:
        """Features of a file's content if all of them are cached."""
        if self._parts.backbones.is_to_be_fetched(self.backbone_name):
            return None
        return self._parts.extractor.cached(content, self.backbone().content, self.crop)

    def default_frame_rate(self) -> float:
        """The frame rate where no task's data is at hand."""
        text = self.control.frame_rate_text
        return DEFAULT_FRAME_RATE if text and text.startswith("$") else parse_frame_rate(text)

    # What learns and predicts: a control by itself, or its sync group. Both are asked of a task as a whole.

    @property
    def learner(self) -> "ControlModel":
        return self.group or self

    def sources(self, task_data: Mapping[str, Any]) -> list[tuple["ControlModel", str]]:
        """The media of a task that count, and by which control each is read. Raises RequestError if it has none."""
        return [(self, self.control.media_source(task_data))]

    def task_example(
        self,
        media: Sequence[Medium],
        task_data: Mapping[str, Any],
        result: Sequence[Any],
        labels: Labels | None,
    ) -> Example:
        """An annotation's ``result`` as an example. labels: of each control, as the labeling config had them when it was
        annotated, None if that is not known. Raises RegionError, NothingMarked, MediaError, RequestError."""
        told = (labels or {}).get(self.control.from_name)
        frame_rate = self.control.frame_rate(task_data)
        example = self.example(media[0].features, frame_rate, result, media[0].content, told)
        return replace(example, group=self.control.group_value(task_data))

    def task_prediction(self, media: Sequence[Medium], task_data: Mapping[str, Any]) -> Predicted:
        """What is predicted for a task. Raises MediaError, RequestError, ModelError."""
        return self.predict(media[0].features, self.control.frame_rate(task_data))

    def version(self) -> str | None:
        """Name of what predicts now; None if nothing can yet."""
        raise NotImplementedError

    def is_outdated(self) -> bool:
        """Whether what was trained cannot be used any more and should be trained anew."""
        return False

    @property
    def can_refine(self) -> bool:
        """Whether a thorough training makes another version than a quick one."""
        return False

    def predict(self, features: Features, frame_rate: float) -> Predicted:
        """What is predicted for a file. frame_rate: of a video's frame grid; a series has a grid of its own."""
        raise NotImplementedError

    def example(
        self,
        features: Features,
        frame_rate: float,
        result: Sequence[Any],
        content: str,
        told: Sequence[str] | None = None,
    ) -> Example:
        """An annotation's ``result`` as an example. content: of the video's file. told: labels that the labeling config had
        when it was annotated, None if that is not known. Raises RegionError for a result that cannot be, NothingMarked."""
        raise NotImplementedError

    def completed(self, examples: Sequence[Example]) -> list[Example]:
        """Examples with what only all of a project's together say of each."""
        raise NotImplementedError

    def train(self, examples: Sequence[Example], version: str, progress: Progress, thorough: bool = False) -> Trained:
        """Train on all examples and publish the version. thorough: also measure it on videos that it did not learn from, and
        decide by that."""
        raise NotImplementedError


def profiles_of(examples: Sequence[Example]) -> Profiles:
    """Profiles of the series of all examples, by to_name."""
    names = {name for example in examples for name in example.series}
    return {name: SeriesProfile.of([e.series[name] for e in examples if name in e.series]) for name in sorted(names)}


def on_one_grid(examples: Sequence[Example]) -> list[Example]:
    """Examples on the one grid of all their series."""
    profiles = profiles_of(examples)
    return [replace(e.on_grid(profiles), task=e.task, group=e.group) if profiles and e.on_grid else e for e in examples]


def learners(controls: Sequence[ControlModel]) -> list[ControlModel]:
    """What learns and predicts, each once."""
    return list(dict.fromkeys(control.learner for control in controls))


def sources_of(controls: Sequence[ControlModel], task_data: Mapping[str, Any]) -> list[tuple[ControlModel, str]]:
    """The media of a task that controls need, each once. Raises RequestError for one that is missing."""
    return [source for learner in learners(controls) for source in learner.sources(task_data)]
