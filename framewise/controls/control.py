"""Base class of controls: one control tag on one medium. Learning is not part of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy.typing as npt

from framewise.core.converter import Segment
from framewise.core.errors import ConfigError
from framewise.core.media_kinds import MediaKind
from framewise.core.progress import Progress
from framewise.core.regions import TimelineRegion
from framewise.core.timeline import Axis
from framewise.features.backbone import BackboneFile, Backbones
from framewise.features.cache import FeatureCache
from framewise.features.extraction import Extractor
from framewise.features.pose_networks import PoseNetworks
from framewise.labeling_config import ControlSettings
from framewise.learning.tracks import Rows
from framewise.media.group_notes import Played
from framewise.media.library import MediaFile, MediaLibrary
from framewise.media.notes import Note
from framewise.settings import Settings
from framewise.store.registry import Registry

F = TypeVar("F")  # features of a file
P = TypeVar("P")  # profile of a project's files; None for media without profiles

Identity = dict[str, str | None]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Parts:
    """Parts used by controls and learners, created once by the composition roots."""

    settings: Settings
    media: MediaLibrary
    backbones: Backbones
    pose_networks: PoseNetworks
    extractor: Extractor
    cache: FeatureCache
    registry: Registry


class Classes(Protocol):
    """A backbone's own classes, which simple mode predicts."""

    def backbone(self) -> BackboneFile: ...

    def class_scores(self, rows: Rows) -> tuple[list[str], npt.NDArray[Any]]:
        """Labels matched with classes, and their probabilities (T, L)."""
        ...


class Control(ABC, Generic[F, P]):
    """A control of one project. Cheap to create: files are read when they are needed.

    A *profile* describes what a project's files of a medium have in common, for media whose rows depend on it.
    """

    kind: ClassVar[MediaKind]
    # True for the medium whose frames are the grid of its sync group, even in tasks without it. Motion is computed from it.
    leads: ClassVar[bool] = False

    def __init__(self, settings: ControlSettings, project: str, parts: Parts):
        self.settings = settings
        self.project = project
        self.parts = parts

    @classmethod
    def create(cls, settings: ControlSettings, project: str, parts: Parts) -> Self:
        """Create and check a control. Raises ConfigError or BackboneError if it cannot work."""
        control = cls(settings, project, parts)
        control.check()
        return control

    @property
    def to_name(self) -> str:
        return self.settings.to_name

    def check(self) -> None:
        """Raises ConfigError or BackboneError for settings that cannot work; this one checks those of media without
        pictures."""
        if not self.settings.trainable:
            self.own_classes()
        if self.settings.parameters["model_classifier_type"] != "auto":
            raise ConfigError(f"{self._where}: model_classifier_type must be auto on {self.kind.tag}")

    def own_classes(self) -> Classes:
        """Classes that simple mode predicts. Raises ConfigError for a medium without pictures."""
        raise ConfigError(
            f'{self._where}: simple mode is of pictures, and {self.kind.tag} has none; add model_trainable="true" to the tag, '
            f'as in: {self.kind.control} name="{self.settings.from_name}" toName="{self.to_name}" model_trainable="true"'
        )

    @property
    def _where(self) -> str:
        return f"{self.kind.control} {self.settings.from_name!r}"

    def as_annotated(self, frame_rates: Mapping[str, str | None] | None) -> Self:
        """The control as of an annotation, with the frame rates of that time (from_name -> frameRate), if known."""
        then = (frame_rates or {}).get(self.settings.from_name, self.settings.frame_rate_text)
        if then == self.settings.frame_rate_text:
            return self
        return type(self)(replace(self.settings, frame_rate_text=then), self.project, self.parts)

    # Features.

    @property
    @abstractmethod
    def front_end(self) -> str:
        """Name of the backbone or transform that computes the features."""

    @property
    def pose_network(self) -> str | None:
        """Name of the network whose poses are learned from besides; None for none."""
        return None

    @property
    def needs_every_picture(self) -> bool:
        """True if the backbone's features of each picture are needed, and not those of chosen ones alone."""
        return False

    @property
    def evidence(self) -> tuple[str, ...]:
        """Names of the parts that ``rows`` has, for users: one, except for a video that is seen by several networks."""
        return (self.to_name,)

    @abstractmethod
    def identity(self) -> Identity:
        """Key of the features' numbers. If it changes, versions trained on earlier features are outdated."""

    @abstractmethod
    def features(self, file: MediaFile, progress: Progress) -> F:
        """Features of a file, from the cache or computed now."""

    @abstractmethod
    def cached_features(self, content: str) -> F | None:
        """Features of a file's content if they are completely cached."""

    def is_outdated(self, features: F, source: str, content: str) -> bool:
        """True if a local file is read in another way now than when its cached features were computed."""
        return False

    @abstractmethod
    def subject(self, source: str) -> str:
        """Key of an extraction: extractions with equal keys do the same work."""

    # Files of tasks.

    def known_content(self, source: str, task: int | None) -> str | None:
        """Content of a task's file if it is known without reading: see ``MediaLibrary.known_content``."""
        return self.parts.media.known_content(source, task)

    def opened(self, source: str, task: int | None, progress: Progress) -> AbstractContextManager[MediaFile]:
        """Context with a task's file: see ``MediaLibrary.opened``."""
        return self.parts.media.opened(source, task, progress)

    def at_hand(self, source: str) -> Path | None:
        """Path of a task's file if it is on this machine: see ``MediaLibrary.at_hand``."""
        return self.parts.media.at_hand(source)

    @abstractmethod
    def played(self, features: F) -> Played:
        """Description of the file as one medium of its sync group."""

    def facts(self, path: Path | None, features: F, task_data: Mapping[str, Any]) -> Facts:
        """Facts of a file, as JSON, from which notes are made. path: None if it is no longer on this machine."""
        return {}

    def notes(self, name: str, facts: Facts, task_data: Mapping[str, Any], profile: P | None, annotated: int) -> list[Note]:
        """Notes on a file for annotators. name: of the file. profile: of the files that the version in use was trained on.
        annotated: number of the project's annotations."""
        return []

    # The grid.

    def profile_of(self, features: Sequence[F]) -> P | None:
        """Profile of a project's files, at least one."""
        return None

    def read_profile(self, written: Mapping[str, Any]) -> P | None:
        """Profile from a version's record."""
        return None

    @abstractmethod
    def rate(self, features: F | None, task_data: Mapping[str, Any], profile: P | None) -> float | None:
        """Rows per second of the medium alone; None if neither a file nor a profile determines it."""

    @abstractmethod
    def rows(self, features: F, rate: float, profile: P | None, beside: bool) -> Rows:
        """Rows of a file for the learner, ``rate`` per second. beside: True if other media play in sync with it.

        Raises MediaError if there are too many rows.
        """

    # Regions.

    @abstractmethod
    def axis(self, features: F, task_data: Mapping[str, Any]) -> Axis:
        """Time axis of a file, in the unit of the control's regions. Raises MediaError, RequestError."""

    def frames_of(self, result: Sequence[Any], features: F, rate: float, task_data: Mapping[str, Any]) -> list[TimelineRegion]:
        """Regions of this control in an annotation, as frames at ``rate``. Raises RegionError."""
        return self.axis(features, task_data).frames(result, self.settings.from_name, rate)

    def regions_of(
        self, segments: Sequence[Segment], labels: Sequence[str], features: F, rate: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Convert segments of rows at ``rate`` to Label Studio's JSON, in the control's own units."""
        return self.axis(features, task_data).regions(segments, labels, (self.settings.from_name, self.to_name), rate)


AnyControl = Control[Any, Any]
