"""A version that learned from other features than those it would be given now is not used, and is trained anew."""

import shutil

import pytest

from tests.integration.service import Project, Service, learning_config, region, wait_for

HTML = {"Accept": "text/html"}
NOT_USED = "is not used: it learned from features that are made in another way now"
QUICK = {"model_classifier_epochs": "3"}  # it does not matter what is learned


@pytest.fixture
def project():
    return Project(learning_config(**QUICK))


@pytest.fixture(scope="module")
def restarted_service(tmp_path_factory, backbone, videos):
    """A service that these tests stop and start with other settings."""
    with Service(tmp_path_factory.mktemp("restarted"), backbone, videos) as service:
        yield service


def pages(service, project):
    return [service.client.get(path, headers=HTML).text for path in ("/", f"/projects/{project.key}")]


def test_change_of_the_crop_trains_anew_and_says_why(service, project, make_task):
    """Features of both crops have the same size: only the version's own record tells them apart."""
    task = make_task()
    service.train(project, (task, [region("Walk", (1, 12))]))
    first = service.version(project)
    squashed = project.with_config(learning_config(model_crop="squash", **QUICK))

    assert service.version(squashed) == "untrained"
    assert service.predict(squashed, [task]) == [[]]

    second = wait_for(lambda: (version := service.version(squashed)) != "untrained" and version, "a new version")
    assert second != first
    assert service.predict(squashed, [task])[0]["model_version"] == second
    warnings = service.jobs(squashed, "train")[0]["warnings"]
    assert len(warnings) == 1
    assert "a new model was started, because the backbone is" in warnings[0]


def test_after_an_upgrade_that_makes_features_anew_the_pages_say_so_until_it_is_done(
    restarted_service, project, make_task, make_clip
):
    """Another profile stands for the upgrade: with it, all features and versions of before are of another kind."""
    service, tasks = restarted_service, [make_task(make_clip(600)), make_task()]
    service.train(project, *((task, [region("Walk", (1, 12))]) for task in tasks))
    first = service.version(project)
    assert not any(NOT_USED in page for page in pages(service, project))
    service.stop()
    service.env["EXTRACTION_PROFILE"] = "exact"
    service.start()

    for page in pages(service, project):
        assert f"Version {first} of &#39;tl&#39; {NOT_USED}" in page
        assert "Press Train now" in page
        assert "the features of 2 annotated files anew" in page
        assert '<span class="tag">not used</span>' in page

    service.version(project)  # asks for it, and so begins the training
    seen = wait_for(
        lambda: [p for p in pages(service, project) if "making features anew, video 1 of 2: pictures" in p], "it says"
    )
    assert all("it is running" in page and "Press Train now" not in page for page in seen)
    service.wait_idle()
    assert service.version(project) not in ("untrained", first)
    assert not any(NOT_USED in page or "making features" in page for page in pages(service, project))


def test_a_training_says_of_which_videos_it_makes_features_anew(restarted_service, project, make_task, make_clip):
    """The cache was removed; the version is used."""
    service, tasks = restarted_service, [make_task(), make_task(make_clip(600))]
    service.train(project, *((task, [region("Walk", (1, 12))]) for task in tasks))
    service.stop()
    shutil.rmtree(service.cache)
    service.start()
    service.send(project.event("START_TRAINING"))
    wait_for(lambda: "making features anew, video 2 of 2: pictures" in pages(service, project)[1], "it says")
    service.wait_idle()
    assert service.jobs(project, "train")[0]["state"] == "done"
