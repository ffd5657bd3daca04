"""Reading of a project's labeling config into typed settings of the controls that this backend supports."""

import difflib
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from framewise.core.errors import ConfigError, brief
from framewise.core.frame_grid import parse_frame_rate
from framewise.core.media_kinds import MEDIA, MEDIA_TAGS, TAGS, VIDEO, expected_controls
from framewise.core.task_fields import has_field, is_field
from framewise.core.time_format import TimeFormat
from framewise.labeling_config.control_settings import ControlSettings, LabelSettings, SeriesSettings
from framewise.labeling_config.groups import check_together, sync_groups
from framewise.labeling_config.parameters import DEFAULTS, OF_PICTURES, PREFIX, read_parameter, read_parameters

UNREVIEWED = "unreviewed"  # the only value of model_role
# Labeling configs are written by hand: this is far above their sizes, and still fast to parse.
MAX_CONFIG_CHARS = 1_000_000
VALUE_TYPES = ("url", "json")
# The editor's names of column separators; of any other text it uses the first character.
SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "dot": ".", "auto": ""}
MAX_CHANNELS = 200
# Every label is a column of arrays with one row per frame, and every control a model. Far above what people use.
MAX_LABELS = 1000
MAX_CONTROLS = 20


def read_labeling_config(xml: str, default_score_threshold: float = 0.5) -> list[ControlSettings]:
    """Settings of every control on a medium of ``MEDIA`` that is not skipped.

    Entities and external references are never resolved. Raises ConfigError with the problem and its cure.
    """
    root = parse_xml(xml)
    objects = _objects(root)
    repeated = {e for repeater in root.iter("Repeater") for e in repeater.iter()}
    found = [e for e in root.iter() if _is_control(e, objects)]
    read = [e for e in found if not _is_skipped(e)]
    # Many configs have a <Labels> on an <Audio> for annotators only.
    read = [e for e in read if MEDIA[e.tag].only_here or _is_addressed(e)] or read
    controls = [_read_control(e, objects, default_score_threshold) for e in read]
    in_repeaters = {c.from_name for c, e in zip(controls, read, strict=True) if e in repeated}
    active = [c for c in controls if c.kind.only_here or c.trainable] or controls
    if len(active) > MAX_CONTROLS:
        raise ConfigError(
            f"expected at most {MAX_CONTROLS} controls, found {len(active)} {' and '.join(sorted({c.tag for c in active}))}; "
            'set model_skip="true" on the others'
        )
    if not active:
        hint = 'every one has model_skip="true"; remove it from one'
        if not found:
            hint = f"found {_tag_list(root)}; {_missing_control(root, objects)}"
        raise ConfigError(f"the labeling config: expected {expected_controls()}, {hint}")
    for control in active:
        if control.from_name in in_repeaters:
            raise ConfigError(
                f"{control.tag} {control.from_name!r}: it stands in a Repeater, which makes controls of other names for each "
                "task, so nothing can be learned from one task for another; write the control and its medium outside of the "
                "Repeater"
            )
    if twice := [name for name, count in Counter(c.from_name for c in active).items() if count > 1]:
        raise ConfigError(
            f"the labeling config: {brief(twice[0])} is the name of several controls; give each a name of its own"
        )
    for members in sync_groups(active):
        check_together(members)
    names = tuple(attributes_of(e).get("name", "") for e in found)
    return [replace(control, beside=names) for control in active]


def read_interval_controls(xml: str) -> list[ControlSettings]:
    """Settings of every control whose regions are intervals in time, including those that ``read_labeling_config`` skips. May
    be empty. Raises ConfigError."""
    root = parse_xml(xml)
    objects = _objects(root)
    return [_read_control(e, objects, 0.5) for e in root.iter() if _is_control(e, objects)]


def _objects(root: Element) -> dict[Any, Element]:
    """Tags that display a task's data, by name."""
    return {attributes_of(e).get("name"): e for e in root.iter() if e.tag in MEDIA_TAGS or "value" in attributes_of(e)}


def _is_control(element: Element, objects: Mapping[Any, Element]) -> bool:
    kind = MEDIA.get(element.tag)
    if kind is None:
        return False
    media = objects.get(attributes_of(element).get("toname"))
    return kind.only_here or (media is not None and media.tag == kind.object)


def _is_skipped(element: Element) -> bool:
    attributes = attributes_of(element)
    return bool(read_parameter("model_skip", attributes, f"{element.tag} {attributes.get('name', '')!r}"))


def _is_addressed(element: Element) -> bool:
    """True if an attribute says what framewise is to do with a control."""
    return any(name.startswith(PREFIX) for name in attributes_of(element))


def parse_xml(xml: str, with_comments: bool = False) -> Element:
    """Root element of a labeling config, with tags normalised to the names in ``TAGS``, because the editor ignores their case.

    Raises ConfigError for invalid XML and for forbidden constructs.
    """
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
    for element in root.iter():
        if isinstance(element.tag, str):  # the tag of a comment is a function
            element.tag = TAGS.get(element.tag.lower(), element.tag)
    return root


def without_backbones(xml: str) -> str:
    """The labeling config without the backbones that it names: all controls then have the default one. Raises ConfigError."""
    root = parse_xml(xml)
    for element in root.iter():
        element.attrib.pop("model_path", None)
    return tostring(root, encoding="unicode")


def _missing_control(root: Element, objects: Mapping[Any, Element]) -> str:
    """Advice for a labeling config without a control for labels in time."""
    taken = {attributes_of(e).get("name") for e in root.iter()}
    names = itertools.chain(["labels"], (f"labels{number}" for number in itertools.count(2)))
    free = next(name for name in names if name not in taken)
    for kind in MEDIA.values():
        for name, element in objects.items():
            if element.tag == kind.object:
                on = name or kind.object.lower()
                named = "" if name else f'name="{on}" to the {kind.object}, and '
                control = f'{kind.control} with name="{free}" toName="{on}" model_trainable="true"'
                return f"add {named}{control} and a Label for each label"
    return "connect framewise to a project of videos, sound or time series instead"


def _tag_list(root: Element) -> str:
    tags = sorted({e.tag for e in root.iter() if isinstance(e.tag, str)})
    return "only " + ", ".join(tags[:12])


def attributes_of(element: Element) -> dict[str, str]:
    """Attributes by lower-case name: Label Studio's editor ignores case (frameRate is framerate)."""
    return {name.lower(): value for name, value in element.attrib.items()}


def _read_control(element: Element, objects: Mapping[Any, Element], default_threshold: float) -> ControlSettings:
    attributes = attributes_of(element)
    from_name, to_name = attributes.get("name", ""), attributes.get("toname", "")
    where, kind = f"{element.tag} {from_name!r}", MEDIA[element.tag]
    media = objects.get(to_name)
    if not from_name:
        raise ConfigError(f'{element.tag}: it has no name; add name="labels" to the tag')
    if media is None or media.tag != kind.object:
        what = "there is no tag of that name" if media is None else f"that is the {media.tag}"
        raise ConfigError(f"{where}: expected toName to be the name of a {kind.object}, found {to_name!r}; {what}")
    parameters, unused = read_parameters(attributes, where, kind.unit == "frames")
    if "model_score_threshold" not in attributes:
        parameters["model_score_threshold"] = default_threshold
    if kind.unit != "frames":
        parameters |= {name: DEFAULTS[name] for name in OF_PICTURES}
    of_media, about = attributes_of(media), f"{kind.object} {to_name!r}"
    rate = of_media.get("framerate") if kind.unit == "frames" else None
    labels, unreviewed = _read_labels(element, where)
    series = _read_series(media, about) if kind.unit == "samples" else None
    control = ControlSettings(
        element.tag, from_name, to_name, _value_key(media, about, series), rate, labels, parameters,
        of_media.get("sync") or None, series, unreviewed, tuple(unused),
    )  # fmt: skip
    if rate and not has_field(rate):
        _checked_frame_rate(rate, to_name)
    _check_classifier(control)
    return control


def _check_classifier(control: ControlSettings) -> None:
    """Raises ConfigError for what the lstm network cannot do: exclude frames from learning, and learn from two networks."""
    if not control.trainable or control.parameters["model_classifier_type"] == "auto":
        return
    if control.parameters["model_pose"]:
        raise ConfigError(
            f'{control.tag} {control.from_name!r}: model_pose needs model_classifier_type="auto"; the lstm network learns from '
            "the backbone alone"
        )
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
    """True if the editor reads the times of a <TimeSeries> as dates, in milliseconds. Attributes are by lower-case name."""
    return bool(attributes.get("timeformat")) or attributes.get("timedisplayformat", "")[:1].isalpha()


def separator_of(text: str) -> str:
    """Separator of columns, as the editor reads ``sep``; "" to detect it."""
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


def _value_key(media: Element, where: str, series: SeriesSettings | None) -> str:
    """Field of the task's data that a medium's ``value`` names; see ``ControlSettings``. Raises ConfigError."""
    value = _value_of(media).strip()
    if not value and series and series.inline:
        return ""  # the task's whole data is the series
    if not value:
        raise ConfigError(
            f'{where} has no value: add value="${media.tag.lower()}", with the field of the task data that holds the address'
        )
    if not has_field(value) and (not value.startswith("$") or len(value) < 2):
        raise ConfigError(f'{where}: expected value="$field" with a field of the task data, found {value!r}')
    return value[1:] if is_field(value) else value


def _value_of(element: Element) -> str:
    """The ``value`` of a tag. As in the editor, this may be the text inside a tag without child elements."""
    inside = "" if len(element) else (element.text or "").strip()
    return inside or attributes_of(element).get("value", "")


def _read_labels(element: Element, where: str) -> tuple[tuple[LabelSettings, ...], tuple[str, ...]]:
    """Labels that are learned, and names of labels that mark rows as unreviewed."""
    labels, unreviewed = [], []
    for child in element.iter("Label"):
        attributes = attributes_of(child)
        value = _value_of(child)
        name = attributes.get("alias") or value
        if not name:
            raise ConfigError(f"{where}: expected a value on each Label, found one without")
        predicted = tuple(v.strip() for v in attributes.get("predicted_values", "").split(",") if v.strip())
        labels.append(LabelSettings(name, predicted or (value or name,)))
        if _is_unreviewed(attributes, f"{element.tag} {attributes_of(element).get('name', '')!r}: label {brief(name)}"):
            unreviewed.append(name)
    if not labels and has_field(_value_of(element)):
        raise ConfigError(
            f"{where}: its labels come from the task data ({_value_of(element)}), so that each task may have others, and those "
            "cannot be learned; write each of them as a Label into the config"
        )
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
    """True if a label's regions mark rows as unreviewed. Raises ConfigError for another role, or a misspelt attribute."""
    for name in attributes:
        # Other attributes with that prefix, such as Label Studio's own model_index, are ignored.
        if name != "model_role" and difflib.get_close_matches(name, ["model_role"], cutoff=0.8):
            raise ConfigError(f"{where}: unknown attribute {name!r}; did you mean 'model_role'?")
    role = attributes.get("model_role", "").strip().lower()
    if role not in ("", UNREVIEWED):
        raise ConfigError(f"{where}: model_role must be {UNREVIEWED!r}, or left out, found {brief(attributes['model_role'])}")
    return role == UNREVIEWED


def read_label_tags(xml: str) -> dict[str, list[tuple[str, dict[str, str]]]] | None:
    """Labels of every control on a medium: from_name -> [(name, other attributes)], in order; None for invalid XML.

    The rest of the labeling config need not be valid: it can be annotated with all the same.
    """
    try:
        root = parse_xml(xml)
    except ConfigError:
        return None
    objects = _objects(root)
    controls = ((attributes_of(e).get("name", ""), e) for e in root.iter() if _is_control(e, objects))
    return {name: [_label_tag(child) for child in element.iter("Label")] for name, element in controls}


def read_frame_rates(xml: str) -> dict[str, str | None]:
    """Written frame rates: from_name -> ``frameRate`` of the control's video, None if it has none; {} for invalid XML."""
    try:
        root = parse_xml(xml)
    except ConfigError:
        return {}
    objects = _objects(root)
    videos = {name: attributes_of(e).get("framerate") for name, e in objects.items() if e.tag == VIDEO.object}
    controls = [attributes_of(element) for element in root.iter() if _is_control(element, objects)]
    return {c.get("name", ""): videos[c["toname"]] for c in controls if c.get("toname") in videos}


def _label_tag(element: Element) -> tuple[str, dict[str, str]]:
    attributes = attributes_of(element)
    if value := _value_of(element):
        attributes["value"] = value
    return attributes.pop("alias" if attributes.get("alias") else "value", ""), attributes
