"""Label Studio's exports of tasks: reading, validation, and selection of training examples.

Access rules and the selection are as in the service.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framewise.assembly import Assembly
from framewise.backend.identifiers import NO_PROJECT, is_id, is_offline, is_task, project_id
from framewise.core.errors import ConfigError, RequestError, brief
from framewise.core.files import read_text
from framewise.core.left_out import left_out
from framewise.core.task_files import read_tasks
from framewise.labeling_config import ControlSettings, read_labeling_config
from framewise.store.annotations import AnnotatedTask, Annotations
from framewise.store.database import DATABASE_NAME, Database

Task = Mapping[str, Any]


def annotated_tasks(path: Path) -> Sequence[Task]:
    """Read and validate the tasks of an export before anything is stored. Raises RequestError."""
    tasks = read_tasks(path)
    for place, task in enumerate(tasks, 1):
        if not is_task(task):
            raise RequestError(f"{path}: item {place}: expected a number 'id', found {brief(task)}")
        for annotation in task.get("annotations") or []:
            usable = isinstance(annotation, Mapping) and is_id(annotation.get("id"))
            if not usable or not isinstance(annotation.get("result") or [], list):
                raise RequestError(
                    f"{path}: task {task['id']}: expected annotations with a number 'id' and a list 'result', found "
                    f"{brief(annotation)}"
                )
    return tasks


def check_belonging(path: Path, tasks: Sequence[Task], controls: Sequence[ControlSettings]) -> None:
    """Raises RequestError for an export in which nothing is marked by any of these controls: a model of it knows nothing."""
    counted = [a for task in tasks for a in task.get("annotations") or [] if not a.get("was_cancelled")]
    results = [annotation.get("result") or [] for annotation in counted]
    kinds = {control.from_name: control.kind.region for control in controls}
    if not counted or any(left_out(result, kinds, ()).own for result in results):
        return
    named = {str(item.get("from_name")) for result in results for item in result if isinstance(item, Mapping)}
    names = " or ".join(map(brief, kinds))
    found = f"they belong to {', '.join(map(brief, sorted(named)[:10]))}" if named else "there is none"
    raise RequestError(
        f"{path}: expected regions of {names}, the labeling config's control that learns, and {found}; give the export and the "
        "labeling config of one project"
    )


def store_export(annotations: Annotations, key: str, label_config: str, tasks: Sequence[Task], title: str = "") -> None:
    """Store an export as if Label Studio had listed it: newer or deleted annotations are not changed."""
    with annotations.together():
        annotations.put_project(key, project_id(key), label_config, title)
        for task in tasks:
            annotations.put_listed(key, task, task.get("annotations") or [])


def learned_from(label_config: str, tasks: Sequence[Task]) -> list[AnnotatedTask]:
    """Tasks of an export that a training would use, selected by a temporary store."""
    with tempfile.TemporaryDirectory() as folder:
        annotations = Annotations(Database(Path(folder) / DATABASE_NAME))
        store_export(annotations, NO_PROJECT, label_config, tasks)
        return annotations.training_set(NO_PROJECT)


def labeling_config_of(assembly: Assembly, key: str, path: Path | None) -> str:
    """Labeling config from a file, or the project's own. A Label Studio project must keep the one it has there, because a
    training with another one would change the answers of the service."""
    known = assembly.annotations.project(key)
    if path is None:
        if known is None:
            raise ConfigError("the labels are not known; give the labeling config with --config FILE.xml")
        return known.label_config
    given = read_text(path)
    if known and not is_offline(key) and read_labeling_config(given) != read_labeling_config(known.label_config):
        raise ConfigError(
            f"{path}: project {key} has another labeling config in Label Studio; change it there, or leave --config out"
        )
    return given
