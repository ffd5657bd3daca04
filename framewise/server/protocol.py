"""Label Studio's ML backend protocol (label-studio-ml 2.x), as a running Label Studio uses it."""

import math
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from framewise import __version__
from framewise.assembly import Assembly
from framewise.backend.identifiers import is_id, storable
from framewise.core.errors import RequestError, brief

# Lists and objects of a body: more than 256 MiB of tasks with regions contain, and more than one per range of a region.
MAX_CONTAINERS = 4_000_000
ALWAYS_CONTAINERS = 100_000
BYTES_A_CONTAINER = 15

HEALTH = {"status": "UP", "model_class": "framewise", "version": __version__}


def protocol_blueprint(assembly: Assembly) -> Blueprint:
    """Routes that Label Studio calls, and /jobs for people."""
    protocol = Blueprint("protocol", __name__)
    backend = assembly.backend

    @protocol.get("/health")
    def health() -> Response:
        assembly.database.check()
        return jsonify(HEALTH)

    @protocol.post("/setup")
    def setup() -> Response:
        body = _body()
        config = _text(body, "schema")
        version = backend.setup(_text(body, "project"), config, hostname=str(body.get("hostname") or ""))
        notes = backend.config_notes(config)
        return jsonify({"model_version": version} | ({"notes": notes} if notes else {}))

    @protocol.post("/predict")
    def predict() -> Response:
        body = _body()
        tasks = body.get("tasks")
        if not isinstance(tasks, list):
            raise RequestError(f"/predict: expected a list of tasks in 'tasks', found {type(tasks).__name__}")
        project, config, context = _asked_project(body), _text(body, "label_config"), _context(body)
        if context is None:
            return jsonify({"results": backend.predict(project, config, tasks)})
        return jsonify({"results": [backend.suggest(project, config, task, context) for task in tasks[:1]]})

    @protocol.post("/webhook")
    def webhook() -> Response:
        return jsonify(backend.on_event(_body()))

    @protocol.get("/versions")
    def versions() -> Response:
        return jsonify(backend.versions(request.args.get("project", "")))

    @protocol.post("/versions/current")
    def roll_back() -> Response:
        body = _body()
        return jsonify(backend.roll_back(_project(body.get("project")), _text(body, "version")))

    @protocol.delete("/versions/current")
    def unpin() -> Response:
        return jsonify(backend.unpin(_project(request.args.get("project"))))

    return protocol


def _body() -> Mapping[str, Any]:
    try:
        received = len(request.get_data())
    except HTTPException:
        raise
    except Exception as error:  # each server raises its own errors for an invalid body
        raise RequestError(f"{request.path}: the body cannot be read, {type(error).__name__}: {error}") from None
    if request.content_length is None and received >= (request.max_content_length or math.inf):
        raise RequestEntityTooLarge  # a chunked body, which werkzeug reads only up to the limit
    raw = request.get_data()
    # An empty list takes 3 bytes of JSON and 60 of memory, a small object 8 and 184: 30 MB of them would take a gigabyte.
    most = min(MAX_CONTAINERS, max(ALWAYS_CONTAINERS, received // BYTES_A_CONTAINER))
    if raw.count(b"[") + raw.count(b"{") > most:
        raise RequestError(f"{request.path}: expected at most {most} lists and objects in {received} bytes, found more")
    body = request.get_json(silent=True)
    if not isinstance(body, Mapping):
        raise RequestError(f"{request.path}: expected a JSON object in the body, found none")
    return body


def _asked_project(body: Mapping[str, Any]) -> str | int | None:
    """Project of a prediction request: its key; its number in Label Studio; or none, for a single task."""
    value = body.get("project")
    return value if is_id(value) or value is None else _text(body, "project")


def _context(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Context of an interactive request, about one task: regions that an annotator draws at the moment; None in other ones."""
    params = body.get("params")
    context = params.get("context") if isinstance(params, Mapping) else None
    return context if isinstance(context, Mapping) and context else None


def _project(value: Any) -> str:
    """A project as users name it: by its key, or by its number in Label Studio, possibly as a JSON number."""
    return _text({"project": str(value) if is_id(value) else value}, "project")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if isinstance(value, str) and value:
        return storable(value)
    raise RequestError(f"{request.path}: expected a text in {name!r}, found {brief(value)}")
