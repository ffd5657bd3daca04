"""One pass over a video: the same features however many threads, engines and interruptions there were; nothing twice."""

import itertools
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from framewise.core.errors import SettingsError
from framewise.features import engines, extraction, passes
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute, has_openvino, threads_of_their_own
from framewise.features.extraction import Extractor
from framewise.features.kinds.lite0 import LITE0
from framewise.features.rows import pack, unpack
from framewise.media.library import MediaFile
from framewise.media.video import decode
from tests.videos import colour_pictures, write_video

PLAIN = Compute("torch", "float32", 1)
CHUNK = 16

with_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A trained network: features of one with random weights say little of how alike two ways of computing are."""
    backbones = Backbones(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("data"))
    return backbones.load(backbones.find(LITE0))


@pytest.fixture
def extract(tmp_path, tiny, quiet):
    """Rows (P, D + motion) of a video; ``cache`` is the name of the cache's folder."""

    def run(path, cache, compute=PLAIN, backbone=tiny, progress=quiet, profile="fast"):
        extractor = Extractor(FeatureCache(tmp_path / cache), profile, compute)
        features = extractor.extract(MediaFile(path, f"of {path.name}"), "w" * 64, lambda: backbone, "center", progress)
        return np.hstack(features.read(np.arange(len(features.timeline.pts))))

    return run


@pytest.fixture
def decoded(monkeypatch):
    """Counts the pictures that passes decode."""
    counts = []

    def counting(path, *options):
        counts.append(0)
        for picture in decode(path, *options):
            counts[-1] += 1
            yield picture

    monkeypatch.setattr(passes, "decode", counting)
    return counts


def alike(one, other):
    """Mean cosine of rows."""
    return float(np.mean((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)))


# How it is computed.


def test_any_number_of_threads_gives_the_same(tmp_path, extract):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(70))
    alone = extract(path, "1")
    for threads in (2, 5):
        np.testing.assert_array_equal(extract(path, f"{threads}", Compute("torch", "float32", threads)), alone)
    assert np.abs(alone[0] - alone[1:]).max(axis=1).min() > 0.05


def test_threads_of_their_own_leave_pytorch_elsewhere_as_it_was():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with threads_of_their_own(2) as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(6))) == [1] * 6
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_default_uses_every_processor_and_can_be_told_how_many():
    assert 1 <= Compute().workers <= engines.MAX_WORKERS
    assert Compute(threads=3).workers == 3


@with_openvino
def test_openvino_computes_what_pytorch_does(tmp_path, extract, shipped):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(20, size=(320, 240)))
    plain = extract(path, "torch", Compute("torch", "float32", 2), shipped)
    openvino = extract(path, "openvino", Compute("openvino", "float32", 2), shipped)
    size = (
        plain[:, : shipped.cut.linear.in_features].max(axis=1) - plain[:, : shipped.cut.linear.in_features].min(axis=1)
    ).max()
    assert np.abs(plain - openvino).max() < 1.5 * size / 255  # one of the steps in which they are kept
    assert np.abs(plain[0] - plain[1:]).max(axis=1).min() > 10 * size / 255


@with_openvino
def test_others_can_compute_while_openvino_takes_a_network_over(tiny):
    """A training in another thread calls modules of its own, which nothing may take the place of."""
    module, is_made, called, wrong = torch.nn.Linear(4, 4), threading.Event(), set(), []

    def compute():
        while not is_made.is_set():
            called.add(torch.nn.Module.__call__)
            try:
                module(torch.zeros(2, 4))
            except Exception as error:
                wrong.append(error)

    other = threading.Thread(target=compute)
    other.start()
    try:
        tiny.engine(Compute("openvino", "float32", 1))
    finally:
        is_made.set()
        other.join()
    assert (len(called), wrong) == (1, [])


@pytest.mark.parametrize(
    "engine", ["torch", pytest.param("openvino", marks=pytest.mark.skipif(not has_openvino(), reason="no"))]
)
def test_half_precision_stays_near_single_precision(tmp_path, extract, shipped, engine):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(20, size=(320, 240)))
    single = extract(path, "single", Compute(engine, "float32", 2), shipped)
    half = extract(path, "half", Compute(engine, "bfloat16", 2), shipped)
    assert alike(single, half) > 0.995
    assert alike(single[:-1], half[1:]) < 0.98, "other pictures are not as near"


def test_exact_is_always_in_single_precision(tmp_path, extract, shipped):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(6, size=(320, 240)))
    rows = [extract(path, p, Compute("torch", p, 1), shipped, profile="exact") for p in ("float32", "bfloat16")]
    np.testing.assert_array_equal(*rows)


def test_the_two_profiles_are_alike_and_kept_apart(tmp_path, extract, shipped):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(20, size=(640, 480)))
    fast, exact = (extract(path, "cache", PLAIN, shipped, profile=profile) for profile in ("fast", "exact"))
    assert np.abs(fast - exact).max() > 0
    assert alike(fast, exact) > 0.98


def test_an_engine_that_is_not_installed_is_named_with_the_cure(monkeypatch, tiny):
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    with pytest.raises(SettingsError, match="EXTRACTION_ENGINE: openvino is not installed; pip install openvino"):
        tiny.engine(Compute("openvino", "float32", 3))


# What is computed once.


def test_a_picture_that_is_the_same_as_the_one_before_is_computed_once(monkeypatch, tmp_path, extract, computed, quiet):
    distinct = colour_pictures(6)
    pictures = [distinct[n] for n, times in enumerate((1, 30, 2, 40, 1, 3)) for _ in range(times)]
    path = write_video(tmp_path / "screen.mp4", pictures)
    rows = extract(path, "once")
    assert len(rows) == 77
    # An encoder needs a picture or two after a change until nothing changes any more.
    assert sum(computed) <= 20
    computed.clear()
    monkeypatch.setattr(passes, "holds_same", lambda one, other: False)
    np.testing.assert_allclose(rows, extract(path, "each"), atol=1e-5)
    assert sum(computed) == 77


def test_what_is_the_same_is_found_across_batches_and_not_across_chunks(monkeypatch, tmp_path, extract, computed):
    path = write_video(tmp_path / "still.mp4", [colour_pictures(1)[0]] * 60)
    whole = extract(path, "whole")
    assert sum(computed) <= 6
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", CHUNK)
    np.testing.assert_allclose(extract(path, "chunks"), whole, atol=1e-5)


def test_large_pictures_go_in_smaller_batches(monkeypatch, tmp_path, extract, computed):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(20, size=(320, 240)))
    monkeypatch.setattr(passes, "MAX_BYTES_UNDER_WAY", 320 * 240 * 5 * 3 * 2)  # of three batches, each of two
    extract(path, "cache")
    assert sum(computed) == 20
    assert max(computed) == 2


# Going on.


def interrupted(extract, path, after, **how):
    def interrupt(share, detail):
        if int(detail.split()[1]) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(path, "parts", progress=interrupt, **how)


def long_clip(path, key_frame_every, format="mp4", codec="libx264", options=None):
    """100 pictures with a key frame now and then, as cameras write."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 96, 64, "yuv420p", 1
        stream.gop_size = key_frame_every
        stream.options = options or {}
        for picture in colour_pictures(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


OPEN_GOP = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:open-gop=1"}


@pytest.mark.parametrize(
    ("kind", "how", "most"),
    [
        ("mp4", {"key_frame_every": 10, "options": {"x264-params": "keyint=10:scenecut=0"}}, 75),
        ("mp4", {"key_frame_every": 10, "options": OPEN_GOP}, 75),
        ("matroska", {"key_frame_every": 10, "options": {"x264-params": "keyint=10:scenecut=0"}}, 75),
        ("mpegts", {"key_frame_every": 10, "options": {"x264-params": "keyint=10:scenecut=0"}}, 200),
        ("avi", {"key_frame_every": 10, "codec": "mpeg4"}, 200),
        ("mp4", {"key_frame_every": 1000, "options": {"x264-params": "keyint=1000:scenecut=0"}}, 100),
    ],
    ids=["mp4", "open gop", "matroska", "mpegts", "avi", "one key frame"],
)
def test_a_pass_that_was_interrupted_goes_on_where_it_was(monkeypatch, tmp_path, extract, decoded, computed, kind, how, most):
    path = long_clip(tmp_path / f"clip.{kind}", format=kind, **how)
    whole = extract(path, "whole")
    np.testing.assert_array_equal(extract(path, "whole"), whole)
    assert (decoded, sum(computed)) == ([100], 100)
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", CHUNK)
    interrupted(extract, path, after=4 * CHUNK)
    decoded.clear()
    computed.clear()
    np.testing.assert_array_equal(extract(path, "parts"), whole)
    assert sum(computed) == 100 - 4 * CHUNK
    assert sum(decoded) <= most


def test_a_chunk_that_is_damaged_is_made_again(monkeypatch, tmp_path, extract, computed):
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", CHUNK)
    path = long_clip(tmp_path / "clip.mp4", 10)
    whole = extract(path, "cache")
    computed.clear()
    chunks = [found for found in (tmp_path / "cache").rglob("*.npy") if "features" in (np.load(found).dtype.names or ())]
    assert len(chunks) == 7
    next(found for found in chunks if np.load(found)["pts"][0] == np.load(chunks[0])["pts"].min()).write_bytes(b"cut")
    np.testing.assert_array_equal(extract(path, "cache"), whole)


def test_progress_says_how_many_of_how_many_and_how_fast(tmp_path, extract):
    told = []
    extract(write_video(tmp_path / "clip.mp4", colour_pictures(50)), "cache", progress=lambda *step: told.append(step))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 0.99
    assert told[0][1].startswith("pictures 8 of about 50, ")
    assert told[-1][1].startswith("pictures 50 of about 50, ")
    assert all(detail.endswith(" a second") for _, detail in told)


# What is kept.


def test_what_is_kept_is_within_half_a_step_of_what_was_computed():
    rng = np.random.default_rng(3)
    features = rng.gamma(0.3, 2, (50, 1280)).astype(np.float32)
    features[7] = 0.25  # a picture of which all numbers are the same
    motion = rng.random((50, passes.Motion().of(np.zeros((1, 56, 56), np.float32), np.zeros(1)).shape[1])).astype(np.float32)
    records = pack(np.arange(50), features, motion)
    assert records.dtype.itemsize < 1400
    kept, moved = unpack(records)
    steps = (features.max(axis=1) - features.min(axis=1)) / 255
    assert (np.abs(kept - features) <= steps[:, None] / 2 + 1e-6).all()
    np.testing.assert_allclose(moved, motion, atol=1e-3)


def test_nothing_is_under_way_after_the_caller_lost_interest(tmp_path, tiny):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(60))
    chunks = passes.Pass(path, Fraction(1, 12800), tiny, "fast", PLAIN, "center").chunks(
        8, np.empty(0, np.int64), lambda done: None
    )
    assert len(list(itertools.islice(chunks, 2))) == 2
    chunks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("extract")]
