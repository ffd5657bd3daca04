"""A version that learned from other features than those it would be given now is not used, and is trained anew."""

from tests.integration.service import learning_config, region, wait_for


def test_change_of_the_crop_trains_anew_and_says_why(service, project, make_task):
    """Features of both crops have the same size: only the version's own record tells them apart."""
    task = make_task()
    service.train(project, (task, [region("Walk", (1, 12))]))
    first = service.version(project)
    squashed = project.with_config(learning_config(model_crop="squash"))

    assert service.version(squashed) == "untrained"
    assert service.predict(squashed, [task]) == [[]]

    second = wait_for(lambda: (version := service.version(squashed)) != "untrained" and version, "a new version")
    assert second != first
    assert service.predict(squashed, [task])[0]["model_version"] == second
    warnings = service.jobs(squashed, "train")[0]["warnings"]
    assert len(warnings) == 1
    assert "a new model was started, because the backbone is" in warnings[0]
