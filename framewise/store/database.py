"""The one SQLite database that web processes and workers share."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from framewise.core.errors import SettingsError, StorageBusy, StorageDamaged, StorageFull

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS projects (
    key TEXT PRIMARY KEY, label_studio_id INTEGER NOT NULL, title TEXT NOT NULL DEFAULT '',
    label_config TEXT NOT NULL DEFAULT '', hostname TEXT NOT NULL DEFAULT '', trainings INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, received REAL NOT NULL, project TEXT NOT NULL, action TEXT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    project TEXT NOT NULL, id INTEGER NOT NULL, data TEXT NOT NULL DEFAULT '{}', deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project, id));
CREATE TABLE IF NOT EXISTS annotations (
    project TEXT NOT NULL, id INTEGER NOT NULL, task INTEGER NOT NULL DEFAULT 0, result TEXT NOT NULL DEFAULT '[]',
    was_cancelled INTEGER NOT NULL DEFAULT 0, ground_truth INTEGER NOT NULL DEFAULT 0, updated_at TEXT NOT NULL DEFAULT '',
    received REAL NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (project, id));
CREATE TABLE IF NOT EXISTS current_versions (
    project TEXT NOT NULL, control TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY (project, control));
CREATE TABLE IF NOT EXISTS promised_predictions (
    job INTEGER NOT NULL, task INTEGER NOT NULL, PRIMARY KEY (job, task));
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, project TEXT NOT NULL, task INTEGER, subject TEXT NOT NULL,
    payload TEXT NOT NULL, state TEXT NOT NULL, progress REAL NOT NULL DEFAULT 0, detail TEXT NOT NULL DEFAULT '',
    error TEXT, warnings TEXT NOT NULL DEFAULT '[]', result TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, started REAL, finished REAL, owner TEXT, heartbeat REAL);
CREATE UNIQUE INDEX IF NOT EXISTS one_pending_job ON jobs (kind, project, subject) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state);
"""
# Changes since the first schema, in order; a database's user_version is the number of changes applied.
MIGRATIONS = (
    """
    ALTER TABLE jobs DROP COLUMN heartbeat;
    ALTER TABLE jobs ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN not_before REAL NOT NULL DEFAULT 0;
    CREATE INDEX jobs_by_subject ON jobs (kind, project, subject, id);
    """,
    """
    ALTER TABLE current_versions ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE forgotten_projects (project TEXT PRIMARY KEY, forgotten REAL NOT NULL);
    CREATE TABLE told_versions (
        project TEXT NOT NULL, version TEXT NOT NULL, told REAL NOT NULL, PRIMARY KEY (project, version));
    CREATE TABLE arriving_predictions (
        project TEXT NOT NULL, task INTEGER NOT NULL, round INTEGER NOT NULL, version TEXT NOT NULL, score REAL,
        state TEXT NOT NULL, PRIMARY KEY (project, task));
    ALTER TABLE projects ADD COLUMN told_at TEXT NOT NULL DEFAULT '';
    ALTER TABLE projects ADD COLUMN imported INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE tasks ADD COLUMN updated_at TEXT NOT NULL DEFAULT '';
    ALTER TABLE tasks ADD COLUMN received REAL NOT NULL DEFAULT 0;
    ALTER TABLE tasks ADD COLUMN warm INTEGER;
    CREATE INDEX tasks_to_warm ON tasks (project, id) WHERE warm IS NOT NULL;
    CREATE TABLE label_sets (
        id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, since TEXT NOT NULL, labels TEXT NOT NULL);
    ALTER TABLE annotations ADD COLUMN label_set INTEGER;
    CREATE INDEX annotations_there ON annotations (project, task) WHERE NOT deleted;
    CREATE INDEX tasks_gone ON tasks (project, id) WHERE deleted;
    """,
    """
    CREATE TABLE made_predictions (
        project TEXT NOT NULL, task INTEGER NOT NULL, version TEXT NOT NULL, score REAL NOT NULL, frames INTEGER NOT NULL,
        result TEXT NOT NULL, PRIMARY KEY (project, task));
    CREATE INDEX made_by_score ON made_predictions (project, score, task);
    """,
    # Read only by pages, which show each task again after its next prediction.
    """
    DROP TABLE made_predictions;
    CREATE TABLE made_predictions (
        project TEXT NOT NULL, task INTEGER NOT NULL, version TEXT NOT NULL, score REAL NOT NULL, intervals TEXT NOT NULL,
        PRIMARY KEY (project, task));
    CREATE INDEX made_by_score ON made_predictions (project, score, task);
    """,
    # NULL: unknown, for labeling configs stored by earlier versions.
    """
    ALTER TABLE label_sets ADD COLUMN frame_rates TEXT;
    DELETE FROM jobs WHERE subject = '' AND error IS NOT NULL AND id NOT IN (
        SELECT max(id) FROM jobs WHERE subject = '' AND error IS NOT NULL GROUP BY kind, project, ifnull(task, -1), error);
    CREATE UNIQUE INDEX one_failure ON jobs (kind, project, ifnull(task, -1), error) WHERE subject = '' AND error IS NOT NULL;
    CREATE TABLE media_facts (
        project TEXT NOT NULL, task INTEGER NOT NULL, medium TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL,
        PRIMARY KEY (project, task, medium));
    """,
    """
    CREATE TABLE suggestions (
        project TEXT NOT NULL, task INTEGER NOT NULL, control TEXT NOT NULL, label TEXT NOT NULL, sent TEXT NOT NULL,
        deleted TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (project, task, control, label));
    """,
)
DATABASE_NAME = "framewise.sqlite"
BUSY_TIMEOUT_SECONDS = 30.0
RESTORE = "stop framewise and put a back-up in its place, see docs/operations.md, Back-up and restore"
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# SQLITE_FULL, and the errors of the shared memory file or the log beside the database on a full disk.
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN)


class Database:
    """Connections to one SQLite file, one per thread.

    journal: "wal", in which readers and a writer do not wait for each other; or "delete", which does without the shared memory
    of "wal", for machines that share the file over a network. All processes must use the same.
    """

    def __init__(self, path: Path, journal: str = "wal"):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._journal = path, journal
        self._inode: int | None = None  # of the file, when it was opened first
        self.damage: str | None = None  # what was found to be wrong with the file
        self._local = threading.local()
        self._make_tables()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed at the end, rolled back on an exception. Rows are read by column name. Raises
        StorageFull.

        Inside another transaction of this thread, it becomes part of that one.
        """
        with self._room():
            connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        self._check_there()
        with self._room():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                if connection.in_transaction:  # on a full disk, SQLite itself rolls back
                    connection.rollback()
                raise

    def read(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises StorageFull if the disk has no room for SQLite's own files."""
        with self._room():
            return self._connection().execute(sql, parameters).fetchall()

    def check(self) -> None:
        """Raises StorageDamaged if the file cannot be read, or could not be read once."""
        self._check_there()
        # By a connection of its own: others have pages in memory.
        with self._room(), closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if "projects" not in tables:
            self.damage = f"{self._path}: the database is empty; {RESTORE}"
        if self.damage:
            raise StorageDamaged(self.damage)

    def _check_there(self) -> None:
        """Raises StorageFull if the file was removed or replaced: SQLite would continue writing to the old, unreachable
        file."""
        try:
            found = self._path.stat().st_ino
        except FileNotFoundError:
            found = None
        if found != self._inode:
            raise StorageFull(
                f"{self._path.parent} (DATA_DIR): the database was removed or replaced while framewise runs; restart framewise"
            )

    def problems(self) -> list[str]:
        """Problems that SQLite finds in the whole file; it may take a while."""
        try:
            found = [str(row[0]) for row in self.read("PRAGMA integrity_check")]
        except StorageDamaged as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def _make_tables(self) -> None:
        with self.transaction() as connection:
            done = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if done > len(MIGRATIONS):
                raise SettingsError(
                    f"{self._path} was written by a newer framewise (format {done}, this one reads up to {len(MIGRATIONS)}); "
                    "install that version, or restore the back-up made before the upgrade"
                )
            for script in (SCHEMA, *MIGRATIONS[done:]):
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode in DAMAGED:
                self.damage = f"{self._path}: the database is damaged ({error}); {RESTORE}"
                raise StorageDamaged(self.damage) from None
            if not isinstance(error, sqlite3.OperationalError):
                raise
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StorageBusy(f"{self._path}: locked by another process for {BUSY_TIMEOUT_SECONDS:g} s ({error})") from None
            if error.sqlite_errorcode not in NO_ROOM:
                raise
            raise StorageFull(
                f"{self._path.parent} (DATA_DIR): no room on the disk for the database ({error}); make room, and "
                "waiting jobs continue"
            ) from None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._inode is not None:
                self._check_there()  # else it would be made anew, or its folder is gone
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != self._journal:
                self._change_journal(connection)
            connection.execute("PRAGMA synchronous = FULL")  # what was answered with "recorded" survives a power cut
            self._local.connection = connection
            if self._inode is None:
                self._inode = self._path.stat().st_ino
        return connection

    def _change_journal(self, connection: sqlite3.Connection) -> None:
        """Raise SettingsError while others have the database open in another mode."""
        try:
            connection.execute(f"PRAGMA journal_mode = {self._journal}").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
        found = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if found != self._journal:
            raise SettingsError(
                f"{self._path}: a process has it open with journal mode {found}, and DATABASE_JOURNAL is {self._journal}; stop "
                "all processes, and give all of them the same setting"
            )


def set_damaged_aside(path: Path) -> None:
    """Rename a damaged SQLite file whose content is not needed: it is created again when it is opened."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # busy, or no room
            return
        sound = False
    if not sound:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        path.rename(aside)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        logger.error("%s is damaged and was renamed to %s; a new one is made", path, aside.name)
