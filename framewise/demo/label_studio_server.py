"""A real Label Studio as a child process, and actions of its user over HTTP.

`LabelStudioServer` starts and stops the server, `LabelStudioApi` acts as its user. Both are shared by the demo and the
tests against a real Label Studio, and are not needed to serve or train.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from framewise.core.errors import FramewiseError
from framewise.core.storage import written_atomically
from framewise.processes import start_child, stop_child

HOST = "127.0.0.1"
DEFAULT_USERNAME = "demo@example.com"
POLL_SECONDS = 0.25
LOG_TAIL_CHARS = 4000


class LabelStudioStartError(FramewiseError):
    """Label Studio did not start, or refused a request. The message contains its output."""


class LabelStudioServer:
    """A separate Label Studio: own data folder, own account, on the loopback address only.

    executable:       path of the `label-studio` command.
    data_dir:         database, uploads, log and account; created if missing. A folder from an earlier run is
                      reused with its projects and its account (3 to 4 s instead of about 30 s).
    port:             0 for a free one.
    document_root:    folder of local-files storages; default `data_dir/files`.
    legacy_tokens:    let the organization accept the old 40-digit tokens (decided when the data folder is created).
    environment:      extra variables for the child, which override those set here.
    progress:         called about once per second with a line of text while waiting.
    start_seconds:    maximum time to wait until it answers.

    On Linux the server dies with the *thread* that called `start`; start it from one that lives long enough.
    The server gets PATH, LANG and a HOME inside the data folder from this process's environment, and nothing else.
    """

    def __init__(
        self,
        executable: str | Path,
        data_dir: str | Path,
        *,
        port: int = 0,
        document_root: str | Path | None = None,
        legacy_tokens: bool = True,
        environment: Mapping[str, str] | None = None,
        progress: Callable[[str], None] | None = None,
        start_seconds: float = 180.0,
    ) -> None:
        self.executable = Path(executable)
        self.data_dir = Path(data_dir).resolve()
        self.document_root = Path(document_root).resolve() if document_root else self.data_dir / "files"
        self.log_path = self.data_dir / "label-studio.log"
        self.port = port
        self.legacy_tokens = legacy_tokens
        self.username = ""
        self.password = ""
        self.legacy_token = ""
        self._environment = dict(environment or {})
        self._progress = progress or (lambda line: None)
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._personal_access_token: str | None = None

    @property
    def url(self) -> str:
        """Address without a trailing slash, known after the start."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """True if the server process is alive."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> LabelStudioServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until the account can log in. Raises LabelStudioStartError with the end of the log."""
        if self.running:
            raise LabelStudioStartError(f"this Label Studio is already running at {self.url}")
        if not self.executable.is_file():
            raise LabelStudioStartError(
                f"no Label Studio at {self.executable}; install one in its own environment, "
                "for example: python -m venv ls && ls/bin/pip install label-studio"
            )
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.document_root.mkdir(parents=True, exist_ok=True)
        self._read_or_create_account()
        self.port = _usable_port(self.port)
        command = [str(self.executable.absolute()), "start", "--no-browser"]
        command += ["--internal-host", HOST, "--port", str(self.port)]
        if self.legacy_tokens:
            command.append("--enable-legacy-api-token")
        with self.log_path.open("wb") as log:
            self._process = start_child(command, self._child_environment(), self.data_dir, log, signal.SIGKILL)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and everything it started: SIGTERM to its process group, then SIGKILL. May be repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        stop_child(process)

    def log_tail(self, chars: int = LOG_TAIL_CHARS) -> str:
        """Last `chars` characters of the server's log."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-chars:]

    def api(self) -> LabelStudioApi:
        """Client that acts as this server's user, with the legacy token."""
        return LabelStudioApi(self.url, self.legacy_token)

    def personal_access_token(self) -> str | None:
        """Personal access token (a JWT refresh token) of the user, the same at each call, also after a restart.

        Label Studio keeps one per user and shows it only once, so one from an earlier run is revoked. None if this
        version has none (they were added in 1.17). Raises LabelStudioStartError.
        """
        if self._personal_access_token is None:
            with self._logged_in() as client:
                answer = client.post("/api/token/")
                if answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                if answer.status_code == httpx.codes.CONFLICT:
                    for held in _checked(client.get("/api/token/")).json():
                        _checked(client.post("/api/token/blacklist/", json={"refresh": held["token"]}))
                    answer = client.post("/api/token/")
                self._personal_access_token = _checked(answer).json()["token"]
        return self._personal_access_token

    def _child_environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        ours = {
            "HOME": str(self.data_dir),
            "PYTHONUNBUFFERED": "1",
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.data_dir),
            "LABEL_STUDIO_USERNAME": self.username,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_USER_TOKEN": self.legacy_token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": str(self.legacy_tokens).lower(),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.document_root),
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # Since 1.23.1 backends and webhooks on private addresses are refused; ours is on the loopback address.
            "SSRF_PROTECTION_ENABLED": "false",
            "ML_BLOCK_LOCAL_IP": "false",
            "LATEST_VERSION_CHECK": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        return {**kept, **ours, **self._environment}

    def _read_or_create_account(self) -> None:
        """Read the account, or create and keep it: Label Studio takes it from the environment when it creates its database."""
        path = self.data_dir / "account.json"
        if not path.exists():
            account = {
                "username": DEFAULT_USERNAME,
                "password": secrets.token_urlsafe(12),
                "legacy_token": secrets.token_hex(20),
            }
            with written_atomically(path) as part:
                part.touch(mode=0o600)
                part.write_text(json.dumps(account), encoding="utf-8")
        account = json.loads(path.read_text(encoding="utf-8"))
        self.username, self.password = account["username"], account["password"]
        self.legacy_token = account["legacy_token"]

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        started = time.monotonic()
        told = started
        while True:
            if (code := self._process.poll()) is not None:
                raise LabelStudioStartError(
                    f"Label Studio ended with code {code} while starting; the end of {self.log_path}:\n{self.log_tail()}"
                )
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health/", timeout=5.0, trust_env=False).is_success:
                    break
            now = time.monotonic()
            if now - started > self._start_seconds:
                raise LabelStudioStartError(
                    f"Label Studio did not answer at {self.url} within {self._start_seconds:g} s; "
                    f"the end of {self.log_path}:\n{self.log_tail()}"
                )
            if now - told >= 1.0:
                told = now
                self._progress(f"waiting for Label Studio, {now - started:.0f} s")
            time.sleep(POLL_SECONDS)
        with self._logged_in():  # proves that this server answers, with this account
            self._progress(f"Label Studio is ready after {time.monotonic() - started:.0f} s")

    @contextlib.contextmanager
    def _logged_in(self) -> Iterator[httpx.Client]:
        """Context with a client logged in by the login form, like a browser. Raises LabelStudioStartError."""
        with httpx.Client(base_url=self.url, timeout=30.0, trust_env=False) as client:
            _checked(client.get("/user/login/"))
            form = {"email": self.username, "password": self.password, "persist_session": "on"}
            form["csrfmiddlewaretoken"] = client.cookies["csrftoken"]
            answer = client.post("/user/login/", data=form)
            if not answer.is_redirect:
                raise LabelStudioStartError(f"Label Studio at {self.url} does not accept {self.username}'s password")
            client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
            yield client


class LabelStudioApi:
    """Actions of a Label Studio user over its HTTP interface; they return its JSON.

    url:   address of Label Studio.
    token: legacy token ("Authorization: Token ..").
    Every method raises LabelStudioStartError with Label Studio's answer if its status is not 2xx.
    """

    def __init__(self, url: str, token: str, timeout_seconds: float = 120.0) -> None:
        # 120 s: "Retrieve predictions" waits for the backend, up to 100 s
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=timeout_seconds, trust_env=False
        )

    def __enter__(self) -> LabelStudioApi:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send any request; returns the decoded JSON, or None for an empty answer. `options` as in httpx."""
        answer = _checked(self._client.request(method, path, **options))
        return answer.json() if answer.content else None

    def create_project(self, title: str, label_config: str) -> dict:
        """Create a project; a title needs at least 3 characters."""
        return self.request("POST", "/api/projects/", json={"title": title, "label_config": label_config})

    def connect_backend(self, project_id: int, url: str, title: str, **more: str) -> dict:
        """Add an ML backend; Label Studio calls its /health and /setup at once and creates a webhook to it.

        more: further fields of Label Studio's request.
        """
        return self.request("POST", "/api/ml/", json={"project": project_id, "url": url, "title": title, **more})

    def import_files(self, project_id: int, paths: Sequence[str | Path]) -> list[dict]:
        """Upload files, one task each; returns the tasks in the order of `paths`."""
        return [self._import_file(project_id, Path(path)) for path in paths]

    def _import_file(self, project_id: int, path: Path) -> dict:
        with path.open("rb") as file:
            answer = self.request(
                "POST",
                f"/api/projects/{project_id}/import",
                params={"return_task_ids": "true"},
                files={"file": (path.name, file)},
            )
        return self.tasks_by_id(project_id, answer["task_ids"])[0]

    def tasks_by_id(self, project_id: int, task_ids: Sequence[int]) -> list[dict]:
        by_id = {task["id"]: task for task in self.tasks(project_id)}
        return [by_id[task_id] for task_id in task_ids]

    def tasks(self, project_id: int) -> list[dict]:
        """All tasks of a project with annotations and predictions, sorted by id; requests no predictions from backends."""
        found: list[dict] = []
        while True:
            page = {"project": project_id, "fields": "all", "page_size": 100, "page": len(found) // 100 + 1}
            answer = self.request("GET", "/api/tasks/", params=page)
            found += answer["tasks"]
            if not answer["tasks"] or len(found) >= answer["total"]:
                return sorted(found, key=lambda task: task["id"])

    def submit_annotation(self, task_id: int, result: Sequence[Mapping[str, Any]]) -> dict:
        """Submit a new annotation with these regions, as by the "Submit" button."""
        return self.request("POST", f"/api/tasks/{task_id}/annotations/", json={"result": list(result)})

    def predictions(self, task_id: int) -> list[dict]:
        """Stored predictions of a task, oldest first."""
        stored = self.request("GET", "/api/predictions/", params={"task": task_id})
        return sorted(stored, key=lambda prediction: prediction["id"])

    def retrieve_predictions(self, project_id: int, task_ids: Sequence[int]) -> dict:
        """Run the Data Manager's "Retrieve predictions" for these tasks; it answers 200 even if the backend failed."""
        return self.request(
            "POST",
            "/api/dm/actions/",
            params={"id": "retrieve_tasks_predictions", "project": project_id},
            json={"selectedItems": {"all": False, "included": list(task_ids)}, "project": str(project_id)},
        )


def _checked(answer: httpx.Response) -> httpx.Response:
    """Return the answer if its status is 2xx. Raises LabelStudioStartError with request, status and text."""
    if not answer.is_success:
        request = answer.request
        raise LabelStudioStartError(f"{request.method} {request.url} answered {answer.status_code}: {answer.text[:2000]}")
    return answer


def _usable_port(port: int) -> int:
    """`port` if it is free, or any free port for 0.

    Otherwise Label Studio would silently take the next higher port. Raises LabelStudioStartError.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LabelStudioStartError(f"port {port} of {HOST} is taken ({error}); give another, or 0 for any") from error
        return probe.getsockname()[1]
