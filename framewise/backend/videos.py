"""Features of a task's video or series: from the cache, or fetched and extracted by a job."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from framewise.backend.file_notes import FileNotes
from framewise.backend.projects import Projects
from framewise.controls import Source
from framewise.core.errors import FramewiseError
from framewise.core.progress import Progress
from framewise.jobs import Jobs
from framewise.media.addresses import file_name
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job
from framewise.store.media_facts import FileFacts, MediaFacts

logger = logging.getLogger(__name__)


class Videos:
    """Features of tasks' videos and series, and the job ``extract``."""

    def __init__(self, annotations: Annotations, facts: MediaFacts, jobs: Jobs, projects: Projects):
        self._annotations = annotations
        self._facts = facts
        self._jobs = jobs
        self._projects = projects

    def extract(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Fetch and extract one video of a task."""
        source = self._projects.source(job.project, job.payload["control"], job.payload["source"])
        content, _ = self.features(job, source, job.task, progress)
        if job.payload.get("then") == "train":
            self._jobs.submit("train", job.project, "all", {})
        return {"content": content}

    def submit_extraction(self, project: str, source: Source, task: int, then: str = "") -> int:
        """Id of a job that extracts a file, possibly a running one. then: "train" to queue a training afterwards."""
        payload = {"control": source.control.settings.from_name, "source": source.address, "then": then}
        return self._jobs.submit("extract", project, self.subject(source, then), payload, task, or_running=True)

    def subject(self, source: Source, then: str = "") -> str:
        """Subject of an extraction: jobs with the same subject do the same."""
        return source.control.subject(source.address) + (then and f" then {then}")

    def cached(self, source: Source, task: int | None) -> Any | None:
        """Features of a task's file, if they are cached."""
        content = source.control.known_content(source.address, task)
        return source.control.cached_features(content) if content else None

    def were_made(self, project: str, source: Source, task: int) -> bool:
        """True if the features of a task's file were made before, cached or not."""
        return self._facts.are_known(project, task, source.control.to_name)

    def features(self, job: Job, source: Source, task: int | None, progress: Progress) -> tuple[str, Any]:
        """Content and features of a file: from the cache, or fetched, extracted and released."""
        control = source.control
        content = control.known_content(source.address, task)
        cached = control.cached_features(content) if content else None
        if content and cached and not control.is_outdated(cached, source.address, content):
            if task is not None and not self._facts.are_known(job.project, task, control.to_name):
                with suppress(FramewiseError):  # it was extracted for another task, and may be gone by now
                    self._note(job, source, task, control.at_hand(source.address), cached)
            return content, cached
        with control.opened(source.address, task, progress) as file:
            features = control.features(file, progress)
            if task is not None:
                self._note(job, source, task, file.path, features)
            return file.content, features

    def _note(self, job: Job, source: Source, task: int, path: Path | None, features: Any) -> None:
        """Note the facts of a task's file, and say what they mean for its annotators."""
        control, data = source.control, self._annotations.task_data(job.project, task) or {}
        name = f"the {control.kind.noun}" if control.settings.is_inline else file_name(source.address)
        facts = {**control.facts(path, features, data), "played": control.played(features).to_json()}
        file, others = FileFacts(task, control.to_name, name, facts, data), self._facts.of(job.project, task)
        self._facts.put(job.project, file)
        known = self._annotations.project(job.project)  # not of tasks from files
        learners = self._projects.learners(job.project) if known else [source.learner]
        notes = FileNotes(learners, self._annotations.annotated_tasks(job.project))
        for note in notes.on(file, others):
            logger.warning("project %s, task %s: %s", job.project, task, note.about(name))
            if job.kind == "extract":  # other jobs are of many files, and notes on these are made from the facts
                self._jobs.states.warn(job.id, note.about(name), [task])
