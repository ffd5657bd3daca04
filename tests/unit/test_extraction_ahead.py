"""Extraction ahead in a worker that has always something more urgent to do: it waits for its turn, but not for ever."""

import itertools
import sqlite3
import time
from contextlib import closing, suppress
from multiprocessing import get_context
from pathlib import Path

from framewise import jobs
from framewise.assembly import Assembly
from framewise.backend import warming
from framewise.settings import Settings
from framewise.store.database import DATABASE_NAME
from tests.messages import Json, Project
from tests.series_help import record, series_config, task

FAIR_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
TASKS = 3


def work(folder: Path, project: Project, tasks: list[Json]) -> None:
    """A worker with new tasks: one of its threads trains for ever, the other one always finds a further validation."""
    jobs.FAIR_SECONDS = warming.FAIR_SECONDS = FAIR_SECONDS  # type: ignore[misc, attr-defined]
    folders = {f"{name}_{kind}": folder / name for name, kind in (("model", "root"), ("cache", "dir"), ("data", "dir"))}
    assembly, numbers = Assembly(Settings(**folders, local_files_roots=(folder,))), itertools.count()  # type: ignore[arg-type]
    assembly.backend.register()

    def validate(*_: object) -> None:
        assembly.jobs.submit("refine", project.key, f"another {next(numbers)}", {})
        time.sleep(0.2)

    def train(*_: object) -> None:
        time.sleep(10 * PATIENCE_SECONDS)

    assembly.jobs.register("train", train)
    assembly.jobs.register("refine", validate)
    assembly.jobs.submit("train", project.key, "for ever", {})
    assembly.jobs.submit("refine", project.key, "first", {})
    assembly.backend.on_event(project.event("TASKS_CREATED", tasks=tasks))
    assembly.jobs.work()


def test_extraction_ahead_has_its_turn_while_validations_never_end(tmp_path: Path) -> None:
    paths = [record(n, seconds=8).write_csv(tmp_path / f"{n}.csv", "number") for n in range(TASKS)]
    tasks = [task(n, str(path)) for n, path in enumerate(paths, 1)]
    worker = get_context("spawn").Process(target=work, args=(tmp_path, Project(series_config()), tasks), daemon=True)
    worker.start()
    try:
        (extracted,) = wait_for(tmp_path / "data" / DATABASE_NAME, "SELECT * FROM jobs WHERE kind = 'warm' AND state = 'done'")
        validations = wait_for(tmp_path / "data" / DATABASE_NAME, "SELECT * FROM jobs WHERE kind = 'refine'")
    finally:
        worker.kill()
        worker.join()
    assert extracted["detail"] == f"{TASKS} of {TASKS} videos of new tasks extracted"
    assert len([one for one in validations if one["state"] == "done" and one["finished"] <= extracted["started"]]) > 3
    assert [one for one in validations if one["state"] in ("pending", "running")]


def wait_for(database: Path, query: str) -> list[sqlite3.Row]:
    """Rows that a query finds, once there are any."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            if found := connection.execute(query).fetchall():
                return found
        time.sleep(0.1)
    raise AssertionError(f"nothing was found: {query}")
