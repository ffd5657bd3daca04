"""Networks of several pictures: inputs and features are those of transformers itself; rows stand in the middle of windows."""

import hashlib
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest

from framewise.assembly import Assembly
from framewise.commands.cli import main
from framewise.controls.examples import Medium
from framewise.core.errors import BackboneError, ConfigError
from framewise.core.progress import silent
from framewise.features.backbone import Backbones
from framewise.features.kinds.lite0 import LITE0
from framewise.features.motion import Motion, thumbnails_of
from framewise.features.preprocessing import preprocessor
from framewise.features.rows import unpack
from framewise.features.window_network import has_transformers, read_window_network, window_files, window_seconds
from framewise.features.window_pass import STRIDE, WindowPass
from framewise.media.library import MediaFile
from framewise.media.video import decode, probe
from framewise.settings import Settings
from tests.messages import labeling_config, region
from tests.pose_help import random_picture
from tests.videos import pictures_of, write_video
from tests.window_help import FEATURES, PICTURES, SIDE, write_videomae, write_vjepa2

pytestmark = pytest.mark.skipif(not has_transformers(), reason="transformers is not installed")
WRITERS = {"videomae": write_videomae, "vjepa2": write_vjepa2}
NAME = "hf/tiny/video"
PER_SECOND = {"videomae": 7.5, "vjepa2": 4.0}


@pytest.fixture(scope="module", params=list(WRITERS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def written(kind, tmp_path_factory):
    """A folder, and the network and processor that were written to it."""
    folder = tmp_path_factory.mktemp("models")
    backbones = Backbones(folder, folder / "data")
    backbones.load(backbones.find(LITE0))  # torchvision can be imported then
    path = folder / "tiny"
    return path, *WRITERS[kind](path)


@pytest.fixture(scope="module")
def network(written):
    return read_window_network(written[0])


def expected_of(written, kind, pictures):
    """Features of a window by transformers alone."""
    import torch

    _, network, processor = written
    with torch.inference_mode():
        if kind == "vjepa2":
            inputs = processor(videos=[np.stack(pictures)], return_tensors="pt")["pixel_values_videos"]
            return network(inputs, skip_predictor=True).last_hidden_state[0].mean(0).numpy()
        inputs = processor([list(pictures)], return_tensors="pt")["pixel_values"]
        return network(inputs).last_hidden_state[0].mean(0).numpy()


def test_features_of_a_window_are_those_of_transformers(written, kind, network):
    assert (network.pictures, network.side, network.per_second) == (PICTURES, SIDE, PER_SECOND[kind])
    assert window_seconds(written[0]) == PICTURES / PER_SECOND[kind]
    windows = [[random_picture(48, 70, 10 * n + seed) for n in range(PICTURES)] for seed in range(3)]
    found = [network([network.prepare(picture) for picture in window]) for window in windows]
    expected = [expected_of(written, kind, window) for window in windows]
    assert found[0].shape == (FEATURES,)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.02, "windows differ by far more than the tolerance"


# Rows of a video.


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    pictures = [random_picture(48, 64, seed) for seed in range(95)]
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", pictures, 15)


def passed(clip, network, size=1024, known=None, told=None):
    work = WindowPass(clip, probe(clip).time_base, network, "fast")
    return list(work.chunks(size, np.empty(0, np.int64) if known is None else known, told or (lambda done: None)))


def test_a_row_is_of_the_window_around_it_and_rows_between_are_interpolated(written, kind, network, clip):
    (records,) = passed(clip, network)
    assert len(records) == 95
    features, _ = unpack(records)
    step = (features.max() - features.min()) / 255
    every = {"videomae": 2, "vjepa2": 4}[kind]  # at 15 pictures a second
    seen = pictures_of(clip)[::every]
    middles = range(0, len(seen), STRIDE)
    expected = []
    for middle in middles:
        index = np.arange(middle - PICTURES // 2, middle + PICTURES - PICTURES // 2).clip(0, len(seen) - 1)
        expected.append(expected_of(written, kind, [seen[number] for number in index]))
    expected = np.stack(expected)
    np.testing.assert_allclose(features[:: every * STRIDE], expected, atol=step + 1e-3)
    between = features[every * STRIDE // 2 :: every * STRIDE][: len(expected) - 1]
    np.testing.assert_allclose(between, (expected[:-1] + expected[1:]) / 2, atol=step + 1e-3)
    last = every * STRIDE * (len(expected) - 1)
    np.testing.assert_allclose(features[last:], np.tile(expected[-1], (95 - last, 1)), atol=step + 1e-3)


def test_motion_is_of_every_picture(network, clip):
    (records,) = passed(clip, network)
    pictures, motion = list(decode(clip)), Motion()
    small = preprocessor("fast", "center", SIDE)
    seconds = np.array([float(picture.pts * probe(clip).time_base) for picture in pictures])
    expected = motion.of(thumbnails_of(np.stack([small(picture) for picture in pictures])), seconds)
    np.testing.assert_allclose(unpack(records)[1], expected, atol=2e-3)
    assert records["pts"].tolist() == [picture.pts for picture in pictures]


def test_chunks_and_a_pass_that_goes_on_give_the_same(network, clip):
    (whole,) = passed(clip, network)
    np.testing.assert_array_equal(np.concatenate(passed(clip, network, 32)), whole)
    calls, told = [], []

    class Counted:
        pictures, per_second, side, prepare = network.pictures, network.per_second, network.side, network.prepare

        def __call__(self, prepared):
            calls.append(len(prepared))
            return network(prepared)

    rest = np.concatenate(passed(clip, Counted(), 32, whole["pts"][:64], told.append))
    np.testing.assert_array_equal(rest, whole[64:])
    assert sum(told) == 31
    assert 0 < len(calls) < 1 + len(whole) / 15 * network.per_second / STRIDE / 2
    assert set(calls) == {PICTURES}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_clip_that_is_shorter_than_a_window_has_rows(tmp_path, network, count):
    path = write_video(tmp_path / "short.mp4", [random_picture(48, 64, seed) for seed in range(count)], Fraction(15))
    (records,) = passed(path, network)
    assert len(records) == count
    assert np.isfinite(unpack(records)[0]).all()


# Folders that hold no such network.


def test_the_files_that_matter_are_named(written):
    assert [path.name for path in window_files(written[0])][:2] == ["model.safetensors", "config.json"]
    assert len(window_files(written[0])) == 3


def test_what_is_missing_is_named_with_where_to_put_it(tmp_path):
    with pytest.raises(
        BackboneError, match=r"has no model\.safetensors and no config\.json; put config\.json, model\.safetensors"
    ):
        window_files(tmp_path)


def test_weights_as_a_pickle_are_not_read(tmp_path, written):
    import torch

    (tmp_path / "config.json").write_bytes((written[0] / "config.json").read_bytes())
    torch.save(written[1].state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"has no model\.safetensors;"):
        read_window_network(tmp_path)


def test_code_of_a_repository_is_not_run(tmp_path, written, network):
    for path in window_files(written[0]):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    described = json.loads((tmp_path / "config.json").read_text())
    described["auto_map"] = {name: f"evil.{name}" for name in ("AutoModel", "AutoConfig", "AutoImageProcessor")}
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')")
    prepared = [network.prepare(random_picture(48, 64, seed)) for seed in range(PICTURES)]
    np.testing.assert_array_equal(read_window_network(tmp_path)(prepared), network(prepared))
    assert not (tmp_path / "it-ran").exists()


def changed(tmp_path, written, **settings):
    for path in window_files(written[0]):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    described = json.loads((tmp_path / "config.json").read_text()) | settings
    (tmp_path / "config.json").write_text(json.dumps(described))
    return tmp_path


def test_a_network_of_another_kind_is_refused(tmp_path, written):
    with pytest.raises(BackboneError, match="expected the model_type 'videomae' or 'vjepa2', found 'bert'"):
        read_window_network(changed(tmp_path, written, model_type="bert"))


def test_a_window_has_no_more_pictures_than_the_network_was_mostly_trained_on(tmp_path, written, kind):
    described = {"videomae": {"num_frames": 32}, "vjepa2": {"frames_per_clip": 64}}[kind]
    expected = {"videomae": 32 / 7.5, "vjepa2": 16 / 4}[kind]
    assert window_seconds(changed(tmp_path, written, **described)) == expected


def test_weights_that_are_missing_are_told_of(tmp_path, written):
    with pytest.raises(BackboneError, match=r"model\.safetensors: expected weights of V.*Model, found none of "):
        read_window_network(changed(tmp_path, written, num_hidden_layers=3))


def test_weights_of_another_shape_are_refused(tmp_path, written):
    with pytest.raises((RuntimeError, ValueError)):
        read_window_network(changed(tmp_path, written, hidden_size=48))


# In a project.


@pytest.fixture
def settings(tmp_path, written):
    models = tmp_path / "models"
    shutil.copytree(written[0], models / "hf" / "tiny" / "video")
    return Settings(model_root=models, cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", model_path=LITE0)


def learner_of(settings, **parameters):
    config = labeling_config("Walk", "Run", **{"model_trainable": "true", "model_path": NAME, **parameters})
    return Assembly(settings).backend.learners("7.1795200057", config)[0]


def test_a_project_learns_from_windows(settings, clip, network):
    learner = learner_of(settings)
    control, data = learner.controls[0], {"video": str(clip)}
    assert control.cached_features(MediaFile.of(clip).content) is None
    media = [Medium(control, control.features(MediaFile.of(clip), silent), "clip")]
    assert control.cached_features(MediaFile.of(clip).content) is not None
    np.testing.assert_array_equal(media[0].features.records(np.arange(95)), passed(clip, network)[0])
    assert learner.on_grid(media, data, {}).rows.window_seconds == window_seconds(settings.model_root / NAME)
    learner.train([learner.task_example(media, data, [region("Walk", (1, 60))])], "v1-20261129T180000Z", silent)
    assert learner.version() == "v1-20261129T180000Z"
    assert learner.task_prediction(media, data).certainty >= 0
    assert (
        control.identity()["sha256"]
        != hashlib.sha256((settings.model_root / NAME / "model.safetensors").read_bytes()).hexdigest()
    )


def test_features_of_networks_that_are_there_are_no_leftovers(settings, capsys, clip):
    learner = learner_of(settings)
    (settings.model_root / "hf" / "broken").mkdir()
    (settings.model_root / "hf" / "broken" / "config.json").write_text("{}")
    assert learner.controls[0].parts.backbones.at_hand() == [NAME, LITE0]
    learner.controls[0].features(MediaFile.of(clip), silent)
    folders = {"--model-root": settings.model_root, "--cache-dir": settings.cache_dir, "--data-dir": settings.data_dir}
    assert main(["cache", "--clean", *(str(word) for pair in folders.items() for word in pair)]) == 0
    assert learner.controls[0].cached_features(MediaFile.of(clip).content) is not None
    assert main(["cache", *(str(word) for pair in folders.items() for word in pair)]) == 0
    assert NAME in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"model_trainable": "false"}, BackboneError, "has no classes that labels could mean"),
        ({"model_crop": "fit"}, ConfigError, "model_crop must be center with"),
        ({"model_path": "hf/tiny/gone"}, BackboneError, "hf/tiny/gone has no model.safetensors and no config.json; put"),
        ({"model_path": "hf/../video"}, BackboneError, "expected the name of a .pt file"),
        ({"model_path": "hf/tiny/linked"}, BackboneError, "leads outside the models folder"),
    ],
)
def test_what_cannot_work_is_refused(settings, written, parameters, error, text):
    (settings.model_root / "hf" / "tiny" / "linked").symlink_to(written[0])
    with pytest.raises(error) as caught:
        learner_of(settings, **parameters)
    assert text in str(caught.value)
