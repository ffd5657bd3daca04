"""The one client of Label Studio: its address, its token, predictions. Nothing else imports the SDK's client.

The key goes to LABEL_STUDIO_URL's origin alone, never to an address from a request.
"""

import base64
import re
import ssl
import threading
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from framewise.core.errors import LabelStudioError, LabelStudioUnavailable, MediaForbidden

REQUEST_TIMEOUT_SECONDS = 30.0
MAX_DECODINGS = 4  # more than servers and proxies do
HOW_TO_CONNECT = (
    "set LABEL_STUDIO_URL to the address of Label Studio as this backend reaches it, and LABEL_STUDIO_API_KEY to an "
    "access token (in Label Studio: Account & Settings > Personal Access Token)"
)
# Addresses below which Label Studio serves media (its urls.py, data_import/urls.py, io_storages/localfiles/urls.py), and among
# them those that tell where a file in cloud storage is (io_storages/proxy_api.py). The key is sent to nothing else there.
RESOLVING_PATH = re.compile(r"/(tasks|projects)/\d+/(presign|resolve)/?")
MEDIA_PATH = re.compile(rf"/data/upload/.+|/data/local-files/?|/storage-data/uploaded/?|{RESOLVING_PATH.pattern}")


class LabelStudioClient:
    """Calls Label Studio's API with a personal access token (exchanged by the SDK) or a legacy token.

    url, api_key: None where they are not set; ``connected`` says whether calls are possible.
    """

    def __init__(self, url: str | None, api_key: str | None):
        self.url = url
        self._api_key = api_key
        self._lock = threading.Lock()

    @property
    def connected(self) -> bool:
        return bool(self.url and self._api_key)

    def absolute(self, path: str, name: str = "") -> str:
        """Address of a path that Label Studio wrote into task data, such as ``/data/upload/1/a.mp4``.

        Label Studio behind a path prefix may or may not have written the prefix. name: what to call the file in an error.
        Raises LabelStudioError without a URL.
        """
        if not self.url:
            raise LabelStudioError(f"{name or path} is a file of Label Studio, whose address is not known: {HOW_TO_CONNECT}")
        if self._prefix and not path.startswith(self._prefix + "/"):
            path = self._prefix + path
        return urljoin(self.url, path)

    def presign_url(self, storage_uri: str, task: int) -> str:
        """Where Label Studio tells, for a task, the place of a file in cloud storage, such as ``s3://bucket/a.mp4``."""
        encoded = base64.urlsafe_b64encode(storage_uri.encode()).decode()
        return self.absolute(f"/tasks/{task}/presign/?fileuri={encoded}", storage_uri)

    def storage_uri(self, url: httpx.URL) -> str | None:
        """The file in cloud storage that an address of Label Studio resolves; None for other addresses. Decoded as there."""
        encoded = url.params.get("fileuri")
        if not (self.owns(url) and encoded and RESOLVING_PATH.fullmatch(self.path_of(url))):
            return None
        try:
            return base64.urlsafe_b64decode(encoded.encode()).decode()
        except ValueError:
            return unquote(encoded)

    def owns(self, url: httpx.URL) -> bool:
        """Whether an address is of Label Studio's own origin: the only one that may see the key."""
        return self.url is not None and _origin(url) == _origin(httpx.URL(self.url))

    def path_of(self, url: httpx.URL) -> str:
        """The path of an own address below Label Studio's prefix, decoded as often as anybody on the way might do it. Raises
        MediaForbidden for one that could lead elsewhere than it says."""
        path = url.raw_path.decode("ascii").partition("?")[0]
        for _ in range(MAX_DECODINGS):
            path = unquote(path)
        if path != unquote(path) or {".", ".."} & set(path.split("/")) or re.search(r"[\\\x00-\x1f]", path):
            raise MediaForbidden(f"{path!r} is no address of a media file of Label Studio")
        return path.removeprefix(self._prefix)

    def media_headers(self, url: httpx.URL) -> dict[str, str]:
        """The headers of a request for one of Label Studio's media files. Raises MediaForbidden if it is for something else,
        LabelStudioError if the token is refused or missing."""
        path = self.path_of(url)
        if not MEDIA_PATH.fullmatch(path):
            raise MediaForbidden(
                f"{path!r} is no address of a media file of Label Studio; expected /data/upload/..., /data/local-files/?d=..., "
                "or one that resolves a file in cloud storage"
            )
        return self.auth_headers()

    def auth_headers(self) -> dict[str, str]:
        """The Authorization header of a request now. Raises LabelStudioError if the token is refused or missing."""
        if not self.connected:
            raise LabelStudioError(f"Label Studio asks for a token: {HOW_TO_CONNECT}")
        try:
            with self._lock:
                return {"Authorization": self._sdk._client_wrapper.get_headers()["Authorization"]}
        except Exception as error:
            raise self._explained("exchanging LABEL_STUDIO_API_KEY for an access token", error) from None

    def push_prediction(self, task_id: int, result: list[dict[str, Any]], score: float, model_version: str) -> None:
        """Store a prediction unless the task has one of this version already. Raises LabelStudioError."""
        if not self.connected:
            raise LabelStudioError(f"predictions cannot be pushed: {HOW_TO_CONNECT}")
        try:
            existing = self._sdk.predictions.list(task=task_id)
            if any(p.model_version == model_version for p in existing):
                return
            self._sdk.predictions.create(task=task_id, result=result, score=score, model_version=model_version)
        except Exception as error:
            raise self._explained(f"pushing the prediction of task {task_id}", error) from None

    @property
    def _prefix(self) -> str:
        return urlsplit(self.url or "").path

    @cached_property
    def _sdk(self) -> Any:
        from label_studio_sdk import LabelStudio  # imports for a second: only where it is needed

        # Redirects are not followed: they would take a personal access token, which is in a request's body, to wherever they
        # lead. The hook tells a failure by its status; the SDK's exchange of the token would try to read it as JSON.
        client = httpx.Client(
            timeout=REQUEST_TIMEOUT_SECONDS,
            follow_redirects=False,
            event_hooks={"response": [lambda response: response.raise_for_status()]},
        )
        # With its slash the exchange of the token, too, is below a path prefix.
        return LabelStudio(base_url=f"{self.url}/", api_key=self._api_key, timeout=REQUEST_TIMEOUT_SECONDS, httpx_client=client)

    def _explained(self, doing: str, error: Exception) -> LabelStudioError:
        answer = error.response if isinstance(error, httpx.HTTPStatusError) else error
        status = getattr(answer, "status_code", None)
        # The text of a ValueError shows the answer that could not be read, in which a token may be.
        text = "its answer cannot be read" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        what = f"it answered {status}" if status else text
        said = f"Label Studio at {self._shown}, {doing}: {what}"
        if status in (401, 403):
            return LabelStudioError(f"{said}; check LABEL_STUDIO_API_KEY")
        if status and 300 <= status < 400:
            return LabelStudioError(f"{said}; LABEL_STUDIO_URL must be the address to which it redirects")
        if is_untrusted_certificate(error):
            return LabelStudioError(f"{said}; if an authority of your own signs certificates, SSL_CERT_FILE names its file")
        # An answer that is no JSON is of a proxy in front, while Label Studio restarts, or of something else.
        if isinstance(error, httpx.TransportError | ValueError) or (status and (status >= 500 or status in (408, 429))):
            return LabelStudioUnavailable(f"{said}; is Label Studio running there?")
        return LabelStudioError(f"{said}; is Label Studio running there?")

    @property
    def _shown(self) -> str:
        return str(httpx.URL(self.url or "").copy_with(userinfo=b""))


def is_untrusted_certificate(error: BaseException | None) -> bool:
    """Whether a connection failed since no known authority vouches for the server: waiting does not help then."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _origin(url: httpx.URL) -> tuple[str, bytes, int]:
    return url.scheme, url.raw_host.lower().rstrip(b"."), url.port or (443 if url.scheme == "https" else 80)
