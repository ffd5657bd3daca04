"""``/sync``: upload recordings of one scene, put them on one clock, view them side by side, download them."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, send_file, url_for
from werkzeug.exceptions import BadRequest, Forbidden, LengthRequired, NotFound, ServiceUnavailable
from werkzeug.wrappers import Response as AnyResponse

from framewise import __version__
from framewise.core.sizes import format_size
from framewise.server.pages.guard import ONLY_HERE, check_form, form_token, may_act, remember, secured, wants_page
from framewise.server.pieces import media_response
from framewise.server.sync_page import jobs
from framewise.server.sync_page.sessions import PICTURES, SUFFIXES, SYNCED, Session, Sessions, Stored
from framewise.server.sync_page.work import ALL, output_names
from framewise.settings import Settings
from framewise.sync.apply import MODES
from framewise.sync.manifest import METHODS, Manifest, to_json

FORM_BYTES = 1 << 20
T = TypeVar("T")
# Pictures drawn by `estimate` -> their captions.
DRAWN = {
    "sync_indicators.png": "The same instants in all recordings",
    "audio_waveforms.png": "Sound before and after",
    "motion_energy.png": "Movement before and after",
    "correlations.png": "How well each shift fits",
    "correlation_matrix.png": "Every pair",
}


def sync_blueprint(settings: Settings) -> Blueprint:
    """The page, if it is enabled."""
    page = Blueprint("sync", __name__, template_folder="templates", static_folder="static", static_url_path="/sync/static")
    sessions = Sessions(
        settings.data_dir / "sync", settings.sync_max_bytes, settings.sync_keep_hours, settings.min_free_disk_bytes
    )
    page.before_request(lambda: _guard(settings))
    page.after_request(secured)
    page.add_app_template_filter(format_size, "size")
    page.app_context_processor(lambda: {"has_sync": True})
    _add_reading(page, sessions, settings)
    _add_media(page, sessions)
    _add_upload(page, sessions, settings)
    _add_buttons(page, sessions)
    _add_jobs(page, sessions)
    return page


def _guard(settings: Settings) -> None:
    """Raise Forbidden for a button that may not be pressed, before a body is read."""
    if request.method != "POST":
        return
    if not may_act(settings):
        raise Forbidden(ONLY_HERE)
    is_upload = request.endpoint == "sync.upload"
    request.max_content_length = settings.sync_max_bytes if is_upload else FORM_BYTES
    check_form(request.headers.get("X-Form-Token", "") if is_upload else None)


def _add_reading(page: Blueprint, sessions: Sessions, settings: Settings) -> None:
    @page.get("/sync")
    def start() -> Response:
        sessions.sweep()
        return _page("sync_start.html", settings, keep_hours=settings.sync_keep_hours)

    @page.get("/sync/<name>")
    def session(name: str) -> Response:
        one = sessions.open(name)
        made, stored = one.manifest(), one.recordings()
        pictures = [(file, title) for file, title in DRAWN.items() if (one.folder / PICTURES / file).is_file()]
        results = one.results()
        return _page(
            "sync_session.html", settings, session=one, stored=stored, state=one.state(), log=one.log(), methods=METHODS,
            modes=MODES, manifest=made, rows=_rows(one, made, stored) if made else [], pictures=pictures if made else [],
            results=results, outputs=_outputs(one, results), suffixes=",".join(SUFFIXES), max_bytes=sessions.max_bytes,
        )  # fmt: skip

    @page.get("/sync/<name>/state.json")
    def state(name: str) -> Response:
        one = sessions.open(name)
        told = one.state()
        steps = [(one.told(what), share) for what, share in told.get("steps", [])]
        return jsonify({**told, "steps": steps, "error": one.told(told.get("error", "")), "log": one.log()})

    @page.get("/sync/<name>/sync.json")
    def manifest(name: str) -> Response:
        one = sessions.open(name)
        response = jsonify(to_json(one.shown_manifest(), one.folder))
        response.headers["Content-Disposition"] = "attachment; filename=sync.json"
        return response


def _add_media(page: Blueprint, sessions: Sessions) -> None:
    @page.get("/sync/<name>/recordings/<int:number>")
    def media(name: str, number: int) -> AnyResponse:
        path = sessions.open(name).recording(number).path
        return media_response(path, SUFFIXES[path.suffix])

    @page.get("/sync/<name>/pictures/<file>")
    def picture(name: str, file: str) -> AnyResponse:
        path = sessions.open(name).folder / PICTURES / file
        if file not in DRAWN or not path.is_file():
            raise NotFound("no such picture")
        return send_file(path, mimetype="image/png", conditional=True)

    @page.get("/sync/<name>/outputs/<int:number>")
    def output(name: str, number: int) -> AnyResponse:
        one = sessions.open(name)
        for output, shown in _outputs(one, one.results()):
            if output["number"] == number:
                return send_file(
                    one.folder / SYNCED / output["file"], as_attachment=True, download_name=shown, conditional=True
                )
        raise NotFound("no such output")

    @page.get("/sync/<name>/synced_videos.zip")
    def everything(name: str) -> AnyResponse:
        path = sessions.open(name).folder / SYNCED / ALL
        if not path.is_file():
            raise NotFound("no files were written yet")
        return send_file(path, as_attachment=True, download_name="synced_videos.zip", conditional=True)


def _add_upload(page: Blueprint, sessions: Sessions, settings: Settings) -> None:
    # Maximum number of threads that uploads may occupy in this process; the others stay free.
    uploads = threading.BoundedSemaphore(max(1, settings.threads // 4))

    @page.post("/sync/<name>/recordings")
    def upload(name: str) -> AnyResponse:
        one, size = sessions.open(name), request.content_length
        if size is None:
            raise LengthRequired("expected the length of the recording (Content-Length), found none")
        sessions.check_room(one, size)
        if not uploads.acquire(blocking=False):
            raise ServiceUnavailable("others are uploading; try again in a few seconds")
        try:
            stored = one.add(request.args.get("name", ""), request.stream, size, sessions.max_bytes)
        finally:
            uploads.release()
        return jsonify({"number": stored.number, "name": stored.name, "size": stored.size})


def _add_buttons(page: Blueprint, sessions: Sessions) -> None:
    @page.post("/sync")
    def create() -> AnyResponse:
        return _back(sessions.create())

    @page.post("/sync/<name>/recordings/<int:number>/remove")
    def drop(name: str, number: int) -> AnyResponse:
        one = sessions.open(name)
        one.drop(number)
        return _back(one)

    @page.post("/sync/<name>/offset")
    def offset(name: str) -> AnyResponse:
        one = sessions.open(name)
        one.set_offset(int(_number("recording", 1, 1e9)), _number("offset", -1e7, 1e7))
        if not wants_page():
            made = one.manifest()
            return jsonify({"rows": _rows(one, made, one.recordings()) if made else []})
        return _back(one)

    @page.post("/sync/<name>/remove")
    def remove(name: str) -> AnyResponse:
        sessions.open(name).remove()
        return redirect(url_for("sync.start"), code=303)


def _add_jobs(page: Blueprint, sessions: Sessions) -> None:
    @page.post("/sync/<name>/estimate")
    def estimate(name: str) -> AnyResponse:
        one = sessions.open(name)
        stored = one.recordings()
        if len(stored) < 2:
            raise BadRequest(f"expected two recordings or more, found {len(stored)}; upload all cameras of the scene")
        whole = request.form.get("max_offset", "").strip() == "whole"
        options = {
            "method": _one_of("method", METHODS),
            "max_offset": None if whole else _number("max_offset", 0.1, 1e6),
            "minimum_confidence": _number("minimum_confidence", 0, 1),
            "reference": one.recording(int(_number("reference", 1, 1e9))).number,
        }
        jobs.start(one, "estimate", options)
        return _back(one)

    @page.post("/sync/<name>/apply")
    def apply(name: str) -> AnyResponse:
        one = sessions.open(name)
        if one.manifest() is None:
            raise BadRequest("expected offsets, found none; compare the recordings first")
        jobs.start(one, "apply", {"mode": _one_of("mode", MODES), "correct_drift": "correct_drift" in request.form})
        return _back(one)

    @page.post("/sync/<name>/stop")
    def stop(name: str) -> AnyResponse:
        one = sessions.open(name)
        jobs.stop(one)
        return _back(one)


def _back(one: Session) -> AnyResponse:
    return redirect(url_for("sync.session", name=one.id), code=303)


def _page(template: str, settings: Settings, **values: Any) -> Response:
    token = form_token()
    response = make_response(
        render_template(template, framewise_version=__version__, token=token, may_act=may_act(settings), **values)
    )
    remember(response, token)
    response.headers["Cache-Control"] = "no-store"
    return response


def _rows(session: Session, made: Manifest, stored: list[Stored]) -> list[dict[str, Any]]:
    """Rows of the recordings, for the table and the player."""
    by_file = {s.path.name: s for s in stored}
    return [
        {
            "number": by_file[r.name].number, "name": by_file[r.name].name, "is_reference": r.name == made.reference,
            "answered": r.answered, "offset": r.offset, "drift_ppm": r.drift_ppm, "rate": r.rate, "confidence": r.confidence,
            "rating": r.rating if r.answered else "poor", "by_hand": r.reason == "set by hand",
            "reason": session.told(r.reason), "duration": r.duration,
            "frame_rate": float(r.frame_rate) if r.frame_rate else None,
        }
        for r in made.recordings
        if r.name in by_file
    ]  # fmt: skip


def _outputs(session: Session, results: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Each output and its name."""
    outputs = results.get("outputs", [])
    return list(zip(outputs, output_names(session, outputs), strict=True))


def _number(name: str, low: float, high: float) -> float:
    return _parsed(name, float, lambda value: low <= value <= high, f"a number from {low:g} to {high:g}")


def _one_of(name: str, allowed: tuple[str, ...]) -> str:
    return _parsed(name, str, lambda value: value in allowed, " or ".join(allowed))


def _parsed(name: str, parse: Callable[[str], T], fits: Callable[[T], bool], expected: str) -> T:
    text = request.form.get(name, "").strip()
    wrong = BadRequest(f"{name}: expected {expected}, found {text[:40]!r}")
    try:
        value = parse(text)
    except ValueError:
        raise wrong from None
    if not fits(value):
        raise wrong
    return value
