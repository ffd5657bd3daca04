"""The whole service as processes, and a client that speaks to it as Label Studio does."""

import contextlib
import datetime
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx

from framewise.demo.backend_server import free_port
from framewise.processes import start_child, stop_child
from framewise.settings import describe_settings

START_SECONDS = 90.0  # importing torch in three processes of a busy machine
IDLE_SECONDS = 120.0
REQUEST_SECONDS = 100.0  # what Label Studio waits for a prediction
OUR_VARIABLES = {name for name, _, _ in describe_settings()} | {"LABEL_STUDIO_HOST", "YOLO_CONFIG_DIR"}

LABELS = ("Walk", "Run")

Json = dict[str, Any]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = IDLE_SECONDS) -> Any:
    """The first true value of ``condition``; fails with ``what`` if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class Service:
    """``framewise serve`` in a folder of its own. Settings are given by their names in the environment.

    ``with`` starts and stops it; with ``start=False`` it only stops it.
    """

    def __init__(self, folder: Path, backbone: Path, videos: Path, start: bool = True, **settings: str):
        self.folder, self.videos, self._start = folder, videos, start
        self.model_root, self.cache, self.data = folder / "models", folder / "cache", folder / "data"
        self.model_root.mkdir(parents=True, exist_ok=True)
        (self.model_root / backbone.name).write_bytes(backbone.read_bytes())
        self.log_path = folder / "log.txt"
        own = {
            "PORT": str(free_port()),
            "WORKERS": "1",
            "MODEL_ROOT": str(self.model_root),
            "CACHE_DIR": str(self.cache),
            "DATA_DIR": str(self.data),
            "MODEL_PATH": backbone.name,
            "LOCAL_FILES_ROOTS": str(videos),
        }
        self.settings = {**own, **settings}
        outside = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
        self.env = {**outside, "OMP_NUM_THREADS": "1", **self.settings}
        self.url = f"http://127.0.0.1:{self.settings['PORT']}"
        self.client = self._new_client()
        self._log = self.log_path.open("ab")
        self._supervisor: Any = None

    def __enter__(self) -> Self:
        if self._start:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.client.close()
        self._log.close()

    def _new_client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=REQUEST_SECONDS)

    # Processes.

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start its supervisor, and wait for nothing."""
        command = [sys.executable, "-m", "framewise", "serve"]
        self._supervisor = start_child(command, self.env, cwd=Path(__file__).parents[2], log=self._log)
        return self._supervisor

    def start(self) -> None:
        """Start it and wait until it answers and its worker is ready."""
        ready = self.log().count("worker ready")
        self.launch()
        wait_for(lambda: self.is_up() and self.log().count("worker ready") > ready, "the service is up", START_SECONDS)

    def is_up(self) -> bool:
        """Whether it answers; fails if it ended."""
        assert self._supervisor.poll() is None, f"the service ended:\n{self.log()}"
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/health").status_code == 200
        return False

    def stop(self) -> None:
        self.client.close()  # gunicorn waits for open connections before it ends
        self.client = self._new_client()
        if self._supervisor is not None:
            stop_child(self._supervisor, seconds=30)
            self._supervisor = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def end_by(self, number: signal.Signals, pid: int | None = None) -> int:
        """Signal one process, the supervisor if none is given; the supervisor's exit code."""
        self.client.close()
        self.client = self._new_client()
        os.kill(pid or self._supervisor.pid, number)
        code: int = self._supervisor.wait(timeout=60)
        self._supervisor = None
        return code

    def children(self) -> dict[int, str]:
        """Process id -> command line of all processes below the supervisor."""
        return descendants(self._supervisor.pid)

    def web_pids(self) -> list[int]:
        """Process ids of gunicorn: the master, then those that answer requests."""
        found = [pid for pid, command in self.children().items() if " -m gunicorn " in command]
        return sorted(found, key=lambda pid: _parent(pid) != self._supervisor.pid)

    def worker_pid(self) -> int:
        """Process id of the worker; waits for one."""
        found = wait_for(lambda: [p for p, c in self.children().items() if c.endswith("framewise work")], "a worker")
        assert len(found) == 1, f"expected one worker, found {self.children()}"
        return int(found[0])

    def kill_worker(self) -> int:
        """``kill -9`` of the worker; its process id."""
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid), "the worker is dead", 10)
        return pid

    # What it shows.

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        """Rows of its database, read beside the running service."""
        with contextlib.closing(sqlite3.connect(self.data / "framewise.sqlite", timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, parameters).fetchall()

    def overview(self) -> Json:
        answer = self.client.get("/jobs", auth=self._auth())
        assert answer.status_code == 200, answer.text
        shown: Json = answer.json()
        return shown

    def jobs(self, project: "Project | None" = None, kind: str | None = None) -> list[Json]:
        """Jobs under /jobs, newest first."""
        found = self.overview()["jobs"]
        return [j for j in found if (not project or j["project"] == project.key) and (not kind or j["kind"] == kind)]

    def wait_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """Until nothing is pending or running."""

        def idle() -> bool:
            shown = self.overview()
            return not shown["pending"] and not shown["running"]

        wait_for(idle, "no job is pending or running", seconds)

    def model_folders(self, project: "Project") -> list[Path]:
        """Folders of a project's models: one a control."""
        return sorted(self.model_root.glob(f"timelinelabels-{project.key}-*"))

    # What Label Studio does.

    def _auth(self) -> tuple[str, str] | None:
        user = self.settings.get("BASIC_AUTH_USER")
        return (user, self.settings["BASIC_AUTH_PASS"]) if user else None

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def setup(self, project: "Project") -> httpx.Response:
        return self.post("/setup", project.setup_body())

    def version(self, project: "Project") -> str:
        """model_version in /setup."""
        answer = self.setup(project)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])

    def predict(self, project: "Project", tasks: Sequence[Any]) -> list[Any]:
        answer = self.post("/predict", project.predict_body(tasks))
        assert answer.status_code == 200, answer.text
        results: list[Any] = answer.json()["results"]
        assert len(results) == len(tasks)
        return results

    def predict_until_there(self, project: "Project", task: Json) -> Json:
        """The prediction of a task, asked for until there is one."""
        return wait_for(lambda: self.predict(project, [task])[0], f"a prediction of task {task['id']}")

    def send(self, event: Json) -> Json:
        answer = self.post("/webhook", event)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def train(self, project: "Project", *pairs: tuple[Json, Sequence[Json]]) -> Json:
        """Submit an annotation of each (task, regions), wait for the training; its job."""
        for task, result in pairs:
            self.send(project.annotation_event(task, result))
        self.wait_idle()
        return self.jobs(project, "train")[0]


_project_ids = itertools.count(1001)
_annotation_ids = itertools.count(50001)


@dataclass(frozen=True)
class Project:
    """A project of Label Studio, and the messages that it sends about it."""

    config: str
    id: int = field(default_factory=lambda: next(_project_ids))
    created: int = 1_795_200_057

    @property
    def key(self) -> str:
        return f"{self.id}.{self.created}"

    def with_config(self, config: str) -> "Project":
        """The same project after its labeling config was edited."""
        return replace(self, config=config)

    def setup_body(self) -> Json:
        return {
            "project": self.key,
            "schema": self.config,
            "hostname": "http://localhost:8080",
            "access_token": "",
            "extra_params": None,
        }

    def predict_body(self, tasks: Sequence[Any]) -> Json:
        params = {"login": None, "password": None, "context": None}
        return {"tasks": list(tasks), "project": self.key, "label_config": self.config, "params": params}

    def event(self, action: str, **rest: Any) -> Json:
        created = datetime.datetime.fromtimestamp(self.created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        project = {"id": self.id, "title": "A project", "label_config": self.config, "created_at": created}
        return {"action": action, "project": project, **rest}

    def annotation_event(
        self, task: Json, result: Sequence[Json], action: str = "ANNOTATION_CREATED", annotation: int | None = None, **more: Any
    ) -> Json:
        return self.event(action, annotation=self.annotation(task, result, annotation, **more), task=task)

    def annotation(self, task: Json, result: Sequence[Json], annotation: int | None = None, **more: Any) -> Json:
        return {
            "id": annotation or next(_annotation_ids),
            "result": list(result),
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": _now(),
            "updated_at": _now(),
            "lead_time": 3.2,
            "result_count": len(result),
            "task": task["id"],
            "project": self.id,
            **more,
        }


def labeling_config(*labels: str, video: str = "clip", control: str = "tl", frame_rate: str = "25", **parameters: str) -> str:
    """A labeling config with TimelineLabels on a Video that is not called "video". A label may be XML of its own."""
    attributes = "".join(f' {name}="{value}"' for name, value in parameters.items())
    tags = "".join(label if label.startswith("<") else f'<Label value="{label}"/>' for label in labels)
    return (
        f'<View><TimelineLabels name="{control}" toName="{video}"{attributes}>{tags}</TimelineLabels>'
        f'<Video name="{video}" value="$video" frameRate="{frame_rate}"/></View>'
    )


def learning_config(*labels: str, **parameters: str) -> str:
    """A config in trainable mode, by default of LABELS. 150 epochs are enough for a clip or two."""
    return labeling_config(*(labels or LABELS), **{"model_trainable": "true", "model_classifier_epochs": "150", **parameters})


def endless_config() -> str:
    """A config with which a training goes on for very long; see ``start_endless_training``."""
    return learning_config(
        model_classifier_epochs="100000",
        model_classifier_f1_threshold="1.0",
        model_classifier_accuracy_threshold="1.0",
    )


def start_endless_training(service: Service, project: Project, clip: Path, make_task: Callable[..., Json]) -> Json:
    """Start a training that cannot reach its thresholds: one video is labelled in two ways. Its job, once epochs run."""
    tasks = [make_task(clip), make_task(clip)]
    annotations = [project.annotation(t, [region(label, (1, 24))]) for t, label in zip(tasks, LABELS, strict=True)]
    service.send(project.event("ANNOTATIONS_CREATED", annotation=annotations, task=tasks))

    def training() -> list[Json]:
        return [j for j in service.jobs(project, "train") if j["state"] == "running" and "epoch" in j["detail"]]

    found: Json = wait_for(training, "a training is in its epochs")[0]
    return found


def region(
    label: str | Sequence[str], *ranges: tuple[Any, Any], control: str = "tl", video: str = "clip", id: str = ""
) -> Json:
    """A region as the editor saves it."""
    labels = [label] if isinstance(label, str) else list(label)
    return {
        "id": id or f"r-{next(_annotation_ids)}",
        "from_name": control,
        "to_name": video,
        "type": "timelinelabels",
        "origin": "manual",
        "value": {"ranges": [{"start": start, "end": end} for start, end in ranges], "timelinelabels": labels},
    }


def frames_of(prediction: Mapping[str, Any], label: str) -> set[int]:
    """Frames of a label in a prediction."""
    return {
        frame
        for item in prediction["result"]
        if label in item["value"]["timelinelabels"]
        for span in item["value"]["ranges"]
        for frame in range(span["start"], span["end"] + 1)
    }


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def descendants(root: int) -> dict[int, str]:
    """Process id -> command line of all processes below one."""
    commands, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            pid = int(folder.name)
            commands[pid] = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
            parents[pid] = _parent(pid)
    found: dict[int, str] = {}
    todo = [root]
    while todo:
        parent = todo.pop()
        below = [pid for pid, of in parents.items() if of == parent and is_alive(pid)]
        found.update({pid: commands[pid] for pid in below})
        todo += below
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
