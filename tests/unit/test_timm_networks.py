"""timm's networks as backbones: its own preparation and forward pass, its classes, and downloads from the hub."""

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from framewise.core.errors import BackboneError
from framewise.features import timm_library
from framewise.features.engines import Compute
from framewise.features.kinds import timm_network
from framewise.media.video import decode
from tests.videos import colour_pictures, write_video

if not timm_library.has_timm():
    pytest.skip("timm is not installed", allow_module_level=True)
timm = timm_library.import_timm()

REPOSITORY = Path(__file__).resolve().parents[2]
VIT, RESNET = "test_vit.r160_in1k", "test_resnet.r160_in1k"
COMPUTE = Compute("torch", "float32", 1)


@functools.cache
def network_of(name, **arguments):
    """timm's own network with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False, **arguments).eval()


def put(models, name, as_name=None, config=None, **arguments):
    """Random weights as the hub's file, in the place for them."""
    network = network_of(name, **arguments)
    path = models / "timm" / f"{as_name or name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    if config is not None:
        path.with_name(path.name.replace(".safetensors", ".json")).write_text(json.dumps(config))
    return network


def load(backbones, name):
    return backbones.load(backbones.find(name))


def transform_of(network, **more):
    return timm.data.create_transform(**timm.data.resolve_data_config(more, model=network))


def plain_features(network, images, **more):
    """Features of pictures, as timm itself prepares and computes them."""
    transform = transform_of(network, **more)
    with torch.inference_mode():
        given = torch.stack([transform(Image.fromarray(image)) for image in images])
        return network.forward_head(network.forward_features(given), pre_logits=True).numpy()


def assert_equal(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def pictures(side, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("compute", [COMPUTE, Compute("auto", "float32", 1)], ids=lambda compute: compute.engine)
@pytest.mark.parametrize("name", [VIT, RESNET, "test_efficientnet.r160_in1k"])
def test_features_are_those_of_timms_own_forward_pass(models, backbones, name, compute):
    network = put(models, name)
    cut = load(backbones, f"timm/{name}").cut
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    images = pictures(cut.image_size)
    with torch.inference_mode():
        given = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = network.forward_head(network.forward_features(given), pre_logits=True).numpy()
    assert_equal(load(backbones, f"timm/{name}").engine(compute)(images), expected)


@pytest.mark.parametrize("size", [(320, 240), (180, 300), (900, 640)], ids=str)
@pytest.mark.parametrize("more", [{}, {"crop_mode": "squash"}, {"crop_pct": 0.7, "interpolation": "bilinear"}], ids=str)
def test_pictures_are_prepared_as_by_timms_own_transform_bit_for_bit(models, backbones, tmp_path, size, more):
    name = "mine"
    network = put(models, VIT, name, {"architecture": "test_vit", "pretrained_cfg": more})
    backbone = load(backbones, f"timm/{name}")
    transform = transform_of(network, **more)
    resize = transform.transforms[:-2]  # the last two make a tensor and normalise it
    video = write_video(tmp_path / "clip.mp4", colour_pictures(2, size))
    exact, fast = (backbone.preprocessor(profile, "center") for profile in ("exact", "fast"))
    for picture in decode(video):
        expected = Image.fromarray(picture.rgb)
        for step in resize:
            expected = step(expected)
        np.testing.assert_array_equal(exact(picture), np.asarray(expected))
        assert np.abs(fast(picture).astype(float) - np.asarray(expected)).mean() < 3


def test_features_of_whole_pictures_are_those_of_timm(models, backbones, tmp_path):
    network = put(models, VIT)
    backbone = load(backbones, f"timm/{VIT}")
    decoded = list(decode(write_video(tmp_path / "clip.mp4", colour_pictures(3, (320, 240)))))
    prepare = backbone.preprocessor("exact", "center")
    found = backbone.engine(COMPUTE)(np.stack([prepare(picture) for picture in decoded]))
    assert_equal(found, plain_features(network, [picture.rgb for picture in decoded]))


def test_classes_are_imagenets_as_in_other_backbones(models, backbones):
    network = put(models, VIT)
    file = backbones.find(f"timm/{VIT}")
    head = backbones.head(file)
    images = pictures(160)
    probabilities = head.probabilities(backbones.load(file).engine(COMPUTE)(images))
    described = timm.data.ImageNetInfo().label_descriptions()
    assert len(head.names) == len(described) == 1000
    first = [text.split(",")[0].replace(" ", "_") for text in described]
    assert sum(head.names[number] == name for number, name in enumerate(first)) > 950  # WordNet has other spellings for some
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = network((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std).softmax(1).numpy()
    assert_equal(probabilities, expected)


def test_a_network_without_a_classifier_is_for_learning_alone(models, backbones):
    put(models, VIT, "mine", {"architecture": "test_vit", "num_classes": 0}, num_classes=0)
    file = backbones.find("timm/mine")
    assert backbones.load(file).engine(COMPUTE)(pictures(160)).shape[1] == network_of(VIT).num_features
    with pytest.raises(BackboneError, match=r"'timm/mine' has no classes .* set model_trainable=\"true\""):
        backbones.head(file)


def test_an_own_network_has_the_classes_and_the_preparation_of_its_config(models, backbones):
    config = {
        "architecture": "test_resnet",
        "num_classes": 2,
        "label_names": ["on", "off"],
        "pretrained_cfg": {"input_size": [3, 96, 96], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "license": "mit"},
    }
    put(models, RESNET, "mine", config, num_classes=2)
    file = backbones.find("timm/mine")
    cut = backbones.load(file).cut
    assert (cut.image_size, cut.mean, cut.scale) == (96, (127.5,) * 3, (127.5,) * 3)
    assert backbones.head(file).names == {0: "on", 1: "off"}
    assert backbones.licence(file) == "mit"


@pytest.mark.parametrize("name", [VIT, RESNET])
def test_the_side_of_pictures_is_chosen_behind_the_name(models, backbones, name):
    network = put(models, name)
    cut = load(backbones, f"timm/{name}@96").cut
    assert cut.image_size == 96
    assert backbones.find(f"timm/{name}@96").content != backbones.find(f"timm/{name}").content
    images = pictures(96)
    found = load(backbones, f"timm/{name}@96").engine(COMPUTE)(images)
    if name == RESNET:  # takes pictures of any size
        with torch.inference_mode():
            mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
            given = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
            assert_equal(found, network.forward_head(network.forward_features(given), pre_logits=True).numpy())
    assert found.shape == (3, network.num_features)


def test_the_identity_is_that_of_name_weights_and_config(models, backbones):
    put(models, VIT)
    first = backbones.find(f"timm/{VIT}").content
    put(models, VIT, "mine")
    assert backbones.find("timm/mine").content != first
    put(models, VIT, config={"architecture": "test_vit"})
    with_config = backbones.find(f"timm/{VIT}").content
    assert with_config != first
    path = models / "timm" / f"{VIT}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert backbones.find(f"timm/{VIT}").content not in (first, with_config)


def test_a_mistyped_name_suggests_the_right_one(backbones):
    with pytest.raises(BackboneError, match=r"did you mean 'timm/vit_small_patch14_dinov2.lvd142m'\?"):
        backbones.check("timm/vit_small_patch14_dinov2.lvd142")


@pytest.mark.parametrize("name", ["timm/../x", "timm/", "timm/a/b", "timm/.hidden", "timm/hf-hub:a", "timm/x@1", "timm/é"])
def test_what_is_no_name_of_timm_is_refused(backbones, name):
    with pytest.raises(BackboneError, match=r"or a name of timm's \(timm/NAME\)|expected .*timm/NAME"):
        backbones.check(name)


def test_weights_of_another_network_are_refused(models, backbones):
    put(models, RESNET, VIT)
    with pytest.raises(BackboneError, match=rf"'timm/{VIT}' cannot be loaded: RuntimeError: Error\(s\) in loading state_dict"):
        load(backbones, f"timm/{VIT}")


def test_pickles_are_refused_with_the_cure(models, backbones, monkeypatch):
    (models / "timm").mkdir()
    (models / "timm" / "mine.pth").write_bytes(b"")
    with pytest.raises(BackboneError, match=r"mine.pth is a pickle, which could run code; save its weights as safetensors"):
        backbones.find("timm/mine")


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained_cfg", "features_only"])
def test_a_config_cannot_name_other_files(models, backbones, argument):
    put(models, VIT, "mine", {"architecture": "test_vit", "model_args": {argument: "/etc/passwd"}})
    with pytest.raises(BackboneError, match=rf"model_args in config.json: \['{argument}'\] are not used here"):
        load(backbones, "timm/mine")


def test_without_timm_the_cure_is_its_installation(backbones, monkeypatch):
    for module in (timm_library, timm_network):
        monkeypatch.setattr(module, "has_timm", lambda: False)
    with pytest.raises(BackboneError, match=r"timm is not installed; pip install 'framewise\[timm\]'"):
        backbones.check(f"timm/{VIT}")


# Downloads, in processes of their own: the hub's client reads its address when it is imported.


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub's protocol as a download needs. ``files``: path -> content."""

    files: dict[str, bytes] = {}

    def do_HEAD(self):  # noqa: N802
        content = self.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()

    def do_GET(self):  # noqa: N802
        self.do_HEAD()
        self.wfile.write(self.files.get(self.path, b""))

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path):
    """Address of a hub, and its files."""
    handler = type("OneHub", (Hub,), {"files": {}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler.files
    server.shutdown()
    server.server_close()


def run_backbone(tmp_path, name, **environment):
    folders = {folder: str(tmp_path / folder.lower()) for folder in ("MODEL_ROOT", "DATA_DIR", "HF_HOME")}
    own = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-m", "framewise", "backbone", name, "--json"],
        env={**own, **folders, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_weights_are_fetched_from_the_hub_once_and_kept_in_the_models_folder(tmp_path, models, hub):
    address, files = hub
    put(models, VIT, config={"architecture": "test_vit", "pretrained_cfg": {"tag": "r160_in1k", "license": "apache-2.0"}})
    source = models / "timm" / VIT
    for suffix, on_hub in ((".safetensors", "model.safetensors"), (".json", "config.json")):
        files[f"/timm/{VIT}/resolve/main/{on_hub}"] = Path(f"{source}{suffix}").read_bytes()
    done = run_backbone(tmp_path, f"timm/{VIT}", HF_ENDPOINT=address)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    path = tmp_path / "model_root" / "timm" / f"{VIT}.safetensors"
    assert told["files"] == [str(path), str(path.with_name(f"{VIT}.json"))]
    assert path.read_bytes() == Path(f"{source}.safetensors").read_bytes()
    assert (told["kind"], told["licence"], len(told["classes"])) == ("timm network", "apache-2.0", 1000)
    files.clear()
    again = run_backbone(tmp_path, f"timm/{VIT}", HF_ENDPOINT=address)
    assert json.loads(again.stdout)["sha256"] == told["sha256"]


@pytest.mark.parametrize("offline", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["offline", "the hub has it not"])
def test_a_download_that_fails_says_which_file_to_put_where(tmp_path, hub, offline):
    done = run_backbone(tmp_path, f"timm/{VIT}", HF_ENDPOINT=hub[0], **offline)
    assert (done.returncode, done.stdout) == (2, "")
    assert "could not be fetched from the Hugging Face hub" in done.stderr
    path = tmp_path / "model_root" / "timm" / f"{VIT}.safetensors"
    assert f"Put the file model.safetensors of timm/{VIT} there as {path}" in done.stderr
