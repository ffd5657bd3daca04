"""Jobs and how far they are: what /jobs shows, and what is done again when a worker dies."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import StorageFull
from framewise.store.database import Database

MAX_ATTEMPTS = 5  # a job that kills its worker again and again ends as failed
# What cannot be done now, because Label Studio or a disk is not there for it, is tried again, less and less often.
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0
GIVE_UP_SECONDS = 24 * 3600.0
KEPT_JOBS = 10_000  # finished ones that were made longer ago are forgotten


@dataclass(frozen=True)
class Job:
    """A claimed job. ``subject`` says what it is about: two pending jobs of one kind and subject would do the same."""

    id: int
    kind: str
    project: str
    task: int | None
    payload: dict[str, Any]


class JobStates:
    """The table of jobs."""

    def __init__(self, database: Database):
        self._database = database

    def add(
        self, kind: str, project: str, subject: str, payload: dict[str, Any], task: int | None = None, or_running: bool = False
    ) -> int:
        """Id of a pending job: a new one, or the one that waits to do just that.

        or_running: one that does it already will do as well. Not so where it may have begun with an earlier state of things.
        """
        with self._database.transaction() as connection:
            same = (kind, project, subject)
            alike = "SELECT id FROM jobs WHERE kind = ? AND project = ? AND subject = ? AND state = ?"
            found = connection.execute(alike, (*same, "running")).fetchone() if or_running else None
            if found is None:
                connection.execute(
                    "INSERT OR IGNORE INTO jobs (kind, project, subject, payload, task, state, created) "
                    "VALUES (?, ?, ?, ?, ?, 'pending', ?)",
                    (*same, json.dumps(payload), task, time.time()),
                )
                found = connection.execute(alike, (*same, "pending")).fetchone()
        return int(found["id"])

    def latest(self, kind: str, project: str, subject: str) -> tuple[int, str, float] | None:
        """(id, state, when it finished or 0) of the last job of this kind about this subject."""
        rows = self._database.read(
            "SELECT id, state, finished FROM jobs WHERE kind = ? AND project = ? AND subject = ? ORDER BY id DESC LIMIT 1",
            (kind, project, subject),
        )
        return (rows[0]["id"], rows[0]["state"], rows[0]["finished"] or 0.0) if rows else None

    def claim(self, job_id: int, owner: str) -> Job | None:
        """Take a pending job; None if it is not pending any more, or while another does the same for an earlier state.

        Two trainings of one project at once would end in any order, and the version of the older one could be the last.
        """
        with self._database.transaction() as connection:
            now = time.time()
            taken = connection.execute(
                "UPDATE jobs SET state = 'running', owner = ?, started = ?, progress = 0, detail = '', attempts = attempts + 1 "
                "WHERE id = ? AND state = 'pending' AND not_before <= ? AND NOT EXISTS (SELECT 1 FROM jobs AS other "
                "WHERE other.state = 'running' AND other.kind = jobs.kind AND other.project = jobs.project "
                "AND other.subject = jobs.subject)",
                (owner, now, job_id, now),
            ).rowcount
            if not taken:
                return None
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job(row["id"], row["kind"], row["project"], row["task"], json.loads(row["payload"]))

    def waiting_behind(self, job_id: int) -> list[int]:
        """Pending jobs that could not be claimed while this one ran."""
        rows = self._database.read(
            "SELECT waiting.id FROM jobs AS waiting JOIN jobs AS ended ON waiting.kind = ended.kind "
            "AND waiting.project = ended.project AND waiting.subject = ended.subject "
            "WHERE ended.id = ? AND waiting.state = 'pending'",
            (job_id,),
        )
        return [int(r["id"]) for r in rows]

    def report(self, job_id: int, progress: float, detail: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET progress = ?, detail = ? WHERE id = ?", (progress, detail, job_id))

    def warn(self, job_id: int, warning: str) -> None:
        """Add something that the user should know, although the job goes on."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET warnings = json_insert(warnings, '$[#]', ?) WHERE id = ?", (warning, job_id))

    def finish(self, job_id: int, owner: str, error: str | None = None, result: dict[str, Any] | None = None) -> None:
        """End a job, unless it was taken from this owner meanwhile."""
        state, progress = ("failed", "progress") if error else ("done", "1.0")
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE jobs SET state = ?, error = ?, result = ?, finished = ?, progress = {progress} "
                "WHERE id = ? AND owner = ? AND state = 'running'",
                (state, error, json.dumps(result), time.time(), job_id, owner),
            )
            connection.execute("DELETE FROM jobs WHERE id <= ? AND state NOT IN ('pending', 'running')", (job_id - KEPT_JOBS,))

    def record_failure(self, kind: str, project: str, task: int | None, error: str) -> None:
        """Show under /jobs what went wrong outside of a job; the same thing again only moves its time."""
        now = time.time()
        with suppress(StorageFull), self._database.transaction() as connection:  # it is in the log all the same
            again = connection.execute(
                "UPDATE jobs SET finished = ? WHERE kind = ? AND project = ? AND task IS ? AND error = ? AND subject = ''",
                (now, kind, project, task, error),
            )
            if again.rowcount:
                return
            connection.execute(
                "INSERT INTO jobs (kind, project, task, subject, payload, state, error, created, started, finished) "
                "VALUES (?, ?, ?, '', '{}', 'failed', ?, ?, ?, ?)",
                (kind, project, task, error, now, now, now),
            )

    def postpone(self, job: Job, owner: str, reason: str) -> None:
        """Have a job that cannot be done now done later, or by the same one that waits already; after a day it ends as failed.
        ``reason`` is shown until then."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT retries, created FROM jobs WHERE id = ? AND owner = ? AND state = 'running'", (job.id, owner)
            ).fetchone()
            if row is None:
                return
            if time.time() - row["created"] > GIVE_UP_SECONDS:
                self._end(connection, job.id, reason)
                return
            seconds = min(FIRST_RETRY_SECONDS * 2 ** row["retries"], LONGEST_RETRY_SECONDS)
            waits = connection.execute(
                "UPDATE OR IGNORE jobs SET state = 'pending', owner = NULL, attempts = attempts - 1, retries = retries + 1, "
                "not_before = ?, detail = ? WHERE id = ?",
                (time.time() + seconds, f"is tried again every now and then: {reason}", job.id),
            )
            if not waits.rowcount:
                self._end(connection, job.id, reason, "superseded")

    def revive(self, is_alive: Callable[[str], bool]) -> None:
        """Make jobs of dead workers pending again; if the same work waits already, the dead one ends as superseded by it.

        is_alive: whether an owner of jobs still works.
        """
        if not any(not is_alive(owner) for owner in self.owners()):
            return
        with self._database.transaction() as connection:
            running = connection.execute("SELECT id, owner, attempts FROM jobs WHERE state = 'running'").fetchall()
            for row in (r for r in running if not is_alive(r["owner"])):
                if row["attempts"] >= MAX_ATTEMPTS:
                    self._end(connection, row["id"], f"its worker died {row['attempts']} times; see the worker's log")
                    continue
                again = connection.execute(
                    "UPDATE OR IGNORE jobs SET state = 'pending', owner = NULL WHERE id = ?", (row["id"],)
                )
                if not again.rowcount:
                    self._end(connection, row["id"], "its worker died", "superseded")

    def owners(self) -> list[str]:
        """Workers that have a job."""
        return [r["owner"] for r in self._database.read("SELECT DISTINCT owner FROM jobs WHERE state = 'running'")]

    def _end(self, connection: Any, job_id: int, error: str, state: str = "failed") -> None:
        sql = "UPDATE jobs SET state = ?, error = ?, finished = ? WHERE id = ?"
        connection.execute(sql, (state, error, time.time(), job_id))

    def due(self) -> list[tuple[int, str]]:
        """(id, kind) of jobs that could be done now."""
        rows = self._database.read(
            "SELECT id, kind FROM jobs WHERE state = 'pending' AND not_before <= ? ORDER BY id", (time.time(),)
        )
        return [(r["id"], r["kind"]) for r in rows]

    def outcomes(self, job_ids: list[int]) -> dict[int, tuple[str, dict[str, Any]]]:
        """State and result of each job; one that could not be done and is tried again later is "postponed"."""
        marks = ",".join("?" * len(job_ids))
        rows = self._database.read(
            "SELECT id, result, CASE WHEN state = 'pending' AND not_before > ? THEN 'postponed' ELSE state END AS state "
            f"FROM jobs WHERE id IN ({marks})",
            (time.time(), *job_ids),
        )
        return {r["id"]: (r["state"], json.loads(r["result"] or "null") or {}) for r in rows}

    def counts(self) -> dict[tuple[str, str], int]:
        """(kind, state) -> number of jobs."""
        rows = self._database.read("SELECT kind, state, count(*) AS n FROM jobs GROUP BY kind, state")
        return {(r["kind"], r["state"]): r["n"] for r in rows}

    def overview(self, limit: int = 100) -> dict[str, Any]:
        """What /jobs answers: the newest ``limit`` jobs, all that are not finished among them, times as UTC text."""
        rows = self._database.read("SELECT * FROM jobs ORDER BY state NOT IN ('running', 'pending'), id DESC LIMIT ?", (limit,))
        counts = self.counts()
        total = {s: sum(n for (_, state), n in counts.items() if state == s) for s in ("pending", "running")}
        return {**total, "jobs": [_shown(row) for row in rows]}


def _shown(row: Any) -> dict[str, Any]:
    names = ("id", "kind", "project", "task", "state", "progress", "detail", "error", "attempts")
    times = {name: _utc(row[name]) for name in ("created", "started", "finished")}
    return {**{n: row[n] for n in names}, **times, "warnings": json.loads(row["warnings"])}


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
