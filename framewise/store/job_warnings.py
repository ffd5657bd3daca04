"""Warnings of jobs for users. What is said of several tasks is stored once, with their numbers."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LEFT_OUT = "left out of the training: "  # how the text of a warning on a task that is not learned begins
MAX_LINES = 10  # a warning on more tasks is one line for all of them
SHOWN = 3
MAX_WARNINGS = 100  # of a job; the log has all of them


@dataclass(frozen=True)
class JobWarning:
    """A warning. tasks: those that it concerns, without duplicates; empty if it concerns the whole job."""

    text: str
    tasks: tuple[int, ...] = ()

    @property
    def lines(self) -> list[str]:
        """Sentences that name the tasks: one per task, or one for all if there are more than MAX_LINES."""
        if not self.tasks:
            return [self.text]
        is_left_out = self.text.startswith(LEFT_OUT)
        if len(self.tasks) > MAX_LINES:
            shown = ", ".join(map(str, self.tasks[:SHOWN]))
            return [f"{len(self.tasks)} tasks ({shown}, ...){' are ' if is_left_out else ': '}{self.text}"]
        return [f"task {task}{' is ' if is_left_out else ': '}{self.text}" for task in self.tasks]


def warnings_from(stored: str) -> list[JobWarning]:
    """Warnings of a job as the database has them: objects, or texts, as earlier versions wrote."""
    return [
        JobWarning(one) if isinstance(one, str) else JobWarning(str(one["text"]), tuple(one["tasks"]))
        for one in json.loads(stored)
    ]


def warnings_with(stored: str, text: str, tasks: Sequence[int]) -> str:
    """Stored warnings with one more, merged with that of the same text; unchanged if there are MAX_WARNINGS others."""
    warnings = {one.text: one for one in warnings_from(stored)}
    if text in warnings or len(warnings) < MAX_WARNINGS:
        held = warnings[text].tasks if text in warnings else ()
        warnings[text] = JobWarning(text, tuple(dict.fromkeys((*held, *tasks))))
    return json.dumps([_written(one) for one in warnings.values()])


def lines_of(warnings: Iterable[JobWarning]) -> list[str]:
    """All warnings as sentences."""
    return [line for warning in warnings for line in warning.lines]


def _written(warning: JobWarning) -> dict[str, Any]:
    return {"text": warning.text, "tasks": list(warning.tasks)}
