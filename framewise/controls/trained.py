"""Models trained on annotations of one control, or of the controls of a sync group together."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.control import AnyControl
from framewise.controls.examples import Example, Medium, Profiles, completed, example_of, notes_on, profiles_of
from framewise.controls.learner import Learner, OnGrid, SimpleMode
from framewise.controls.lstm import learn_lstm, other_features
from framewise.core.converter import Segment
from framewise.core.errors import ModelError, NothingMarked, VersionGone
from framewise.core.known import Mask
from framewise.core.left_out import left_out
from framewise.core.progress import Progress
from framewise.core.regions import TimelineRegion
from framewise.labeling_config import sync_groups
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.comparison import compare
from framewise.learning.draft import learn_draft
from framewise.learning.held_out import HeldOut, HeldOutVideo, write_held_out
from framewise.learning.models import Model, check_model, load_cached_model, scores_of
from framewise.learning.tracks import LabelledVideo
from framewise.learning.unmarked import MAX_SHOWN, left_unmarked

logger = logging.getLogger(__name__)

Labels = Mapping[str, Sequence[str]]  # from_name -> labels


@dataclass(frozen=True)
class Trained:
    """Outcome of a training. current: True if its version is in use now. provisional: True if a slower training can make a
    better version from the same annotations."""

    notes: list[str]
    current: bool
    provisional: bool


@dataclass(frozen=True)
class _Learned:
    """A new model. about: for its version's record. held_out: scores of each video by learners that were not trained on it, if
    there are any."""

    model: Model
    about: dict[str, Any]
    notes: list[str]
    provisional: bool
    held_out: list[HeldOutVideo] = field(default_factory=list)

    def save(self, folder: Path, labels: Sequence[str]) -> None:
        """Write all files of a version except its record."""
        self.model.save(folder)
        if self.held_out:
            write_held_out(folder, self.held_out, labels)


class TrainedModel(Learner):
    """Model trained on the annotations of one control, or of all controls of a sync group."""

    def version(self) -> str | None:
        current = self.folder
        if current is None or self.is_outdated():
            return None
        # A setting that affects predictions was changed since the training: to Label Studio, these are new predictions.
        key = self.prediction_key()
        return current.name if self._about.get("prediction_key") == key else f"{current.name}-{key}"

    def is_outdated(self) -> bool:
        """True if the version in use was trained on other features than the current ones."""
        if self.folder is None:
            return False
        wanted, learned_from = self.identity(), self._about.get("backbone", {})
        # Versions without written profiles have one.
        return {"profile": "exact", **learned_from, "name": ""} != {"profile": "exact", **wanted, "name": ""}

    @cached_property
    def folder(self) -> Path | None:
        """Folder of the version in use, looked up once: all answers of a request come from one version, even if a training
        ends in the meantime."""
        return self._parts.registry.current(self.project, self.name)

    @cached_property
    def _about(self) -> dict[str, Any]:
        """Record of the version in use, read once: it is needed for every task of a request."""
        with self._setting_damage_aside():
            return self._parts.registry.about(self.folder) if self.folder else {}

    @property
    def profiles(self) -> Profiles:
        written = self._about.get("series", {})
        return {name: reader.read_profile(written[name]) for name, reader in self.readers.items() if name in written}

    @cached_property
    def _model(self) -> Model:
        """Model of the version in use, read once: the version may be removed while a request is answered."""
        registry, folder = self._parts.registry, self.folder
        with self._setting_damage_aside(), registry.reading(folder):
            model = load_cached_model(folder, registry.check) if folder else None
            if model is None:
                raise ModelError(f"{self.name!r} of project {self.project} is not trained yet; submit an annotation")
        return model

    @contextmanager
    def _setting_damage_aside(self) -> Iterator[None]:
        """Context that replaces an unreadable version in use by another one. It then raises VersionGone; a retry uses that
        one."""
        try:
            yield
        except VersionGone:
            raise
        except ModelError as error:
            if self.folder is None:
                raise
            self._parts.registry.set_aside(self.project, self.name, self.folder, str(error))
            raise VersionGone(f"version {self.folder.name} cannot be read: {error}") from None

    def scores(self, grid: OnGrid) -> tuple[list[str], npt.NDArray[Any]]:
        columns = self._model.get_label_map()
        known = [label for label in self.settings.label_names if label in columns]
        scores = scores_of(self._model, grid.rows)[:, [columns[label] for label in known]]
        if not np.isfinite(scores).all():
            raise ModelError(f"version {self.version()} gives scores that are not numbers; roll back, or start a training")
        return known, scores

    def draft_scores(self, grid: OnGrid, on: Mask, known: Mask) -> npt.NDArray[Any] | None:
        return learn_draft(grid.rows, on, known) if self.can_refine and on.any() else None

    def _segments(self, scores: npt.NDArray[Any], labels: Sequence[str], threshold: float) -> list[Segment]:
        segments, model = super()._segments(scores, labels, threshold), self._model
        if not isinstance(model, AutoClassifier):
            return segments
        label_map = model.get_label_map()
        columns = [label_map[labels[segment.label_index]] for segment in segments]
        right = model.region_scores([segment.score for segment in segments], columns)
        return [
            replace(segment, score=score, instant=column in model.instants and segment.stop - segment.index == 1)
            for segment, score, column in zip(segments, right, columns, strict=True)
        ]

    # Learning.

    @property
    def can_refine(self) -> bool:
        """True if a thorough training makes a different version than a quick one."""
        return bool(self.settings.parameters["model_classifier_type"] == "auto")

    def task_example(
        self,
        media: Sequence[Medium],
        task_data: Mapping[str, Any],
        result: Sequence[Any],
        labels: Labels | None = None,
        frame_rates: Mapping[str, str | None] | None = None,
    ) -> Example:
        """Example from an annotation's ``result``; regions of the same label on several controls are joined.

        labels, frame_rates: of each control, from the labeling config at the time of the annotation; None if unknown.
        Raises RegionError, NothingMarked, MediaError, RequestError.
        """
        kinds = {control.settings.from_name: control.kind.region for control in self.controls}
        names, beside = list(kinds), self.settings.beside
        unread = left_out(result, kinds, beside)
        if unread.is_all:
            raise NothingMarked(f"it has nothing but {', and '.join(unread.reasons(beside))}")
        told = [labels[name] for name in names if name in labels] if labels else []
        if labels and not told and not unread.own:
            names_now = " or ".join(map(repr, names))
            raise NothingMarked(f"it was annotated when the labeling config had no {names_now}, and says nothing of it")
        known = sorted({label for names in told for label in names}) if told else None
        controls = [control.as_annotated(frame_rates) for control in self.controls]

        def on_grid(profiles: Profiles) -> Example:
            grid = self.on_grid(media, task_data, profiles)
            features = {medium.control.to_name: medium.features for medium in media}
            frames = [
                region
                for control in controls
                if control.to_name in features
                for region in control.frames_of(result, features[control.to_name], grid.rate, task_data)
            ]
            return self._example(grid, frames, media[0].content, known, task_data)

        example = on_grid({})
        notes = [*example.notes, *unread.notes(beside)]
        return replace(example, media=tuple(media), on_grid=on_grid, notes=notes)

    def _example(
        self,
        grid: OnGrid,
        frames: Sequence[TimelineRegion],
        content: str,
        told: Sequence[str] | None,
        task_data: Mapping[str, Any],
    ) -> Example:
        number = len(grid.rows)
        inside = [cut for region in frames if (cut := _cut(region, number))]
        example = example_of(self.settings, grid.rows, inside, content, told)
        example = replace(example, group=self.settings.group_value(task_data))
        if len(inside) < len(frames):
            end = f"{number / grid.rate:.2f} s, where the shortest medium of the sync group ends"
            return replace(example, notes=[*example.notes, f"{len(frames) - len(inside)} regions after {end}, are left out"])
        return example

    def train(self, examples: Sequence[Example], version: str, progress: Progress, thorough: bool = False) -> Trained:
        """Train on all examples and publish the version. thorough: also validate it on held-out videos, and choose thresholds
        by them."""
        profiles, examples = profiles_of(examples), completed(self.settings, examples)
        videos = [example.video for example in examples]
        if not self.can_refine:
            learned = self._learn_lstm(videos, progress)
        elif thorough:
            learned = self._learn_thoroughly(examples, progress)
        else:
            learned = self._learn_quickly(videos)
        about = {
            "trained_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "videos": len(examples),
            "labels": self.settings.label_names,
            "backbone": {"name": self.front_end, **self.identity()},
            "prediction_key": self.prediction_key(),
            **({"series": {name: profile.to_json() for name, profile in profiles.items()}} if profiles else {}),
            **learned.about,
        }
        published = self._parts.registry.publish(
            self.project,
            self.name,
            version,
            _without_nan(about),
            lambda folder: learned.save(folder, self.settings.label_names),
            lambda folder: check_model(folder, videos[0].rows),
        )
        notes = [*learned.notes, *notes_on(self.settings, examples)]
        in_use = self._parts.registry.in_use(self.project)
        if not published.current and any(use.pinned for use in in_use if use.control == self.name):
            notes = [*notes, f"{self.name!r}: {version} is kept, and not in use: another version is pinned"]
        for known in ("folder", "_about", "_model"):
            self.__dict__.pop(known, None)
        logger.info("project %s, %s: version %s, %s", self.project, self.name, version, learned.about)
        return Trained(notes, published.current, learned.provisional)

    def _learn_quickly(self, videos: Sequence[LabelledVideo]) -> _Learned:
        """Train with the thresholds and weights of the last validated version."""
        classifier = learn_quickly(videos, self.settings.label_names, self._previous())
        return _Learned(classifier, {"stage": "quick", "evidence": classifier.evidence()}, [], provisional=True)

    def _learn_thoroughly(self, examples: Sequence[Example], progress: Progress) -> _Learned:
        videos = [example.video for example in examples]
        classifier, quality, scores, explained, truth = learn_thoroughly(videos, self.settings.label_names, progress)
        measured = quality.to_json() if quality else None
        about: dict[str, Any] = {
            "stage": "validated",
            "quality": measured,
            "evidence": classifier.evidence(),
            "explained": explained,
        }
        held_out = _held_out(examples, scores, truth)
        if self.settings.parameters["model_unmarked"] != "unknown":  # otherwise no unmarked cell counts as off
            stretches = left_unmarked(held_out, self.settings.label_names)
            about["unmarked"] = [asdict(stretch) for stretch in stretches[:MAX_SHOWN]]
        fallen = self._fallen(held_out, videos) if quality and not quality.weak else None
        notes = []
        if fallen:
            about["worse_than"] = fallen
            notes.append(self._told_of(fallen))
        return _Learned(classifier, about, notes, provisional=False, held_out=held_out)

    def _learn_lstm(self, videos: Sequence[LabelledVideo], progress: Progress) -> _Learned:
        learned_from = self._about.get("backbone", {})
        other = other_features(learned_from, self.front_end, self.identity()) if self.is_outdated() else ""
        network, fit, begun = learn_lstm(self.settings, videos, self._undamaged_folder(), other, progress)
        notes = [f"{self.name!r}: a new model was started, {begun}"] if begun else []
        for note in notes:
            logger.warning("project %s, %s", self.project, note)
        return _Learned(network, {"fit": fit}, notes, provisional=False)

    def _undamaged_folder(self) -> Path | None:
        """Folder of the version in use; None if there is none or it is damaged, because a training must not start from it."""
        try:
            with self._setting_damage_aside():
                if self.folder:
                    self._parts.registry.check(self.folder)
        except VersionGone:
            return None
        return self.folder

    def _measured(self) -> Mapping[str, Any]:
        """Record of the newest validated version, in use or not; empty if there is none."""
        versions = self._parts.registry.versions(self.project)
        own = (version for version in versions if version["control"] == self.name)
        return next((version for version in own if version.get("quality")), {})

    def _previous(self) -> AutoClassifier | None:
        """Classifier of the newest validated version, otherwise of the one in use, if it is readable and of this kind. The
        validated one is preferred even if its annotations are older."""
        measured = self._measured()
        registry = self._parts.registry
        folder = registry.folder(self.project, self.name) / measured["version"] if measured else self.folder
        try:
            model = load_cached_model(folder, registry.check) if folder else None
        except ModelError as error:
            logger.warning("project %s, %s: %s", self.project, self.name, error)
            return None
        return model if isinstance(model, AutoClassifier) else None

    def _fallen(self, held_out: Sequence[HeldOutVideo], videos: Sequence[LabelledVideo]) -> dict[str, Any] | None:
        """Comparison with the last validated version, for the record, if a new one is clearly worse on the videos that were
        held out in both validations."""
        before = self._measured()
        quality = before.get("quality")
        if not held_out or not isinstance(quality, Mapping) or quality.get("weak", True):
            return None
        folder = self._parts.registry.folder(self.project, self.name) / before["version"]
        try:
            found = compare(held_out, self.settings.label_names, [video.group for video in videos], HeldOut(folder))
        except (ModelError, OSError) as error:  # also if the file is missing, as in versions made long ago
            logger.info("project %s, %s: not compared with the version before: %s", self.project, self.name, error)
            return None
        if not found.is_worse:
            return None
        return {"version": before["version"], "now": found.now, "then": found.then, "videos": found.videos}

    def _told_of(self, fallen: Mapping[str, Any]) -> str:
        return (
            f"{self.name!r}: on videos that it did not learn from, F1@50 is {fallen['now']:.2f}; that of "
            f"{fallen['version']} is {fallen['then']:.2f} on the same {fallen['videos']} videos. "
            f"To go back: framewise roll-back {self.project} {fallen['version']}"
        )


def learners_of(controls: Iterable[AnyControl]) -> list[Learner]:
    """Learners over the controls of a labeling config, in the order of their first controls."""
    by_name = {control.settings.from_name: control for control in controls}
    groups = sync_groups([control.settings for control in by_name.values()])
    leading = {members[0].from_name: [by_name[m.from_name] for m in members] for members in groups}
    inside = {member.from_name for members in groups for member in members}
    return [
        TrainedModel(leading[name]) if name in leading else _alone(control)
        for name, control in by_name.items()
        if name in leading or name not in inside
    ]


def _alone(control: AnyControl) -> Learner:
    return TrainedModel([control]) if control.settings.trainable else SimpleMode(control)


def _cut(region: TimelineRegion, num_frames: int) -> TimelineRegion | None:
    """Part of a region within the first frames; None if there is none."""
    ranges = tuple((start, min(end or num_frames, num_frames)) for start, end in region.ranges if start <= num_frames)
    return replace(region, ranges=ranges) if ranges or not region.ranges else None


def _held_out(
    examples: Sequence[Example], scores: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]]
) -> list[HeldOutVideo]:
    """Record of held-out scores and the truth (T, L) of examples; empty if there are no scores, or an example has no
    task."""
    tasks = [example.task for example in examples]
    if not scores or None in tasks:
        return []
    return [
        HeldOutVideo.of(int(task or 0), e.rows.frame_rate, of_video, on, e.known)
        for task, e, of_video, on in zip(tasks, examples, scores, truth, strict=True)
    ]


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """The value with None in place of NaN, which JSON does not have."""
    text = json.dumps(value, default=str)
    cleaned: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return cleaned
