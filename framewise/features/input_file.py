"""Description of a network's input, as users write it: a JSON file beside an ONNX or OpenVINO file."""

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from framewise.core.errors import BackboneError, brief
from framewise.features.preprocessing import FILTERS

POOLS = ("mean", "first")


@dataclass(frozen=True)
class InputFile:
    """Keys of the file; None where it says nothing.

    size:          side of the pictures, for a network that takes any
    mean, std:     a colour v of 0 to 1 enters as (v - mean) / std, three numbers each
    colors:        "RGB" or "BGR"
    crop_pct:      share of the resized picture that the square in its middle is
    interpolation: of FILTERS
    names:         of the classes, in order
    output:        name of the output that is the features
    pool:          of an output (pictures, places, features): "mean" of the places, or the "first" one
    licence:       of the weights
    file:          name of the file itself
    """

    file: str

    size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    colors: str | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    names: tuple[str, ...] | None = None
    output: str | None = None
    pool: str | None = None
    licence: str | None = None

    @staticmethod
    def path_of(network: Path) -> Path:
        """Path of the file: the network's, with .json behind it."""
        return network.with_name(f"{network.name}.json")

    @classmethod
    def beside(cls, network: Path) -> "InputFile":
        """Read the file beside a network, if it is there. Raises BackboneError for a key or value that is none."""
        path = cls.path_of(network)
        if not path.is_file():
            return cls(path.name)
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackboneError(f"{path.name}: expected JSON: {error}") from None
        if not isinstance(given, Mapping):
            raise BackboneError(f"{path.name}: expected an object, found {brief(given)}")
        known = [field.name for field in fields(cls) if field.name in VALUES]
        found = {}
        for key, value in given.items():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise BackboneError(f"{path.name}: expected keys of {known}, found {str(key)!r}{hint}")
            expected, parse = VALUES[key]
            try:
                found[key] = parse(value)
            except (TypeError, ValueError, OverflowError):
                raise BackboneError(f"{path.name}: {key}: expected {expected}, found {brief(value)}") from None
        return cls(path.name, **found)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value or not 16 <= value <= 2048:
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _colours(value: Any) -> tuple[float, float, float]:
    red, green, blue = (_number(item) for item in value)
    return red, green, blue


def _deviations(value: Any) -> tuple[float, float, float]:
    if min(found := _colours(value)) <= 0:
        raise ValueError
    return found


def _share(value: Any) -> float:
    if not 0 < _number(value) <= 1:
        raise ValueError
    return float(value)


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return parse


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError
    return tuple(_text(item) for item in value)


# Key -> what its value must be, in words, and a function that raises TypeError, ValueError or OverflowError for others.
VALUES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "size": ("a whole number from 16 to 2048", _whole),
    "mean": ("three numbers", _colours),
    "std": ("three numbers above 0", _deviations),
    "colors": ("RGB or BGR", _one_of(("RGB", "BGR"))),
    "crop_pct": ("a number above 0, at most 1", _share),
    "interpolation": (" or ".join(FILTERS), _one_of(tuple(FILTERS))),
    "names": ("a list of names", _texts),
    "output": ("a name", _text),
    "pool": (" or ".join(POOLS), _one_of(POOLS)),
    "licence": ("a text", _text),
}
