"""The pages of a service that really trains: rolling back on a page, and the scores of videos that were held out."""

import os
import re

import httpx
import pytest

from tests.browser.driver import chromium
from tests.integration.service import Project, frames_of, learning_config, region, wait_for
from tests.integration.test_auto import make_film, regions_of
from tests.integration.test_versions import annotate_twice

__all__ = ["make_film"]
HTML = {"Accept": "text/html"}


def test_rolling_back_on_the_page_changes_what_label_studio_gets(service, project, make_task):
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1")
    task = make_task()
    first, second = annotate_twice(service, project, task)
    assert service.version(project) == second
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{service.url}/projects/{project.key}")
        page.get_by_role("link", name=f"Roll back to {first}").click()
        page.get_by_role("button", name="Roll back").click()
        page.get_by_text("The version is pinned.").wait_for()
        assert service.version(project) == first
        prediction = service.predict(project, [task])[0]
        assert prediction["model_version"] == first
        assert len(frames_of(prediction, "Walk")) > 12 > len(frames_of(prediction, "Run"))
        page.get_by_role("link", name="Unpin").click()
        page.get_by_role("button", name="Unpin").click()
        page.get_by_text("newest version is in use").wait_for()
    assert service.version(project) == second


def test_a_training_leaves_held_out_scores_for_the_timelines_and_predictions_for_next(service, make_film):
    project = Project(learning_config(model_classifier_type="auto"))
    films = [make_film() for _ in range(3)]
    for film, shown in films:
        service.send(project.annotation_event(film, regions_of(shown)))
    service.wait_idle()
    page = httpx.get(f"{service.url}/projects/{project.key}/timelines", headers=HTML)
    assert "3 annotated videos, worst first" in page.text
    assert page.text.count('<svg class="ribbon"') == 3 * 2
    for film, _ in films:
        assert f"task {film['id']}</span>" in page.text
    unseen, _ = make_film()
    service.predict_until_there(project, unseen)
    shown = wait_for(lambda: _next(service, project, unseen["id"]), "the prediction is listed")
    assert "certainty 0." in shown or "certainty 1." in shown
    quality = httpx.get(f"{service.url}/projects/{project.key}", headers=HTML).text
    assert "Precision" in quality
    assert "each by a model that learned from all others" in quality


def test_pages_ask_whether_marks_were_left_out(service, make_film):
    """Six films marked in full, then six in which one of the two labels is not marked: those are asked about."""
    project = Project(learning_config(model_classifier_type="auto"))
    films = [make_film(seed=5000 + number) for number in range(12)]
    for number, (film, shown) in enumerate(films):
        regions = regions_of(shown)
        service.send(project.annotation_event(film, regions[:1] if number >= 6 else regions))
    service.wait_idle()
    text = httpx.get(f"{service.url}/projects/{project.key}", headers=HTML).text
    asked = text.partition("Were marks left out?")[2].partition("</ul>")[0]
    found = re.findall(r'Run, [\d.]+ to [\d.]+ s of <a href="[^"]+">task (\d+)</a>', asked)
    assert len(found) >= 3
    assert set(found) <= {str(film["id"]) for film, _ in films[6:]}


def _next(service, project, task):
    text = httpx.get(f"{service.url}/projects/{project.key}/next", headers=HTML).text
    return text if f"task {task}</span>" in text else ""


def test_a_page_of_a_refused_request_says_why(service, project, make_task):
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    answer = httpx.get(f"{service.url}/projects/{project.key}/tasks/999999", headers=HTML)
    assert answer.status_code == 404
    assert "has no task 999999" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
