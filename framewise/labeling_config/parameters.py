"""Attributes of control tags: the one table that is parsed, refused and printed in the documentation by."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import ConfigError
from framewise.core.known import UNMARKED
from framewise.settings import parse_bool

CROPS = ("center", "fit", "squash")
CLASSIFIERS = ("auto", "lstm")
MARKS = ("intervals", "points")


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


def read_parameters(attributes: Mapping[str, str], where: str) -> dict[str, Any]:
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
