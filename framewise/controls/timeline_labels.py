"""<TimelineLabels> on <Video>: simple mode (the backbone's own classes) and trainable mode (learned from annotations)."""

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

from framewise.controls.base import (
    ControlModel,
    Example,
    Features,
    Predicted,
    Profiles,
    Progress,
    Trained,
    on_one_grid,
    profiles_of,
)
from framewise.core.converter import (
    Segment,
    get_label_map,
    on_grid,
    regions_to_frame_labels,
    regridded,
    scores_to_segments,
    segments_to_regions,
)
from framewise.core.errors import ModelError, NothingMarked, brief
from framewise.core.intervals import Intervals
from framewise.core.known import known_cells, never_overlapping, point_cells, reviewed_rows
from framewise.core.regions import TimelineRegion, read_regions
from framewise.features.extraction import GridRows, VideoFeatures
from framewise.features.sensors import SeriesProfile
from framewise.labeling_config import ControlSettings, match_classes
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.comparison import compare
from framewise.learning.held_out import HeldOut, HeldOutVideo, write_held_out
from framewise.learning.models import Model, check_model, load_cached_model, load_model
from framewise.learning.networks import MultiLabelLSTM
from framewise.learning.tracks import LabelledVideo, Rows

logger = logging.getLogger(__name__)

LEARNED_FROM = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


@dataclass(frozen=True)
class _Learned:
    """A model that was just made; ``about``: what its version's record should say of it. held_out: scores of each video by
    learners that did not learn from it, if there are any."""

    model: Model
    about: dict[str, Any]
    notes: list[str]
    provisional: bool
    held_out: list[HeldOutVideo] = field(default_factory=list)

    def save(self, folder: Path, labels: Sequence[str]) -> None:
        """Write all files of a version but its record."""
        self.model.save(folder)
        if self.held_out:
            write_held_out(folder, self.held_out, labels)


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
        names, parameters = self.control.label_names, self.control.parameters
        strange = sorted({label for region in regions for label in region.labels} - set(self.control.region_names))
        notes = [f"regions of {brief(strange)}, which the labeling config does not have, are left out"] if strange else []
        hiding = [r for r in regions if set(r.labels) & set(self.control.unreviewed)]
        reviewed = reviewed_rows([r for r in regions if r not in hiding], hiding, len(rows), parameters["model_unmarked"])
        learned = [replace(r, labels=tuple(x for x in r.labels if x in names)) for r in regions]
        frame_labels = regions_to_frame_labels(learned, names, len(rows))
        # Of a label that was added later, an annotation says nothing: not that it is nowhere in the video.
        taught = frame_labels.any(axis=0) | np.array([told is None or name in told for name in names])
        points = point_cells(learned, names, len(rows)) & reviewed[:, None] if parameters["model_marks"] == "points" else None
        # What other labels rule out is known when all examples are: see ``completed``.
        apart = np.zeros((len(names), len(names)), dtype=bool) if parameters["model_unmarked"] == "unknown" else None
        if not known_cells(frame_labels, reviewed, np.ones_like(taught), apart).any():
            raise NothingMarked(_why_nothing(parameters["model_unmarked"], bool(hiding)))
        return Example(rows, frame_labels, reviewed, taught, content, notes, apart, points)

    def completed(self, examples: Sequence[Example]) -> list[Example]:
        examples = on_one_grid(examples)
        if self.control.parameters["model_unmarked"] != "unknown":
            return examples
        apart = never_overlapping([example.frame_labels for example in examples])
        return [replace(example, apart=apart) for example in examples]

    def train(self, examples: Sequence[Example], version: str, progress: Progress, thorough: bool = False) -> Trained:
        profiles, examples = profiles_of(examples), self.completed(examples)
        videos = [example.video for example in examples]
        if self.control.parameters["model_classifier_type"] == "lstm":
            learned = self._learn_lstm(videos, progress)
        elif thorough:
            learned = self._learn_thoroughly(examples, progress)
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
            lambda folder: learned.save(folder, self.control.label_names),
            lambda folder: check_model(folder, videos[0].rows),
        )
        notes = [*learned.notes, *self._notes_on(examples)]
        in_use = self._parts.registry.in_use(self.project)
        if not published.current and any(use.pinned for use in in_use if use.control == self.control.from_name):
            notes = [*notes, f"{self.control.from_name!r}: {version} is kept, and not in use: another version is pinned"]
        for known in ("_current", "_about", "_model"):
            self.__dict__.pop(known, None)
        logger.info("project %s, %s: version %s, %s", self.project, self.control.from_name, version, learned.about)
        return Trained(notes, published.current, learned.provisional)

    def _notes_on(self, examples: Sequence[Example]) -> list[str]:
        """Warnings about how the annotations of all examples are taken."""
        notes, where, parameters = [], repr(self.control.from_name), self.control.parameters
        lacking = sum(example.group is None for example in examples) if parameters["model_group"] else 0
        if lacking:
            notes.append(
                f"{where}: {lacking} of {len(examples)} annotated tasks have no {parameters['model_group'][1:]!r}, which "
                "model_group names; each of them is a group of its own"
            )
        if parameters["model_unmarked"] == "unknown" and (always := self._never_off(examples)):
            notes.append(
                f'{where}: with model_unmarked="unknown" nothing says where {brief(always)} are off; mark some stretches '
                "without them with another label"
            )
        return notes

    def _never_off(self, examples: Sequence[Example]) -> list[str]:
        """Labels that are marked, and known to be off nowhere."""
        on = np.any([example.frame_labels.any(axis=0) for example in examples], axis=0)
        off = np.any([(example.known & (example.frame_labels == 0)).any(axis=0) for example in examples], axis=0)
        return [name for name, found in zip(self.control.label_names, on & ~off, strict=True) if found]

    def _learn_quickly(self, videos: Sequence[LabelledVideo]) -> _Learned:
        """Decided as the last version that was measured."""
        classifier = learn_quickly(videos, self.control.label_names, self._previous())
        return _Learned(classifier, {"stage": "quick", "evidence": classifier.evidence()}, [], provisional=True)

    def _learn_thoroughly(self, examples: Sequence[Example], progress: Progress) -> _Learned:
        videos = [example.video for example in examples]
        classifier, quality, scores, explained, truth = learn_thoroughly(videos, self.control.label_names, progress)
        measured = quality.to_json() if quality else None
        about = {"stage": "validated", "quality": measured, "evidence": classifier.evidence(), "explained": explained}
        held_out = _held_out(examples, scores, truth)
        notes = self._fallen(held_out, videos) if quality and not quality.weak else []
        return _Learned(classifier, about, notes, provisional=False, held_out=held_out)

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

    def _measured(self) -> Mapping[str, Any]:
        """Record of the newest version that was measured, in use or not; empty if there is none."""
        versions = self._parts.registry.versions(self.project)
        own = (version for version in versions if version["control"] == self.control.from_name)
        return next((version for version in own if version.get("quality")), {})

    def _previous(self) -> AutoClassifier | None:
        """The classifier of the newest version that was measured, else the one in use, if it is one of this kind and can be
        read. One that learned from older annotations than the version in use was measured all the same."""
        measured = self._measured()
        registry = self._parts.registry
        folder = registry.folder(self.project, self.control.from_name) / measured["version"] if measured else self._current
        try:
            model = load_cached_model(folder) if folder else None
        except ModelError as error:
            logger.warning("project %s, %s: %s", self.project, self.control.from_name, error)
            return None
        return model if isinstance(model, AutoClassifier) else None

    def _fallen(self, held_out: Sequence[HeldOutVideo], videos: Sequence[LabelledVideo]) -> list[str]:
        """A note if a new version, scored by leaving videos out, is clearly worse than the last measured version on the videos
        that both left out."""
        before = self._measured()
        quality = before.get("quality")
        if not held_out or not isinstance(quality, Mapping) or quality.get("weak", True):
            return []
        folder = self._parts.registry.folder(self.project, self.control.from_name) / before["version"]
        try:
            found = compare(held_out, self.control.label_names, [video.group for video in videos], HeldOut(folder))
        except (ModelError, OSError) as error:  # also where there is no such file: versions of long ago have none
            logger.info("project %s, %s: not compared with the version before: %s", self.project, self.control.from_name, error)
            return []
        if not found.is_worse:
            return []
        return [
            f"{self.control.from_name!r}: on videos that it did not learn from, F1@50 is {found.now:.2f}; that of "
            f"{before['version']} is {found.then:.2f} on the same {found.videos} videos. "
            f"To go back: framewise roll-back {self.project} {before['version']}"
        ]

    # The names of the published guide for this backend; a video's path there is a file that framewise may read.

    def predict_regions(self, video_path: str) -> list[dict[str, Any]]:
        """Regions of a video, by the mode of the control. Raises ModelError if it is not trained yet."""
        return self.create_timelines_trainable(video_path) if self.trainable else self.create_timelines_simple(video_path)

    def create_timelines_simple(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the backbone's own classes."""
        return self._predict_simple(self._on_grid(video_path)).regions

    def create_timelines_trainable(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the trained model. Raises ModelError if it is not trained yet."""
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
            columns = [label_map[known[segment.label_index]] for segment in segments]
            right = model.region_scores([segment.score for segment in segments], columns)
            segments = [
                replace(segment, score=score, instant=column in model.instants and segment.stop - segment.index == 1)
                for segment, score, column in zip(segments, right, columns, strict=True)
            ]
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


def _why_nothing(unmarked: str, hidden: bool) -> str:
    if unmarked == "off":
        return "unreviewed regions cover all of it, so nothing is learned from it"
    outside = " outside of unreviewed regions" if hidden else ""
    return f'nothing is marked in it{outside}, and with model_unmarked="{unmarked}" that says nothing'


def certainty(scores: npt.NDArray[Any]) -> float:
    """How far from undecided the frames of a video are, from 0 to 1: the mean over frames of the label nearest to 0.5."""
    return float(np.abs(2 * scores - 1).min(axis=1).mean()) if scores.size else 1.0


def _held_out(
    examples: Sequence[Example], scores: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]]
) -> list[HeldOutVideo]:
    """What is kept of the held-out scores and the truth (T, L) of examples; nothing if there are no scores, or an example is of
    no task."""
    tasks = [example.task for example in examples]
    if not scores or None in tasks:
        return []
    return [
        HeldOutVideo.of(int(task or 0), e.rows.frame_rate, of_video, on, e.known)
        for task, e, of_video, on in zip(tasks, examples, scores, truth, strict=True)
    ]


def _quiet(share: float, detail: str) -> None:
    """Progress that nobody watches."""


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a score that does not exist is null."""
    text = json.dumps(value, default=str)
    cleaned: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return cleaned
