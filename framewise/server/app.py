"""The web process: a Flask application over the use cases."""

import logging
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from framewise import __version__
from framewise.assembly import Assembly
from framewise.core.errors import (
    BackboneError,
    ConfigError,
    FramewiseError,
    MediaError,
    NotKnown,
    RequestError,
    StorageBusy,
    StorageDamaged,
    StorageFull,
)
from framewise.server.auth import require_auth
from framewise.server.callers import ForeignPage, refuse_foreign_pages
from framewise.server.metrics import metrics_blueprint
from framewise.server.pages.guard import wants_page
from framewise.server.pages.routes import error_page, pages_blueprint
from framewise.server.protocol import protocol_blueprint
from framewise.server.refusals import Refusals
from framewise.server.sync_page.routes import sync_blueprint
from framewise.settings import Settings

logger = logging.getLogger(__name__)

# /predict may receive 300 tasks with all of their annotations and predictions, a webhook all annotations created at once,
# and /setup a labeling config. While a body is processed, it is in memory several times over.
MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_BODY_BYTES_OF = {"/webhook": 64 * 1024 * 1024, "/setup": 8 * 1024 * 1024}
STATUS_CODES: tuple[tuple[type[FramewiseError], int], ...] = (
    (NotKnown, 404),
    (RequestError, 400),
    (ConfigError, 400),
    (BackboneError, 400),
    (MediaError, 422),
    (StorageFull, 507),
    (StorageBusy, 503),
    (StorageDamaged, 503),
)
# Label Studio's dialog renders messages as HTML, so that anything in angle brackets vanishes.
NO_TAGS = str.maketrans("<>", "\u2039\u203a")
MAX_REASON_CHARS = 400
# Threads of a web process that predictions may not wait on: health, setup and webhooks are always answered.
FREE_THREADS = 2


CALLED_BY_PROGRAMS = ("/setup", "/predict", "/webhook", "/versions", "/metrics")


def create_app(settings: Settings) -> Flask:
    """The WSGI application for these settings."""
    assembly = Assembly(settings, waiting_slots=settings.threads - FREE_THREADS)
    app, refusals = Flask("framewise"), Refusals(assembly.jobs.states)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(refuse_foreign_pages(settings))
    app.before_request(require_auth(settings))
    app.before_request(_limit_body)
    app.register_blueprint(protocol_blueprint(assembly))
    app.register_blueprint(metrics_blueprint(assembly, refusals))
    app.register_blueprint(pages_blueprint(assembly))
    if settings.sync_page:
        app.register_blueprint(sync_blueprint(settings))
    app.after_request(lambda response: _note_answer(response, refusals))
    app.register_error_handler(FramewiseError, _on_known_error)
    app.register_error_handler(HTTPException, lambda error: _on_http_error(error, refusals))
    app.register_error_handler(RecursionError, _on_deep_nesting)
    app.register_error_handler(Exception, _on_defect)
    logger.info("framewise %s, models in %s", __version__, settings.model_root)
    return app


def _limit_body() -> None:
    request.max_content_length = MAX_BODY_BYTES_OF.get(request.path, MAX_BODY_BYTES)


def _on_deep_nesting(error: RecursionError) -> Response:
    logger.error("%s: %s", request.path, error)
    return _error(400, f"{request.path}: expected JSON of a few levels, found JSON that is nested too deeply")


def _on_known_error(error: FramewiseError) -> Response:
    status = next((code for kind, code in STATUS_CODES if isinstance(error, kind)), 500)
    logger.error("%s", error)
    return _error(status, str(error))


def _on_http_error(error: HTTPException, refusals: Refusals) -> Response:
    if error.code == 401 or isinstance(error, ForeignPage):
        reason = "password" if error.code == 401 else "foreign page"
        refusals.refuse(reason, str(error.description), _called_route())
    message = error.description or error.name
    if error.code == 413:
        message = f"{request.path}: expected a body of at most {request.max_content_length} bytes, found a larger one"
    return _error(error.code or 500, message, error.get_response().headers)


def _called_route() -> str | None:
    """Route of a request, if programs call it: Label Studio does not tell its users about refusals."""
    rule = request.url_rule.rule if request.url_rule else None
    return rule if rule in CALLED_BY_PROGRAMS else None


def _note_answer(response: Response, refusals: Refusals) -> Response:
    if response.status_code < 400 and (route := _called_route()):
        refusals.answer(route)
    return response


def _on_defect(error: Exception) -> Response:
    logger.exception("internal error")
    return _error(500, f"internal error ({type(error).__name__}); see the framewise log")


def _error(status: int, message: str, headers: Any = None) -> Response:
    message = message.translate(NO_TAGS)
    response = error_page(status, message) if wants_page() else jsonify({"error": message})
    # For a refused /setup, Label Studio shows its users only the status line, so the message is there too, not only in the
    # body.
    response.status = f"{status} {_one_line(message)}"
    if headers and "WWW-Authenticate" in headers:
        response.headers["WWW-Authenticate"] = headers["WWW-Authenticate"]
    return response


def _one_line(message: str) -> str:
    """A message for a status line: printable ASCII without line breaks, escaped for Label Studio, which renders it as HTML."""
    line, left = "", MAX_REASON_CHARS
    for c in " ".join(message.split()):
        written = c if " " <= c <= "~" and c != "&" else f"&#{ord(c)};" if c.isprintable() else "?"
        left -= len(written)
        if left < 0:
            break
        line += written
    return line
