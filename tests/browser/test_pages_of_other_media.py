"""The pages of projects whose labels lie on sensors and sound: in sync with a video, and alone.

Screenshots stay in artifacts/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.audio_help import audio_config, sound
from tests.browser.pages_help import WAIT_MS, until, watched
from tests.index_clips import make_index_clip
from tests.integration.service import Project, Service
from tests.series_help import series_config
from tests.sync_group_help import SyncTask, sync_config, sync_task

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SIZES = {"desk": (1180, 820), "phone": (390, 844)}
# (label, first, last) of what is drawn, as shares of a row.
DRAWN = """() => [...document.querySelectorAll(".strip .row")].flatMap(row => {
  const whole = row.querySelector("svg.ribbon").viewBox.baseVal.width
  return [...row.querySelectorAll(".ribbon rect:not(.track)")].map(bar => {
    const first = bar.x.baseVal.value, width = bar.width.baseVal.value
    return [row.querySelector(".name").textContent.trim(), first / whole, (first + width) / whole]
  })
})"""
CONFIGS = {"group": sync_config("video", "audio"), "series": series_config("number"), "sound": audio_config()}


@pytest.fixture(scope="module")
def site(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A service with a trained project of each config: three tasks annotated, one predicted."""
    folder = tmp_path_factory.mktemp("media")
    clip = make_index_clip(folder / "clip.mp4", 350, 25, (64, 64))
    tasks = [sync_task(n, n, folder, clip, sound(n, 14.0).write(folder / f"{n}.wav")) for n in range(1, 5)]
    with Service(tmp_path_factory.mktemp("service"), tiny_checkpoint, folder) as service:
        projects = {name: Project(config) for name, config in CONFIGS.items()}
        for name, project in projects.items():
            assert service.setup(project).status_code == 200
            job = service.train(project, *((t.task, _annotation(name, n, t)) for n, t in enumerate(tasks[:3], 1)))
            assert job["state"] == "done", job
        predicted = {name: service.predict_until_there(one, tasks[3].task)["result"] for name, one in projects.items()}
        seconds = float(tasks[3].recording.seconds[-1])
        yield SimpleNamespace(url=service.url, projects=projects, predicted=predicted, seconds=seconds)


def test_controls_that_learn_together_are_one_model(browser: Browser, site: SimpleNamespace) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    address = f"{site.url}/projects/{site.projects['group'].key}"
    page.goto(address)
    heading = page.locator("section h2")
    expect(heading).to_have_count(1)
    expect(heading).to_contain_text("moves, timeline, sounds")
    expect(heading).to_contain_text("one model, of media in sync")
    page.goto(address + "/timelines")
    expect(page.locator(".strip")).to_have_count(3)
    expect(page.locator(".strip img.film").first).to_be_visible()
    expect(page.locator(".chips")).to_have_count(0)
    page.goto(address + "/tasks/1")
    until(page, "document.querySelector('video').readyState >= 2")
    page.close()


def test_what_is_predicted_of_a_series_or_a_sound_is_drawn_where_it_is(browser: Browser, site: SimpleNamespace) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    found = {}
    for name in ("series", "sound"):
        page.goto(f"{site.url}/projects/{site.projects[name].key}/next")
        expect(page.locator(".strip")).to_have_count(1)
        found[name] = page.evaluate(DRAWN)
    page.close()
    values = [region["value"] for region in site.predicted["sound"]]
    heard = [(v["labels"][0], v["start"] / 14.0, v["end"] / 14.0) for v in values]
    _assert_near(found["sound"], heard)
    values = [region["value"] for region in site.predicted["series"]]
    first = 100.0  # what the clock of these recordings says at their first sample
    felt = [(v["timeserieslabels"][0], *((v[end] - first) / site.seconds for end in ("start", "end"))) for v in values]
    _assert_near(found["series"], felt)


def _assert_near(drawn: list[tuple[str, float, float]], regions: list[tuple[str, float, float]]) -> None:
    """Shares of the whole, within a step and what a region is snapped to."""
    assert len(regions) > 2
    for one, other in zip(sorted(map(tuple, drawn)), sorted(regions), strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], abs=0.01)


def _annotation(name: str, seed: int, task: SyncTask) -> list[dict[str, Any]]:
    return sound(seed, 14.0).regions() if name == "sound" else task.recording.regions("number")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", SIZES)
def test_pages_show_what_is_known(browser: Browser, site: SimpleNamespace, name: str, size: str) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(WAIT_MS)
    page, axe = context.new_page(), Axe()
    told = watched(page)
    address = f"{site.url}/projects/{site.projects[name].key}"
    for what, path in {"project": "", "timelines": "/timelines", "next": "/next", "task": "/tasks/1"}.items():
        page.goto(address + path)
        expect(page.locator("main")).to_contain_text("Shake" if name != "sound" else "Whistle")
        violations = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not [v["id"] for v in violations if v["impact"] in ("serious", "critical")], what
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{what} is wider than the window"
        page.screenshot(path=ARTIFACTS / f"pages-{name}-{what}-{size}.png", full_page=True)
    assert told == []
    context.close()
