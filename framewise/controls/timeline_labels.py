"""<TimelineLabels> on <Video>: simple mode (the backbone's own classes) and trainable mode (a network over time)."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.base import ControlModel, Example, Features, Predicted, Profiles, Progress, Trained, on_one_grid
from framewise.core.converter import (
    Segment,
    get_label_map,
    on_grid,
    regions_to_frame_labels,
    regridded,
    scores_to_segments,
    segments_to_regions,
)
from framewise.core.errors import ModelError, brief
from framewise.core.intervals import Intervals
from framewise.core.regions import TimelineRegion, read_regions
from framewise.features.extraction import GridRows, VideoFeatures
from framewise.features.sensors import SeriesProfile
from framewise.labeling_config import ControlSettings, match_classes
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.held_out import HeldOutVideo, write_held_out
from framewise.learning.models import Model, check_model, load_cached_model, load_model
from framewise.learning.networks import MultiLabelLSTM
from framewise.learning.tracks import LabelledVideo, Rows

logger = logging.getLogger(__name__)

LEARNED_FROM = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


@dataclass(frozen=True)
class _Learned:
    """A model that was just made; ``about``: what its version's record should say of it. held_out: scores (T, L) of each video
    by learners that did not learn from it, if there are any."""

    model: Model
    about: dict[str, Any]
    notes: list[str]
    provisional: bool
    held_out: list[npt.NDArray[Any]] = field(default_factory=list)

    def save(self, folder: Path, examples: Sequence[Example], labels: Sequence[str]) -> None:
        """Write all files of a version but its record."""
        self.model.save(folder)
        tasks = [e.task for e in examples]
        if self.held_out and all(task is not None for task in tasks):
            videos = [
                HeldOutVideo.of(int(task or 0), e.video.rows.frame_rate, scores, e.video.frame_labels, e.video.taught)
                for task, e, scores in zip(tasks, examples, self.held_out, strict=True)
            ]
            write_held_out(folder, videos, labels)


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
        if self.group:
            return self.group.version()
        if not self.trainable:
            return f"simple-{self.backbone().content[:8]}-{self.control.prediction_key()}"
        current = self._current
        if current is None or self.is_outdated():
            return None
        # A setting that shapes predictions was changed since: to Label Studio these are new predictions.
        key = self.prediction_key()
        return current.name if self._about.get("prediction_key") == key else f"{current.name}-{key}"

    def is_outdated(self) -> bool:
        """Whether the version in use learned from another backbone's features than those it would be given now."""
        if self.group:
            return self.group.is_outdated()
        if self._current is None:
            return False
        wanted, learned_from = self._features_identity(), self._about.get("backbone", {})
        # There was one profile when it was not written down.
        return {"profile": "exact", **learned_from, "name": ""} != {"profile": "exact", **wanted, "name": ""}

    @cached_property
    def _current(self) -> Path | None:
        """Folder of the version in use when this object was first asked: one request's answers come from one version, also
        when a training ends meanwhile."""
        return self._parts.registry.current(self.project, self.control.from_name) if self.trainable else None

    @cached_property
    def _about(self) -> dict[str, Any]:
        """What is known of the version in use: asked for with every task of a request, read once."""
        return self._parts.registry.about(self._current) if self._current else {}

    @property
    def _profiles(self) -> Profiles:
        """Profiles of the series that the version in use learned from, whose grid its predictions need."""
        return {name: SeriesProfile.from_json(written) for name, written in self._about.get("series", {}).items()}

    @cached_property
    def _model(self) -> Model:
        """What predicts in the version in use. Read once as well: the version may be removed while a request is answered."""
        with self._parts.registry.reading(self._current):
            model = load_cached_model(self.get_classifier_path())
            if model is None:
                raise ModelError(
                    f"{self.control.from_name!r} of project {self.project} is not trained yet; submit an annotation"
                )
        return model

    def _features_identity(self) -> dict[str, str | None]:
        """What features are: of which backbone's content, and how the picture was prepared."""
        missing = self._parts.backbones.is_to_be_fetched(self.backbone_name)
        content = None if missing else self.backbone().content
        return {"sha256": content, "crop": self.crop, "profile": self._parts.extractor.profile}

    def prediction_key(self) -> str:
        """Changes when anything that shapes a prediction besides the trained weights changes."""
        return self.control.prediction_key()

    @property
    def can_refine(self) -> bool:
        return bool(self.control.parameters["model_classifier_type"] == "auto")

    def predict(self, features: Features, frame_rate: float) -> Predicted:
        assert isinstance(features, VideoFeatures)
        rows = features.rows_on_grid(frame_rate)
        return self._predict_trainable(rows) if self.trainable else self._predict_simple(rows)

    def example(
        self,
        features: Features,
        frame_rate: float,
        result: Sequence[Any],
        content: str,
        told: Sequence[str] | None = None,
    ) -> Example:
        assert isinstance(features, VideoFeatures)
        return self._example(features.rows_on_grid(frame_rate), read_regions(result, self.control.from_name), content, told)

    # Between regions and frames of a grid, for the control's own grid and a sync group's.

    def frames_of(
        self, result: Sequence[Any], features: Features, rate: float, task_data: Mapping[str, Any]
    ) -> list[TimelineRegion]:
        """An annotation's regions of this control as frames at ``rate``. Raises RegionError."""
        assert isinstance(features, VideoFeatures)
        own = self.control.frame_rate(task_data)
        return [
            regridded(r, own, features.timeline.num_frames(own), rate) for r in read_regions(result, self.control.from_name)
        ]

    def regions_of(
        self, segments: Sequence[Segment], labels: Sequence[str], features: Features, rate: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Segments of frames at ``rate`` as regions of this control, in its own units."""
        assert isinstance(features, VideoFeatures)
        own = self.control.frame_rate(task_data)
        if own != rate:
            segments = [moved for s in segments if (moved := on_grid(s, rate, own, features.timeline.num_frames(own)))]
        return segments_to_regions(segments, labels, self.control.from_name, self.control.to_name)

    def _example(self, rows: Rows, regions: Sequence[TimelineRegion], content: str, told: Sequence[str] | None) -> Example:
        names = self.control.label_names
        unknown = sorted({label for region in regions for label in region.labels} - set(names))
        known = [replace(r, labels=tuple(x for x in r.labels if x in names)) for r in regions]
        frame_labels = regions_to_frame_labels(known, names, len(rows))
        # Of a label that was added later, an annotation says nothing: not that it is nowhere in the video.
        taught = frame_labels.any(axis=0) | np.array([told is None or name in told for name in names])
        notes = [f"regions of {brief(unknown)}, which the labeling config does not have, are left out"] if unknown else []
        return Example(LabelledVideo(rows, frame_labels, taught, content), notes)

    def train(self, examples: Sequence[Example], version: str, progress: Progress, thorough: bool = False) -> Trained:
        examples, profiles = on_one_grid(examples)
        videos = [example.video for example in examples]
        if self.control.parameters["model_classifier_type"] == "lstm":
            learned = self._learn_lstm(videos, progress)
        elif thorough:
            learned = self._learn_thoroughly(videos, progress)
        else:
            learned = self._learn_quickly(videos)
        about = {
            "trained_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "videos": len(examples),
            "labels": self.control.label_names,
            "backbone": {"name": self.backbone_name, **self._features_identity()},
            "prediction_key": self.prediction_key(),
            **({"series": {name: profile.to_json() for name, profile in profiles.items()}} if profiles else {}),
            **learned.about,
        }
        published = self._parts.registry.publish(
            self.project,
            self.control.from_name,
            version,
            _without_nan(about),
            lambda folder: learned.save(folder, examples, self.control.label_names),
            lambda folder: check_model(folder, videos[0].rows),
        )
        notes = learned.notes
        if not published.current:
            notes = [*notes, f"{self.control.from_name!r}: {version} is kept, and not in use: another version is pinned"]
        for known in ("_current", "_about", "_model"):
            self.__dict__.pop(known, None)
        logger.info("project %s, %s: version %s, %s", self.project, self.control.from_name, version, learned.about)
        return Trained(notes, published.current, learned.provisional)

    def _learn_quickly(self, videos: Sequence[LabelledVideo]) -> _Learned:
        """Without the networks over time, and decided as the version before."""
        classifier = learn_quickly(videos, self.control.label_names, self._previous())
        return _Learned(classifier, {"stage": "quick"}, [], provisional=True)

    def _learn_thoroughly(self, videos: Sequence[LabelledVideo], progress: Progress) -> _Learned:
        classifier, quality, held_out = learn_thoroughly(videos, self.control.label_names, progress)
        measured = quality.to_json() if quality else None
        about = {"stage": "validated", "quality": measured}
        return _Learned(classifier, about, self._fallen(measured), provisional=False, held_out=held_out)

    def _learn_lstm(self, videos: Sequence[LabelledVideo], progress: Progress) -> _Learned:
        appearance = [(v.rows.read(np.arange(len(v.rows)))[:, : -v.rows.motion_size], v.frame_labels) for v in videos]
        network, notes = self._network_to_train(appearance[0][0].shape[1])
        parameters = self.control.parameters
        result = network.fit_videos(
            appearance,
            epochs=parameters["model_classifier_epochs"],
            f1_threshold=parameters["model_classifier_f1_threshold"],
            accuracy_threshold=parameters["model_classifier_accuracy_threshold"],
            progress=progress,
        )
        fit = {**asdict(result), "measured_on": "the training videos themselves"}
        return _Learned(network, {"fit": fit}, notes, provisional=False)

    def _previous(self) -> AutoClassifier | None:
        """The classifier in use, if it is one of this kind and can be read."""
        try:
            model = load_cached_model(self._current) if self._current else None
        except ModelError as error:
            logger.warning("project %s, %s: %s", self.project, self.control.from_name, error)
            return None
        return model if isinstance(model, AutoClassifier) else None

    def _fallen(self, quality: Mapping[str, Any] | None) -> list[str]:
        """What to say if the held-out score is lower than that of the last version that was measured."""
        folder = self._parts.registry.folder(self.project, self.control.from_name)
        before = [v for v in self._parts.registry.versions(self.project) if v["control"] == self.control.from_name]
        measured = next((v for v in before if v.get("quality")), None)
        if not quality or not measured or not folder.exists():
            return []
        now, then = quality["mean"]["f1@50"], measured["quality"]["mean"]["f1@50"]
        if now is None or then is None or now >= then:
            return []
        return [
            f"{self.control.from_name!r}: on videos that it did not learn from, F1@50 is {now:.2f}; that of "
            f"{measured['version']} was {then:.2f}. To go back: framewise roll-back {self.project} {measured['version']}"
        ]

    # The names of the published guide for this backend; a video's path there is a file that framewise may read.

    def predict_regions(self, video_path: str) -> list[dict[str, Any]]:
        """Regions of a video, by the mode of the control. Raises ModelError if it is not trained yet."""
        return self.create_timelines_trainable(video_path) if self.trainable else self.create_timelines_simple(video_path)

    def create_timelines_simple(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the backbone's own classes."""
        return self._predict_simple(self._on_grid(video_path)).regions

    def create_timelines_trainable(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the trained network. Raises ModelError if it is not trained yet."""
        return self._predict_trainable(self._on_grid(video_path)).regions

    def fit(self, event: str, data: Mapping[str, Any], **_: Any) -> bool:
        """Go on learning from the one annotation of an event, at once; False for an event of another kind.

        data: an event's ``task`` and ``annotation``. The service itself trains in a worker, on all annotations.
        """
        if event not in LEARNED_FROM:
            return False
        task_data = data["task"]["data"]
        with self.opened(self.control.media_source(task_data), data["task"].get("id"), _quiet) as file:
            features = self.features(file, _quiet)
            content = file.content
        example = self.example(features, self.control.frame_rate(task_data), data["annotation"]["result"], content)
        self.train([example], time.strftime("fit-%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{time.monotonic_ns()}", _quiet)
        return True

    def get_classifier_path(self, project_id: str | None = None) -> Path:
        """Folder of the trained version in use; where versions will be, if there is none yet."""
        registry, from_name = self._parts.registry, self.control.from_name
        if project_id is None:
            return self._current or registry.folder(self.project, from_name)
        return registry.current(str(project_id), from_name) or registry.folder(str(project_id), from_name)

    def _on_grid(self, video_path: str) -> GridRows:
        with self._parts.media.opened(video_path) as file:
            features = self.features(file, _quiet)
        assert isinstance(features, VideoFeatures)
        return features.rows_on_grid(self.default_frame_rate())

    def _predict_simple(self, rows: GridRows) -> Predicted:
        head = self._parts.backbones.head(self.backbone())
        matched = match_classes(self.control, head.names)
        probabilities = head.probabilities(rows.read(np.arange(len(rows)))[:, : -rows.motion_size])
        # Classes exclude each other, so a label that stands for several is as probable as all of them together.
        scores = np.stack([probabilities[:, classes].sum(axis=1) for classes in matched.values()], axis=1)
        segments = scores_to_segments(scores, self.control.parameters["model_score_threshold"])
        return self._predicted(segments, list(matched), scores, rows)

    def _predict_trainable(self, rows: Rows) -> Predicted:
        return self._predicted(*self._trained_segments(rows), rows)

    def _predicted(self, segments: Sequence[Segment], labels: Sequence[str], scores: npt.NDArray[Any], rows: Rows) -> Predicted:
        regions = segments_to_regions(segments, labels, self.control.from_name, self.control.to_name)
        intervals = Intervals.of(segments, labels, len(rows), rows.frame_rate)
        return Predicted(regions, certainty(scores), {self.control.from_name: intervals})

    def _trained_segments(self, rows: Rows) -> tuple[list[Segment], list[str], npt.NDArray[Any]]:
        """What the trained version finds in a file: segments, what their labels are called, and the scores (T, L)."""
        model = self._model
        if isinstance(model, AutoClassifier):
            scores = model.predict(rows)
        else:
            scores = model.predict(rows.read(np.arange(len(rows)))[:, : -rows.motion_size]).numpy()
        return self._segments(scores, self.control)

    def _segments(
        self, scores: npt.NDArray[Any], control: ControlSettings
    ) -> tuple[list[Segment], list[str], npt.NDArray[Any]]:
        """Segments of a control's labels by scores (T, L) of the version in use; its labels, and their scores."""
        model = self._model
        label_map = model.get_label_map()
        known = [label for label in control.label_names if label in label_map]
        scores = scores[:, [label_map[label] for label in known]]
        segments = scores_to_segments(scores, control.parameters["model_score_threshold"])
        if isinstance(model, AutoClassifier):
            right = model.region_scores([segment.score for segment in segments])
            segments = [replace(segment, score=score) for segment, score in zip(segments, right, strict=True)]
        return segments, known, scores

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
            previous = load_model(current)
            reason = self._difference(network, previous)
        except (ModelError, OSError, ValueError) as error:
            previous, reason = network, str(error)
        if not reason and isinstance(previous, MultiLabelLSTM):
            return previous, []
        note = f"{self.control.from_name!r}: a new model was started, {reason}"
        logger.warning("project %s, %s", self.project, note)
        return network, [note]

    def _difference(self, wanted: MultiLabelLSTM, previous: Model) -> str | None:
        """Why training cannot go on from ``previous``; None if it can."""
        if not isinstance(previous, MultiLabelLSTM):
            return "because model_classifier_type is lstm and was auto"
        if wanted.get_label_map() != previous.get_label_map():
            return f"because the labels are {list(wanted.get_label_map())} and were {list(previous.get_label_map())}"
        old, new = previous.hyperparameters(), wanted.hyperparameters()
        changed = [f"{name} is {new[name]} and was {old.get(name)}" for name in new if new[name] != old.get(name)]
        if self.is_outdated():
            backbone = self._about.get("backbone", {})
            was = f"{backbone.get('name')} ({backbone.get('crop')}, {backbone.get('profile', 'exact')})"
            now = f"{self.backbone_name} ({self.crop}, {self._parts.extractor.profile})"
            changed.append(f"the backbone is {now} and was {was}")
        return "because " + ", ".join(changed) if changed else None


def certainty(scores: npt.NDArray[Any]) -> float:
    """How far from undecided the frames of a video are, from 0 to 1: the mean over frames of the label nearest to 0.5."""
    return float(np.abs(2 * scores - 1).min(axis=1).mean()) if scores.size else 1.0


def _quiet(share: float, detail: str) -> None:
    """Progress that nobody watches."""


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a score that does not exist is null."""
    text = json.dumps(value, default=str)
    cleaned: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return cleaned
