"""A project's labeling config, read into typed settings of the controls that this backend fills in.

``PARAMETERS`` is the one table of attributes: what it says is parsed, refused, and printed in the documentation.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder

import numpy as np
import numpy.typing as npt
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from framewise.core.errors import ConfigError, RequestError, brief
from framewise.core.frame_grid import parse_frame_rate
from framewise.core.known import UNMARKED
from framewise.core.media_kinds import MEDIA, MediaKind, expected_controls
from framewise.core.series_time import MILLISECONDS, SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.settings import parse_bool

CROPS = ("center", "fit", "squash")
CLASSIFIERS = ("auto", "lstm")
MARKS = ("intervals", "points")
UNREVIEWED = "unreviewed"  # the one role that a label may have besides being learned
# A labeling config is written by hand; this is far above any, and far below what would take long to parse.
MAX_CONFIG_CHARS = 1_000_000
VALUE_TYPES = ("url", "json")
# The names that the editor has for separators of columns; of another text it takes the first character.
SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "dot": ".", "auto": ""}
MAX_CHANNELS = 200
# A label is a column of arrays with a row a frame, and a control is a network: far above any that people annotate with.
MAX_LABELS = 1000
MAX_CONTROLS = 20


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text.strip())
        except ValueError:
            raise ValueError(f"a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError("a number from 0 to 1")
    return value


def _boolean(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        raise ValueError("true or false") from None


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(" or ".join(choices))
        return text.strip().lower()

    return parse


def _task_field(text: str) -> str | None:
    """A field of the task data as the config writes it, "$name"; None for no text."""
    text = text.strip()
    if text and (not text.startswith("$") or len(text) < 2):
        raise ValueError('"$field" with a field of the task data')
    return text or None


@dataclass(frozen=True)
class Parameter:
    """An attribute of a control tag. ``parse`` raises ValueError with what was expected. choices: its values, if few."""

    name: str
    default: Any
    parse: Callable[[str], Any]
    help: str
    choices: tuple[str, ...] = ()


PARAMETERS = (
    Parameter(
        "model_trainable",
        False,
        _boolean,
        "learn from submitted annotations; if false, the backbone's own classes (simple mode)",
    ),
    Parameter(
        "model_classifier_type",
        "auto",
        _one_of(*CLASSIFIERS),
        "learner: auto, framewise's own; or lstm, the network of Label Studio's guide",
        CLASSIFIERS,
    ),
    Parameter("model_classifier_epochs", 1000, _whole(1, 100_000), "lstm: maximum number of epochs per training"),
    Parameter("model_classifier_sequence_size", 16, _whole(2, 4096), "lstm: frames per sequence; a change starts a new model"),
    Parameter(
        "model_classifier_hidden_size", 32, _whole(1, 1024), "lstm: size of the hidden state; a change starts a new model"
    ),
    Parameter("model_classifier_num_layers", 1, _whole(1, 8), "lstm: number of layers; a change starts a new model"),
    Parameter(
        "model_classifier_f1_threshold", 0.95, _share, "lstm: training stops at this F1, averaged over the labels that occur"
    ),
    Parameter("model_classifier_accuracy_threshold", 1.0, _share, "lstm: training stops at this share of correct frames"),
    Parameter("model_score_threshold", 0.5, _share, "minimum score for a frame to be labelled"),
    Parameter(
        "model_path", None, str.strip, "backbone: a file in the models folder, an official Ultralytics name, or framewise-n-cls"
    ),
    Parameter(
        "model_crop",
        "center",
        _one_of(*CROPS),
        "how pictures are made square: center crops the sides, fit adds borders, squash stretches",
        CROPS,
    ),
    Parameter(
        "model_unmarked",
        "off",
        _one_of(*UNMARKED),
        "meaning of unmarked frames: off; after_last, unknown after an annotation's last region and off before it; or unknown",
        UNMARKED,
    ),
    Parameter(
        "model_marks",
        "intervals",
        _one_of(*MARKS),
        "intervals, a region lasts from its first frame to its last; or points, a region of one frame marks an occurrence of "
        "unknown length",
        MARKS,
    ),
    Parameter(
        "model_group",
        None,
        _task_field,
        "task data field, such as $person; recordings with the same value are held out together when versions are measured",
    ),
    Parameter("model_skip", False, _boolean, "ignore this control"),
)


DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}

# What a change of does not make a trained version another one: how long to train, and what is done with its scores.
OF_NO_VERSION = (
    "model_classifier_epochs", "model_classifier_f1_threshold", "model_classifier_accuracy_threshold",
    "model_score_threshold", "model_skip",
)  # fmt: skip
# What controls that are learned together must agree on: how their annotations, which become one, are to be taken.
TAKEN_TOGETHER = ("model_unmarked", "model_marks", "model_group")


@dataclass(frozen=True)
class LabelSettings:
    """A label as annotations name it (its alias, if it has one) and the backbone's classes that stand for it."""

    name: str
    predicted_values: tuple[str, ...]


@dataclass(frozen=True)
class SeriesSettings:
    """Settings of a <TimeSeries>. time_column: "" for none, then a row is a second. is_date: whether its times are dates,
    counted in milliseconds. sep: between columns, "" if that is to be found out. inline: whether the task's data holds the
    series itself (valueType="json"), not its address. channels: their columns, by name or number."""

    time_column: str
    time_format: str
    is_date: bool
    sep: str
    inline: bool
    channels: tuple[str, ...]

    def times(self, native: npt.NDArray[np.float64]) -> SeriesTimes:
        """Times of a series that was read in this way, from their native values (N,)."""
        form = TimeFormat(self.time_format) if self.time_format else None
        return SeriesTimes(native, MILLISECONDS if self.is_date else 1.0, form, whole=not self.time_column)


@dataclass(frozen=True)
class ControlSettings:
    """A control tag on a medium: ``tag`` is one of ``MEDIA``. frame_rate_text: of a video. series: of a time series.

    value_key: the field of the task's data that holds the media. sync: the name of the group whose media play together.
    labels: those that are learned and predicted. unreviewed: names of the others, whose regions hide what they cover from
    learning.
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

    @property
    def label_names(self) -> list[str]:
        return [label.name for label in self.labels]

    @property
    def region_names(self) -> list[str]:
        """All labels that a region may have, those that are not learned included."""
        return [*self.label_names, *self.unreviewed]

    @property
    def trainable(self) -> bool:
        return bool(self.parameters["model_trainable"])

    @property
    def kind(self) -> MediaKind:
        """The kind of media that it is on."""
        return MEDIA[self.tag]

    @property
    def is_on_video(self) -> bool:
        return self.kind.unit == "frames"

    def frame_rate(self, task_data: Mapping[str, Any]) -> float:
        """Frames per second of a task, as the editor reads it. Raises RequestError for one that cannot be."""
        text: Any = self.frame_rate_text
        if text and text.startswith("$"):
            text = task_data.get(text[1:])
        if not isinstance(text, str | int | float | None):
            raise RequestError(f"Video {self.to_name!r}: frameRate must be a number, found {brief(text)}")
        try:
            return parse_frame_rate(text)
        except ValueError as error:
            raise RequestError(f"Video {self.to_name!r}: {error}") from None

    def media_source(self, task_data: Mapping[str, Any]) -> str:
        """Source of the task's video, series or audio; an inline series itself, as JSON. Raises RequestError if it has none."""
        source = task_data.get(self.value_key)
        if self.series and self.series.inline:
            return _inline(source, self.value_key)
        if not isinstance(source, str) or not source.strip():
            raise RequestError(
                f"task data: expected the {self.kind.possessive} address in {self.value_key!r}, found {brief(source)}"
            )
        return source.strip()

    def group_value(self, task_data: Mapping[str, Any]) -> str | None:
        """Value of the field that ``model_group`` names, as text; None where it names none or the task has no value there."""
        name = self.parameters["model_group"]
        value = task_data.get(name[1:]) if name else None
        # A number in an import of JSON is text in one of CSV.
        text = value.strip() if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
        return text or None

    def training_key(self) -> str:
        """Changes when a version that was trained before is not the one that a training would begin with now."""
        parameters = {name: value for name, value in self.parameters.items() if name not in OF_NO_VERSION}
        learned = [self.from_name, self.value_key, self.frame_rate_text, self.label_names, self.unreviewed, parameters]
        return json.dumps(learned + self._of_series(), sort_keys=True)

    def prediction_key(self) -> str:
        """Changes when anything that shapes a prediction besides the trained weights changes."""
        names = ("model_score_threshold", "model_path", "model_crop", "model_trainable")
        shape = [self.from_name, self.to_name, self.frame_rate_text, [(x.name, x.predicted_values) for x in self.labels]]
        shape += self._of_series()
        return hashlib.sha256(json.dumps([shape, [self.parameters[n] for n in names]]).encode()).hexdigest()[:6]

    def _of_series(self) -> list[Any]:
        return [asdict(self.series)] if self.series else []


def read_labeling_config(xml: str, default_score_threshold: float = 0.5) -> list[ControlSettings]:
    """Settings of every control on a medium, see ``MEDIA``, that is not skipped.

    Entities and external references are never resolved. Raises ConfigError that says what cannot work and how to mend it.
    """
    root = parse_xml(xml)
    objects = _objects(root)
    found = [e for e in root.iter() if _is_control(e, objects)]
    controls = [_read_control(e, objects, default_score_threshold) for e in found]
    active = [c for c in controls if not c.parameters["model_skip"]]
    # A <Labels> on an <Audio> is in many configs for people alone.
    active = [c for c in active if c.kind.only_here or c.trainable] or active
    if len(active) > MAX_CONTROLS:
        raise ConfigError(
            f"expected at most {MAX_CONTROLS} controls, found {len(active)} {' and '.join(sorted({c.tag for c in active}))}; "
            'set model_skip="true" on the others'
        )
    if not active:
        hint = 'every one has model_skip="true"' if controls else f"found {_tag_list(root)}"
        raise ConfigError(f"the labeling config: expected {expected_controls()}, {hint}")
    for members in sync_groups(active):
        _check_together(members)
    return active


def read_interval_controls(xml: str) -> list[ControlSettings]:
    """Settings of every control whose regions are intervals in time, those that ``read_labeling_config`` skips as well. May be
    empty. Raises ConfigError."""
    root = parse_xml(xml)
    objects = _objects(root)
    return [_read_control(e, objects, 0.5) for e in root.iter() if _is_control(e, objects)]


def _objects(root: Element) -> dict[Any, Element]:
    """Tags that show something of a task's data, by name."""
    return {attributes_of(e).get("name"): e for e in root.iter() if attributes_of(e).get("value") is not None}


def _is_control(element: Element, objects: Mapping[Any, Element]) -> bool:
    kind = MEDIA.get(element.tag)
    if kind is None:
        return False
    media = objects.get(attributes_of(element).get("toname"))
    return kind.only_here or (media is not None and media.tag == kind.object)


def sync_groups(controls: Sequence[ControlSettings]) -> list[list[ControlSettings]]:
    """Controls that learn together, in the order of the config: those that learn, by the default learner, on several media that
    play in sync.

    ``sync`` is a name that media share. Earlier it was another tag's name: two tags that name each other are one group.
    """
    learning = [c for c in controls if c.trainable and c.parameters["model_classifier_type"] == "auto" and c.sync]
    names = {c.to_name: c.sync for c in learning}
    groups: list[tuple[set[str], list[ControlSettings]]] = []
    for control in learning:
        own = {str(control.sync)} | ({control.to_name} if control.to_name in names.values() else set())
        joined = [group for group in groups if group[0] & own]
        groups = [group for group in groups if not group[0] & own]
        members = [member for _, earlier in joined for member in earlier]
        groups.append((own.union(*(texts for texts, _ in joined)), [*members, control]))
    ordered = [sorted(members, key=learning.index) for _, members in groups]
    return [members for members in ordered if len({member.to_name for member in members}) > 1]


def _check_together(members: Sequence[ControlSettings]) -> None:
    """Raises ConfigError for controls of one sync group that take annotations differently, which become one."""
    first, names = members[0], " and ".join(repr(member.from_name) for member in members)
    for name in TAKEN_TOGETHER:
        values = [member.parameters[name] for member in members]
        if found := [value for value in values if value != values[0]]:
            raise ConfigError(
                f"controls {names} are learned together (sync {first.sync!r}): expected the same {name} on all of them, found "
                f"{_as_written(values[0])} and {_as_written(found[0])}"
            )
    learned = {label for member in members for label in member.label_names}
    if both := [label for member in members for label in member.unreviewed if label in learned]:
        raise ConfigError(
            f"controls {names} are learned together (sync {first.sync!r}): expected label {both[0]!r} to have the same "
            f"model_role on all of them, found it as unreviewed and as a label that is learned"
        )


def _as_written(value: Any) -> str:
    return "none" if value is None else repr(value)


def training_keys(controls: Sequence[ControlSettings]) -> set[str]:
    """``training_key`` of each control that learns by itself, and one for each group that learns together."""
    groups = sync_groups(controls)
    together = {member.from_name for members in groups for member in members}
    alone = {c.training_key() for c in controls if c.trainable and c.from_name not in together}
    return alone | {json.dumps([member.training_key() for member in members]) for members in groups}


def parse_xml(xml: str, with_comments: bool = False) -> Element:
    """The root of a labeling config. Raises ConfigError for what is no XML, or has what is not allowed."""
    if not isinstance(xml, str) or not xml.strip():
        raise ConfigError("the labeling config is empty; expected XML with TimelineLabels on a Video")
    if len(xml) > MAX_CONFIG_CHARS:
        raise ConfigError(f"the labeling config has {len(xml)} characters; at most {MAX_CONFIG_CHARS} are read")
    try:
        parser = DefusedXMLParser(target=TreeBuilder(insert_comments=with_comments), forbid_dtd=True)
        parser.feed(xml)
        root: Element = parser.close()
    except ParseError as error:
        raise ConfigError(f"the labeling config is not XML: {error}") from None
    except (DefusedXmlException, ValueError) as error:
        raise ConfigError(f"the labeling config has a DTD, entities or other things that are not allowed: {error}") from None
    return root


def _tag_list(root: Element) -> str:
    tags = sorted({e.tag for e in root.iter() if isinstance(e.tag, str)})
    return "only " + ", ".join(tags[:12])


def attributes_of(element: Element) -> dict[str, str]:
    """Attributes by lower-case name: Label Studio's editor does not look at case (frameRate is framerate)."""
    return {name.lower(): value for name, value in element.attrib.items()}


def _read_control(element: Element, objects: Mapping[Any, Element], default_threshold: float) -> ControlSettings:
    attributes = attributes_of(element)
    from_name, to_name = attributes.get("name", ""), attributes.get("toname", "")
    where, kind = f"{element.tag} {from_name!r}", MEDIA[element.tag]
    media = objects.get(to_name)
    if not from_name or media is None or media.tag != kind.object:
        what = "there is no tag of that name" if media is None else f"that is the {media.tag}"
        raise ConfigError(f"{where}: expected toName to be the name of a {kind.object}, found {to_name!r}; {what}")
    parameters = _read_parameters(attributes, where)
    if "model_score_threshold" not in attributes:
        parameters["model_score_threshold"] = default_threshold
    of_media, about = attributes_of(media), f"{kind.object} {to_name!r}"
    rate = of_media.get("framerate") if kind.unit == "frames" else None
    labels, unreviewed = _read_labels(element, where)
    control = ControlSettings(
        element.tag, from_name, to_name, _value_key(of_media["value"], about), rate, labels, parameters,
        of_media.get("sync") or None, _read_series(media, about) if kind.unit == "samples" else None, unreviewed,
    )  # fmt: skip
    if rate and not rate.startswith("$"):
        _checked_frame_rate(rate, to_name)
    _check_classifier(control)
    return control


def _check_classifier(control: ControlSettings) -> None:
    """Raises ConfigError for frames to be left out of the learning of a network that cannot leave any out."""
    if not control.trainable or control.parameters["model_classifier_type"] == "auto":
        return
    given = {name: control.parameters[name] for name in ("model_unmarked", "model_marks")}
    asked = [f'{name}="{value}"' for name, value in given.items() if value != DEFAULTS[name]]
    if control.unreviewed:
        asked.append(f'model_role="{UNREVIEWED}"')
    if asked:
        raise ConfigError(
            f'{control.tag} {control.from_name!r}: {asked[0]} needs model_classifier_type="auto"; the lstm network cannot '
            "leave frames out"
        )


def _read_series(element: Element, where: str) -> SeriesSettings:
    attributes = attributes_of(element)
    column, time_format = attributes.get("timecolumn", "").strip(), attributes.get("timeformat", "")
    value_type = attributes.get("valuetype", "url") or "url"
    if value_type not in VALUE_TYPES:
        raise ConfigError(f"{where}: valueType must be {' or '.join(VALUE_TYPES)}, found {value_type!r}")
    if time_format:
        if not column:
            raise ConfigError(f"{where}: timeFormat needs timeColumn; name the column of the times")
        _checked_time_format(time_format, where)
    channels = [attributes_of(e).get("column", "").strip() for e in element.iter("Channel")]
    if not channels:
        raise ConfigError(f"{where}: expected at least one Channel inside it, found none")
    if "" in channels:
        raise ConfigError(f"{where}: expected a column on each Channel, found one without")
    if len(channels) > MAX_CHANNELS:
        raise ConfigError(f"{where}: expected at most {MAX_CHANNELS} channels, found {len(channels)}")
    return SeriesSettings(
        column,
        time_format,
        has_dates(attributes),
        separator_of(attributes.get("sep", "")),
        value_type == "json",
        tuple(dict.fromkeys(channels)),
    )


def has_dates(attributes: Mapping[str, str]) -> bool:
    """True if the editor takes the times of a <TimeSeries> for dates, and counts in milliseconds. By lower-case names."""
    return bool(attributes.get("timeformat")) or attributes.get("timedisplayformat", "")[:1].isalpha()


def separator_of(text: str) -> str:
    """The character between columns, as the editor reads ``sep``; "" where it is to be found out."""
    if len(text) > 1:
        return SEPARATORS.get(text, text[0])
    return text or ","


def _checked_time_format(text: str, where: str) -> None:
    try:
        TimeFormat(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _checked_frame_rate(rate: str, to_name: str) -> None:
    try:
        parse_frame_rate(rate)
    except ValueError as error:
        raise ConfigError(f"Video {to_name!r}: {error}") from None


def _value_key(value: str, where: str) -> str:
    if not value.startswith("$") or len(value) < 2:
        raise ConfigError(f'{where}: expected value="$field" with a field of the task data, found {value!r}')
    return value[1:]


def _read_parameters(attributes: Mapping[str, str], where: str) -> dict[str, Any]:
    known = {p.name: p for p in PARAMETERS}
    values = {p.name: p.default for p in PARAMETERS}
    for name, text in attributes.items():
        if not name.startswith("model_"):
            continue
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{where}: unknown attribute {name!r}; did you mean {nearest!r}?")
        try:
            values[name] = known[name].parse(text)
        except ValueError as error:
            hint = f"; did you mean {_nearest(text, known[name].choices)!r}?" if known[name].choices else ""
            raise ConfigError(f"{where}: {name} must be {error}, found {text!r}{hint}") from None
    if values["model_path"] == "":
        values["model_path"] = None
    return values


def _nearest(text: str, choices: Sequence[str]) -> str:
    return difflib.get_close_matches(text.strip().lower()[:40], choices, n=1, cutoff=0.0)[0]


def _read_labels(element: Element, where: str) -> tuple[tuple[LabelSettings, ...], tuple[str, ...]]:
    """Labels that are learned, and names of those that are unreviewed."""
    labels, unreviewed = [], []
    for child in element.iter("Label"):
        attributes = attributes_of(child)
        name = attributes.get("alias") or attributes.get("value")
        if not name:
            raise ConfigError(f"{where}: expected a value on each Label, found one without")
        predicted = tuple(v.strip() for v in attributes.get("predicted_values", "").split(",") if v.strip())
        labels.append(LabelSettings(name, predicted or (attributes.get("value", name),)))
        if _is_unreviewed(attributes, f"{element.tag} {attributes_of(element).get('name', '')!r}: label {brief(name)}"):
            unreviewed.append(name)
    if not labels:
        raise ConfigError(f"{where}: expected at least one Label with a value, found none")
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{where}: expected at most {MAX_LABELS} labels, found {len(labels)}")
    names = [label.name for label in labels]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: two labels have the same name, in {brief(names)}")
    if len(unreviewed) == len(names):
        raise ConfigError(
            f"{element.tag} {attributes_of(element).get('name', '')!r}: expected at least one label that is learned, found "
            f'model_role="{UNREVIEWED}" on all of {brief(names)}'
        )
    return tuple(label for label in labels if label.name not in unreviewed), tuple(unreviewed)


def _is_unreviewed(attributes: Mapping[str, str], where: str) -> bool:
    """True if a label's regions hide what they cover. Raises ConfigError for another role, or a misspelt attribute."""
    for name in attributes:
        # Other attributes of that beginning, such as Label Studio's own model_index, are left alone.
        if name != "model_role" and difflib.get_close_matches(name, ["model_role"], cutoff=0.8):
            raise ConfigError(f"{where}: unknown attribute {name!r}; did you mean 'model_role'?")
    role = attributes.get("model_role", "").strip().lower()
    if role not in ("", UNREVIEWED):
        raise ConfigError(f"{where}: model_role must be {UNREVIEWED!r}, or left out, found {brief(attributes['model_role'])}")
    return role == UNREVIEWED


def read_label_tags(xml: str) -> dict[str, list[tuple[str, dict[str, str]]]] | None:
    """from_name -> (name, other attributes) of each <Label>, in order, of every control on a medium; None for what is no XML.

    Whether the rest of the labeling config can work does not matter: annotations are made all the same.
    """
    try:
        root = parse_xml(xml)
    except ConfigError:
        return None
    objects = _objects(root)
    controls = ((attributes_of(e).get("name", ""), e) for e in root.iter() if _is_control(e, objects))
    return {name: [_label_tag(child) for child in element.iter("Label")] for name, element in controls}


def _label_tag(element: Element) -> tuple[str, dict[str, str]]:
    attributes = attributes_of(element)
    naming = "alias" if attributes.get("alias") else "value"
    return attributes.pop(naming, ""), attributes


def match_classes(control: ControlSettings, class_names: Mapping[int, str]) -> dict[str, list[int]]:
    """For simple mode: label name -> the backbone's classes that stand for it, compared without case; ``_`` is a space.

    Raises ConfigError if not one label matches.
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
    near = difflib.get_close_matches(_plain(wanted), by_name, n=3, cutoff=0.5)
    hint = f"near {wanted!r} are {near}" if near else f"its classes begin {list(class_names.values())[:5]}"
    raise ConfigError(
        f"TimelineLabels {control.from_name!r}: simple mode, but none of the labels {brief(control.label_names)} is a "
        f'class of the backbone ({hint}); set predicted_values on a label, or model_trainable="true"'
    )


def _inline(value: Any, key: str) -> str:
    """A series in a task's data as JSON text, the same for equal ones. Raises RequestError."""
    try:
        columns = json.loads(value) if isinstance(value, str) else value
        if isinstance(columns, Mapping):
            return json.dumps(columns)
    except (ValueError, RecursionError):
        pass
    raise RequestError(
        f'task data: expected the series itself in {key!r} (valueType="json"), an object with a list of numbers for each '
        f"column, found {brief(value)}"
    )


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")
