"""Features and probabilities are those of Ultralytics itself, are computed once, and are kept as plain arrays."""

import errno
import http.server
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from framewise.core.errors import BackboneError, MediaError, MediaUnavailable
from framewise.features import extraction
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor
from framewise.features.kinds import ultralytics as ultralytics_kind
from framewise.features.kinds.kind import import_torchvision
from framewise.features.preprocessing import preprocessor
from framewise.label_studio import LabelStudioClient
from framewise.media.addresses import MediaHosts
from framewise.media.library import MediaFile, MediaLibrary
from framewise.media.video import Picture, decode
from tests.conftest import TINY_CLASSES, TINY_IMAGE_SIZE
from tests.videos import colour_pictures, pictures_of, write_video

NUM_PICTURES = 20
IN_ORDER = Compute("torch", "float32", 1)
FEATURE_SIZE = 1280  # the input of the last linear layer of every Ultralytics classification network


@pytest.fixture
def backbones(tmp_path, models_folder):
    return Backbones(models_folder, tmp_path / "data")


@pytest.fixture
def tiny(backbones):
    """The tiny backbone, loaded, with ``calls``: how many pictures each call of its network was given, and ``before_each``,
    which is called before it."""
    backbone = backbones.load(backbones.find("tiny-cls.pt"))
    backbone.calls, backbone.before_each, make = [], lambda: None, backbone.engine

    class Counted:
        def __init__(self, engine):
            self.engine, self.batch = engine, engine.batch

        def __call__(self, pictures):
            backbone.before_each()
            backbone.calls.append(len(pictures))
            return self.engine(pictures)

    backbone.engine = lambda compute: Counted(make(compute))
    return backbone


@pytest.fixture
def extract(tmp_path, tiny, quiet):
    """Extracts a video with the tiny backbone; ``cache`` is the name of the cache's folder."""

    def run(path, crop="center", cache="cache", weights="w" * 64, profile="fast", compute=IN_ORDER, progress=quiet):
        file = MediaFile(path, f"content of {path.name}")
        extractor = Extractor(FeatureCache(tmp_path / cache), profile, compute)
        return extractor.extract(file, weights, lambda: tiny, crop, progress)

    return run


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", colour_pictures(NUM_PICTURES))


@pytest.fixture(scope="module")
def ultralytics_answers(tiny_checkpoint):
    """Results of ``YOLO.predict``, a picture at a time: inputs of the last linear layer, and probabilities."""
    import_torchvision()
    from ultralytics import YOLO

    def ask(pictures):
        yolo, inputs, probabilities = YOLO(str(tiny_checkpoint), task="classify"), [], []
        yolo.model.model[-1].linear.register_forward_hook(lambda module, args, output: inputs.append(args[0].numpy().copy()))
        for picture in pictures:
            inputs.clear()
            (result,) = yolo.predict(np.ascontiguousarray(picture[..., ::-1]), verbose=False, device="cpu")
            probabilities.append((inputs[-1][0], result.probs.data.numpy()))
        features, probs = zip(*probabilities, strict=True)
        return np.stack(features), np.stack(probs)

    return ask


def step(features):
    """Largest error of the numbers of each picture (P, D): they are kept in 256 steps between its lowest and its highest."""
    return (features.max(axis=1, keepdims=True) - features.min(axis=1, keepdims=True)) / 255


def all_rows(features):
    return features.take(np.arange(len(features.timeline.pts)))


# What is computed.


def test_features_are_the_input_of_the_last_layer_in_ultralytics_own_predict(extract, video, ultralytics_answers):
    expected, _ = ultralytics_answers(pictures_of(video))
    features = all_rows(extract(video, profile="exact"))
    assert features.shape == expected.shape == (NUM_PICTURES, FEATURE_SIZE)
    assert features.dtype == np.float32
    assert (np.abs(features - expected) <= step(expected) / 2 + 1e-4).all()
    assert step(expected).max() < 0.02
    # pictures differ by far more than the tolerance: the comparison can tell them apart
    assert np.abs(expected[0] - expected[1:]).max(axis=1).min() > 0.05


def test_probabilities_are_those_of_ultralytics_own_predict(backbones, extract, video, ultralytics_answers):
    _, expected = ultralytics_answers(pictures_of(video))
    head = backbones.head(backbones.find("tiny-cls.pt"))
    probabilities = head.probabilities(all_rows(extract(video, profile="exact")))
    np.testing.assert_allclose(probabilities, expected, atol=5e-3)
    assert np.abs(expected[0] - expected[1:]).max(axis=1).min() > 0.02
    assert head.names == dict(enumerate(TINY_CLASSES))


def test_the_head_is_read_again_without_the_network(tmp_path, models_folder, backbones, extract, video):
    file = backbones.find("tiny-cls.pt")
    features = all_rows(extract(video))
    first = backbones.head(file).probabilities(features)
    other_process = Backbones(models_folder, tmp_path / "data")
    other_process.load = None  # it would be called, and fail
    np.testing.assert_array_equal(other_process.head(file).probabilities(features), first)


def striped(width=80, height=40):
    """Red on the left quarter, blue on the right one, green between."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[:, : width // 4, 0] = 255
    picture[:, width // 4 : -width // 4, 1] = 255
    picture[:, -width // 4 :, 2] = 255
    return picture


def prepared(picture, crop, profile):
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return preprocessor(profile, crop, TINY_IMAGE_SIZE)(Picture(0, frame))


def colour_at(image, row, column):
    """The colour of a preprocessed picture at a place given as shares of its height and width."""
    return list(image[int(row * TINY_IMAGE_SIZE), int(column * TINY_IMAGE_SIZE)])


RED, GREEN, BLUE, GREY = [255, 0, 0], [0, 255, 0], [0, 0, 255], [114, 114, 114]


profiles = pytest.mark.parametrize("profile", ["fast", "exact"])


@profiles
@pytest.mark.parametrize("crop", ["center", "fit", "squash"])
@pytest.mark.parametrize("size", [(80, 40), (40, 80), (64, 64), (1, 30), (33, 31), (640, 360)])
def test_every_crop_gives_a_square(crop, size, profile):
    image = prepared(striped(*size), crop, profile)
    assert image.shape == (TINY_IMAGE_SIZE, TINY_IMAGE_SIZE, 3)
    assert image.dtype == np.uint8


@profiles
def test_center_cuts_the_sides(profile):
    image = prepared(striped(), "center", profile)
    assert [colour_at(image, 0.5, column) for column in (0.1, 0.5, 0.9)] == [GREEN, GREEN, GREEN]


@profiles
def test_squash_keeps_all_of_the_picture_and_fills_the_square(profile):
    image = prepared(striped(), "squash", profile)
    for row in (0.02, 0.5, 0.98):
        assert [colour_at(image, row, column) for column in (0.1, 0.5, 0.9)] == [RED, GREEN, BLUE]


@profiles
def test_fit_keeps_all_of_the_picture_and_its_proportions(profile):
    image = prepared(striped(), "fit", profile)
    assert [colour_at(image, 0.5, column) for column in (0.1, 0.5, 0.9)] == [RED, GREEN, BLUE]
    # the picture is half as high as wide: a quarter of the square is border above, and one below
    assert [colour_at(image, row, 0.5) for row in (0.2, 0.3, 0.7, 0.8)] == [GREY, GREEN, GREEN, GREY]


@pytest.mark.parametrize("size", [(80, 40), (96, 64), (1280, 720), (321, 577), (64, 64)])
def test_exact_is_ultralytics_own_preprocessing_bit_for_bit(size):
    import_torchvision()
    from PIL import Image
    from torchvision.transforms import Resize
    from ultralytics.data.augment import classify_transforms

    (picture,) = colour_pictures(1, size=size)
    expected = classify_transforms(TINY_IMAGE_SIZE)(Image.fromarray(picture))
    ours = prepared(picture, "center", "exact").transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(ours, expected.numpy())
    squashed = Resize((TINY_IMAGE_SIZE, TINY_IMAGE_SIZE))(Image.fromarray(picture))
    np.testing.assert_array_equal(prepared(picture, "squash", "exact"), np.asarray(squashed))


@pytest.mark.parametrize("crop", ["center", "fit", "squash"])
@pytest.mark.parametrize("size", [(190, 130), (640, 360), (360, 640), (129, 128)])
def test_fast_shows_the_same_as_exact(crop, size):
    """Edges of what was made smaller lie at the same places: smooth pictures, for the two weigh sharp ones differently."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    wave = np.stack([128 + 100 * np.sin(x / width * 9), 128 + 100 * np.cos(y / height * 7), 255 * x / width], axis=-1)
    fast, exact = (prepared(wave.astype(np.uint8), crop, profile).astype(int) for profile in ("fast", "exact"))
    assert 0 < np.abs(fast - exact).mean() < 2
    assert np.abs(fast[:, 2:] - exact[:, :-2]).mean() > 3, "a shift by two pixels would be seen"


def test_small_pictures_are_prepared_exactly_in_either_profile():
    (picture,) = colour_pictures(1, size=(160, 120))
    np.testing.assert_array_equal(prepared(picture, "center", "fast"), prepared(picture, "center", "exact"))


@profiles
@pytest.mark.parametrize("crop", ["center", "fit", "squash"])
@pytest.mark.parametrize("size", [(96, 64), (192, 144)])
def test_a_video_that_lies_on_its_side_is_turned(tmp_path, crop, profile, size):
    (upright,) = colour_pictures(1, size=size)
    write_video(tmp_path / "turned.mp4", [np.rot90(upright, -1)] * 3, rotation=90)
    picture = next(decode(tmp_path / "turned.mp4"))
    shown = preprocessor(profile, crop, TINY_IMAGE_SIZE)(picture)
    expected = prepared(upright, crop, profile)
    assert np.abs(shown.astype(int) - expected).mean() < 6  # coding
    assert np.abs(shown.astype(int) - expected[::-1]).mean() > 20


def test_each_crop_has_features_of_its_own(extract, video):
    center, fit, squash = (all_rows(extract(video, crop)) for crop in ("center", "fit", "squash"))
    for one, other in ((center, fit), (center, squash), (fit, squash)):
        assert np.abs(one - other).max(axis=1).min() > 0.01


def test_two_videos_at_once_are_as_one_after_the_other(tmp_path, extract, tiny):
    videos = [write_video(tmp_path / f"{seed}.mp4", colour_pictures(40, seed=seed)) for seed in (1, 2)]
    alone = [all_rows(extract(path, cache="alone")) for path in videos]
    with ThreadPoolExecutor(2) as pool:
        at_once = [all_rows(features) for features in pool.map(partial(extract, cache="at-once"), videos)]
    for one, other in zip(alone, at_once, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max(axis=1).min() > 0.05


def test_rows_on_the_grid_are_the_pictures_on_screen(tmp_path, extract, tiny):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(15), frame_rate=15)
    features = extract(path)
    pictures = all_rows(features)
    # 1 s at 25 is 25 frames; frames 1..6 of a 15 fps file at 25 show pictures 0, 0, 1, 1, 2, 3, the last shows 14
    on_grid = features.on_grid(25.0)
    assert on_grid.shape == (25, FEATURE_SIZE)
    np.testing.assert_array_equal(on_grid[[0, 1, 2, 3, 4, 5, 24]], pictures[[0, 0, 1, 1, 2, 3, 14]])


# What is kept.


def test_features_are_computed_once(extract, tiny, video):
    first = all_rows(extract(video))
    assert sum(tiny.calls) == NUM_PICTURES
    np.testing.assert_array_equal(all_rows(extract(video)), first)
    assert sum(tiny.calls) == NUM_PICTURES


def test_the_same_video_asked_for_twice_at_once_is_computed_once(extract, tiny, video):
    with ThreadPoolExecutor(2) as pool:
        both = [all_rows(features) for features in pool.map(extract, [video, video])]
    assert sum(tiny.calls) == NUM_PICTURES
    np.testing.assert_array_equal(both[0], both[1])


def test_other_weights_are_other_features(extract, tiny, video):
    extract(video, weights="a" * 64)
    extract(video, weights="b" * 64)
    assert sum(tiny.calls) == 2 * NUM_PICTURES


def test_the_cache_holds_plain_arrays_and_no_pickle(tmp_path, extract, video):
    extract(video)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    arrays = [path for path in files if path.suffix == ".npy"]
    assert {path.name for path in files if path not in arrays} <= {"func_code.py", "metadata.json", ".gitignore"}
    assert len(arrays) == 2  # one chunk of features, and the times
    for path in arrays:
        np.load(path, allow_pickle=False)


def test_chunks_are_joined_without_a_seam(monkeypatch, extract, video):
    whole = all_rows(extract(video, cache="whole"))
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 8)
    in_chunks = extract(video, cache="chunks")
    np.testing.assert_allclose(all_rows(in_chunks), whole, atol=1e-5)
    np.testing.assert_array_equal(in_chunks.take(np.array([19, 0, 8, 7, 8])), all_rows(in_chunks)[[19, 0, 8, 7, 8]])


def test_a_video_longer_than_a_chunk_is_kept_in_several(tmp_path, extract, tiny):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(30, size=(32, 32)) * 35)
    features = extract(path)
    arrays = [np.load(found, allow_pickle=False) for found in (tmp_path / "cache").rglob("*.npy")]
    assert sorted(len(array) for array in arrays if "features" in array.dtype.names) == [26, 1024]
    assert all_rows(features).shape == (1050, FEATURE_SIZE)


def test_an_interrupted_extraction_counts_as_none_and_goes_on_where_it_was(monkeypatch, tmp_path, extract, tiny, video):
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 8)
    whole = all_rows(extract(video, cache="undisturbed"))
    tiny.calls.clear()

    def fails_in_the_second_chunk():
        if tiny.calls:
            raise MemoryError("no more")

    tiny.before_each = fails_in_the_second_chunk
    with pytest.raises(MemoryError):
        extract(video)
    extractor = Extractor(FeatureCache(tmp_path / "cache"))
    assert extractor.cached("content of clip.mp4", "w" * 64, "center") is None
    assert tiny.calls == [8]

    tiny.before_each = lambda: None
    np.testing.assert_array_equal(all_rows(extract(video)), whole)
    assert tiny.calls == [8, 8, 4]
    assert extractor.cached("content of clip.mp4", "w" * 64, "center") is not None


def test_a_file_that_is_written_to_while_it_is_extracted_leaves_nothing_under_its_old_content(
    monkeypatch, tmp_path, tiny, video, quiet
):
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 8)
    library = MediaLibrary(tmp_path / "data", LabelStudioClient(None, None), (tmp_path,), ())

    def another_writes_while_the_last_chunk_is_made():
        if len(tiny.calls) == 2:
            with video.open("ab") as file:
                file.write(b"\0\0\0\x08free")

    tiny.before_each = another_writes_while_the_last_chunk_is_made
    with (
        library.opened(str(video)) as file,
        pytest.raises(MediaUnavailable, match=r"clip\.mp4: the file changed while it was read"),
    ):
        Extractor(FeatureCache(tmp_path / "cache"), "fast", IN_ORDER).extract(file, "w" * 64, lambda: tiny, "center", quiet)
    arrays = [np.load(path, allow_pickle=False) for path in (tmp_path / "cache").rglob("*.npy")]
    assert len(arrays) <= 2, "only what was read before is kept"
    assert {len(array) for array in arrays} <= {8}


def test_a_truncated_video_never_counts_as_extracted(tmp_path, extract):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        with pytest.raises(MediaError, match=r"clip\.mp4: the header says 4\.00 s"):
            extract(path)


def test_a_cache_that_was_removed_is_filled_again(tmp_path, extract, video):
    first = all_rows(extract(video)).copy()
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.unlink()
    np.testing.assert_allclose(all_rows(extract(video)), first, atol=1e-5)


def test_a_damaged_array_in_the_cache_is_computed_again(tmp_path, extract, video):
    first = all_rows(extract(video)).copy()
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_allclose(all_rows(extract(video)), first, atol=1e-5)


def test_an_extraction_brings_the_cache_back_to_its_limit_and_stays_itself(tmp_path, tiny, video, quiet):
    other = write_video(tmp_path / "other.mp4", colour_pictures(NUM_PICTURES, seed=1))
    extractor = Extractor(FeatureCache(tmp_path / "cache"), "fast", IN_ORDER, max_bytes=1000)

    def run(path):
        file = MediaFile(path, f"content of {path.name}")
        return len(extractor.extract(file, "w" * 64, lambda: tiny, "center", quiet).timeline.pts)

    for path in (video, other):
        assert run(path) == NUM_PICTURES
        assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2
    assert extractor.cached("content of clip.mp4", "w" * 64, "center") is None
    assert extractor.cached("content of other.mp4", "w" * 64, "center") is not None
    assert run(video) == NUM_PICTURES
    assert sum(tiny.calls) == 3 * NUM_PICTURES


# Which backbones may be used.


@pytest.mark.parametrize(
    "name", ["../x.pt", "/abs/x.pt", "http://x/y.pt", "x.txt", "folder/x.pt", "..", ".hidden.pt", "", "x.pt/", "tiny-cls"]
)
def test_what_is_no_plain_name_is_refused(backbones, name):
    for call in (backbones.find, backbones.check):
        with pytest.raises(BackboneError, match="expected the name of a .pt file in the models folder") as caught:
            call(name)
        assert repr(name) in str(caught.value)


def test_a_link_that_leads_out_of_the_models_folder_is_refused(tmp_path, models_folder, backbones):
    (tmp_path / "outside.pt").write_bytes(b"x")
    (models_folder / "link.pt").symlink_to(tmp_path / "outside.pt")
    with pytest.raises(BackboneError, match=r"'link\.pt': leads outside the models folder"):
        backbones.find("link.pt")


def test_a_name_without_a_file_is_refused_with_what_is_there(backbones):
    with pytest.raises(BackboneError, match=r"'other\.pt': no such file in the models folder, which has .*tiny-cls\.pt"):
        backbones.find("other.pt")


def test_replaced_weights_have_a_new_content(models_folder, backbones):
    before = backbones.find("tiny-cls.pt").content
    (models_folder / "tiny-cls.pt").write_bytes(b"other weights")
    assert backbones.find("tiny-cls.pt").content != before


def test_a_file_that_is_no_checkpoint_is_refused_by_name(models_folder, backbones):
    (models_folder / "garbage.pt").write_bytes(b"this is no checkpoint")
    with pytest.raises(BackboneError, match=r"'garbage\.pt' cannot be loaded"):
        backbones.load(backbones.find("garbage.pt"))


def test_a_detector_is_refused_by_name(models_folder, backbones):
    from ultralytics import YOLO

    description = models_folder / "detect.yaml"
    description.write_text(
        "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [[1], 1, Detect, [nc]]\n"
    )
    YOLO(str(description), task="detect").save(models_folder / "detect.pt")
    message = r"'detect\.pt' cannot be loaded: expected a YOLO classification network .*ends in Detect"
    with pytest.raises(BackboneError, match=message):
        backbones.load(backbones.find("detect.pt"))


@pytest.fixture
def releases(tmp_path, tiny_checkpoint, monkeypatch):
    """A web server in the place of Ultralytics' releases, which has the tiny checkpoint as yolov8n-cls.pt."""
    folder = tmp_path / "releases"
    folder.mkdir()
    (folder / "yolov8n-cls.pt").write_bytes(tiny_checkpoint.read_bytes())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(ultralytics_kind, "OFFICIAL_URL", f"http://127.0.0.1:{server.server_address[1]}/{{name}}")
    monkeypatch.setattr(ultralytics_kind, "OFFICIAL_HOSTS", MediaHosts(("127.0.0.1",)))
    yield folder
    server.shutdown()
    server.server_close()


def test_an_official_checkpoint_is_fetched_into_the_models_folder(models_folder, backbones, releases):
    assert backbones.is_to_be_fetched("yolov8n-cls.pt")
    file = backbones.fetch_official("yolov8n-cls.pt")
    assert file.path == models_folder / "yolov8n-cls.pt"
    assert file.path.read_bytes() == (releases / "yolov8n-cls.pt").read_bytes()
    assert not backbones.is_to_be_fetched("yolov8n-cls.pt")
    assert {path.name for path in models_folder.iterdir()} == {"tiny-cls.pt", "yolov8n-cls.pt"}


def test_an_official_checkpoint_is_fetched_also_where_models_are_on_another_volume(backbones, releases, monkeypatch):
    rename = os.replace

    def rename_within_a_volume(source, target):
        if ("models" in Path(source).parts) != ("models" in Path(target).parts):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
        rename(source, target)

    monkeypatch.setattr(os, "replace", rename_within_a_volume)
    file = backbones.fetch_official("yolov8n-cls.pt")
    assert file.path.read_bytes() == (releases / "yolov8n-cls.pt").read_bytes()


def test_an_official_checkpoint_that_cannot_be_fetched_is_named_with_the_cure(backbones, monkeypatch):
    # a port on which nobody listens any more
    closed = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    closed.server_close()
    monkeypatch.setattr(ultralytics_kind, "OFFICIAL_URL", f"http://127.0.0.1:{closed.server_address[1]}/{{name}}")
    monkeypatch.setattr(ultralytics_kind, "OFFICIAL_HOSTS", MediaHosts(("127.0.0.1",)))
    backbones.check("yolo11n-cls.pt")
    message = r"'yolo11n-cls\.pt' is not in the models folder and could not be fetched: .*Put the file into the models folder"
    with pytest.raises(BackboneError, match=message):
        backbones.fetch_official("yolo11n-cls.pt")


def test_an_official_checkpoint_is_not_fetched_from_an_inner_address(models_folder, backbones, releases, monkeypatch):
    """GitHub redirects to hosts of its own choice; a name server that lies must not make it one of ours."""
    monkeypatch.setattr(ultralytics_kind, "OFFICIAL_HOSTS", MediaHosts(("*",)))
    with pytest.raises(BackboneError, match="leads to an address that is not public"):
        backbones.fetch_official("yolov8n-cls.pt")
    assert {path.name for path in models_folder.iterdir()} == {"tiny-cls.pt"}


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolov8n-cls.pt.pt", "tiny-cls.pt", "my-yolov8n-cls.pt"])
def test_other_names_are_never_fetched(backbones, name):
    assert not backbones.is_to_be_fetched(name)
