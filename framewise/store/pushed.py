"""Predictions sent, or about to be sent, to Label Studio, and the last versions reported to it."""

import time
from dataclasses import dataclass
from typing import Any

from framewise.store.database import Database

SCORED = "scored"  # predicted, not sent
AWAITED = "awaited"  # waits for the extraction of its features
PUSHED = "pushed"
LEFT_OUT = "left out"  # cannot be predicted, or is no longer wanted
NEWEST_VERSIONS = 50  # Label Studio never has predictions of more versions at once, if earlier ones are removed


@dataclass(frozen=True)
class Arriving:
    """State of a task's prediction. ``round``: id of the job that sends it. ``score``: None if it was not computed."""

    round: int
    version: str
    state: str
    score: float | None = None


class PushedPredictions:
    """Rounds of predictions. A round is a job's id, so a restarted job continues where it stopped."""

    def __init__(self, database: Database):
        self._database = database

    def remember_version(self, project: str, version: str) -> None:
        """Remember a model version reported to Label Studio: predictions of this name are ours. Writes nothing if known."""
        known = "SELECT 1 FROM told_versions WHERE project = ? AND version = ?"
        if self._database.read(known, (project, version)):
            return
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO told_versions VALUES (?, ?, ?)", (project, version, time.time()))
            newest = "SELECT rowid FROM told_versions WHERE project = ? ORDER BY rowid DESC LIMIT ?"
            connection.execute(
                f"DELETE FROM told_versions WHERE project = ? AND rowid NOT IN ({newest})", (project, project, NEWEST_VERSIONS)
            )

    def versions(self, project: str) -> list[str]:
        """The newest model versions reported to Label Studio, latest first."""
        rows = self._database.read(
            "SELECT version FROM told_versions WHERE project = ? ORDER BY rowid DESC LIMIT ?", (project, NEWEST_VERSIONS)
        )
        return [row["version"] for row in rows]

    def begin(self, project: str, round: int, version: str) -> dict[int, Arriving]:
        """State of a round, by task; a restarted round continues from it. Other rounds of the project are dropped."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM arriving_predictions WHERE project = ? AND (round != ? OR version != ?)", (project, round, version)
            )
        rows = self._database.read("SELECT * FROM arriving_predictions WHERE project = ?", (project,))
        return {row["task"]: _arriving(row) for row in rows}

    def put(self, project: str, task: int, arriving: Arriving) -> None:
        """Store the state of a task's prediction."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO arriving_predictions (project, task, round, version, state, score) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (project, task, arriving.round, arriving.version, arriving.state, arriving.score),
            )

    def awaited(self, project: str, task: int) -> Arriving | None:
        """A task's prediction that a round waits for; None if none does."""
        rows = self._database.read(
            "SELECT * FROM arriving_predictions WHERE project = ? AND task = ? AND state = ?", (project, task, AWAITED)
        )
        return _arriving(rows[0]) if rows else None


def _arriving(row: Any) -> Arriving:
    return Arriving(row["round"], row["version"], row["state"], row["score"])
