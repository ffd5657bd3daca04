"""LABEL_STUDIO_URL leads nowhere: what framewise does by itself is done all the same, and seen to be done."""

import pytest

from tests.integration.service import Project, learning_config, region

QUICK = learning_config(model_classifier_epochs="3", model_score_threshold="0")
NOBODY = {"LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": "0" * 40, "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def service(start_service):
    return start_service(**NOBODY, PUSH_QUIET_SECONDS="0.1")


def test_trainings_and_predictions_go_on(service, make_task):
    project, task = Project(QUICK), make_task()
    service.setup(project)
    for label in ("Walk", "Run"):
        job = service.train(project, (task, [region(label, (1, 24))]))
        assert (job["state"], job["error"]) == ("done", None)
    prediction = service.predict_until_there(project, make_task())
    assert prediction["model_version"] == service.version(project) != "untrained"


def test_what_waits_for_label_studio_says_so_and_does_not_count_as_work(service, make_task):
    project, task = Project(QUICK), make_task()
    service.setup(project)
    service.train(project, (task, [region("Walk", (1, 24))]))
    service.wait_idle()
    waiting = {job["kind"]: job for job in service.jobs(project) if job["state"] == "scheduled"}
    assert "import" in waiting
    assert NOBODY["LABEL_STUDIO_URL"] in waiting["import"]["detail"]
    assert service.overview()["scheduled"] == len(waiting)
