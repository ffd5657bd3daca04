"""States of jobs: what /jobs shows, and what is restarted when a worker dies."""

import json
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from framewise.core.errors import ProjectForgotten, RequestError, StorageFull
from framewise.store.database import Database
from framewise.store.job_warnings import lines_of, warnings_from, warnings_with
from framewise.store.projects import is_forgotten

# Titles of job kinds for users: on pages, in log lines, and at /jobs beside the kind.
TITLES = {
    "extract": "extracting",
    "train": "training",
    "refine": "validating",
    "import": "importing",
    "warm": "extracting ahead",
    "push": "sending a prediction",
    "refresh": "sending predictions",
    "predict": "predicting",
    "request": "refused request",
}
STATE_TITLES = {"pending": "waiting", "superseded": "replaced"}  # the other states are plain words already
MAX_ATTEMPTS = 5  # a job that repeatedly kills its worker ends as failed
# Jobs that cannot run now, because Label Studio is down or a disk is full, are retried at growing intervals.
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0
GIVE_UP_RETRIES = 24 * 60  # a day of them; they are counted because the clock may be set
KEPT_JOBS = 10_000  # older finished ones are deleted
KEPT_FAILURES = 1_000  # of those outside of jobs
OUTSIDE = "subject = '' AND error IS NOT NULL"  # rows that report a failure outside of any job
ONE_FAILURE = f"(kind, project, ifnull(task, -1), error) WHERE {OUTSIDE}"  # as the index in database.py has it
# A job that is due later is "scheduled". A job to be retried is pending, unless it only talks to Label Studio: while that is
# down, whoever waits for framewise's own work should not wait for it. Parameter: the current time.
SHOWN_STATE = (
    "CASE WHEN state = 'pending' AND not_before > ? AND (retries = 0 OR kind IN ('import', 'push', 'refresh')) "
    "THEN 'scheduled' ELSE state END"
)

# True of a job that was given a time to wait for before the clock was set back: it would wait for as long as that was.
# Parameter: the current time.
CLOCK_SET_BACK = f"CASE retries WHEN 0 THEN created ELSE not_before - {LONGEST_RETRY_SECONDS} END > ?"

# A training waits for an import of its project for so long, and not for one that hangs or is to be retried.
IMPORT_SECONDS = 10
# Conditions under which a pending job must wait: another running job of the same subject; for a training, an import; for
# background jobs, another one running, so that a worker keeps a thread free. Parameter: the current time.
GOES_FIRST = (
    "SELECT 1 FROM jobs AS other WHERE other.project = jobs.project AND other.state = 'running' "
    "AND other.kind = jobs.kind AND other.subject = jobs.subject "
    "OR jobs.kind = 'train' AND other.kind = 'import' AND other.project = jobs.project "
    f"AND max(other.created, jobs.created) > strftime('%s', 'now') - {IMPORT_SECONDS} "
    "AND (other.state = 'running' OR other.state = 'pending' AND other.retries = 0 AND other.not_before <= ?) "
    "OR jobs.kind IN ('warm', 'refresh') AND other.kind = jobs.kind AND other.state = 'running'"
)
# Predictions to be pushed whose job (in the table jobs, j) has ended.
DUE_PROMISES = "promised_predictions p JOIN jobs j ON j.id = p.job WHERE j.state NOT IN ('pending', 'running')"


@dataclass(frozen=True)
class Job:
    """A claimed job. Two pending jobs of the same kind and ``subject`` would do the same."""

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
        self,
        kind: str,
        project: str,
        subject: str,
        payload: dict[str, Any],
        task: int | None = None,
        or_running: bool = False,
        delay_seconds: float = 0.0,
    ) -> int:
        """Id of a pending job: a new one, or the one already waiting to do the same.

        or_running: a running one will do as well. Do not use it if that one may have started from an earlier state.
        delay_seconds: it is due after this time; if one already waits, the time starts again. Raises ProjectForgotten.
        """
        with self._database.transaction() as connection:
            if is_forgotten(self._database, project):
                raise ProjectForgotten(f"project {project} was forgotten")
            same, now = (kind, project, subject), time.time()
            alike = "SELECT id FROM jobs WHERE kind = ? AND project = ? AND subject = ? AND state = ?"
            found = connection.execute(alike, (*same, "running")).fetchone() if or_running else None
            if found is None:
                connection.execute(
                    "INSERT OR IGNORE INTO jobs (kind, project, subject, payload, task, state, created) "
                    "VALUES (?, ?, ?, ?, ?, 'pending', ?)",
                    (*same, json.dumps(payload), task, now),
                )
                found = connection.execute(alike, (*same, "pending")).fetchone()
                if delay_seconds:
                    later = "UPDATE jobs SET not_before = ?, created = ?, retries = 0, detail = '' WHERE id = ?"
                    connection.execute(later, (now + delay_seconds, now, found["id"]))
        return int(found["id"])

    def latest(self, kind: str, project: str, subject: str) -> tuple[int, str, float] | None:
        """(id, state, finishing time or 0) of the last job of this kind and subject."""
        rows = self._database.read(
            "SELECT id, state, finished FROM jobs WHERE kind = ? AND project = ? AND subject = ? ORDER BY id DESC LIMIT 1",
            (kind, project, subject),
        )
        return (rows[0]["id"], rows[0]["state"], rows[0]["finished"] or 0.0) if rows else None

    def unmeasured_trainings(self, project: str) -> int:
        """Number of a project's provisional versions that learned from newer annotations than its last validated one."""
        number, provisional = "json_extract(result, '$.number')", "json_extract(result, '$.provisional')"
        ended = "FROM jobs WHERE kind IN ('train', 'refine') AND project = ? AND subject = 'all' AND state = 'done'"
        rows = self._database.read(
            f"SELECT count(*) AS n {ended} AND {provisional} "
            f"AND {number} > (SELECT coalesce(max({number}), 0) {ended} AND NOT {provisional})",
            (project, project),
        )
        return int(rows[0]["n"])

    def kind(self, job_id: int) -> str | None:
        """Kind of a job; None if there is none of this id."""
        rows = self._database.read("SELECT kind FROM jobs WHERE id = ?", (job_id,))
        return str(rows[0]["kind"]) if rows else None

    def claim(self, job_id: int, owner: str) -> Job | None:
        """Claim a pending job; None if it is no longer pending, or while another does the same for an earlier state.

        Otherwise two trainings of one project could end in any order, and the older version could become the last.
        """
        with self._database.transaction() as connection:
            now = time.time()
            taken = connection.execute(
                "UPDATE jobs SET state = 'running', owner = ?, started = ?, progress = 0, detail = '', attempts = attempts + 1 "
                f"WHERE id = ? AND state = 'pending' AND (not_before <= ? OR {CLOCK_SET_BACK}) AND NOT EXISTS ({GOES_FIRST})",
                (owner, now, job_id, now, now, now),
            ).rowcount
            if not taken:
                return None
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job(row["id"], row["kind"], row["project"], row["task"], json.loads(row["payload"]))

    def begin(self, kind: str, project: str, subject: str, owner: str) -> Job:
        """Add a job, or take the waiting one, and claim it at once, so that no worker takes it. Raises RequestError if it must
        wait for another, ProjectForgotten."""
        with self._database.transaction():
            job = self.claim(self.add(kind, project, subject, {}), owner)
            if job is None:  # rolls back the new job
                raise RequestError(f"project {project}: a worker is busy with a job that goes first; see /jobs, and try again")
        return job

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
        """Report a job's progress. Raises ProjectForgotten if the job was forgotten with its project."""
        with self._database.transaction() as connection:
            told = connection.execute("UPDATE jobs SET progress = ?, detail = ? WHERE id = ?", (progress, detail, job_id))
        if not told.rowcount:
            raise ProjectForgotten(f"job {job_id} was cancelled: its project was forgotten")

    def warn(self, job_id: int, text: str, tasks: Sequence[int] = ()) -> None:
        """Add a warning for the user, on some tasks or on the whole job; the job continues."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT warnings FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is not None:  # otherwise its project was forgotten
                warnings = warnings_with(row["warnings"], text, tasks)
                connection.execute("UPDATE jobs SET warnings = ? WHERE id = ?", (warnings, job_id))

    def warnings(self, job_id: int) -> list[str]:
        """Warnings of a job, as sentences."""
        rows = self._database.read("SELECT warnings FROM jobs WHERE id = ?", (job_id,))
        return lines_of(warnings_from(rows[0]["warnings"])) if rows else []

    def finish(self, job_id: int, owner: str, error: str | None = None, result: dict[str, Any] | None = None) -> None:
        """End a job, unless another owner has taken it in the meantime."""
        state, progress = ("failed", "progress") if error else ("done", "1.0")
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE jobs SET state = ?, error = ?, result = ?, finished = ?, progress = {progress} "
                "WHERE id = ? AND owner = ? AND state = 'running'",
                (state, error, json.dumps(result), time.time(), job_id, owner),
            )
            oldest = f"SELECT id FROM jobs WHERE NOT ({OUTSIDE}) ORDER BY id DESC LIMIT 1 OFFSET {KEPT_JOBS}"
            ended = f"NOT ({OUTSIDE}) AND state NOT IN ('pending', 'running')"
            connection.execute(f"DELETE FROM jobs WHERE {ended} AND id <= ({oldest})")

    def record_failures(self, kind: str, project: str, failures: Sequence[tuple[int | None, str]]) -> None:
        """Show failures outside of a job, (task, error), at /jobs; repeating one only updates its time. The newest
        KEPT_FAILURES stay."""
        now = time.time()
        rows = [(kind, project, task, error, now, now, now) for task, error in failures]
        with suppress(StorageFull), self._database.transaction() as connection:  # the log has them anyway
            connection.executemany(
                "INSERT INTO jobs (kind, project, task, subject, payload, state, error, created, started, finished) "
                f"VALUES (?, ?, ?, '', '{{}}', 'failed', ?, ?, ?, ?) ON CONFLICT {ONE_FAILURE} "
                "DO UPDATE SET finished = excluded.finished",
                rows,
            )
            oldest = f"SELECT id FROM jobs WHERE {OUTSIDE} ORDER BY id DESC LIMIT 1 OFFSET {KEPT_FAILURES}"
            connection.execute(f"DELETE FROM jobs WHERE {OUTSIDE} AND id <= ({oldest})")

    def forget_failures(self, kind: str, beginning: str) -> None:
        """Stop showing failures outside of a job whose text begins so: what failed works now."""
        these = f"{OUTSIDE} AND kind = ? AND substr(error, 1, length(?)) = ?"
        if self._database.read(f"SELECT 1 FROM jobs WHERE {these} LIMIT 1", (kind, beginning, beginning)):
            with suppress(StorageFull), self._database.transaction() as connection:
                connection.execute(f"DELETE FROM jobs WHERE {these}", (kind, beginning, beginning))

    def record_note(self, kind: str, project: str, note: str, warning: bool = True) -> None:
        """Show a note for the user once at /jobs. warning: it reports a problem."""
        now, warnings, detail = time.time(), json.dumps([note] if warning else []), "" if warning else note
        with suppress(StorageFull), self._database.transaction() as connection:
            said = "SELECT 1 FROM jobs WHERE kind = ? AND project = ? AND warnings = ? AND detail = ? AND subject = ''"
            if connection.execute(said, (kind, project, warnings, detail)).fetchone():
                return
            connection.execute(
                "INSERT INTO jobs (kind, project, subject, payload, state, progress, warnings, detail, created, started, "
                "finished) VALUES (?, ?, '', '{}', 'done', 1.0, ?, ?, ?, ?, ?)",
                (kind, project, warnings, detail, now, now, now),
            )

    def postpone(self, job: Job, owner: str, reason: str) -> None:
        """Postpone a job that cannot run now, or leave it to one that already waits to do the same; after a day it fails.
        ``reason`` is shown until then."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT retries FROM jobs WHERE id = ? AND owner = ? AND state = 'running'", (job.id, owner)
            ).fetchone()
            if row is None:
                return
            if row["retries"] >= GIVE_UP_RETRIES:
                self._end(connection, job.id, reason)
                return
            seconds = min(FIRST_RETRY_SECONDS * 2 ** min(row["retries"], 10), LONGEST_RETRY_SECONDS)
            waits = connection.execute(
                "UPDATE OR IGNORE jobs SET state = 'pending', owner = NULL, attempts = attempts - 1, retries = retries + 1, "
                "not_before = ?, detail = ? WHERE id = ?",
                (time.time() + seconds, f"will be retried: {reason}", job.id),
            )
            if not waits.rowcount:
                self._end(connection, job.id, reason, "superseded")

    def give_way(self, job: Job, owner: str) -> None:
        """Queue a job again behind those that wait. If the same work already waits, that job does it."""
        with self._database.transaction() as connection:
            waits = connection.execute(
                "UPDATE OR IGNORE jobs SET state = 'pending', owner = NULL, attempts = attempts - 1, not_before = 0 "
                "WHERE id = ? AND owner = ? AND state = 'running'",
                (job.id, owner),
            )
            if not waits.rowcount:
                ended = "UPDATE jobs SET state = 'superseded', finished = ? WHERE id = ? AND owner = ? AND state = 'running'"
                connection.execute(ended, (time.time(), job.id, owner))

    def others_wait(self, but: Collection[str], seconds: float) -> bool:
        """True if a job of any other kind has been ready for this long without being started: every worker is busy."""
        since, marks = time.time() - seconds, ",".join("?" * len(but))
        rows = self._database.read(
            f"SELECT 1 FROM jobs WHERE state = 'pending' AND kind NOT IN ({marks}) AND max(created, not_before) < ? "
            f"AND NOT EXISTS ({GOES_FIRST}) LIMIT 1",
            (*but, since, time.time()),
        )
        return bool(rows)

    def revive(self, is_alive: Callable[[str], bool]) -> None:
        """Make jobs of dead workers pending again; if the same work already waits, the dead worker's job ends as superseded.

        is_alive: tells whether an owner of jobs still runs.
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
        """(id, kind) of jobs that could run now."""
        rows = self._database.read(
            f"SELECT id, kind FROM jobs WHERE state = 'pending' AND (not_before <= ? OR {CLOCK_SET_BACK}) ORDER BY id",
            (now := time.time(), now),
        )
        return [(r["id"], r["kind"]) for r in rows]

    def waiting(self, kind: str, seconds: float) -> set[int]:
        """Pending jobs of a kind that were not begun for so long, or since the clock was set back."""
        rows = self._database.read(
            "SELECT id FROM jobs WHERE state = 'pending' AND kind = ? AND abs(? - max(created, ifnull(started, 0))) > ?",
            (kind, time.time(), seconds),
        )
        return {int(r["id"]) for r in rows}

    def outcomes(self, job_ids: list[int]) -> dict[int, tuple[str, dict[str, Any]]]:
        """State and result of each job; "postponed" if it could not be done and is retried later."""
        marks = ",".join("?" * len(job_ids))
        rows = self._database.read(
            "SELECT id, result, CASE WHEN state = 'pending' AND not_before > ? THEN 'postponed' ELSE state END AS state "
            f"FROM jobs WHERE id IN ({marks})",
            (time.time(), *job_ids),
        )
        return {r["id"]: (r["state"], json.loads(r["result"] or "null") or {}) for r in rows}

    def counts(self) -> dict[tuple[str, str], int]:
        """(kind, state) -> number of jobs. A job that is not due yet is "scheduled": see SHOWN_STATE."""
        rows = self._database.read(
            f"SELECT kind, {SHOWN_STATE} AS shown_state, count(*) AS n FROM jobs GROUP BY kind, shown_state", (time.time(),)
        )
        return {(r["kind"], r["shown_state"]): r["n"] for r in rows}

    def overview(self, limit: int = 100, project: str | None = None) -> dict[str, Any]:
        """Answer of /jobs: the newest ``limit`` jobs, of a project or of all, unfinished ones first, times as UTC text; and the
        total number."""
        rows = self._database.read(
            f"SELECT *, {SHOWN_STATE} AS shown_state FROM jobs WHERE project = coalesce(?, project) "
            "ORDER BY state NOT IN ('running', 'pending'), id DESC LIMIT ?",
            (time.time(), project, limit),
        )
        return {**self._unfinished(), "jobs": [_shown(row) for row in rows]}

    def _unfinished(self) -> dict[str, int]:
        """Numbers of jobs that are pending, running and scheduled. A promised prediction whose job is about to be created is
        pending. Everything is read at one instant; otherwise nothing would seem to be left between the end of one job and
        the next."""
        rows = self._database.read(
            f"SELECT {SHOWN_STATE} AS shown_state, count(*) AS n FROM jobs GROUP BY shown_state "
            f"UNION ALL SELECT 'pending', count(*) FROM {DUE_PROMISES}",
            (time.time(),),
        )
        states = ("pending", "running", "scheduled")
        return {state: sum(row["n"] for row in rows if row["shown_state"] == state) for state in states}


def title_of(kind: str) -> str:
    """Title of a job kind for users."""
    return TITLES.get(kind, kind)


def state_title_of(state: str) -> str:
    """Title of a job state for users."""
    return STATE_TITLES.get(state, state)


def _shown(row: Any) -> dict[str, Any]:
    names = ("project", "task", "state", "progress", "detail", "error", "attempts")
    times = {name: _utc(row[name]) for name in ("created", "started", "finished")}
    shown = {"id": row["id"], "kind": row["kind"], "title": title_of(row["kind"])}
    return {
        **shown,
        **{n: row[n] for n in names},
        "state": row["shown_state"],
        **times,
        "warnings": lines_of(warnings_from(row["warnings"])),
    }


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
