"""Data of a series: reading and rewriting its time column. Other columns are kept, character by character."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.migrate.findings import NeedsReview, shown

# Tried in this order to detect the separator.
TRIED = (",", ";", "\t", "|", " ")


@dataclass(frozen=True)
class SeriesTag:
    """A <TimeSeries>: the ``field`` of its data in a task, and the format of its times.

    is_date: True if its times are dates, which Label Studio counts in milliseconds. separator: "" to detect it.
    """

    name: str
    field: str
    time_column: str
    time_format: str | None
    is_date: bool
    separator: str


@dataclass(frozen=True)
class JsonColumns:
    """A series as one list per column: inline in the task, or in a JSON file."""

    columns: dict[str, Any]
    key: str
    file: Path | None
    suffix = ".json"

    def cells(self) -> Sequence[Any]:
        """Time column."""
        cells: Sequence[Any] = self.columns[self.key]
        return cells

    def rewritten(self, seconds: npt.NDArray[np.float64]) -> dict[str, Any]:
        """Columns with new times."""
        return {**self.columns, self.key: seconds.tolist()}

    def write(self, seconds: npt.NDArray[np.float64], target: Path) -> None:
        """Write the columns with new times to a file."""
        target.write_text(json.dumps(self.rewritten(seconds)), encoding="utf-8")


@dataclass(frozen=True)
class CsvFile:
    """A series as a file of separated values. index: of its time column."""

    file: Path
    separator: str
    index: int
    header: bool
    suffix = ".csv"

    def cells(self) -> Sequence[str]:
        """Time column. Raises NeedsReview for a row without it."""
        return [self._cell(row, number) for number, row in enumerate(self._rows(), 1) if number > self.header]

    def write(self, seconds: npt.NDArray[np.float64], target: Path) -> None:
        """Write the file with new times."""
        times = iter(seconds)
        with target.open("w", encoding="utf-8", newline="") as written:
            writer = csv.writer(written, delimiter=self.separator, lineterminator="\n")
            for number, row in enumerate(self._rows(), 1):
                if number > self.header:
                    row[self.index] = repr(float(next(times)))
                writer.writerow(row)

    def _cell(self, row: Sequence[str], number: int) -> str:
        if self.index >= len(row):
            raise NeedsReview(f"{shown(self.file.name)}: row {number} has no time, it has {len(row)} columns")
        return row[self.index].strip()

    def _rows(self) -> Iterator[list[str]]:
        with _reading(self.file), self.file.open(encoding="utf-8-sig", newline="") as text:
            yield from (row for row in csv.reader(text, delimiter=self.separator) if row)


Series = JsonColumns | CsvFile


def inline_series(tag: SeriesTag, columns: dict[str, Any]) -> Series:
    """Inline series of a task. Raises NeedsReview."""
    return JsonColumns(columns, _time_key(tag, columns), None)


def read_series(tag: SeriesTag, file: Path) -> Series:
    """Read a series from a file like the editor: JSON if it starts with a brace, otherwise separated values. Raises
    NeedsReview."""
    with _reading(file), file.open(encoding="utf-8-sig", newline="") as text:
        first = text.read(1)
        if first == "{":
            columns = json.loads(first + text.read())
            return JsonColumns(columns, _time_key(tag, columns), file)
        head = first + text.readline()
    wanted = tag.time_column.lower()
    for separator in (tag.separator,) if tag.separator else TRIED:
        names = [name.strip().lower() for name in next(csv.reader([head], delimiter=separator), [])]
        if wanted in names:
            return CsvFile(file, separator, names.index(wanted), header=True)
        if wanted.isdecimal() and int(wanted) < len(names) and _is_number(names[int(wanted)]):
            return CsvFile(file, separator, int(wanted), header=False)  # the editor numbers columns without names
    raise NeedsReview(
        f"{shown(file.name)}: no column {shown(tag.time_column)} in its first line, {shown(head.strip())}; is sep right?"
    )


def _time_key(tag: SeriesTag, columns: Any) -> str:
    keys: list[str] = [key for key in columns if key.lower() == tag.time_column.lower()] if isinstance(columns, dict) else []
    if len(keys) != 1 or not isinstance(columns[keys[0]], list):
        raise NeedsReview(f"its series has no list of times under {shown(tag.time_column)}")
    return keys[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NeedsReview(f"cannot read {shown(file)}: {error.strerror}") from None
    except (csv.Error, ValueError, RecursionError) as error:
        raise NeedsReview(f"{shown(file.name)} cannot be read as a series: {shown(error)}") from None
