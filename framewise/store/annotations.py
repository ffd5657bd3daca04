"""Projects, tasks and annotations as sent by Label Studio. Events may arrive twice, late and out of order."""

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import ProjectForgotten
from framewise.store.database import Database
from framewise.store.job_state import DUE_PROMISES
from framewise.store.label_sets import FrameRates, LabelSets

KEPT_EVENTS = 10_000
MAX_EVENT_CHARS = 10_000  # all of them stay below 100 MB
# Values of the column "deleted": deleted by an event, which is final; or missing from a complete list of Label Studio.
DELETED, MISSING = 1, 2
COUNTED = (
    "annotations a JOIN tasks t ON t.project = a.project AND t.id = a.task "
    "WHERE a.project = ? AND NOT a.deleted AND NOT a.was_cancelled AND NOT t.deleted"
)


@dataclass(frozen=True)
class Project:
    """Project key, "<id>.<unix time of creation>", as Label Studio names a project to its backends: a reused id is another
    project."""

    key: str
    label_config: str


@dataclass(frozen=True)
class AnnotatedTask:
    """A task with the one annotation of it that training uses; ``result`` is Label Studio's list of regions, in which labels
    have the names that they have now.

    labels: from_name -> labels that the labeling config had when the annotation was submitted, by the names that they have
    now. Of other labels the annotation says nothing, not even that they are absent. None if that is not known.
    frame_rates: from_name -> the frameRate at that time, by which its frames are counted. None if that is not known.
    """

    task: int
    data: dict[str, Any]
    annotation: int
    result: list[Any]
    labels: dict[str, list[str]] | None = None
    frame_rates: FrameRates | None = None


class Annotations:
    """Store of projects, tasks and annotations."""

    def __init__(self, database: Database):
        self._database = database
        self.label_sets = LabelSets(database)

    def together(self) -> AbstractContextManager[object]:
        """Write everything inside as one transaction."""
        return self._database.transaction()

    def record_event(self, project: str, action: str, payload: Mapping[str, Any]) -> None:
        """Keep a raw event, for later investigation; the last KEPT_EVENTS are kept, of a long one the beginning."""
        text = json.dumps(payload)
        if len(text) > MAX_EVENT_CHARS:
            text = json.dumps({"beginning": text[:MAX_EVENT_CHARS]})
        with self._database.transaction() as connection:
            added = connection.execute(
                "INSERT INTO events (received, project, action, payload) VALUES (?, ?, ?, ?)",
                (time.time(), project, action, text),
            )
            connection.execute("DELETE FROM events WHERE id <= ?", ((added.lastrowid or 0) - KEPT_EVENTS,))

    def put_project(
        self, key: str, label_studio_id: int, label_config: str, title: str = "", hostname: str = "", told_at: str = ""
    ) -> str | None:
        """Store a project; returns the labeling config that this one replaces, None if it replaces none.

        Empty texts leave the stored values. told_at: when Label Studio saved this state of the project, "" for now; an older
        state changes nothing. Writes nothing if nothing is new, because every request of Label Studio passes through here.
        """
        rows = self._database.read("SELECT label_config, title, hostname, told_at FROM projects WHERE key = ?", (key,))
        told_at = sortable_time(told_at)
        if rows and told_at and told_at <= rows[0]["told_at"]:
            self.label_sets.put(key, label_config, told_at)
            return None
        told = {"label_config": label_config, "title": title, "hostname": hostname, "told_at": told_at}
        if rows and all(rows[0][name] == text for name, text in told.items() if text):
            return None
        keep = ", ".join(f"{n} = CASE excluded.{n} WHEN '' THEN {n} ELSE excluded.{n} END" for n in told)
        before = rows[0]["label_config"] if rows else ""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM forgotten_projects WHERE project = ?", (key,))  # it exists after all
            connection.execute(
                "INSERT INTO projects (key, label_studio_id, label_config, title, hostname, told_at) "
                f"VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET {keep}",
                (key, label_studio_id, label_config, title, hostname, told_at),
            )
            if before:
                self.label_sets.begin(key, before)
            if label_config and (told_at or label_config != before):
                self.label_sets.put(key, label_config, told_at)
        return before if before and label_config and label_config != before else None

    def project(self, key: str) -> Project | None:
        rows = self._database.read("SELECT key, label_config FROM projects WHERE key = ?", (key,))
        return Project(rows[0]["key"], rows[0]["label_config"]) if rows else None

    def project_key(self, label_studio_id: int) -> str:
        """Key of the newest project of a number, for requests without the project's creation time."""
        rows = self._database.read(
            "SELECT key FROM projects WHERE label_studio_id = ? ORDER BY rowid DESC LIMIT 1", (label_studio_id,)
        )
        return str(rows[0]["key"]) if rows else f"{label_studio_id}.0"

    def put_task(self, project: str, task: int, data: Mapping[str, Any], updated_at: Any = None) -> None:
        """Store a task; see ``put_tasks``."""
        self.put_tasks(project, [{"id": task, "data": data, "updated_at": updated_at}])

    def put_tasks(self, project: str, tasks: Sequence[Mapping[str, Any]], warm: bool = False) -> None:
        """Store tasks. An older state of a task changes nothing; a state without a time counts as the newest.

        warm: extract the videos of new tasks in advance.
        """
        now, cold = time.time(), 0 if warm else None
        rows = [(project, t["id"], _as_text(t.get("data") or {}), sortable_time(t.get("updated_at")), now, cold) for t in tasks]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO tasks (project, id, data, updated_at, received, warm) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (project, id) DO UPDATE SET data = excluded.data, received = excluded.received, "
                "updated_at = max(updated_at, excluded.updated_at) "
                "WHERE excluded.updated_at = '' OR (excluded.updated_at, excluded.data) >= (updated_at, data)",
                rows,
            )

    def task_data(self, project: str, task: int) -> dict[str, Any] | None:
        rows = self._database.read("SELECT data FROM tasks WHERE project = ? AND id = ? AND NOT deleted", (project, task))
        return dict(json.loads(rows[0]["data"])) if rows else None

    def tasks(self, project: str) -> list[dict[str, Any]]:
        """All tasks of a project, as ``{"id": ..., "data": ...}``."""
        rows = self._database.read("SELECT id, data FROM tasks WHERE project = ? AND NOT deleted ORDER BY id", (project,))
        return [{"id": row["id"], "data": json.loads(row["data"])} for row in rows]

    def delete_tasks(self, project: str, tasks: list[int]) -> bool:
        """Mark tasks as deleted; late events do not bring them back. Returns whether there is something new to learn."""
        return self._mark_deleted("tasks", project, tasks)

    def put_annotation(self, project: str, annotation: Mapping[str, Any], task: int, label_set: int | None = None) -> bool:
        """Store an annotation; returns whether there is something new to learn.

        An older state, or an annotation that was deleted, changes nothing. Of two states with the same time, the one that is
        larger as text is kept: any rule works that does not depend on the order of arrival. label_set: see ``LabelSets``.
        """
        number = int(annotation["id"])
        state = (
            sortable_time(annotation.get("updated_at")), bool(annotation.get("was_cancelled")),
            bool(annotation.get("ground_truth")), _as_text(annotation.get("result") or []),
        )  # fmt: skip
        with self._database.transaction() as connection:
            known = connection.execute(
                "SELECT updated_at, was_cancelled, ground_truth, result, deleted FROM annotations WHERE project = ? AND id = ?",
                (project, number),
            ).fetchone()
            before = tuple(known)[:4] if known else None
            if before is not None and before > state:
                return False
            if before == state:
                same = "UPDATE annotations SET label_set = coalesce(?, label_set) WHERE project = ? AND id = ?"
                connection.execute(same, (label_set, project, number))
                return False
            connection.execute(
                "INSERT INTO annotations (project, id, task, updated_at, was_cancelled, ground_truth, result, label_set, "
                "received) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, id) DO UPDATE SET task = excluded.task, "
                "updated_at = excluded.updated_at, was_cancelled = excluded.was_cancelled, received = excluded.received, "
                "ground_truth = excluded.ground_truth, result = excluded.result, label_set = excluded.label_set",
                (project, number, task, *state, label_set, time.time()),
            )
        return not (known and known["deleted"]) and (not state[1] or bool(known and not known["was_cancelled"]))

    def delete_annotations(self, project: str, annotations: list[int]) -> bool:
        """Mark annotations as deleted, including unknown ones, whose events may still arrive. Returns whether there is
        something new to learn."""
        return self._mark_deleted("annotations", project, annotations)

    def put_listed(self, project: str, task: Mapping[str, Any], annotations: list[Mapping[str, Any]]) -> bool:
        """Store a task and its annotations as listed by Label Studio; returns whether there is something new to learn.

        Annotations missing from an earlier list are restored; those deleted by an event are not.
        """
        there = "UPDATE {} SET deleted = 0 WHERE project = ? AND id = ? AND deleted = ?"
        with self._database.transaction() as connection:
            self.put_tasks(project, [task])
            changed = bool(connection.execute(there.format("tasks"), (project, task["id"], MISSING)).rowcount)
            for annotation in annotations:
                back = connection.execute(there.format("annotations"), (project, annotation["id"], MISSING)).rowcount
                known = self._database.read(
                    "SELECT label_set FROM annotations WHERE project = ? AND id = ? AND updated_at = ?",
                    (project, annotation["id"], moment := sortable_time(annotation.get("updated_at"))),
                )
                label_set = known[0]["label_set"] if known else self.label_sets.number(project, moment)
                changed |= self.put_annotation(project, annotation, task["id"], label_set) or bool(back)
        return changed

    def mark_missing(self, project: str, tasks: set[int], annotations: set[int], before: float) -> bool:
        """Mark annotations as missing that Label Studio no longer has, given the ids of those that it has; returns whether
        there is something new to learn. before: Unix time at which the list was started: events since then may be newer than
        the list."""
        counted = f"SELECT a.id FROM {COUNTED} ORDER BY a.id"
        with self._database.transaction() as connection:
            learned = [tuple(row) for row in connection.execute(counted, (project,))]
            for table, there in (("tasks", tasks), ("annotations", annotations)):
                known = connection.execute(
                    f"SELECT id FROM {table} WHERE project = ? AND NOT deleted AND received < ?", (project, before)
                ).fetchall()
                gone = [(MISSING, project, row["id"]) for row in known if row["id"] not in there]
                connection.executemany(f"UPDATE {table} SET deleted = ? WHERE project = ? AND id = ?", gone)
            return learned != [tuple(row) for row in connection.execute(counted, (project,))]

    def training_set(self, project: str) -> list[AnnotatedTask]:
        """Every annotated task, by id: of several annotations a ground truth wins, then the newest. Skipped ones are none."""
        rows = self._database.read(
            f"SELECT a.id AS annotation, a.task, a.result, a.label_set, t.data FROM {COUNTED} "
            "ORDER BY a.task, a.ground_truth, a.updated_at, a.id",
            (project,),
        )
        chosen = {r["task"]: r for r in rows}  # the last of a task's rows wins
        history = self.label_sets.read(project)
        return [
            AnnotatedTask(
                task, json.loads(r["data"]), r["annotation"],
                history.result(r["label_set"], json.loads(r["result"])), history.labels(r["label_set"]),
                history.frame_rates(r["label_set"]),
            )
            for task, r in chosen.items()
        ]  # fmt: skip

    def annotations_by_frame_rates(self, project: str) -> list[tuple[FrameRates, int]]:
        """(from_name -> frameRate, number of annotations that were made while the labeling config had it), as far as known."""
        rows = self._database.read(f"SELECT a.label_set, count(*) AS n FROM {COUNTED} GROUP BY a.label_set", (project,))
        history = self.label_sets.read(project)
        return [(rates, row["n"]) for row in rows if (rates := history.frame_rates(row["label_set"])) is not None]

    def is_annotated(self, project: str) -> bool:
        """True if there is anything to learn from."""
        return bool(self._database.read(f"SELECT 1 FROM {COUNTED} LIMIT 1", (project,)))

    def annotated_tasks(self, project: str) -> int:
        """Number of annotated tasks."""
        return int(self._database.read(f"SELECT count(DISTINCT a.task) AS n FROM {COUNTED}", (project,))[0]["n"])

    def renames(self, project: str) -> dict[str, dict[str, str]]:
        """from_name -> {an earlier name: the name now}, of the labels of a project that were renamed."""
        return self.label_sets.read(project).renames()

    def known_annotations(self, project: str) -> int:
        """Number of known annotations of a project, including skipped ones."""
        there = "SELECT count(*) FROM annotations WHERE project = ? AND NOT deleted"
        of_tasks_gone = f"{there} AND task IN (SELECT id FROM tasks WHERE project = ? AND deleted)"
        # As a difference, the two indexes suffice: Label Studio waits for the answer.
        rows = self._database.read(f"SELECT ({there}) - ({of_tasks_gone}) AS n", (project, project, project))
        return int(rows[0]["n"])

    def was_imported(self, project: str) -> bool:
        """True if an import of the project was ever requested."""
        return bool(self._database.read("SELECT 1 FROM projects WHERE key = ? AND imported", (project,)))

    def put_imported(self, project: str) -> None:
        """Note that the whole project is to be imported from Label Studio."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE projects SET imported = 1 WHERE key = ?", (project,))

    def next_cold(self, project: str, tries: int) -> tuple[int, dict[str, Any], int] | None:
        """(task, its data, number of such tasks) for a task whose video is to be extracted in advance. A video whose extraction
        started too often without ending is skipped: it kills its worker."""
        rows = self._database.read(
            "SELECT id, data, count(*) OVER () AS n FROM tasks WHERE project = ? AND warm < ? AND NOT deleted "
            "ORDER BY id LIMIT 1",
            (project, tries),
        )
        return (rows[0]["id"], json.loads(rows[0]["data"]), rows[0]["n"]) if rows else None

    def begin_warming(self, project: str, task: int) -> None:
        """Note that the extraction of a task's video starts."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE tasks SET warm = warm + 1 WHERE project = ? AND id = ?", (project, task))

    def put_back(self, project: str, task: int) -> None:
        """Note that the extraction of a task's video did not start after all."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE tasks SET warm = warm - 1 WHERE project = ? AND id = ?", (project, task))

    def end_warming(self, project: str, task: int | None = None) -> None:
        """Note that a task's video needs no extraction in advance any more; for all tasks, if None."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE tasks SET warm = NULL WHERE project = ? AND id = coalesce(?, id)", (project, task))

    def next_training(self, project: str) -> int:
        """Number of a project's next training: 1, 2, ..., never reused."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE projects SET trainings = trainings + 1 WHERE key = ?", (project,))
            row = connection.execute("SELECT trainings FROM projects WHERE key = ?", (project,)).fetchone()
        if row is None:
            raise ProjectForgotten(f"project {project} was forgotten")
        return int(row["trainings"])

    def promise_prediction(self, job: int, task: int) -> None:
        """Promise a prediction: it is pushed when the job is done."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO promised_predictions VALUES (?, ?)", (job, task))

    def withdraw_promise(self, job: int, task: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM promised_predictions WHERE job = ? AND task = ?", (job, task))

    def due_promises(self) -> list[tuple[int, str, int, bool]]:
        """(job, project, task, whether the job succeeded) of promised tasks whose job has ended."""
        rows = self._database.read(f"SELECT p.job, j.project, p.task, j.state FROM {DUE_PROMISES}")
        return [(r["job"], r["project"], r["task"], r["state"] == "done") for r in rows]

    def counts(self) -> dict[str, int]:
        """Numbers of known projects, tasks and annotations."""
        tables = {"projects": "", "tasks": "WHERE NOT deleted", "annotations": "WHERE NOT deleted", "events": ""}
        return {t: int(self._database.read(f"SELECT count(*) AS n FROM {t} {w}")[0]["n"]) for t, w in tables.items()}

    def _mark_deleted(self, table: str, project: str, ids: list[int]) -> bool:
        of_these = f"{'t' if table == 'tasks' else 'a'}.id IN (SELECT value FROM json_each(?))"
        with self._database.transaction() as connection:
            learned = connection.execute(f"SELECT 1 FROM {COUNTED} AND {of_these}", (project, json.dumps(ids))).fetchone()
            connection.executemany(
                f"INSERT INTO {table} (project, id, deleted) VALUES (?, ?, ?) "
                "ON CONFLICT (project, id) DO UPDATE SET deleted = excluded.deleted",
                [(project, i, DELETED) for i in ids],
            )
        return learned is not None


def _as_text(value: Any) -> str:
    """JSON text that is equal for equal content."""
    return json.dumps(value, sort_keys=True)


def sortable_time(moment: Any) -> str:
    """An ISO time as text that sorts by time: in UTC, to the microsecond. An invalid time sorts first.

    Label Studio omits the fraction if it is zero, and writes its own time zone.
    """
    try:
        parsed = datetime.datetime.fromisoformat(str(moment))
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)
        return aware.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""
