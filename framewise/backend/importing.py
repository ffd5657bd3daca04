"""The job ``import``: fetches all tasks and annotations of a project from Label Studio and updates the store.

Label Studio sends no events for annotations made before this backend was connected, for annotations imported with their
tasks, and for changes while this backend was not running.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from framewise.backend.identifiers import is_id, is_task, mappings, project_id
from framewise.backend.projects import Projects
from framewise.core.errors import LabelStudioError, ProjectForgotten, brief
from framewise.core.progress import Progress
from framewise.jobs import Jobs
from framewise.label_studio import HOW_TO_CONNECT, LabelStudioClient
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job

logger = logging.getLogger(__name__)

NOT_TOLD = (
    "Label Studio has annotations in this project that it never sends to backends: they were made before this one was "
    f"connected, or imported together with their tasks. To learn from them, {HOW_TO_CONNECT}; then press Start training in "
    "Label Studio"
)
# Checks that nobody requested should not list all tasks of a project at every submit.
SECONDS_BETWEEN_AUTOMATIC_IMPORTS = 600.0


class Importing:
    """Imports from Label Studio."""

    def __init__(self, annotations: Annotations, jobs: Jobs, projects: Projects, label_studio: LabelStudioClient):
        self._annotations = annotations
        self._jobs = jobs
        self._projects = projects
        self._label_studio = label_studio

    def begin_once(self, project: str) -> None:
        """Start the first import of a project. Later calls do nothing, because every /setup makes one."""
        if self._is_possible(project) and not self._annotations.was_imported(project):
            with self._annotations.together():
                job = self.add(project)
            if job is not None:
                self._jobs.announce(job, "import")

    def add(self, project: str) -> int | None:
        """Id of a recorded job that imports a project; None, with a note at /jobs, if Label Studio cannot be reached."""
        if not self._label_studio.connected:
            self._jobs.states.record_note("import", project, NOT_TOLD)
        if not self._is_possible(project):
            return None
        self._annotations.put_imported(project)
        return self._jobs.states.add("import", project, "all", {})

    def is_behind(self, project: str, told: Mapping[str, Any]) -> bool:
        """True if Label Studio has other annotations than the store. told: the project as sent in an event, with its counters.

        One more may be on its way. Always False for a while after an import.
        """
        counters = [told.get(name) for name in ("total_annotations_number", "skipped_annotations_number")]
        if not is_id(counters[0]) or self._is_recent(project):
            return False
        return sum(n for n in counters if is_id(n)) - self._annotations.known_annotations(project) not in (0, 1)

    def is_due(self, project: str, told: Mapping[str, Any]) -> bool:
        """True if a requested training should import first: at each press of the button, but not at each submit if Label Studio
        itself starts trainings. told: the project as sent in the event."""
        automatic = bool(told.get("min_annotations_to_start_training"))
        if not self._label_studio.connected:
            return self.is_behind(project, told)
        return not (automatic and self._is_recent(project))

    def _is_recent(self, project: str) -> bool:
        latest = self._jobs.states.latest("import", project, "all")
        # As a distance: a clock that was set back must not stop them until it has caught up.
        return latest is not None and abs(time.time() - latest[2]) < SECONDS_BETWEEN_AUTOMATIC_IMPORTS

    def fetch(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Fetch all tasks and annotations of a project, and queue a training if there is something new to learn.

        Annotations that Label Studio no longer has are marked as missing only at the end, after all pages. Raises
        LabelStudioError, also if LABEL_STUDIO_URL leads to another project of the same number.
        """
        number, began = project_id(job.project), time.time()
        title = self._checked_title(job.project, number)
        self._annotations.put_project(job.project, number, "", title)
        tasks: set[int] = set()
        annotations: set[int] = set()
        changed = False
        for total, page in self._label_studio.task_pages(number):
            changed |= self._store(job, page)
            tasks |= {task["id"] for task in page}
            annotations |= {a["id"] for task in page for a in mappings(task.get("annotations")) if is_id(a.get("id"))}
            progress(len(tasks) / max(total, len(tasks)), f"{len(tasks)} of {max(total, len(tasks))} tasks")
        with self._annotations.together():
            gone = self._annotations.mark_missing(job.project, tasks, annotations, began)
            self._train_after(job.project, gone)
        return {"tasks": len(tasks), "annotations": len(annotations), "changed": changed or gone}

    def _is_possible(self, project: str) -> bool:
        # A host that identifies projects by number alone gives no creation time: it could be any Label Studio.
        return self._label_studio.connected and not project.endswith(".0")

    def _checked_title(self, project: str, number: int) -> str:
        """Title of a project. Raises LabelStudioError where LABEL_STUDIO_URL leads to another one."""
        created, title, _ = self._label_studio.project_state(number)
        if project != f"{number}.{created}":
            raise LabelStudioError(
                f"project {number} at LABEL_STUDIO_URL was created at another time than {project}, so it is another project, "
                "and nothing is fetched; does LABEL_STUDIO_URL point to the Label Studio in which this backend is connected?"
            )
        return title

    def _store(self, job: Job, page: Sequence[Mapping[str, Any]]) -> bool:
        """Store a page of tasks with their annotations, and the training that follows, in one transaction."""
        changed = False
        with self._annotations.together():
            if self._annotations.project(job.project) is None:
                raise ProjectForgotten(f"project {job.project} was forgotten")
            for task in page:
                found = mappings(task.get("annotations"))
                usable = [a for a in found if is_id(a.get("id")) and isinstance(a.get("result") or [], list)]
                if len(usable) < len(found) or not is_task(task):
                    of = [task["id"]] if is_id(task["id"]) else []
                    self._jobs.states.warn(job.id, f"unreadable parts are left out: {brief(task)}", of)
                if is_task(task):
                    changed |= self._annotations.put_listed(job.project, task, usable)
            self._train_after(job.project, changed)
        return changed

    def _train_after(self, project: str, changed: bool) -> None:
        """A training starts when the import has ended or cannot continue: in either case, what is stored is learned."""
        if changed and self._projects.has_trainable(project):
            self._jobs.states.add("train", project, "all", {})
