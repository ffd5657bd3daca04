"""model_pose in the running service: poses are extracted, learned from, and named as evidence; turning it off trains anew."""

import shutil

import pytest

from tests.integration.service import Project, learning_config, region
from tests.pose_help import random_picture, write_pose_checkpoint
from tests.videos import write_video

NETWORK = "tiny-pose.pt"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_pose_checkpoint(tmp_path_factory.mktemp("pose") / NETWORK)


@pytest.fixture
def tasks(videos, make_task):
    """Tasks with clips in which a dozen persons are found."""
    return [
        make_task(write_video(videos / f"poses-{number}.mp4", [random_picture(64, 96, 60 * number + n) for n in range(50)]))
        for number in range(3)
    ]


def config(**parameters):
    return learning_config(model_classifier_type="auto", **parameters)


def test_poses_are_learned_from_and_a_version_without_them_is_another(start_service, checkpoint, tasks):
    service, project = start_service(), Project(config(model_pose=NETWORK))
    refused = service.setup(project)
    assert refused.status_code == 400
    assert f"model_pose '{NETWORK}': no such file in the models folder" in refused.text
    shutil.copy(checkpoint, service.model_root / NETWORK)
    service.train(project, *((task, [region("Walk", (1, 20)), region("Run", (25, 45))]) for task in tasks))
    first = service.version(project)
    assert first != "untrained"
    assert service.predict(project, tasks[:1])[0]["model_version"] == first
    records = [path.read_text() for path in service.model_root.rglob(f"{first}/*.json")]
    assert any('"changes of the pose"' in record for record in records)  # how much each kind of evidence explains

    without = project.with_config(config())
    assert service.version(without) == "untrained"
    service.wait_idle()
    assert service.version(without) not in ("untrained", first)
    job = service.jobs(without, "train")[0]
    assert job["state"] == "done"
