"""A task's video: its features from the cache, or fetched and extracted by a job."""

import logging
from typing import Any

from framewise.backend.identifiers import file_name
from framewise.backend.projects import Projects
from framewise.controls import ControlModel, Parts
from framewise.core.errors import MediaError, RequestError
from framewise.features.extraction import VideoFeatures
from framewise.jobs import Jobs, Progress
from framewise.media.advice import timing_advice
from framewise.media.video import VideoInfo, probe
from framewise.store.annotations import Annotations
from framewise.store.job_state import Job

logger = logging.getLogger(__name__)


class Videos:
    """Features of tasks' videos, and the job ``extract``."""

    def __init__(self, parts: Parts, annotations: Annotations, jobs: Jobs, projects: Projects):
        self._parts = parts
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
        return f"{control.backbone_name} {control.crop} {self._parts.media.stamp(source)}{then and f' then {then}'}"

    def cached(self, control: ControlModel, source: str, task: int | None) -> VideoFeatures | None:
        """Features of a task's file if they can be had at once."""
        content = self._parts.media.known_content(source, task)
        return control.cached_features(content) if content else None

    def features(
        self, job: Job, control: ControlModel, source: str, task: int | None, progress: Progress
    ) -> tuple[str, VideoFeatures]:
        """Content and features of a file: from the cache if it is known, else it is fetched, extracted and let go of."""
        content = self._parts.media.known_content(source, task)
        cached = control.cached_features(content) if content else None
        if content and cached:
            return content, cached
        with self._parts.media.opened(source, task, progress) as file:
            features = control.features(file, progress)
            self._advise(job, control, source, task, probe(file.path), features)
            return file.content, features

    def _advise(
        self, job: Job, control: ControlModel, source: str, task: int | None, info: VideoInfo, features: VideoFeatures
    ) -> None:
        """Show under /jobs and in the log what the user should know of a video before it is annotated."""
        data = self._annotations.task_data(job.project, task) if task is not None else None
        try:
            frame_rate = control.control.frame_rate(data or {})
            features.timeline.num_frames(frame_rate)
        except (RequestError, MediaError):
            return  # a rate that cannot be is said where the features are used
        for advice in timing_advice(file_name(source), info, features.timeline.pts, frame_rate):
            logger.warning("project %s, task %s: %s", job.project, task, advice)
            self._jobs.states.warn(job.id, f"task {task}: {advice}")
