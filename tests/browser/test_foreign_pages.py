"""Foreign pages in the user's own Chromium, by a name of theirs that leads to framewise, and across origins."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest
from playwright.sync_api import Browser, Page

from framewise.assembly import Assembly
from tests.browser.driver import chromium
from tests.browser.pages_help import WAIT_MS, filled_server
from tests.index_clips import make_index_clip
from tests.web_server import Page as Served
from tests.web_server import Server
from tools.pages_speed import fill

KEY = "7.1795200057"
SECRET = "API_TOKEN=do-not-tell"
EVIL = "rebind.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A service without a password. Tasks 1 to 3 show a clip, a .env and an SQLite file below LOCAL_FILES_ROOTS."""
    root = tmp_path_factory.mktemp("foreign")
    videos = root / "videos"
    videos.mkdir()
    clip = make_index_clip(videos / "walk.txt.mp4", 50, 25, (64, 64))
    (videos / ".env").write_text(SECRET)
    with sqlite3.connect(videos / "notes.mp4") as database:
        database.execute("CREATE TABLE secrets (text)")
        database.execute("INSERT INTO secrets VALUES (?)", (SECRET,))

    def write(assembly: Assembly) -> None:
        fill(assembly, KEY, 4, 2, frames=50, video=str(clip))
        for task, name in ((2, ".env"), (3, "notes.mp4")):
            assembly.annotations.put_task(KEY, task, {"video": str(videos / name)})

    with filled_server(root, write, local_files_roots=(videos,)) as (server, assembly):
        yield SimpleNamespace(url=server.url, port=server.settings.port, assembly=assembly)


@pytest.fixture(scope="module")
def rebound(browser: Browser) -> Iterator[Browser]:
    """A browser whose resolver the attacker answers. browser: asks whether the tests are to have one at all."""
    with chromium(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as running:
        yield running


def fetched(page: Page, address: str, **options: object) -> str:
    """Status and text that a script of the page gets, or the browser's refusal."""
    script = (
        "async ([address, options]) => { try { const got = await fetch(address, options); "
        "return `${got.status} ${await got.text()}`; } catch (error) { return `refused: ${error}`; } }"
    )
    return str(page.evaluate(script, [address, options]))


def test_a_page_whose_name_leads_to_framewise_reads_and_changes_nothing(rebound: Browser, site: SimpleNamespace) -> None:
    page = rebound.new_page()
    page.goto(f"http://{EVIL}:{site.port}/health")  # its origin is now that of framewise under the attacker's name
    for path in ("/", "/jobs", "/versions", "/metrics", f"/projects/{KEY}", f"/projects/{KEY}/tasks/1/media"):
        assert fetched(page, path).startswith("403 "), path
    before = [version["version"] for version in site.assembly.registry.versions(KEY)]
    project = {"id": 7, "created_at": "2026-11-20T20:00:57Z", "label_config": ""}
    deleted = {"action": "TASKS_DELETED", "project": project, "tasks": [{"id": 1}, {"id": 4}]}
    posted = {"method": "POST", "body": json.dumps(deleted), "headers": {"Content-Type": "application/json"}}
    assert fetched(page, "/webhook", **posted).startswith("403 ")
    assert fetched(page, f"/versions/current?project={KEY}", method="DELETE").startswith("403 ")
    assert [version["version"] for version in site.assembly.registry.versions(KEY)] == before
    assert site.assembly.annotations.task_data(KEY, 1)
    assert SECRET not in page.content()


def test_a_page_of_another_origin_reads_and_changes_nothing(browser: Browser, site: SimpleNamespace) -> None:
    """Requests that a browser sends without asking first: forms, pictures, and fetches in the mode no-cors."""
    picture = f"{site.url}/projects/{KEY}/tasks/1/frames/1.jpg"
    html = f'<img src="{picture}"><form method="post" action="{site.url}/webhook" enctype="text/plain"><input name="a"></form>'
    with closing(Server()) as other:
        other.pages["/"] = Served(html.encode(), headers={"Content-Type": "text/html"})
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(other.url)
        assert page.evaluate("document.images[0].naturalWidth") == 0
        body = json.dumps({"action": "TASKS_DELETED", "project": {"id": 7}, "tasks": [{"id": 1}]})
        fetched(page, f"{site.url}/webhook", method="POST", mode="no-cors", body=body)
        assert fetched(page, f"{site.url}/versions").startswith("refused")
        with page.expect_response(f"{site.url}/webhook") as answered:
            page.evaluate("document.forms[0].submit()")
        assert answered.value.status == 403
        page.close()
    assert site.assembly.annotations.task_data(KEY, 1)


def test_only_videos_are_sent_whatever_their_names_say(browser: Browser, site: SimpleNamespace) -> None:
    page = browser.new_page()
    page.goto(site.url)
    sent = page.request.get(f"{site.url}/projects/{KEY}/tasks/1/media")
    assert (sent.status, sent.headers["content-type"]) == (200, "video/mp4")
    for task in (2, 3):
        for path in ("media", "strip.jpg?frames=50", "frames/1.jpg"):
            answer = page.request.get(f"{site.url}/projects/{KEY}/tasks/{task}/{path}")
            assert answer.status == 422, (task, path)
            assert SECRET.encode() not in answer.body()
    page.close()
