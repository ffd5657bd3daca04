"""Queries of the pages: projects with their counts, and problems."""

import hashlib
import json
from dataclasses import dataclass

from framewise.store.annotations import COUNTED
from framewise.store.database import Database

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
    """A failure (is_error) or a warning for the user. kind: of the job in which it occurred."""

    kind: str
    project: str
    task: int | None
    text: str
    is_error: bool


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
        return self._troubles(project, "error IS NOT NULL", limit)

    def warnings(self, project: str | None, limit: int) -> list[Trouble]:
        """Warnings, the latest first, each text once. Not those of files whose facts are known: notes on them are
        made anew whenever somebody looks."""
        noted = "EXISTS (SELECT 1 FROM media_facts f WHERE f.project = jobs.project AND f.task = jobs.task)"
        return self._troubles(project, f"warnings <> '[]' AND NOT (kind = 'extract' AND {noted})", limit)

    def _troubles(self, project: str | None, of: str, limit: int) -> list[Trouble]:
        rows = self._database.read(
            "SELECT kind, project, task, error, warnings FROM jobs "
            f"WHERE project = coalesce(?, project) AND {TROUBLES} AND {of} ORDER BY coalesce(finished, created) DESC LIMIT ?",
            (project, limit),
        )
        found: dict[tuple[str, str], Trouble] = {}
        for row in rows:
            for text in [row["error"]] if of.startswith("error") else json.loads(row["warnings"]):
                trouble = Trouble(row["kind"], row["project"], row["task"], str(text), text == row["error"])
                found.setdefault((row["project"], str(text)), trouble)
        return list(found.values())[:limit]

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
