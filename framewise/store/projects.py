"""Known projects: finding one by the names that people use, and forgetting one."""

import sqlite3
import time

from framewise.core.errors import NotKnown
from framewise.store.database import Database


class KnownProjects:
    """Projects that Label Studio has sent. A key is "<id>.<unix time of creation>"."""

    def __init__(self, database: Database):
        self._database = database

    def titles(self) -> dict[str, str]:
        """Key -> title, sorted by Label Studio's number."""
        rows = self._database.read("SELECT key, title FROM projects ORDER BY label_studio_id, key")
        return {row["key"]: row["title"] for row in rows}

    def find(self, name: str) -> str:
        """Key of a project, given its key, or Label Studio's number if only one project has it. Raises NotKnown."""
        keys = list(self.titles())
        if name in keys:
            return name
        meant = [key for key in keys if key.split(".")[0] == name]
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise NotKnown(f"project {name!r}: several projects had this number; choose one of: {', '.join(meant)}")
        there = f"known are {', '.join(keys)}" if keys else "none is"
        raise NotKnown(f"project {name!r} is not known here; {there}")

    def rows(self, project: str) -> dict[str, int]:
        """Stored rows of a project: table -> number of rows."""
        with self._database.transaction() as connection:
            counts = {
                table: int(connection.execute(f"SELECT count(*) FROM {table} WHERE {mine}", (project,)).fetchone()[0])
                for table, mine in _tables(connection)
            }
        return {table: number for table, number in counts.items() if number}

    def forget(self, project: str) -> None:
        """Delete all rows of a project. Its running jobs end, and can store nothing for it any more."""
        with self._database.transaction() as connection:
            for table, mine in _tables(connection):
                connection.execute(f"DELETE FROM {table} WHERE {mine}", (project,))
            connection.execute("INSERT OR REPLACE INTO forgotten_projects VALUES (?, ?)", (project, time.time()))


def is_forgotten(database: Database, project: str) -> bool:
    """True if a project was forgotten, and Label Studio has not sent it since."""
    return bool(database.read("SELECT 1 FROM forgotten_projects WHERE project = ?", (project,)))


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """(table, condition for a project's rows) of all tables; those that refer to a project only through its jobs come first."""
    found = connection.execute(
        "SELECT tables.name AS name, group_concat(columns.name) AS columns FROM sqlite_master AS tables "
        "JOIN pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table' AND tables.name <> 'forgotten_projects' GROUP BY tables.name"
    )
    columns = {row["name"]: row["columns"].split(",") for row in found}
    own = [(table, "project = ?") for table, names in columns.items() if "project" in names]
    job = "job IN (SELECT id FROM jobs WHERE project = ?)"
    of_jobs = [(table, job) for table, names in columns.items() if "job" in names and "project" not in names]
    return [*of_jobs, *own, ("projects", "key = ?")]
