"""Series that can be learned from but that Label Studio's editor does not show, or shows with other values.

This reproduces the editor's parser, with its mistakes, and reports where it reads something else than the file says.
Source: Label Studio 1.23, web/libs/editor/src: utils/data.js (parseCSV), tags/object/TimeSeries.jsx (dataObj).
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NoReturn

from framewise.core.errors import ConfigError
from framewise.core.time_format import TimeFormat
from framewise.labeling_config import SeriesSettings
from framewise.media.series import is_json, opened_text, plain_name

TIMES_COMPARED = 10_000  # a wrong format usually fails at the first samples
EXACT_INTEGERS = 1e21  # from here on, JavaScript writes numbers with an exponent
WITHOUT_QUOTES = "write the file without quotes"

Split = Callable[[str], list[str]]

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_OTHER_NUMBER = re.compile(r"[+-]?Infinity|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+")


class _NotShownError(Exception):
    """The editor does not show a series, or shows other values: reason and cure."""


def shown_problem(path: Path, settings: SeriesSettings) -> tuple[str, str] | None:
    """Reason why the editor does not show a readable series, and the cure; None if it shows the series correctly."""
    try:
        if is_json(path):
            _check_json(path, settings)
        else:
            _check_text(path, settings)
    except _NotShownError as problem:
        why, cure = problem.args
        return why, cure[0].upper() + cure[1:]
    except ConfigError:  # a timeFormat that the editor changes into an invalid one
        return None
    return None


def _not_shown(why: str, cure: str) -> NoReturn:
    raise _NotShownError(why, cure)


# Delimited text.


def _check_text(path: Path, settings: SeriesSettings) -> None:
    with opened_text(path, "\n") as file:
        lines = (line.removesuffix("\n") for line in file)
        first, second = next(lines, ""), next(lines, "")
        separator = settings.sep or _separator_of(first, second)
        split = _splitter(separator)
        names, below = split(first), split(second)
        named = any(_is_nan(name) != (place >= len(below) or _is_nan(below[place])) for place, name in enumerate(names))
        if not named and any(name.startswith('"') for name in names):
            _not_shown("its cells are in quotes, which the editor takes for text", WITHOUT_QUOTES)
        columns = [name.lower() for name in names] if named else [str(place) for place in range(len(names))]
        places = _places(columns, settings)
        rows = enumerate(chain([second] if named else [first, second], lines), 1)
        stripped = ((number, row.strip()) for number, row in rows)
        _check_rows((row for row in stripped if row[1]), _Table(separator, split, len(columns), places), settings)


def _separator_of(first: str, second: str) -> str:
    """Separator for ``sep="auto"``. The reader has refused files with several of them in the second row."""
    separator = str(re.findall(r"[,;\s]", second.strip())[0])
    if len(first.split(separator)) != len(second.split(separator)):
        _not_shown('its first two rows have different numbers of cells for sep="auto"', "set sep on the tag")
    return separator


def _splitter(separator: str) -> Split:
    """Function that splits a row like the editor: quotes stay in cells, and one of several empty cells at the beginning is
    lost."""
    try:
        cell = re.compile(f'"(?:""|[^"])*"|[^"{separator}]+|(?={separator}(?:{separator}|$))|^(?={separator})')
    except re.error:
        _not_shown(f"the separator {separator!r} is none for it", "separate the columns by commas")
    return lambda row: cell.findall(row.strip())


def _places(columns: Sequence[str], settings: SeriesSettings) -> dict[str, int]:
    """Indices of the time column and the channels in ``columns``, by the names that the editor looks for."""
    found = {}
    for name in (*filter(None, [settings.time_column]), *settings.channels):
        wanted = name.lower()
        if wanted in columns:
            found[wanted] = columns.index(wanted)
            continue
        similar = next((column for column in columns if plain_name(column) == plain_name(name)), None)
        if similar is None and name.isdecimal() and int(name) < len(columns):
            _not_shown(
                f"it finds the column {columns[int(name)]!r} by the number {name} in some loads only, and in JSON never",
                f'write column="{columns[int(name)]}" into the Channel tag',
            )
        if similar is None:  # reported as a channel without numbers
            continue
        if similar.startswith('"'):
            _not_shown(f"it takes quotes for a part of names, so that {name!r} is {similar!r} there", WITHOUT_QUOTES)
        if similar.lower() != similar:
            _not_shown(f"it looks for {wanted!r} in JSON and finds {similar!r}", "write the names in lower case")
        _not_shown(f"it looks for the column {wanted!r} and finds {similar!r}", "write the names without blanks around them")
    return found


@dataclass(frozen=True)
class _Table:
    """Columns of a delimited text. split: the editor's function. places: name -> index of the columns that are shown."""

    separator: str
    split: Split
    columns: int
    places: Mapping[str, int]


def _check_rows(rows: Iterable[tuple[int, str]], table: _Table, settings: SeriesSettings) -> None:
    """Raises _NotShownError for a row that the editor splits differently. rows: numbers of samples, and their text."""
    time = table.places.get(settings.time_column.lower()) if settings.time_column else None
    times: list[str] = []
    for number, row in rows:
        plain = '"' not in row and not row.startswith(table.separator) and not table.separator.isspace()
        known = time is None or len(times) >= TIMES_COMPARED
        if plain and known and row.count(table.separator) + 1 == table.columns:
            continue
        cells = table.split(row)
        if len(cells) != table.columns:
            _refuse_row(number, row, len(cells), table)
        for name, place in table.places.items():
            if cells[place].startswith('"') and not _is_nan(cells[place].strip('"')):
                _not_shown(
                    f"the number {cells[place]} of column {name!r} in sample {number} is in quotes, so it is text",
                    WITHOUT_QUOTES,
                )
        if time is not None and not known:
            times.append(cells[time])
    _check_times(times, settings)


def _refuse_row(number: int, row: str, cells: int, table: _Table) -> NoReturn:
    if row.startswith(table.separator) or table.separator.isspace():
        _not_shown(
            f"of the empty cells at an end of sample {number} it loses one, and takes the others for those of other columns",
            "put columns that are filled in every row first and last",
        )
    _not_shown(f"sample {number} has {cells} cells and not {table.columns}", "give each row as many cells as the first one")


# Times.


def _check_times(texts: Sequence[str], settings: SeriesSettings) -> None:
    """Raises _NotShownError for times that the editor reads differently. texts: of the first samples."""
    if not settings.time_format:
        numbers = [_number(text) for text in texts]
        shown: Sequence[float] = numbers
    else:
        ours, editors = TimeFormat(settings.time_format), TimeFormat(settings.time_format.replace("%f", "%L", 1))
        plain = [text.strip() for text in texts]
        bare = settings.time_format.startswith('"')
        numbers = list(ours.parse([text if bare else text.strip('"') for text in plain]))
        shown = list(editors.parse([_time_text(text, settings.time_format) for text in texts]))
    for text, own, other in zip(texts, numbers, shown, strict=True):
        if own != other and text.startswith('"'):
            _not_shown(f"the time {text} is in quotes, which the editor takes for a part of it", WITHOUT_QUOTES)
        if own != other:
            what = "cannot be read" if math.isnan(other) else "is read as another moment"
            _not_shown(
                f"the time {text!r} {what} there with timeFormat {settings.time_format!r}",
                'write times as 2024-03-05 23:59:50.043, with timeFormat="%Y-%m-%d %H:%M:%S.%L"',
            )
    if sum(time == 0 or math.isnan(time) for time in shown[:3]) > 1:
        _not_shown("two of its first three times are 0, which the editor takes for an error", "let them begin at another time")


def _time_text(cell: str, time_format: str) -> str:
    """Text of a time as the editor passes it to its format: numeric cells as numbers, fractions with three digits."""
    if not _is_nan(cell):
        text = _js_text(_number(cell))
        # Fractions of numbers are not padded: the editor reads .5 as five milliseconds, framewise as half a second.
        return re.sub(r"\.(\d{1,2})$", lambda match: "." + match[1].rjust(3, "0"), text)
    if "%f" in time_format:
        cell = re.sub(r"\.(\d{3})\d{3}$", r".\1", cell, flags=re.ASCII)
    return re.sub(r"\.(\d{0,3})\b", lambda match: "." + match[1].ljust(3, "0"), cell, flags=re.ASCII)


# JSON.


def _check_json(path: Path, settings: SeriesSettings) -> None:
    with opened_text(path) as file:
        columns = json.load(file, parse_constant=lambda name: _not_shown(f"{name} is no JSON", "write null in its place"))
    places = _places(list(columns), settings)
    lists = list(columns.values())
    if not settings.time_column:
        wanted = max((len(lists[place]) for place in places.values()), default=0)
        other = next((name for name, own in columns.items() if not isinstance(own, list) or len(own) != wanted), None)
        if other is not None:
            _not_shown(f"without timeColumn it counts the rows of any column, as of {other!r}", "name a timeColumn")
        return
    times = lists[places[settings.time_column.lower()]][:TIMES_COMPARED]
    _check_times([time if isinstance(time, str) else _js_text(time) for time in times], settings)


# Numbers as in JavaScript.


def _number(text: str) -> float:
    """JavaScript's ``Number(text)``."""
    text = text.strip()
    if not text or _DECIMAL.fullmatch(text):
        return float(text or 0)
    if not _OTHER_NUMBER.fullmatch(text):
        return math.nan
    return float(text) if text.endswith("y") else float(int(text, 0))


def _is_nan(text: str) -> bool:
    return math.isnan(_number(text))


def _js_text(number: float) -> str:
    """JavaScript's ``String(number)``, for numbers that occur in times."""
    return str(int(number)) if float(number).is_integer() and abs(number) < EXACT_INTEGERS else repr(float(number))
