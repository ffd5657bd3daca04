"""The pages in a real Chromium: what a person sees, by mouse, by keys, in both themes, on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from framewise.assembly import Assembly
from tests.browser.pages_help import WAIT_MS, filled_server, until, watched
from tests.index_clips import make_index_clip
from tools.pages_speed import fill

BIG, ONE, EMPTY, HOSTILE = "7.1795200057", "8.1795200057", "9.1795200057", "10.1795200057"
FRAMES = 60
NASTY = "<img src=x onerror=\"document.title='owned'\">'\"&</script>"
PAGES = ("", "/timelines", "/next", "/tasks/1", "/do/train")


def project(key: str, rest: str = "") -> str:
    return f"/projects/{key}{rest}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A big project, one with one video, an empty one, and one with hostile names."""
    root = tmp_path_factory.mktemp("pages")
    clip = root / "videos" / f"a {NASTY.replace('/', '')}.mp4"
    clip.parent.mkdir()
    make_index_clip(clip, FRAMES, 25, (64, 64))

    def write(assembly: Assembly) -> None:
        fill(assembly, BIG, 60, 8, frames=FRAMES, annotated=25, video=str(clip))
        fill(assembly, ONE, 1, 1, frames=FRAMES, video=str(clip), annotated=1)
        fill(assembly, EMPTY, 0, 0)
        escaped = NASTY.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        config = (
            f'<View><TimelineLabels name="{escaped}" toName="video" model_trainable="true"><Label value="{escaped}" '
            'background="red&quot; onload=&quot;document.title=1"/></TimelineLabels><Video name="video" value="$video"/></View>'
        )
        assembly.annotations.put_project(HOSTILE, 10, config, NASTY)
        assembly.annotations.put_tasks(HOSTILE, [{"id": 1, "data": {"video": f"https://example.org/{NASTY}.mp4"}}])
        assembly.jobs.states.record_failures("predict", HOSTILE, [(1, NASTY)])

    with filled_server(root, write, local_files_roots=(clip.parent,), label_studio_url="http://127.0.0.1:8080") as made:
        yield SimpleNamespace(url=made[0].url, assembly=made[1], server=made[0])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    ("scheme", "width", "of_projects"),
    [
        ("light", 1280, [*(project(BIG, x) for x in PAGES), *(project(EMPTY, x) for x in PAGES if x != "/tasks/1")]),
        ("dark", 390, [*(project(BIG, x) for x in PAGES), project(ONE), project(ONE, "/timelines"), project(HOSTILE)]),
    ],
    ids=["light, at a desk", "dark, on a phone"],
)
def test_no_page_has_a_serious_violation_or_scrolls_sideways(
    browser: Browser, site: SimpleNamespace, scheme: str, width: int, of_projects: list[str]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    told, axe = watched(page), Axe()
    for path in ["/", "/jobs", *of_projects]:
        page.goto(site.url + path)
        violations = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]
        assert not serious, f"{path}: {serious}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the window"
    assert told == []
    context.close()


def test_nothing_of_a_task_or_a_config_is_taken_for_html(page: Page, site: SimpleNamespace) -> None:
    told = watched(page)
    for path in ["/", *(project(HOSTILE, rest) for rest in PAGES)]:
        page.goto(site.url + path)
        expect(page.locator("body")).to_contain_text("onerror=")
        assert page.locator("img[src=x], [onload], [onerror]").count() == 0, path
        assert "owned" not in page.title().split("onerror")[0]
    page.goto(site.url + "/")
    fills = page.locator(".swatch rect").evaluate_all("all => all.map(one => one.getAttribute('fill'))")
    assert all(len(fill) == 7 and fill[0] == "#" for fill in fills)
    assert told == []


def test_a_note_is_dismissed_and_comes_back_when_asked_for(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url + project(BIG))
    note = page.locator("[data-topic]", has_text="60 files: 30 pictures a second")
    expect(note).to_have_count(1)
    note.locator("summary").click()
    expect(note.get_by_role("link", name="walk-0007.mp4")).to_be_visible()
    note.get_by_role("button", name="Dismiss").click()
    expect(note).to_be_hidden()
    page.reload()
    expect(note).to_be_hidden()
    page.get_by_role("button", name="Show 1 dismissed note").click()
    expect(note).to_be_visible()


def test_all_jobs_are_a_page_for_people_and_json_for_scripts(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url)
    page.get_by_role("link", name="all jobs").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.locator(".jobs li").first).to_be_visible()
    assert httpx.get(f"{site.url}/jobs").json().keys() == {"pending", "running", "scheduled", "jobs"}


def test_pages_lead_to_the_project_in_label_studio(page: Page, site: SimpleNamespace) -> None:
    for path in ("/", project(BIG)):
        page.goto(site.url + path)
        link = page.get_by_role("link", name="Open in Label Studio").first
        assert str(link.get_attribute("href")).startswith("http://127.0.0.1:8080/projects/")


def test_pages_work_without_scripts(browser: Browser, site: SimpleNamespace) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url + "/")
    page.get_by_role("article").get_by_role("link", name="Gait study 7", exact=True).click()
    expect(page.get_by_role("table").first).to_contain_text("Stand still")
    page.get_by_role("link", name="Timelines").click()
    assert page.locator("svg.ribbon").count() == 30
    context.close()


def test_live_progress_moves(page: Page, site: SimpleNamespace) -> None:
    states = site.assembly.jobs.states
    page.goto(site.url + "/")
    # A job of a worker that lives: this process has the lock by which others see that.
    lock = site.assembly.jobs._take_lock()
    job = states.begin("extract", BIG, "moves", site.assembly.jobs._owner)
    try:
        bar = page.locator("progress")
        states.report(job.id, 0.25, "75 of 300 pictures")
        expect(bar).to_have_attribute("value", "0.250", timeout=WAIT_MS)
        states.report(job.id, 0.5, "150 of 300 pictures")
        expect(bar).to_have_attribute("value", "0.500", timeout=WAIT_MS)
        expect(page.locator(".jobs")).to_contain_text("150 of 300 pictures")
    finally:
        states.finish(job.id, site.assembly.jobs._owner)
        os.close(lock)
    expect(bar).to_have_count(0, timeout=WAIT_MS)


def test_walking_through_a_timeline_shows_the_picture_and_its_number(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url + project(BIG, "/timelines"))
    timeline = page.locator(".strip .timeline").first
    timeline.focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".tip")).to_contain_text("frame 31")
    until(page, "document.querySelector('.tip img').naturalWidth > 0")
    box = timeline.locator(".lane").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 5)
    expect(page.locator(".tip")).to_contain_text("frame 31")
    link = timeline.get_attribute("href")
    assert link is not None
    assert link.startswith("http://127.0.0.1:8080/projects/7/data?task=")


def test_the_worst_video_is_first_and_lists_are_paged(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url + project(BIG, "/timelines"))
    expect(page.locator(".strip")).to_have_count(10)
    expect(page.locator(".pager")).to_contain_text("page 1 of 3")
    first = page.locator(".strip header p").first.inner_text()
    page.goto(site.url + project(BIG, "/timelines?page=3"))
    last = page.locator(".strip header p").last.inner_text()
    assert "disagree" in first
    assert int(first.split()[0]) > (0 if "agree." in last else int(last.split()[0]))


def test_the_player_goes_by_frames(page: Page, site: SimpleNamespace) -> None:
    page.goto(site.url + project(BIG, "/tasks/1"))
    until(page, "document.querySelector('video').readyState >= 2")
    output = page.locator(".player output")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(output).to_have_text("frame 12")
    until(page, "!document.querySelector('video').seeking")
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(11 / 25 + 0.002, abs=1e-6)
    page.keyboard.press("ArrowLeft")
    expect(output).to_have_text("frame 11")
    assert page.locator(".whole .cursor").first.get_attribute("x1") == "10.5"
    page.keyboard.press("l")
    until(page, "!document.querySelector('video').paused || document.querySelector('video').ended")
    page.keyboard.press("k")
    until(page, "document.querySelector('video').paused")
    page.keyboard.press("End")
    page.keyboard.press("j")
    before = int(output.inner_text().split()[1])
    until(page, f"Number(document.querySelector('.player output').textContent.split(' ')[1]) < {max(before, 2)}")
