"""``utils/neural_nets.py`` by the calls of Label Studio's guide to TimelineLabels."""

import hashlib

import numpy as np
import pytest
import torch

from framewise.core.errors import BackboneError
from framewise.features.backbone import Backbones
from framewise.features.extraction import Extractor
from framewise.features.kinds.kind import import_torchvision
from framewise.media.library import MediaFile
from framewise.settings import Settings
from tests.videos import colour_pictures, pictures_of, write_video
from utils.neural_nets import BaseNN, MultiLabelLSTM, cached_feature_extraction, cached_yolo_predict

NUM_PICTURES = 6


# The network.


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def a_video(rows=72, labels=2, seed=0):
    """Features (T, 50), and labels that each last half of the video."""
    features = torch.randn(rows, 50, generator=torch.Generator().manual_seed(seed))
    marks = [[int(row < rows // 2), int(row >= rows // 2)][:labels] for row in range(rows)]
    return features + 3 * torch.tensor(marks).float().repeat(1, 25), marks


@pytest.fixture
def network():
    return MultiLabelLSTM(input_size=50, output_size=2, hidden_size=16, dropout_rate=0.05, device=torch.device("cpu"))


def test_the_guides_training_prediction_and_saving(network, tmp_path):
    features, labels = a_video()
    network.partial_fit(features, labels, batch_size=16, epochs=1000, accuracy_threshold=0.999, f1_threshold=0.999)
    network.save_and_cache(str(tmp_path / "lstm_model.pth"))
    loaded = MultiLabelLSTM.load(str(tmp_path / "lstm_model.pth"))
    assert torch.equal((loaded.predict(features) > 0.5).int(), torch.tensor(labels).int())
    assert torch.equal(loaded.predict(features), network.predict(features))


def test_what_was_saved_and_cached_is_the_same_object_until_another_is_saved_there(network, tmp_path):
    path = str(tmp_path / "models" / "timelinelabels-1.pkl")
    assert BaseNN.load_cached_model(path) is None
    network.set_label_map({"Rain": 0, "Snow": 1})
    network.save_and_cache(path)
    assert BaseNN.load_cached_model(path) is network
    other = MultiLabelLSTM(50, 2)
    other.save_and_cache(path)
    assert BaseNN.load_cached_model(path) is other


def test_training_answers_by_the_guides_keys(network):
    features, labels = a_video()
    result = network.partial_fit(list(features), labels, epochs=3, f1_threshold=2, accuracy_threshold=2)
    assert result["epoch"] == 3
    assert 0 <= result["f1_score"] <= 1
    assert 0 <= result["accuracy"] <= 1
    assert result["loss"] > 0
    assert dict(result) == {"f1_score": result.f1, "accuracy": result.accuracy, "loss": result.loss, "epoch": result.epochs}
    assert result.get("precision") is None


@pytest.mark.parametrize("nothing", [[], torch.empty(0, 50), np.empty((0, 50))], ids=["list", "tensor", "array"])
def test_no_frame_has_no_score(network, nothing):
    scores = network.predict(nothing)
    assert isinstance(scores, torch.Tensor)
    assert scores.numel() == 0
    assert len(scores) == 0


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_a_device_is_a_name_or_an_object_and_changes_no_score(device):
    features, labels = a_video()
    networks = [MultiLabelLSTM(50, 2, device=device), MultiLabelLSTM(50, 2)]
    assert networks[0].device == torch.device("cpu")
    for one in networks:
        one.partial_fit(features, labels, epochs=2)
    assert torch.equal(networks[0].predict(features), networks[1].predict(features))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
def test_a_gpu_trains_and_predicts(tmp_path):
    features, labels = a_video()
    network = MultiLabelLSTM(50, 2, device="cuda")
    assert network.partial_fit(features, labels, epochs=300)["f1_score"] > 0.9
    scores = network.predict(features)
    assert scores.device.type == "cuda"
    network.save_and_cache(tmp_path / "model")
    torch.testing.assert_close(BaseNN.load(tmp_path / "model").predict(features), scores.cpu(), atol=1e-3, rtol=0)


# Extraction.


@pytest.fixture
def folders(tmp_path, models_folder, monkeypatch):
    """The folders of these tests, as a user sets them."""
    chosen = {
        "MODEL_ROOT": str(models_folder),
        "CACHE_DIR": str(tmp_path / "cache"),
        "DATA_DIR": str(tmp_path / "data"),
        "EXTRACTION_ENGINE": "torch",
        "EXTRACTION_PRECISION": "float32",
        "EXTRACTION_PROFILE": "exact",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return models_folder


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", colour_pictures(NUM_PICTURES))


@pytest.fixture
def yolo(folders, tiny_checkpoint):
    """A ``YOLO`` whose file is not in the models folder."""
    from ultralytics import YOLO

    return YOLO(str(tiny_checkpoint), task="classify")


def ultralytics_answers(yolo, video):
    """(inputs of the last linear layer, probabilities) of each picture, as Ultralytics computes them."""
    import_torchvision()
    inputs, answers = [], []
    hook = yolo.model.model[-1].linear.register_forward_hook(lambda module, given, output: inputs.append(given[0][0].clone()))
    for picture in pictures_of(video):
        answers.append(yolo.predict(np.ascontiguousarray(picture[..., ::-1]), verbose=False, device="cpu")[0].probs.data)
    hook.remove()
    return torch.stack(inputs[-len(answers) :]), torch.stack(answers)


def rows_of(frames):
    return torch.stack([frame.probs for frame in frames])


def change(yolo):
    """Other weights than the file's: in the first layer, and in the last."""
    with torch.no_grad():
        yolo.model.model[0].conv.weight.mul_(0.7)
        yolo.model.model[-1].linear.bias.add_(torch.arange(6) * 2.0)


def close(found, expected):
    """Numbers of a picture are kept in 256 steps between its lowest and its highest."""
    step = (expected.amax(dim=1, keepdim=True) - expected.amin(dim=1, keepdim=True)) / 255
    assert bool(((found - expected).abs() <= step + 1e-4).all())


@pytest.mark.parametrize("changed", [False, True], ids=["as in its file", "changed"])
def test_features_and_probabilities_are_those_of_the_object_itself(yolo, video, changed):
    if changed:
        change(yolo)
    features = rows_of(cached_feature_extraction(yolo, str(video), yolo.model_name))
    probs = rows_of(cached_yolo_predict(yolo, str(video), yolo.model_name))
    inputs, answers = ultralytics_answers(yolo, video)
    assert features.shape == inputs.shape == (NUM_PICTURES, 1280)
    close(features, inputs)
    torch.testing.assert_close(probs, answers, atol=1e-2, rtol=0)


def test_a_change_of_the_weights_is_a_change_of_the_features(yolo, video):
    before = rows_of(cached_feature_extraction(yolo, video, "tiny"))
    change(yolo)
    after = rows_of(cached_feature_extraction(yolo, video, "tiny"))
    assert not torch.allclose(before, after, atol=0.05 * float(before.abs().max()))


def test_an_object_is_left_as_it_is_and_its_features_come_from_the_cache(yolo, video, tmp_path):
    before = {name: tensor.clone() for name, tensor in yolo.model.state_dict().items()}
    first = rows_of(cached_feature_extraction(yolo, video, "tiny"))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert torch.equal(rows_of(cached_feature_extraction(yolo, video, "other parameters")), first)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == written
    after = yolo.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert yolo.model.model[-1].linear.out_features == 6


def test_an_object_after_a_prediction_of_its_own_gives_the_same_features(yolo, video):
    before = rows_of(cached_feature_extraction(yolo, video, "tiny"))
    ultralytics_answers(yolo, video)  # fuses its layers
    close(rows_of(cached_feature_extraction(yolo, video, "tiny")), before)


def test_a_name_is_a_file_of_the_models_folder_and_shares_the_service_s_cache(folders, tiny_checkpoint, video, quiet):
    found = rows_of(cached_feature_extraction(tiny_checkpoint.name, video))
    settings = Settings.from_env(
        {"MODEL_ROOT": str(folders), "CACHE_DIR": str(folders.parent / "cache"), "EXTRACTION_PROFILE": "exact"}
    )
    content = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    cached = Extractor.of(settings).cached(MediaFile.of(video).content, content, "center")
    assert cached is not None
    np.testing.assert_array_equal(cached.take(np.arange(NUM_PICTURES)), found.numpy())
    probs = rows_of(cached_yolo_predict(tiny_checkpoint.name, video))
    head = Backbones(folders, folders.parent / "data").head(
        Backbones(folders, folders.parent / "data").find(tiny_checkpoint.name)
    )
    np.testing.assert_allclose(probs.numpy(), head.probabilities(found.numpy()))


def test_an_object_that_classifies_nothing_is_refused(folders, video):
    class Detector:
        task, model = "detect", None

    with pytest.raises(BackboneError, match="expected a YOLO classification network .* task 'detect'"):
        cached_feature_extraction(Detector(), video)
