"""A task's video or series: its features from the cache, or fetched and extracted by a job."""

import logging
from collections.abc import Mapping
from typing import Any

from framewise.backend.identifiers import file_name
from framewise.backend.projects import Projects
from framewise.controls import AnyControl, Source
from framewise.core.errors import FramewiseError
from framewise.core.progress import Progress
from framewise.jobs import Jobs
from framewise.media.group_advice import Played, group_advice
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job

logger = logging.getLogger(__name__)


class Videos:
    """Features of tasks' videos and series, and the job ``extract``."""

    def __init__(self, annotations: Annotations, jobs: Jobs, projects: Projects):
        self._annotations = annotations
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
        """Id of a job that extracts a file, also one that runs already. then: "train", if a training should follow."""
        payload = {"control": source.control.settings.from_name, "source": source.address, "then": then}
        return self._jobs.submit("extract", project, self.subject(source, then), payload, task, or_running=True)

    def subject(self, source: Source, then: str = "") -> str:
        """Subject of an extraction: two of one subject would do the same."""
        return source.control.subject(source.address) + (then and f" then {then}")

    def cached(self, source: Source, task: int | None) -> Any | None:
        """Features of a task's file if they can be had at once."""
        content = source.control.known_content(source.address, task)
        return source.control.cached_features(content) if content else None

    def features(self, job: Job, source: Source, task: int | None, progress: Progress) -> tuple[str, Any]:
        """Content and features of a file: from the cache if it is known, else it is fetched, extracted and let go of."""
        control = source.control
        content = control.known_content(source.address, task)
        cached = control.cached_features(content) if content else None
        if content and cached:
            return content, cached
        with control.opened(source.address, task, progress) as file:
            features = control.features(file, progress)
            data = self._annotations.task_data(job.project, task) if task is not None else None
            profile = source.learner.profiles.get(control.to_name)
            told = control.advice(file, file_name(source.address), features, data or {}, profile)
            told += self._group_advice(control, features, task, data or {})
            for advice in told:
                logger.warning("project %s, task %s: %s", job.project, task, advice)
                self._jobs.states.warn(job.id, f"task {task}: {advice}")
            return file.content, features

    def _group_advice(self, control: AnyControl, features: Any, task: int | None, data: Mapping[str, Any]) -> list[str]:
        """Advice on a file beside those of its sync group that were read before it."""
        sync = control.settings.sync
        if not sync:
            return []
        others: dict[str, Played] = {}
        try:
            own = control.played(features, data)
            for other in (one for learner in self._projects.learners(control.project) for one in learner.controls):
                if other.settings.sync == sync and other.to_name != control.to_name:
                    content = other.known_content(other.settings.media_source(data), task)
                    theirs = other.cached_features(content) if content else None
                    if theirs:
                        others[other.to_name] = other.played(theirs, data)
        except FramewiseError:
            return []  # said where the other one is used
        return group_advice(own, list(others.values()))
