"""Queries of the pages: projects with their counts, and problems."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from framewise.store.annotations import COUNTED
from framewise.store.database import Database
from framewise.store.job_warnings import warnings_from

# Failures, unless a later job of the same kind and subject has ended.
TROUBLES = (
    "(state = 'failed' OR warnings <> '[]') AND (subject = '' OR NOT EXISTS (SELECT 1 FROM jobs AS later "
    "WHERE later.kind = jobs.kind AND later.project = jobs.project AND later.subject = jobs.subject AND later.id > jobs.id "
    "AND later.state IN ('done', 'failed')))"
)


@dataclass(frozen=True)
class ProjectLine:
    """A project's Label Studio number and title, and its number of tasks, annotated or not."""

    key: str
    number: int
    title: str
    tasks: int
    annotated: int


@dataclass(frozen=True)
class Trouble:
    """A failure or a warning for the user, with all tasks that it concerns. kind: of the latest job in which it occurred."""

    kind: str
    project: str
    tasks: tuple[int, ...]
    text: str


class Browsing:
    """Read-only queries."""

    def __init__(self, database: Database):
        self._database = database

    def projects(self, limit: int, offset: int) -> tuple[list[ProjectLine], int]:
        """A page of the projects, newest first, and the total number."""
        page = "SELECT key, label_studio_id, title FROM projects ORDER BY label_studio_id DESC, key DESC LIMIT ? OFFSET ?"
        rows = self._database.read(page, (limit, offset))
        total = self._database.read("SELECT count(*) AS n FROM projects")[0]["n"]
        return [self._line(row["key"], row["label_studio_id"], row["title"]) for row in rows], int(total)

    def project(self, key: str) -> ProjectLine:
        """A known project."""
        row = self._database.read("SELECT label_studio_id, title FROM projects WHERE key = ?", (key,))[0]
        return self._line(key, row["label_studio_id"], row["title"])

    def errors(self, project: str | None, limit: int) -> list[Trouble]:
        """Failures, the latest first, each text once."""
        rows = self._rows(project, "error IS NOT NULL", limit)
        return _once((Trouble(row["kind"], row["project"], _task_of(row), row["error"]) for row in rows), limit)

    def warnings(self, project: str | None, limit: int) -> list[Trouble]:
        """Warnings, the latest first, each text once. Not those of files whose facts are known: notes on them are
        made on request."""
        noted = "EXISTS (SELECT 1 FROM media_facts f WHERE f.project = jobs.project AND f.task = jobs.task)"
        rows = self._rows(project, f"warnings <> '[]' AND NOT (kind = 'extract' AND {noted})", limit)
        return _once(
            (
                Trouble(row["kind"], row["project"], warning.tasks or _task_of(row), warning.text)
                for row in rows
                for warning in warnings_from(row["warnings"])
            ),
            limit,
        )

    def _rows(self, project: str | None, of: str, limit: int) -> list[Any]:
        return self._database.read(
            "SELECT kind, project, task, error, warnings FROM jobs "
            f"WHERE project = coalesce(?, project) AND {TROUBLES} AND {of} ORDER BY coalesce(finished, created) DESC LIMIT ?",
            (project, limit),
        )

    def stamp(self, project: str | None) -> str:
        """A text that changes when another version is in use, of one project or of any."""
        rows = self._database.read(
            "SELECT project, control, version FROM current_versions WHERE project = coalesce(?, project) "
            "ORDER BY project, control",
            (project,),
        )
        return hashlib.sha256(json.dumps([tuple(row) for row in rows]).encode()).hexdigest()[:16]

    def _line(self, key: str, number: int, title: str) -> ProjectLine:
        tasks = self._database.read("SELECT count(*) AS n FROM tasks WHERE project = ? AND NOT deleted", (key,))
        annotated = self._database.read(f"SELECT count(DISTINCT a.task) AS n FROM {COUNTED}", (key,))
        return ProjectLine(key, number, title, int(tasks[0]["n"]), int(annotated[0]["n"]))


def _task_of(row: Any) -> tuple[int, ...]:
    return () if row["task"] is None else (row["task"],)


def _once(troubles: Iterable[Trouble], limit: int) -> list[Trouble]:
    """At most ``limit`` troubles; those of the same project and text are one, with the tasks of all."""
    found: dict[tuple[str, str], Trouble] = {}
    for trouble in troubles:
        first = found.setdefault((trouble.project, trouble.text), trouble)
        tasks = tuple(dict.fromkeys((*first.tasks, *trouble.tasks)))
        found[trouble.project, trouble.text] = replace(first, tasks=tasks)
    return list(found.values())[:limit]
