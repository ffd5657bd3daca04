"""Labeling configs that name any kind of backbone: accepted, or refused in a sentence with the cure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from framewise.assembly import Assembly
from framewise.features.backbone import Backbones
from tests.messages import Project, labeling_config

ov = pytest.importorskip("openvino")
Made = Callable[..., tuple[FlaskClient, Assembly]]


def put_network(folder: Path) -> None:
    """``mean.xml``: the mean colour of a picture, which names no classes."""
    given = ov.opset13.parameter([-1, 3, 32, 32], np.float32)
    model = ov.Model([ov.opset13.reduce_mean(given, np.array([2, 3]), False)], [given], "mean")
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, folder / "mean.xml")


def answer(client: FlaskClient, **attributes: str) -> tuple[int, str]:
    """Status and text of /setup's answer."""
    given = client.post("/setup", json=Project(labeling_config("Walk", **attributes)).setup_body())
    return given.status_code, given.text


def test_a_network_without_classes_is_for_trainable_mode(made: Made) -> None:
    client, assembly = made()
    put_network(assembly.settings.model_root)
    assert answer(client, model_path="mean.xml", model_trainable="true")[0] == 200
    status, text = answer(client, model_path="mean.xml")
    assert status == 400
    assert "'mean.xml' has no classes that labels could mean: set model_trainable=" in text
    assert "or choose a backbone with classes, such as 'efficientnet-lite0'" in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("meam.xml", "no such file in the models folder; did you mean 'mean.xml'?"),
        ("yolov8s-clas.pt", "did you mean 'yolov8s-cls.pt'?"),
        ("efficientnet-lite", "did you mean 'efficientnet-lite0'?"),
        ("resnet50.pth", "expected the name of a .pt file in the models folder"),
        ("resnet50.pth", ".pth files are pickles, which could run code"),
        ("timm/../secret", "folders, absolute paths and URLs are not read"),
    ],
)
def test_a_wrong_name_is_refused_with_the_cure(made: Made, name: str, text: str) -> None:
    client, assembly = made()
    put_network(assembly.settings.model_root)
    status, told = answer(client, model_path=name, model_trainable="true")
    assert status == 400
    assert text in told


def test_a_front_end_that_is_no_network_is_not_to_be_fetched(tmp_path):
    assert not Backbones(tmp_path, tmp_path).is_to_be_fetched("sensors 3")
