"""Jobs and how far they are: what /jobs shows, and what is done again when a worker dies."""

import json
import time
from dataclasses import dataclass
from typing import Any

from framewise.store.database import Database

# A worker tells every few seconds that it lives; after this long without a word its jobs are done again by another.
STALE_SECONDS = 12.0
MAX_ATTEMPTS = 5  # a job that kills its worker again and again ends as failed


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

    def add(self, kind: str, project: str, subject: str, payload: dict[str, Any], task: int | None = None) -> int:
        """Id of a pending job: a new one, or the one that waits to do just that."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO jobs (kind, project, subject, payload, task, state, created) "
                "VALUES (?, ?, ?, ?, ?, 'pending', ?)",
                (kind, project, subject, json.dumps(payload), task, time.time()),
            )
            row = connection.execute(
                "SELECT id FROM jobs WHERE kind = ? AND project = ? AND subject = ? AND state = 'pending'",
                (kind, project, subject),
            ).fetchone()
        return int(row["id"])

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
                "UPDATE jobs SET state = 'running', owner = ?, heartbeat = ?, started = ?, progress = 0, "
                "attempts = attempts + 1 WHERE id = ? AND state = 'pending' AND NOT EXISTS (SELECT 1 FROM jobs AS other "
                "WHERE other.state = 'running' AND other.kind = jobs.kind AND other.project = jobs.project "
                "AND other.subject = jobs.subject)",
                (owner, now, now, job_id),
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

    def record_failure(self, kind: str, project: str, task: int | None, error: str) -> None:
        """Show under /jobs what went wrong outside of a job; the same thing again only moves its time."""
        now = time.time()
        with self._database.transaction() as connection:
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

    def heartbeat(self, owner: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET heartbeat = ? WHERE owner = ? AND state = 'running'", (time.time(), owner))

    def revive(self) -> None:
        """Make jobs of dead workers pending again; if the same work waits already, the dead one only ends."""
        with self._database.transaction() as connection:
            dead = connection.execute(
                "SELECT id, attempts FROM jobs WHERE state = 'running' AND heartbeat < ?", (time.time() - STALE_SECONDS,)
            ).fetchall()
            for row in dead:
                if row["attempts"] >= MAX_ATTEMPTS:
                    error = f"its worker died {row['attempts']} times; see the worker's log"
                else:
                    error = "its worker died; the same job waits again"
                    again = connection.execute(
                        "UPDATE OR IGNORE jobs SET state = 'pending', owner = NULL WHERE id = ?", (row["id"],)
                    )
                    if again.rowcount:
                        continue
                connection.execute(
                    "UPDATE jobs SET state = 'failed', error = ?, finished = ? WHERE id = ?", (error, time.time(), row["id"])
                )

    def pending(self) -> list[int]:
        return [int(r["id"]) for r in self._database.read("SELECT id FROM jobs WHERE state = 'pending' ORDER BY id")]

    def outcomes(self, job_ids: list[int]) -> dict[int, tuple[str, dict[str, Any]]]:
        """State and result of each job."""
        marks = ",".join("?" * len(job_ids))
        rows = self._database.read(f"SELECT id, state, result FROM jobs WHERE id IN ({marks})", tuple(job_ids))
        return {r["id"]: (r["state"], json.loads(r["result"] or "null") or {}) for r in rows}

    def kind_of(self, job_id: int) -> str | None:
        rows = self._database.read("SELECT kind FROM jobs WHERE id = ?", (job_id,))
        return rows[0]["kind"] if rows else None

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
