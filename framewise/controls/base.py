"""What every control model is given, and what it must do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from framewise.core.errors import ConfigError
from framewise.core.frame_grid import DEFAULT_FRAME_RATE, parse_frame_rate
from framewise.features.backbone import BackboneFile, Backbones
from framewise.features.extraction import Extractor, VideoFeatures
from framewise.labeling_config import ControlSettings
from framewise.learning.tracks import LabelledVideo
from framewise.media.library import MediaFile, MediaLibrary
from framewise.settings import Settings
from framewise.store.registry import Registry

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Parts:
    """What control models work with, made once by the composition roots."""

    settings: Settings
    media: MediaLibrary
    backbones: Backbones
    extractor: Extractor
    registry: Registry


@dataclass(frozen=True)
class Example:
    """An annotated video. notes: what of its annotation could not be learned, to be shown."""

    video: LabelledVideo
    notes: list[str]


@dataclass(frozen=True)
class Trained:
    """What came of a training. current: whether its version is the one in use; else another is pinned. provisional: whether a
    better version can be made of the same annotations, which takes longer."""

    notes: list[str]
    current: bool
    provisional: bool


@dataclass(frozen=True)
class Predicted:
    """Regions of a video, and how certain its frames are, from 0 to 1: the lower, the more would be learned from it."""

    regions: list[dict[str, Any]]
    certainty: float


class ControlModel:
    """A control of one project. Cheap to make: files are read when they are needed."""

    type: ClassVar[str]

    def __init__(self, control: ControlSettings, project: str, parts: Parts):
        self.control = control
        self.project = project
        self._parts = parts

    @classmethod
    def is_control_matched(cls, control: Any) -> bool:
        """Whether this class is the one for a control tag, of our settings or of Label Studio's SDK."""
        objects = getattr(control, "objects", None)
        return control.tag == cls.type and (not objects or objects[0].tag == "Video")

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

    def features(self, file: MediaFile, progress: Progress) -> VideoFeatures:
        """Features of a file, from the cache or computed now."""
        backbone = self._parts.backbones.fetch_official(self.backbone_name)
        return self._parts.extractor.extract(
            file, backbone.content, lambda: self._parts.backbones.load(backbone), self.crop, progress
        )

    def cached_features(self, content: str) -> VideoFeatures | None:
        """Features of a file's content if all of them are cached."""
        if self._parts.backbones.is_to_be_fetched(self.backbone_name):
            return None
        return self._parts.extractor.cached(content, self.backbone().content, self.crop)

    def default_frame_rate(self) -> float:
        """The frame rate where no task's data is at hand."""
        text = self.control.frame_rate_text
        return DEFAULT_FRAME_RATE if text and text.startswith("$") else parse_frame_rate(text)

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

    def predict(self, features: VideoFeatures, frame_rate: float) -> Predicted:
        """What is predicted for a video, on the frame grid of ``frame_rate``."""
        raise NotImplementedError

    def example(
        self,
        features: VideoFeatures,
        frame_rate: float,
        result: Sequence[Any],
        content: str,
        told: Sequence[str] | None = None,
    ) -> Example:
        """An annotation's ``result`` as an example. content: of the video's file. told: labels that the labeling config had
        when it was annotated, None if that is not known. Raises RegionError for a result that cannot be."""
        raise NotImplementedError

    def train(self, examples: Sequence[Example], version: str, progress: Progress, thorough: bool = False) -> Trained:
        """Train on all examples and publish the version. thorough: also measure it on videos that it did not learn from, and
        decide by that."""
        raise NotImplementedError
