"""<TimelineLabels> on <Video>: simple mode (the backbone's own classes) and trainable mode (a network over time)."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.base import ControlModel, Example, Progress
from framewise.core.converter import get_label_map, regions_to_frame_labels, scores_to_segments, segments_to_regions
from framewise.core.errors import ModelError
from framewise.core.regions import read_regions
from framewise.features.extraction import VideoFeatures
from framewise.labeling_config import match_classes
from framewise.learning.networks import BaseNN, MultiLabelLSTM

logger = logging.getLogger(__name__)

LEARNED_FROM = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


class TimelineLabelsModel(ControlModel):
    """A <TimelineLabels> control."""

    type = "TimelineLabels"

    @property
    def trainable(self) -> bool:
        return self.control.trainable

    def check(self) -> None:
        super().check()
        if not self.trainable:
            backbone = self._parts.backbones.fetch_official(self.backbone_name)
            match_classes(self.control, self._parts.backbones.head(backbone).names)

    def version(self) -> str | None:
        if not self.trainable:
            return f"simple-{self.backbone().content[:8]}-{self.control.prediction_key()}"
        current = self._current
        if current is None or self.is_outdated():
            return None
        # A setting that shapes predictions was changed since: to Label Studio these are new predictions.
        key = self.control.prediction_key()
        return current.name if self._about.get("prediction_key") == key else f"{current.name}-{key}"

    def is_outdated(self) -> bool:
        """Whether the version in use learned from another backbone's features than those it would be given now."""
        if self._current is None:
            return False
        learned_from = self._about.get("backbone", {})
        return (learned_from.get("sha256"), learned_from.get("crop")) != self._backbone_identity()

    @cached_property
    def _current(self) -> Path | None:
        """Folder of the version in use when this object was first asked: one request's answers come from one version, also
        when a training ends meanwhile."""
        return self._parts.registry.current(self.project, self.control.from_name) if self.trainable else None

    @cached_property
    def _about(self) -> dict[str, Any]:
        """What is known of the version in use: asked for with every task of a request, read once."""
        return self._parts.registry.about(self._current) if self._current else {}

    def _backbone_identity(self) -> tuple[str | None, str]:
        missing = self._parts.backbones.is_to_be_fetched(self.backbone_name)
        return None if missing else self.backbone().content, self.crop

    def regions(self, features: VideoFeatures, frame_rate: float) -> list[dict[str, Any]]:
        on_grid = features.on_grid(frame_rate)
        return self._regions_trainable(on_grid) if self.trainable else self._regions_simple(on_grid)

    def example(self, features: VideoFeatures, frame_rate: float, result: Sequence[Any]) -> Example:
        on_grid = features.on_grid(frame_rate)
        regions = read_regions(result, self.control.from_name)
        return Example(on_grid, regions_to_frame_labels(regions, self.control.label_names, len(on_grid)))

    def train(self, examples: Sequence[Example], version: str, progress: Progress) -> list[str]:
        network, notes = self._network_to_train(examples[0].features.shape[1])
        parameters = self.control.parameters
        result = network.fit_videos(
            [(e.features, e.frame_labels) for e in examples],
            epochs=parameters["model_classifier_epochs"],
            f1_threshold=parameters["model_classifier_f1_threshold"],
            accuracy_threshold=parameters["model_classifier_accuracy_threshold"],
            progress=progress,
        )
        about = {
            "trained_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "videos": len(examples),
            "labels": self.control.label_names,
            "backbone": {"name": self.backbone_name, "sha256": self.backbone().content, "crop": self.crop},
            "prediction_key": self.control.prediction_key(),
            "fit": {**asdict(result), "measured_on": "the training videos themselves"},
        }
        self._parts.registry.publish(self.project, self.control.from_name, version, _without_nan(about), network.save)
        for known in ("_current", "_about"):
            self.__dict__.pop(known, None)
        logger.info("project %s, %s: version %s, %s", self.project, self.control.from_name, version, result)
        return notes

    # The names of the published guide for this backend; a video's path there is a file that framewise may read.

    def predict_regions(self, video_path: str) -> list[dict[str, Any]]:
        """Regions of a video, by the mode of the control. Raises ModelError if it is not trained yet."""
        return self.create_timelines_trainable(video_path) if self.trainable else self.create_timelines_simple(video_path)

    def create_timelines_simple(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the backbone's own classes."""
        return self._regions_simple(self._on_grid(video_path))

    def create_timelines_trainable(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the trained network. Raises ModelError if it is not trained yet."""
        return self._regions_trainable(self._on_grid(video_path))

    def fit(self, event: str, data: Mapping[str, Any], **_: Any) -> bool:
        """Go on learning from the one annotation of an event, at once; False for an event of another kind.

        data: an event's ``task`` and ``annotation``. The service itself trains in a worker, on all annotations.
        """
        if event not in LEARNED_FROM:
            return False
        task_data = data["task"]["data"]
        with self._parts.media.opened(self.control.media_source(task_data), data["task"].get("id")) as file:
            features = self.features(file, _quiet)
        example = self.example(features, self.control.frame_rate(task_data), data["annotation"]["result"])
        self.train([example], time.strftime("fit-%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{time.monotonic_ns()}", _quiet)
        return True

    def get_classifier_path(self, project_id: str | None = None) -> Path:
        """Folder of the trained version in use; where versions will be, if there is none yet."""
        registry, from_name = self._parts.registry, self.control.from_name
        if project_id is None:
            return self._current or registry.folder(self.project, from_name)
        return registry.current(str(project_id), from_name) or registry.folder(str(project_id), from_name)

    def _on_grid(self, video_path: str) -> npt.NDArray[np.float32]:
        with self._parts.media.opened(video_path) as file:
            return self.features(file, _quiet).on_grid(self.default_frame_rate())

    def _regions_simple(self, on_grid: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
        head = self._parts.backbones.head(self.backbone())
        matched = match_classes(self.control, head.names)
        probabilities = head.probabilities(on_grid)
        # Classes exclude each other, so a label that stands for several is as probable as all of them together.
        scores = np.stack([probabilities[:, classes].sum(axis=1) for classes in matched.values()], axis=1)
        return self._to_regions(scores, list(matched))

    def _regions_trainable(self, on_grid: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
        folder = self.get_classifier_path()
        network = BaseNN.load_cached_model(folder)
        if not isinstance(network, MultiLabelLSTM):
            raise ModelError(f"{self.control.from_name!r} of project {self.project} is not trained yet; submit an annotation")
        scores = network.predict(on_grid).numpy()
        label_map = network.get_label_map()
        known = [label for label in self.control.label_names if label in label_map]
        return self._to_regions(scores[:, [label_map[label] for label in known]], known)

    def _to_regions(self, scores: npt.NDArray[Any], labels: list[str]) -> list[dict[str, Any]]:
        segments = scores_to_segments(scores, self.control.parameters["model_score_threshold"])
        return segments_to_regions(segments, labels, self.control.from_name, self.control.to_name)

    def _network_to_train(self, feature_size: int) -> tuple[MultiLabelLSTM, list[str]]:
        """The network in use to go on from, or a new one where there is none or it does not fit; and what to say of it."""
        parameters = self.control.parameters
        network = MultiLabelLSTM(
            feature_size,
            len(self.control.labels),
            hidden_size=parameters["model_classifier_hidden_size"],
            num_layers=parameters["model_classifier_num_layers"],
            sequence_size=parameters["model_classifier_sequence_size"],
        )
        network.set_label_map(get_label_map(self.control.label_names))
        current = self._current
        if current is None:
            return network, []
        try:
            previous = BaseNN.load(current)
            reason = self._difference(network, previous)
        except (ModelError, OSError, ValueError) as error:
            previous, reason = network, str(error)
        if not reason and isinstance(previous, MultiLabelLSTM):
            return previous, []
        note = f"{self.control.from_name!r}: a new model was started, {reason}"
        logger.warning("project %s, %s", self.project, note)
        return network, [note]

    def _difference(self, wanted: MultiLabelLSTM, previous: BaseNN) -> str | None:
        """Why training cannot go on from ``previous``; None if it can."""
        if wanted.get_label_map() != previous.get_label_map():
            return f"because the labels are {list(wanted.get_label_map())} and were {list(previous.get_label_map())}"
        old, new = previous.hyperparameters(), wanted.hyperparameters()
        changed = [f"{name} is {new[name]} and was {old.get(name)}" for name in new if new[name] != old.get(name)]
        if self.is_outdated():
            backbone = self._about.get("backbone", {})
            was = f"{backbone.get('name')} ({backbone.get('crop')})"
            changed.append(f"the backbone is {self.backbone_name} ({self.crop}) and was {was}")
        return "because " + ", ".join(changed) if changed else None


def _quiet(share: float, detail: str) -> None:
    """Progress that nobody watches."""


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a score that does not exist is null."""
    text = json.dumps(value, default=str)
    cleaned: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return cleaned
