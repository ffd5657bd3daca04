"""model_pose in a labeling config: what is extracted, learned from and recorded, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from framewise.assembly import Assembly
from framewise.bulk.extracting import CACHED, EXTRACTED, Workplace
from framewise.bulk.videos import find
from framewise.controls.examples import Medium
from framewise.core.errors import BackboneError, ConfigError
from framewise.core.progress import silent
from framewise.labeling_config import read_labeling_config
from framewise.learning.joint import JointRows
from framewise.media.library import MediaFile
from framewise.settings import Settings
from tests.messages import labeling_config, region
from tests.pose_help import random_picture, write_pose_checkpoint
from tests.sync_group_help import sync_config
from tests.videos import write_video

KEY = "7.1795200057"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_pose_checkpoint(tmp_path_factory.mktemp("pose") / "tiny-pose.pt")


@pytest.fixture
def settings(tmp_path, models_folder, checkpoint):
    (models_folder / "tiny-pose.pt").write_bytes(checkpoint.read_bytes())
    return Settings(
        model_root=models_folder,
        cache_dir=tmp_path / "cache",
        data_dir=tmp_path / "data",
        model_path="tiny-cls.pt",
        local_files_roots=(tmp_path,),
    )


@pytest.fixture
def learner(settings):
    """Makes the learner of a labeling config with these parameters."""

    def make(**parameters):
        config = labeling_config("Walk", "Run", **{"model_trainable": "true", **parameters})
        return Assembly(settings).backend.learners(KEY, config)[0]

    return make


@pytest.fixture
def clips(tmp_path):
    return [
        write_video(tmp_path / f"{number}.mp4", [random_picture(64, 96, 50 * number + n) for n in range(30)])
        for number in range(3)
    ]


def examples_of(learner, clips):
    control, found = learner.controls[0], []
    for clip in clips:
        media = [Medium(control, control.features(MediaFile.of(clip), silent), clip.name)]
        result = [region("Walk", (1, 12)), region("Run", (15, 25))]
        found.append(dataclasses.replace(learner.task_example(media, {"video": str(clip)}, result), task=len(found) + 1))
    return found


def test_poses_are_a_kind_of_evidence_of_their_own(learner, clips):
    poses = learner(model_pose="tiny-pose.pt")
    (example,) = examples_of(poses, clips[:1])
    assert isinstance(example.rows, JointRows)
    appearance, motion = example.rows.read(np.arange(30))
    assert appearance.shape == (30, 1280 + 7 + 51)
    assert motion.shape == (30, 44)
    plain = examples_of(learner(), clips[:1])[0].rows.read(np.arange(30))
    np.testing.assert_array_equal(plain[0], appearance[:, :1280])
    np.testing.assert_array_equal(plain[1], motion)


def test_versions_know_whether_they_learned_from_poses(learner, clips):
    def version(**parameters):
        return learner(**parameters).version()

    with_poses = learner(model_pose="tiny-pose.pt")
    with_poses.train(examples_of(with_poses, clips), "v1-20261129T180000Z", silent)
    first = version(model_pose="tiny-pose.pt")
    assert first == "v1-20261129T180000Z"
    assert version() is None
    assert learner().is_outdated()
    without = learner()
    without.train(examples_of(without, clips), "v2-20261129T180100Z", silent, thorough=True)
    assert version() == "v2-20261129T180100Z"
    assert version(model_pose="tiny-pose.pt") is None
    assert version(model_pose="") == version()


def test_predictions_come_from_both(learner, clips):
    with_poses = learner(model_pose="tiny-pose.pt")
    with_poses.train(examples_of(with_poses, clips), "v1-20261129T180000Z", silent, thorough=True)
    control = with_poses.controls[0]
    media = [Medium(control, control.cached_features(MediaFile.of(clips[0]).content))]
    assert with_poses.task_prediction(media, {"video": str(clips[0])}).certainty > 0
    about = control.parts.registry.about(with_poses.folder)
    assert any("the pose" in names for names in about["explained"].values())


def test_turning_it_on_computes_the_poses_alone(learner, clips):
    examples_of(learner(), clips)
    with_poses = learner(model_pose="tiny-pose.pt")
    control, content = with_poses.controls[0], MediaFile.of(clips[0]).content
    assert control.cached_features(content) is None
    told = []
    control.features(MediaFile.of(clips[0]), lambda share, detail: told.append(share))
    assert min(told) >= 0.5
    assert control.cached_features(content).poses is not None
    assert learner().controls[0].cached_features(content).poses is None


def test_in_a_sync_group_poses_are_a_medium_of_their_own(settings, clips):
    config = sync_config("video").replace('toName="clip"', 'toName="clip" model_pose="tiny-pose.pt"')
    (learner,) = Assembly(settings).backend.learners(KEY, config)
    video = next(control for control in learner.controls if control.to_name == "clip")
    media = [Medium(video, video.features(MediaFile.of(clips[0]), silent), "clip")]
    rows = learner.on_grid(media, {}, {}).rows
    names = [name for reader in learner.readers.values() for name in reader.evidence]
    assert rows.names == names
    assert sorted(names) == sorted(["clip", "poses in clip", *(set(learner.readers) - {"clip"})])
    assert [part is not None for part in rows.parts] == [name in ("clip", "poses in clip") for name in names]
    assert rows.moving == names.index("clip")
    assert rows.read(np.arange(5))[0].shape == (5, 1280 + 7 + 51)
    assert "tiny-pose.pt" not in str(learner.identity())
    assert video.identity()["pose"] in learner.identity()["sha256"]


def test_extract_makes_the_poses_that_a_labeling_config_asks_for(tmp_path, settings, clips):
    (tmp_path / "config.xml").write_text(labeling_config("Walk", model_trainable="true", model_pose="tiny-pose.pt"))
    (tmp_path / "tasks.json").write_text(json.dumps([{"id": 1, "data": {"video": str(clips[0])}}]))
    (video,) = find(settings, tmp_path / "tasks.json", tmp_path / "config.xml", None).videos
    assert [(wanted.backbone, wanted.is_pose) for wanted in video.wanted] == [("tiny-cls.pt", False), ("tiny-pose.pt", True)]
    place = Workplace(settings)
    assert [place.extract(video, silent).state for _ in range(2)] == [EXTRACTED, CACHED]


# What is refused.


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"model_pose": "mine.pt"}, BackboneError, "model_pose 'mine.pt': no such file in the models folder"),
        ({"model_pose": "../x.pt"}, BackboneError, "model_pose '../x.pt': expected the name of a .pt file"),
        (
            {"model_path": "yolo11n-pose.pt"},
            ConfigError,
            "model_path 'yolo11n-pose.pt' is a pose network; name it in model_pose",
        ),
    ],
)
def test_what_is_no_pose_network_is_refused(learner, parameters, error, text):
    with pytest.raises(error) as caught:
        learner(**parameters)
    assert text in str(caught.value)


def test_it_may_be_forbidden(settings):
    strict = dataclasses.replace(settings, allow_custom_model_path=False)
    config = labeling_config("Walk", model_trainable="true", model_pose="tiny-pose.pt")
    with pytest.raises(ConfigError, match="model_pose may not be set here"):
        Assembly(strict).backend.learners(KEY, config)


def test_the_lstm_learns_from_no_poses():
    config = labeling_config("Walk", model_trainable="true", model_classifier_type="lstm", model_pose="x.pt")
    with pytest.raises(ConfigError, match='model_pose needs model_classifier_type="auto"'):
        read_labeling_config(config)


def test_in_simple_mode_it_has_no_effect(settings):
    config = labeling_config("person", model_pose="gone.pt")
    (control,) = read_labeling_config(config)
    assert [note.partition(": ")[2] for note in control.notes] == [
        'model_pose is not used: without model_trainable="true" nothing is learned'
    ]
    (learner,) = Assembly(settings).backend.learners(KEY, config)
    assert "pose" not in learner.identity()
