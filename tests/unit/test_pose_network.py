"""Persons and key points are those that Ultralytics' own predict finds, from checkpoints of which nothing is run."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from framewise.core.errors import BackboneError
from framewise.features.backbone import Backbones
from framewise.features.kinds.kind import import_torchvision
from framewise.features.kinds.ultralytics import prepare_ultralytics
from framewise.features.pose_network import POINTS
from framewise.features.pose_networks import PoseNetworks
from tests.pose_help import random_picture, write_pose_checkpoint
from tests.unit.test_lying_checkpoints import Calls

KINDS = [("Pose", (17, 3), 1), ("Pose", (5, 2), 3), ("Pose26", (17, 3), 2)]


@pytest.fixture
def networks(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    return PoseNetworks(Backbones(models, tmp_path / "data"), models, tmp_path / "data")


@pytest.fixture
def load(tmp_path, networks):
    """Loads a file of the models folder."""
    return lambda name="tiny-pose.pt": networks.load(networks.find(name))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A checkpoint of 17 key points."""
    return write_pose_checkpoint(tmp_path_factory.mktemp("honest") / "honest.pt")


@pytest.fixture
def content(honest):
    """Contents of a checkpoint, as Ultralytics reads it; to be changed and written again."""
    import torch

    return torch.load(honest, map_location="cpu", weights_only=False)


@pytest.fixture
def network(tmp_path, honest, load):
    shutil.copy(honest, tmp_path / "models" / "tiny-pose.pt")
    return load()


@pytest.fixture
def lie(tmp_path, content, load):
    """Changes the checkpoint and loads it."""
    import torch

    def run(change):
        change(content)
        torch.save(content, tmp_path / "models" / "lie.pt")
        return load("lie.pt")

    return run


def predicted(monkeypatch, path, images):
    """Boxes, confidences, kinds and key points of each picture, by Ultralytics itself."""
    torchvision = import_torchvision()
    from ultralytics import YOLO
    from ultralytics.utils.nms import TorchNMS

    # That of torchvision does not load beside a torch for processors alone; this one gives the same.
    monkeypatch.setattr(torchvision.ops, "nms", TorchNMS.nms)
    results = YOLO(str(path)).predict([image[..., ::-1] for image in images], verbose=False)
    return [
        np.concatenate([r.boxes.xyxy, r.boxes.conf[:, None], r.boxes.cls[:, None], r.keypoints.data.flatten(1)], axis=1)
        for r in results
    ]


@pytest.mark.parametrize(("head", "points", "classes"), KINDS)
def test_what_is_found_is_what_ultralytics_finds(monkeypatch, tmp_path, load, head, points, classes):
    path = write_pose_checkpoint(tmp_path / "models" / "tiny-pose.pt", head, points, classes)
    network = load()
    for shape in ((480, 640), (720, 406), (128, 128), (60, 500), (49, 64)):
        images = [random_picture(*shape, seed) for seed in range(3)]
        found, expected = network.find(images), predicted(monkeypatch, path, images)
        assert [len(objects) for objects in found] == [len(objects) for objects in expected], shape
        assert sum(map(len, found)) >= 10
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
            assert ours.shape[1] == POINTS + points[0] * points[1]


@pytest.mark.parametrize("name", ["yolov8n-pose", "yolo11n-pose", "yolo12n-pose", "yolo26n-pose"])
def test_every_generation_is_read_as_ultralytics_reads_it(tmp_path, name):
    prepare_ultralytics(tmp_path / "ultralytics")
    import torch
    from ultralytics import YOLO

    from framewise.features.ultralytics_checkpoint import read_pose_checkpoint

    yolo = YOLO(f"{name}.yaml", task="pose")
    yolo.ckpt = {"train_args": {"imgsz": 640, "task": "pose"}}
    yolo.save(tmp_path / f"{name}.pt")
    found, expected = read_pose_checkpoint(tmp_path / f"{name}.pt"), YOLO(str(tmp_path / f"{name}.pt"))
    pictures = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(found.network(pictures)[0], expected.model.float().eval()(pictures)[0])
    assert (found.points, found.image_size, found.stride) == ((17, 3), 640, 32)
    assert found.end_to_end == (name == "yolo26n-pose")


def test_threads_with_pictures_of_other_shapes_do_not_disturb_each_other(network):
    images = [random_picture(*shape, seed) for seed in range(4) for shape in ((90, 128), (128, 70), (40, 128))]
    alone = [network.find([image])[0] for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, expected in zip(pool.map(lambda image: network.find([image])[0], images), alone, strict=True):
                np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_picture_without_a_person_has_none(network):
    assert [objects.shape for objects in network.find([np.full((64, 64, 3), 114, np.uint8)])] == [(0, 6 + 51)]


# Checkpoints that are none.


def test_a_classification_network_is_refused_as_such(tmp_path, tiny_checkpoint, load):
    (tmp_path / "models" / "tiny-cls.pt").write_bytes(tiny_checkpoint.read_bytes())
    with pytest.raises(
        BackboneError, match=r"model_pose 'tiny-cls\.pt' cannot be loaded: expected a YOLO pose network .*Classify"
    ):
        load("tiny-cls.pt")


def test_a_pose_network_is_no_backbone(tmp_path, honest):
    backbones = Backbones(tmp_path, tmp_path / "data")
    shutil.copy(honest, tmp_path / "tiny-pose.pt")
    with pytest.raises(BackboneError, match=r"expected a YOLO classification network .*, found one that ends in Pose"):
        backbones.load(backbones.find("tiny-pose.pt"))


@pytest.mark.parametrize("place", ["model", "train_args"])
def test_a_pose_checkpoint_never_runs_code(tmp_path, lie, place):
    witness = tmp_path / "it-ran"
    with pytest.raises(BackboneError, match="could run code. None of it was run"):
        lie(lambda content: content.update({place: Calls(os.system, f"touch {witness}")}))
    assert not witness.exists()


@pytest.mark.parametrize("shape", [None, 17, [17], [17, 4], [0, 3], [10**9, 3], ["17", 3], [16, 3]])
def test_key_points_that_fit_no_network_are_refused(lie, shape):
    with pytest.raises(BackboneError, match=r"^model_pose 'lie\.pt' cannot be loaded: "):
        lie(lambda content: setattr(content["model"].model[-1], "kpt_shape", shape))


@pytest.mark.parametrize("stride", [[0.0, 0.0, 0.0], [4.5, 8.0, 16.0], [float("nan")] * 3, [1e9] * 3, [8.0]])
def test_strides_that_fit_no_network_are_refused(lie, stride):
    import torch

    with pytest.raises(BackboneError, match=r"^model_pose 'lie\.pt' cannot be loaded: "):
        lie(lambda content: setattr(content["model"].model[-1], "stride", torch.tensor(stride)))


# Names.


@pytest.mark.parametrize("name", ["../x.pt", "/x.pt", "a/b.pt", "https://x/y.pt", "x.onnx", ".pt", ""])
def test_only_names_of_files_in_the_models_folder_are_read(networks, name):
    for call in (networks.find, networks.check):
        with pytest.raises(BackboneError, match=r"expected the name of a \.pt file in the models folder"):
            call(name)


def test_a_file_that_is_missing_is_named_with_the_cure(tmp_path, networks):
    with pytest.raises(
        BackboneError, match=rf"model_pose 'mine\.pt': no such file in the models folder, {tmp_path / 'models'}"
    ):
        networks.check("mine.pt")


def test_official_networks_are_to_be_fetched_until_they_are_there(tmp_path, honest, networks):
    networks.check("yolo11n-pose.pt")
    assert networks.is_to_be_fetched("yolo11n-pose.pt")
    shutil.copy(honest, tmp_path / "models" / "yolo11n-pose.pt")
    assert not networks.is_to_be_fetched("yolo11n-pose.pt")
    assert networks.fetch_official("yolo11n-pose.pt").name == "yolo11n-pose.pt"
