"""Motion of pictures that were drawn: it is where something moved, and as much as it moved in a span of time."""

import numpy as np
import pytest

from framewise.features import extraction
from framewise.features import motion as motion_module
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor
from framewise.features.motion import GRID, MOTION_SIZE, SHAPE_SIZE, Motion, thumbnails_of
from framewise.learning import context, tracks
from framewise.media.library import MediaFile
from tests.videos import write_video

SIDE = 224


def picture(x, y, size=20):
    """Black, with a white square whose left upper corner is at (x, y)."""
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[round(y) : round(y) + size, round(x) : round(x) + size] = 255
    return image


def motion_of(pictures, times):
    """Cells (P, 2, GRID, GRID) and shapes (P, 2, SHAPE_SIZE) of pictures at these times."""
    motion, thumbnails, times = Motion(), thumbnails_of(np.stack(pictures)), np.array(times)
    found = np.concatenate([motion.of(thumbnails[n : n + 7], times[n : n + 7]) for n in range(0, len(times), 7)])
    found = found.reshape(len(times), 2, -1)
    return found[..., :-SHAPE_SIZE].reshape(-1, 2, GRID, GRID), found[..., -SHAPE_SIZE:]


def motions(frame_rate, seconds, place):
    """Cells (P, 2, GRID, GRID) of pictures with a square that is at ``place(seconds)``."""
    times = np.arange(round(seconds * frame_rate)) / frame_rate
    return motion_of([picture(*place(t)) for t in times], times)[0]


def test_a_square_moves_in_the_cell_where_it_is_and_nowhere_else():
    """A cell is 56 pixels wide: the square goes from 120 to 132, and is 20 wide, so it stays in the third column."""
    found = motions(30, 1, lambda t: (120 + 12 * t, 60))
    moved = found[-1, 1]
    assert moved[1, 2] > 0
    assert np.count_nonzero(moved) == 1


def test_motion_is_the_mean_difference_of_brightness():
    """A square of 20 x 20 appears, in a cell of 56 x 56: both spans see it until they have passed. Brightness is the root of
    0.02 for black, of 1.02 for white."""
    found = motions(30, 1, lambda t: (60, 60) if t > 0.49 else (SIDE, SIDE))
    expected = 20 * 20 / 56**2 * (1.02**0.5 - 0.02**0.5)
    np.testing.assert_allclose(found[:15], 0)
    np.testing.assert_allclose(found[15:17, 0, 1, 1], expected, rtol=1e-5)  # two pictures back
    np.testing.assert_allclose(found[15:23, 1, 1, 1], expected, rtol=1e-5)  # eight
    np.testing.assert_allclose(found[17:, 0], 0)
    np.testing.assert_allclose(found[23:, 1], 0)


def test_the_first_picture_and_one_in_which_nothing_changes_have_no_motion():
    assert np.count_nonzero(motions(30, 1, lambda t: (50, 50))) == 0
    assert np.count_nonzero(motions(30, 1, lambda t: (50 + 100 * t, 50))[0]) == 0


def test_the_same_movement_has_the_same_motion_at_twice_the_frame_rate():
    slow, fast = (motions(rate, 2, lambda t: (20 + 60 * t, 100)) for rate in (30, 60))
    np.testing.assert_allclose(fast[::2], slow, atol=1e-6)
    assert slow[20].max() > 0.01


def test_pictures_too_far_apart_for_a_span_are_compared_with_themselves():
    """At one picture a second the nearest one to a quarter of a second ago is the picture itself."""
    assert np.count_nonzero(motions(1, 4, lambda t: (50 * t, 50))) == 0


def test_pictures_at_uneven_times_are_compared_with_the_nearest_to_a_span_earlier():
    pictures = [picture(60, 60), picture(SIDE, SIDE), picture(60, 60)]
    back = motion_of(pictures, [0.0, 0.2, 0.28])[0][-1]
    assert back[0].max() > 0  # of the times, 0.2 is nearest to 0.21
    assert back[1].max() == 0  # and 0 to 0.01


# Its shape.


def appearing(*places):
    """Shape (2, SHAPE_SIZE) of motion where white rectangles (y, x, height, width) appear."""
    after = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for y, x, height, width in places:
        after[y : y + height, x : x + width] = 255
    return motion_of([np.zeros_like(after), after], [0.0, 0.1])[1][-1]


def test_the_shape_of_motion_is_its_middle_and_its_spread():
    """A standing rectangle of 120 x 40 pixels in 224 x 224: an even spread over a side of s has a deviation of s / sqrt(12)."""
    for amount, y, x, spread_y, spread_x, covariance in appearing((40, 100, 120, 40)):
        assert amount == pytest.approx(120 * 40 / SIDE**2 * (1.02**0.5 - 0.02**0.5 - 0.02), rel=1e-3)
        assert (y, x) == pytest.approx((100 / SIDE, 120 / SIDE), abs=1e-3)
        assert (spread_y, spread_x) == pytest.approx((120 / SIDE / 12**0.5, 40 / SIDE / 12**0.5), rel=0.02)
        assert covariance == pytest.approx(0, abs=1e-5)


def test_what_moves_along_the_falling_diagonal_has_a_positive_covariance():
    for *_, covariance in appearing((40, 40, 20, 20), (160, 160, 20, 20)):
        assert covariance == pytest.approx((60 / SIDE) ** 2, rel=0.02)
    for *_, covariance in appearing((160, 40, 20, 20), (40, 160, 20, 20)):
        assert covariance == pytest.approx(-((60 / SIDE) ** 2), rel=0.02)


def test_where_nothing_moves_the_shape_is_the_whole_picture():
    still = [0, 0.5, 0.5, 1 / 12**0.5, 1 / 12**0.5, 0]
    for shape in appearing():
        np.testing.assert_allclose(shape, still, atol=1e-3)


def test_a_step_in_the_dark_counts_for_more_than_the_same_step_in_the_light():
    def amount(from_brightness):
        pictures = [np.full((SIDE, SIDE, 3), level * 255, np.uint8) for level in (from_brightness, from_brightness + 0.1)]
        return motion_of(pictures, [0.0, 0.1])[1][-1, 0, 0]

    assert amount(0.0) > 2 * amount(0.8) > 0


def test_learners_know_where_the_shape_is():
    assert context.SHAPE_SIZE == SHAPE_SIZE


# In the features of a video.


@pytest.fixture
def extract(tmp_path, models_folder, quiet):
    backbones = Backbones(models_folder, tmp_path / "data")
    backbone = backbones.load(backbones.find("tiny-cls.pt"))

    def run(path, cache, on_progress=quiet):
        file = MediaFile(path, f"content of {path.name}")
        extractor = Extractor(FeatureCache(tmp_path / cache), "fast", Compute("torch", "float32", 2))
        features = extractor.extract(file, "w" * 64, lambda: backbone, "center", on_progress)
        return features.read(np.arange(len(features.timeline.pts)))

    return run


@pytest.fixture
def video(tmp_path):
    """A square that jumps about, so that every picture has a motion of its own."""
    rng = np.random.default_rng(5)
    pictures = []
    for x, y in rng.integers(0, 76, (40, 2)):
        picture = np.zeros((96, 96, 3), dtype=np.uint8)
        picture[y : y + 20, x : x + 20] = 255
        pictures.append(picture)
    return write_video(tmp_path / "jumps.mp4", pictures)


def test_motion_is_read_beside_the_features(extract, video):
    features, motion = extract(video, "cache")
    assert motion.shape == (len(features), MOTION_SIZE)
    moved = motion.reshape(len(motion), 2, -1)[..., :-SHAPE_SIZE]
    assert np.count_nonzero(moved[0]) == 0
    assert (moved[1:].max(axis=(1, 2)) > 0.01).all()
    assert moved.max() <= 1


@pytest.mark.parametrize("kept_pictures", [motion_module.KEPT_PICTURES, 12])
def test_chunks_are_joined_without_a_seam_also_after_an_interruption(monkeypatch, extract, video, kept_pictures):
    """At 25 pictures a second no span has more than 12. The interruption is in the second of three chunks."""
    monkeypatch.setattr(motion_module, "KEPT_PICTURES", kept_pictures)
    features, motion = extract(video, "whole")
    monkeypatch.setattr(extraction, "CHUNK_PICTURES", 16)

    def interrupt(share, detail):
        if detail.startswith("pictures 32 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(video, "parts", interrupt)
    again = extract(video, "parts")
    np.testing.assert_array_equal(again[0], features)
    np.testing.assert_array_equal(again[1], motion)


def test_a_track_has_as_many_numbers_of_motion_as_are_made_of_a_picture():
    assert (tracks.MOTION_SIZE, context.SHAPE_SIZE) == (MOTION_SIZE, SHAPE_SIZE)
