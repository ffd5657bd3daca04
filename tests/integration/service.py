"""The whole service as processes, and a client that speaks to it as Label Studio does."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Any, Self

import httpx

from framewise.demo.backend_server import free_port
from framewise.processes import start_child, stop_child
from framewise.settings import describe_settings
from tests.messages import Json, Project, frames_of, labeling_config, region
from tests.process_tree import descendants, is_alive, memory_bytes, web_pids, worker_pids

# No passing run comes near them, also beside other programs.
START_SECONDS = 600.0
IDLE_SECONDS = 600.0
REQUEST_SECONDS = 100.0  # what Label Studio waits for a prediction
OUR_VARIABLES = {name for name, _, _ in describe_settings()} | {"LABEL_STUDIO_HOST", "YOLO_CONFIG_DIR"}

REPOSITORY = Path(__file__).parents[2]
OFFLINE = Path(__file__).parents[1] / "offline"  # with it, a process asks no name server

LABELS = ("Walk", "Run")

# Tests take the messages of Label Studio and the look at processes from here as well.
__all__ = ["Project", "Service", "descendants", "frames_of", "is_alive", "labeling_config", "region", "wait_for"]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = IDLE_SECONDS, stays: bool = False) -> Any:
    """The first true value of ``condition``; fails with ``what`` if there is none in time.

    stays: it will not become false again, so it is asked less often the longer it takes: answers take time from the work.
    """
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < seconds:
        if found := condition():
            return found
        time.sleep(min(max(waited / 10, 0.05), 0.25) if stays else 0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class Service:
    """``framewise serve`` in a folder of its own. Settings are given by their names in the environment.

    ``with`` starts and stops it; with ``start=False`` it only stops it. code: folder of the package that runs.
    """

    def __init__(
        self, folder: Path, backbone: Path, videos: Path, start: bool = True, code: Path = REPOSITORY, **settings: str
    ):
        self.folder, self.videos, self._start, self._code = folder, videos, start, code
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
            "EXTRACTION_ENGINE": "torch",  # OpenVINO takes seconds to begin
            "LOCAL_FILES_ROOTS": str(videos),
        }
        self.settings = {**own, **settings}
        outside = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
        self.env = {**outside, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(OFFLINE), **self.settings}
        self.url = f"http://127.0.0.1:{self.settings['PORT']}"
        self.client = self._new_client()
        self._log = self.log_path.open("ab")
        self._supervisor: Any = None
        self._further_workers: list[subprocess.Popen[bytes]] = []

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
        self._supervisor = start_child(command, self.env, cwd=self._code, log=self._log)
        return self._supervisor

    def start(self) -> None:
        """Start it and wait until it answers and its worker is ready."""
        ready = self.log().count("worker ready")
        self.launch()

        def is_ready() -> bool:
            return self.is_up() and self.log().count("worker ready") > ready

        wait_for(is_ready, "the service is up", START_SECONDS, stays=True)

    def is_up(self) -> bool:
        """True if it answers; fails if it ended."""
        assert self._supervisor.poll() is None, f"the service ended:\n{self.log()}"
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/health").status_code == 200
        return False

    def stop(self, seconds: float = 30) -> None:
        self.client.close()  # gunicorn waits for open connections before it ends
        self.client = self._new_client()
        if self._supervisor is not None:
            stop_child(self._supervisor, seconds)
            self._supervisor = None
        while self._further_workers:
            stop_child(self._further_workers.pop(), seconds=30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def end_by(self, number: signal.Signals, pid: int | None = None) -> int:
        """Signal one process, the supervisor if none is given; the supervisor's exit code."""
        self.client.close()
        self.client = self._new_client()
        os.kill(pid or self._supervisor.pid, number)
        code: int = self._supervisor.wait(timeout=300)
        self._supervisor = None
        return code

    def children(self) -> dict[int, str]:
        """Process id -> command line of all processes below the supervisor."""
        return descendants(self._supervisor.pid)

    def memory_bytes(self) -> list[int]:
        """Memory of the supervisor, and of each process below it."""
        return [memory_bytes(pid) for pid in (self._supervisor.pid, *self.children())]

    @property
    def supervisor_pid(self) -> int:
        return int(self._supervisor.pid)

    def web_pids(self) -> list[int]:
        """Process ids of gunicorn: the master, then those that answer requests."""
        return web_pids(self._supervisor.pid)

    def worker_pid(self) -> int:
        """Process id of the worker that the supervisor started; waits for one. Further workers are not below it."""
        found = wait_for(lambda: worker_pids(self._supervisor.pid), "a worker")
        assert len(found) == 1, f"expected one worker, found {self.children()}"
        return int(found[0])

    def start_worker(self) -> None:
        """Start a further worker with the same settings, and wait until it is ready."""
        ready = self.log().count("worker ready")
        command = [sys.executable, "-m", "framewise", "work"]
        self._further_workers.append(start_child(command, self.env, cwd=self._code, log=self._log))
        wait_for(lambda: self.log().count("worker ready") > ready, "a further worker is ready", START_SECONDS, stays=True)

    def kill_worker(self) -> int:
        """``kill -9`` of the worker; its process id."""
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(pid), "the worker is dead")
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

    def page(self, project: "Project") -> str:
        """Text of a project's page, without tags."""
        html = self.client.get(f"/projects/{project.key}", headers={"Accept": "text/html"}).text
        return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())

    def wait_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """Until nothing is pending or running."""

        def idle() -> bool:
            shown = self.overview()
            return not shown["pending"] and not shown["running"]

        wait_for(idle, "no job is pending or running", seconds, stays=True)

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
        return wait_for(lambda: self.predict(project, [task])[0], f"a prediction of task {task['id']}", stays=True)

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


def learning_config(*labels: str, **parameters: str) -> str:
    """A config in trainable mode with the LSTM, by default of LABELS. 150 epochs are enough for a clip or two."""
    own = {"model_trainable": "true", "model_classifier_type": "lstm", "model_classifier_epochs": "150"}
    return labeling_config(*(labels or LABELS), **{**own, **parameters})


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
