"""Client of Label Studio's API, the only user of the SDK's client.

The key is sent only to the origin of LABEL_STUDIO_URL, never to an address from a request.
"""

import base64
import json
import re
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import httpcore
import httpx

from framewise.core.errors import LabelStudioError, LabelStudioUnavailable, MediaForbidden
from framewise.label_studio_calls import PATIENCE_SECONDS, Breaker, CallRefused, OneCallClient

REQUEST_TIMEOUT = httpx.Timeout(30.0, connect=5.0)  # a training waits while Label Studio is asked for its annotations
MAX_DECODINGS = 4  # more than servers and proxies apply
TASKS_A_PAGE = 500
ANNOTATED_TASKS_A_PAGE = 100  # with all regions of all annotations
# Label Studio omits all other fields, at every depth; otherwise predictions would be most of an answer.
FIELDS_OF_ANNOTATIONS = "id,data,updated_at,annotations,result,was_cancelled,ground_truth"
HOW_TO_CONNECT = (
    "set LABEL_STUDIO_URL to the address of Label Studio as this backend reaches it, and LABEL_STUDIO_API_KEY to an "
    "access token (in Label Studio: Account & Settings > Personal Access Token)"
)
# Addresses where Label Studio serves media (its urls.py, data_import/urls.py, io_storages/localfiles/urls.py), including those
# that resolve a file in cloud storage (io_storages/proxy_api.py). The key is sent to no other address.
RESOLVING_PATH = re.compile(r"/(tasks|projects)/\d+/(presign|resolve)/?")
MEDIA_PATH = re.compile(rf"/data/upload/.+|/data/local-files/?|/storage-data/uploaded/?|{RESOLVING_PATH.pattern}")


def _filter(column: str, operator: str, type: str, value: Any) -> dict[str, Any]:
    """Filter of the Data Manager, as read by its managers.py."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": type, "value": value}


NOT_ANNOTATED = _filter("total_annotations", "equal", "Number", 0)


class ProjectState(NamedTuple):
    """State of a project. created: Unix seconds. model_version: the one that prelabels tasks, "" for none."""

    created: int
    title: str
    model_version: str


class LabelStudioClient:
    """Client of Label Studio's API, with a personal access token (exchanged by the SDK) or a legacy token.

    url, api_key: None if not set. connected: True if calls are possible.
    """

    def __init__(self, url: str | None, api_key: str | None):
        self.url = url
        self._api_key = api_key
        self._lock = threading.Lock()
        self._breaker = Breaker()

    @property
    def connected(self) -> bool:
        return bool(self.url and self._api_key)

    @property
    def refusal(self) -> str | None:
        """Reason why Label Studio is not asked now, after a failure; None if it is."""
        return self._breaker.refusal()

    def absolute(self, path: str, name: str = "") -> str:
        """Absolute address of a path in task data written by Label Studio, such as ``/data/upload/1/a.mp4``.

        Behind a path prefix, Label Studio may or may not have included the prefix. name: of the file, for errors.
        Raises LabelStudioError without a URL.
        """
        if not self.url:
            raise LabelStudioError(
                f"{name or path} is a file of Label Studio, but LABEL_STUDIO_URL is not set: {HOW_TO_CONNECT}"
            )
        if self._prefix and not path.startswith(self._prefix + "/"):
            path = self._prefix + path
        return urljoin(self.url, path)

    def presign_url(self, storage_uri: str, task: int) -> str:
        """Address where Label Studio resolves a task's file in cloud storage, such as ``s3://bucket/a.mp4``."""
        encoded = base64.urlsafe_b64encode(storage_uri.encode()).decode()
        return self.absolute(f"/tasks/{task}/presign/?fileuri={encoded}", storage_uri)

    def storage_uri(self, url: httpx.URL) -> str | None:
        """File in cloud storage that an address of Label Studio resolves, decoded like there; None for other addresses."""
        encoded = url.params.get("fileuri")
        if not (self.owns(url) and encoded and RESOLVING_PATH.fullmatch(self.path_of(url))):
            return None
        try:
            return base64.urlsafe_b64decode(encoded.encode()).decode()
        except ValueError:
            return unquote(encoded)

    def owns(self, url: httpx.URL) -> bool:
        """True if an address has Label Studio's origin, the only one that may receive the key."""
        return self.url is not None and _origin(url) == _origin(httpx.URL(self.url))

    def path_of(self, url: httpx.URL) -> str:
        """Path of a Label Studio address below its prefix, decoded as often as any server on the way might do it. Raises
        MediaForbidden for a path that could lead elsewhere."""
        path = url.raw_path.decode("ascii").partition("?")[0]
        for _ in range(MAX_DECODINGS):
            path = unquote(path)
        if path != unquote(path) or {".", ".."} & set(path.split("/")) or re.search(r"[\\\x00-\x1f]", path):
            raise MediaForbidden(f"{path!r} is not the address of a media file of Label Studio")
        return path.removeprefix(self._prefix)

    def media_headers(self, url: httpx.URL) -> dict[str, str]:
        """Headers for a request of one of Label Studio's media files. Raises MediaForbidden for other addresses,
        LabelStudioError if the token is refused or missing."""
        path = self.path_of(url)
        if not MEDIA_PATH.fullmatch(path):
            raise MediaForbidden(
                f"{path!r} is not the address of a media file of Label Studio; expected /data/upload/..., "
                "/data/local-files/?d=..., or one that resolves a file in cloud storage"
            )
        return self.auth_headers()

    def auth_headers(self) -> dict[str, str]:
        """Current Authorization header. Raises LabelStudioError if the token is refused or missing."""
        if not self.connected:
            raise LabelStudioError(f"Label Studio requires a token: {HOW_TO_CONNECT}")
        with self._trying("exchanging LABEL_STUDIO_API_KEY for an access token"):
            return self._authorization()

    def check_downloads(self) -> None:
        """Raises LabelStudioUnavailable if it is of no use to wait for a download of another thread."""
        with self._refusals("downloading a file"):
            self._breaker.check()

    @contextmanager
    def downloading(self) -> Iterator[Callable[[int], None]]:
        """Context of a download from Label Studio, as ``Breaker.downloading``. A failed connection keeps further calls and
        downloads away for a while. Raises LabelStudioUnavailable."""
        try:
            with self._refusals("downloading a file"), self._breaker.downloading() as received:
                yield received
            self._breaker.succeed()
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError) as error:
            self._breaker.fail(f"Label Studio at {self._shown}, downloading a file: {type(error).__name__}: {error}")
            raise

    def push_prediction(
        self, task_id: int, result: list[dict[str, Any]], score: float, model_version: str, superseded: Collection[str] = ()
    ) -> None:
        """Store a prediction unless the task already has one of this version, even if it arrived meanwhile.

        superseded: model versions whose prediction is updated to this one. It keeps its number, because an open editor submits
        that, and Label Studio refuses a missing number. A prediction from which an annotation was made is not changed. Must not
        run twice at once for one task. Raises LabelStudioError.
        """
        if not self.connected:
            raise LabelStudioError(f"predictions cannot be sent: {HOW_TO_CONNECT}")
        with self._asking(f"sending the prediction of task {task_id}"):
            existing = self._sdk.predictions.list(task=task_id)
            if any(p.model_version == model_version for p in existing):
                return
            ours = {"result": result, "score": score, "model_version": model_version}
            old = self._without_annotation([p for p in existing if p.model_version in superseded])
            pushed = (
                self._sdk.predictions.update(max(old), **ours) if old else self._sdk.predictions.create(task=task_id, **ours)
            )
            same = [p for p in self._sdk.predictions.list(task=task_id) if p.model_version == model_version]
            if len(same) > 1:  # keep the one stored by Label Studio itself, which is open in somebody's editor
                self._delete_predictions(self._without_annotation([p for p in same if p.id == pushed.id]))

    def remove_predictions(self, task_id: int, versions: Collection[str]) -> int:
        """Remove a task's predictions of these model versions, except those from which an annotation was made; returns their
        number. Raises LabelStudioError."""
        with self._asking(f"removing predictions of task {task_id}"):
            found = [p for p in self._sdk.predictions.list(task=task_id) if p.model_version in versions]
            return self._delete_predictions(self._without_annotation(found))

    def is_annotated(self, task_id: int) -> bool:
        """True if a task has an annotation that was not skipped. Raises LabelStudioError."""
        with self._asking(f"asking for the annotations of task {task_id}"):
            return any(not a.was_cancelled for a in self._sdk.annotations.list(task_id))

    def project_state(self, project_id: int) -> "ProjectState":
        """State of a project. Raises LabelStudioError."""
        with self._asking(f"asking for project {project_id}"):
            project = self._sdk.projects.get(project_id)
            created = int(project.created_at.timestamp())
            return ProjectState(created, str(project.title or ""), project.model_version or "")

    def choose_version(self, project_id: int, model_version: str) -> None:
        """Choose the model version that prelabels a project's tasks. Raises LabelStudioError."""
        with self._asking(f"choosing version {model_version} in project {project_id}"):
            self._sdk.projects.update(project_id, model_version=model_version)

    def tasks_without_annotation(self, project_id: int) -> dict[int, dict[str, Any]]:
        """Imported data of a project's tasks without annotations, by id. Raises LabelStudioError."""
        return {task.id: task.data if isinstance(task.data, dict) else {} for task in self._tasks(project_id, NOT_ANNOTATED)}

    def tasks_with_versions(self, project_id: int, versions: Sequence[str]) -> list[int]:
        """Tasks without annotations or drafts that have predictions of one of these versions. A draft means that somebody works
        on the task. Raises LabelStudioError."""
        if not versions:
            return []
        of_versions = _filter("predictions_model_versions", "contains", "List", list(versions))
        no_draft = _filter("draft_exists", "equal", "Boolean", False)
        return sorted({task.id for task in self._tasks(project_id, NOT_ANNOTATED, of_versions, no_draft)})

    def _tasks(self, project_id: int, *filters: dict[str, Any]) -> Iterator[Any]:
        """Yield tasks of the Data Manager's list, which requests no predictions from backends, unlike a single task's
        address."""
        last = 0
        while True:
            after = _filter("id", "greater", "Number", last)  # so that none is missed if others are annotated meanwhile
            query = json.dumps({"filters": {"conjunction": "and", "items": [after, *filters]}, "ordering": ["tasks:id"]})
            with self._asking(f"listing the tasks of project {project_id}"):
                page = self._sdk.tasks.list(
                    project=project_id,
                    fields="task_only",
                    include="id,data",
                    resolve_uri=False,
                    query=query,
                    page_size=TASKS_A_PAGE,
                )
            yield from page.items or []
            if not page.items or len(page.items) >= page.response.total:
                return
            last = max(task.id for task in page.items)

    def task_pages(
        self, project_id: int, page_size: int = ANNOTATED_TASKS_A_PAGE
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Yield (total number of tasks, tasks of a page with their annotations, as Label Studio's JSON) for a whole project.

        Each page requests tasks after the last one's number, so that none is missed if others are deleted meanwhile.
        Requests no predictions from backends. Raises LabelStudioError.
        """
        last, seen, total = 0, 0, 0
        while True:
            query = {"filters": {"conjunction": "and", "items": [_filter("id", "greater", "Number", last)]}}
            asked = {"project": project_id, "fields": "all", "include": FIELDS_OF_ANNOTATIONS, "resolve_uri": "false"}
            ordered = json.dumps({**query, "ordering": ["tasks:id"]})
            answer = self._get("/api/tasks/", {**asked, "query": ordered, "page_size": page_size}, "listing annotations")
            try:
                page, left = list(answer["tasks"]), int(answer["total"])
                numbers = [int(task["id"]) for task in page]
            except (TypeError, KeyError, ValueError):
                raise LabelStudioError(f"Label Studio at {self._shown}: its task list cannot be read") from None
            if page and min(numbers) <= last:
                raise LabelStudioError(f"Label Studio at {self._shown}: its task list has no task numbers")
            last, seen, total = max(numbers, default=last), seen + len(page), max(total, seen + left)
            if page:
                yield total, page
            if len(page) >= left:
                return

    def _get(self, path: str, parameters: dict[str, Any], doing: str) -> Any:
        headers = self.auth_headers()
        with self._asking(doing):
            return self._http.get(self.absolute(path), params=parameters, headers=headers).json()

    def _without_annotation(self, predictions: list[Any]) -> list[int]:
        """Numbers of a task's predictions from which no annotation was made.

        A task's own list of annotations omits skipped ones; the Data Manager's list has them.
        """
        if not predictions:
            return []
        query = json.dumps({"selectedItems": {"all": False, "included": [predictions[0].task]}})
        tasks = self._sdk.tasks.list(project=predictions[0].project, fields="all", resolve_uri=False, query=query).items or []
        if [task.id for task in tasks] != [predictions[0].task]:
            return []  # the task is gone, or not visible with this key
        parents = {annotation["parent_prediction"] for annotation in tasks[0].annotations or []}
        return [p.id for p in predictions if p.id not in parents]

    def _delete_predictions(self, predictions: list[int]) -> int:
        for number in predictions:
            try:
                self._sdk.predictions.delete(number)
            except Exception as error:
                if _status(error) != 404:  # already deleted by somebody else
                    raise
        return len(predictions)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """``_trying``, for calls that end with an answer."""
        with self._trying(doing):
            self._authorization()  # else all calls would wait for an exchange of the token, in a lock of the SDK
            yield
        self._breaker.succeed()

    def _authorization(self) -> dict[str, str]:
        """Current Authorization header; the token is exchanged if necessary. Raises CallRefused if another exchange hangs."""
        headers = self._sdk._client_wrapper.get_headers
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            raise CallRefused("an earlier exchange of the token is not answered yet")
        try:
            return {"Authorization": headers()["Authorization"]}
        finally:
            self._lock.release()

    @contextmanager
    def _trying(self, doing: str) -> Iterator[None]:
        """Turn errors inside into a LabelStudioError. After one that says that Label Studio is away, further calls fail at once
        for a while."""
        if refusal := self.refusal:
            raise LabelStudioUnavailable(f"Label Studio at {self._shown}, {doing}: {refusal}")
        try:
            with self._refusals(doing):
                yield
        except LabelStudioUnavailable:
            raise
        except Exception as error:
            explained = self._explained(doing, error)
            if isinstance(explained, LabelStudioUnavailable):
                self._breaker.fail(str(explained))
            raise explained from None

    @contextmanager
    def _refusals(self, doing: str) -> Iterator[None]:
        try:
            yield
        except CallRefused as refused:
            raise LabelStudioUnavailable(f"Label Studio at {self._shown}, {doing}: {refused}") from None

    @property
    def _prefix(self) -> str:
        return urlsplit(self.url or "").path

    @cached_property
    def _http(self) -> httpx.Client:
        # Redirects are not followed: they would take a personal access token, which is in a request's body, to wherever they
        # lead. The hook tells a failure by its status; the SDK's exchange of the token would try to read it as JSON.
        return OneCallClient(
            self._breaker,
            timeout=REQUEST_TIMEOUT,
            follow_redirects=False,
            event_hooks={"response": [lambda response: response.raise_for_status()]},
        )

    @cached_property
    def _sdk(self) -> Any:
        from label_studio_sdk import LabelStudio  # its import takes a second

        # The slash keeps the exchange of the token below a path prefix. No retries here: a failed job is retried as a whole and
        # first checks what was stored; a retried request could store a prediction twice.
        return LabelStudio(
            base_url=f"{self.url}/", api_key=self._api_key, timeout=REQUEST_TIMEOUT, max_retries=0, httpx_client=self._http
        )

    def _explained(self, doing: str, error: Exception) -> LabelStudioError:
        status = _status(error)
        # The text of a ValueError contains the unreadable answer, which may include a token.
        text = "its answer cannot be read" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        what = f"it answered {status}" if status else text
        said = f"Label Studio at {self._shown}, {doing}: {what}"
        if status in (401, 403):
            return LabelStudioError(f"{said}; check LABEL_STUDIO_API_KEY")
        if status and 300 <= status < 400:
            return LabelStudioError(f"{said}; LABEL_STUDIO_URL must be the address to which it redirects")
        if is_untrusted_certificate(error):
            return LabelStudioError(f"{said}; if your own certificate authority signed it, set SSL_CERT_FILE to its file")
        # An answer that is not valid JSON comes from a proxy while Label Studio restarts, or from something else.
        if isinstance(error, httpx.TransportError | ValueError) or (status and (status >= 500 or status in (408, 429))):
            return LabelStudioUnavailable(f"{said}; is Label Studio running there?")
        return LabelStudioError(f"{said}; is Label Studio running there?")

    @property
    def _shown(self) -> str:
        return str(httpx.URL(self.url or "").copy_with(userinfo=b""))


def _status(error: Exception) -> int | None:
    """Status of Label Studio's answer, if there was one."""
    answer = error.response if isinstance(error, httpx.HTTPStatusError) else error
    status: int | None = getattr(answer, "status_code", None)
    return status


def is_untrusted_certificate(error: BaseException | None) -> bool:
    """True if a connection failed because the server's certificate is not trusted; waiting does not help then."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _origin(url: httpx.URL) -> tuple[str, bytes, int]:
    return url.scheme, url.raw_host.lower().rstrip(b"."), url.port or (443 if url.scheme == "https" else 80)
