"""Events of Label Studio: stores webhooks, and queues the jobs that follow from them."""

from collections.abc import Mapping
from typing import Any

from framewise.backend.identifiers import creation_time, ids, is_id, is_task, mappings, project_number, storable
from framewise.backend.importing import Importing
from framewise.backend.projects import Projects
from framewise.core.errors import RequestError
from framewise.jobs import Jobs
from framewise.store.annotations import Annotations, sortable_time
from framewise.store.suggestions import Suggestions


class Events:
    """Records events."""

    def __init__(
        self, annotations: Annotations, suggestions: Suggestions, jobs: Jobs, projects: Projects, importing: Importing
    ):
        self._annotations = annotations
        self._suggestions = suggestions
        self._jobs = jobs
        self._projects = projects
        self._importing = importing

    def record(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Record a webhook's event and queue the jobs that follow from it. Raises RequestError for an unreadable event."""
        action = event.get("action")
        if not isinstance(action, str):
            raise RequestError(f"webhook: expected the name of an event in 'action', found {action!r}")
        project = event.get("project")
        if not isinstance(project, Mapping):
            return {"status": "ignored", "reason": f"{action} without a project"}
        key, action = self._project_key(project), storable(action)
        with self._annotations.together():
            # Jobs are recorded together with the data that they concern: a process that is killed here leaves both or neither.
            jobs = self._put_project(key, project)
            self._annotations.record_event(key, action, event)
            jobs |= self._apply(key, action, event)
        self._announce(jobs)
        first = jobs.get("train") or next(iter(jobs.values()), None)
        return {"status": "recorded"} if first is None else {"status": "recorded", "job": str(first)}

    def start_training(self, project: str) -> None:
        """Fetch everything from Label Studio, if it can be reached, and train on it."""
        with self._annotations.together():
            jobs = self._start_training(project, {})
        self._announce(jobs)

    def _announce(self, jobs: Mapping[str, int]) -> None:
        for kind, job in jobs.items():
            self._jobs.announce(job, kind)

    def _put_project(self, key: str, project: Mapping[str, Any]) -> dict[str, int]:
        """Store the event's project; returns kind -> id of the jobs that follow from a change of its labeling config."""
        config, title = storable(str(project.get("label_config") or "")), storable(str(project.get("title") or ""))
        told_at = str(project.get("updated_at") or "")
        before = self._annotations.put_project(key, project_number(project), config, title, told_at=told_at)
        return self._train(key) if self._projects.training_config_changed(key, before) else {}

    def _apply(self, project: str, action: str, event: Mapping[str, Any]) -> dict[str, int]:
        """Update the store; returns kind -> id of the jobs that follow."""
        jobs: dict[str, int] = {}
        if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
            changed = self._put_annotations(project, event)
            jobs = self._import(project) if self._importing.is_behind(project, event["project"]) else {}
        elif action == "ANNOTATIONS_DELETED":
            changed = self._annotations.delete_annotations(project, ids(event.get("annotations")))
        elif action == "TASKS_DELETED":
            changed = self._annotations.delete_tasks(project, ids(event.get("tasks")))
        elif action == "TASKS_CREATED":
            return self._put_tasks(project, [task for task in mappings(event.get("tasks")) if is_task(task)])
        elif action == "START_TRAINING":
            return self._start_training(project, event["project"])
        else:
            changed = False
        return jobs | self._train(project) if changed and self._projects.has_trainable(project) else jobs

    def _start_training(self, project: str, told: Mapping[str, Any]) -> dict[str, int]:
        self._projects.release_version(project)
        jobs = self._import(project) if self._importing.is_due(project, told) else {}
        return jobs | self._train(project)

    def _put_annotations(self, project: str, event: Mapping[str, Any]) -> bool:
        told = event["project"]
        config, told_at = storable(str(told.get("label_config") or "")), sortable_time(told.get("updated_at"))
        names = self._annotations.label_sets
        label_set = (names.put(project, config, told_at) if config else None) or names.number(project)
        changed = False
        for annotation, task in _pairs(event):
            self._annotations.put_tasks(project, [task])
            self._suggestions.forget_task(project, task["id"])
            changed |= self._annotations.put_annotation(project, annotation, task["id"], label_set)
        return changed

    def _put_tasks(self, project: str, tasks: list[Mapping[str, Any]]) -> dict[str, int]:
        warm = self._projects.can_predict(project)
        self._annotations.put_tasks(project, tasks, warm)
        jobs = {"warm": self._jobs.states.add("warm", project, "all", {})} if warm and tasks else {}
        annotated = any(is_id(task.get("total_annotations")) and task["total_annotations"] for task in tasks)
        return jobs | (self._import(project) if annotated else {})

    def _import(self, project: str) -> dict[str, int]:
        job = self._importing.add(project)
        return {} if job is None else {"import": job}

    def _train(self, project: str) -> dict[str, int]:
        return {"train": self._jobs.states.add("train", project, "all", {})}

    def _project_key(self, project: Mapping[str, Any]) -> str:
        number, created = project_number(project), creation_time(project)
        return self._annotations.project_key(number) if created is None else f"{number}.{created}"


def _pairs(event: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(annotation, task) pairs of an event with one of each or a list of each. Raises RequestError."""
    annotations, tasks = mappings(event.get("annotation")), mappings(event.get("task"))
    if not annotations or len(annotations) != len(tasks):
        raise RequestError(f"webhook: expected annotations and the task of each, found {len(annotations)} and {len(tasks)}")
    for annotation, task in zip(annotations, tasks, strict=True):
        if not is_id(annotation.get("id")) or not isinstance(annotation.get("result") or [], list):
            raise RequestError(
                "webhook: expected an annotation with a number 'id' and a list 'result', "
                f"found {annotation.get('id')!r} and a {type(annotation.get('result')).__name__}"
            )
        if not is_task(task):
            raise RequestError(f"webhook: expected a task with a number 'id' and an object 'data', found {str(task)[:200]}")
    return list(zip(annotations, tasks, strict=True))
