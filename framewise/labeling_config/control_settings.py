"""Settings of a control tag."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ConfigError, RequestError, brief
from framewise.core.frame_grid import parse_frame_rate
from framewise.core.media_kinds import MEDIA, MediaKind
from framewise.core.series_time import MILLISECONDS, SeriesTimes
from framewise.core.task_fields import attribute_value, field_value
from framewise.core.time_format import TimeFormat

# Parameters that do not affect which version a training starts from: length of the training, use of the scores.
OF_NO_VERSION = (
    "model_classifier_epochs", "model_classifier_f1_threshold", "model_classifier_accuracy_threshold",
    "model_score_threshold", "model_suggestions", "model_skip",
)  # fmt: skip
# A label this similar to a class is taken for a misspelling of it; otherwise for the user's own label.
NEAR_CLASS = 0.8


@dataclass(frozen=True)
class LabelSettings:
    """A label as named in annotations (by its alias, if it has one), and the backbone's classes for it."""

    name: str
    predicted_values: tuple[str, ...]


@dataclass(frozen=True)
class SeriesSettings:
    """Settings of a TimeSeries tag. time_column: "" for none, which means one row per second. is_date: True if times are
    dates, in milliseconds. sep: separator of columns, "" to detect it. inline: True if the task's data holds the series itself
    (valueType="json") instead of its address. channels: their columns, by name or number."""

    time_column: str
    time_format: str
    is_date: bool
    sep: str
    inline: bool
    channels: tuple[str, ...]

    def times(self, native: npt.NDArray[np.float64]) -> SeriesTimes:
        """Times of a series with these settings, from native values (N,)."""
        form = TimeFormat(self.time_format) if self.time_format else None
        return SeriesTimes(native, MILLISECONDS if self.is_date else 1.0, form, whole=not self.time_column)


@dataclass(frozen=True)
class ControlSettings:
    """Settings of a control tag on a medium. tag: one of ``MEDIA``. frame_rate_text: of a video. series: of a time series.

    value_key: field of the task's data that holds the media, without ``$``; with it if there is text around it; "" if the whole
    data is the medium. sync: name of the group whose media play together.
    labels: those that are learned and predicted. unreviewed: names of labels whose regions are excluded from learning.
    notes: sentences on attributes without effect. beside: names of all controls on media in the labeling config, including this
    one and skipped ones; empty if unknown.
    """

    tag: str
    from_name: str
    to_name: str
    value_key: str
    frame_rate_text: str | None
    labels: tuple[LabelSettings, ...]
    parameters: Mapping[str, Any] = field(hash=False)
    sync: str | None = None
    series: SeriesSettings | None = None
    unreviewed: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    beside: tuple[str, ...] = field(default=(), compare=False)

    @property
    def label_names(self) -> list[str]:
        return [label.name for label in self.labels]

    @property
    def region_names(self) -> list[str]:
        """All labels that a region may have, including those that are not learned."""
        return [*self.label_names, *self.unreviewed]

    @property
    def trainable(self) -> bool:
        return bool(self.parameters["model_trainable"])

    @property
    def kind(self) -> MediaKind:
        """Kind of media that the control is on."""
        return MEDIA[self.tag]

    @property
    def is_on_video(self) -> bool:
        return self.kind.unit == "frames"

    @property
    def is_inline(self) -> bool:
        """True if the task's data holds the media itself."""
        return bool(self.series and self.series.inline)

    def frame_rate(self, task_data: Mapping[str, Any]) -> float:
        """Frames per second of a task, as the editor reads them. Raises RequestError for an invalid value."""
        text = attribute_value(self.frame_rate_text, task_data) if self.frame_rate_text else None
        if not isinstance(text, str | int | float | None):
            raise RequestError(f"Video {self.to_name!r}: frameRate must be a number, found {brief(text)}")
        try:
            return parse_frame_rate(text)
        except ValueError as error:
            raise RequestError(f"Video {self.to_name!r}: {error}") from None

    def media_source(self, task_data: Mapping[str, Any]) -> str:
        """Address of the task's video, series or audio; of an inline series its JSON. Raises RequestError if it has none."""
        source = self.media_value(task_data)
        if self.is_inline:
            return _inline(source, self.value_key)
        if not isinstance(source, str) or not source.strip():
            raise RequestError(
                f"task data: expected the {self.kind.possessive} address in {self.value_key!r}, found {brief(source)}"
            )
        return source.strip()

    def has_media(self, task_data: Mapping[str, Any]) -> bool:
        """True if the task has a value for its video, series or audio."""
        return self.media_value(task_data) not in (None, "")

    def media_value(self, task_data: Mapping[str, Any]) -> Any:
        """Value of a task that should be the address of its video, series or audio, or an inline series; None if missing."""
        if not self.value_key:
            return task_data
        return attribute_value(self.value_key if "$" in self.value_key else f"${self.value_key}", task_data)

    def group_value(self, task_data: Mapping[str, Any]) -> str | None:
        """Value of the field named by ``model_group``, as text; None if there is no such parameter or value."""
        name = self.parameters["model_group"]
        value = field_value(name[1:], task_data) if name else None
        # Numbers of JSON imports are text in CSV imports.
        text = value.strip() if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
        return text or None

    def training_key(self) -> str:
        """Key of the settings that decide which version a training starts from."""
        parameters = {name: value for name, value in self.parameters.items() if name not in OF_NO_VERSION}
        learned = [self.from_name, self.value_key, self.frame_rate_text, self.label_names, self.unreviewed, parameters]
        return json.dumps(learned + self._of_series(), sort_keys=True)

    def prediction_key(self) -> str:
        """Key of all settings that affect predictions of a trained version."""
        names = ["model_score_threshold", "model_path", "model_crop", "model_trainable"]
        names += ["model_pose"] if self.parameters["model_pose"] else []  # keys of other versions stay as they were
        shape = [self.from_name, self.to_name, self.frame_rate_text, [(x.name, x.predicted_values) for x in self.labels]]
        shape += self._of_series()
        return hashlib.sha256(json.dumps([shape, [self.parameters[n] for n in names]]).encode()).hexdigest()[:6]

    def _of_series(self) -> list[Any]:
        return [asdict(self.series)] if self.series else []


def _inline(value: Any, key: str) -> str:
    """Canonical JSON text of a series in a task's data. Raises RequestError."""
    try:
        columns = json.loads(value) if isinstance(value, str) else value
        if isinstance(columns, Mapping):
            return json.dumps(columns, sort_keys=True)
    except (ValueError, RecursionError):
        pass
    raise RequestError(
        f'task data: expected the series itself in {key!r} (valueType="json"), an object with a list of numbers for each '
        f"column, found {brief(value)}"
    )


def match_classes(control: ControlSettings, class_names: Mapping[int, str]) -> dict[str, list[int]]:
    """Classes of the backbone for each label, in simple mode: compared ignoring case, with ``_`` as a space.

    Raises ConfigError if no label matches.
    """
    by_name = {_plain(name): index for index, name in class_names.items()}
    matched = {
        label.name: indices
        for label in control.labels
        if (indices := [by_name[_plain(v)] for v in label.predicted_values if _plain(v) in by_name])
    }
    if matched:
        return matched
    wanted = control.labels[0].predicted_values[0]
    near = difflib.get_close_matches(_plain(wanted), by_name, n=3, cutoff=NEAR_CLASS)
    cure = (
        f"near {wanted!r} are {near}: set predicted_values on the label to the class that it stands for"
        if near
        else 'add model_trainable="true" to the tag, so that it learns from annotations'
    )
    raise ConfigError(
        f"TimelineLabels {control.from_name!r}: simple mode, but none of the labels {brief(control.label_names)} is a "
        f"class of the backbone; {cure}"
    )


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")
