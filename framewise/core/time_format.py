"""Times as text in the formats of Label Studio's ``timeFormat``: directives of d3-time-format, always in UTC.

A time is a whole number of milliseconds since 1970, as in JavaScript; finer digits are cut. Times without a year are in 1900.

Source: d3-time-format 4, src/locale.js (what each directive takes and writes), and Label Studio 1.23,
tags/object/TimeSeries.jsx (``%f`` is cut to milliseconds, a fraction with fewer digits is padded).
"""

import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ConfigError, brief

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PARSED_AT_ONCE = 50_000  # texts parsed at once, to limit memory: a series may have millions

Moment = datetime.datetime
Writer = Callable[[Moment, int], tuple[int | str, int]]  # from a time and its milliseconds: the number to write, and its width


def _names(names: Sequence[str]) -> str:
    return "((?i:" + "|".join(names) + "))"


def _number(width: int) -> str:
    # d3 takes up to this many characters, of which the first ones may be blanks. Possessive, because d3 does not backtrack.
    return rf"(\s?\d{{1,{width}}}+)"


@dataclass(frozen=True)
class _Directive:
    """Directive of a format. pattern: regular expression with one group. write: its number in a text. resolution_seconds:
    smallest difference of times that it can express."""

    pattern: str
    write: Writer
    resolution_seconds: float = 86400.0


_DIRECTIVES = {
    "Y": _Directive(_number(4), lambda t, ms: (t.year, 4)),
    "y": _Directive(_number(2), lambda t, ms: (t.year % 100, 2)),
    "m": _Directive(_number(2), lambda t, ms: (t.month, 2)),
    "B": _Directive(_names(MONTHS), lambda t, ms: (MONTHS[t.month - 1], 0)),
    "b": _Directive(_names([m[:3] for m in MONTHS]), lambda t, ms: (MONTHS[t.month - 1][:3], 0)),
    "d": _Directive(_number(2), lambda t, ms: (t.day, 2)),
    "e": _Directive(_number(2), lambda t, ms: (t.day, 2)),
    "j": _Directive(_number(3), lambda t, ms: (t.timetuple().tm_yday, 3)),
    "A": _Directive(_names(DAYS), lambda t, ms: (DAYS[t.weekday()], 0)),
    "a": _Directive(_names([d[:3] for d in DAYS]), lambda t, ms: (DAYS[t.weekday()][:3], 0)),
    "H": _Directive(_number(2), lambda t, ms: (t.hour, 2), 3600.0),
    "I": _Directive(_number(2), lambda t, ms: (t.hour % 12 or 12, 2), 3600.0),
    "p": _Directive("((?i:AM|PM))", lambda t, ms: ("AM" if t.hour < 12 else "PM", 0)),
    "M": _Directive(_number(2), lambda t, ms: (t.minute, 2), 60.0),
    "S": _Directive(_number(2), lambda t, ms: (t.second, 2), 1.0),
    "L": _Directive(_number(3), lambda t, ms: (ms % 1000, 3), 0.001),
    "f": _Directive(_number(6), lambda t, ms: (ms % 1000 * 1000, 6), 0.001),
    "Q": _Directive(r"(\s?\d{1,17}+)", lambda t, ms: (ms, 0), 0.001),
    "s": _Directive(r"(\s?\d{1,14}+)", lambda t, ms: (ms // 1000, 0), 1.0),
    "Z": _Directive(r"(Z|[+-]\d\d(?::?\d\d)?)", lambda t, ms: ("+0000", 0)),
}
_PADS = {"-": "", "_": " ", "0": "0"}
_EPOCH = Moment(1970, 1, 1)
# Years 1 to 9999.
_FIRST, _LAST = ((moment - _EPOCH).total_seconds() * 1000 for moment in (Moment.min, Moment.max))


class TimeFormat:
    """A ``timeFormat``. Raises ConfigError if it has an unknown directive, or none."""

    def __init__(self, text: str):
        self.text = text
        self._parts = list(_parts_of(text))
        names = [name for name, _ in self._parts if name]
        if not names:
            raise ConfigError(f"timeFormat {brief(text)}: expected directives such as %Y-%m-%d %H:%M:%S.%L, found none")
        if len(set(names)) < len(names):
            raise ConfigError(f"timeFormat {brief(text)}: a directive occurs twice")
        self.resolution_seconds = min(_DIRECTIVES[name].resolution_seconds for name in names)
        self._names = names
        pattern = "".join(_DIRECTIVES[name].pattern if name else re.escape(literal) for name, literal in self._parts)
        self._pattern = re.compile(pattern, re.ASCII)
        self._fractions = {name for name, before in _with_what_is_before(self._parts) if name in ("L", "f") and before == "."}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimeFormat) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def parse(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Milliseconds since 1970 of each text, (N,); NaN if it is not in this format."""
        parts = [self._parsed(texts[start : start + PARSED_AT_ONCE]) for start in range(0, len(texts), PARSED_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def format(self, milliseconds: float) -> str:
        """Text of a time in milliseconds since 1970, cut to whole ones."""
        whole = int(np.floor(milliseconds))
        moment = _EPOCH + datetime.timedelta(milliseconds=whole)
        written = []
        for name, literal in self._parts:
            if not name:
                written.append(literal)
                continue
            value, width = _DIRECTIVES[name].write(moment, whole)
            pad = _PADS.get(literal, " " if name == "e" else "0")
            written.append(value if isinstance(value, str) else str(value).rjust(width if pad else 0, pad or " "))
        return "".join(written)

    def _parsed(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        found = [self._pattern.fullmatch(text) for text in texts]
        good = np.array([match is not None for match in found])
        moments = np.full(len(texts), np.nan)
        columns = zip(*(match.groups() for match in found if match), strict=True)
        fields = dict(zip(self._names, columns, strict=False))
        if fields:
            moments[good] = self._moments(fields)
            moments[(moments < _FIRST) | (moments > _LAST)] = np.nan
        return moments

    def _moments(self, fields: dict[str, tuple[str, ...]]) -> npt.NDArray[np.float64]:
        numbers = {name: self._numbers(name, texts) for name, texts in fields.items() if name not in "AaBbpZ"}
        below = numbers["L"] if "L" in numbers else numbers["f"] // 1000 if "f" in numbers else 0
        if "Q" in numbers:
            return numbers["Q"].astype(np.float64)
        if "s" in numbers:
            return (numbers["s"] * 1000 + below).astype(np.float64)
        milliseconds = _days(fields, numbers).astype(np.float64) * 86_400_000 + _hours(fields, numbers) * 3_600_000.0
        milliseconds += numbers.get("M", 0) * 60_000 + numbers.get("S", 0) * 1000 + below
        if "Z" in fields:
            milliseconds -= np.array([_offset_minutes(zone) for zone in fields["Z"]]) * 60_000.0
        return milliseconds

    def _numbers(self, name: str, texts: tuple[str, ...]) -> npt.NDArray[np.int64]:
        if name in self._fractions:  # .5 is half a second
            width = 3 if name == "L" else 6
            texts = tuple(text.ljust(width, "0") for text in texts)
        return np.array([int(text) for text in texts], dtype=np.int64)


def _parts_of(text: str) -> Iterator[tuple[str, str]]:
    """Parts of a format in order: (directive, padding) or ("", literal text). Raises ConfigError."""
    for literal, directive in re.findall(r"([^%]+)|%([-_0]?.|$)", text, re.DOTALL):
        if literal:
            yield "", literal
            continue
        pad, name = (directive[0], directive[1:]) if directive[:1] in _PADS and len(directive) > 1 else ("", directive)
        if name == "%":
            yield "", "%"
        elif name in _DIRECTIVES:
            yield name, pad
        else:
            known = " ".join(f"%{n}" for n in _DIRECTIVES)
            raise ConfigError(f"timeFormat {brief(text)}: the directive %{name} is not supported; supported are {known} %%")


def _with_what_is_before(parts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each directive with the character before it."""
    before = ""
    for name, literal in parts:
        if name:
            yield name, before
        before = "" if name else literal[-1]


def _days(fields: dict[str, tuple[str, ...]], numbers: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Days since 1970. As in JavaScript, the 31st of a short month is a day of the next one."""
    count = len(next(iter(fields.values())))
    year = numbers.get("Y", np.full(count, 1900))
    if "Y" not in numbers and "y" in numbers:
        year = numbers["y"] + np.where(numbers["y"] > 68, 1900, 2000)
    month = numbers["m"] - 1 if "m" in numbers else np.zeros(count, dtype=np.int64)
    for name, length in (("B", None), ("b", 3)):
        if name in fields:
            places = {m[:length].lower(): place for place, m in enumerate(MONTHS)}
            month = np.array([places[text.lower()] for text in fields[name]])
    day = numbers.get("d", numbers.get("e", np.ones(count, dtype=np.int64)))
    if "j" in numbers:
        month, day = np.zeros(count, dtype=np.int64), numbers["j"]
    months = ((year - 1970) * 12 + month).astype("datetime64[M]")
    days: npt.NDArray[np.int64] = months.astype("datetime64[D]").astype(np.int64) + day - 1
    return days


def _hours(fields: dict[str, tuple[str, ...]], numbers: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    count = len(next(iter(fields.values())))
    hour = numbers.get("H", numbers.get("I", np.zeros(count, dtype=np.int64)))
    if "p" in fields:
        hour = hour % 12 + np.array([12 if text.upper() == "PM" else 0 for text in fields["p"]])
    return hour


def _offset_minutes(zone: str) -> int:
    if zone.upper() == "Z":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if zone[0] == "-" else minutes
