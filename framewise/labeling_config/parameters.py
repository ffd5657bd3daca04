"""Table of the attributes of control tags, used for parsing, error messages and documentation."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import ConfigError, brief
from framewise.core.known import UNMARKED
from framewise.settings import parse_bool

CROPS = ("center", "fit", "squash")
CLASSIFIERS = ("auto", "lstm")
MARKS = ("intervals", "points")
PREFIX = "model_"
OF_CLASSIFIER = "model_classifier_"
# Attributes without effect on media without pictures, and on controls that do not learn.
OF_PICTURES = ("model_path", "model_crop", "model_pose")
OF_LEARNING = ("model_pose", "model_unmarked", "model_marks", "model_group")
# Words of a name that do not identify a parameter; and words that identify one only together with others.
FILLERS = ("min", "max", "num", "number", "n", "of", "the", "default", "lstm", "network")
GENERIC = {"classifier", "type", "size"}


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
    """Field of the task data as written in the config, "$name"; None for an empty text."""
    text = text.strip()
    if text and (not text.startswith("$") or len(text) < 2):
        raise ValueError(f'a field of the task data with its dollar sign, such as "${text.strip("$") or "person"}"')
    return text or None


@dataclass(frozen=True)
class Parameter:
    """Attribute of a control tag. parse: raises ValueError with a description of what was expected. choices: its values, if
    few.

    words: words of similar names in other programs, by which misspelt or wrong names are recognised.
    """

    name: str
    default: Any
    parse: Callable[[str], Any]
    help: str
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """The name without the common prefix."""
        return self.name.removeprefix(PREFIX)


PARAMETERS = (
    Parameter(
        "model_trainable",
        False,
        _boolean,
        "learn from submitted annotations; if false, the backbone's own classes (simple mode)",
        words=("train", "training", "learn", "learning", "finetune"),
    ),
    Parameter(
        "model_classifier_type",
        "auto",
        _one_of(*CLASSIFIERS),
        "learner: auto, framewise's own; or lstm, the network of Label Studio's guide",
        CLASSIFIERS,
        words=("learner", "algorithm"),
    ),
    Parameter(
        "model_classifier_epochs",
        1000,
        _whole(1, 100_000),
        "lstm: maximum number of epochs per training",
        words=("iterations",),
    ),
    Parameter(
        "model_classifier_sequence_size",
        16,
        _whole(2, 4096),
        "lstm: frames per sequence; a change starts a new model",
        words=("seq", "window", "chunk", "len", "length"),
    ),
    Parameter(
        "model_classifier_hidden_size",
        32,
        _whole(1, 1024),
        "lstm: size of the hidden state; a change starts a new model",
        words=("units", "dim"),
    ),
    Parameter(
        "model_classifier_num_layers",
        1,
        _whole(1, 8),
        "lstm: number of layers; a change starts a new model",
        words=("depth",),
    ),
    Parameter(
        "model_classifier_f1_threshold",
        0.95,
        _share,
        "lstm: training stops at this F1, averaged over the labels that occur",
    ),
    Parameter(
        "model_classifier_accuracy_threshold",
        1.0,
        _share,
        "lstm: training stops at this share of correct frames",
        words=("acc",),
    ),
    Parameter(
        "model_score_threshold",
        0.5,
        _share,
        "minimum score for a frame to be labelled",
        words=("conf", "confidence", "probability", "prob"),
    ),
    Parameter(
        "model_path",
        None,
        str.strip,
        "backbone: a file in the models folder, an official Ultralytics name, timm/NAME, hf/OWNER/NAME, or efficientnet-lite0",
        words=("weights", "checkpoint", "backbone", "file", "pt"),
    ),
    Parameter(
        "model_crop",
        "center",
        _one_of(*CROPS),
        "how pictures are made square: center crops the sides, fit adds borders, squash stretches",
        CROPS,
        words=("resize",),
    ),
    Parameter(
        "model_pose",
        None,
        str.strip,
        "pose network, whose key points of a person are learned from as well: a file in the models folder, or an official "
        "Ultralytics name",
        words=("poses", "keypoints", "keypoint", "skeleton", "kpt"),
    ),
    Parameter(
        "model_unmarked",
        "off",
        _one_of(*UNMARKED),
        "meaning of unmarked frames: off; after_last, unknown after an annotation's last region and off before it; or unknown",
        UNMARKED,
        words=("unlabeled", "unlabelled", "unannotated"),
    ),
    Parameter(
        "model_marks",
        "intervals",
        _one_of(*MARKS),
        "intervals, a region lasts from its first frame to its last; or points, a region of one frame marks an occurrence of "
        "unknown length",
        MARKS,
        words=("points",),
    ),
    Parameter(
        "model_group",
        None,
        _task_field,
        "task data field, such as $person; recordings with the same value are held out together when versions are measured",
        words=("person",),
    ),
    Parameter(
        "model_suggestions",
        True,
        _boolean,
        "suggest further intervals while somebody annotates with Auto-Annotation switched on; if false, never",
        words=("suggest", "suggestion", "interactive", "smart"),
    ),
    Parameter("model_skip", False, _boolean, "ignore this control", words=("ignore", "disable", "disabled")),
)


DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


def read_parameters(attributes: Mapping[str, str], where: str, has_pictures: bool) -> tuple[dict[str, Any], list[str]]:
    """Values of all parameters, and sentences for the user on attributes that have no effect with the control's other settings.

    Neither the names nor the values of such attributes matter. Raises ConfigError for a misspelt name, and for an invalid value
    of a parameter that has an effect.
    """
    values, wrong = dict(DEFAULTS), {}
    for name in _ours(attributes):
        if name in DEFAULTS:
            try:
                values[name] = read_parameter(name, attributes, where)
            except ConfigError as error:
                wrong[name] = error
        elif meant := _meant(name):
            raise ConfigError(f"{where}: unknown attribute {name!r}; did you mean {meant!r}?")
    unused = _unused(attributes, values, has_pictures)
    unused_names = [name for names, _ in unused for name in names]
    for name, refusal in wrong.items():
        if name not in unused_names:
            raise refusal
    return values, [f"{where}: {_listed(names)} not used: {reason}" for names, reason in unused]


def read_parameter(name: str, attributes: Mapping[str, str], where: str) -> Any:
    """Value of one parameter. Raises ConfigError for one that cannot be."""
    parameter = next(p for p in PARAMETERS if p.name == name)
    text = attributes.get(name)
    if text is None:
        return parameter.default
    try:
        value = parameter.parse(text)
    except ValueError as error:
        hint = f"; did you mean {_nearest(text, parameter.choices)!r}?" if parameter.choices else ""
        raise ConfigError(f"{where}: {name} must be {error}, found {text!r}{hint}") from None
    return parameter.default if value == "" else value


def _ours(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in attributes.items() if name.startswith(PREFIX)}


def _meant(name: str) -> str | None:
    """Parameter that a misspelt or wrong name refers to; None if there is none."""
    wording = name.removeprefix(PREFIX)[:80]
    found = {p.suffix: p.name for p in PARAMETERS if _says(wording, p)}
    near = difflib.get_close_matches(wording, found, n=1, cutoff=0.0)
    if not near:
        found = {p.suffix: p.name for p in PARAMETERS}
        near = difflib.get_close_matches(wording, found, n=1, cutoff=0.85)
    return found[near[0]] if near else None


def _says(wording: str, parameter: Parameter) -> bool:
    """True if all words of a name belong to a parameter, and at least one is specific to it."""
    words = [word for word in wording.split("_") if word not in FILLERS]
    own = parameter.suffix.split("_")
    meant = [
        word if word in parameter.words else next(iter(difflib.get_close_matches(word, own, 1, 0.7)), "") for word in words
    ]
    return all(meant) and bool(set(meant) - GENERIC)


def _unused(
    attributes: Mapping[str, str], parameters: Mapping[str, Any], has_pictures: bool
) -> list[tuple[Sequence[str], str]]:
    """Names of attributes of a control that have no effect with its other settings, and why."""
    given = list(_ours(attributes))
    unknown = [name for name in given if name not in DEFAULTS]
    of_pictures = [name for name in given if name in OF_PICTURES and not has_pictures]
    rest = [name for name in given if name in DEFAULTS and name not in of_pictures]
    if not parameters["model_trainable"]:
        learning = [name for name in rest if name in OF_LEARNING or name.startswith(OF_CLASSIFIER)]
        why = 'without model_trainable="true" nothing is learned'
    else:
        is_lstm = parameters["model_classifier_type"] == "lstm"
        learning = [name for name in rest if name.startswith(OF_CLASSIFIER) and name != OF_CLASSIFIER + "type" and not is_lstm]
        why = 'this control learns by model_classifier_type="auto", and only "lstm" has such settings'
    found = (
        (unknown, "framewise has no such attribute"),
        (of_pictures, "there are no pictures to look at"),
        (learning, why),
    )
    return [(names, reason) for names, reason in found if names]


def _listed(names: Sequence[str]) -> str:
    *first, last = (brief(name).strip("'") for name in names)
    return f"{', '.join(first)} and {last} are" if first else f"{last} is"


def _nearest(text: str, choices: Sequence[str]) -> str:
    return difflib.get_close_matches(text.strip().lower()[:40], choices, n=1, cutoff=0.0)[0]
