"""Aligned copy of a sensor's series: it starts at 0 s of the video, where Label Studio shows the first sample."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from framewise.core.errors import MediaError, SettingsError
from framewise.labeling_config import SeriesSettings
from framewise.media.series import column_names, read_cells, separator_in
from framewise.sync.offsets.signals import Floats
from framewise.sync.series.aligning import Alignment, Sensor

_EXACT = 0.0005  # seconds: a sample this close to the video's start counts as the first one


def write_aligned(
    source: Path, target: Path, settings: SeriesSettings, sensor: Sensor, alignment: Alignment
) -> tuple[int, int]:
    """Write the aligned series; returns (rows written, samples dropped because they precede the video).

    Separator and column names are kept. Numeric times become seconds of the video. Dates keep the sensor's clock and their
    format, and change only if there is drift. Other cells are unchanged. If no sample lies at 0 s of the video, a first row is
    added there: with the cells of the sample before it, or with empty ones if the sensor was not on yet. Raises SettingsError.
    """
    names = column_names(source, settings.sep)
    place = [name.lower() for name in names].index(settings.time_column.lower())
    seconds = alignment.on_video(sensor.times.seconds)
    first = int(np.searchsorted(seconds, -_EXACT))
    if first == len(seconds):
        raise MediaError(f"{source.name}: every sample lies before the start of the video; there is nothing to write")
    written = 0
    try:
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=separator_in(source, settings.sep), lineterminator="\n")
            if names != [str(number) for number in range(len(names))]:  # columns without names stay so
                writer.writerow(names)
            for at, row in _rows(read_cells(source, settings.sep), seconds, first, len(names)):
                row[place] = _time(sensor, alignment, at)
                writer.writerow(row)
                written += 1
    except OSError as error:
        raise SettingsError(f"--output: {target} cannot be written ({error.strerror})") from None
    return written, first


def _rows(cells: Iterator[list[str]], seconds: Floats, first: int, width: int) -> Iterator[tuple[float, list[str]]]:
    """Yield (seconds of the video, cells) of each row to be written."""
    before = [""] * width
    for number, (at, row) in enumerate(zip(seconds, cells, strict=True)):
        if number == first and at > _EXACT:
            yield 0.0, list(before)
        if number >= first:
            yield max(0.0, float(at)), row
        before = row


def _time(sensor: Sensor, alignment: Alignment, at: float) -> str:
    form = sensor.times.format
    if form is None:
        return f"{at:.6f}".rstrip("0").rstrip(".")
    return form.format(float(sensor.times.native[0]) + 1000 * (at - alignment.offset))
