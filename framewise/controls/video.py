"""<TimelineLabels> on <Video>. Its rows are the frames that Label Studio shows."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.control import Classes, Control, Facts, Identity
from framewise.core.errors import ConfigError, MediaError, RequestError
from framewise.core.media_kinds import VIDEO
from framewise.core.progress import Progress
from framewise.core.timeline import FrameAxis
from framewise.features.backbone import BackboneFile
from framewise.features.extraction import GridRows, VideoFeatures
from framewise.labeling_config import match_classes
from framewise.learning.tracks import Rows, appearance_of
from framewise.media.group_notes import Played
from framewise.media.library import MediaFile
from framewise.media.notes import Note
from framewise.media.video import probe
from framewise.media.video_notes import VideoFacts, timing_notes


class VideoControl(Control[VideoFeatures, None]):
    """A <TimelineLabels> control."""

    kind = VIDEO
    leads = True

    @property
    def front_end(self) -> str:
        """Name of the backbone."""
        return str(self.settings.parameters["model_path"] or self.parts.settings.model_path)

    @property
    def crop(self) -> str:
        return str(self.settings.parameters["model_crop"])

    def backbone(self) -> BackboneFile:
        """The weights file of this control. Raises BackboneError."""
        return self.parts.backbones.find(self.front_end)

    def check(self) -> None:
        chosen = self.settings.parameters["model_path"]
        if chosen and not self.parts.settings.allow_custom_model_path and chosen != self.parts.settings.model_path:
            raise ConfigError(
                f"{self._where}: model_path may not be set here (ALLOW_CUSTOM_MODEL_PATH is "
                "false); remove it from the labeling config"
            )
        self.parts.backbones.check(self.front_end)
        if not self.settings.trainable:
            backbone = self.parts.backbones.fetch_official(self.front_end)
            match_classes(self.settings, self.parts.backbones.head(backbone).names)

    def identity(self) -> Identity:
        """Key of the backbone's content and of the preprocessing of pictures."""
        missing = self.parts.backbones.is_to_be_fetched(self.front_end)
        content = None if missing else self.backbone().content
        return {"sha256": content, "crop": self.crop, "profile": self.parts.extractor.profile}

    def features(self, file: MediaFile, progress: Progress) -> VideoFeatures:
        backbone = self.parts.backbones.fetch_official(self.front_end)
        return self.parts.extractor.extract(
            file, backbone.content, lambda: self.parts.backbones.load(backbone), self.crop, progress
        )

    def cached_features(self, content: str) -> VideoFeatures | None:
        if self.parts.backbones.is_to_be_fetched(self.front_end):
            return None
        return self.parts.extractor.cached(content, self.backbone().content, self.crop)

    def is_outdated(self, features: VideoFeatures, source: str, content: str) -> bool:
        with contextlib.suppress(MediaError):
            path = self.parts.media.at_hand(source)
            return path is not None and self.parts.extractor.is_outdated(features, MediaFile(path, content))
        return False

    def subject(self, source: str) -> str:
        return f"{self.front_end} {self.crop} {self.parts.media.stamp(source)}"

    def played(self, features: VideoFeatures) -> Played:
        return Played(self.to_name, features.timeline.duration_seconds)

    def facts(self, path: Path | None, features: VideoFeatures, task_data: Mapping[str, Any]) -> Facts:
        if path is None:
            return {}
        try:
            frame_rate = self.settings.frame_rate(task_data)
            features.timeline.num_frames(frame_rate)
        except (RequestError, MediaError):
            return {}  # an invalid rate is reported where the features are used
        return VideoFacts.of(probe(path), features.timeline.pts, frame_rate, features.timeline.losses).to_json()

    def notes(self, name: str, facts: Facts, task_data: Mapping[str, Any], profile: None, annotated: int) -> list[Note]:
        try:
            frame_rate = self.settings.frame_rate(task_data)
        except RequestError:
            return []
        return timing_notes(name, VideoFacts.from_json(facts), frame_rate, annotated) if "info" in facts else []

    def rate(self, features: VideoFeatures | None, task_data: Mapping[str, Any], profile: None) -> float:
        """Frame rate of the labeling config. Raises RequestError."""
        return self.settings.frame_rate(task_data)

    def rows(self, features: VideoFeatures, rate: float, profile: None, beside: bool) -> GridRows:
        return features.rows_on_grid(rate)

    def own_classes(self) -> Classes:
        return self

    def class_scores(self, rows: Rows) -> tuple[list[str], npt.NDArray[Any]]:
        """Labels matched with classes of the backbone, and their probabilities (T, L)."""
        head = self.parts.backbones.head(self.backbone())
        matched = match_classes(self.settings, head.names)
        probabilities = head.probabilities(appearance_of(rows))
        # Classes exclude each other, so the probability of a label with several classes is their sum.
        return list(matched), np.stack([probabilities[:, classes].sum(axis=1) for classes in matched.values()], axis=1)

    def axis(self, features: VideoFeatures, task_data: Mapping[str, Any]) -> FrameAxis:
        return features.timeline.axis(self.settings.frame_rate(task_data))
