"""The one client of Label Studio: its address, its token, predictions. Nothing else imports the SDK's client.

The key goes to LABEL_STUDIO_URL's origin alone, never to an address from a request.
"""

import threading
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

from framewise.core.errors import LabelStudioError

REQUEST_TIMEOUT_SECONDS = 30.0
HOW_TO_CONNECT = (
    "set LABEL_STUDIO_URL to the address of Label Studio as this backend reaches it, and LABEL_STUDIO_API_KEY to an "
    "access token (in Label Studio: Account & Settings > Personal Access Token)"
)


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

    def absolute(self, path: str) -> str:
        """Address of a path that Label Studio wrote into task data, such as ``/data/upload/1/a.mp4``.

        Label Studio behind a path prefix may or may not have written the prefix. Raises LabelStudioError without a URL.
        """
        if not self.url:
            raise LabelStudioError(f"{path} is a file of Label Studio, whose address is not known: {HOW_TO_CONNECT}")
        prefix = urlsplit(self.url).path
        if prefix and not path.startswith(prefix + "/"):
            path = prefix + path
        return urljoin(self.url, path)

    def owns(self, url: str) -> bool:
        """Whether an address is of Label Studio's own origin: the only one that may see the key."""
        return bool(self.url) and _origin(url) == _origin(self.url or "")

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

    @cached_property
    def _sdk(self) -> Any:
        from label_studio_sdk import LabelStudio  # imports for a second: only where it is needed

        return LabelStudio(base_url=self.url, api_key=self._api_key, timeout=REQUEST_TIMEOUT_SECONDS)

    def _explained(self, doing: str, error: Exception) -> LabelStudioError:
        status = getattr(error, "status_code", None)
        what = f"it answered {status}" if status else f"{type(error).__name__}: {error}"
        cure = "check LABEL_STUDIO_API_KEY" if status in (401, 403) else "is Label Studio running there?"
        return LabelStudioError(f"Label Studio at {self.url}, {doing}: {what}; {cure}")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
