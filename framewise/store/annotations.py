"""Projects, tasks and annotations as Label Studio told of them. Events may come twice, late and out of order."""

import datetime
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from framewise.store.database import Database

KEPT_EVENTS = 10_000


@dataclass(frozen=True)
class Project:
    """key: "<id>.<unix time of creation>", as Label Studio names a project to its backends: a reused id is another one."""

    key: str
    label_config: str


@dataclass(frozen=True)
class AnnotatedTask:
    """A task with the one annotation of it that training uses; ``result`` is Label Studio's list of regions."""

    task: int
    data: dict[str, Any]
    annotation: int
    result: list[Any]


class Annotations:
    """The store of what was annotated."""

    def __init__(self, database: Database):
        self._database = database

    def together(self) -> AbstractContextManager[object]:
        """What is written inside is written as a whole or not at all."""
        return self._database.transaction()

    def record_event(self, project: str, action: str, payload: Mapping[str, Any]) -> None:
        """Keep an event as it came, the last KEPT_EVENTS of them, to find out one day what happened."""
        with self._database.transaction() as connection:
            added = connection.execute(
                "INSERT INTO events (received, project, action, payload) VALUES (?, ?, ?, ?)",
                (time.time(), project, action, json.dumps(payload)),
            )
            connection.execute("DELETE FROM events WHERE id <= ?", ((added.lastrowid or 0) - KEPT_EVENTS,))

    def put_project(self, key: str, label_studio_id: int, label_config: str, title: str = "", hostname: str = "") -> None:
        """Remember a project; empty texts leave what is known. Writes nothing where all of it is known: every request of
        Label Studio comes through here."""
        rows = self._database.read("SELECT label_config, title, hostname FROM projects WHERE key = ?", (key,))
        told = {"label_config": label_config, "title": title, "hostname": hostname}
        if rows and all(rows[0][name] == text for name, text in told.items() if text):
            return
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO projects (key, label_studio_id, label_config, title, hostname) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET "
                "label_config = CASE excluded.label_config WHEN '' THEN label_config ELSE excluded.label_config END, "
                "title = CASE excluded.title WHEN '' THEN title ELSE excluded.title END, "
                "hostname = CASE excluded.hostname WHEN '' THEN hostname ELSE excluded.hostname END",
                (key, label_studio_id, label_config, title, hostname),
            )

    def project(self, key: str) -> Project | None:
        rows = self._database.read("SELECT key, label_config FROM projects WHERE key = ?", (key,))
        return Project(rows[0]["key"], rows[0]["label_config"]) if rows else None

    def newest_project_key(self, label_studio_id: int) -> str | None:
        """For an event that does not say when its project was made."""
        rows = self._database.read(
            "SELECT key FROM projects WHERE label_studio_id = ? ORDER BY rowid DESC LIMIT 1", (label_studio_id,)
        )
        return rows[0]["key"] if rows else None

    def put_task(self, project: str, task: int, data: Mapping[str, Any]) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO tasks (project, id, data) VALUES (?, ?, ?) "
                "ON CONFLICT (project, id) DO UPDATE SET data = excluded.data",
                (project, task, json.dumps(data)),
            )

    def task_data(self, project: str, task: int) -> dict[str, Any] | None:
        rows = self._database.read("SELECT data FROM tasks WHERE project = ? AND id = ? AND NOT deleted", (project, task))
        return dict(json.loads(rows[0]["data"])) if rows else None

    def delete_tasks(self, project: str, tasks: list[int]) -> None:
        """Mark tasks as gone; a late event of one does not bring it back."""
        self._mark_deleted("tasks", project, tasks)

    def put_annotation(self, project: str, annotation: Mapping[str, Any], task: int) -> None:
        """Remember an annotation. An older state of it, or one that was deleted, changes nothing."""
        updated_at = _sortable(annotation.get("updated_at"))
        values = (
            project, int(annotation["id"]), task, json.dumps(annotation.get("result") or []),
            bool(annotation.get("was_cancelled")), bool(annotation.get("ground_truth")), updated_at, time.time(),
        )  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO annotations (project, id, task, result, was_cancelled, ground_truth, updated_at, received) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, id) DO UPDATE SET task = excluded.task, "
                "result = excluded.result, was_cancelled = excluded.was_cancelled, ground_truth = excluded.ground_truth, "
                "updated_at = excluded.updated_at, received = excluded.received WHERE updated_at <= excluded.updated_at",
                values,
            )

    def delete_annotations(self, project: str, annotations: list[int]) -> None:
        """Mark annotations as gone, also ones that were never told of: their events may still come."""
        self._mark_deleted("annotations", project, annotations)

    def training_set(self, project: str) -> list[AnnotatedTask]:
        """Every annotated task, by id: of several annotations a ground truth wins, then the newest. Skipped ones are none."""
        rows = self._database.read(
            "SELECT a.id AS annotation, a.task, a.result, t.data FROM annotations a "
            "JOIN tasks t ON t.project = a.project AND t.id = a.task "
            "WHERE a.project = ? AND NOT a.deleted AND NOT a.was_cancelled AND NOT t.deleted "
            "ORDER BY a.task, a.ground_truth, a.updated_at, a.id",
            (project,),
        )
        chosen = {r["task"]: r for r in rows}  # the last of a task's rows stays
        return [AnnotatedTask(t, json.loads(r["data"]), r["annotation"], json.loads(r["result"])) for t, r in chosen.items()]

    def next_training(self, project: str) -> int:
        """Number of the next training of a project: 1, 2, ... and never twice."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE projects SET trainings = trainings + 1 WHERE key = ?", (project,))
            row = connection.execute("SELECT trainings FROM projects WHERE key = ?", (project,)).fetchone()
        return int(row["trainings"])

    def promise_prediction(self, job: int, task: int) -> None:
        """Note that a task was asked for and not answered: its prediction is to be pushed when the job is done."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO promised_predictions VALUES (?, ?)", (job, task))

    def withdraw_promise(self, job: int, task: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM promised_predictions WHERE job = ? AND task = ?", (job, task))

    def due_promises(self) -> list[tuple[int, str, int, bool]]:
        """(job, project, task, whether the job succeeded) of tasks whose job has ended."""
        rows = self._database.read(
            "SELECT p.job, j.project, p.task, j.state FROM promised_predictions p JOIN jobs j ON j.id = p.job "
            "WHERE j.state NOT IN ('pending', 'running')"
        )
        return [(r["job"], r["project"], r["task"], r["state"] == "done") for r in rows]

    def counts(self) -> dict[str, int]:
        """How many projects, tasks and annotations are known."""
        tables = {"projects": "", "tasks": "WHERE NOT deleted", "annotations": "WHERE NOT deleted", "events": ""}
        return {t: int(self._database.read(f"SELECT count(*) AS n FROM {t} {w}")[0]["n"]) for t, w in tables.items()}

    def _mark_deleted(self, table: str, project: str, ids: list[int]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(
                f"INSERT INTO {table} (project, id, deleted) VALUES (?, ?, 1) "
                "ON CONFLICT (project, id) DO UPDATE SET deleted = 1",
                [(project, i) for i in ids],
            )


def _sortable(moment: Any) -> str:
    """An ISO time as text that sorts by time: in UTC, to the microsecond. What is no time is older than any.

    Label Studio leaves the fraction out where it is zero, and writes its own time zone.
    """
    try:
        parsed = datetime.datetime.fromisoformat(str(moment))
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)
        return aware.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""
