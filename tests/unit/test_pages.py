"""Pages by Flask's client: who may press buttons, what is asked of a browser, what old versions show, which files are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from framewise.learning.held_out import ON, HeldOut, HeldOutVideo, in_bytes, write_held_out
from framewise.server.pages import drawing
from framewise.store.made import LastPrediction
from tests.index_clips import make_index_clip
from tools.pages_speed import fill, labeling_config

KEY = "7.1795200057"
HTML = {"Accept": "text/html"}
BROWSER = {**HTML, "Sec-Fetch-Site": "same-origin"}


def press(client: FlaskClient, action: str, headers: dict[str, str] | None = None, **form: str) -> Any:
    """Ask, and press the button of the page that comes."""
    asked = client.get(f"/projects/{KEY}/do/{action}", headers=headers or BROWSER)
    assert asked.status_code == 200, asked.text
    token = asked.text.partition('name="token" value="')[2].partition('"')[0]
    return client.post(f"/projects/{KEY}/do/{action}", headers=headers or BROWSER, data={"token": token, **form})


def test_label_studios_health_check_gets_json_and_a_browser_a_page(made: Callable[..., Any]) -> None:
    client, _ = made()
    assert client.get("/", headers={"Accept": "*/*"}).get_json()["status"] == "UP"
    assert client.get("/").get_json()["status"] == "UP"
    shown = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert "No project is connected yet" in shown.text
    assert "'unsafe" not in shown.headers["Content-Security-Policy"]
    assert shown.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert " style=" not in shown.text
    assert "Accept" in shown.headers["Vary"]


def test_the_overview_is_behind_the_password_and_the_health_check_is_not(made: Callable[..., Any]) -> None:
    client, assembly = made(basic_auth_user="ann", basic_auth_pass="secret")
    fill(assembly, KEY, 2, 1)
    assert client.get("/").status_code == 200
    for path in ("/", f"/projects/{KEY}", f"/projects/{KEY}/timelines", "/live.json", f"/projects/{KEY}/tasks/1/media"):
        assert client.get(path, headers=HTML).status_code == 401, path
        assert client.get(path, headers=HTML, auth=("ann", "secret")).status_code in (200, 404, 422), path


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "192.0.2.7"),
        ({"X-Forwarded-For": "127.0.0.1"}, "127.0.0.1"),
        ({"Host": "192.0.2.1:9090"}, "127.0.0.1"),
    ],
    ids=["another machine", "behind a proxy", "another address"],
)
def test_without_a_password_buttons_work_on_this_machine_alone(
    made: Callable[..., Any], headers: dict[str, str], address: str
) -> None:
    client, assembly = made()
    fill(assembly, KEY, 2, 1)
    client.environ_base["REMOTE_ADDR"] = address
    answer = press(client, "train", {**BROWSER, **headers})
    assert answer.status_code == 403
    assert "BASIC_AUTH_USER" in answer.text
    assert assembly.jobs.states.latest("train", KEY, "all") is None
    client.environ_base["REMOTE_ADDR"] = "127.0.0.1"
    assert press(client, "train").status_code == 303
    assert assembly.jobs.states.latest("train", KEY, "all") is not None


def test_buttons_that_are_off_say_why_and_what_to_set(made: Callable[..., Any]) -> None:
    """A container sees every browser at the address of its gateway."""
    client, assembly = made()
    fill(assembly, KEY, 4, 2)
    client.environ_base["REMOTE_ADDR"] = "172.17.0.1"
    shown = client.get(f"/projects/{KEY}", headers=HTML).text
    assert "The buttons are off" in shown
    assert "Set BASIC_AUTH_USER and BASIC_AUTH_PASS" in shown
    assert '<button type="button" disabled>Train now…</button>' in shown
    assert "/do/" not in shown
    client.environ_base["REMOTE_ADDR"] = "127.0.0.1"
    assert "/do/train" in client.get(f"/projects/{KEY}", headers=HTML).text


def test_the_page_that_puts_recordings_on_one_clock_says_why_its_button_is_off(made: Callable[..., Any]) -> None:
    client, _ = made(sync_page=True)
    button = '<button class="button main"{}>New comparison</button>'
    client.environ_base["REMOTE_ADDR"] = "172.17.0.1"
    shown = client.get("/sync", headers=HTML).text
    assert "The buttons are off" in shown
    assert button.format(" disabled") in shown
    client.environ_base["REMOTE_ADDR"] = "127.0.0.1"
    shown = client.get("/sync", headers=HTML).text
    assert "The buttons are off" not in shown
    assert button.format("") in shown


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_forms_of_other_sites_are_refused(made: Callable[..., Any], headers: dict[str, str]) -> None:
    client, assembly = made()
    fill(assembly, KEY, 2, 1)
    token = (
        client.get(f"/projects/{KEY}/do/forget", headers=BROWSER).text.partition('name="token" value="')[2].partition('"')[0]
    )
    answer = client.post(f"/projects/{KEY}/do/forget", headers={**HTML, **headers}, data={"token": token})
    assert answer.status_code == 403
    assert KEY in assembly.known.titles()


def test_a_form_without_its_token_is_refused(made: Callable[..., Any]) -> None:
    client, assembly = made()
    fill(assembly, KEY, 2, 1)
    asked = client.get(f"/projects/{KEY}/do/forget", headers=BROWSER)
    assert "SameSite=Strict" in asked.headers["Set-Cookie"]
    assert "HttpOnly" in asked.headers["Set-Cookie"]
    for token in ("", "x" * 43):
        assert client.post(f"/projects/{KEY}/do/forget", headers=BROWSER, data={"token": token}).status_code == 403
    assert client.get(f"/projects/{KEY}/do/erase", headers=BROWSER).status_code == 404
    assert KEY in assembly.known.titles()


def test_buttons_do_what_they_say(made: Callable[..., Any]) -> None:
    client, assembly = made()
    fill(assembly, KEY, 4, 3)
    assert press(client, "roll-back", version="v9-nothing").status_code == 404
    assert press(client, "predict").status_code == 400  # without a key there is nobody to send them to
    assert press(client, "forget").location == "/?done=forget"
    assert KEY not in assembly.known.titles()
    assert assembly.registry.model_folders(KEY) == []
    assert client.get(f"/projects/{KEY}", headers=HTML).status_code == 404


def test_versions_of_before_precision_and_held_out_scores_still_show(made: Callable[..., Any]) -> None:
    client, assembly = made()
    assembly.annotations.put_project(KEY, 7, labeling_config(), "Old")
    quality = {
        "method": "blocks in time", "weak": True, "videos": 1, "mean": {"f1": 0.5, "f1@50": None},
        "interval": {"f1": [None, None]}, "labels": {"Walk": {"f1": 0.5, "true_segments": 3}}, "reliability": [],
    }  # fmt: skip
    for name, about in (("v1-x", {"quality": quality}), ("v2-x", {"quality": None}), ("v3-x", {"quality": "?"})):
        assembly.registry.publish(KEY, "timeline", name, {"labels": ["Walk"], **about}, lambda folder: None)
    shown = client.get(f"/projects/{KEY}", headers=HTML)
    assert shown.status_code == 200
    assert "0.50" in shown.text
    assert "they come with the next training" in client.get(f"/projects/{KEY}/timelines", headers=HTML).text


def test_stretches_that_look_like_marks_are_asked_about(made: Callable[..., Any]) -> None:
    client, assembly = made(label_studio_url="http://ls.example:8080")
    assembly.annotations.put_project(KEY, 7, labeling_config(), "Gait")
    assembly.annotations.put_tasks(KEY, [{"id": 4, "data": {"video": "/srv/a.mp4"}}])
    quality = {"mean": {"f1": 0.5}, "labels": {"Walk": {"f1": 0.5}}}
    stretches = [{"task": 4, "label": "Walk", "start_seconds": 6.48, "end_seconds": 9.0}, {"task": "4"}, "?"]
    assembly.registry.publish(KEY, "timeline", "v1-x", {"quality": quality, "unmarked": stretches}, lambda folder: None)
    shown = client.get(f"/projects/{KEY}", headers=HTML).text
    assert "Were marks left out?" in shown
    assert "Walk, 6.5 to 9.0 s of" in shown
    assert f'href="/projects/{KEY}/tasks/4?control=timeline"' in shown
    assert "http://ls.example:8080/projects/7/data?task=4" in shown
    assert 'model_unmarked="after_last"' in shown
    assembly.registry.publish(KEY, "timeline", "v2-x", {"quality": quality, "unmarked": []}, lambda folder: None)
    assert "Were marks left out?" not in client.get(f"/projects/{KEY}", headers=HTML).text


def test_media_are_read_from_allowed_folders_for_known_tasks_alone(made: Callable[..., Any], tmp_path: Path) -> None:
    videos, uploads = tmp_path / "videos", tmp_path / "label-studio" / "media"
    (uploads / "upload" / "7").mkdir(parents=True)
    videos.mkdir()
    clip = make_index_clip(videos / "a.mp4", 30, 25, (64, 64)) or videos / "a.mp4"
    clip = videos / "a.mp4"
    (uploads / "upload" / "7" / "b.html").write_bytes(clip.read_bytes())
    (tmp_path / "secret.mp4").write_bytes(clip.read_bytes())
    client, assembly = made(local_files_roots=(videos, uploads))
    fill(assembly, KEY, 0, 0)
    sources = [str(clip), str(tmp_path / "secret.mp4"), "/data/upload/7/b.html", "/data/upload/../../../secret.mp4",
               "https://example.org/a.mp4"]  # fmt: skip
    tasks = [{"id": n, "data": {"video": source}} for n, source in enumerate(sources, 1)]
    assembly.annotations.put_tasks(KEY, tasks)
    part = client.get(f"/projects/{KEY}/tasks/1/media", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, clip.read_bytes()[10:20])
    upload = client.get(f"/projects/{KEY}/tasks/3/media")
    assert (upload.status_code, upload.mimetype, upload.headers["X-Content-Type-Options"]) == (200, "video/mp4", "nosniff")
    codes = [client.get(f"/projects/{KEY}/tasks/{task}/media").status_code for task in (2, 4, 5, 6)]
    assert codes == [422, 404, 404, 404]
    assert client.get("/projects/8.1/tasks/1/media").status_code == 404


def test_pictures_are_those_of_the_frame(made: Callable[..., Any], tmp_path: Path) -> None:
    import io

    from PIL import Image

    from framewise.media.video import decode

    clip = tmp_path / "a.mp4"
    make_index_clip(clip, 30, 25, (64, 64))
    client, assembly = made(local_files_roots=(tmp_path,))
    fill(assembly, KEY, 1, 0, frames=30, annotated=0, video=str(clip))
    pictures = [picture.rgb.astype(int) for picture in decode(clip)]
    for frame in (1, 13, 30):
        answer = client.get(f"/projects/{KEY}/tasks/1/frames/{frame}.jpg")
        shown = np.array(Image.open(io.BytesIO(answer.data)).resize((64, 64))).astype(int)
        differences = [float(np.abs(shown - picture).mean()) for picture in pictures]
        assert int(np.argmin(differences)) == frame - 1
    strip = Image.open(io.BytesIO(client.get(f"/projects/{KEY}/tasks/1/strip.jpg?frames=30").data))
    assert strip.size == (1080, 54)
    assert client.get(f"/projects/{KEY}/tasks/1/frames/0.jpg").status_code == 400


def test_next_has_the_least_certain_task_first_and_no_annotated_one(made: Callable[..., Any]) -> None:
    _, assembly = made()
    fill(assembly, KEY, 10, 1)
    tasks, total = assembly.made.next(KEY, 10, 0)
    assert total == 5
    assert [task.score for task in tasks] == sorted(task.score for task in tasks)
    assert {task.task for task in tasks} == set(range(6, 11))
    assembly.made.put(KEY, [LastPrediction(99, "v2", 0.1, {}, {"video": "late.mp4"})])
    assert assembly.made.next(KEY, 1, 0)[0][0].task == 99
    assembly.made.put(KEY, [LastPrediction(99, "v2", 0.7, {}, {})])  # of the same version: known
    assert assembly.made.next(KEY, 1, 0)[0][0].score == 0.1


def test_trouble_goes_when_the_same_was_done_again(made: Callable[..., Any]) -> None:
    client, assembly = made()
    fill(assembly, KEY, 1, 1)
    states = assembly.jobs.states
    first = states.begin("extract", KEY, "a.mp4", "me")
    states.warn(first.id, "a.mp4: 29.97 pictures a second, and frameRate is 25; convert it")
    states.finish(first.id, "me")
    failed = states.begin("train", KEY, "all", "me")
    states.finish(failed.id, "me", error="no annotated task can be used")
    for path in ("/", f"/projects/{KEY}"):
        shown = client.get(path, headers=HTML).text
        assert "No annotated task can be used" in shown.partition("Needs attention")[2].partition("</section>")[0]
        assert "frameRate is 25; convert it" in shown.partition('id="notes"')[2].partition("</section>")[0]
    again = states.begin("train", KEY, "all", "me")
    states.finish(again.id, "me")
    assert assembly.browsing.errors(KEY, 9) == []
    assert [trouble.kind for trouble in assembly.browsing.warnings(KEY, 9)] == ["extract"]


def test_links_lead_where_people_reach_label_studio(made: Callable[..., Any]) -> None:
    client, assembly = made(label_studio_url="http://inside:8080", label_studio_public_url="https://label.example.org/ls")
    fill(assembly, KEY, 2, 1)
    shown = client.get(f"/projects/{KEY}/timelines", headers=HTML).text
    assert 'href="https://label.example.org/ls/projects/7/data?task=1"' in shown
    assert "inside" not in shown


def test_held_out_scores_come_back_and_stay_on_their_side_of_a_half(tmp_path: Path) -> None:
    scores = np.array([[0.0, 0.4999], [0.5, 0.5001], [1.0, 0.2], [0.49, 0.9]])
    truth = np.array([[0, 1], [1, 1], [1, 0], [1, 1]])
    video = HeldOutVideo.of(12, 4.0, scores, truth, np.tile([True, False], (4, 1)))
    write_held_out(tmp_path, [video], ["Walk", "Run"])
    read = HeldOut(tmp_path)
    (again,) = read.videos(read.tasks)
    assert ((again.scores >= ON) == (scores >= 0.5)).all()
    assert np.abs(again.scores / 255 - scores).max() <= 0.5 / 255 + 1e-9
    assert (again.truth == truth).all()
    assert (read.tasks[0].disagreement, read.tasks[0].places, read.tasks[0].taught) == (0.25, 1, ["Walk"])
    assert in_bytes(np.array([0.5])) == [ON]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("red", "#ff0000"), ("#0f0", "#00ff00"), ("rgb(1, 2, 3)", "#010203"), (None, drawing.PALETTE[1]),
     ('red" onload="x', drawing.PALETTE[1]), ("url(#a)", drawing.PALETTE[1])],
)  # fmt: skip
def test_colours_are_colours(given: str | None, expected: str) -> None:
    assert drawing.colour(given, 1) == expected
