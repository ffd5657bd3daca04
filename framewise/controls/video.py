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
from framewise.core.progress import Progress, part_of
from framewise.core.timeline import FrameAxis
from framewise.features.backbone import BackboneFile
from framewise.features.extraction import VideoFeatures
from framewise.features.kinds.window_folder import WINDOW_NAME
from framewise.features.pose_networks import OFFICIAL_POSES
from framewise.features.pose_rows import PoseRows
from framewise.labeling_config import match_classes
from framewise.learning.joint import JointRows
from framewise.learning.tracks import SEEN_NAMES, Rows, appearance_of
from framewise.media.group_notes import Played
from framewise.media.library import MediaFile
from framewise.media.notes import Note
from framewise.media.video import probe
from framewise.media.video_notes import VideoFacts, timing_notes

# Parts of the rows of a video with poses, and their default shares.
EVIDENCE, EVIDENCE_SHARES = (SEEN_NAMES[0], "the pose"), (1.0, 1.0)


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

    @property
    def pose_network(self) -> str | None:
        # In simple mode nothing is learned.
        name = self.settings.parameters["model_pose"]
        return str(name) if name and self.settings.trainable else None

    @property
    def evidence(self) -> tuple[str, ...]:
        return (self.to_name, f"poses in {self.to_name}") if self.pose_network else (self.to_name,)

    @property
    def needs_every_picture(self) -> bool:
        # In simple mode, regions begin and end where the backbone's classes do. Networks of several pictures choose their own.
        return not self.settings.trainable or WINDOW_NAME.fullmatch(self.front_end) is not None

    def backbone(self) -> BackboneFile:
        """The weights file of this control. Raises BackboneError."""
        return self.parts.backbones.find(self.front_end)

    def check(self) -> None:
        chosen = {"model_path": self.front_end != self.parts.settings.model_path, "model_pose": bool(self.pose_network)}
        if not self.parts.settings.allow_custom_model_path and any(chosen.values()):
            name = next(name for name, is_own in chosen.items() if is_own)
            raise ConfigError(
                f"{self._where}: {name} may not be set here (ALLOW_CUSTOM_MODEL_PATH is "
                "false); remove it from the labeling config"
            )
        if OFFICIAL_POSES.fullmatch(self.front_end):
            raise ConfigError(f"{self._where}: model_path {self.front_end!r} is a pose network; name it in model_pose instead")
        if WINDOW_NAME.fullmatch(self.front_end) and self.crop != "center":
            raise ConfigError(
                f"{self._where}: model_crop must be center with {self.front_end!r}, which prepares pictures itself"
            )
        self.parts.backbones.check(self.front_end)
        if self.pose_network:
            self.parts.pose_networks.check(self.pose_network)
        if not self.settings.trainable:
            backbone = self.parts.backbones.fetch_official(self.front_end)
            match_classes(self.settings, self.parts.backbones.head(backbone).names)

    def identity(self) -> Identity:
        """Key of the networks' contents and of the preprocessing of pictures."""
        missing = self.parts.backbones.is_to_be_fetched(self.front_end)
        content = None if missing else self.backbone().content
        found: Identity = {"sha256": content, "crop": self.crop, "profile": self.parts.extractor.profile}
        return {**found, "pose": self._pose_content} if self.pose_network else found

    @property
    def _pose_content(self) -> str | None:
        """Content of the pose network; None if it is still to be downloaded, or none is used."""
        name, networks = self.pose_network, self.parts.pose_networks
        return networks.find(name).content if name and not networks.is_to_be_fetched(name) else None

    def features(self, file: MediaFile, progress: Progress) -> VideoFeatures:
        backbone = self.parts.backbones.fetch_official(self.front_end)
        of_backbone = part_of(progress, 0, 2) if self.pose_network else progress
        every, backbones = self.needs_every_picture, self.parts.backbones
        found = self.parts.extractor.extract(
            file, backbone.content, lambda: backbones.load(backbone), self.crop, of_backbone, every
        )
        if self.pose_network:
            network = self.parts.pose_networks.fetch_official(self.pose_network)
            found.poses = self.parts.extractor.extract_poses(
                file, network.content, lambda: self.parts.pose_networks.load(network), part_of(progress, 1, 2)
            )
        return found

    def cached_features(self, content: str) -> VideoFeatures | None:
        if self.parts.backbones.is_to_be_fetched(self.front_end):
            return None
        found = self.parts.extractor.cached(content, self.backbone().content, self.crop, self.needs_every_picture)
        if found and self.pose_network:
            network = self._pose_content
            found.poses = self.parts.extractor.cached_poses(content, network) if network else None
            return found if found.poses else None
        return found

    def is_outdated(self, features: VideoFeatures, source: str, content: str) -> bool:
        with contextlib.suppress(MediaError):
            path = self.parts.media.at_hand(source)
            return path is not None and self.parts.extractor.is_outdated(features, MediaFile(path, content))
        return False

    def subject(self, source: str) -> str:
        networks = f"{self.front_end} {self.crop}" + (f" {self.pose_network}" if self.pose_network else "")
        return f"{networks} {self.parts.media.stamp(source)}"

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

    def rows(self, features: VideoFeatures, rate: float, profile: None, beside: bool) -> Rows:
        seen = features.rows_on_grid(rate, self.parts.backbones.window_seconds(self.front_end))
        if features.poses is None:
            return seen
        poses = PoseRows(features.poses, rate)
        return JointRows([seen, poses], min(len(seen), len(poses)), rate, 0, EVIDENCE, EVIDENCE_SHARES)

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
