"""The page /sync in a real Chromium, before a real web server of two processes: upload, compare, look, nudge, write, download.

Screenshots stay in artifacts/.
"""

import base64
import io
import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from framewise.commands.serve import web_command
from framewise.core.errors import NotKnown
from framewise.core.storage import PARTIAL, try_acquire
from framewise.processes import start_child, stop_child
from framewise.server.app import create_app
from framewise.server.pieces import PIECE_BYTES
from framewise.server.sync_page.jobs import SLOTS, write_state
from framewise.server.sync_page.sessions import JOB_LOCK, Sessions
from framewise.settings import Settings
from tests import sync_help
from tests.sync_help import clock_picture, read_clock
from tests.sync_page_help import COMPARE, Heard, Person

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SIZE, SECONDS = (320, 180), 10
MAX_BYTES = 20_000_000
# Each camera's start in the scene, seconds, and frames a second.
CAMERAS = {"left.mp4": (100.0, Fraction(25)), "right.mp4": (101.234, Fraction(30000, 1001)), "top.mkv": (98.766, Fraction(25))}
PIXELS = """video => { const c = document.createElement("canvas"); c.width = video.videoWidth; c.height = video.videoHeight;
  c.getContext("2d").drawImage(video, 0, 0); return c.toDataURL("image/png").split(",")[1]; }"""


@dataclass(frozen=True)
class Served:
    url: str
    root: Path


@pytest.fixture(scope="module")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, which takes a while until it answers."""
    folder = tmp_path_factory.mktemp("sync-page")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = replace(
        Settings(), port=port, data_dir=folder / "data", cache_dir=folder / "cache", model_root=folder / "models",
        sync_page=True, sync_max_bytes=MAX_BYTES, min_free_disk_bytes=0,
    )  # fmt: skip
    for path in (settings.data_dir, settings.cache_dir, settings.model_root):
        path.mkdir()
    env = {**os.environ, **settings.to_env(), "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "log").open("wb") as log:
        child = start_child(web_command(settings), env, log=log)
    try:
        yield Served(f"http://127.0.0.1:{port}", settings.data_dir / "sync")
    finally:
        stop_child(child)


@pytest.fixture(scope="module")
def served(starting: Served, recordings: list[Path]) -> Served:
    """The server when it answers; recordings are rendered meanwhile."""
    for _ in range(1200):
        try:
            httpx.get(f"{starting.url}/health")
            return starting
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first one is larger than what a browser gets at once."""
    folder = tmp_path_factory.mktemp("cameras")
    random = np.random.default_rng(1)

    def grainy(seconds: float, size: tuple[int, int]) -> np.ndarray:
        picture = clock_picture(seconds, size)
        picture[90:, :160] = random.integers(0, 255, (size[1] - 90, 160, 1))
        return picture

    first, (start, rate) = next(iter(CAMERAS.items()))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sync_help, "clock_picture", grainy)
        large = Heard(start, SECONDS, rate, size=SIZE).write(folder / first)
    assert large.stat().st_size > 2 * PIECE_BYTES
    others = list(CAMERAS.items())[1:]
    return [large] + [Heard(start, SECONDS, rate, size=SIZE).write(folder / name) for name, (start, rate) in others]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window, on whose console nothing may complain."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert not said


def new_comparison(page: Page, served: Served) -> str:
    page.goto(f"{served.url}/sync")
    page.get_by_role("button", name="New comparison").click()
    page.wait_for_url(re.compile("/sync/[0-9a-f]{32}$"))
    return page.url


def scene_seconds(page: Page) -> list[float | None]:
    """Times that the clocks in the pictures of all cameras show."""
    page.wait_for_function(
        """() => [...document.querySelectorAll(".camera:not(.outside) video")].every(v => !v.seeking && v.readyState >= 2)"""
    )
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found: list[float | None] = []
    for camera in page.locator(".camera").all():
        if "outside" in (camera.get_attribute("class") or ""):
            found.append(None)
            continue
        encoded = camera.locator("video").evaluate(PIXELS)
        with av.open(io.BytesIO(base64.b64decode(encoded)), format="png_pipe") as container:
            found.append(read_clock(next(container.decode(video=0)).to_ndarray(format="rgb24")))
    return found


def seek(page: Page, seconds: float) -> None:
    page.locator("#seek").evaluate(
        "(bar, to) => { bar.value = to; bar.dispatchEvent(new Event('input', {bubbles: true})); }", seconds
    )


def assert_together(seen: list[float | None], scene: float) -> None:
    for seconds in seen:
        if seconds is not None:
            assert scene - 0.041 <= seconds <= scene + 0.002


def test_recordings_are_compared_looked_at_and_written(page: Page, served: Served, recordings: list[Path]) -> None:
    url = new_comparison(page, served)
    with page.expect_navigation():
        page.locator("input[type=file]").set_input_files(recordings)
    expect(page.locator(".stored li")).to_have_count(3)
    page.screenshot(path=ARTIFACTS / "sync-page-uploaded.png", full_page=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#log")).to_contain_text("3 recordings, method both, reference left.mp4", timeout=600_000)
    page.screenshot(path=ARTIFACTS / "sync-page-running.png", full_page=True)
    expect(page.locator("#offsets tbody tr")).to_have_count(3, timeout=600_000)
    made = json.loads(page.request.get(f"{url}/sync.json").body())
    assert [r["name"] for r in made["recordings"]] == list(CAMERAS)
    assert [r["offset"] for r in made["recordings"]] == pytest.approx([0, 1.234, -1.234], abs=0.002)
    expect(page.locator(".rating.excellent")).to_have_count(3)

    for at in (5.5, 2.0, 7.513):
        seek(page, at)
        seen = scene_seconds(page)
        assert None not in seen
        assert_together(seen, 100 + at)
    page.screenshot(path=ARTIFACTS / "sync-page.png", full_page=True)
    seek(page, 0.5)
    seen = scene_seconds(page)
    assert seen[1] is None
    assert None not in (seen[0], seen[2])
    assert_together(seen, 100.5)
    _play_and_step(page)
    _nudge(page, url)
    _write(page, url)
    _looks(page)


def _play_and_step(page: Page) -> None:
    seek(page, 4.0)
    scene_seconds(page)
    page.keyboard.press("Space")
    page.wait_for_function("() => Number(document.querySelector('#seek').value) > 5.5")
    page.keyboard.press("Space")
    seen = scene_seconds(page)
    at = float(page.locator("#seek").input_value())
    assert_together(seen, 100 + at)
    page.keyboard.press("ArrowRight")
    (first, *_), (before, *_) = scene_seconds(page), seen
    assert first is not None
    assert before is not None
    assert first - before == pytest.approx(0.04)
    page.keyboard.press("Shift+ArrowLeft")
    assert scene_seconds(page)[0] == pytest.approx(first - 0.4)


def _nudge(page: Page, url: str) -> None:
    form = page.locator(".camera").nth(1).locator(".nudge")
    seek(page, 6.02)
    before = scene_seconds(page)
    for _ in range(3):
        form.get_by_role("button", name="one frame later").click()
    after = scene_seconds(page)
    assert before[1] is not None
    assert after[1] is not None
    assert after[1] - before[1] == pytest.approx(-3 * 1001 / 30000, abs=0.002)
    form.get_by_role("button", name="one millisecond earlier").click()
    expect(form.locator(".saved")).to_have_text("saved")
    expected = 1.234 + 3 * 1001 / 30000 - 0.001
    by_hand = json.loads(page.request.get(f"{url}/sync.json").body())["recordings"][1]
    assert (by_hand["offset"], by_hand["reason"]) == (pytest.approx(expected, abs=0.002), "set by hand")
    form.locator(".offset").fill("1.234")
    form.locator(".offset").press("Enter")
    expect(page.locator("#offsets tr").nth(2).locator(".at")).to_have_text("+1.2340 s")
    page.reload()
    expect(page.locator("#offsets tr").nth(2).locator(".rating")).to_have_text("by hand")


def _write(page: Page, url: str) -> None:
    page.locator("#apply [value=intersection]").check()
    page.locator("#apply").get_by_role("button", name="Write").click()
    expect(page.locator("#outputs li")).to_have_count(3, timeout=600_000)
    with zipfile.ZipFile(io.BytesIO(page.request.get(f"{url}/synced_videos.zip").body())) as archive:
        assert archive.namelist() == [*CAMERAS, "sync.json"]
        frames = []
        for name in CAMERAS:
            with av.open(io.BytesIO(archive.read(name))) as container:
                frames.append([read_clock(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)])
    assert len({len(each) for each in frames}) == 1
    starts = [each[5] for each in frames]
    assert None not in starts
    assert max(starts) - min(starts) <= 0.041
    with page.expect_download() as download:
        page.locator("#outputs li a").first.click()
    assert download.value.suggested_filename == "left.mp4"


def _looks(page: Page) -> None:
    """Nothing is wider than the window, by day, by night and on a phone."""
    for name, width, scheme in (("day", 1280, "light"), ("night", 1280, "dark"), ("phone", 390, "light")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        page.screenshot(path=ARTIFACTS / f"sync-page-{name}.png", full_page=True)


def test_names_of_files_are_text_and_nothing_else(page: Page, served: Served, recordings: list[Path]) -> None:
    url = new_comparison(page, served)
    hostile = ["<img src=x onerror=alert(1)>.mp4", "$(touch pwned); `id` & 'x' \"y\".mp4", "..\\..\\a\x1b[31m\u202e.mp4"]
    files = [
        {"name": n, "mimeType": "video/mp4", "buffer": recordings[1].read_bytes() + bytes(i)} for i, n in enumerate(hostile)
    ]
    with page.expect_navigation():
        page.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
    shown = [item.inner_text().split(" 0.")[0] for item in page.locator(".stored li > span").all()]
    assert [text.rsplit("\xa0")[0].startswith(start) for text, start in zip(shown, ("<img", "$(touch", "a[31m"), strict=True)]
    assert page.locator("img[src=x]").count() == 0
    folder = served.root / url.rsplit("/", 1)[1]
    stored = {path.name for path in folder.iterdir()} - {"session.json", "edit.lock", "job.lock"}
    assert stored == {"recording-1.mp4", "recording-2.mp4", "recording-3.mp4"}


People = Callable[[], Person]


@pytest.fixture
def people(served: Served) -> Iterator[People]:
    come: list[Person] = []

    def comes() -> Person:
        come.append(Person.comes(served.url))
        return come[-1]

    yield comes
    for person in come:
        person.client.close()


def files_in(served: Served, session: str) -> set[str]:
    folder = served.root / session.rsplit("/", 1)[1]
    return {path.name for path in folder.iterdir()} - {"session.json", "edit.lock", "job.lock"}


def begun_upload(served: Served, person: Person, session: str, size: int) -> socket.socket:
    """A connection on which ``size`` bytes of a recording are announced, and none are sent yet."""
    cookies = "; ".join(f"{name}={value}" for name, value in person.client.cookies.items())
    head = (
        f"POST {session}/recordings?name=a.mp4 HTTP/1.1\r\nHost: {served.url[7:]}\r\nContent-Length: {size}\r\n"
        f"Cookie: {cookies}\r\nX-Form-Token: {person.token}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )
    line = socket.create_connection(("127.0.0.1", int(served.url.rsplit(":", 1)[1])), timeout=60)
    line.sendall(head.encode())
    return line


def test_an_upload_that_is_cut_off_leaves_nothing(served: Served, people: People) -> None:
    person = people()
    session = person.begins()
    with begun_upload(served, person, session, 5_000_000) as line:
        line.sendall(bytes(1_500_000))
        _until(lambda: any(name.startswith(PARTIAL) for name in files_in(served, session)))
    _until(lambda: not files_in(served, session))
    assert "recordings" not in person.client.get(f"{session}/state.json").json()
    assert person.uploads(session, "a.mp4", b"whole").json()["number"] == 1


def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_sessions_of_two_people_never_touch_each_other(served: Served, people: People, recordings: list[Path]) -> None:
    one, two = people(), people()
    first, second = one.begins(), two.begins()
    one.uploads(first, "same.mp4", recordings[0].read_bytes())
    one.uploads(first, "same.mp4", recordings[1].read_bytes())
    two.uploads(second, "same.mp4", recordings[0].read_bytes())
    two.uploads(second, "SAME.mp4", recordings[0].read_bytes())
    assert one.post(f"{first}/estimate", **COMPARE).status_code == 303
    assert two.post(f"{second}/estimate", **COMPARE).status_code == 303
    refused = one.post(f"{first}/recordings/1/remove")
    assert refused.status_code == 400
    assert "being worked on" in refused.json()["error"]
    told, failed = one.waits(first), two.waits(second)
    assert told["state"] == "done"
    made = one.client.get(f"{first}/sync.json").json()
    assert [r["name"] for r in made["recordings"]] == ["same.mp4", "same-2.mp4"]
    assert made["recordings"][1]["offset"] == pytest.approx(1.234, abs=0.002)
    assert failed["state"] == "failed"
    assert failed["error"].startswith("same.mp4 and SAME-2.mp4 are the same recording")
    assert two.client.get(f"{second}/sync.json").status_code == 404
    assert two.post(f"{second}/remove").status_code == 303
    assert two.client.get(second).status_code == 404
    piece = one.client.get(f"{first}/recordings/1", headers={"Range": "bytes=5-"})
    assert (piece.status_code, piece.content) == (206, recordings[0].read_bytes()[5 : 5 + PIECE_BYTES])
    assert one.client.get(f"{first}/recordings/1", headers={"Range": "bytes=99999999-"}).status_code == 416


def test_a_job_is_stopped_and_its_session_removed(served: Served, people: People, recordings: list[Path]) -> None:
    person = people()
    session = person.begins()
    for path in recordings[:2]:
        person.uploads(session, path.name, path.read_bytes())
    slots = [try_acquire(served.root / f"slot-{number}") for number in range(SLOTS)]
    try:  # as many others are at work as may be
        person.post(f"{session}/estimate", **COMPARE)
        assert person.client.get(f"{session}/state.json").json()["state"] == "waiting"
        person.post(f"{session}/stop")
        assert person.waits(session)["state"] == "stopped"
    finally:
        for slot in slots:
            assert slot is not None
            os.close(slot)
    person.post(f"{session}/estimate", **COMPARE)
    _until(lambda: person.client.get(f"{session}/state.json").json()["state"] == "running")
    person.post(f"{session}/stop")
    assert person.waits(session)["state"] == "stopped"
    person.post(f"{session}/estimate", **COMPARE)
    _until(lambda: person.client.get(f"{session}/state.json").json()["state"] == "running")
    for process in psutil.process_iter(["cmdline"]):
        if any(session.rsplit("/", 1)[1] in argument for argument in process.info["cmdline"] or ()):
            process.kill()
    killed = person.waits(session)
    assert (killed["state"], killed["error"]) == ("failed", "ended with code -9; see the server's log")
    person.post(f"{session}/estimate", **COMPARE)
    assert person.post(f"{session}/remove").status_code == 303
    assert not (served.root / session.rsplit("/", 1)[1]).exists()


def test_what_is_refused(served: Served, people: People) -> None:
    person = people()
    session = person.begins()
    assert "expected a recording" in person.uploads(session, "a.sh", b"1").json()["error"]
    assert person.uploads(session, "empty.mp4", b"").status_code == 400
    assert person.uploads(session, "../../c.mp4", b"1").json()["name"] == "c.mp4"
    assert person.post(f"{session}/recordings/1/remove").status_code == 303
    with begun_upload(served, person, session, MAX_BYTES + 1) as line, line.makefile("rb") as answer:
        assert b"SYNC_MAX_BYTES" in answer.read()
    assert "found 0" in person.post(f"{session}/estimate", **COMPARE).json()["error"]
    assert person.post(f"{session}/apply", mode="union").status_code == 400
    for path in (
        "/sync/" + "0" * 32,
        "/sync/..%2f..",
        f"{session}/pictures/..%2fsession.json",
        f"{session}/session.json",
    ):
        assert person.client.get(path).status_code == 404
    stranger = replace(person, token="x" * 43)
    assert stranger.post(f"{session}/remove").status_code == 403
    assert stranger.uploads(session, "a.mp4", b"1").status_code == 403
    elsewhere = {"Sec-Fetch-Site": "cross-site", "X-Form-Token": person.token}
    assert person.client.post(f"{session}/recordings?name=a.mp4", content=b"1", headers=elsewhere).status_code == 403
    assert not files_in(served, session)
    policy = person.client.get(session).headers["content-security-policy"]
    assert "unsafe" not in policy


def test_old_sessions_go(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, MAX_BYTES, keep_hours=1, free_bytes=0)
    old, new = sessions.create(), sessions.create()
    os.utime(old.folder / "session.json", (time.time() - 3700,) * 2)
    sessions.sweep()
    with pytest.raises(NotKnown):
        sessions.open(old.id)
    assert not old.folder.exists()
    assert sessions.open(new.id) == new


def test_a_job_whose_server_was_killed_has_failed(tmp_path: Path) -> None:
    session = Sessions(tmp_path, MAX_BYTES, keep_hours=1, free_bytes=0).create()
    lock = try_acquire(session.folder / JOB_LOCK)
    assert lock is not None
    write_state(session, "estimate", "running")
    assert session.state()["state"] == "running"
    os.close(lock)  # as it is when its process ends
    assert (session.state()["state"], session.state()["error"][:22]) == ("failed", "the server was stopped")


def test_the_page_is_there_only_if_asked_for_and_for_those_with_the_password(tmp_path: Path) -> None:
    settings = replace(Settings(), data_dir=tmp_path, cache_dir=tmp_path, model_root=tmp_path)
    assert create_app(settings).test_client().get("/sync").status_code == 404
    locked = replace(settings, sync_page=True, basic_auth_user="u", basic_auth_pass="p")
    client = create_app(locked).test_client()
    assert client.get("/sync").status_code == 401
    assert client.post("/sync").status_code == 401
    assert client.get("/sync", auth=("u", "p")).status_code == 200
    opened = create_app(replace(settings, sync_page=True)).test_client()
    assert opened.post("/sync", environ_base={"REMOTE_ADDR": "10.0.0.7"}).status_code == 403
