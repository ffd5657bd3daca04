"""Reading of time series as in Label Studio's editor: times and channels as arrays, with NaN for values that are no numbers.

Source: Label Studio 1.23, web/libs/editor/src: utils/data.js (headers, separators), tags/object/TimeSeries.jsx (times, JSON).
Where the editor would draw a value that is not in the file (0 for an empty cell), the cell is a gap.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from framewise.core.errors import MediaError, brief
from framewise.core.time_format import TimeFormat
from framewise.labeling_config import SeriesSettings

CELLS_AT_ONCE = 1_000_000  # rows parsed at once, to limit memory: a series may have millions
MAX_SAMPLES = 20_000_000  # about 28 hours at 200 samples per second
MAX_COLUMNS = 10_000
MAX_JSON_BYTES = 500_000_000  # JSON is read into memory as a whole
FIRST_CHARS = 1_000_000  # must contain the first two lines
FIRST_ROWS = 50  # rows that are searched for a header after the first one
BOM = b"\xef\xbb\xbf"
# Recognised by a byte order mark (also of UTF-32), or by a zero byte in each character.
UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|[^\0]\0[^\0]\0|\0[^\0]\0[^\0]", re.DOTALL)
COMMENTS = ("#", "%", "//")
OTHER_FILES = {b"PK\3\4": "a workbook or an archive", b"\x1f\x8b": "compressed", b"PAR1": "Parquet", b"\x89HDF": "HDF5"}

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """A time series. native (N,): native times, see ``core/series_time``. values (N, C) float32: of the config's channels; NaN
    for gaps, and throughout for channels that the file lacks."""

    native: FloatArray
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Block:
    """Block of rows: times, as texts or numbers (None without a time column), and channels (n, C)."""

    times: Any
    values: npt.NDArray[np.float32]


def read_series(path: Path, settings: SeriesSettings) -> Series:
    """Read a file of delimited text or JSON. Raises MediaError if the editor could not show it either, or if it has none of the
    channels; missing channels beside others are NaN."""
    try:
        blocks = _json_blocks(path, settings) if is_json(path) else _text_blocks(path, settings)
        parts, rows = list[_Block](), 0
        for block in blocks:
            rows += len(block.values)
            if rows > MAX_SAMPLES:
                raise MediaError(f"expected at most {MAX_SAMPLES} samples, found more; cut the series into parts")
            parts.append(_Block(_native(block.times, settings, rows - len(block.values)), block.values))
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise MediaError(f"the series could not be read: {str(error).strip()}") from None
    values = np.concatenate([part.values for part in parts]) if parts else np.zeros((0, len(settings.channels)), np.float32)
    if len(values) < 2:
        raise MediaError(f"expected a series of at least two samples, found {len(values)}")
    native = np.concatenate([part.times for part in parts]) if settings.time_column else np.arange(len(values), dtype=float)
    _check_times(native, settings)
    _check_channels(values, settings)
    return Series(native, values)


def is_json(path: Path) -> bool:
    """True for JSON, False for delimited text. Raises MediaError if the file is not UTF-8 text."""
    with path.open("rb") as file:
        head = file.read(4)
    if UTF_16.match(head):
        raise MediaError(
            "the series is text in UTF-16, and Label Studio reads UTF-8 alone: save it as UTF-8, as in "
            "iconv -f UTF-16 -t UTF-8 series.csv -o series-utf8.csv"
        )
    for beginning, what in OTHER_FILES.items():
        if head.startswith(beginning):
            raise MediaError(f"the series is {what}, and Label Studio reads text alone: save it as CSV")
    return head.removeprefix(BOM)[:1] == b"{"


def opened_text(path: Path, newline: str = "") -> TextIO:
    """Open a text file as browsers read it: UTF-8, with U+FFFD for invalid bytes, without a byte order mark."""
    return path.open(encoding="utf-8-sig", errors="replace", newline=newline)


def column_names(path: Path, sep: str) -> list[str]:
    """Column names of a series, as written; numbers for text without a header.

    sep: "" to detect it. Raises MediaError.
    """
    if is_json(path):
        return list(_json_columns(path))
    first, second = _first_lines(path)
    separator = sep or _separator_of(second)
    cells, below = _split(first, separator), _split(second, separator)
    return cells if _has_header(cells, below) else [str(place) for place in range(len(cells))]


def separator_in(path: Path, sep: str) -> str:
    """Column separator of a readable series; a comma for JSON."""
    return "," if is_json(path) else sep or _separator_of(_first_lines(path)[1])


def read_cells(path: Path, sep: str) -> Iterator[list[str]]:
    """Rows of a readable series with all cells as written, in the order of ``column_names``."""
    if is_json(path):
        for row in zip(*_json_columns(path).values(), strict=False):
            yield ["" if cell is None else str(cell) for cell in row]
        return
    first, second = _first_lines(path)
    separator = sep or _separator_of(second)
    names = _has_header(_split(first, separator), _split(second, separator))
    with opened_text(path) as text:
        rows = (row for row in csv.reader(text, delimiter=separator, skipinitialspace=separator != " ") if any(row))
        if names:
            next(rows)
        yield from rows


# Delimited text.


def _has_header(cells: list[str], below: list[str]) -> bool:
    return any(_is_number(a) != _is_number(b) for a, b in zip(cells, below, strict=False))


def _text_blocks(path: Path, settings: SeriesSettings) -> Iterator[_Block]:
    _check_first_row(path, settings)
    first, second = _first_lines(path)
    separator = settings.sep or _separator_of(second)
    if separator not in first:
        raise MediaError(f"the separator {separator!r} is not in the first row, {brief(first)}; set sep on the tag")
    cells, below = _split(first, separator), _split(second, separator)
    if len(cells) != len(below):
        raise MediaError(f"the first row has {len(cells)} columns and the second {len(below)}, separated by {separator!r}")
    has_header = _has_header(cells, below)
    if not has_header and plain_name(settings.time_column or settings.channels[0]) in map(plain_name, cells):
        raise MediaError(
            f"there is no number in the second row, {brief(second)}, so that Label Studio takes the first one for values, too: "
            "remove the second row if it holds units, or give it a number"
        )
    names = [cell.lower() for cell in cells] if has_header else [str(place) for place in range(len(cells))]
    time, channels = _places(names, settings)
    # One column more than expected: when it reads only some columns, pandas does not report rows with too many cells.
    beyond = len(names)
    chunks = pd.read_csv(
        path, sep=separator, header=None, names=range(beyond + 1), skiprows=int(has_header),
        encoding="utf-8-sig", encoding_errors="replace",
        dtype={time: str} if time is not None and settings.time_format else None,
        skipinitialspace=separator != " ", chunksize=max(CELLS_AT_ONCE // beyond, 1),
    )  # fmt: skip
    for chunk in chunks:
        if chunk[beyond].notna().any():
            row = int(chunk[beyond].notna().argmax()) + int(chunk.index[0]) + 1
            raise MediaError(f"sample {row} has more cells than the {beyond} columns of the first row")
        columns = [_numbers(_without_words(chunk[place])) if place is not None else _nothing(len(chunk)) for place in channels]
        yield _Block(None if time is None else chunk[time], np.stack(columns, axis=1))


def _without_words(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column without TRUE and FALSE, which pandas turns into booleans: in the editor they are text, so no numbers."""
    if column.dtype == bool:
        return column.map(lambda _: None)
    return column.map(lambda cell: None if isinstance(cell, bool) else cell) if column.dtype == object else column


def _check_first_row(path: Path, settings: SeriesSettings) -> None:
    """Raises MediaError, with a description, for a file whose first row is neither a header nor values."""
    wanted = {plain_name(name) for name in (settings.time_column, *settings.channels) if name}
    separators = re.escape(settings.sep) or r"[,;\t| ]"
    with opened_text(path, "\n") as file:
        text = file.read(FIRST_CHARS)
    rows = [row.strip() for row in text.split("\n", FIRST_ROWS)[:FIRST_ROWS]]
    if text.lstrip()[:1] in ("[", "{"):
        raise MediaError(
            f'expected JSON as {{"time": [0, 1], "x": [5, 6]}} from the first character on, found {brief(text[:100])}'
        )
    if "\r" in rows[0]:
        raise MediaError("its rows end in carriage returns, but Label Studio expects line feeds: save the series with those")
    named = [wanted <= {plain_name(cell) for cell in re.split(separators, row)} for row in rows]
    if all(name.isdecimal() for name in wanted):
        place = next((place for place, row in enumerate(rows) if not row.startswith(COMMENTS)), 0)
        what = f"the values begin in row {place + 1}, below {brief(rows[0])}"
    else:
        place = named.index(True) if any(named) else 0
        what = f"the names of columns are in row {place + 1}, below {brief(rows[0])}"
    if place:
        above = "the row" if place == 1 else f"the {place} rows"
        raise MediaError(f"{what}, and Label Studio reads them in the first: remove {above} above")


def _first_lines(path: Path) -> tuple[str, str]:
    with opened_text(path, "\n") as file:
        lines = file.read(FIRST_CHARS).split("\n", 2)
    if len(lines) < 2 or not lines[0].strip() or not lines[1].strip():
        raise MediaError(
            f"expected a series of at least two rows, found {brief(lines[0].strip()) if lines[0].strip() else 'none'}"
        )
    return lines[0].strip(), lines[1].strip()


def _separator_of(line: str) -> str:
    found = sorted(set(re.findall(r"[,;\s]", line)))
    if len(found) != 1:
        what = f"several, {found}" if found else "none"
        raise MediaError(
            f'sep="auto": expected one kind of separator in the second row, found {what}, in {brief(line)}; set sep'
        )
    return str(found[0])


def _split(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
    except (csv.Error, TypeError, ValueError) as error:
        raise MediaError(f"the row {brief(line)} could not be split by {separator!r}: {error}") from None


def _is_number(text: str) -> bool:
    """True if JavaScript's Number reads this text as a number; an empty text is 0."""
    try:
        return not text or bool(np.isfinite(float(text))) or "inf" in text.lower()
    except ValueError:
        return False


def plain_name(name: str) -> str:
    """Column name in lower case, without quotes. The editor keeps quotes of the file, so configs may contain them."""
    name = name.strip().lower()
    return name[1:-1].replace('""', '"').strip() if len(name) > 1 and name[0] == name[-1] == '"' else name


def _places(names: list[str], settings: SeriesSettings) -> tuple[int | None, list[int | None]]:
    """Indices of the time column, None if there is none, and of the channels' columns, None for missing ones. Raises MediaError
    if the file has none of the channels."""
    if len(names) > MAX_COLUMNS:
        raise MediaError(f"expected a series of at most {MAX_COLUMNS} columns, found {len(names)}; is sep right?")
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    time = plain_name(settings.time_column)
    if settings.time_column and time not in names:
        raise MediaError(f"the series has no column {time!r}, which timeColumn names; it has {brief(names)}{_in_utf8(names)}")
    channels: list[int | None] = []
    for channel in settings.channels:
        name = plain_name(channel)
        if name not in names and name.isdecimal() and int(name) < len(names):
            name = names[int(name)]
        if name in doubled or time in doubled:
            raise MediaError(f"the series has several columns with the same name: {brief(doubled)}; rename them")
        channels.append(names.index(name) if name in names else None)
    if all(place is None for place in channels):
        wanted = brief(list(settings.channels))
        raise MediaError(
            f"the series has none of the columns {wanted}, which the Channel tags name; it has {brief(names)}{_in_utf8(names)}"
        )
    return (names.index(time) if settings.time_column else None), channels


def _in_utf8(names: list[str]) -> str:
    """The cure of names with bytes that no browser can read."""
    bad = any("\ufffd" in name for name in names)
    return "; save it as UTF-8, as in iconv -f CP1252 -t UTF-8 series.csv -o series-utf8.csv" if bad else ""


# JSON.


def _json_columns(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise MediaError(f"a series as JSON of more than {MAX_JSON_BYTES} bytes is not read; write it as CSV")
    try:
        columns: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as error:
        raise MediaError(f"the series begins with '{{' but is not valid JSON: {error}") from None
    return columns


def _json_blocks(path: Path, settings: SeriesSettings) -> Iterator[_Block]:
    columns = _json_columns(path)
    names = [name.lower() for name in columns]
    time, channels = _places(names, settings)
    lists = list(columns.values())
    there = [place for place in channels if place is not None]
    wanted = [*there, *([] if time is None else [time])]
    for place in wanted:
        if not isinstance(lists[place], list):
            raise MediaError(f"column {names[place]!r}: expected a list of numbers, found {brief(lists[place])}")
    for place in wanted:
        if len(lists[place]) != len(lists[there[0]]):
            raise MediaError(
                f"columns of different lengths: {names[there[0]]!r} has {len(lists[there[0]])} values and "
                f"{names[place]!r} has {len(lists[place])}"
            )
    nothing = _nothing(len(lists[there[0]]))
    values = [nothing if place is None else _numbers(pd.Series(lists[place], dtype=object)) for place in channels]
    yield _Block(None if time is None else pd.Series(lists[time], dtype=object), np.stack(values, axis=1))


# Columns.


def _numbers(column: "pd.Series[Any]") -> npt.NDArray[np.float32]:
    """Values as numbers, (n,); NaN, a gap, for everything that is not a finite number."""
    if column.dtype == object or not pd.api.types.is_numeric_dtype(column.dtype):
        column = pd.to_numeric(column.map(_plain), errors="coerce")
    with np.errstate(over="ignore"):
        numbers = column.to_numpy(dtype=np.float32, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))


def _nothing(number: int) -> npt.NDArray[np.float32]:
    return np.full(number, np.nan, np.float32)


def _plain(value: Any) -> Any:
    """Values of JSON with None in place of lists, objects and numbers too large for float32."""
    if isinstance(value, str | float | bool) or value is None:
        return value
    return float(value) if isinstance(value, int) and abs(value) < 1e38 else None


def _native(times: Any, settings: SeriesSettings, rows_before: int) -> FloatArray:
    """Native times (n,) of a block. Raises MediaError for an invalid time."""
    if times is None:
        return np.zeros(0)
    if settings.time_format:
        texts = [str(int(t)) if isinstance(t, float) and t.is_integer() else str(t) for t in times]
        if settings.time_format.startswith('"'):  # the editor keeps quotes of the file as part of cells
            texts = [f'"{text}"' for text in texts]
        native = TimeFormat(settings.time_format).parse(texts)
        expected = f"in the timeFormat {settings.time_format!r}"
    else:
        native = pd.to_numeric(times.map(_plain_time) if times.dtype == object else times, errors="coerce").to_numpy(
            dtype=float
        )
        expected = "a number; for dates, set timeFormat on the tag"
    bad = np.flatnonzero(~np.isfinite(native) | (np.abs(native) > 1e17))
    if len(bad):
        found = times.iloc[int(bad[0])]
        found = found.item() if isinstance(found, np.generic) else found
        raise MediaError(
            f"timeColumn {settings.time_column!r}: expected times {expected}; found {brief(found)} in sample "
            f"{rows_before + int(bad[0]) + 1}"
        )
    return native


def _plain_time(value: Any) -> Any:
    return None if isinstance(value, bool) else _plain(value)


def _check_times(native: FloatArray, settings: SeriesSettings) -> None:
    back = np.flatnonzero(np.diff(native) < 0)
    if len(back):
        raise MediaError(
            f"timeColumn {settings.time_column!r}: expected times that never go back; sample {int(back[0]) + 2} lies before "
            "the one before it; sort the rows by time"
        )
    if native[-1] == native[0]:
        raise MediaError(
            f"timeColumn {settings.time_column!r}: all {len(native)} samples have the same time; is timeFormat too coarse?"
        )


def _check_channels(values: npt.NDArray[np.float32], settings: SeriesSettings) -> None:
    if np.isnan(values).all():
        raise MediaError(f"no number in the columns of channels {brief(list(settings.channels))}; are they the right columns?")
