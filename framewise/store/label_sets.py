"""Labels and frame rates of successive labeling configs: the current ones, and those at the time of an annotation."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from framewise.core.label_history import LabelSet, names_now, renamed_result
from framewise.labeling_config import read_frame_rates, read_label_tags
from framewise.store.database import Database

# In the place of a time: of a labeling config that was told without one, and is newer than all that were told before.
NEWEST = "~"

FrameRates = dict[str, str | None]  # from_name -> frameRate of the video, as it is written; None where it is not


class LabelSets:
    """Label sets of projects, in the order in which they were in force."""

    def __init__(self, database: Database):
        self._database = database

    def put(self, project: str, label_config: str, since: str = "") -> int | None:
        """Number of the label set of a labeling config; None if it cannot be read as XML.

        since: when Label Studio saved the project with it, as text that sorts by time; "" if that was not told.
        """
        tags = read_label_tags(label_config)
        if tags is None:
            return None
        labels = json.dumps(tags, sort_keys=True)
        rates = json.dumps(read_frame_rates(label_config), sort_keys=True)
        with self._database.transaction():
            rows = self._rows(project)
            if not since:
                is_same = bool(rows) and (rows[-1]["labels"], rows[-1]["frame_rates"]) == (labels, rates)
                return rows[-1]["id"] if is_same else self._insert(project, NEWEST, labels, rates)
            if all(row["since"] < since or row["since"] == NEWEST for row in rows):
                self._date(project, since)  # those without a time were told before this one
            found = [(row["id"], row["since"], row["labels"], row["frame_rates"]) for row in self._rows(project)]
            same = [number for number, *said in found if said == [since, labels, rates]]
            return int(same[-1]) if same else self._insert(project, since, labels, rates)

    def begin(self, project: str, label_config: str) -> None:
        """Note the labeling config that was in force when what is missing of it here was not yet kept."""
        rows = self._rows(project)
        if not rows:
            self.put(project, label_config)
        elif rows[-1]["frame_rates"] is None:
            rates = json.dumps(read_frame_rates(label_config), sort_keys=True)
            with self._database.transaction() as connection:
                connection.execute("UPDATE label_sets SET frame_rates = ? WHERE id = ?", (rates, rows[-1]["id"]))

    def number(self, project: str, moment: str = "") -> int | None:
        """Number of the label set that was in force at a time; of the first for an earlier one, of the last for ""."""
        rows = self._rows(project)
        if not moment or not rows:
            return rows[-1]["id"] if rows else None
        return int(max((r for r in rows if r["since"] <= moment), key=rows.index, default=rows[0])["id"])

    def read(self, project: str) -> "History":
        """All label sets of a project."""
        rows = self._rows(project)
        rates = {row["id"]: json.loads(row["frame_rates"]) for row in rows if row["frame_rates"]}
        return History([(row["id"], json.loads(row["labels"])) for row in rows], rates)

    def _rows(self, project: str) -> list[Any]:
        sql = "SELECT id, since, labels, frame_rates FROM label_sets WHERE project = ? ORDER BY since, id"
        return self._database.read(sql, (project,))

    def _date(self, project: str, since: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE label_sets SET since = ? WHERE project = ? AND since = ?", (since, project, NEWEST))

    def _insert(self, project: str, since: str, labels: str, rates: str) -> int:
        sql = "INSERT INTO label_sets (project, since, labels, frame_rates) VALUES (?, ?, ?, ?)"
        with self._database.transaction() as connection:
            added = connection.execute(sql, (project, since, labels, rates))
        return int(added.lastrowid or 0)


class History:
    """Label sets with their numbers, and what their names mean now. An unknown number stands for the first of them.

    frame_rates: by number, as far as they are known.
    """

    def __init__(self, label_sets: list[tuple[int, LabelSet]], frame_rates: Mapping[int, FrameRates]):
        self._first = label_sets[0][0] if label_sets else 0
        self._rates = frame_rates
        self._sets: list[LabelSet] = []
        self._places: dict[int, int] = {}
        for number, labels in label_sets:
            if not self._sets or self._sets[-1] != labels:  # most changes of a project are not about its labels
                self._sets.append(labels)
            self._places[number] = len(self._sets) - 1
        self._names = cache(lambda place: names_now(self._sets, place))

    def result(self, number: int | None, result: list[Any]) -> list[Any]:
        """An annotation's regions, with the names that their labels have now."""
        return renamed_result(result, self._names(self._places.get(number or 0, 0))) if self._sets else result

    def labels(self, number: int | None) -> dict[str, list[str]] | None:
        """from_name -> labels of a label set, by the names that they have now; None if none are known."""
        place = self._places.get(number or 0, 0)
        if not self._sets or not self._sets[place]:
            return None
        names = self._names(place)
        return {control: [names[control][name] for name, _ in tags] for control, tags in self._sets[place].items()}

    def frame_rates(self, number: int | None) -> FrameRates | None:
        """Frame rates of a label set; None if they are not known."""
        return self._rates.get(number if number in self._places else self._first) or None

    def renames(self) -> dict[str, dict[str, str]]:
        """from_name -> {an earlier name: the name now}, of labels that the last label set has."""
        names = self._names(len(self._sets) - 1) if self._sets else {}
        now = {control: {name for name, _ in tags} for control, tags in (self._sets[-1] if self._sets else {}).items()}
        found = {c: {a: b for a, b in known.items() if a != b and b in now.get(c, ())} for c, known in names.items()}
        return {control: known for control, known in found.items() if known}
