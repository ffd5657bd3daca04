"""Suggestions sent to an annotator's editor, and those that the annotator deleted."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from framewise.core.errors import StorageBusy, StorageFull
from framewise.core.intervals import Span
from framewise.store.database import Database
from framewise.store.projects import is_forgotten

SESSION_SECONDS = 1800.0  # after a pause this long, suggestions that are gone were not deleted: the page was closed
KEPT = 10_000  # rows


@dataclass(frozen=True)
class Suggested:
    """Suggestions of a label in a task. sent: rows of each, by region id. deleted: rows of those that the annotator deleted."""

    sent: Mapping[str, Span] = field(default_factory=dict)
    deleted: Sequence[Span] = ()


class Suggestions:
    """Table with one row per task, control and label."""

    def __init__(self, database: Database):
        self._database = database

    def of(self, project: str, task: int, control: str, label: str) -> Suggested:
        """Suggestions sent in the same session."""
        rows = self._database.read(
            "SELECT * FROM suggestions WHERE project = ? AND task = ? AND control = ? AND label = ? AND at > ?",
            (project, task, control, label, time.time() - SESSION_SECONDS),
        )
        if not rows:
            return Suggested()
        sent = {region: (index, stop) for region, (index, stop) in json.loads(rows[0]["sent"]).items()}
        return Suggested(sent, [(index, stop) for index, stop in json.loads(rows[0]["deleted"])])

    def put(self, project: str, task: int, control: str, label: str, suggested: Suggested) -> None:
        """Store the suggestions of a label, and drop the oldest rows of all projects; nothing if the disk is full."""
        if is_forgotten(self._database, project):
            return
        row = (json.dumps(suggested.sent), json.dumps(suggested.deleted), time.time())
        with suppress(StorageFull, StorageBusy), self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO suggestions VALUES (?, ?, ?, ?, ?, ?, ?)", (project, task, control, label, *row)
            )
            connection.execute(
                "DELETE FROM suggestions WHERE rowid IN (SELECT rowid FROM suggestions ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (KEPT,),
            )

    def forget_task(self, project: str, task: int) -> None:
        """Forget the suggestions of a task, because its annotation was submitted."""
        if self._database.read("SELECT 1 FROM suggestions WHERE project = ? AND task = ?", (project, task)):
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM suggestions WHERE project = ? AND task = ?", (project, task))
