"""Choice of the pictures that are computed, and the rows between: the same however a pass was divided, nothing made up."""

from fractions import Fraction

import av
import numpy as np
import pytest

from framewise.core.errors import SettingsError
from framewise.features import extraction
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor
from framewise.features.motion import thumbnails_of
from framewise.features.preprocessing import preprocessor
from framewise.features.sampling import PER_SECOND, interpolated
from framewise.features.thumbnails import Thumbnailer
from framewise.learning.kernel import SHORTEST_STEP_SECONDS
from framewise.media.library import MediaFile
from framewise.media.video import decode
from framewise.settings import Settings
from tests.videos import colour_pictures, write_timed, write_video

PLAIN = Compute("torch", "float32", 1)


@pytest.fixture
def extract(tmp_path, tiny, quiet):
    """Features and motion of a video's pictures; ``cache`` is the name of the cache's folder."""

    def run(path, cache, samples=True, every=False, compute=PLAIN, progress=quiet, profile="fast"):
        extractor = Extractor(FeatureCache(tmp_path / cache), profile, compute, samples=samples)
        file = MediaFile(path, f"of {path.name}")
        features = extractor.extract(file, "w" * 64, lambda: tiny, "center", progress, every)
        return features.read(np.arange(len(features.timeline.pts)))

    return run


def moving(count, size=(160, 120), step=1):
    """Pictures of a bright square on a gradient that moves evenly."""
    width, height = size
    ground = np.tile(np.linspace(0, 90, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    pictures = []
    for number in range(count):
        picture = ground.copy()
        left = 10 + step * number % (width - 50)
        picture[40:70, left : left + 30] = (250, 200, 60)
        pictures.append(picture)
    return pictures


def steps_of(features):
    """Half a step of the bytes that rows are kept in."""
    return (features.max(axis=1) - features.min(axis=1))[:, None] / 255 / 2 + 1e-5


# Which pictures are computed.


def test_as_many_are_computed_as_the_learner_reads(tmp_path, extract, computed):
    assert PER_SECOND * SHORTEST_STEP_SECONDS == 1
    path = write_video(tmp_path / "clip.mp4", moving(90), frame_rate=30)
    sampled, motion = extract(path, "sampled")
    assert sum(computed) == 31  # every third one, and the last
    computed.clear()
    every, moved = extract(path, "every", samples=False)
    assert sum(computed) == 90
    chosen = [*range(0, 90, 3), 89]
    np.testing.assert_allclose(sampled[chosen], every[chosen], atol=1e-5)
    between = (2 * sampled[0:87:3] + sampled[3:90:3]) / 3
    assert (np.abs(sampled[1:88:3] - between) <= steps_of(between)).all()
    # The motion is of every picture.
    assert np.abs(motion - moved).mean() < 0.03 * moved.std()
    assert motion.std(axis=0).max() > 0


@pytest.mark.parametrize(("rate", "most"), [(Fraction(25), 20), (Fraction(60000, 1001), 22), (Fraction(8), 17)])
def test_at_any_rate(tmp_path, extract, computed, rate, most):
    pictures = moving(round(2 * rate), step=1)
    extract(write_video(tmp_path / "clip.mp4", pictures, frame_rate=rate), "cache")
    assert min(len(pictures), 20) <= sum(computed) <= most + 1


def test_pictures_of_any_times(tmp_path, extract, computed):
    seconds = [Fraction(n, 100) for n in (0, 3, 4, 30, 31, 32, 33, 90, 300, 301, 302, 303)]
    features, _ = extract(write_timed(tmp_path / "clip.mp4", seconds, Fraction(1, 25)), "cache")
    every, _ = extract(tmp_path / "clip.mp4", "every", samples=False)
    assert features.shape == every.shape
    for number in (0, 3, 7, 8, 11):
        np.testing.assert_allclose(features[number], every[number], atol=1e-5)


def test_pictures_that_stay_the_same_are_computed_once(tmp_path, extract, computed):
    first, second = colour_pictures(2, size=(160, 120))
    path = write_video(tmp_path / "slides.mp4", [first] * 100 + [second] * 100, frame_rate=30)
    sampled, _ = extract(path, "sampled")
    # An encoder needs a few pictures after a change until nothing changes any more.
    assert sum(computed) < 12
    every, _ = extract(path, "every", samples=False)
    assert np.abs(sampled - every).max() < 0.1 * np.abs(every[50] - every[150]).max()


def test_noise_is_computed_once_a_second(tmp_path, extract, computed):
    rng, ground = np.random.default_rng(0), colour_pictures(1, size=(320, 240))[0].clip(10, 240).astype(np.float32)
    pictures = [(ground + rng.normal(0, 2, ground.shape)).astype(np.uint8) for _ in range(90)]
    extract(write_video(tmp_path / "parked.mp4", pictures, frame_rate=30), "sampled")
    assert 3 <= sum(computed) <= 6


def test_pictures_that_change_a_lot_are_all_computed(tmp_path, extract, computed):
    path = write_video(tmp_path / "clip.mp4", colour_pictures(40), frame_rate=30)
    sampled, _ = extract(path, "sampled")
    assert sum(computed) == 40
    np.testing.assert_allclose(sampled, extract(path, "every", samples=False)[0], atol=1e-5)


def test_nothing_is_made_up_across_a_cut(tmp_path, extract):
    one, other = colour_pictures(2, size=(160, 120))
    cut = 31  # not where a tenth of a second begins
    path = write_video(tmp_path / "cut.mp4", [one] * cut + [other] * 29, frame_rate=30)
    sampled, _ = extract(path, "sampled")
    every, _ = extract(path, "every", samples=False)
    far = np.abs(every[cut - 1] - every[cut]).max()
    assert np.abs(sampled[:cut] - every[cut - 1]).max() < 0.1 * far
    assert np.abs(sampled[cut:] - every[-1]).max() < 0.1 * far


# The same however it was made.


def lively(path):
    """A video of all sorts: slow, still, noisy, with cuts, and of two rates."""
    rng = np.random.default_rng(2)
    still = colour_pictures(1, size=(160, 120), seed=9)[0]
    noisy = [(still.clip(20, 230) + rng.normal(0, 3, still.shape)).astype(np.uint8) for _ in range(40)]
    pictures = moving(50) + [still] * 45 + noisy + colour_pictures(10, size=(160, 120)) + moving(55, step=2)
    return write_video(path, pictures, frame_rate=30)


def test_any_number_of_threads_gives_the_same(tmp_path, extract):
    path = lively(tmp_path / "clip.mp4")
    whole = np.hstack(extract(path, "whole"))
    for threads in (2, 5):
        again = extract(path, f"{threads} threads", compute=Compute("torch", "float32", threads))
        np.testing.assert_array_equal(np.hstack(again), whole)


@pytest.mark.parametrize("chunk", [7, 16, 50])
def test_borders_of_chunks_do_not_matter(monkeypatch, tmp_path, extract, computed, chunk):
    """A network's results depend in their last bit on what else is in a batch."""
    path = lively(tmp_path / "clip.mp4")
    features, motion = extract(path, "whole")
    whole = sum(computed)
    computed.clear()
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", chunk)
    again, moved = extract(path, "chunks")
    assert sum(computed) == whole
    np.testing.assert_array_equal(motion, moved)
    assert (np.abs(again - features) <= 2 * steps_of(features)).all()
    assert np.abs(again - features).mean() < 1e-5


@pytest.mark.parametrize("chunk", [7, 16, 50, 100])
def test_a_pass_that_was_interrupted_goes_on_to_the_same(monkeypatch, tmp_path, extract, chunk):
    path = lively(tmp_path / "clip.mp4")
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", chunk)
    whole = np.hstack(extract(path, "whole"))
    for after in range(chunk + 20, 200, 37):

        def interrupt(share, detail, after=after):
            if int(detail.split()[1]) > after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            extract(path, f"{after}", progress=interrupt)
        np.testing.assert_array_equal(np.hstack(extract(path, f"{after}")), whole)


def test_going_on_computes_only_what_is_missing(monkeypatch, tmp_path, extract, computed):
    path = write_video(tmp_path / "clip.mp4", moving(150), frame_rate=30)
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 30)

    def interrupt(share, detail):
        if int(detail.split()[1]) > 120:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(path, "cache", progress=interrupt)
    computed.clear()
    extract(path, "cache")
    assert sum(computed) <= 21


# What is kept and used.


def test_features_of_every_picture_are_used_where_they_are(tmp_path, extract, computed):
    path = write_video(tmp_path / "clip.mp4", moving(60), frame_rate=30)
    every = np.hstack(extract(path, "cache", samples=False))
    computed.clear()
    np.testing.assert_array_equal(np.hstack(extract(path, "cache")), every)
    assert computed == []


def test_who_needs_every_picture_gets_it(tmp_path, extract, computed):
    path = write_video(tmp_path / "clip.mp4", moving(60), frame_rate=30)
    plain = np.hstack(extract(path, "plain", samples=False))
    sampled = np.hstack(extract(path, "cache"))
    assert np.abs(sampled - plain).max() > 0
    np.testing.assert_array_equal(np.hstack(extract(path, "cache", every=True)), plain)


def test_exact_computes_every_picture(tmp_path, extract, computed):
    path = write_video(tmp_path / "clip.mp4", moving(60), frame_rate=30)
    rows = [np.hstack(extract(path, f"{samples}", samples=samples, profile="exact")) for samples in (True, False)]
    np.testing.assert_array_equal(*rows)
    assert sum(computed) == 120


def test_all_pictures_are_the_default_and_sampling_can_be_switched_on():
    assert Settings.from_env({}).extraction_pictures == "all"
    assert Settings.from_env({"EXTRACTION_PICTURES": "sampled"}).extraction_pictures == "sampled"
    with pytest.raises(SettingsError, match="EXTRACTION_PICTURES: expected all or sampled"):
        Settings.from_env({"EXTRACTION_PICTURES": "5"})


def test_between_equal_rows_is_exactly_that_row():
    rows = np.random.default_rng(1).random((1, 50)).astype(np.float32).repeat(2, axis=0)
    found = interpolated(np.arange(11), np.array([0, 10]), rows)
    np.testing.assert_array_equal(found, rows[:1].repeat(11, axis=0))


# Thumbnails.


@pytest.mark.parametrize("crop", ["center", "squash", "fit"])
@pytest.mark.parametrize("size", [(640, 360), (320, 240), (150, 260)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_thumbnails_of_planes_are_those_of_prepared_pictures(tmp_path, crop, size, rotation):
    rng = np.random.default_rng(3)
    smooth = rng.integers(0, 256, (6, 6, 3)).astype(np.float32)
    width, height = size
    ground = np.asarray(
        av.VideoFrame.from_ndarray(smooth.astype(np.uint8), format="rgb24").reformat(width, height).to_ndarray(format="rgb24")
    )
    path = write_video(tmp_path / "clip.mp4", [ground] * 3, rotation=rotation)
    prepared = preprocessor("fast", crop, 224)
    (picture, *_) = decode(path)
    cheap, plain = Thumbnailer(crop, prepared)(picture), thumbnails_of(prepared(picture)[np.newaxis])[0]
    assert cheap.shape == plain.shape
    assert np.abs(cheap - plain).mean() < 0.02
    assert np.corrcoef(cheap.ravel(), plain.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("pixels", ["yuv420p10le", "gray", "yuv444p"])
def test_pixel_formats_of_any_kind_have_thumbnails(tmp_path, pixels):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
        for picture in moving(3, size=(320, 240)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode(None))
    prepared = preprocessor("fast", "center", 224)
    for picture in decode(path):
        cheap, plain = Thumbnailer("center", prepared)(picture), thumbnails_of(prepared(picture)[np.newaxis])[0]
        assert np.abs(cheap - plain).mean() < 0.01
