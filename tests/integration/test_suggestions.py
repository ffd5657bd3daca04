"""Suggestions while somebody annotates, as Label Studio asks for them: /predict with the regions of one label as context."""

import itertools

import pytest

from tests.integration.service import Project
from tests.integration.test_series import make_task
from tests.series_help import record, series_config

KIND = "number"


@pytest.fixture
def drawing(service, videos):
    """A project that nothing was learned in, a recording, its task with features at hand, and the truth of label "Shake" as the
    editor saves it."""
    project, recording = Project(series_config(KIND)), record(5, 60.0)
    task = make_task(recording, videos, KIND)
    assert service.predict(project, [task]) == [[]]
    service.wait_idle()
    shakes = [r for r in recording.regions(KIND) if r["value"]["timeserieslabels"] == ["Shake"]]
    assert len(shakes) > 4
    return project, recording, task, shakes


def suggested(service, project, task, drawn, **more):
    """Regions that come back when ``drawn`` is in the editor."""
    body = project.predict_body([{**task, **more}])
    body["params"] = {**body.get("params", {}), "context": {"result": drawn}}
    answer = service.post("/predict", body)
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()["results"]
    return told["result"]


def as_accepted(regions):
    """Regions as the editor sends them back after it has accepted them."""
    return [{**r, "origin": "prediction"} for r in regions]


def overlaps(one, other):
    return one["value"]["start"] < other["value"]["end"] and other["value"]["start"] < one["value"]["end"]


def found_of(regions, truth):
    return [t for t in truth if any(overlaps(t, r) for r in regions)]


def test_one_drawn_interval_finds_the_others_of_its_label(service, drawing):
    project, _, task, shakes = drawing
    regions = suggested(service, project, task, shakes[:1])
    assert {tuple(r["value"]["timeserieslabels"]) for r in regions} == {("Shake",)}
    assert not any(overlaps(r, shakes[0]) for r in regions)
    assert len(found_of(regions, shakes[1:])) >= 0.75 * len(shakes[1:])
    assert len({r["id"] for r in regions}) == len(regions)


def test_the_same_question_has_the_same_answer_and_what_is_there_is_not_suggested_again(service, drawing):
    project, _, task, shakes = drawing
    first = suggested(service, project, task, shakes[:1])
    assert suggested(service, project, task, [*shakes[:1], *as_accepted(first)]) == []


def test_a_suggestion_keeps_its_id_when_more_is_drawn_and_nothing_piles_up(service, drawing):
    project, _, task, shakes = drawing
    there = {r["id"]: r for r in suggested(service, project, task, shakes[:1])}
    for drawn in (shakes[:1] + shakes[2:3], shakes[:1] + shakes[2:4]):
        # The annotator draws over one of the suggestions, which the editor still has.
        for moved in suggested(service, project, task, [*drawn, *as_accepted(there.values())]):
            there[moved["id"]] = moved
        for one, other in itertools.combinations(there.values(), 2):
            assert not overlaps(one, other)


def test_a_deleted_suggestion_does_not_come_back(service, drawing):
    project, _, task, shakes = drawing
    gone, *kept = suggested(service, project, task, shakes[:1])
    again = suggested(service, project, task, [*shakes[:1], *as_accepted(kept)])
    assert not any(overlaps(r, gone) for r in again)
    more = suggested(service, project, task, [*shakes[:1], *as_accepted(kept)])
    assert not any(overlaps(r, gone) for r in more)


def test_what_the_annotator_changed_is_never_touched(service, drawing):
    project, _, task, shakes = drawing
    first, *rest = suggested(service, project, task, shakes[:1])
    length = first["value"]["end"] - first["value"]["start"]
    value = {**first["value"], "end": round(first["value"]["start"] + length / 2, 3)}
    changed = {**first, "value": value, "origin": "prediction-changed"}
    again = suggested(service, project, task, [*shakes[:1], changed, *as_accepted(rest)])
    assert first["id"] not in {r["id"] for r in again}
    assert not any(overlaps(r, changed) for r in again)


def test_nothing_is_suggested_over_another_label_of_a_stored_draft(service, drawing):
    project, _, task, shakes = drawing
    other = {**shakes[1], "id": "other", "value": {**shakes[1]["value"], "timeserieslabels": ["Turn"]}}
    regions = suggested(service, project, task, shakes[:1], drafts=[{"id": 1, "result": [other]}])
    assert regions
    assert not any(overlaps(r, other) for r in regions)


def test_a_trained_project_suggests_what_its_version_finds(service, drawing, videos):
    project, _, task, shakes = drawing
    learned = [record(seed) for seed in (1, 2)]
    service.train(project, *((make_task(r, videos, KIND), r.regions(KIND)) for r in learned))
    predicted = [r for r in service.predict(project, [task])[0]["result"] if r["value"]["timeserieslabels"] == ["Shake"]]
    regions = suggested(service, project, task, shakes[:1])
    expected = [r["value"] for r in predicted if not overlaps(r, shakes[0])]
    assert [r["value"] for r in regions] == expected


def test_after_a_submit_suggestions_begin_anew(service, drawing):
    project, recording, task, shakes = drawing
    first = suggested(service, project, task, shakes[:1])
    service.train(project, (task, recording.regions(KIND)))
    again = suggested(service, project, task, shakes[:1])
    assert len(found_of(again, shakes[1:])) >= 0.75 * len(shakes[1:])
    assert {r["id"] for r in first} & {r["id"] for r in again}


@pytest.mark.parametrize("drawn", [[], [{"id": "x", "type": "choices", "value": {"choices": ["a"]}}], ["text"]])
def test_a_context_that_says_nothing_is_answered_with_nothing(service, drawing, drawn):
    project, _, task, _ = drawing
    assert suggested(service, project, task, drawn) == []


def test_suggestions_can_be_switched_off(service, videos):
    recording = record(6, 60.0)
    project, task = Project(series_config(KIND, model_suggestions="false")), make_task(recording, videos, KIND)
    service.predict(project, [task])
    service.wait_idle()
    assert suggested(service, project, task, recording.regions(KIND)[:1]) == []


def test_the_word_more_asks_for_all_labels(service, drawing, videos):
    project, _, task, _ = drawing
    learned = [record(seed) for seed in (1, 2)]
    service.train(project, *((make_task(r, videos, KIND), r.regions(KIND)) for r in learned))
    words = {"id": "t", "from_name": "ask", "to_name": "sensor", "type": "textarea", "value": {"text": ["more"]}}
    regions = suggested(service, project, task, [words])
    assert {r["value"]["timeserieslabels"][0] for r in regions} == {"Shake", "Turn"}


@pytest.mark.parametrize("context", [{"result": "x"}, {"result": None}, {"other": 1}])
def test_a_context_without_regions_is_refused(service, drawing, context):
    project, _, task, _ = drawing
    body = project.predict_body([task])
    body["params"] = {"context": context}
    answer = service.post("/predict", body)
    assert answer.status_code == 400
    assert "expected a list of regions in params.context.result" in answer.json()["error"]
