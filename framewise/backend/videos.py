"""A task's video or series: its features from the cache, or fetched and extracted by a job."""

import logging
from collections.abc import Mapping
from typing import Any

from framewise.backend.identifiers import file_name
from framewise.backend.projects import Projects
from framewise.controls import ControlModel, Features
from framewise.core.errors import FramewiseError
from framewise.features.sensors import SeriesFeatures
from framewise.features.sound import SoundFeatures
from framewise.jobs import Jobs, Progress
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
        control = self._projects.control(job.project, job.payload["control"])
        content, _ = self.features(job, control, job.payload["source"], job.task, progress)
        if job.payload.get("then") == "train":
            self._jobs.submit("train", job.project, "all", {})
        return {"content": content}

    def submit_extraction(self, project: str, control: ControlModel, source: str, task: int, then: str = "") -> int:
        """Id of a job that extracts a file, also one that runs already. then: "train", if a training should follow."""
        payload = {"control": control.control.from_name, "source": source, "then": then}
        return self._jobs.submit("extract", project, self.subject(control, source, then), payload, task, or_running=True)

    def subject(self, control: ControlModel, source: str, then: str = "") -> str:
        """What an extraction is about: two of one subject would do the same."""
        return control.subject(source) + (then and f" then {then}")

    def cached(self, control: ControlModel, source: str, task: int | None) -> Features | None:
        """Features of a task's file if they can be had at once."""
        content = control.known_content(source, task)
        return control.cached_features(content) if content else None

    def features(
        self, job: Job, control: ControlModel, source: str, task: int | None, progress: Progress
    ) -> tuple[str, Features]:
        """Content and features of a file: from the cache if it is known, else it is fetched, extracted and let go of."""
        content = control.known_content(source, task)
        cached = control.cached_features(content) if content else None
        if content and cached:
            return content, cached
        with control.opened(source, task, progress) as file:
            features = control.features(file, progress)
            data = self._annotations.task_data(job.project, task) if task is not None else None
            told = control.advice(file, file_name(source), features, data or {})
            told += self._group_advice(control, features, task, data or {})
            for advice in told:
                logger.warning("project %s, task %s: %s", job.project, task, advice)
                self._jobs.states.warn(job.id, f"task {task}: {advice}")
            return file.content, features

    def _group_advice(self, control: ControlModel, features: Features, task: int | None, data: Mapping[str, Any]) -> list[str]:
        """What the user should know of a file and those of its sync group that were read before it."""
        if not control.control.sync:
            return []
        others: dict[str, Played] = {}
        try:
            own = _played(control, features, data)
            for other in self._projects.controls(control.project):
                if other.control.sync == control.control.sync and other.control.to_name != control.control.to_name:
                    content = other.known_content(other.control.media_source(data), task)
                    theirs = other.cached_features(content) if content else None
                    if theirs:
                        others[other.control.to_name] = _played(other, theirs, data)
        except FramewiseError:
            return []  # said where the other one is used
        return group_advice(own, list(others.values()))


def _played(control: ControlModel, features: Features, data: Mapping[str, Any]) -> Played:
    name = control.control.to_name
    if isinstance(features, SeriesFeatures):
        times = features.times
        return Played(name, float(times.seconds[-1]) + times.period_seconds, times=times)
    if isinstance(features, SoundFeatures):
        return Played(name, features.duration_seconds)
    return Played(name, features.timeline.duration_seconds, frame_rate=control.control.frame_rate(data))
