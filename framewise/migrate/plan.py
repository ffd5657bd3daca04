"""Migration plan of a legacy project: its config, and each task. Nothing is written here."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ConfigError
from framewise.migrate.config import LabelingConfig
from framewise.migrate.files import Durations, Folder, Media
from framewise.migrate.findings import NeedsReview, shown
from framewise.migrate.player import Player, has_player, read_player
from framewise.migrate.regions import remapped
from framewise.migrate.series import Series, SeriesTag, inline_series, read_series
from framewise.migrate.times import WARN_SCALE, PlayerTimes, TimeMap, parser, read_times

CONVERTED, RESCALED, UNCHANGED, NEEDS_REVIEW = "converted", "rescaled", "unchanged", "needs review"

Task = dict[str, Any]


@dataclass(frozen=True)
class NewFile:
    """A series with other times, to be written under ``name``."""

    name: str
    series: Series
    seconds: npt.NDArray[np.float64]


@dataclass(frozen=True)
class MigrationOutcome:
    """Outcome of one task. notes: for the report. file: its series, if that must be rewritten."""

    name: str
    status: str
    notes: tuple[str, ...]
    task: Task
    file: NewFile | None = None


@dataclass(frozen=True)
class MigrationPlan:
    """config: the modern one, None if there is nothing to write. changes: of the config, one line each."""

    config: str | None
    changes: Sequence[str]
    outcomes: Sequence[MigrationOutcome]


@dataclass(frozen=True)
class MigrationOptions:
    """Options of the user. series_address: prefix of the names of rewritten series in the new tasks."""

    media_folder: Path | None = None
    durations: Mapping[str, Media] = field(default_factory=dict)
    frame_rate: float | None = None
    series_address: str = "/data/local-files/?d=series/"


@dataclass(frozen=True)
class _Found:
    """Everything known about a task that can be migrated."""

    player: Player
    media: Media
    series: Series
    times: PlayerTimes

    @property
    def agrees(self) -> bool:
        return self.times.agrees(self.media.seconds, 1 / self.media.frame_rate if self.media.frame_rate else 0.0)


class _Reviews(dict[int, str]):
    """Index of a task -> reason why it needs review."""

    @contextmanager
    def of(self, place: int) -> Iterator[None]:
        try:
            yield
        except NeedsReview as error:
            self[place] = str(error)


def plan(config: LabelingConfig, tasks: Sequence[Task], options: MigrationOptions) -> MigrationPlan:
    """Plan the migration of a project. tasks: as Label Studio exports or imports them. Raises ConfigError."""
    media_field = _media_field(config, tasks)
    if media_field is None:
        return MigrationPlan(None, (), [_of_modern_project(config, task, place) for place, task in enumerate(tasks)])
    reviews = _Reviews()
    players = _read_players(media_field, tasks, reviews)
    kind, tag = _one_for_all(config, players, reviews)
    found = _find(tag, tasks, players, reviews, options) if tag else {}
    if tag is None or not found:
        return MigrationPlan(None, (), [_left(task, place, reviews[place]) for place, task in enumerate(tasks)])
    # One config serves all tasks: if one series is rewritten to seconds, none can keep a date format.
    in_seconds = tag.is_date and not all(one.agrees for one in found.values())
    rates = {rate_text(one.media.frame_rate) for one in found.values()}
    rate_field = _free_field(tasks) if len(rates) > 1 else None
    outcomes = []
    for place, task in enumerate(tasks):
        with reviews.of(place):
            if place in found:
                outcomes.append(_converted(task, place, media_field, rate_field, tag, found[place], in_seconds, options))
        if place in reviews:
            outcomes.append(_left(task, place, reviews[place]))
    rate = f"${rate_field}" if rate_field else next(iter(rates))
    if len(reviews) == len(tasks):
        return MigrationPlan(None, (), outcomes)
    return MigrationPlan(*config.converted(media_field, kind, rate, tag.name, in_seconds), outcomes)


def data_of(task: Task) -> dict[str, Any]:
    """Data of a task: exported tasks have it under "data"; tasks for import may consist of the data alone."""
    data = task.get("data", task)
    return data if isinstance(data, dict) else {}


def rate_text(rate: float | None) -> str | None:
    """Frame rate as text: 25, 29.97."""
    return None if rate is None else f"{rate:.3f}".rstrip("0").rstrip(".")


def _media_field(config: LabelingConfig, tasks: Sequence[Task]) -> str | None:
    """Field with the players' HTML; None if the project is already migrated. Raises ConfigError."""
    fields = [name for name in config.players if any(has_player(data_of(task).get(name)) for task in tasks)]
    if len(fields) == 1:
        return fields[0]
    if fields:
        raise ConfigError(f"expected one <HyperText> with a player, found {len(fields)}: {shown(', '.join(fields))}")
    if config.modern_fields():
        return None
    raise ConfigError(
        'expected a <HyperText value="$field"> whose field holds a <video> or <audio> element in the tasks, found none; '
        "are config and tasks of one project, and is it one that used the trick of Label Studio 1.4.1?"
    )


def _of_modern_project(config: LabelingConfig, task: Task, place: int) -> MigrationOutcome:
    if any(has_player(data_of(task).get(name)) for name in config.modern_fields()):
        return _left(task, place, "the config is a migrated one, but this task is not; give it with the old config")
    return MigrationOutcome(task_name(task, place), UNCHANGED, (), task)


def _read_players(media_field: str, tasks: Sequence[Task], reviews: _Reviews) -> dict[int, Player]:
    players = {}
    for place, task in enumerate(tasks):
        with reviews.of(place):
            text = data_of(task).get(media_field)
            if not has_player(text):
                raise NeedsReview(f"its {shown(media_field)} has no video or audio element: {shown(text)}")
            players[place] = read_player(str(text))
    return players


def _one_for_all(config: LabelingConfig, players: dict[int, Player], reviews: _Reviews) -> tuple[str, SeriesTag | None]:
    """(kind of media, series) of most tasks, because a config has one player. The other tasks need review."""
    for place, player in list(players.items()):
        tag = config.series.get(player.series)
        if tag is None or not tag.time_column or tag.time_column.lower() != player.column.lower():
            wanted = f"a <TimeSeries> {shown(player.series)} with timeColumn {shown(player.column)}"
            reviews[place] = f"its script moves {wanted}, which the labeling config does not have"
            del players[place]
    if not players:
        return "video", None
    (kind, name), _ = Counter((player.kind, player.series) for player in players.values()).most_common(1)[0]
    for place, player in list(players.items()):
        if (player.kind, player.series) != (kind, name):
            reviews[place] = (
                f"it has {player.kind} with series {shown(player.series)}, other tasks have {kind} with {shown(name)}; "
                "one config cannot show both: make a separate project for such tasks"
            )
            del players[place]
    return kind, config.series[name]


def _find(
    tag: SeriesTag, tasks: Sequence[Task], players: Mapping[int, Player], reviews: _Reviews, options: MigrationOptions
) -> dict[int, _Found]:
    """Durations and series of the tasks that have players."""
    videos = Folder(options.media_folder, (player.source for player in players.values()))
    addresses = (data_of(tasks[place]).get(tag.field) for place in players)
    tables = Folder(options.media_folder, (address for address in addresses if isinstance(address, str)))
    durations = Durations(videos, options.durations, options.frame_rate)
    found = {}
    for place, player in players.items():
        with reviews.of(place):
            media = durations.of(player)
            series = _series(tag, data_of(tasks[place]).get(tag.field), tables)
            found[place] = _Found(player, media, series, read_times(series.cells(), tag.time_format, tag.is_date))
    return found


def _series(tag: SeriesTag, value: Any, tables: Folder) -> Series:
    if isinstance(value, dict):
        return inline_series(tag, value)
    if not isinstance(value, str):
        raise NeedsReview(f"expected the series' address or its columns in {shown(tag.field)}, found {shown(value)}")
    return read_series(tag, tables.find(value))


def _converted(
    task: Task, place: int, media_field: str, rate_field: str | None, tag: SeriesTag, found: _Found, in_seconds: bool,
    options: MigrationOptions,
) -> MigrationOutcome:  # fmt: skip
    """Convert a task to plain addresses, and its times to those of the media if they differ. Raises NeedsReview."""
    data = {**data_of(task), media_field: found.player.source}
    if rate_field:
        data[rate_field] = float(str(rate_text(found.media.frame_rate)))
    name = task_name(task, place)
    if found.agrees and not in_seconds:
        return MigrationOutcome(name, CONVERTED, (_lengths(found),), _with_data(task, data))
    time_map = found.times.unscaled() if found.agrees else found.times.map_to(found.media.seconds)
    moved, count = remapped(task, tag.name, parser(tag.time_format), time_map)
    data[tag.field], file = _rewritten(found, time_map, name, options)
    notes = [_lengths(found), f"{count} {'region is' if count == 1 else 'regions are'} in the new times"]
    scale = found.media.seconds / found.times.span_seconds
    if not found.agrees:
        notes.append(f"times x {scale:.6g}")
        if abs(scale - 1) > WARN_SCALE:
            notes.append("warning: more than 2 % from 1; is it the right media file, and is the time column in seconds?")
    return MigrationOutcome(name, CONVERTED if found.agrees else RESCALED, tuple(notes), _with_data(moved, data), file)


def _rewritten(found: _Found, time_map: TimeMap, name: str, options: MigrationOptions) -> tuple[Any, NewFile | None]:
    """(new value of the series in the task, the file that it names, or None for an inline series)."""
    seconds = time_map(found.times.native)
    series = found.series
    if series.file is None:
        return series.rewritten(seconds), None
    stem = "".join(c if c.isalnum() and c.isascii() or c in "-_" else "-" for c in f"{name} {series.file.stem}")[:100]
    file = NewFile(f"{stem}{series.suffix}", series, seconds)
    return options.series_address + quote(file.name), file


def _lengths(found: _Found) -> str:
    rate = f" at {rate_text(found.media.frame_rate)} frames a second" if found.media.frame_rate else ""
    return (
        f"{shown(found.player.source)}: {found.media.seconds:.3f} s{rate}, series {found.times.span_seconds:.3f} s "
        f"with a sample every {found.times.sample_seconds:.4g} s"
    )


def _with_data(task: Task, data: dict[str, Any]) -> Task:
    return {**task, "data": data} if "data" in task else data


def _left(task: Task, place: int, reason: str) -> MigrationOutcome:
    return MigrationOutcome(task_name(task, place), NEEDS_REVIEW, (reason,), task)


def task_name(task: Task, place: int) -> str:
    """Name of a task in the report."""
    return f"task {task['id']}" if "data" in task and _is_number(task.get("id")) else f"item {place + 1}"


def _is_number(value: Any) -> bool:
    """True if a value can be a task number; booleans are integers in Python."""
    return isinstance(value, int) and not isinstance(value, bool)


def _free_field(tasks: Sequence[Task]) -> str:
    taken = {name for task in tasks for name in data_of(task)}
    return next(n for n in ("frame_rate", *(f"frame_rate_{i}" for i in range(2, len(taken) + 3))) if n not in taken)
