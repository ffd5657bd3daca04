"""Facts of tasks' files, stored when a file is read. Notes on the files are made from them on request."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import StorageBusy, StorageFull
from framewise.store.database import Database
from framewise.store.projects import is_forgotten


@dataclass(frozen=True)
class FileFacts:
    """medium: name of the tag that shows the file. data: of the task."""

    task: int
    medium: str
    name: str
    facts: Mapping[str, Any]
    data: Mapping[str, Any]


class MediaFacts:
    """One row a task and medium."""

    def __init__(self, database: Database):
        self._database = database

    def put(self, project: str, file: FileFacts) -> None:
        """Note the facts of a file; where there is no room on the disk, nothing is noted."""
        if is_forgotten(self._database, project):
            return
        with suppress(StorageFull, StorageBusy), self._database.transaction() as connection:
            row = (project, file.task, file.medium, file.name, json.dumps(file.facts))
            connection.execute("INSERT OR REPLACE INTO media_facts VALUES (?, ?, ?, ?, ?)", row)

    def are_known(self, project: str, task: int, medium: str) -> bool:
        known = "SELECT 1 FROM media_facts WHERE project = ? AND task = ? AND medium = ?"
        return bool(self._database.read(known, (project, task, medium)))

    def of(self, project: str, task: int | None = None) -> list[FileFacts]:
        """Facts of a project's files, or of one of its tasks, by task."""
        rows = self._database.read(
            "SELECT f.task, f.medium, f.name, f.facts, t.data FROM media_facts f "
            "JOIN tasks t ON t.project = f.project AND t.id = f.task "
            "WHERE f.project = ? AND f.task = coalesce(?, f.task) AND NOT t.deleted ORDER BY f.task, f.rowid",
            (project, task),
        )
        return [FileFacts(r["task"], r["medium"], r["name"], json.loads(r["facts"]), json.loads(r["data"])) for r in rows]

    def stamp(self, project: str) -> tuple[int, int]:
        """Changes when facts of a project do: number of rows, and the newest."""
        rows = self._database.read("SELECT count(*) AS n, max(rowid) AS last FROM media_facts WHERE project = ?", (project,))
        return int(rows[0]["n"]), int(rows[0]["last"] or 0)
