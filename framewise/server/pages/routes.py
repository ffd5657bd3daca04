"""Routes of the pages and their buttons."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden, NotFound
from werkzeug.wrappers import Response as AnyResponse

from framewise import __version__
from framewise.assembly import Assembly
from framewise.core.frame_grid import seek_times
from framewise.labeling_config import ControlSettings
from framewise.media.thumbnails import picture_jpeg, strip_jpeg
from framewise.media.types import video_type
from framewise.server.pages import scores
from framewise.server.pages.guard import ONLY_HERE, check_form, form_token, may_act, remember, secured, wants_page
from framewise.server.pages.notices import Notices
from framewise.server.pages.pictures import Pictures
from framewise.server.pages.views import A_PAGE, JOBS_SHOWN, Pager, ProjectView, Views
from framewise.server.pieces import media_response
from framewise.server.protocol import HEALTH
from framewise.store.job_state import state_title_of

PICTURE_HEIGHT = 180
JOBS_IN_FULL = 100
PICTURE_SECONDS = 3600  # browsers may cache one for this long: its address contains the version of the file
# Button -> (question before, text on the button, message afterwards).
ACTIONS = {
    "train": ("Train this project now, on all of its annotations?", "Train now", "A training was queued."),
    "roll-back": (
        "Predict with this version? It stays in use, whatever is trained, until it is unpinned or somebody starts a training.",
        "Roll back", "Rolled back. The version is pinned.",
    ),
    "unpin": ("Predict with the newest version again?", "Unpin", "The newest version is in use."),
    "predict": (
        "Predict the tasks without annotations again, and send the predictions to Label Studio?", "Predict again",
        "New predictions are being made.",
    ),
    "forget": (
        "Delete everything that framewise stores about this project: annotations, jobs, and all trained versions? Label "
        "Studio keeps its own data. This cannot be undone.",
        "Forget this project", "The project was forgotten.",
    ),
}  # fmt: skip


def error_page(status: int, message: str) -> Response:
    """Error page for browsers."""
    response = _page("error.html", status=status, message=message)
    response.status_code = status
    return secured(response)


def pages_blueprint(assembly: Assembly) -> Blueprint:
    """Blueprint of all pages."""
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/pages/static")
    pages.after_request(secured)
    pages.add_app_template_filter(_score, "score")
    pages.add_app_template_filter(_change, "change")
    pages.add_app_template_filter(state_title_of, "state_title")
    _add_reading(pages, assembly)
    _add_media(pages, assembly)
    _add_buttons(pages, assembly)
    return pages


def _add_reading(pages: Blueprint, assembly: Assembly) -> None:
    views, notices = Views(assembly), Notices(assembly)

    @pages.get("/")
    def overview() -> Response:
        if not wants_page():  # Label Studio, which checks that this is a backend
            return jsonify(HEALTH)
        cards, pager = views.projects(request.args.get("page"))
        return _page(
            "overview.html", cards=cards, pager=pager, errors=notices.errors(), notes=notices.notes(), live=views.live(),
            stamp=views.stamp(), done=_done(),
        )  # fmt: skip

    @pages.get("/jobs")
    def jobs() -> Response:
        if not wants_page() or request.args.get("format") == "json":
            return jsonify(assembly.jobs.states.overview())
        return _page("jobs.html", live=views.live(count=JOBS_IN_FULL))

    @pages.get("/live.json")
    def live() -> Response:
        project, in_full = request.args.get("project") or None, "all" in request.args
        shown = views.live(project, JOBS_IN_FULL if in_full else JOBS_SHOWN)
        html = render_template("_live.html", live=shown, shows_project=project is None, in_full=in_full)
        return jsonify({"html": html, "stamp": views.stamp(project)})

    @pages.get("/projects/<name>")
    def project(name: str) -> Response:
        one = views.project(name)
        cards = [_card(one, control) for control in one.shown]
        return _page(
            "project.html", project=one, cards=cards, errors=notices.errors(one.key), notes=notices.notes(one.key),
            live=views.live(one.key), stamp=views.stamp(one.key), may_act=may_act(assembly.settings), done=_done(),
        )  # fmt: skip

    @pages.get("/projects/<name>/timelines")
    def timelines(name: str) -> Response:
        one = views.project(name)
        control = one.control(request.args.get("control"))
        held_out, told = one.held_out(control)
        pager = Pager.of(request.args.get("page"), len(held_out.tasks) if held_out else 0, A_PAGE)
        strips = one.strips(control, held_out, pager.first(A_PAGE)) if held_out else []
        return _page("timelines.html", project=one, control=control, strips=strips, pager=pager, told=told, held_out=held_out)

    @pages.get("/projects/<name>/next")
    def next_tasks(name: str) -> Response:
        one = views.project(name)
        control = one.control(request.args.get("control"))
        pager = Pager.of(request.args.get("page"), one.next(control, 0)[1], A_PAGE)
        strips, _ = one.next(control, pager.first(A_PAGE))
        return _page("next.html", project=one, control=control, strips=strips, pager=pager, unannotated=one.unannotated())

    @pages.get("/projects/<name>/tasks/<int:task>")
    def task(name: str, task: int) -> Response:
        one = views.project(name)
        control = one.control(request.args.get("control"))
        return _page("task.html", project=one, control=control, strip=one.task(control, task))


def _card(project: ProjectView, control: ControlSettings) -> tuple[object, ...]:
    """Values that the project page shows for a control."""
    compared = scores.changes(project, control, *_two())
    return (
        control, scores.quality_table(project, control), scores.learning_curves(project, control),
        scores.calibration_circles(project, control), compared, scores.left_out_marks(project, control),
    )  # fmt: skip


def _add_media(pages: Blueprint, assembly: Assembly) -> None:
    views, pictures = Views(assembly), Pictures()

    def file_of(name: str, task: int) -> tuple[ProjectView, Path, float]:
        """File of a task, if it is on this machine, and its frame rate. Raises NotFound, MediaError."""
        one = views.project(name)
        control = one.control(request.args.get("control"))
        if not control.is_on_video:
            raise NotFound(f"{control.tag} {control.from_name!r} is not on a video, so it has no pictures")
        data = one.task_data(task)
        path = assembly.parts.media.at_hand(control.media_source(data))
        if path is None:
            raise NotFound(f"the file of task {task} is not on this machine; open the task in Label Studio")
        return one, path, control.frame_rate(data)

    def jpeg(key: tuple[object, ...], path: Path, make: Callable[[], bytes]) -> Response:
        stat = path.stat()
        made = pictures.get((*key, str(path), stat.st_size, stat.st_mtime_ns), make)
        response = Response(made, mimetype="image/jpeg")
        response.headers["Cache-Control"] = f"private, max-age={PICTURE_SECONDS}"
        return response

    @pages.get("/projects/<name>/tasks/<int:task>/media")
    def media(name: str, task: int) -> AnyResponse:
        _, path, _ = file_of(name, task)
        return media_response(path, video_type(path))

    @pages.get("/projects/<name>/tasks/<int:task>/strip.jpg")
    def strip(name: str, task: int) -> Response:
        _, path, rate = file_of(name, task)
        frames = _frame(request.args.get("frames"))
        return jpeg(("strip", frames, rate), path, lambda: strip_jpeg(path, frames / rate))

    @pages.get("/projects/<name>/tasks/<int:task>/frames/<int:frame>.jpg")
    def picture(name: str, task: int, frame: int) -> Response:
        _, path, rate = file_of(name, task)
        seconds = float(seek_times([_frame(str(frame))], rate)[0])
        return jpeg(("frame", frame, rate), path, lambda: picture_jpeg(path, seconds, PICTURE_HEIGHT))


def _add_buttons(pages: Blueprint, assembly: Assembly) -> None:
    views, backend = Views(assembly), assembly.backend

    @pages.get("/projects/<name>/do/<action>")
    def ask(name: str, action: str) -> Response:
        question, button, _ = _known(action)
        one, token = views.project(name), form_token()
        response = _page(
            "confirm.html", project=one, action=action, question=question, button=button, token=token,
            version=request.args.get("version", ""), may_act=may_act(assembly.settings),
        )  # fmt: skip
        remember(response, token)
        response.headers["Cache-Control"] = "no-store"
        return response

    @pages.post("/projects/<name>/do/<action>")
    def act(name: str, action: str) -> AnyResponse:
        _known(action)
        if not may_act(assembly.settings):
            raise Forbidden(ONLY_HERE)
        check_form()
        key = views.project(name).key
        if action == "train":
            backend.start_training(key)
        elif action == "roll-back":
            if not request.form.get("version"):
                raise BadRequest("expected a version to roll back to, found none")
            backend.roll_back(key, request.form["version"])
        elif action == "unpin":
            backend.unpin(key)
        elif action == "predict":
            backend.predict_again(key)
        elif action == "forget":
            backend.forget(key)
            return redirect(url_for("pages.overview", done=action), code=303)
        return redirect(url_for("pages.project", name=key, done=action), code=303)


def _page(template: str, **values: Any) -> Response:
    return secured(make_response(render_template(template, framewise_version=__version__, **values)))


def _known(action: str) -> tuple[str, str, str]:
    if action not in ACTIONS:
        raise NotFound(f"unknown action {action!r}")
    return ACTIONS[action]


def _done() -> str:
    return ACTIONS.get(request.args.get("done", ""), ("", "", ""))[2]


def _two() -> tuple[str | None, str | None]:
    """The two versions to compare."""
    return request.args.get("before"), request.args.get("after")


def _frame(text: str | None) -> int:
    if not text or not (text.isascii() and text.isdecimal()) or not 1 <= len(text) <= 8 or int(text) < 1:
        raise BadRequest("expected a frame number of 1 or more")
    return int(text)


def _score(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def _change(value: float | None) -> str:
    if value is None or round(value, 2) == 0:
        return ""
    return f"{value:+.2f}".replace("-", "−")
