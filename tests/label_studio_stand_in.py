"""A small Label Studio: the part of its API that framewise calls, over HTTP. A real one takes a minute to start."""

import collections
import contextlib
import datetime
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.messages import Json, Project

KEY = "a-legacy-token"
STUDIO_SECONDS = 0.05  # time to store a prediction
TASKS_A_PAGE = 7  # few, so that there are several pages


class LabelStudioStandIn(ThreadingHTTPServer):
    """Projects, tasks with their annotations in pages, and predictions, behind a legacy token. seconds: time to store a
    prediction. page_size: limit of tasks in an answer."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seconds: float = STUDIO_SECONDS, page_size: int = TASKS_A_PAGE) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self._seconds, self._page_size = seconds, page_size
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, Json] = {}  # each with its project's number and its annotations
        self.predictions: dict[int, Json] = {}
        self._of_task: dict[int, dict[int, Json]] = collections.defaultdict(dict)  # the same by task
        # Requests since the last clearing.
        self.listed, self.arrived, self.stored = threading.Event(), threading.Event(), threading.Event()
        # Tasks that were asked about while a prediction from a killed worker's last request was still being stored.
        # Nothing outside Label Studio can prevent a second one then.
        self.excused: set[int] = set()
        self._on_its_way: collections.Counter[int] = collections.Counter()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def leave(self) -> None:
        """Be away: connections are refused."""
        self.shutdown()
        self.server_close()

    def come_back(self) -> None:
        """Answer again at the same address."""
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    # Actions of its users.

    def import_task(self, project: Project, task: Json) -> None:
        with self._lock:
            self.tasks[task["id"]] = {**task, "project": project.id, "annotations": []}

    def annotate(self, project: Project, task: Json, annotation: Json) -> None:
        """Submit or update an annotation; Label Studio stores it before it sends the event."""
        with self._lock:
            there = self.tasks.get(task["id"], {"annotations": []})["annotations"]
            others = [a for a in there if a["id"] != annotation["id"]]
            self.tasks[task["id"]] = {**task, "project": project.id, "annotations": [*others, annotation]}

    def keep_answer(self, task: int, prediction: Json) -> None:
        """Store the prediction that answered a request."""
        with self._lock:
            if prediction["model_version"] not in self._versions(task):
                self._add({**prediction, "task": task})

    def versions_of(self, task: int) -> list[str]:
        """Model versions of a task's predictions, oldest first."""
        with self._lock:
            return self._versions(task)

    # Answers to requests.

    def get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        with self._lock:
            if path == "/api/predictions/":
                task = int(query["task"])  # requests without a task are refused
                if self._on_its_way[task]:
                    self.excused.add(task)
                return 200, list(self._of_task[task].values())
            if path == "/api/tasks/":
                self.listed.set()
                return 200, self._list(int(query["project"]), int(query.get("page_size", 30)), json.loads(query["query"]))
            if found := re.fullmatch(r"/api/tasks/(\d+)/annotations/", path):
                return 200, self.tasks[int(found[1])]["annotations"]
            if found := re.fullmatch(r"/api/projects/(\d+)/", path):
                created = datetime.datetime.fromtimestamp(self.projects[int(found[1])].created, datetime.UTC)
                return 200, {"id": int(found[1]), "created_at": created.isoformat(), "model_version": "framewise"}
        return 404, {"detail": "not found"}

    def post(self, path: str, prediction: Json) -> tuple[int, Any]:
        if path != "/api/predictions/":
            return 404, {"detail": "not found"}
        task = prediction["task"]
        with self._lock:
            self._on_its_way[task] += 1
        self.arrived.set()
        time.sleep(self._seconds)
        with self._lock:
            self._on_its_way[task] -= 1
            stored = self._add(prediction)
        self.stored.set()
        time.sleep(self._seconds)
        return 201, stored

    def patch(self, path: str, change: Json) -> tuple[int, Any]:
        number = self._prediction(path)
        self.arrived.set()
        time.sleep(self._seconds)
        with self._lock:
            if number not in self.predictions:
                return 404, {"detail": "not found"}
            changed = self._put({**self.predictions[number], **change})
        self.stored.set()
        time.sleep(self._seconds)
        return 200, changed

    def delete(self, path: str) -> tuple[int, Any]:
        with self._lock:
            removed = self.predictions.pop(self._prediction(path), None)
            if removed:
                del self._of_task[removed["task"]][removed["id"]]
        return (204 if removed else 404), None

    def _list(self, project: int, page_size: int, query: Json) -> Json:
        """Page of a project's tasks as listed by the Data Manager. total: number of all that match the filters."""
        asked = {f["filter"].removeprefix("filter:tasks:"): f["value"] for f in query.get("filters", {}).get("items", [])}
        included = query.get("selectedItems", {}).get("included", self.tasks)
        versions = asked.get("predictions_model_versions")
        found = [
            task
            for number, task in sorted(self.tasks.items())
            if task["project"] == project and number in included and number > asked.get("id", 0)
            and not (asked.get("total_annotations") == 0 and task["annotations"])
            and (versions is None or set(versions) & set(self._versions(number)))
        ]  # fmt: skip
        page = found[: min(page_size, self._page_size)]
        return {"tasks": page, "total": len(found), "total_annotations": 0, "total_predictions": 0}

    def _versions(self, task: int) -> list[str]:
        return [p["model_version"] for p in self._of_task[task].values()]

    def _add(self, prediction: Json) -> Json:
        number = next(self._numbers)
        return self._put({**prediction, "id": number, "project": self.tasks[prediction["task"]]["project"]})

    def _put(self, prediction: Json) -> Json:
        self.predictions[prediction["id"]] = self._of_task[prediction["task"]][prediction["id"]] = prediction
        return prediction

    def _prediction(self, path: str) -> int:
        found = re.fullmatch(r"/api/predictions/(\d+)/", path)
        return int(found[1]) if found else 0


class _Api(BaseHTTPRequestHandler):
    server: LabelStudioStandIn

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self._answer(lambda path: self.server.get(path, query))

    def do_POST(self) -> None:
        body = self._body()
        self._answer(lambda path: self.server.post(path, body))

    def do_PATCH(self) -> None:
        body = self._body()
        self._answer(lambda path: self.server.patch(path, body))

    def do_DELETE(self) -> None:
        self._answer(lambda path: self.server.delete(path))

    def _body(self) -> Json:
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, found: Callable[[str], tuple[int, Any]]) -> None:
        allowed = self.headers["Authorization"] == f"Token {KEY}"
        status, body = found(urlsplit(self.path).path) if allowed else (401, {"detail": "refused"})
        with contextlib.suppress(ConnectionError):  # the client was killed
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"" if status == 204 else json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Log nothing: it would be one line per request."""
