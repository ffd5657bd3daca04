"""The use cases: what Label Studio asks for and what it tells, and the jobs that follow from it.

The web process answers from what is there and records; workers fetch, extract, train and push.
"""

import datetime
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

from framewise.controls import CONTROL_MODELS, ControlModel, Example, Parts
from framewise.core.errors import ConfigError, FramewiseError, MediaError, RequestError, is_disk_full
from framewise.features.extraction import VideoFeatures
from framewise.jobs import Jobs, Progress
from framewise.label_studio import LabelStudioClient
from framewise.labeling_config import read_labeling_config
from framewise.media.advice import timing_advice
from framewise.media.video import VideoInfo, probe
from framewise.store.annotations import AnnotatedTask, Annotations
from framewise.store.job_state import Job

logger = logging.getLogger(__name__)

UNTRAINED = "untrained"
POLL_SECONDS = 0.1
RETRY_FAILED_SECONDS = 30.0  # a task whose video failed is not tried again at every request
LOOKUP_THREADS = 8


@dataclass
class _Asked:
    """A task of a prediction request: what is known of it so far."""

    task: Mapping[str, Any]
    ready: list[tuple[ControlModel, str]] = field(default_factory=list)  # the content of its file
    jobs: list[tuple[ControlModel, int]] = field(default_factory=list)
    failed: bool = False


class Backend:
    """All use cases over parts that are passed in. ``waiting_slots``: predictions that may wait at once in this process."""

    def __init__(
        self, parts: Parts, annotations: Annotations, jobs: Jobs, label_studio: LabelStudioClient, waiting_slots: int = 1
    ):
        self._parts = parts
        self._annotations = annotations
        self._jobs = jobs
        self._label_studio = label_studio
        self._waiting = threading.BoundedSemaphore(waiting_slots) if waiting_slots > 0 else None

    # What Label Studio asks.

    def setup(self, project: str, label_config: str, hostname: str = "", title: str = "") -> str:
        """Remember a project, check that its labeling config can work, and answer the model version in use.

        Raises ConfigError, BackboneError.
        """
        controls = self._controls(project, label_config)
        self._annotations.put_project(project, project_id(project), label_config, title, hostname)
        if any(control.is_outdated() for control in controls):
            self._train_anew(project)
        return self._model_version(controls)

    def predict(self, project: str, label_config: str, tasks: Sequence[Mapping[str, Any]]) -> list[Any]:
        """One item a task, in order: a prediction, or [] where there is none (yet). Raises ConfigError."""
        deadline = time.monotonic() + self._parts.settings.predict_wait_seconds
        controls = self._controls(project, label_config)
        self._annotations.put_project(project, project_id(project), label_config)
        version = self._model_version(controls)
        with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
            asked = list(pool.map(lambda task: self._look_up(project, controls, task), tasks))
        if any(a.jobs for a in asked) and any(c.version() for c in controls):
            self._wait(asked, deadline)
        return [self._answer(project, version, a) for a in asked]

    def versions(self) -> list[dict[str, Any]]:
        """Every trained version, newest first."""
        return self._parts.registry.versions()

    # What Label Studio tells.

    def on_event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Record a webhook's event and start what follows from it. Raises RequestError for one that cannot be read."""
        action = event.get("action")
        if not isinstance(action, str):
            raise RequestError(f"webhook: expected the name of an event in 'action', found {action!r}")
        project = event.get("project")
        if not isinstance(project, Mapping):
            return {"status": "ignored", "reason": f"{action} without a project"}
        key = self._project_key(project)
        config, title = storable(str(project.get("label_config") or "")), storable(str(project.get("title") or ""))
        action = storable(action)
        with self._annotations.together():
            self._annotations.put_project(key, project_id(key), config, title)
            self._annotations.record_event(key, action, event)
            # The training is recorded together with what it is to learn: a process that is killed here leaves both or none.
            training = self._jobs.states.add("train", key, "all", {}) if self._apply(key, action, event) else None
        if training is None:
            return {"status": "recorded"}
        self._jobs.announce(training, "train")
        return {"status": "recorded", "job": str(training)}

    def _apply(self, project: str, action: str, event: Mapping[str, Any]) -> bool:
        """Bring the store up to date; whether a training should follow."""
        if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
            for annotation, task in _pairs(event):
                self._annotations.put_task(project, task["id"], task.get("data") or {})
                self._annotations.put_annotation(project, annotation, task["id"])
            return self._has_trainable(project)
        if action == "ANNOTATIONS_DELETED":
            self._annotations.delete_annotations(project, _ids(event.get("annotations")))
        elif action == "TASKS_CREATED":
            for task in _mappings(event.get("tasks")):
                if _is_task(task):
                    self._annotations.put_task(project, task["id"], task.get("data") or {})
        elif action == "TASKS_DELETED":
            self._annotations.delete_tasks(project, _ids(event.get("tasks")))
        return action == "START_TRAINING"

    # What workers do.

    def register(self) -> None:
        """Make this process one that does the jobs."""
        self._jobs.register_chore(self._keep_promises)
        self._jobs.register("extract", self._extract)
        self._jobs.register("train", self._train)
        self._jobs.register("push", self._push)

    def _extract(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Fetch and extract one video of a task."""
        control = self._control(job.project, job.payload["control"])
        content, _ = self._features(job, control, job.payload["source"], job.task, progress)
        if job.payload.get("then") == "train":
            self._jobs.submit("train", job.project, "all", {})
        return {"content": content}

    def _features(
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

    def _keep_promises(self) -> None:
        """Have the predictions pushed that were promised and can be made by now."""
        for job, project, task, succeeded in self._annotations.due_promises():
            if succeeded:
                self._jobs.submit("push", project, str(task), {}, task)
            self._annotations.withdraw_promise(job, task)

    def _push(self, job: Job, progress: Progress) -> None:
        """Send a promised prediction to Label Studio, if its address and a key are known."""
        task = int(job.task or 0)
        data = self._annotations.task_data(job.project, task)
        if data is None or not self._label_studio.connected:
            return
        controls = self._controls(job.project)
        asked = _Asked({"id": task, "data": data})
        for control in controls:
            if control.version():
                content, _ = self._features(job, control, control.control.media_source(data), task, progress)
                asked.ready.append((control, content))
        if asked.ready:
            prediction = self._prediction(self._model_version(controls), asked)
            self._label_studio.push_prediction(task, **prediction)

    def _train(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Train every trainable control of a project on all of its annotated tasks, and publish the version."""
        controls = [c for c in self._controls(job.project) if c.control.trainable]
        tasks = self._annotations.training_set(job.project)
        if not controls or not tasks:
            return {"version": None}
        number = self._annotations.next_training(job.project)
        version = f"v{number}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        for done, control in enumerate(controls):
            part = _part_of(progress, done, len(controls))
            examples = self._examples(job, control, tasks, part)
            for note in control.train(examples, version, _part_of(part, 1, 2)):
                self._jobs.states.warn(job.id, note)
        return {"version": version, "tasks": len(tasks)}

    def _examples(self, job: Job, control: ControlModel, tasks: list[AnnotatedTask], progress: Progress) -> list[Example]:
        """Examples of all tasks that give one; the others are named under /jobs. Raises FramewiseError if none does."""
        examples, problems = [], []
        for done, task in enumerate(tasks):
            step = _part_of(_part_of(progress, 0, 2), done, len(tasks))
            try:
                source = control.control.media_source(task.data)
                _, features = self._features(job, control, source, task.task, step)
                examples.append(control.example(features, control.control.frame_rate(task.data), task.result))
            except Exception as error:
                if is_disk_full(error):
                    raise
                known = isinstance(error, FramewiseError | OSError)
                if isinstance(error, FramewiseError) and error.temporary:
                    # It is fetched as soon as that is possible, and learned then.
                    self._submit_extraction(job.project, control, source, task.task, then="train")
                text = str(error) if known else f"{type(error).__name__}: {error}"
                problems.append(f"task {task.task} is left out of the training: {text}")
                logger.warning("project %s, %s", job.project, problems[-1], exc_info=not known)
                self._jobs.states.warn(job.id, problems[-1])
        if not examples:
            raise FramewiseError(f"no annotated task can be used; the first: {problems[0]}")
        return examples

    # Prediction, step by step.

    def _look_up(self, project: str, controls: list[ControlModel], task: Mapping[str, Any]) -> _Asked:
        """What of a task is cached; jobs for what is not. An error concerns this task alone."""
        asked = _Asked(task)
        with self._spoils_only(project, asked):
            data = _task_data(task)
            for control in controls:
                source = control.control.media_source(data)
                content = self._parts.media.known_content(source, task["id"])
                if content and control.cached_features(content):
                    asked.ready.append((control, content))
                else:
                    self._ask_for(project, control, task, data, source, asked)
        return asked

    def _ask_for(
        self, project: str, control: ControlModel, task: Mapping[str, Any], data: Mapping[str, Any], source: str, asked: _Asked
    ) -> None:
        latest = self._jobs.states.latest("extract", project, self._subject(control, source))
        if latest and latest[1] == "failed" and time.time() - latest[2] < RETRY_FAILED_SECONDS:
            asked.failed = True
            return
        self._annotations.put_task(project, task["id"], data)
        if latest and latest[1] in ("pending", "running"):
            job = latest[0]
        else:
            job = self._submit_extraction(project, control, source, task["id"])
        asked.jobs.append((control, job))

    def _subject(self, control: ControlModel, source: str, then: str = "") -> str:
        return f"{control.backbone_name} {control.crop} {self._parts.media.stamp(source)}{then and f' then {then}'}"

    def _submit_extraction(self, project: str, control: ControlModel, source: str, task: int, then: str = "") -> int:
        payload = {"control": control.control.from_name, "source": source, "then": then}
        return self._jobs.submit("extract", project, self._subject(control, source, then), payload, task, or_running=True)

    def _wait(self, asked: list[_Asked], deadline: float) -> None:
        """Wait for the jobs of a request, but never on the last free threads of this process."""
        if self._waiting is None or not self._waiting.acquire(blocking=False):
            return
        try:
            waiting = [job for a in asked for _, job in a.jobs]
            while waiting and time.monotonic() < deadline:
                outcomes = self._jobs.states.outcomes(waiting)
                waiting = [job for job in waiting if outcomes[job][0] in ("pending", "running")]
                if waiting:
                    time.sleep(POLL_SECONDS)
        finally:
            self._waiting.release()

    def _answer(self, project: str, version: str, asked: _Asked) -> Any:
        with self._spoils_only(project, asked):
            if asked.failed or not self._collect(asked):
                return []
            asked.ready = [(control, content) for control, content in asked.ready if control.version()]
            if asked.ready:
                return self._prediction(version, asked)
        return []

    def _collect(self, asked: _Asked) -> bool:
        """Take over what jobs have finished; False, and a promise to push, if something is still missing."""
        outcomes = self._jobs.states.outcomes([job for _, job in asked.jobs])
        for control, job in asked.jobs:
            # A worker looks for promises after the job's end as well: it does not matter which of the two comes first.
            if outcomes[job][0] in ("pending", "postponed", "running") and control.version():
                self._annotations.promise_prediction(job, asked.task["id"])
        if any(outcomes[job][0] != "done" for _, job in asked.jobs):
            return False
        for control, job in asked.jobs:
            asked.ready.append((control, outcomes[job][1]["content"]))
        return True

    def _prediction(self, version: str, asked: _Asked) -> dict[str, Any]:
        regions: list[dict[str, Any]] = []
        for control, content in asked.ready:
            features = control.cached_features(content)
            if features is None:
                raise FramewiseError("the features were removed from the cache; ask again")
            regions += control.regions(features, control.control.frame_rate(_task_data(asked.task)))
        scores = [r["score"] for r in regions]
        return {"result": regions, "score": sum(scores) / len(scores) if scores else 0.0, "model_version": version}

    @contextmanager
    def _spoils_only(self, project: str, asked: _Asked) -> Iterator[None]:
        """Whatever goes wrong with one task is logged and shown, and leaves the others alone."""
        try:
            yield
        except Exception as error:
            asked.failed = True
            task = asked.task.get("id") if isinstance(asked.task, Mapping) else None
            known = isinstance(error, FramewiseError)
            logger.log(logging.ERROR, "predict, project %s, task %s: %s", project, task, error, exc_info=not known)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            self._jobs.states.record_failure("predict", project, task if _is_id(task) else None, storable(text))

    # Projects and their controls.

    def _train_anew(self, project: str) -> None:
        """Start a training if none waits or runs already."""
        latest = self._jobs.states.latest("train", project, "all")
        if latest is None or latest[1] not in ("pending", "running", "failed"):
            self._jobs.submit("train", project, "all", {})

    def _controls(self, project: str, label_config: str | None = None) -> list[ControlModel]:
        """Checked controls of a labeling config; of the one last told of, if None. Raises ConfigError, BackboneError."""
        if label_config is None:
            known = self._annotations.project(project)
            if known is None:
                raise ConfigError(f"project {project} is not known here; was it ever connected?")
            label_config = known.label_config
        controls = read_labeling_config(label_config, self._parts.settings.model_score_threshold)
        return [
            model.create(control, project, self._parts)
            for control in controls
            for model in CONTROL_MODELS
            if model.is_control_matched(control)
        ]

    def _control(self, project: str, from_name: str) -> ControlModel:
        for control in self._controls(project):
            if control.control.from_name == from_name:
                return control
        raise ConfigError(f"project {project} has no control {from_name!r} any more")

    def _has_trainable(self, project: str) -> bool:
        known = self._annotations.project(project)
        try:
            return any(c.trainable for c in read_labeling_config(known.label_config if known else ""))
        except ConfigError as error:
            self._jobs.states.record_failure("train", project, None, str(error))
            return False

    def _model_version(self, controls: list[ControlModel]) -> str:
        """One name for what all controls of a project predict with: Label Studio knows a single version a backend."""
        return "+".join(dict.fromkeys(c.version() or UNTRAINED for c in controls))

    def _project_key(self, project: Mapping[str, Any]) -> str:
        number = project.get("id")
        if not _is_id(number):
            raise RequestError(f"webhook: expected the project's number in 'project.id', found {number!r}")
        created = project.get("created_at")
        if isinstance(created, str):
            try:
                return f"{number}.{int(datetime.datetime.fromisoformat(created).timestamp())}"
            except ValueError:
                raise RequestError(f"webhook: expected a time in 'project.created_at', found {created!r}") from None
        return self._annotations.newest_project_key(number) or f"{number}.0"


def project_id(key: str) -> int:
    """Label Studio's number of a project from "<id>.<unix time>". Raises RequestError."""
    head = str(key).split(".")[0]
    if not (head.isdecimal() and head.isascii() and len(head) < 20 and _is_id(int(head))):
        raise RequestError(f"expected a project as '<id>.<time of creation>', found {key!r}")
    return int(head)


def file_name(source: str) -> str:
    """The name of the file in an address of task data; Label Studio has it in the query of its local files."""
    path = source
    if "://" in source or "/data/" in source:
        url = urlsplit(source)
        path = unquote(url.path)
        if path.rstrip("/").endswith("/local-files"):
            path = parse_qs(url.query).get("d", [""])[0]
    return re.sub(r"[\x00-\x1f\x7f]", "?", PurePosixPath(path).name) or "video"


def _task_data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(data, Mapping) or not _is_id(task.get("id")):
        raise RequestError(f"expected a task with a number 'id' and an object 'data', found {str(task)[:200]}")
    return data


def _pairs(event: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(annotation, task) of an event that holds one of each or a list of each. Raises RequestError."""
    annotations, tasks = _mappings(event.get("annotation")), _mappings(event.get("task"))
    if not annotations or len(annotations) != len(tasks):
        raise RequestError(f"webhook: expected annotations and the task of each, found {len(annotations)} and {len(tasks)}")
    for annotation, task in zip(annotations, tasks, strict=True):
        if not _is_id(annotation.get("id")) or not isinstance(annotation.get("result") or [], list):
            raise RequestError(
                "webhook: expected an annotation with a number 'id' and a list 'result', "
                f"found {annotation.get('id')!r} and a {type(annotation.get('result')).__name__}"
            )
        if not _is_task(task):
            raise RequestError(f"webhook: expected a task with a number 'id' and an object 'data', found {str(task)[:200]}")
    return list(zip(annotations, tasks, strict=True))


def _is_task(task: Mapping[str, Any]) -> bool:
    return _is_id(task.get("id")) and isinstance(task.get("data") or {}, Mapping)


def _is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is a number that Label Studio and a database can have as an id; True is an int to Python only."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def storable(text: str) -> str:
    """Text that UTF-8 can hold: JSON may carry half of a surrogate pair, which becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, Mapping)]


def _ids(value: Any) -> list[int]:
    return [v["id"] for v in _mappings(value) if _is_id(v.get("id"))]


def _part_of(progress: Progress, done: int, total: int) -> Progress:
    """Progress of one of ``total`` equal parts, ``done`` of which are behind."""
    return lambda share, detail: progress((done + share) / total, detail)
