"""Authentication: basic auth for Label Studio's own calls, a bearer token for its webhooks.

Label Studio sends no basic auth with ANNOTATION_* events, but a webhook can have a custom header. With START_TRAINING, sent
to the same address, it sends basic auth and no such header. So /webhook accepts either of the two that are configured.
"""

import hmac
from collections.abc import Callable

from flask import Response, request
from werkzeug.exceptions import Unauthorized

from framewise.server.pages.guard import wants_page
from framewise.settings import Settings

OPEN_PATHS = (
    "/",
    "/health",
)  # except for its page, tells only that the server is up; containers ask without a password


def require_auth(settings: Settings) -> Callable[[], None]:
    """A before-request function that returns or raises Unauthorized."""

    def check() -> None:
        if request.path in OPEN_PATHS and not wants_page():
            return
        checks = []
        if settings.basic_auth_user:
            checks.append(_has_basic(settings))
        if request.path == "/webhook" and settings.webhook_token:
            checks.append(_same(request.headers.get("Authorization", ""), f"Bearer {settings.webhook_token}"))
        if checks and not any(checks):
            hint = "the webhook's header Authorization: Bearer WEBHOOK_TOKEN" if request.path == "/webhook" else "basic auth"
            challenge = Response(status=401, headers={"WWW-Authenticate": 'Basic realm="framewise"'})
            raise Unauthorized(f"expected {hint}", response=None, www_authenticate=challenge.www_authenticate)

    return check


def _has_basic(settings: Settings) -> bool:
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    user = _same(given.username or "", settings.basic_auth_user or "")
    password = _same(given.password or "", settings.basic_auth_pass or "")
    return user and password


def _same(given: str, expected: str) -> bool:
    """Compare in constant time, which does not reveal how much of a secret was right."""
    return hmac.compare_digest(given.encode(), expected.encode())
