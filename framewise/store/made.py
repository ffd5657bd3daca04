"""The last prediction of each task, for the pages about tasks without annotations."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import StorageBusy, StorageFull
from framewise.core.intervals import Intervals
from framewise.store.database import Database
from framewise.store.projects import is_forgotten

UNANNOTATED = (
    "NOT t.deleted AND NOT EXISTS (SELECT 1 FROM annotations a WHERE a.project = t.project AND a.task = t.id AND NOT a.deleted)"
)

WITH_TASKS = "made_predictions m JOIN tasks t ON t.project = m.project AND t.id = m.task"


@dataclass(frozen=True)
class LastPrediction:
    """score: mean certainty of the frames, from 0 to 1; the least certain task should be annotated next. intervals: of each
    control, by from_name."""

    task: int
    version: str
    score: float
    intervals: Mapping[str, Intervals]
    data: Mapping[str, Any]


class LastPredictions:
    """Table with one row per task."""

    def __init__(self, database: Database):
        self._database = database

    def put(self, project: str, made: Sequence[LastPrediction]) -> None:
        """Store predictions. A prediction of a task and version that is already stored is not written again; if the disk is
        full, none is."""
        tasks = json.dumps([one.task for one in made])
        known = self._database.read(
            "SELECT task, version FROM made_predictions WHERE project = ? AND task IN (SELECT value FROM json_each(?))",
            (project, tasks),
        )
        there = {(row["task"], row["version"]) for row in known}
        new = [one for one in made if (one.task, one.version) not in there]
        if not new or is_forgotten(self._database, project):
            return
        with suppress(StorageFull, StorageBusy), self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO tasks (project, id, data, received) VALUES (?, ?, ?, ?)",
                [(project, one.task, json.dumps(one.data, sort_keys=True), time.time()) for one in new],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO made_predictions (project, task, version, score, intervals) VALUES (?, ?, ?, ?, ?)",
                [(project, one.task, one.version, one.score, _written(one.intervals)) for one in new],
            )

    def next(self, project: str, limit: int, offset: int) -> tuple[list[LastPrediction], int]:
        """Tasks without an annotation that have a prediction, least certain first, and their total number."""
        of = f"FROM {WITH_TASKS} WHERE m.project = ? AND {UNANNOTATED}"
        page = f"SELECT m.*, t.data {of} ORDER BY m.score, m.task LIMIT ? OFFSET ?"
        rows = self._database.read(page, (project, limit, offset))
        total = self._database.read(f"SELECT count(*) AS n {of}", (project,))[0]["n"]
        return [_made(row) for row in rows], int(total)

    def of(self, project: str, task: int) -> LastPrediction | None:
        """Last prediction of a task."""
        one = f"SELECT m.*, t.data FROM {WITH_TASKS} WHERE m.project = ? AND m.task = ? AND NOT t.deleted"
        rows = self._database.read(one, (project, task))
        return _made(rows[0]) if rows else None

    def unannotated(self, project: str) -> int:
        """Number of tasks without an annotation, predicted or not."""
        rows = self._database.read(f"SELECT count(*) AS n FROM tasks t WHERE t.project = ? AND {UNANNOTATED}", (project,))
        return int(rows[0]["n"])


def _made(row: Any) -> LastPrediction:
    intervals = {name: Intervals.from_json(told) for name, told in json.loads(row["intervals"]).items()}
    return LastPrediction(row["task"], row["version"], row["score"], intervals, json.loads(row["data"]))


def _written(intervals: Mapping[str, Intervals]) -> str:
    return json.dumps({name: one.to_json() for name, one in intervals.items()})
